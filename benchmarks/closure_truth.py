"""What the benchmark of closures compares with: files of Mojgani et al. (read where they are), and
a direct simulation of our own, made once and kept in .cache."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from bars import data_folder, say
from scipy.io import loadmat

from fieldcast.meshes import Case, Field, Sample
from fieldcast.solvers.periodic import periodic_square
from fieldcast.solvers.spectral import Grid, line_spectrum
from fieldcast.solvers.turbulence import CASES, Skew, Stepper
from fieldcast.surrogates.closure_environment import spectrum_sample

CACHE = Path(__file__).parent / ".cache"
FOLDERS = {1: "case1_kf4", 2: "case2_kf4_beta20"}
NAMES = {1: "Re20kf4", 2: "Re20kf4beta20"}
KEPT = 64
"""Points a side of the filtered states that are kept."""
SPIN, EACH = 5.0, 0.2
"""Time for the small scales to come up from a filtered snapshot; time between states kept."""


def spectrum_file(case: int) -> np.ndarray:
    """Enstrophy by wavenumber, from 0 on."""
    folder = data_folder("smarl_reference") / FOLDERS[case]
    return np.loadtxt(folder / f"enstrophy_spectrum_{NAMES[case]}_DNS1024_xy.dat")[:, 1]


def snapshots(case: int, points: int) -> torch.Tensor:
    """Vorticities v_x - u_y of filtered direct simulations, (row, y, x)."""
    folder = data_folder("smarl_reference") / FOLDERS[case]
    found = []
    for path in sorted(folder.glob(f"iniWor_{NAMES[case]}_{points}_*.mat")):
        fields = [v for k, v in loadmat(path).items() if not k.startswith("__")]
        found += [-f for f in fields if f.ndim == 2 and f.shape == (points, points)]
    return torch.from_numpy(np.stack(found).astype(np.float32))


def samples(case: int) -> list[Sample]:
    """What a closure learns from: five snapshots to start from, and their spectrum."""
    found = [
        Sample(
            Case(
                periodic_square(len(w)),
                {},
                {"vorticity": Field.steady(w.numpy().reshape(-1).astype(float))},
                name=f"snapshot_{n}",
            ),
            {},
        )
        for n, w in enumerate(snapshots(case, 128))
    ]
    line = spectrum_file(case)[: 128 // 2 * 4]
    return [*found, spectrum_sample(np.maximum(line, 1e-12))]


@dataclass(frozen=True, eq=False)
class Direct:
    """A direct simulation: enstrophy by wavenumber (time, wavenumber) and filtered states, `EACH`
    apart."""

    lines: np.ndarray
    states: torch.Tensor
    seconds: float
    units: float

    def gap(self, line: np.ndarray, k: slice) -> float:
        """The largest relative gap of the mean spectrum from another at some wavenumbers."""
        return float(np.abs(self.lines.mean(axis=0)[k] / line[k] - 1.0).max())

    def chance(self, snapshots: int, k: slice, draws: int = 500) -> np.ndarray:
        """Largest relative gaps of means of so many of its states from the mean of all."""
        rng, whole = np.random.default_rng(0), self.lines.mean(axis=0)[k]
        rows = [rng.choice(len(self.lines), snapshots, replace=False) for _ in range(draws)]
        return np.array([np.abs(self.lines[r].mean(axis=0)[k] / whole - 1.0).max() for r in rows])


def direct(points: int, step: float, units: float) -> Direct:
    """Case 1 from a snapshot filtered to 128 x 128 points; goes on where it was stopped. All modes
    of the grid are kept, as the authors do: with those of the 2/3 rule alone enstrophy piles up
    from wavenumber 60 on."""
    path = CACHE / f"closures_direct_skew_{points}_{units:g}.npz"
    kept = dict(np.load(path)) if path.exists() else {}
    grid, coarse = Grid(points), Grid(KEPT)
    stepper = Stepper(CASES[1], grid, step, Skew())
    if kept:
        w = torch.from_numpy(kept["vorticity"])
    else:
        start = Grid(128).spectral(snapshots(1, 128)[:1])
        w = stepper.start(grid.resampled(start, Grid(128))).vorticity
    states, lines = (list(kept.get(k, ())) for k in ("states", "lines"))
    done, seconds = int(kept.get("done", 0)), float(kept.get("seconds", 0.0))
    each, spin = round(EACH / step), round(SPIN / EACH)
    for n in range(done, spin + round(units / EACH)):
        w, spent = _advanced(stepper, w, each)
        seconds += spent
        if not torch.isfinite(w).all():
            raise FloatingPointError(f"the direct simulation blew up: halve its step of {step:g}")
        if n >= spin:
            states.append(coarse.resampled(w, grid)[0].numpy())
            lines.append(line_spectrum(grid, w)[0].numpy())
        if n % 10 == 9 or n + 1 == spin + round(units / EACH):
            CACHE.mkdir(exist_ok=True)
            told = {"states": np.array(states), "lines": np.array(lines)}
            np.savez(path, done=n + 1, seconds=seconds, vorticity=w.numpy(), **told)
            say(f"direct simulation: {(n + 1) * EACH:.1f} units, {seconds:.0f} s")
    return Direct(np.array(lines, dtype=float), torch.from_numpy(np.array(states)), seconds, units)


def direct_cost(points: int = 512, step: float = 1e-3, steps: int = 8) -> float:
    """CPU seconds of a unit of time."""
    stepper = Stepper(CASES[1], Grid(points), step, Skew())
    w = stepper.start(Grid(points).resampled(Grid(128).spectral(snapshots(1, 128)[:1]), Grid(128)))
    return _advanced(stepper, w.vorticity, steps)[1] / (steps * step)


def _advanced(stepper: Stepper, w: torch.Tensor, steps: int) -> tuple[torch.Tensor, float]:
    """By the classical scheme of Runge and Kutta, which waves near the cutoff don't make unstable
    as they do the scheme of coarse runs, and which is cheaper at the steps that allows; and CPU
    seconds."""
    flow, dt = stepper.flow, stepper.step
    damping = flow.viscosity * stepper.grid.square + flow.drag
    kept = stepper.form.kept(stepper.grid)

    def rate(w: torch.Tensor) -> torch.Tensor:
        return kept * (stepper.rate(w) + stepper.forcing - damping * w)

    start = time.process_time()
    with torch.inference_mode():
        for _ in range(steps):
            a = rate(w)
            b = rate(w + 0.5 * dt * a)
            c = rate(w + 0.5 * dt * b)
            w = w + dt / 6.0 * (a + 2.0 * b + 2.0 * c + rate(w + dt * c))
    return w.clone(), time.process_time() - start
