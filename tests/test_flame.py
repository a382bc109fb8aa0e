# SPDX-License-Identifier: GPL-3.0-or-later
"""FLAME topology: recognised in any pose of its space and with any identity, refused when it isn't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import FlameTopology, MeshError, arkit_basis
from inference.flame import VERTEX_COUNT, edge_hash, similarity


@pytest.fixture(scope="module")
def flame(shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / "flame" / "flame2023open_subset.npz", allow_pickle=False) as data:
        faces = data["faces"]
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        return {"vertices": data["v_template"], "edges": edges, "identities": data["identity_basis"]}


def rotation(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.001, 0.01, 1.0, 10.0, 100.0, 1000.0]))
def test_any_scale_orientation_place_and_identity(flame: dict[str, np.ndarray], seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    turn, shift = rotation(rng), rng.normal(size=3) * scale
    head = flame["vertices"] + flame["identities"] @ rng.normal(size=60)
    fit = FlameTopology.load().check(head @ turn.T * scale + shift, flame["edges"])
    assert fit.warning is None
    assert fit.scale == pytest.approx(scale, rel=0.15)
    angle = np.degrees(np.arccos(np.clip((np.trace(fit.linear @ turn.T) / fit.scale - 1) / 2, -1, 1)))
    assert angle < 6, "a chin must never open sideways"


def test_exact_on_the_template(flame: dict[str, np.ndarray]) -> None:
    fit = FlameTopology.load().check(flame["vertices"], flame["edges"])
    np.testing.assert_allclose(fit.linear, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(fit.offset, 0, atol=1e-4)


def test_edges_in_any_order_and_direction(flame: dict[str, np.ndarray]) -> None:
    edges = np.random.default_rng(0).permutation(flame["edges"])[:, ::-1]
    assert FlameTopology.load().check(flame["vertices"], edges).warning is None


def test_other_edges_warn(flame: dict[str, np.ndarray]) -> None:
    fewer = flame["edges"][(flame["edges"] != 100).all(axis=1)]
    assert FlameTopology.load().check(flame["vertices"], fewer).warning


@pytest.mark.parametrize("part", [0.1, 1.0])
def test_other_vertex_order_is_refused(flame: dict[str, np.ndarray], part: float) -> None:
    rng = np.random.default_rng(0)
    order = np.arange(VERTEX_COUNT)
    some = rng.choice(VERTEX_COUNT, int(part * VERTEX_COUNT), replace=False)
    order[some] = order[rng.permutation(some)]
    with pytest.raises(MeshError, match="another order"):
        FlameTopology.load().check(flame["vertices"][order], np.argsort(order)[flame["edges"]])


def test_shifted_vertex_order_is_refused(flame: dict[str, np.ndarray]) -> None:
    order = np.roll(np.arange(VERTEX_COUNT), 1)
    with pytest.raises(MeshError, match="another order"):
        FlameTopology.load().check(flame["vertices"][order], np.argsort(order)[flame["edges"]])


@pytest.mark.parametrize("count", [0, 1, 5022, 5024])
def test_other_vertex_counts_are_refused(count: int) -> None:
    with pytest.raises(MeshError, match=str(count)):
        FlameTopology.load().check(np.zeros((count, 3)), np.zeros((0, 2), int))


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_degenerate_meshes_are_refused(value: float) -> None:
    with pytest.raises(MeshError):
        FlameTopology.load().check(np.full((VERTEX_COUNT, 3), value), np.zeros((10, 2), int))


def test_deltas_equal_their_source(shared: Path) -> None:
    with np.load(shared / "flame" / "arkit_deltas.npz", allow_pickle=False) as source:
        names, deltas = arkit_basis()
        assert names == tuple(source["names"].tolist())
        np.testing.assert_array_equal(deltas, source["deltas"])


def test_nothing_of_flame_itself_is_held() -> None:
    """Only deltas, a hash and a few anatomical points: no template, no face list."""
    assert len(FlameTopology.load().landmark_ids) < 50
    names, deltas = arkit_basis()
    assert deltas.shape == (len(names), VERTEX_COUNT, 3)
    assert np.abs(deltas).max() < 0.06  # metres: offsets, not positions


def test_edge_hash_ignores_duplicates() -> None:
    assert edge_hash(np.array([[0, 1], [1, 0], [1, 2]])) == edge_hash(np.array([[2, 1], [0, 1]]))
    assert edge_hash(np.array([[0, 1]])) != edge_hash(np.array([[0, 2]]))


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), mirrored=st.booleans())
def test_similarity_is_recovered(seed: int, mirrored: bool) -> None:
    rng = np.random.default_rng(seed)
    points, linear, shift = rng.normal(size=(9, 3)), rotation(rng) * rng.uniform(0.1, 9), rng.normal(size=3)
    linear = linear * [1, 1, -1] if mirrored else linear
    found, offset, misfit = similarity(points, points @ linear.T + shift)
    np.testing.assert_allclose(found, linear, atol=1e-9)
    np.testing.assert_allclose(offset, shift, atol=1e-9)
    assert misfit < 1e-7
