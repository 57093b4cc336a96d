"""Snapshot POD: orthonormal, complete, truncated where asked, the SVD where nothing is weighed."""

import numpy as np
import pytest

from fieldcast.conformance.families import square
from fieldcast.meshes.mass import mass_matrix
from fieldcast.surrogates.pod import Pod, Snapshots, held_out

N, CHANNELS = 7, 2
MESH = square(6, 0)
NODES = len(MESH.points)
WEIGHTS = {"mass": mass_matrix(MESH), "identity": None}
EVERY = pytest.mark.parametrize("weight", WEIGHTS.values(), ids=list(WEIGHTS))


def snapshots(seed=0, n=N, offset=1e5):
    return offset + np.random.default_rng(seed).normal(size=(n, CHANNELS, NODES))


def product(u, v, weight):
    """<u, v> = sum_c u_c^T M v_c."""
    return sum(a @ (b if weight is None else weight @ b) for a, b in zip(u, v, strict=True))


@EVERY
def test_modes_are_orthonormal(weight):
    pod = Pod.fit(snapshots(), 20, weight)
    gram = [[product(u, v, weight) for v in pod.modes] for u in pod.modes]
    np.testing.assert_allclose(gram, np.eye(N - 1), atol=1e-10)
    duals = [[(u * v).sum() for v in pod.modes] for u in pod.dual]
    np.testing.assert_allclose(duals, np.eye(N - 1), atol=1e-10)


@EVERY
def test_training_snapshots_are_reconstructed(weight):
    s = snapshots()
    pod = Pod.fit(s.copy(), 20, weight)
    np.testing.assert_allclose(pod.decode(pod.encode(s)), s, rtol=0, atol=1e-9)
    assert pod.energy.sum() == pytest.approx(1.0, rel=1e-12)
    assert (np.diff(pod.energy) <= 0).all()


@EVERY
def test_truncation_leaves_out_what_the_energies_say(weight):
    """The mean square of what is left out is the energy left out: the best k modes there are."""
    s = snapshots()
    whole = Pod.fit(s.copy(), 20, weight)
    centred = s - s.mean(axis=0)
    total = sum(product(u, u, weight) for u in centred)
    for k in (1, 3, 5):
        pod = Pod.fit(s.copy(), k, weight)
        assert len(pod.modes) == k
        rest = s - pod.decode(pod.encode(s))
        left = sum(product(u, u, weight) for u in rest) / total
        assert left == pytest.approx(whole.energy[k:].sum(), rel=1e-8)


def test_unweighted_it_is_the_singular_value_decomposition():
    s = snapshots()
    pod = Pod.fit(s.copy(), 20)
    flat = (s - s.mean(axis=0)).reshape(N, -1)
    _, values, vt = np.linalg.svd(flat, full_matrices=False)
    np.testing.assert_allclose(pod.energy, (values**2 / (values**2).sum())[: N - 1], rtol=1e-9)
    modes = pod.modes.reshape(N - 1, -1)
    np.testing.assert_allclose(np.abs((modes * vt[: N - 1]).sum(1)), 1.0, rtol=1e-9)


def test_few_directions_give_few_modes():
    """Rounding is no mode: three directions, three modes, whatever is asked."""
    rng = np.random.default_rng(1)
    s = 1e5 + np.einsum("nk,kcx->ncx", rng.normal(size=(20, 3)), rng.normal(size=(3, 2, NODES)))
    assert len(Pod.fit(s.copy(), 16).modes) == 3


def test_modes_below_the_tolerance_are_left_out():
    rng = np.random.default_rng(2)
    size = np.array([1.0, 0.1, 1e-4])[:, None, None]
    s = np.einsum("nk,kcx->ncx", rng.normal(size=(20, 3)), size * rng.normal(size=(3, 1, NODES)))
    assert len(Pod.fit(s.copy(), 16, tolerance=1e-2).modes) == 2
    assert len(Pod.fit(s.copy(), 16, tolerance=1e-6).modes) == 3


def test_snapshots_that_are_all_alike_have_no_mode():
    pod = Pod.fit(np.full((4, 1, NODES), 3.0), 5)
    assert len(pod.modes) == 0
    np.testing.assert_array_equal(pod.decode(np.zeros((2, 0))), 3.0)


def test_the_encoding_of_a_new_snapshot_is_its_best_approximation():
    s, weight = snapshots(), WEIGHTS["mass"]
    pod = Pod.fit(s.copy(), 4, weight)
    new = snapshots(3, 1)
    rest = new - pod.decode(pod.encode(new))
    for mode in pod.modes:
        assert product(rest[0], mode, weight) == pytest.approx(0.0, abs=1e-9)


@EVERY
def test_held_out_snapshots_are_projected_on_the_modes_of_the_others(weight):
    s = snapshots(n=8)
    gram = Snapshots.of(s.copy(), weight).gram
    parts = [np.array([2, 5]), np.array([0])]
    weights = held_out(gram, parts, 3)
    found = np.tensordot(weights, s, axes=1)
    for part, rows in zip(parts, (found[:2], found[2:]), strict=True):
        pod = Pod.fit(np.delete(s, part, axis=0), 3, weight)
        np.testing.assert_allclose(rows, pod.decode(pod.encode(s[part])), rtol=0, atol=1e-8)
