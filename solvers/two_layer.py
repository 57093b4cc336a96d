"""Two-layer quasi-geostrophic flow on the beta-plane, driven by relaxation to a jet.

With potential vorticities q1 = lap psi1 - (psi1 - psi2), q2 = lap psi2 + (psi1 - psi2),

dq_k/dt + j J(psi_k, q_k) + beta psi_k,x = +-d (psi1 - psi2 - psi_R) - [k = 2] f lap psi2
                                           - nu lap^4 q_k,   + above (k = 1), - below,

as in Lutsko, Held and Zurita-Gotor 2015 (doi:10.1175/JAS-D-14-0356.1), all in units of the
deformation radius; but for walls and sponges: the box is periodic along y, too, and the jet
U_R = sech^2(y / width) about the middle has its mean taken off. `j` is 1 but in models that are to
be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from jaxtyping import Complex, Float

from fieldcast.meshes import Case, Field, Mesh, Sample
from fieldcast.meshes.time_stepping import lawson

from .lorenz96 import series
from .periodic import periodic_axis, periodic_mesh
from .solver import Solver, parameter_values

Layers = Float[np.ndarray, "*layers y x"]
LayerSpectra = Complex[np.ndarray, "*layers l k"]


@dataclass(frozen=True)
class Channel:
    """A box of lengths (x, y) with so many points along each; arrays are (layer, y, x)."""

    lengths: tuple[float, float] = (46.0, 68.0)
    counts: tuple[int, int] = (96, 192)
    width: float = 3.5

    @cached_property
    def k(self) -> Float[np.ndarray, "1 k"]:
        """Wavenumbers along x."""
        return (2.0 * np.pi / self.lengths[0] * np.arange(self.counts[0] // 2 + 1))[None]

    @cached_property
    def l(self) -> Float[np.ndarray, "l 1"]:  # noqa: E743
        """Wavenumbers along y."""
        n = self.counts[1]
        return (2.0 * np.pi / self.lengths[1] * np.fft.fftfreq(n, 1.0 / n))[:, None]

    @cached_property
    def square(self) -> Float[np.ndarray, "l k"]:
        """k^2 + l^2."""
        return self.k**2 + self.l**2

    @cached_property
    def kept(self) -> Float[np.ndarray, "l k"]:
        """1 for the modes of the 2/3 rule."""
        (nx, ny), ends = self.counts, (self.k[0, 1], self.l[1, 0])
        along, across = self.k < ends[0] * nx / 3, np.abs(self.l) < ends[1] * ny / 3
        return (along & across).astype(float)

    @cached_property
    def y(self) -> Float[np.ndarray, "y 1"]:
        """From the middle."""
        length, n = self.lengths[1], self.counts[1]
        return (periodic_axis(length, n) - 0.5 * length)[:, None]

    @cached_property
    def jet(self) -> Float[np.ndarray, "y x"]:
        """psi_R, of mean 0: -d psi_R/dy = sech^2(y / width) less its mean."""
        speed = np.fft.fft(np.cosh(self.y[:, 0] / self.width) ** -2.0)
        l = self.l[:, 0]  # noqa: E741
        safe = np.where(l == 0, 1.0, l)
        psi = np.fft.ifft(np.where(l == 0, 0.0, 1j * speed / safe)).real
        return np.repeat(psi[:, None], self.counts[0], axis=1)

    def spectral(self, values: Layers) -> LayerSpectra:
        """Coefficients of fields."""
        return np.fft.rfft2(values)

    def physical(self, spectrum: LayerSpectra) -> Layers:
        """Fields of coefficients."""
        return np.fft.irfft2(spectrum, s=(self.counts[1], self.counts[0]))

    def streamfunction(self, q: LayerSpectra) -> LayerSpectra:
        """psi of q: sum and difference of the layers have inverses of their own."""
        upper, lower = q[..., 0, :, :], q[..., 1, :, :]
        total = -(upper + lower) / np.where(self.square == 0, np.inf, self.square)
        shear = -(upper - lower) / (self.square + 2.0)
        return 0.5 * np.stack([total + shear, total - shear], axis=-3)

    def jacobian(self, psi: LayerSpectra, q: LayerSpectra) -> LayerSpectra:
        """J = (v q)_y + (u q)_x, u = -psi_y, v = psi_x."""
        values = self.physical(q)
        u, v = self.physical(-1j * self.l * psi), self.physical(1j * self.k * psi)
        found = 1j * self.k * self.spectral(u * values) + 1j * self.l * self.spectral(v * values)
        return self.kept * found


@dataclass(frozen=True)
class TwoLayer(Solver):
    """Cases are `channel_case`s; the known field q has the layers as its components. Lawson's
    Runge-Kutta method of order 4, exact for the hyperviscosity, with steps of at most `step`.
    `closure` maps q (layer, y, x) to a tendency."""

    closure: Callable[[Layers], Layers] | None = None
    channel: Channel = Channel()
    step: float = 0.05

    parameters: ClassVar = {
        "advection": "",
        "beta": "",
        "relaxation": "",
        "friction": "",
        "hyperviscosity": "",
    }
    outputs: ClassVar = {"q": "", "psi": ""}
    order: ClassVar[float | None] = 4.0

    def solve(self, case: Case) -> Sample:
        numbers, channel = parameter_values(self, case), self.channel
        start = self._start(case)
        shape = start.shape
        advance = self.advance(numbers)

        def flat(q: np.ndarray, time: float, h: float) -> np.ndarray:
            return advance(q.reshape(shape), h).reshape(1, -1)

        found = series(flat, start.reshape(1, -1), np.asarray(case.times), self.step)
        q = found.reshape(-1, *shape)
        psi = channel.physical(channel.streamfunction(channel.spectral(q)))
        fields = {
            k: Field(np.moveaxis(v, 1, -1).reshape(len(v), -1, 2))
            for k, v in (("q", q), ("psi", psi))
        }
        return Sample(case, fields)

    def advance(self, numbers: Mapping[str, float]) -> Callable[[Layers, float], Layers]:
        """How q goes on over a step."""
        channel = self.channel
        decay = -numbers["hyperviscosity"] * channel.square**4

        def step(q: Layers, h: float) -> Layers:
            spectrum = channel.kept * channel.spectral(q)
            half = np.exp((0.5 * h) * decay)
            return channel.physical(lawson(self._rate(numbers), spectrum, half, h))

        return step

    def _rate(self, numbers: Mapping[str, float]) -> Callable[[np.ndarray], np.ndarray]:
        channel, closure = self.channel, self.closure
        jet = channel.spectral(channel.jet)

        def rate(q: np.ndarray) -> np.ndarray:
            psi = channel.streamfunction(q)
            found = (-1j * numbers["beta"]) * channel.k * psi
            if numbers["advection"]:
                found -= numbers["advection"] * channel.jacobian(psi, q)
            pull = numbers["relaxation"] * (psi[0] - psi[1] - jet)
            found[0] += pull
            found[1] += numbers["friction"] * channel.square * psi[1] - pull
            if closure is not None:
                found += channel.spectral(closure(channel.physical(q)))
            return channel.kept * found

        return rate

    def _start(self, case: Case) -> Layers:
        """q as (layer, y, x)."""
        (nx, ny), given = self.channel.counts, case.fields.get("q")
        if case.mesh != channel_mesh(self.channel) or set(case.fields) != {"q"} or given is None:
            raise ValueError(
                f"case {case.label}: expected the known field q on the points of {self.channel}; "
                "make it by fieldcast.solvers.two_layer.channel_case"
            )
        if given.values.shape[::2] != (1, 2) or (np.diff(case.times) <= 0).any():
            raise ValueError(
                f"case {case.label}: expected q of one time and two components, and rising times, "
                f"got {given.values.shape} and {np.asarray(case.times)}"
            )
        return np.moveaxis(given.values.reshape(ny, nx, 2), -1, 0).astype(float)

    def example(self) -> Case:
        return channel_case(self.channel, np.array([0.0, 0.1]))


def channel_mesh(channel: Channel) -> Mesh:
    """Its points."""
    return periodic_mesh(
        *(periodic_axis(s, n) for s, n in zip(channel.lengths, channel.counts, strict=True))
    )


NUMBERS: Mapping[str, float] = {
    "advection": 1.0,
    "beta": 0.196,
    "relaxation": 0.01,
    "friction": 0.07,
    "hyperviscosity": 1e-6,
}
"""Those of the reference."""


def channel_case(
    channel: Channel,
    times: Float[np.ndarray, " time"],
    seed: int = 0,
    numbers: Mapping[str, float] = NUMBERS,
) -> Case:
    """A start at the jet, in balance, with waves of random phase and small height."""
    rng = np.random.default_rng(seed)
    nx, ny = channel.counts
    noise = np.fft.rfft2(rng.normal(size=(2, ny, nx))) * np.exp(-channel.square) * channel.kept
    waves = channel.physical(noise)
    psi = np.stack([channel.jet, 0.0 * channel.jet]) + 0.1 * waves / np.abs(waves).max()
    spectrum = channel.spectral(psi)
    shear = spectrum[0] - spectrum[1]
    q = -channel.square * spectrum + np.stack([-shear, shear])
    values = np.moveaxis(channel.physical(channel.kept * q), 0, -1).reshape(1, -1, 2)
    mesh = channel_mesh(channel)
    return Case(mesh, numbers, {"q": Field(values)}, times=times, name=f"seed{seed}")


def continued(sample: Sample, times: Float[np.ndarray, " time"]) -> Case:
    """The case that goes on where a sample ends."""
    case, q = sample.case, sample.fields["q"]
    last = {"q": q.with_values(q.values[-1:])}
    return Case(case.mesh, case.parameters, last, times=times, name=case.name)


@dataclass(frozen=True)
class LayerLibrary:
    """Terms by name that a model of either layer may lack, from q (.., layer, y, x): those that
    MEDIDA's authors try."""

    channel: Channel = Channel()

    def __call__(self, q: Layers) -> dict[str, Float[np.ndarray, "*some y x"]]:
        channel = self.channel
        spectrum = channel.spectral(q)
        psi = channel.streamfunction(spectrum)
        families = {
            "lap psi": -channel.square * psi,
            "psi_x": 1j * channel.k * psi,
            "psi": psi,
            "J(psi, q)": channel.jacobian(psi, spectrum),
        }
        found = {}
        for name, both in families.items():
            values = channel.physical(both)
            for layer in (0, 1):
                named = name.replace("psi", f"psi{layer + 1}").replace("q", f"q{layer + 1}")
                found[named] = values[..., layer, :, :]
        shape = found["psi1"].shape
        found["psi_R"] = np.broadcast_to(channel.jet, shape)
        found["y"] = np.broadcast_to(channel.y, shape)
        return found
