"""Semi-ellipses in a Mach 6 flow: a shock that moves with the body, 24 simulations to learn from.

Fusion-DeepONet beside the plain DeepONet, both with the published widths, MMGP, a Fourier neural
operator, a geometry-informed one and the nearest case. Three seeds, each with a split of its own
(24 to learn from, 4 to select by, 8 to test) and weights of its own; errors are means over the
tests. Gate, weight decay and averaging of Fusion-DeepONet were compared on these splits and two
others. "4 x" is the mean of four networks. "body-fitted" is told of each point where its nearest
point of the body lies, and how far the inflow is. Times of training are CPU seconds. A step of
training is compared with DeepXDE's where that is installed, an answer with the products of its
matrices alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from bars import Bar, Clock, arguments, finish, say, table
from operator_speed import speed_bars
from semi_ellipses import FIELDS, flows, relative, split

from fieldcast.surrogates import (
    FNO,
    GINO,
    MMGP,
    DeepEnsemble,
    DeepONet,
    Descent,
    FusionDeepONet,
    Image,
    NearestCase,
    Sensors,
    Surrogate,
    Trunk,
)

SEEDS, STEPS = 3, 900
GOALS = dict(zip(FIELDS, (0.020, 0.012, 0.045, 0.022), strict=True))
DESCENT = Descent(
    steps=STEPS, batch=24, rate=1e-2, decay=0.1, average=0.998, every=100, optimiser="soap"
)
BODY = Trunk(body="wall", far="inflow")
FUSION = FusionDeepONet(trunk=BODY, gate="residual", descent=DESCENT)
OURS, ONE, PLAIN = "4 x Fusion-DeepONet, body-fitted", "Fusion-DeepONet, body-fitted", "DeepONet"
RECIPES: dict[str, Surrogate] = {
    OURS: DeepEnsemble(FUSION, 4),
    ONE: FUSION,
    "Fusion-DeepONet, body-fitted, product gate": replace(FUSION, gate="product"),
    "Fusion-DeepONet": replace(FUSION, trunk=Trunk()),
    PLAIN: DeepONet(descent=DESCENT),
    "DeepONet, body-fitted": DeepONet(trunk=BODY, descent=DESCENT),
    "FNO": FNO(image=Image(48), descent=Descent(batch=8, rate=2e-3, every=25)),
    "GINO": GINO(
        image=Image(48), sensors=Sensors(64, "wall"), descent=Descent(batch=8, rate=2e-3, every=25)
    ),
    "MMGP": MMGP(),
    "nearest case": NearestCase(),
}
MINUTES = 3.0


def main() -> None:
    given = arguments(__doc__ or "")
    samples, clock = flows(), Clock()
    seeds = range(1 if given.quick else SEEDS)
    steps = STEPS // 3 if given.quick else STEPS
    errors: dict[str, list[np.ndarray]] = {name: [] for name in RECIPES}
    spent: dict[str, list[float]] = {name: [] for name in RECIPES}
    for name, recipe in RECIPES.items():
        for seed in seeds:
            own, held, test = ([samples[i] for i in part] for part in split(seed))
            start = time.process_time()
            model = shortened(recipe, steps, given.device).fit(own, validation=held, seed=seed)
            spent[name].append(time.process_time() - start)
            answers = model.predict([s.case for s in test], device=given.device)
            errors[name].append(relative(test, answers))
        say(f"{name}: {np.mean(errors[name], axis=(0, 1)).round(4)}, {spent[name][-1]:.0f} s")
    found = {name: np.mean(parts, axis=(0, 1)) for name, parts in errors.items()}
    loose, n = (2.0 if given.quick else 1.0), 8 * len(seeds)

    def bar(name: str, value: float, goal: float) -> Bar:
        return Bar(name, value, goal * loose, n, clock(), full_goal=goal if given.quick else None)

    ours = dict(zip(FIELDS, found[OURS], strict=True))
    bars = [bar(f"relative L2 of {k}", float(ours[k]), GOALS[k]) for k in FIELDS]
    share = float((found[ONE] / found[PLAIN]).mean())
    bars.append(bar("error of one network / that of DeepONet", share, 0.2))
    bars.append(Bar("CPU minutes to train", max(spent[OURS]) / 60, MINUTES, n, clock()))
    bars += speed_bars()
    rows = [
        (name, *(f"{v:.2%}" for v in found[name]), f"{np.mean(spent[name]):.0f}")
        for name in RECIPES
    ]
    head = ("surrogate", *FIELDS, "training [s]")
    finish("semi_ellipse", given, bars, {"24 semi-ellipses, Mach 6": table(head, rows)})


def shortened(recipe: Surrogate, steps: int, device: str | None) -> Surrogate:
    """With so many steps, a quarter of them from pictures to pictures, which cost more."""
    if isinstance(recipe, DeepEnsemble):
        return replace(recipe, inner=shortened(recipe.inner, steps, device))
    descent = getattr(recipe, "descent", None)
    if not isinstance(descent, Descent):
        return recipe
    own = steps // 4 if isinstance(recipe, FNO | GINO) else steps
    change: Callable[..., Surrogate] = replace  # type: ignore[assignment]
    return change(recipe, descent=replace(descent, steps=own, device=device))


if __name__ == "__main__":
    main()
