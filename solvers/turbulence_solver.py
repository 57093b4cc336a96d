"""Forced turbulence in two dimensions as a solver of cases, with a closure; see `turbulence`.

The state that a run goes on from is the known field "vorticity", with "tendency", the explicit part
of its rate one step before, where there is one; both are told, so that `continued` makes of any
answer the case that goes on as if it had not stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from fieldcast.meshes import Case, Field, Sample, Scalar

from .periodic import periodic_square
from .solver import Solver, SolverFailed, parameter_values
from .spectral import Grid, random_spectrum
from .turbulence import Closure, Flow, Form, Resolved, Skew, State, Stepper

Series = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class ForcedTurbulence(Solver):
    """w_t + J(psi, w) + beta v = nu lap w - alpha w + F - Pi on `periodic_square(n)`, by steps of
    `step`, of which the times are whole numbers. Enstrophy and energy are half the mean squares of
    vorticity and velocity. `closure` tells -Pi (None: 0); see `turbulence`."""

    closure: Closure | None = None
    form: Form = field(default_factory=Skew)
    step: float = 0.002
    dtype: torch.dtype = torch.float64
    device: str = "cpu"

    parameters: ClassVar = {"forcing_wavenumber": "", "beta": "", "viscosity": "", "drag": ""}
    outputs: ClassVar = {
        "vorticity": "",
        "velocity": "",
        "tendency": "",
        "energy": "",
        "enstrophy": "",
    }

    def solve(self, case: Case) -> Sample:
        return self.solve_all([case])[0]

    def solve_all(self, cases: Sequence[Case]) -> list[Sample]:
        """One sample per case; meshes, parameters and times are the same, starts are not.

        Raises:
            ValueError: cases that differ, lack a vorticity, or have times between steps.
            SolverFailed: a state that is not finite.
        """
        if not cases:
            raise ValueError("expected at least one case, got none")
        numbers = [parameter_values(self, case) for case in cases]
        starts = [_start(case) for case in cases]
        for case, own in zip(cases[1:], numbers[1:], strict=True):
            _check_same(case, cases[0], own == numbers[0], list(case.fields) == list(starts[0]))
        stepper = self.stepper(cases[0], numbers[0])
        counts = self._counts(cases[0])
        fields = {
            name: torch.from_numpy(np.stack([s[name] for s in starts])).to(
                self.device, dtype=self.dtype
            )
            for name in starts[0]
        }
        state = stepper.at_points(fields["vorticity"], self.closure)
        if "tendency" in fields:
            state = State(state.vorticity, stepper.grid.spectral(fields["tendency"]))
        found = self._run(stepper, state, counts, cases[0])
        return [
            _sample(case, {k: [v[i] for v in s] for k, s in found.items()})
            for i, case in enumerate(cases)
        ]

    def stepper(self, case: Case, numbers: dict[str, float] | None = None) -> Stepper:
        """What steps the state of a case."""
        own = parameter_values(self, case) if numbers is None else numbers
        k = own["forcing_wavenumber"]
        if k != round(k) or k < 0:
            raise ValueError(
                f"case {case.label}: expected a whole forcing_wavenumber from 0 on, got {k}"
            )
        flow = Flow(round(k), own["beta"], own["viscosity"], own["drag"])
        grid = Grid(_side(case), self.dtype, self.device)
        return Stepper(flow, grid, self.step, self.form)

    def _counts(self, case: Case) -> list[int]:
        """Steps between the times."""
        gaps = np.diff(np.asarray(case.times)) / self.step
        whole = np.round(gaps)
        if (whole < 1).any() or (np.abs(gaps - whole) > 1e-6 * whole).any():
            raise ValueError(
                f"case {case.label}: expected rising times a whole number of steps of {self.step} "
                f"apart, got {gaps.min():.6g} to {gaps.max():.6g} steps"
            )
        return [int(n) for n in whole]

    def _run(self, stepper: Stepper, state: State, counts: Sequence[int], case: Case) -> Series:
        found = {k: [v] for k, v in _told(stepper, state).items()}
        times = np.asarray(case.times)
        with torch.no_grad():
            for n, time in zip(counts, times[1:].tolist(), strict=True):
                state = stepper.advanced(state, n, self.closure)
                if not bool(torch.isfinite(torch.view_as_real(state.vorticity)).all()):
                    raise SolverFailed(
                        f"case {case.label}: a vorticity that is not finite before time {time:.6g};"
                        f" lower the step ({self.step}) or use a closure that takes more"
                    )
                for name, values in _told(stepper, state).items():
                    found[name].append(values)
        return found

    def example(self) -> Case:
        return random_case(Flow(), 16, np.linspace(0.0, 0.04, 3))


def _told(stepper: Stepper, state: State) -> dict[str, np.ndarray]:
    """Of one time, rows first."""
    grid = stepper.grid
    flow = Resolved(grid, state.vorticity)
    velocity = torch.stack(flow.velocity, dim=-1)
    found = {
        "vorticity": flow.vorticity[..., None],
        "velocity": velocity,
        "tendency": grid.physical(state.before)[..., None],
    }
    told = {k: v.cpu().numpy().reshape(len(v), grid.n**2, -1) for k, v in found.items()}
    w = state.vorticity
    told["enstrophy"] = (0.5 * grid.mean_product(w, w)).cpu().numpy()
    told["energy"] = (0.5 * grid.mean_product(w, grid.inverse * w)).cpu().numpy()
    return told


def _sample(case: Case, series: Series) -> Sample:
    scalars = ("enstrophy", "energy")
    fields = {k: Field(np.stack(v)) for k, v in series.items() if k not in scalars}
    return Sample(case, fields, {k: Scalar(np.stack(series[k])) for k in scalars})


def _side(case: Case) -> int:
    """n of n x n points."""
    n = round(len(case.mesh.points) ** 0.5)
    if n < 4 or n % 2 or case.mesh != periodic_square(n):
        raise ValueError(
            f"case {case.label}: expected the points of a periodic square, an even number a side; "
            "make them by fieldcast.solvers.periodic.periodic_square"
        )
    return n


def _start(case: Case) -> dict[str, np.ndarray]:
    """The known fields as (y, x)."""
    n = _side(case)
    unknown = set(case.fields) - {"vorticity", "tendency"}
    if "vorticity" not in case.fields or unknown:
        raise ValueError(
            f"case {case.label}: expected the known field 'vorticity', and 'tendency' where it "
            f"goes on, got {sorted(case.fields)}"
        )
    for name, known in case.fields.items():
        if known.values.shape != (1, n * n, 1) or not np.isfinite(known.values).all():
            raise ValueError(
                f"case {case.label}: expected a finite {name} of one time on {n * n} points, got "
                f"{known.values.shape} values"
            )
    return {k: np.array(f.values.reshape(n, n)) for k, f in case.fields.items()}


def _check_same(case: Case, first: Case, numbers: bool, fields: bool) -> None:
    times = np.array_equal(np.asarray(case.times), np.asarray(first.times))
    if not (numbers and fields and times and case.mesh == first.mesh):
        raise ValueError(
            f"case {case.label}: expected the mesh, the parameters, the times and the kinds of "
            f"known fields of case {first.label}; solve others apart"
        )


def random_case(
    flow: Flow,
    n: int,
    times: Float[np.ndarray, " time"],
    seed: int = 0,
    deviation: float = 5.0,
) -> Case:
    """Starts from random phases, of a standard deviation; see `random_spectrum`."""
    grid = Grid(n, torch.float64)
    values = grid.physical(random_spectrum(grid, 1, seed, deviation=deviation))[0].numpy()
    return turbulent_case(flow, values, times, f"seed{seed}")


def turbulent_case(
    flow: Flow,
    vorticity: Float[np.ndarray, "y x"],
    times: Float[np.ndarray, " time"],
    name: str = "",
) -> Case:
    """The case of a flow that starts from a vorticity."""
    numbers = {
        "forcing_wavenumber": flow.forcing_wavenumber,
        "beta": flow.beta,
        "viscosity": flow.viscosity,
        "drag": flow.drag,
    }
    start = {"vorticity": Field.steady(np.asarray(vorticity).reshape(-1))}
    return Case(periodic_square(len(vorticity)), numbers, start, times=times, name=name)


def continued(sample: Sample, times: Float[np.ndarray, " time"]) -> Case:
    """The case that goes on where a sample ends."""
    last = {
        name: sample.fields[name].with_values(sample.fields[name].values[-1:])
        for name in ("vorticity", "tendency")
    }
    case = sample.case
    return Case(case.mesh, case.parameters, last, times=times, name=case.name)
