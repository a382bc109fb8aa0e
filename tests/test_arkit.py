# SPDX-License-Identifier: GPL-3.0-or-later
"""Vertex motion as ARKit blendshapes: the bounded optimum, and nothing lost."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from inference import FaceMotion, ModelError, arkit_basis, arkit_view
from inference.arkit import bounded_least_squares


def test_solver_finds_scipys_optimum() -> None:
    rng = np.random.default_rng(0)
    shapes, wanted = rng.normal(size=(40, 9)), 4 * rng.normal(size=(30, 40))
    found = bounded_least_squares(shapes.T @ shapes, wanted @ shapes)
    for w, target in zip(found, wanted, strict=True):
        np.testing.assert_allclose(w, lsq_linear(shapes, target, (0, 1), tol=1e-12).x, atol=1e-4)
    assert (found == 0).any() and (found == 1).any()


def vertex_motion(noise: float, frames: int = 50) -> tuple[FaceMotion, np.ndarray]:
    """Four blendshapes at random weights behind a rotated basis, and other movement of `noise` metres beside."""
    names, deltas = arkit_basis()
    rng = np.random.default_rng(0)
    weights = rng.random((frames, 4))
    picked = deltas[[names.index(name) for name in ("jawOpen", "mouthPucker", "mouthClose", "mouthSmileLeft")]]
    beside = noise * rng.normal(size=(3, 5023, 3))
    mixing = np.linalg.qr(rng.normal(size=(7, 7)))[0]
    basis = np.tensordot(mixing, np.concatenate([picked, beside]), 1).astype(np.float32)
    features = np.concatenate([weights, rng.normal(size=(frames, 3))], axis=1) @ mixing.T
    named = tuple(f"feature_{i}" for i in range(7))
    return FaceMotion(30.0, 2.0, named, features.astype(np.float32), basis, "vertices"), weights


def test_blendshapes_are_recognised() -> None:
    motion, weights = vertex_motion(0.0)
    view = arkit_view(motion)
    names = view.motion.names
    assert np.abs(view.motion.weights[:, names.index("jawOpen")] - weights[:, 0]).max() < 0.02
    assert view.rms < 2e-5 and view.motion.start == 2.0 and view.motion.kind == "blendshapes"


def test_exact_with_all_shapes_and_within_tolerance_with_few() -> None:
    motion, _ = vertex_motion(2e-4)
    exact = arkit_view(motion)
    np.testing.assert_allclose(exact.motion.offsets(), motion.offsets(), atol=1e-7)
    few = arkit_view(motion, 0.3e-3)
    off = np.linalg.norm(few.motion.offsets() - motion.offsets(), axis=2)
    assert off.max() <= 0.3e-3 + 1e-6 and few.left == pytest.approx(off.max(), abs=1e-6)
    assert len(few.motion.names) < len(exact.motion.names)
    arkit = len([name for name in few.motion.names if not name.startswith("residual")])
    without = motion.offsets() - np.tensordot(few.motion.weights[:, :arkit], few.motion.basis[:arkit], 1)
    distance = np.linalg.norm(without, axis=2)
    assert few.largest == pytest.approx(distance.max(), abs=1e-6)
    assert few.rms == pytest.approx(np.sqrt(np.square(distance).mean()), rel=1e-3)


def test_weights_are_bounded() -> None:
    motion, _ = vertex_motion(1e-3)
    view = arkit_view(motion)
    arkit = [i for i, name in enumerate(view.motion.names) if not name.startswith("residual")]
    assert view.motion.weights[:, arkit].min() >= 0 and view.motion.weights[:, arkit].max() <= 1
    assert np.abs(view.motion.weights).max() <= 1.0


def test_other_meshes_have_no_view() -> None:
    with pytest.raises(ModelError, match="no ARKit"):
        arkit_view(FaceMotion(25.0, 0.0, ("a",), np.ones((3, 1), np.float32), np.ones((1, 7, 3), np.float32)))
