"""The RANS airfoils of the shared data as closed curves with pressure and friction coefficients."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from bars import data_folder

from fieldcast.meshes import Field, Sample
from fieldcast.meshes.folder import read_folder
from fieldcast.meshes.roles import Settings
from fieldcast.pipelines.aerodynamics import Flow
from fieldcast.surrogates import Stream, SurfaceForces
from fieldcast.surrogates.cross_validation import split

SETTLED = 1e-3
INPUTS, OUTPUTS = ("alpha_deg", "Re"), ("p", "wallShearStress", "CL", "CD", "CM")
FLOW = Flow(
    SurfaceForces(
        "cp", "cf", stream=Stream("alpha_deg"), learnt=("CL", "CD", "CM"), reversed_friction=True
    )
)


def rans_airfoils() -> list[Sample]:
    """Those that have settled: `cp`, the vector `cf` (of OpenFOAM's sense), CL, CD and CM."""
    path = data_folder("airfoil_rans")
    settings = Settings(mesh="airfoil.vtp", inputs=INPUTS, outputs=OUTPUTS, parts=())
    found = []
    for s in read_folder(path, settings).samples:
        meta = json.loads((path / s.case.name / "meta.json").read_text())
        if meta["CL_std_last100"] < SETTLED:
            found.append(_as_coefficients(s, 0.5 * float(np.linalg.norm(meta["U"])) ** 2))
    return found


def _as_coefficients(sample: Sample, pressure: float) -> Sample:
    """Divided by the kinematic dynamic pressure [m^2/s^2]."""
    cp = sample.fields["p"].values.astype(float) / pressure
    cf = sample.fields["wallShearStress"].values[:, :, :2].astype(float) / pressure
    return replace(sample, fields={"cp": Field(cp), "cf": Field(cf)})


def fifths(samples: Sequence[Sample], seed: int) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """Training and test sets: every sample is held out once."""
    for part in split(len(samples), 5, seed=seed):
        held = set(part.tolist())
        yield (
            [s for i, s in enumerate(samples) if i not in held],
            [samples[i] for i in sorted(held)],
        )
