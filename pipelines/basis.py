"""Pictures of what an operator network makes its fields of: how many functions count, and how they
look (the diagnostic of Peyvan, Kumar, Karniadakis 2025, arXiv:2501.01934)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fieldcast.meshes import Case
from fieldcast.meshes.files import write_files
from fieldcast.surrogates.operator_surrogate import OperatorPredictor

from . import pictures

SHOWN = 6


def write_basis(
    model: OperatorPredictor, cases: Sequence[Case], folder: str | Path, shown: int = SHOWN
) -> list[Path]:
    """Draw basis_sizes.png, the singular values of every layer for each case, and, of the first
    case, basis_1.png and so on, the first functions of each layer. Returns the files."""
    if not cases:
        raise ValueError("expected at least one case to draw the basis of, got none")
    folder = Path(folder)
    found = [model.basis(case) for case in cases]
    names = [case.label for case in cases]
    drawn = {"basis_sizes.png": pictures.spectra([[v.sizes for v in own] for own in found], names)}
    for k, level in enumerate(found[0], start=1):
        values = {
            f"function {j + 1}": level.functions[None, :, j]
            for j in range(min(shown, level.functions.shape[1]))
        }
        title = f"{names[0]}, layer {k} of {len(found[0])}"
        panels = pictures.Panels(cases[0].mesh, values, np.zeros(1), title)
        drawn[f"basis_{k}.png"] = pictures.still(panels)
    folder.mkdir(parents=True, exist_ok=True)
    write_files(folder, drawn)
    return [folder / name for name in drawn]
