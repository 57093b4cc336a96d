"""Pictures are files of what they should show."""

from __future__ import annotations

import io
import logging
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from PIL import Image

from fieldcast.conformance.families import square
from fieldcast.meshes import Case, Field, Mesh, Prediction, Sample
from fieldcast.pipelines import pictures
from fieldcast.pipelines.pictures import Panels


def image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def size(data: bytes) -> tuple[int, int]:
    return image(data).size


def steady(mesh: Mesh, shared: tuple[str, ...] = (), **values: np.ndarray) -> Panels:
    return Panels(mesh, {k: v[None] for k, v in values.items()}, np.zeros(1), "a", shared)


def test_one_panel_per_field(plates):
    mesh = plates[0].case.mesh
    one = np.linspace(0, 1, len(mesh.points))
    two = pictures.still(steady(mesh, ("truth",), truth=one, error=one))
    three = pictures.still(steady(mesh, truth=one, error=one, sigma=one))
    assert size(three)[0] == 1.5 * size(two)[0]


def test_panels_of_wide_meshes_lie_one_below_another(plates):
    mesh = plates[0].case.mesh.moved(plates[0].case.mesh.points * [4.0, 1.0])
    one = np.linspace(0, 1, len(mesh.points))
    two = size(pictures.still(steady(mesh, truth=one, error=one)))
    three = size(pictures.still(steady(mesh, truth=one, error=one, sigma=one)))
    assert two[0] == three[0]
    assert two[1] < three[1]


def test_cell_fields_and_constant_fields_are_drawn(plates):
    mesh = plates[0].case.mesh
    assert size(pictures.still(steady(mesh, truth=np.ones(mesh.n_cells))))[0] > 100


def test_surfaces_in_space_are_drawn():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    cells = {"triangle": np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])}
    assert size(pictures.still(steady(Mesh(points, cells), p=np.arange(4.0))))[0] > 100
    assert not pictures.can_draw(Mesh(points))


@pytest.fixture(scope="module")
def moving() -> Panels:
    """A wave that is predicted too high, at 50 times."""
    mesh, times = square(20, 0), np.linspace(2.0, 4.0, 50)
    x, y = mesh.points.T
    u = np.sin(6 * x + 3 * y - 4 * times[:, None])[..., None]
    case = Case(mesh, times=times)
    truth = Sample(case, {"u": Field(u, "K")})
    return Panels.comparing(truth, Prediction(case, {"u": Field(1.5 * u, "K")}), "u", "u [K]")


def few(panels: Panels) -> Panels:
    """Of three times."""
    values = {k: v[::20] for k, v in panels.values.items()}
    return replace(panels, values=values, times=panels.times[::20])


def test_truth_and_prediction_share_the_range_of_the_truth(moving):
    assert moving.span("prediction") == moving.span("truth")
    assert moving.span("truth")[1] == moving.values["truth"].max() < 1.0001
    np.testing.assert_allclose(moving.span("error")[1], 0.5, atol=1e-3)


def test_answers_that_are_not_finite_are_drawn(moving):
    panels = few(moving)
    values = dict(panels.values)
    values["prediction"] = np.where(panels.times[:, None] > 3, np.inf, values["prediction"])
    values["error"] = np.full_like(values["error"], np.nan)
    assert image(pictures.gif(replace(panels, values=values))).n_frames == 3


def test_a_series_is_a_small_gif_of_few_frames(moving):
    data = pictures.gif(moving)
    found = image(data)
    assert found.n_frames == pictures.MOST_FRAMES
    assert len(data) < 1.2e6
    frames = []
    for k in (0, pictures.MOST_FRAMES - 1):
        found.seek(k)
        frames.append(np.asarray(found.convert("RGB"), float))
    # A third of it is the wave, which is somewhere else in the end.
    assert (np.abs(frames[0] - frames[1]).max(axis=-1) > 30).mean() > 0.2


def test_movies_are_mp4_where_ffmpeg_is_else_gif_said_aloud(moving, tmp_path, caplog, monkeypatch):
    if FFMpegWriter.isAvailable():
        path = pictures.write_movie(few(moving), tmp_path / "u.mp4")
        assert path.read_bytes()[4:8] == b"ftyp"
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with caplog.at_level(logging.WARNING):
        path = pictures.write_movie(few(moving), tmp_path / "u.mp4")
    assert path.name == "u.gif"
    assert "u.gif: written as GIF, for MP4 install ffmpeg" in caplog.text
    assert image(path.read_bytes()).n_frames == 3


def test_parity_and_calibration():
    x = np.linspace(1, 2, 9)
    assert size(pictures.parity(x, x + 0.1, (x - 0.1, x + 0.3), "w")) == size(
        pictures.parity(x, x, None, "w")
    )
    assert size(pictures.calibration((0.5, 0.9), {"w": (0.4, 0.95)}, 20))[0] > 100
