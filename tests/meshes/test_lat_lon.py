"""Grids of latitudes and longitudes: points in any order are a table, and files become cases."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import xarray

from fieldcast.meshes import LatLon, Mesh, lat_lon_mesh, read_grids

DATA = Path(os.environ.get("FIELDCAST_DATA", "/nowhere"))
NORTH = np.array([67.5, 22.5, -22.5, -67.5])


def globe(columns: int = 6) -> Mesh:
    return lat_lon_mesh(NORTH, -180.0 + np.arange(columns) * 360.0 / columns)


def test_points_in_any_order_are_the_same_table():
    mesh, order = globe(), np.random.default_rng(0).permutation(24)
    table, mixed = LatLon.of(mesh), LatLon.of(Mesh(mesh.points[order]))
    np.testing.assert_array_equal(table.latitudes, NORTH[::-1])
    np.testing.assert_array_equal(mixed.longitudes, table.longitudes)
    for found, points in ((table, mesh.points), (mixed, mesh.points[order])):
        east, north = points[found.ids].transpose(2, 0, 1)
        np.testing.assert_array_equal(east, np.broadcast_to(found.longitudes, (4, 6)))
        np.testing.assert_array_equal(north, np.broadcast_to(found.latitudes[:, None], (4, 6)))


def test_cells_are_quadrilaterals_that_turn_left():
    for mesh in (globe(), lat_lon_mesh(NORTH[::-1], np.arange(6) * 60.0)):
        assert mesh.cells["quad"].shape == (15, 4)
        a, b, c = mesh.points[mesh.cells["quad"][:, :3]].transpose(1, 2, 0)
        assert ((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0] > 0).all()


@pytest.mark.parametrize(
    ("longitudes", "closed"),
    [
        (np.arange(480) * 0.75, True),
        ((np.arange(360) / 360 * 360).astype(np.float32) - 180.0, True),
        (np.arange(7) * np.float32(360 / 7), True),
        (np.arange(479) * 0.75, False),
        (np.linspace(170.0, 190.0, 5), False),
        (np.array([12.0]), False),
    ],
)
def test_once_around_is_closed(longitudes, closed):
    assert LatLon.of(lat_lon_mesh(NORTH, longitudes)).closed == closed


def test_what_is_no_grid_is_refused():
    mesh = globe()
    for points, words in (
        (mesh.points[:-1], "23 points at 4 latitudes and 6 longitudes"),
        (np.concatenate([mesh.points, mesh.points[:1]]), "25 points"),
        (np.pad(mesh.points, ((0, 0), (0, 1))), "3 coordinates"),
        (mesh.points * 2.0, "latitudes from -90 to 90"),
        (lat_lon_mesh(NORTH, np.array([0.0, 10.0, 30.0])).points, "evenly spaced"),
        (lat_lon_mesh(NORTH, np.linspace(0.0, 360.0, 7)).points, "come twice"),
    ):
        with pytest.raises(ValueError, match=words):
            LatLon.of(Mesh(points))


def file() -> xarray.Dataset:
    """Levels from the ground up, latitudes between time and level."""
    rng = np.random.default_rng(0)
    coords = {
        "time": ("time", [0.0, 6.0], {"units": "hours since 2000-01-01"}),
        "lat": ("lat", NORTH, {"units": "degrees_north"}),
        "lon": ("lon", np.arange(6) * 60.0, {"units": "degrees_east"}),
        "plev": ("plev", [850.0, 500.0, 200.0], {"units": "hPa"}),
    }
    u = (("time", "lat", "plev", "lon"), rng.normal(size=(2, 4, 3, 6)), {"units": "km/h"})
    ps = (("lon", "time", "lat"), rng.uniform(9e2, 1e3, (6, 2, 4)), {"units": "hPa"})
    return xarray.Dataset({"u": u, "ps": ps}, coords=coords)


def test_a_file_becomes_one_case_a_time():
    data = file()
    cases = read_grids(data, {"u": "m/s", "ps": "Pa"}, names={"ps": "surface_air_pressure"})
    assert len(cases) == 2
    for k, case in enumerate(cases):
        u, ps = (case.fields[name] for name in ("u", "surface_air_pressure"))
        wanted = data["u"].transpose("time", "lat", "lon", "plev").values[k, ..., ::-1] / 3.6
        np.testing.assert_allclose(u.values[0], wanted.reshape(24, 3), rtol=1e-12)
        wanted = data["ps"].transpose("time", "lat", "lon").values[k] * 100.0
        np.testing.assert_allclose(ps.values[0, :, 0], wanted.ravel(), rtol=1e-12)
        assert (u.unit, ps.unit) == ("m/s", "Pa")
        np.testing.assert_array_equal(
            case.mesh.points, lat_lon_mesh(NORTH, data["lon"].values).points
        )
    upward = read_grids(data, {"u": "m/s"}, top_down=False)
    np.testing.assert_array_equal(
        upward[0].fields["u"].values, cases[0].fields["u"].values[..., ::-1]
    )


def test_files_on_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="latitude and longitude"):
        read_grids(file().isel(lat=0), {"u": "m/s"})


@pytest.mark.skipif(not (DATA / "era_interim").is_dir(), reason=f"no era_interim in {DATA}")
def test_reanalysis_is_read():
    """Winds and geopotential of ERA-Interim: two months, levels from the top down."""
    units = {"u": "m/s", "v": "m/s", "z": "m^2/s^2"}
    cases = read_grids(DATA / "era_interim" / "eraint_uvz.nc", units)
    assert len(cases) == 2
    grid = LatLon.of(cases[0].mesh)
    assert (grid.ids.shape, grid.closed) == ((241, 480), True)
    height = cases[0].fields["z"].values.mean(axis=(0, 1)) / 9.81
    np.testing.assert_allclose(height, [11800.0, 5600.0, 1420.0], rtol=0.02)
