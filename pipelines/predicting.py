"""A folder of cases answered and written back onto their own meshes, with a manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fieldcast.meshes import Case, Prediction
from fieldcast.meshes.files import replace_file
from fieldcast.meshes.folder import Folder, read_folder
from fieldcast.meshes.reading import MeshFileError, Reader
from fieldcast.meshes.roles import Settings
from fieldcast.meshes.writing import native_format, write_prediction
from fieldcast.surrogates.signature import Signature
from fieldcast.surrogates.surrogate import Predictor, Progress, quiet

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Outcome:
    """What became of one case: `status` ok, flagged (answered, not to be trusted), or what went
    wrong."""

    case: str
    status: str
    output: str = ""
    message: str = ""
    scalars: Mapping[str, Any] | None = None


def folder_settings(predictor: Predictor) -> Settings:
    """How new folders are read: as the training folder was, but nothing needs to be solved yet."""
    settings = dict(predictor.card.settings)
    return Settings.from_dict(
        {**settings, "outputs": ()} if settings else {}, "the model's settings"
    )


def predict_folder(
    predictor: Predictor,
    path: Path,
    out: Path,
    *,
    level: float = 0.95,
    progress: Progress = quiet,
    reader: Reader | None = None,
) -> list[Outcome]:
    """Answer every case of `path` and write it below `out`; a case that fails does not stop the
    others.

    Raises:
        ValueError: no case there; a level that the model's intervals do not support.
    """
    if level > predictor.largest_level:
        raise ValueError(
            f"expected a level of at most {predictor.largest_level:.3g}, which the simulations of "
            f"this model support, got {level}; ask for a lower one (--level)"
        )
    folder = read_folder(
        path,
        folder_settings(predictor),
        progress=lambda done, total: progress("read", done, total),
        reader=reader,
    )
    outcomes = [
        Outcome(str(p.relative_to(path) if p.is_relative_to(path) else p), e.status, "", str(e))
        for p, e in folder.broken.items()
    ]
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder for the answers, {out} is a file")
    out.mkdir(parents=True, exist_ok=True)
    for k, case in enumerate(folder.cases):
        outcomes.append(_answered(predictor, case, folder, out, level))
        progress("predict", k + 1, len(folder.cases))
    write_manifest(out / MANIFEST, outcomes)
    return outcomes


def _answered(predictor: Predictor, case: Case, folder: Folder, out: Path, level: float) -> Outcome:
    try:
        [prediction] = predictor.predict([_in_time(case, predictor.signature)])
    except ValueError as error:
        return Outcome(case.name, "invalid-input", "", str(error))
    source = folder.paths[case.name]
    try:
        suffix = native_format(source)[0]
        target = out / f"{case.name}{suffix}"
        written = write_prediction(prediction, target, source=source, levels=(level,))
    except (MeshFileError, OSError) as error:
        return Outcome(case.name, "invalid-input", "", str(error))
    status = "ok" if prediction.trust.status == "ok" else "flagged"
    return Outcome(
        case.name, status, written.name, prediction.trust.reason, _numbers(prediction, level)
    )


def _in_time(case: Case, signature: Signature) -> Case:
    """A case of one time, the start, is asked for as many as the training set has."""
    if len(case.times) > 1 or not signature.own_times:
        return case
    return replace(case, times=case.times + np.subtract(signature.times, signature.times[0]))


def _numbers(prediction: Prediction, level: float) -> dict[str, Any]:
    lower, upper = prediction.interval(level)
    found: dict[str, Any] = {}
    for name, e in prediction.scalars.items():
        found[name] = {"mean": e.mean.tolist(), "unit": e.unit}
        if name in lower.scalars:
            ends = (lower.scalars[name].value.tolist(), upper.scalars[name].value.tolist())
            found[name] |= {"std": [] if e.std is None else e.std.tolist(), "interval": ends}
    return found


def write_manifest(path: Path, outcomes: Sequence[Outcome]) -> None:
    """All outcomes as JSON, whole or not at all."""
    content = json.dumps([asdict(o) for o in outcomes], indent=1)
    replace_file(path, content.encode())
