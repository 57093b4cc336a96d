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
from .guard import Guard
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
            "features": features.state(),
            "fields": State.nested({k: r.state() for k, r in model.fields.items()}),
            "scalars": State.nested({k: r.state() for k, r in model.scalars.items()}),
            "transforms": State({}, {k: t.sign for k, t in model.transforms.items()}),
            "guard": guard.state(),
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
    features = Features.restored(part["features"])
    return embedding, features, model, Guard.restored(part["guard"], features)


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
