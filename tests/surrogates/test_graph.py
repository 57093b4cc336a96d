"""Graphs of meshes: edges, reach, order, batches."""

import numpy as np
import pytest
import torch
from scipy.sparse.csgraph import shortest_path

from fieldcast.conformance.families import square
from fieldcast.meshes import Mesh
from fieldcast.surrogates.graph import (
    Graph,
    across,
    both_ways,
    cuthill_mckee,
    graph_of,
    morton,
    packed,
    rings,
    scattered,
    union,
    within,
    world,
)


def path(n):
    return both_ways(n, np.stack([np.arange(n - 1), np.arange(1, n)], axis=1))


def pairs(graph):
    return set(zip(graph.row.tolist(), graph.column.tolist(), strict=True))


@pytest.mark.parametrize(
    ("cell", "nodes", "edges"),
    [
        ("line", 2, 1),
        ("line3", 3, 2),
        ("triangle", 3, 3),
        ("triangle6", 6, 6),
        ("quad", 4, 4),
        ("quad9", 9, 12),
        ("polygon5", 5, 5),
        ("tetra", 4, 6),
        ("tetra10", 10, 12),
        ("hexahedron", 8, 12),
        ("hexahedron20", 20, 24),
        ("hexahedron27", 27, 24 + 7 * 8),
        ("wedge", 6, 9),
        ("pyramid13", 13, 16),
        ("vertex", 1, 0),
    ],
)
def test_cells_of_all_types_have_edges(cell, nodes, edges):
    points = np.random.default_rng(0).random((nodes, 3))
    mesh = Mesh(points, {cell: np.arange(nodes)[None]})
    assert len(mesh.edges) == edges
    assert (mesh.edges[:, 0] < mesh.edges[:, 1]).all()
    assert len(np.unique(mesh.edges, axis=0)) == edges


def test_a_middle_node_halves_its_edge():
    points = np.array([[0, 0], [2, 0], [0, 2], [1, 0], [1, 1], [0, 1.0]])
    edges = Mesh(points, {"triangle6": np.arange(6)[None]}).edges
    np.testing.assert_allclose(
        np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1) <= 1.5, True
    )
    assert [0, 1] not in edges.tolist()


def test_edges_go_both_ways_once_and_never_to_the_node_itself():
    graph = graph_of(square(6, 0))
    found = pairs(graph)
    assert len(found) == graph.edges
    assert found == {(j, i) for i, j in found}
    assert all(i != j for i, j in found)
    assert graph.edges == 2 * len(square(6, 0).edges)


def test_points_without_cells_see_their_nearest():
    points = np.random.default_rng(0).random((30, 2))
    graph = graph_of(Mesh(points))
    assert int(graph.degree.min()) >= 6
    assert graph_of(Mesh(points[:1])).edges == 0


def test_the_transpose_turns_every_edge_and_mirror_finds_it():
    rng = np.random.default_rng(0)
    graph = Graph.of(40, rng.integers(0, 40, 200), rng.integers(0, 40, 200))
    assert pairs(graph.transpose) == {(j, i) for i, j in pairs(graph)}
    np.testing.assert_array_equal(graph.row[graph.mirror], graph.transpose.column.long())
    np.testing.assert_array_equal(graph.column[graph.mirror].long(), graph.transpose.row)


def test_rings_are_exactly_so_far_and_hops_at_most():
    graph = graph_of(square(7, 1))
    distance = shortest_path(graph.matrix, unweighted=True)
    for radius, ring in zip((1, 3, 4), rings(graph, (1, 3, 4)), strict=True):
        assert pairs(ring) == set(zip(*np.nonzero(distance == radius), strict=True))
    near = (distance > 0) & (distance <= 3)
    assert pairs(within(graph, 3)) == set(zip(*np.nonzero(near), strict=True))
    assert within(graph, 1) is graph
    assert across(graph) == distance.max()


def test_random_edges_are_the_seeds():
    assert pairs(scattered(50, 20, seed=3)) == pairs(scattered(50, 20, seed=3))
    assert pairs(scattered(50, 20, seed=3)) != pairs(scattered(50, 20, seed=4))


def test_contact_is_between_bodies_alone():
    points = np.array([[0.0, 0], [0.02, 0], [0.01, 0.01], [1, 1]])
    graph = world(points, 0.03, np.array([0, 0, 1, 1]))
    assert pairs(graph) == {(0, 2), (2, 0), (1, 2), (2, 1)}


def test_union_holds_the_edges_of_all():
    some, more = path(6), scattered(6, 4, 0)
    assert pairs(union([some, more])) == pairs(some) | pairs(more)


@pytest.mark.parametrize("known", [False, True])
def test_packed_graphs_do_not_see_each_other(known):
    graphs = [path(3), path(5), Graph.of(2, np.empty(0, int), np.empty(0, int))]
    if known:
        assert all(len(g.mirror) == g.edges for g in graphs)
    both = packed(graphs)
    expected = pairs(graphs[0]) | {(i + 3, j + 3) for i, j in pairs(graphs[1])}
    assert pairs(both) == expected
    assert both.nodes == 10
    assert pairs(both.transpose) == {(j, i) for i, j in expected}
    np.testing.assert_array_equal(both.row[both.mirror], both.transpose.column.long())


def test_orders_bring_neighbours_together():
    mesh = square(20, 0)
    shuffled = np.random.default_rng(0).permutation(len(mesh.points))
    graph = graph_of(mesh).reordered(shuffled)

    def width(g):
        return int((g.row - g.column).abs().max())

    def reach(g):
        return float((g.row - g.column).abs().double().mean())

    by_mckee = graph.reordered(cuthill_mckee(graph))
    by_curve = graph.reordered(morton(mesh.points[shuffled]))
    assert width(by_mckee) < 0.2 * width(graph)
    assert reach(by_curve) < 0.3 * reach(graph)
    assert by_mckee.edges == by_curve.edges == graph.edges


def test_buckets_hold_every_neighbour_once():
    rng = np.random.default_rng(0)
    graph = Graph.of(40, rng.integers(0, 35, 200), rng.integers(0, 40, 200))
    found = set()
    for rows, columns, there in graph.buckets(4):
        for i, js, ok in zip(rows.tolist(), columns, there, strict=True):
            found |= {(i, int(j)) for j in js[ok]}
    assert found == pairs(graph)
    assert sum(int(there.sum()) for _, _, there in graph.buckets(4)) == graph.edges


def test_numbers_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="between nodes 0 to 3"):
        Graph.of(4, np.array([0, 4]), np.array([1, 2]))
    with pytest.raises(ValueError, match="as many rows as columns"):
        Graph.of(4, np.array([0, 1]), np.array([1]))


def test_moving_a_graph_where_it_is_changes_nothing():
    graph = path(3)
    assert graph.to("cpu") is graph
    assert graph.to(None) is graph
    assert graph.device == torch.device("cpu")
