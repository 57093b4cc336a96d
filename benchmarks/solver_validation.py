"""Solvers against measurements and theory: XFOIL and RANS of NACA 0012 at Re 6e6 beside Ladson's
tripped wind-tunnel data (NASA TM 4074) and NASA's turbulence modelling resource, and supersonic
flow beside the pitot formula, Billig's shock stand-off and oblique-shock theory. And 200 samples
made by `fieldcast generate`, which is killed with all its processes at a random moment.

RANS is on three grids, the finest of which is scored. Measured points are those of three grits with
an angle of up to 10 deg; lift is compared where it is above .1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bars import Bar, Clock, arguments, data_folder, finish, say, table
from scipy.optimize import brentq
from solving import all_solved

from fieldcast.meshes import Case, Mesh, Sample
from fieldcast.meshes.folder import read_folder
from fieldcast.meshes.sample import scalars_of
from fieldcast.pipelines.manifest import Manifest
from fieldcast.solvers import Limits, SolverFailed
from fieldcast.solvers.airfoil_grid import GridSize, c_grid
from fieldcast.solvers.airfoils import naca_called
from fieldcast.solvers.central_flow import sheet
from fieldcast.solvers.hypersonic import InviscidFlow, semi_ellipse
from fieldcast.solvers.rans import RansAirfoil
from fieldcast.solvers.xfoil import Xfoil, polar

REYNOLDS, MACH = 6e6, 0.15
GRITS = (80, 120, 180)
TRIP = 0.05
ALPHAS = (0.0, 4.0, 8.0, 10.0)
GRIDS = (0.5, 0.75, 1.0)
RESOURCE = {0.0: (0.0, 0.0082), 10.0: (1.09, 0.0123)}
"""cl and cd by Spalart and Allmaras' model at angles [deg], turbmodels.larc.nasa.gov."""
CYLINDER_MACHS, WEDGE_MACH, WEDGE_DEG = (3.0, 4.0, 6.0), 3.0, 15.0
SPACINGS = (0.05, 0.025)


def ladson() -> np.ndarray:
    """(alpha [deg], cl, cd) of all grits."""
    folder = data_folder("aero_experiments") / "naca0012_ladson"
    files = [folder / f"NACA0012_6e6_Ladson_{grit}grit.csv" for grit in GRITS]
    rows = np.concatenate([np.loadtxt(f, delimiter=",", skiprows=1)[:, :3] for f in files])
    return rows[(np.abs(rows[:, 0]) <= 10.2) & np.isfinite(rows).all(axis=1)]


def beside(alpha: float) -> tuple[float, float]:
    """Mean cl and cd of the points measured near an angle, cl in proportion to it."""
    rows = ladson()
    near = rows[np.abs(np.abs(rows[:, 0]) - alpha) < 0.25]
    cl = np.abs(near[:, 1]) * alpha / np.abs(near[:, 0])
    return float(cl.mean()), float(near[:, 2].mean())


def forces(sample: Sample) -> tuple[float, float]:
    """(cl, cd)."""
    return float(sample.scalars["cl"]), float(sample.scalars["cd"])


def tripped(sharp: bool, alphas: np.ndarray) -> np.ndarray:
    """(cl, cd) of XFOIL with transition fixed; not finite where it has no answer."""
    others = {"reynolds": REYNOLDS, "mach": MACH, "n_crit": 9.0}
    section = naca_called("0012", sharp=sharp)
    found = polar(Xfoil(trip=(TRIP, TRIP)), section, alphas.tolist(), **others)
    return np.array([(np.nan,) * 2 if isinstance(s, SolverFailed) else forces(s) for s in found])


def xfoil_bars() -> tuple[list[Bar], str]:
    """XFOIL beside each measured point, with the sharp trailing edge of NASA's resource; the open
    one of the section's own formula stands in the table. And the manual's section."""
    clock, measured = Clock(), ladson()
    say(f"XFOIL at {len(measured)} measured angles")
    told, blunt = (tripped(sharp, measured[:, 0]) for sharp in (True, False))
    lifting = np.abs(measured[:, 1]) > 0.1
    cl, cd = np.abs(told / measured[:, 1:] - 1.0).T
    cl = cl[lifting]
    [section] = polar(
        Xfoil(), naca_called("2412", sharp=False), [4.0], reynolds=1e6, mach=0.0, n_crit=9.0
    )
    assert not isinstance(section, SolverFailed), section
    manual = forces(section)
    n = len(measured)
    bars = [
        Bar("XFOIL 0012, cl off by, worst point", float(np.nanmax(cl)), 0.03, n, clock()),
        Bar("XFOIL 0012, cl off by, median", float(np.nanmedian(cl)), 0.03, n, clock()),
        Bar("XFOIL 0012, cd off by, worst point", float(np.nanmax(cd)), 0.10, n, clock()),
        Bar("XFOIL 0012, cd off by, median", float(np.nanmedian(cd)), 0.10, n, clock()),
        Bar("XFOIL 0012, share without an answer", float(np.isnan(cd).mean()), 0.0, n, clock()),
        Bar("XFOIL 2412, cl off from 0.7146", abs(manual[0] / 0.7146 - 1), 0.01, 1, clock()),
        Bar("XFOIL 2412, cd off from 0.0069", abs(manual[1] / 0.0069 - 1), 0.03, 1, clock()),
    ]
    lines = sorted(map(tuple, np.hstack([measured, told, blunt]).tolist()))
    head = ("alpha", "cl measured", "cd measured", "cl", "cd", "cl, open edge", "cd, open edge")
    return bars, table(head, lines)


def rans_bars(quick: bool) -> tuple[list[Bar], str]:
    """Spalart and Allmaras' model on several grids."""
    # A machine may have other work.
    clock, solver = Clock(), RansAirfoil(limits=Limits(seconds=3600.0))
    grids, alphas = (GRIDS[:1], ALPHAS[::3]) if quick else (GRIDS, ALPHAS)
    meshes = [c_grid(naca_called("0012"), GridSize().refined(factor)) for factor in grids]
    asked = [(mesh, alpha) for mesh in meshes for alpha in alphas]
    cases = [Case(m, scalars_of({"alpha": a, "reynolds": REYNOLDS})) for m, a in asked]
    say(f"RANS: {len(cases)} cases of up to {meshes[-1].n_cells} cells")
    answers = [forces(s) for s in all_solved(solver, cases)]
    found = {(m.n_cells, a): told for (m, a), told in zip(asked, answers, strict=True)}
    last = {a: found[meshes[-1].n_cells, a] for a in alphas}

    def bar(name: str, value: float, goal: float) -> Bar:
        return loosened(f"RANS 0012, {name}", value, goal, quick, clock)

    bars = [bar("alpha 0: |cl|", abs(last[0.0][0]), 0.01)]
    for alpha, (cl, cd) in RESOURCE.items():
        if cl:
            bars.append(bar(f"alpha {alpha:g}: cl off", abs(last[alpha][0] / cl - 1), 0.05))
        bars.append(bar(f"alpha {alpha:g}: cd off", abs(last[alpha][1] / cd - 1), 0.15))
    for alpha in [a for a in alphas if a in (4.0, 8.0)]:
        cl, cd = beside(alpha)
        name = f"alpha {alpha:g}, Ladson"
        bars.append(bar(f"{name}: cl off", abs(last[alpha][0] / cl - 1), 0.05))
        bars.append(bar(f"{name}: cd off", abs(last[alpha][1] / cd - 1), 0.15))
    rows = [(m.n_cells, a, *found[m.n_cells, a]) for m, a in asked]
    return bars, table(("cells", "alpha", "cl", "cd"), rows)


@dataclass(frozen=True)
class Shock:
    """Where pressure rises half way."""

    stand_off: float
    stagnation: float


def along_stagnation(sample: Sample, mach: float) -> Shock:
    """By the cells next to the symmetry line ahead of the body."""
    mesh, p = sample.case.mesh, sample.fields["p"].values[0, :, 0]
    across = mesh.n_cells // (len(mesh.regions["wall"]) - 1)
    # The first row of cells, from the wall outwards.
    x = mesh.points[mesh.cells["quad"][:across]].mean(axis=1)[::-1, 0]
    p = p[:across][::-1]
    half = 0.5 * (p[0] + rankine_hugoniot(mach))
    k = int(np.argmax(p > half))
    at = x[k - 1] + (half - p[k - 1]) / (p[k] - p[k - 1]) * (x[k] - x[k - 1])
    # From the last cell to the wall the pressure is level to second order.
    return Shock(-1.0 - float(at), float(p[-1]))


def rankine_hugoniot(mach: float) -> float:
    """p2 / p1 of a normal shock."""
    return 1 + 2.8 / 2.4 * (mach**2 - 1)


def pitot(mach: float) -> float:
    """Rayleigh: stagnation pressure behind a normal shock over that of the stream."""
    a = (2.4**2 * mach**2 / (5.6 * mach**2 - 0.8)) ** 3.5
    return float(a * (1 - 1.4 + 2.8 * mach**2) / 2.4)


def billig(mach: float) -> float:
    """Stand-off of a cylinder over its radius (doi:10.2514/3.28969)."""
    return float(0.386 * np.exp(4.67 / mach**2))


def wedge(spacing: float) -> Case:
    """A ramp from x = 0 to 1, with .2 of level wall ahead of it."""
    x = np.linspace(-0.2, 1.0, max(round(1.2 / spacing), 12) + 1)
    x[np.abs(x).argmin()] = 0.0
    floor = np.maximum(x, 0.0) * np.tan(np.radians(WEDGE_DEG))
    share = np.linspace(0.0, 1.0, max(round(1.0 / spacing), 10) + 1)
    y = floor[:, None] + share * (1.0 - floor[:, None])
    points = np.stack([np.broadcast_to(x[:, None], y.shape), y], axis=-1)
    mesh = sheet(points, ("inflow", "outflow", "floor", "top"))
    nose = int(np.flatnonzero(x == 0.0)[0])
    floor_points = mesh.regions["floor"]
    regions = {
        "inflow": np.union1d(mesh.regions["inflow"], mesh.regions["top"]),
        "outflow": mesh.regions["outflow"],
        "symmetry": floor_points[: nose + 1],
        "wall": floor_points[nose:],
    }
    mesh = Mesh(mesh.points, mesh.cells, regions)
    return Case(mesh, scalars_of({"mach": WEDGE_MACH}))


def shock_angle(sample: Sample) -> float:
    """Of the line through the places where pressure rises half way, [deg]."""
    mesh, p = sample.case.mesh, sample.fields["p"].values[0, :, 0]
    middle = mesh.points[mesh.cells["quad"]].mean(axis=1)
    columns = np.unique(middle[:, 0].round(9))
    places = []
    for x in columns[(columns > 0.3) & (columns < 0.9)]:
        own = np.abs(middle[:, 0] - x) < 1e-6
        order = np.argsort(-middle[own, 1])
        y, rise = middle[own, 1][order], p[own][order]
        half = 0.5 * (1.0 + np.median(rise[rise > 1.5]))
        k = int(np.argmax(rise > half))
        share = (half - rise[k - 1]) / (rise[k] - rise[k - 1])
        places.append((x, y[k - 1] + share * (y[k] - y[k - 1])))
    slope = np.polyfit(*np.transpose(places), 1)[0]
    return float(np.degrees(np.arctan(slope)))


def weak_shock(mach: float, turning: float) -> float:
    """theta-beta-M, the weak solution [deg]."""

    def off(beta: float) -> float:
        s = mach**2 * np.sin(beta) ** 2
        told = 2 / np.tan(beta) * (s - 1) / (mach**2 * (1.4 + np.cos(2 * beta)) + 2)
        return float(np.arctan(told) - np.radians(turning))

    return float(np.degrees(brentq(off, np.arcsin(1 / mach) + 1e-6, np.radians(60))))


def cylinder_bars(quick: bool) -> tuple[list[Bar], str]:
    """A cylinder of radius 1 at several Mach numbers, at the first on two grids."""
    clock, first = Clock(), CYLINDER_MACHS[0]
    asked = [(mach, SPACINGS[0]) for mach in CYLINDER_MACHS]
    asked = asked[:1] if quick else [*asked, (first, SPACINGS[1])]
    cases = [semi_ellipse(1.0, 1.0, *one) for one in asked]
    say(f"cylinders: {len(cases)} cases")
    found = all_solved(InviscidFlow(), cases)
    shocks = {one: along_stagnation(s, one[0]) for one, s in zip(asked, found, strict=True)}
    finest = {mach: shock for (mach, _), shock in shocks.items()}
    bars = []
    for mach, shock in finest.items():
        name = f"cylinder, Mach {mach:g}"
        away, top = shock.stand_off / billig(mach) - 1, shock.stagnation / pitot(mach) - 1
        bars.append(loosened(f"{name}: stand-off off from Billig", abs(away), 0.05, quick, clock))
        bars.append(loosened(f"{name}: stagnation pressure off", abs(top), 0.02, quick, clock))
    rows = [
        (mach, spacing, shock.stand_off, billig(mach), shock.stagnation, pitot(mach))
        for (mach, spacing), shock in shocks.items()
    ]
    return bars, table(("Mach", "spacing", "stand-off", "Billig", "stagnation", "pitot"), rows)


def wedge_bars(quick: bool) -> tuple[list[Bar], str]:
    """On two grids, the finer scored."""
    clock, spacings = Clock(), [0.4 * h for h in SPACINGS[: 1 if quick else None]]
    say(f"wedges: {len(spacings)} cases")
    angles = [shock_angle(s) for s in all_solved(InviscidFlow(), [wedge(h) for h in spacings])]
    beta = weak_shock(WEDGE_MACH, WEDGE_DEG)
    name = f"wedge of {WEDGE_DEG:g} deg, Mach {WEDGE_MACH:g}: shock off, deg"
    bars = [loosened(name, abs(angles[-1] - beta), 0.5, quick, clock)]
    rows = [(h, angle, beta) for h, angle in zip(spacings, angles, strict=True)]
    return bars, table(("spacing", "shock angle", "theory"), rows)


def loosened(name: str, value: float, goal: float, quick: bool, clock: Clock) -> Bar:
    """Twice looser where quick."""
    loose = 2.0 if quick else 1.0
    return Bar(name, value, loose * goal, 1, clock(), full_goal=goal if quick else None)


def written(folder: Path) -> dict[str, int]:
    """Simulations, and when each was written."""
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.pvd")}


def generated_bars(quick: bool) -> tuple[list[Bar], str]:
    """Killed once somewhere in the middle, and called again."""
    clock, count = Clock(), 40 if quick else 200
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = "from fieldcast.pipelines.cli import main; main()"
        call = [sys.executable, "-c", program, "generate", "heat", "-n", str(count), "-o", name]
        least = int(np.random.default_rng().integers(1, count - 5))
        with subprocess.Popen(call, stdout=subprocess.DEVNULL, start_new_session=True) as process:
            while len(list(folder.glob("*.pvd"))) < least and process.poll() is None:
                time.sleep(0.001)
            os.killpg(process.pid, signal.SIGKILL)
        with Manifest(folder / "manifest.sqlite") as manifest:
            done = {o.output for o, _ in manifest.rows() if o.output}
        before = {name: when for name, when in written(folder).items() if name in done}
        say(f"killed with {len(done)} of {count} samples in the manifest")
        subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
        after = written(folder)
        whole = len(read_folder(folder).samples)
    lost = len(done - set(before)) + count - whole
    twice = sum(after.get(name) != when for name, when in before.items())
    bars = [
        Bar("generate, killed: samples lost", lost, 0, count, clock()),
        Bar("generate, killed: samples solved twice", twice, 0, count, clock()),
    ]
    return bars, table(("samples", "when killed", "in the end"), [(count, len(done), whole)])


def main() -> None:
    given = arguments(__doc__ or "")
    parts = {
        "XFOIL": xfoil_bars(),
        "RANS": rans_bars(given.quick),
        "supersonic cylinder": cylinder_bars(given.quick),
        "wedge": wedge_bars(given.quick),
        "generate": generated_bars(given.quick),
    }
    bars = [bar for own, _ in parts.values() for bar in own]
    finish("solver_validation", given, bars, {name: text for name, (_, text) in parts.items()})


if __name__ == "__main__":
    main()
