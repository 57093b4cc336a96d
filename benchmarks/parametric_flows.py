"""Real data of others on fixed meshes: a transonic airfoil's surface, Poisson around a hole that
moves, a thermal block.

MMGP beside mean field, nearest case and POD + ridge; 80 % train, 20 % test, at random, several
splits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bars import Bar, Clock, arguments, data_folder, finish, say, table

from fieldcast.meshes import Case, Field, Mesh, Sample, Samples
from fieldcast.meshes.sample import scalars_of
from fieldcast.surrogates import MMGP, MeanField, NearestCase, PodRidge
from fieldcast.surrogates.embedding import carry
from fieldcast.surrogates.reduced import Reduced
from fieldcast.surrogates.scores import score

RECIPES: dict[str, Reduced] = {
    "MMGP": MMGP(modes=64),
    "mean field": MeanField(),
    "nearest case": NearestCase(),
    "POD + ridge": PodRidge(modes=64),
}


def transonic() -> list[Sample]:
    """Pressure and wall shear on 448 surface points, 100 values of one parameter."""
    path = data_folder("mathlab_rom") / "airfoil_transonic"
    points, values, shear, mu = (
        np.load(path / f"{name}.npy", allow_pickle=False)
        for name in ("coords_airfoil", "snapshots_p_airfoil", "snapshots_wn_airfoil", "params")
    )
    mesh = Mesh(points.T, {"vertex": np.arange(points.shape[1])[:, None]})
    return [
        Sample(
            Case(mesh, scalars_of({"mu": m[0]}), name=f"airfoil_{i:03d}"),
            {"pressure": Field.steady(p, "Pa"), "wall_shear": Field.steady(w)},
        )
        for i, (m, p, w) in enumerate(zip(mu, values, shear, strict=True))
    ]


def holed_poisson() -> list[Sample]:
    """u on 1,352 nodes that move with two parameters, 121 cases."""
    found = torch.load(data_folder("pina_holed_poisson") / "holed_poisson.pt", weights_only=True)
    x, y, u, mu = (found[k].double().numpy() for k in ("x", "y", "u", "mu"))
    cells = {"triangle": found["triang"].numpy()}
    return [
        Sample(
            Case(
                Mesh(np.stack([x[:, i], y[:, i]], 1), cells),
                scalars_of({"mu1": mu[i, 0], "mu2": mu[i, 1]}),
                name=f"poisson_{i:03d}",
            ),
            {"u": Field.steady(u[:, i])},
        )
        for i in range(u.shape[1])
    ]


def thermal_block() -> list[Sample]:
    """Temperature, 304 nodes, 8 cases of two parameters."""
    path = data_folder("mathlab_rom") / "thermal_block"
    points, cells, mu, u = (
        np.load(path / f"{name}.npy", allow_pickle=False)
        for name in ("coord", "triangles", "mu", "snapshots")
    )
    cells = cells.astype(int) - int(cells.min() == 1)
    mesh = Mesh(points.T, {"triangle": cells})
    return [
        Sample(
            Case(mesh, scalars_of({"mu1": m[0], "mu2": m[1]}), name=f"block_{i}"),
            {"T": Field.steady(t)},
        )
        for i, (m, t) in enumerate(zip(mu, u, strict=True))
    ]


def scored(
    samples: Sequence[Sample], splits: int, share: float
) -> dict[str, dict[str, list[float]]]:
    """RRMSE by field and recipe, one per split; and the share of points in the 95 % interval."""
    found: dict[str, dict[str, list[float]]] = {}
    for split in range(splits):
        order = np.random.default_rng(split).permutation(len(samples))
        count = max(round(len(samples) * share), 1)
        train, test = [samples[i] for i in order[count:]], [samples[i] for i in order[:count]]
        carried = carry(Samples.pack(train), None)
        for name, recipe in RECIPES.items():
            predictions = recipe.fit_carried(carried).predict([s.case for s in test])
            for output, result in score(test, predictions).items():
                found.setdefault(output, {}).setdefault(name, []).append(result.rrmse)
                if result.coverage is not None:
                    found[output].setdefault("in 95 %", []).append(result.coverage)
    return found


def main() -> None:
    given = arguments(__doc__ or "")
    splits = 1 if given.quick else 5
    rows, bars = [], []
    for label, samples, barred in (
        ("airfoil_transonic", transonic(), True),
        ("holed_poisson", holed_poisson(), True),
        ("thermal_block", thermal_block(), False),
    ):
        clock = Clock()
        for output, results in scored(samples, splits, 0.2).items():
            mean = {k: float(np.mean(v)) for k, v in results.items()}
            rows.append(
                (label, output, *(f"{mean[k]:.2e}" for k in RECIPES), f"{mean['in 95 %']:.3f}")
            )
            if barred:
                run = (len(samples), clock())
                trivial = min(mean["mean field"], mean["nearest case"])
                bars += [
                    Bar(
                        f"{label}: {output} / better of mean and nearest",
                        mean["MMGP"] / trivial,
                        1 / 3,
                        *run,
                    ),
                    Bar(
                        f"{label}: {output} / POD + ridge",
                        mean["MMGP"] / mean["POD + ridge"],
                        1.0,
                        *run,
                    ),
                ]
        say(label, f"{clock():.1f} s")
    head = ("data", "output", *RECIPES, "points in 95 %")
    finish("parametric_flows", given, bars, {f"{splits} splits, 80 / 20": table(head, rows)})


if __name__ == "__main__":
    main()
