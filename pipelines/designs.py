"""Where in its space a solver is asked: designs, a row of numbers per case."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import Float

from fieldcast.solvers.solver import Range

Space: TypeAlias = Mapping[str, Range]
Row: TypeAlias = dict[str, float]
_TRIES = 100


def grid(space: Space, n: int, seed: int) -> list[Row]:
    """The full grid of as many levels in each direction as fit into `n` rows, ends included."""
    free = _free(space)
    levels = max(math.floor(n ** (1 / max(len(free), 1)) + 1e-9), 1)
    ends = np.linspace(0.0, 1.0, levels) if levels > 1 else np.array([0.5])
    unit = np.array(list(product(ends, repeat=len(free)))).reshape(-1, len(free))
    return _rows(space, unit)


def latin(space: Space, n: int, seed: int) -> list[Row]:
    """A Latin hypercube: of a hundred the one whose nearest rows are farthest apart."""
    from scipy.spatial.distance import pdist
    from scipy.stats import qmc

    rng = np.random.default_rng(seed)
    found = [qmc.LatinHypercube(len(_free(space)), rng=rng).random(n) for _ in range(_TRIES)]
    return _rows(space, max(found, key=lambda u: pdist(u).min() if len(u) > 1 else 0.0))


def sobol(space: Space, n: int, seed: int) -> list[Row]:
    """The first rows of a scrambled Sobol sequence; more rows of the same seed go on with it."""
    from scipy.stats import qmc

    rows = qmc.Sobol(len(_free(space)), rng=seed).random_base2(math.ceil(math.log2(max(n, 2))))
    return _rows(space, rows[:n])


DESIGNS: Mapping[str, Callable[[Space, int, int], list[Row]]] = {
    "sobol": sobol,
    "latin": latin,
    "grid": grid,
}


def design(name: str, space: Space, n: int, seed: int = 0) -> list[Row]:
    """At most `n` rows by a design of this name, or those of a CSV file with a column per number.

    Raises:
        ValueError: no such design, or a table that cannot be used.
    """
    if name in DESIGNS:
        if n < 1:
            raise ValueError(f"expected at least one row, got {n}")
        return DESIGNS[name](space, n, seed) if _free(space) else _rows(space, np.zeros((1, 0)))
    path = Path(name)
    if path.suffix.lower() != ".csv":
        raise ValueError(f"--design: expected {', '.join(DESIGNS)} or a CSV file, got {name!r}")
    return _read(path, space)[:n]


def narrowed(space: Space, texts: Sequence[str]) -> dict[str, Range]:
    """The space with ranges changed by texts such as "alpha=0:4", or fixed, "mach=0.3", in the
    units of the space.

    Raises:
        ValueError: a name that the space hasn't, or no range.
    """
    found = dict(space)
    for text in texts:
        name, _, value = text.partition("=")
        if name not in space:
            raise ValueError(f"--range: expected a name of {list(space)}, got {text!r}")
        low, colon, high = value.partition(":")
        try:
            ends = float(low), float(high if colon else low)
        except ValueError:
            raise ValueError(f"--range: expected {name}=LOW:HIGH, got {text!r}") from None
        found[name] = Range(*ends, space[name].unit, space[name].logarithmic and ends[0] > 0)
    return found


def _free(space: Space) -> list[str]:
    """What varies."""
    return [name for name, r in space.items() if r.high > r.low]


def _rows(space: Space, unit: Float[np.ndarray, "row number"]) -> list[Row]:
    columns = {name: np.full(len(unit), r.low) for name, r in space.items()}
    for k, name in enumerate(_free(space)):
        columns[name] = space[name].at(unit[:, k])
    return [{name: float(c[i]) for name, c in columns.items()} for i in range(len(unit))]


def _read(path: Path, space: Space) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    fixed = {name: r.low for name, r in space.items() if name not in _free(space)}
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            given = {name: float(line[name]) for name in space if line.get(name)}
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        row = {**fixed, **given}
        missing = [name for name in space if name not in row]
        if missing:
            raise ValueError(f"{path}, line {number}: expected numbers of {missing}, got none")
        rows.append({name: row[name] for name in space})
    if not rows:
        raise ValueError(f"{path}: expected rows of {list(space)}, got none")
    return rows
