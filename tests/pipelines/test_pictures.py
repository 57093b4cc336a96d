"""Pictures are PNG files of what they should show."""

from __future__ import annotations

import io

import numpy as np

from fieldcast.meshes import Mesh
from fieldcast.pipelines import pictures


def size(png: bytes) -> tuple[int, int]:
    from PIL import Image

    return Image.open(io.BytesIO(png)).size


def test_one_panel_per_field(plates):
    mesh = plates[0].case.mesh
    one = np.linspace(0, 1, len(mesh.points))
    two = pictures.field_panels(mesh, {"truth": one, "error": one}, "a", ("truth",))
    three = pictures.field_panels(mesh, {"truth": one, "error": one, "sigma": one}, "a")
    assert size(three)[0] == 1.5 * size(two)[0]


def test_cell_fields_and_constant_fields_are_drawn(plates):
    mesh = plates[0].case.mesh
    assert size(pictures.field_panels(mesh, {"truth": np.ones(mesh.n_cells)}, "a"))[0] > 100


def test_surfaces_in_space_are_drawn():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    cells = {"triangle": np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])}
    assert size(pictures.field_panels(Mesh(points, cells), {"p": np.arange(4.0)}, "a"))[0] > 100
    assert not pictures.can_draw(Mesh(points))


def test_parity_and_calibration():
    x = np.linspace(1, 2, 9)
    assert size(pictures.parity(x, x + 0.1, (x - 0.1, x + 0.3), "w")) == size(
        pictures.parity(x, x, None, "w")
    )
    assert size(pictures.calibration((0.5, 0.9), {"w": (0.4, 0.95)}, 20))[0] > 100
