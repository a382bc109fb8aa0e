# SPDX-License-Identifier: GPL-3.0-or-later
"""Principal shapes: within the tolerance with as few as can be, the same every time."""

from __future__ import annotations

import numpy as np
import pytest

from inference import FaceMotion, arkit_basis, principal_view
from inference.principal import decompose


def blendshape_motion(frames: int = 300) -> FaceMotion:
    """A dozen ARKit blendshapes in 0…1 that mostly move together, as speech moves them."""
    names, deltas = arkit_basis()
    mouth = [i for i, name in enumerate(names) if name.startswith(("jaw", "mouth"))][:12]
    rng = np.random.default_rng(0)
    common = np.sin(np.arange(frames)[:, None] * (0.05, 0.11, 0.17, 0.31)) @ rng.normal(size=(4, len(mouth)))
    weights = (0.4 + 0.1 * common + 0.01 * rng.normal(size=common.shape)).clip(0, 1)
    return FaceMotion(50.0, 2.0, tuple(names[i] for i in mouth), weights.astype(np.float32), deltas[mouth])


def vertex_motion(frames: int = 120) -> FaceMotion:
    """A little mesh whose features, as many as FaceFormer's, are correlated; not about zero."""
    rng = np.random.default_rng(1)
    features = np.append(rng.normal(size=(frames, 8)) @ rng.normal(size=(8, 64)), np.ones((frames, 1)), axis=1)
    basis = (1e-4 * rng.normal(size=(65, 300, 3))).astype(np.float32)
    return FaceMotion(25.0, 0.0, tuple(map(str, range(65))), features.astype(np.float32), basis, "vertices")


def distances(motion: FaceMotion, other: FaceMotion) -> np.ndarray:
    return np.linalg.norm(motion.offsets() - other.offsets(), axis=2)


@pytest.mark.parametrize("make", [blendshape_motion, vertex_motion])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-6])
def test_within_the_tolerance_and_one_fewer_is_not(make: type, tolerance: float) -> None:
    motion = make()
    view = principal_view(motion, tolerance)
    off = distances(motion, view.motion)
    assert off.max() <= tolerance + 1e-7
    assert view.largest == pytest.approx(off.max(), abs=1e-7)
    assert view.rms == pytest.approx(np.sqrt(np.square(off).mean()), abs=1e-7)
    count = len(view.motion.names)
    fewer = FaceMotion(
        motion.fps, 0.0, view.motion.names[:-1], view.motion.weights[:, :-1], view.motion.basis[:-1], "vertices"
    )
    assert count > 1 and distances(motion, fewer).max() > tolerance
    assert count <= min(len(motion.names), 12)  # neither has more independent movements than that
    assert (view.motion.fps, view.motion.start, view.motion.kind) == (motion.fps, motion.start, "vertices")


def test_fewer_than_blendshapes_where_a_millimetre_is_enough() -> None:
    motion = blendshape_motion()
    assert len(principal_view(motion, 1e-3).motion.names) < len(motion.names)


def test_shapes_are_ranked_signed_and_scaled() -> None:
    view = principal_view(blendshape_motion(), 1e-5).motion
    assert view.weights.max(axis=0) == pytest.approx(1.0) and view.weights.min() >= -1.0
    share = np.square(view.weights).sum(axis=0) * np.square(view.basis).sum(axis=(1, 2))
    assert (np.diff(share) <= 0).all()
    assert view.names[:2] == ("principal_00", "principal_01")


def test_the_same_every_time_whatever_the_order_of_the_blendshapes() -> None:
    motion = blendshape_motion()
    order = np.random.default_rng(2).permutation(len(motion.names))
    names = tuple(motion.names[i] for i in order)
    mixed = FaceMotion(motion.fps, motion.start, names, motion.weights[:, order], motion.basis[order])
    one, two, other = (principal_view(each, 1e-4).motion for each in (motion, motion, mixed))
    np.testing.assert_array_equal(one.weights, two.weights)
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-4)


def test_silence_keeps_one_shape_that_does_nothing() -> None:
    names, deltas = arkit_basis()
    view = principal_view(FaceMotion(50.0, 0.0, names, np.zeros((10, len(names)), np.float32), deltas), 1e-4)
    assert len(view.motion.names) == 1 and view.largest == view.rms == 0
    assert np.isfinite(view.motion.basis).all() and np.abs(view.motion.offsets()).max() < 1e-9


def test_blocks_cover_every_frame() -> None:
    """Longer than any block, with the one large movement in the last frame."""
    rng = np.random.default_rng(3)
    weights = 1e-3 * rng.normal(size=(4500, 3))
    weights[-1] = 1.0, 0.0, -1.0
    motion = FaceMotion(50.0, 0.0, ("a", "b", "c"), weights.astype(np.float32), rng.normal(size=(3, 40, 3)))
    parts = decompose(motion.weights, motion.basis.reshape(3, -1))
    np.testing.assert_allclose(parts.amounts @ parts.shapes, weights @ motion.basis.reshape(3, -1), atol=1e-6)
    kept = (parts.amounts[:, :1] @ parts.shapes[:1] - parts.amounts @ parts.shapes).reshape(4500, 40, 3)
    assert parts.farthest(1) == pytest.approx(np.linalg.norm(kept, axis=2).max(), rel=1e-4)


def test_it_can_be_stopped() -> None:
    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        principal_view(blendshape_motion(), 1e-4, stop)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, float("nan")])
def test_a_tolerance_must_be_positive(tolerance: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        principal_view(vertex_motion(), tolerance)
