"""What is in a folder, in numbers and in lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fieldcast.meshes import Case, Field, Sample, Scalar
from fieldcast.meshes.assembling import Folder


def inspection(folder: Folder) -> dict[str, Any]:
    """JSON-able: cases, nodes, topologies, regions, inputs and outputs with units and ranges,
    duplicates, what is broken or odd, and what was guessed."""
    cases = folder.cases
    by_id: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        by_id[case.id].append(case.name)
    sizes = [len(c.mesh.points) for c in cases] or [0]
    return {
        "cases": len(cases),
        "solved": len(folder.samples),
        "nodes": [min(sizes), int(np.mean(sizes)), max(sizes)],
        "cells": sorted({name for c in cases for name in c.mesh.cells}),
        "topologies": _topologies(cases),
        "regions": sorted({name for c in cases for name in c.mesh.regions}),
        "inputs": {**_scalars([c.parameters for c in cases]), **_fields([c.fields for c in cases])},
        "outputs": _outputs(folder.samples),
        "duplicates": [names for names in by_id.values() if len(names) > 1],
        "broken": {str(p): str(e) for p, e in folder.broken.items()},
        "warnings": {str(p): list(w) for p, w in folder.warnings.items()},
        "notes": list(folder.notes),
    }


def _topologies(cases: Sequence[Case]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    known: dict[str, str] = {}
    for case in cases:
        key = case.mesh.connectivity
        if key not in known:
            known[key] = str(case.mesh.topology)
        counts[known[key]] += 1
    return dict(counts)


def _outputs(samples: Sequence[Sample]) -> dict[str, Any]:
    return {**_fields([s.fields for s in samples]), **_scalars([s.scalars for s in samples])}


def _fields(maps: Sequence[Mapping[str, Field]]) -> dict[str, Any]:
    found = {}
    for name in maps[0] if maps else ():
        values = [m[name] for m in maps if name in m]
        finite = [v.values[np.isfinite(v.values)] for v in values]
        found[f"field:{name}"] = {
            "unit": values[0].unit,
            "on": values[0].on,
            "components": values[0].values.shape[2],
            "times": len(values[0].values),
            "range": _range(finite),
        }
    return found


def _scalars(maps: Sequence[Mapping[str, Scalar]]) -> dict[str, Any]:
    found = {}
    for name in maps[0] if maps else ():
        values = [m[name] for m in maps if name in m]
        found[f"scalar:{name}"] = {
            "unit": values[0].unit,
            "times": len(values[0].value),
            "range": _range([v.value for v in values]),
        }
    return found


def _range(values: Sequence[np.ndarray]) -> list[float]:
    filled = [v for v in values if v.size]
    if not filled:
        return []
    return [float(min(v.min() for v in filled)), float(max(v.max() for v in filled))]


def inspection_lines(content: Mapping[str, Any]) -> list[str]:
    """The same for people."""
    low, mean, high = content["nodes"]
    lines = [
        f"{content['cases']} cases, {content['solved']} of them solved; {low} to {high} nodes "
        f"(mean {mean}); "
        f"cells: {', '.join(content['cells']) or 'none'}",
    ]
    lines += [f"  {count} x {kind}" for kind, count in content["topologies"].items()]
    lines += [f"regions: {', '.join(content['regions'])}"] if content["regions"] else []
    for role in ("inputs", "outputs"):
        lines.append(f"{role}:" if content[role] else f"{role}: none")
        for name, entry in content[role].items():
            unit = f" [{entry['unit']}]" if entry["unit"] else ""
            span = " to ".join(f"{v:.6g}" for v in entry["range"])
            more = f", {entry['components']} components on {entry['on']}s" if "on" in entry else ""
            times = f", {entry['times']} times" if entry["times"] > 1 else ""
            lines.append(f"  {name}{unit}: {span}{more}{times}")
    lines += [f"duplicates: {', '.join(names)}" for names in content["duplicates"]]
    lines += [f"note: {note}" for note in content["notes"]]
    lines += [f"warning: {p}: {'; '.join(w)}" for p, w in content["warnings"].items()]
    lines += [f"broken: {p}: {e}" for p, e in content["broken"].items()]
    return lines
