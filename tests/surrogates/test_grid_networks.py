"""Networks on grids: shifts in longitude commute, patches end where they should, and what lies
beyond an edge is what is said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fieldcast.meshes import Case, Field, Mesh, Sample, lat_lon_mesh
from fieldcast.surrogates import AttentionUNet, Descent, PatchNetwork, Rollout
from fieldcast.surrogates.grid_networks import Surroundings, Table

ROWS, COLUMNS = 8, 15
SHORT = Descent(steps=60, batch=4, rate=1e-2, every=60, device="cpu")
RECIPES = (
    PatchNetwork(0, 16, 1, SHORT),
    PatchNetwork(2, 16, 1, SHORT),
    AttentionUNet((6, 6, 6), SHORT),
)


def globe(rows: int = ROWS, columns: int = COLUMNS) -> Mesh:
    """Once around; an odd number of columns."""
    north = 90.0 - 180.0 / rows * (np.arange(rows) + 0.5)
    return lat_lon_mesh(north, np.arange(columns) * 360.0 / columns)


def winds(seed: int, mesh: Mesh | None = None) -> Sample:
    """Two levels of a wind, and a product of it with a neighbour's."""
    rng, mesh = np.random.default_rng(seed), mesh or globe()
    u = rng.normal(5.0, 3.0, (ROWS, len(mesh.points) // ROWS, 2))
    w = 1e-3 * u * np.roll(u, 1, axis=1)
    known = {"u": Field.steady(u.reshape(-1, 2), "m/s")}
    case = Case(mesh, {}, known, name=f"grid{seed}")
    return Sample(case, {"w": Field.steady(w.reshape(-1, 2), "Pa")})


SAMPLES = [winds(k) for k in range(4)]


def answer(model, case, values=None):
    """(row, column, level), to other values of u if they are given."""
    if values is not None:
        known = {"u": case.fields["u"].with_values(values.reshape(case.fields["u"].values.shape))}
        case = replace(case, fields=known)
    [found] = model.predict([case])
    return found.mean["w"].values.reshape(ROWS, -1, 2)


@pytest.fixture(scope="module", params=RECIPES, ids=("column", "patch", "unet"))
def model(request):
    return request.param.fit(SAMPLES, validation=[])


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_every_shift_in_longitude_commutes(model, columns):
    case = winds(9).case
    here = answer(model, case)
    u = case.fields["u"].values.reshape(ROWS, COLUMNS, 2)
    there = answer(model, case, np.roll(u, columns, axis=1))
    np.testing.assert_allclose(
        there, np.roll(here, columns, axis=1), rtol=0, atol=1e-5 * np.abs(here).max()
    )
    # The same grid, its longitudes counted from elsewhere.
    turned = case.mesh.moved(case.mesh.points + np.array([24.0 * columns, 0.0]))
    np.testing.assert_allclose(answer(model, replace(case, mesh=turned)), here, rtol=1e-6)


def test_what_is_symmetric_stays_so(model):
    """Fields of the latitude alone have answers of the latitude alone."""
    u = np.broadcast_to(np.linspace(0.0, 8.0, ROWS)[:, None, None], (ROWS, COLUMNS, 2)).copy()
    found = answer(model, winds(9).case, u)
    assert np.ptp(found, axis=1).max() < 1e-5 * np.abs(found).max()
    assert np.ptp(found, axis=0).max() > 1e-3 * np.abs(found).max(), "the latitude tells"


def test_a_patch_reaches_so_far_and_no_further():
    model = PatchNetwork(1, 16, 1, SHORT).fit(SAMPLES, validation=[])
    case = winds(9).case
    u = case.fields["u"].values.reshape(ROWS, COLUMNS, 2)
    moved = u.copy()
    moved[3, 0] += 1.0
    changed = np.abs(answer(model, case, moved) - answer(model, case)).max(axis=2) > 1e-7
    rows, columns = np.nonzero(changed)
    assert set(rows) == {2, 3, 4}
    assert set(columns) == {COLUMNS - 1, 0, 1}, "across the edge of the map"
    # At a pole the last row stands for those beyond.
    moved = u.copy()
    moved[0, 5] += 1.0
    changed = np.abs(answer(model, case, moved) - answer(model, case)).max(axis=2) > 1e-7
    assert set(np.nonzero(changed)[0]) == {0, 1}


def test_a_region_is_not_closed():
    """Nothing goes from its first column to its last."""
    region = lat_lon_mesh(np.linspace(40.0, 5.0, ROWS), np.linspace(0.0, 70.0, COLUMNS))
    samples = [winds(k, region) for k in range(4)]
    model = PatchNetwork(1, 16, 1, SHORT).fit(samples, validation=[])
    case = samples[0].case
    moved = case.fields["u"].values.reshape(ROWS, COLUMNS, 2).copy()
    moved[3, 0] += 1.0
    changed = np.abs(answer(model, case, moved) - answer(model, case)).max(axis=2) > 1e-7
    assert set(np.nonzero(changed)[1]) == {0, 1}


def test_pictures_are_padded_as_a_convolution_by_hand():
    """Circular in longitude, the nearest row in latitude, against loops."""
    table = Table.of(globe())
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(ROWS, COLUMNS)), rng.normal(size=(3, 3))
    for apart in (1, 2, 4):
        wide = table.padded(torch.as_tensor(x)[None, None], apart)
        found = torch.nn.functional.conv2d(
            wide, torch.as_tensor(kernel)[None, None], dilation=apart
        )
        by_hand = np.zeros((ROWS, COLUMNS))
        for i in range(ROWS):
            for j in range(COLUMNS):
                for di in (-1, 0, 1):
                    for dj in (-1, 0, 1):
                        row = min(max(i + apart * di, 0), ROWS - 1)
                        column = (j + apart * dj) % COLUMNS
                        by_hand[i, j] += kernel[di + 1, dj + 1] * x[row, column]
        np.testing.assert_allclose(found[0, 0].numpy(), by_hand, atol=1e-12)


def test_differences_are_slopes():
    """Of the sine of a latitude, in the first order of the spacing."""
    mesh = globe(180, 36)
    table = Table.of(mesh)
    phi = torch.deg2rad(torch.as_tensor(np.array(mesh.points[:, 1])))
    slopes = Surroundings(1, 1).slopes(phi.sin()[None, :, None], table)[0, 1:-1]
    south, west, east, north = (slopes[..., k] for k in (1, 3, 4, 6))
    expected = table.phi.cos()[1:-1, None].expand(-1, 36)
    assert (north - expected).abs().max() < 0.02
    assert (south + expected).abs().max() < 0.02
    assert max(west.abs().max(), east.abs().max()) < 1e-12


def test_neighbours_tell_what_the_column_does_not():
    samples = [winds(k) for k in range(12)]
    truth = winds(50)
    errors = []
    for reach in (0, 1):
        recipe = PatchNetwork(reach, 24, 1, replace(SHORT, steps=300))
        found = answer(recipe.fit(samples, validation=[]), truth.case)
        gap = found - truth.fields["w"].values.reshape(found.shape)
        errors.append(np.sqrt(np.square(gap).mean()))
    assert errors[1] < 0.5 * errors[0]


def test_the_order_of_points_does_not_matter(model):
    case, order = winds(9).case, np.random.default_rng(0).permutation(ROWS * COLUMNS)
    inverse = np.argsort(order)
    mesh = Mesh(
        case.mesh.points[order], {k: inverse[block] for k, block in case.mesh.cells.items()}
    )
    known = {"u": Field(case.fields["u"].values[:, order], "m/s")}
    [found], [mixed] = (model.predict([c]) for c in (case, replace(case, mesh=mesh, fields=known)))
    np.testing.assert_allclose(
        mixed.mean["w"].values, found.mean["w"].values[:, order], rtol=0, atol=1e-9
    )


def test_going_on_leaves_frozen_parts_as_they_are_and_learns_the_rest():
    recipe, frozen = AttentionUNet((6, 6), SHORT), ("first", "top", "down", "up")
    model = recipe.fit(SAMPLES, validation=[])
    other = [Sample(s.case, {"w": Field(-2.0 * s.fields["w"].values, "Pa")}) for s in SAMPLES]
    quick = AttentionUNet((6, 6), replace(SHORT, steps=100, rate=3e-2))
    found = quick.adapted(model, other, frozen=frozen, validation=[])
    before = dict(model.net.named_parameters())
    for name, weight in found.net.named_parameters():
        assert torch.equal(weight, before[name]) == (name.partition(".")[0] in frozen), name
    assert torch.equal(found.net.near.scale, model.net.near.scale)
    truth = other[0].fields["w"].values.reshape(ROWS, COLUMNS, 2)
    errors = [np.square(answer(m, other[0].case) - truth).mean() for m in (model, found)]
    assert errors[1] < 0.5 * errors[0]
    part = PatchNetwork(1, 16, 1, SHORT)
    near = part.adapted(part.fit(SAMPLES, validation=[]), other, frozen=("dense.weights.0",))
    assert not near.net.dense.weights[0].requires_grad
    assert near.net.dense.weights[1].requires_grad
    for wrong, words in (("eyes", r"parts of the network, .*'eyes'"), ("den", "'den'")):
        with pytest.raises(ValueError, match=words):
            part.adapted(near, other, frozen=(wrong,))


def test_other_meshes_are_refused():
    case = winds(9).case
    for recipe in RECIPES:
        with pytest.raises(ValueError, match=r"case grid0: expected .* lat_lon_mesh"):
            recipe.fit([winds(0, Mesh(np.random.default_rng(0).uniform(0, 9, (120, 2))))])
    model = PatchNetwork.tiny().fit(SAMPLES)
    line = case.mesh.moved(case.mesh.points * 2.0)
    with pytest.raises(ValueError, match=r"grid9.*latitudes from -90 to 90"):
        model.predict([replace(case, mesh=line)])
    for wrong in (lambda: PatchNetwork(-1), lambda: AttentionUNet(())):
        with pytest.raises(ValueError, match="expected"):
            wrong()


def test_wrappers_know_that_grids_are_needed():
    assert Rollout(PatchNetwork()).grids
    assert not Rollout(PatchNetwork()).any_mesh
