"""A reduced predictor as arrays and JSON-able values, and back."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from fieldcast.meshes import Mesh
from fieldcast.meshes.chart import Chart
from fieldcast.meshes.morphing import Morphing

from . import regression
from .embedding import Basis, Embedding, Errors
from .features import Features, Transform
from .guard import Detectors, Guard, Tail
from .pod import Pod
from .recipe import recipe_from_json, recipe_to_json
from .reduced import Model
from .signature import FieldKind
from .surrogate import State


def packed(embedding: Embedding, features: Features, model: Model, guard: Guard) -> State:
    """All of it as one state."""
    shape = {} if embedding.shape is None else {"shape": _pod(embedding.shape)}
    return State.nested(
        {
            "chart": _chart(embedding.chart),
            "shape": State.nested(shape),
            "options": State({}, {"normals": embedding.normals, "weighted": embedding.weighted}),
            "known": State.nested({k: _pod(p) for k, p in embedding.known.items()}),
            "bases": State.nested(
                {k: _basis(b, embedding, k) for k, b in embedding.fields.items()}
            ),
            "features": _features(features),
            "fields": State.nested({k: r.state() for k, r in model.fields.items()}),
            "scalars": State.nested({k: r.state() for k, r in model.scalars.items()}),
            "transforms": State({}, {k: t.sign for k, t in model.transforms.items()}),
            "guard": _guard(guard),
        }
    )


def unpacked(state: State, morphing: Morphing | None) -> tuple[Embedding, Features, Model, Guard]:
    """What `packed` was given."""
    part = state.parts()
    shape = part["shape"].parts().get("shape")
    bases = {k: _unpack_basis(s) for k, s in part["bases"].parts().items()}
    embedding = Embedding(
        _unpack_chart(part["chart"]),
        None if shape is None else _unpack_pod(shape),
        {k: _unpack_pod(s) for k, s in part["known"].parts().items()},
        {k: basis for k, (basis, _) in bases.items()},
        {k: errors for k, (_, errors) in bases.items()},
        **part["options"].values,
    )
    model = Model(
        {k: regression.restored(s) for k, s in part["fields"].parts().items()},
        {k: regression.restored(s) for k, s in part["scalars"].parts().items()},
        {k: Transform(int(v)) for k, v in part["transforms"].values.items()},
    )
    features = _unpack_features(part["features"])
    return embedding, features, model, _unpack_guard(part["guard"], features)


def _guard(guard: Guard) -> State:
    tails = {f"tails/{name}": tail.scores for name, tail in guard.tails.items()}
    values = {
        "units": dict(guard.units),
        "lengths": {name: tail.length for name, tail in guard.tails.items()},
        "limits": list(guard.limits),
    }
    return State({"raw": guard.detectors.raw, **tails}, values)


def _unpack_guard(state: State, features: Features) -> Guard:
    v = state.values
    tails = {k: Tail(state.arrays[f"tails/{k}"], length) for k, length in v["lengths"].items()}
    warn, reject = v["limits"]
    return Guard(v["units"], Detectors(features, state.arrays["raw"]), tails, (warn, reject))


def _chart(chart: Chart) -> State:
    mesh = chart.reference
    cells = {f"cells/{name}": block for name, block in mesh.cells.items()}
    values = {"morphing": recipe_to_json(chart.morphing), "cells": list(mesh.cells)}
    return State({"points": mesh.points, **cells}, values)


def _unpack_chart(state: State) -> Chart:
    cells = {name: state.arrays[f"cells/{name}"] for name in state.values["cells"]}
    morphing = recipe_from_json(state.values["morphing"])
    return Chart(morphing, Mesh(state.arrays["points"], cells))


def _pod(pod: Pod) -> State:
    return State({"mean": pod.mean, "modes": pod.modes, "dual": pod.dual, "energy": pod.energy})


def _unpack_pod(state: State) -> Pod:
    return Pod(*(state.arrays[k] for k in ("mean", "modes", "dual", "energy")))


def _basis(basis: Basis, embedding: Embedding, name: str) -> State:
    # Output fields are only decoded: their dual modes stay behind.
    arrays = {k: a for k, a in _pod(basis.pod).arrays.items() if k != "dual"}
    values = {
        "kind": asdict(basis.kind),
        "logarithmic": basis.logarithmic,
        "errors": asdict(embedding.errors[name]),
    }
    return State({**arrays, "residual": basis.residual}, values)


def _unpack_basis(state: State) -> tuple[Basis, Errors]:
    arrays = state.arrays
    dual = np.empty((0, *arrays["mean"].shape))
    pod = Pod(arrays["mean"], arrays["modes"], dual, arrays["energy"])
    kind = FieldKind(**state.values["kind"])
    basis = Basis(pod, arrays["residual"], kind, bool(state.values["logarithmic"]))
    return basis, Errors(**state.values["errors"])


def _features(features: Features) -> State:
    arrays = {k: getattr(features, k) for k in ("shift", "scale", "low", "high")}
    signs = {k: t.sign for k, t in features.transforms.items()}
    return State(
        {**arrays, "keep": features.keep.astype(np.uint8)},
        {"names": list(features.names), "sources": list(features.sources), "signs": signs},
    )


def _unpack_features(state: State) -> Features:
    return Features(
        tuple(state.values["names"]),
        tuple(state.values["sources"]),
        {k: Transform(int(v)) for k, v in state.values["signs"].items()},
        state.arrays["keep"].astype(bool),
        *(state.arrays[k] for k in ("shift", "scale", "low", "high")),
    )
