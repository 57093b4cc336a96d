"""What a closure is learned in: an environment of agents, given as an object; and the samples that
say what its flow should be like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Complex, Float
from torch import Tensor

from fieldcast.meshes import Case, Field, Mesh, Sample

from .surrogate import Progress, quiet

WAVENUMBERS = 16
"""So many log spectra are seen, evenly over the wavenumbers of any grid."""
LOST = 6.0
"""A flow without a closure comes to about 1.5."""
VORTICITY, SPECTRUM = "vorticity", "enstrophy_spectrum"
Coefficients = Float[Tensor, "row agent"]
Line = Float[Tensor, " wavenumber"]


@runtime_checkable
class State(Protocol):
    """Rows of flows: the spectrum of the vorticity, and what a scheme of two steps keeps; made by
    `Environment.state`."""

    @property
    def vorticity(self) -> Complex[Tensor, "row k l"]: ...
    @property
    def before(self) -> Complex[Tensor, "row k l"]: ...


@runtime_checkable
class Environment(Protocol):
    """A flow that agents, `agents` x `agents` of them, act on by the coefficient of its closure;
    `fieldcast.environments` registers the classes that keep this, frozen dataclasses of
    numbers."""

    @property
    def points(self) -> int: ...
    @property
    def agents(self) -> int: ...
    @property
    def interval(self) -> float: ...

    def at(self, device: str) -> Environment: ...
    def resized(self, points: int) -> Environment: ...
    def spectra_of(self, vorticity: Float[Tensor, "row _ _"]) -> Complex[Tensor, "row _ _"]: ...
    def line(self, spectra: Complex[Tensor, "row _ _"]) -> Float[Tensor, "row wavenumber"]: ...
    def starts(self, snapshots: Complex[Tensor, "row _ _"], rows: int, seed: int) -> State: ...
    def state(
        self,
        vorticity: Complex[Tensor, "row k l"],
        before: Complex[Tensor, "row k l"] | None = None,
    ) -> State: ...
    def acted(self, state: State, coefficients: Coefficients) -> State: ...
    def invariants(self, state: State) -> Float[Tensor, "row agent feature"]: ...
    def pulls(self, state: State, target: Line) -> Float[Tensor, "row agent feature"]: ...
    def sharpens(self, state: State) -> Float[Tensor, "row agent feature"]: ...
    def flatness(self, spectra: Complex[Tensor, "row _ _"]) -> Float[Tensor, ""]: ...
    def germano(self, state: State) -> Float[Tensor, " row"]: ...
    def field(self, coefficients: Coefficients) -> Float[Tensor, "row y x"]: ...
    def tendency(
        self, spectrum: Complex[Tensor, "row k l"], coefficients: Coefficients
    ) -> Float[Tensor, "row y x"]: ...
    def vorticity(self, spectrum: Complex[Tensor, "row k l"]) -> Float[Tensor, "row y x"]: ...
    def budget(self, state: State, coefficients: Coefficients) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a flow should be like: its enstrophy by wavenumber `target`, from 0 on, and spectra of
    snapshots to start from, on any grid."""

    target: Line
    snapshots: Complex[Tensor, "row _ _"]

    def on(self, environment: Environment) -> Line:
        """The target on a grid.

        Raises:
            ValueError: one that tells of fewer wavenumbers.
        """
        half = environment.points // 2
        if len(self.target) < half:
            raise ValueError(
                f"expected a spectrum of at least {half} wavenumbers for {environment.points} "
                f"points a side, got {len(self.target)}; give finer snapshots or a spectrum"
            )
        return self.target[:half]


@dataclass(frozen=True, eq=False)
class Task:
    """What a law is found for, and where training is kept."""

    aim: Wanted
    samples: Sequence[Sample]
    seed: int = 0
    progress: Progress = quiet
    checkpoint: Path | None = None


def wanted(environment: Environment, samples: Sequence[Sample]) -> Wanted:
    """From samples: snapshots, whose known field or field "vorticity" lies on a periodic square,
    and spectra, made by `spectrum_sample`. Of several grids the finest is taken. Where there are no
    spectra, the mean of the snapshots is the target.

    Raises:
        ValueError: samples of neither kind, or no snapshot.
    """
    if not len(samples):
        raise ValueError("expected at least one snapshot, got none")
    told = [s for s in samples if SPECTRUM in s.fields]
    snapshots = [_spectra(environment, s) for s in samples if SPECTRUM not in s.fields]
    if not snapshots:
        raise ValueError(f"expected snapshots beside the spectra, samples of {VORTICITY!r}")
    finest = max(len(s[0]) for s in snapshots)
    every = torch.cat([s for s in snapshots if len(s[0]) == finest])
    lines = [torch.as_tensor(_line(s), dtype=torch.float32, device=every.device) for s in told]
    target = torch.stack(lines).mean(dim=0) if lines else environment.line(every).mean(dim=0)
    return Wanted(target, every)


def _spectra(environment: Environment, sample: Sample) -> Complex[Tensor, "time _ _"]:
    fields = {**sample.case.fields, **sample.fields}
    if VORTICITY not in fields:
        raise ValueError(
            f"case {sample.case.label}: expected {VORTICITY!r} or {SPECTRUM!r}, got "
            f"{sorted(fields)}"
        )
    values = fields[VORTICITY].values[:, :, 0]
    n = side(sample.case.mesh, sample.case.label)
    if not np.isfinite(values).all():
        raise ValueError(f"case {sample.case.label}: expected a finite {VORTICITY}")
    return environment.spectra_of(torch.tensor(values.reshape(-1, n, n)))


def _line(sample: Sample) -> np.ndarray:
    values = np.array(sample.fields[SPECTRUM].values[0, :, 0])
    k = sample.case.mesh.points[:, 0]
    if not np.array_equal(k, np.arange(len(k))) or not (values[1:] > 0).all():
        raise ValueError(
            f"case {sample.case.label}: expected a positive spectrum of wavenumbers 0, 1, ..., "
            "made by spectrum_sample"
        )
    return values


def spectrum_sample(values: Float[np.ndarray, " wavenumber"], name: str = "") -> Sample:
    """A sample that tells the enstrophy of wavenumbers 0, 1, ... (`line_spectrum`); its mesh is
    the line of wavenumbers."""
    ids = np.arange(len(values))
    mesh = Mesh(ids[:, None].astype(float), {"line": np.stack([ids[:-1], ids[1:]], axis=1)})
    return Sample(Case(mesh, {}, name=name), {SPECTRUM: Field.steady(np.asarray(values))})


def side(mesh: Mesh, label: str) -> int:
    """n of n x n points of a periodic square, row by row.

    Raises:
        ValueError: another mesh.
    """
    n = round(len(mesh.points) ** 0.5)
    x = 2.0 * np.pi * np.arange(n) / max(n, 1)
    square = np.stack(np.meshgrid(x, x), axis=-1).reshape(-1, 2)
    if n % 2 or square.shape != mesh.points.shape or not np.allclose(mesh.points, square):
        raise ValueError(
            f"case {label}: expected the points of a periodic square of 2 pi, an even number a "
            f"side, row by row, got {mesh.points.shape} coordinates"
        )
    return n


class Uses(NamedTuple):
    """What agents see beside the spectrum: invariants of their place, their pulls on the spectrum,
    and those on the fourth moment of the vorticity."""

    invariants: bool = True
    pulls: bool = True
    tails: bool = False


USUAL = Uses()


def seen(
    environment: Environment, state: State, target: Line, uses: Uses = USUAL
) -> Float[Tensor, "row agent input"]:
    """What each agent sees as one row: what `uses` says, and the whole flow's 1.5 log Z / Z_t at
    `WAVENUMBERS` wavenumbers from 1 to the largest of the grid."""
    parts = [environment.invariants(state)] if uses.invariants else []
    parts += [environment.pulls(state, target)] if uses.pulls else []
    parts += [environment.sharpens(state)] if uses.tails else []
    whole = spectral(log_ratio(environment.line(state.vorticity), target))
    parts.append(whole[:, None].expand(-1, environment.agents**2, -1))
    return torch.cat(parts, dim=-1)


def log_ratio(line: Float[Tensor, "row wavenumber"], target: Line) -> Float[Tensor, "row _"]:
    """log Z / Z_t from wavenumber 1 on."""
    return torch.log((line[:, 1:] + 1e-9) / target[1:])


def spectral(ratio: Float[Tensor, "row wavenumber"]) -> Float[Tensor, "row _"]:
    """Of any number of wavenumbers at `WAVENUMBERS` places, between them by a line."""
    last = ratio.shape[1] - 1
    place = torch.linspace(0.0, last, WAVENUMBERS, device=ratio.device)
    low = place.floor().long().clamp(max=max(last - 1, 0))
    found = torch.lerp(ratio[:, low], ratio[:, (low + 1).clamp(max=last)], place - low)
    return (1.5 * found).clamp(-4.0, 4.0)


def mismatch(line: Float[Tensor, "row wavenumber"], target: Line) -> Float[Tensor, " row"]:
    """|k (Z - Z_t)|^2; the reward of Mojgani et al. 2023 (arXiv:2312.00907) is 1 over it, what is
    learned by is its logarithm, which does not go by the few states that come nearest."""
    k = torch.arange(len(target), dtype=line.dtype, device=line.device)
    return (k * (line - target)).square().sum(dim=-1)


def unseen(environment: Environment, target: Line, rows: int, seed: int) -> Wanted:
    """A target with states to start from where no snapshot is at hand: smooth fields by chance of
    the enstrophy that the target sums up to."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(rows, environment.agents**2, generator=generator).to(target.device)
    fields = environment.field(drawn - drawn.mean(dim=1, keepdim=True))
    size = (2.0 * target.sum() / fields.square().mean(dim=(1, 2), keepdim=True)).sqrt()
    return Wanted(target, environment.spectra_of(size * fields))


def limit(target: Line) -> Float[Tensor, ""]:
    """The mismatch above which a flow is lost: so many times that of no flow at all."""
    return LOST * mismatch(torch.zeros_like(target)[None], target)[0]
