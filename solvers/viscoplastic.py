"""Elasto-viscoplasticity with Norton flow and non-linear kinematic hardening, implicit in time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from .plane_strain import Body, Law, Response, stiffness
from .solver import SolverFailed

TOLERANCE = 1e-9  # of equilibrium, relative to the load
ITERATIONS = 30
# Tensors have the components (11, 22, 33, 12); DOUBLE counts 12 twice in a contraction.
DOUBLE = np.array([1.0, 1.0, 1.0, 2.0])
# The deviator of (eps11, eps22, 0, eps12) from (eps11, eps22, 2 eps12).
DEVIATOR = np.array([[2, -1, 0], [-1, 2, 0], [-1, -1, 0], [0, 0, 1.5]]) / 3.0
IN_PLANE = [0, 1, 3]


@dataclass(frozen=True)
class Flow:
    """p' = <(J(s - X) - R0) / K>^n and the shear modulus mu; all in MPa but D and n."""

    mu: float
    R0: float
    K: float
    C: float
    D: float
    n: float


@dataclass(frozen=True, eq=False)
class State:
    """Viscoplastic strain, hardening strain alpha and cumulated strain p [-] at points."""

    strain: Float[np.ndarray, "point 4"]
    alpha: Float[np.ndarray, "point 4"]
    p: Float[np.ndarray, " point"]


def equivalent(tensor: Float[np.ndarray, "point 4"]) -> Float[np.ndarray, " point"]:
    """J(a) = sqrt(3/2 a : a) of a deviator."""
    return np.sqrt(1.5 * (tensor**2 @ DOUBLE))


def flowed(
    flow: Flow, strain: Float[np.ndarray, "point 3"], state: State, step: float
) -> tuple[State, Float[np.ndarray, "point 4"], Float[np.ndarray, "point 4 3"]]:
    """The state after `step` [s] at a total `strain`, the deviator s [MPa] there, d s / d strain.

    Implicit Euler. With dp the step of p, Z(dp) = 2 mu (dev eps - eps_v) - 2/3 C alpha / (1 + D dp)
    and N = 3/2 Z / J(Z), the new eps_v is eps_v + dp N, the new alpha (alpha + dp N) / (1 + D dp);
    dp solves J(Z) - 3 mu dp - C dp / (1 + D dp) - R0 - K (dp / step)^(1/n) = 0, or is 0 where
    J(Z(0)) <= R0.
    """
    trial = 2 * flow.mu * (strain @ DEVIATOR.T - state.strain)
    dp = _multiplier(flow, trial, state.alpha, step)
    shrink = 1.0 / (1.0 + flow.D * dp)
    z = trial - 2 / 3 * flow.C * state.alpha * shrink[:, None]
    j = equivalent(z)
    normal = np.divide(1.5 * z, j[:, None], out=np.zeros_like(z), where=j[:, None] > 0)
    increment = dp[:, None] * normal
    new = State(state.strain + increment, (state.alpha + increment) * shrink[:, None], state.p + dp)
    # d dp = slope : d trial; with A = d Z / d dp at fixed strain, N : d Z = d J.
    active = dp > 0
    a = 2 / 3 * flow.C * flow.D * state.alpha * shrink[:, None] ** 2
    rate = np.where(
        active, flow.K * (dp / step) ** (1 / flow.n) / (flow.n * np.where(active, dp, 1)), 1
    )
    drag = 3 * flow.mu + flow.C * shrink**2 + rate - (a * normal) @ DOUBLE
    slope = np.where(active, 1 / drag, 0.0)[:, None, None] * ((normal * DOUBLE) @ DEVIATOR)[:, None]
    dz = DEVIATOR + a[:, :, None] * slope
    turn = np.where(active, dp / np.where(active, j, 1), 0)[:, None, None]
    dn = 1.5 * dz - normal[:, :, None] * ((normal * DOUBLE)[:, None] @ dz)
    change = normal[:, :, None] * slope + turn * dn
    mu2 = 2 * flow.mu
    return new, trial - mu2 * increment, mu2 * (DEVIATOR - mu2 * change)


def _multiplier(
    flow: Flow,
    trial: Float[np.ndarray, "point 4"],
    alpha: Float[np.ndarray, "point 4"],
    step: float,
) -> Float[np.ndarray, " point"]:
    """dp of `flowed`, by Newton's method in v = (dp / step)^(1/n), kept in a bracket that shrinks.

    In v the residual falls from J(Z(0)) - R0 and is nearly straight until dp matters, so few steps
    suffice.
    """
    back = 2 / 3 * flow.C * alpha
    dp = np.zeros(len(trial))
    active = np.flatnonzero(equivalent(trial - back) > flow.R0)
    trial, back = trial[active], back[active]
    # J(Z) <= J(trial) + J(back) at any dp, which bounds dp and v from above.
    most = equivalent(trial) + equivalent(back) - flow.R0
    high = np.minimum(most / flow.K, (most / (3 * flow.mu * step)) ** (1 / flow.n))
    low, v = np.zeros_like(high), high
    for _ in range(100):
        x = step * v**flow.n
        shrink = 1.0 / (1.0 + flow.D * x)
        z = trial - back * shrink[:, None]
        j = equivalent(z)
        g = j - (3 * flow.mu + flow.C * shrink) * x - flow.R0 - flow.K * v
        low, high = np.where(g > 0, v, low), np.where(g > 0, high, v)
        pull = flow.D * shrink**2 * ((1.5 * z * back) @ DOUBLE) / j
        slope = (3 * flow.mu + flow.C * shrink**2 - pull) * flow.n * x / np.maximum(v, 1e-300)
        newton = v + g / (slope + flow.K)
        inside = (newton >= low) & (newton <= high)
        v, last = np.where(inside, newton, (low + high) / 2), v
        if (np.abs(v - last) <= 1e-13 * high).all():
            break
    dp[active] = step * v**flow.n
    return dp


@dataclass(frozen=True)
class ElastoViscoplastic(Law):
    """sigma = C : (eps - eps_v), p' = <(J(s - X) - R0) / K>^n, eps_v' = 3/2 p' (s - X) / J(s - X).

    X = 2/3 C alpha, alpha' = eps_v' - D alpha p' (Armstrong and Frederick). R0, K [MPa s^(1/n)],
    C [MPa] and D [-] are parameters of the case, n is `exponent`. The load rises linearly to its
    full value within `duration` [s], in `steps` of implicit Euler, each solved by Newton's method
    with the consistent tangent. The cumulated strain p comes out as `q` [-]; it converges with the
    first power of a step, and slowly, where there is next to no flow.
    """

    exponent: float = 20.0
    steps: int = 20
    duration: float = 1.0
    nu: float = 0.3

    needs: ClassVar = frozenset({"E", "R0", "K", "C", "D"})

    def respond(
        self, body: Body, load: Float[np.ndarray, " freedom"], values: Mapping[str, float]
    ) -> Response:
        _check(values)
        march = _March(self, body, load, values)
        points = body.weights.size
        state = State(np.zeros((points, 4)), np.zeros((points, 4)), np.zeros(points))
        u = np.zeros(body.n_freedoms)
        rate = body.solved(march.elastic, load) / self.steps
        for i in range(1, self.steps + 1):
            before = u
            u, stress, state = march.equilibrium(i, u + rate, state)
            rate = u - before
        shape = body.weights.shape
        return Response(u, stress.reshape(*shape, 3), {"q": state.p.reshape(shape)})


def _check(values: Mapping[str, float]) -> None:
    wrong = {k: values[k] for k in ("E", "K") if not values[k] > 0}
    wrong |= {k: values[k] for k in ("R0", "C", "D") if not values[k] >= 0}
    if wrong:
        raise ValueError(f"expected E and K above zero, and R0, C, D not below, got {wrong}")


@dataclass(frozen=True, eq=False)
class _March:
    """One body on its way through time."""

    law: ElastoViscoplastic
    body: Body
    load: Float[np.ndarray, " freedom"]
    values: Mapping[str, float]

    @cached_property
    def flow(self) -> Flow:
        v = self.values
        mu = v["E"] / 2 / (1 + self.law.nu)
        return Flow(mu, v["R0"], v["K"], v["C"], v["D"], self.law.exponent)

    @cached_property
    def bulk(self) -> float:
        """E / 3 / (1 - 2 nu) [MPa]."""
        return self.values["E"] / 3 / (1 - 2 * self.law.nu)

    @cached_property
    def elastic(self) -> Any:
        """Factors of the elastic stiffness."""
        return self.body.factorised(stiffness(self.values["E"], self.law.nu))

    def stressed(
        self, u: Float[np.ndarray, " freedom"], state: State
    ) -> tuple[State, Float[np.ndarray, "point 3"], Float[np.ndarray, "point 3 3"]]:
        """State, stress (11, 22, 12) and its tangent after a step that ends at `u`."""
        strain = self.body.strain(u).reshape(-1, 3)
        step = self.law.duration / self.law.steps
        new, s, tangent = flowed(self.flow, strain, state, step)
        volume = np.array([1.0, 1.0, 0.0])
        stress = s[:, IN_PLANE] + self.bulk * (strain @ volume)[:, None] * volume
        return new, stress, tangent[:, IN_PLANE] + self.bulk * np.outer(volume, volume)

    def equilibrium(
        self, i: int, u: Float[np.ndarray, " freedom"], state: State
    ) -> tuple[Float[np.ndarray, " freedom"], Float[np.ndarray, "point 3"], State]:
        """Displacements, stress and state at the end of step `i`, from a first guess of `u`.

        Raises:
            SolverFailed: Newton's method doesn't converge.
        """
        body, shape = self.body, self.body.weights.shape
        load = self.load * (i / self.law.steps)
        size = np.linalg.norm(self.load)
        for _ in range(ITERATIONS):
            new, stress, tangent = self.stressed(u, state)
            residual = load - body.force(stress.reshape(*shape, 3))
            miss = np.linalg.norm(residual[body.free]) / size
            if miss < TOLERANCE:
                return u, stress, new
            plastic = new.p.max() > state.p.max()
            factors = body.factorised(tangent.reshape(*shape, 3, 3)) if plastic else self.elastic
            u = u + body.solved(factors, residual)
        raise SolverFailed(
            f"expected equilibrium to {TOLERANCE:g} of the load in {ITERATIONS} iterations, got "
            f"{miss:.2g} in step {i} of {self.law.steps} with {dict(self.values)}; take more "
            "steps, or a smaller load"
        )
