# SPDX-License-Identifier: GPL-3.0-or-later
"""FaceMotion and its file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from inference import FaceMotion, write_motion


def random_motion(frames: int = 600) -> FaceMotion:
    rng = np.random.default_rng(0)
    weights, basis = rng.random((frames, 3), np.float32), rng.normal(size=(3, 7, 3)).astype(np.float32)
    return FaceMotion(50.0, 1.5, ("a", "b", "c"), weights, basis)


def test_file_holds_what_the_motion_says(tmp_path: Path) -> None:
    motion = random_motion()
    write_motion(motion, tmp_path / "m.npz", vertices=True)
    with np.load(tmp_path / "m.npz", allow_pickle=False) as data:
        assert float(data["fps"]) == 50.0
        np.testing.assert_allclose(data["times"], 1.5 + np.arange(600) / 50)
        assert data["names"].tolist() == ["a", "b", "c"]
        assert data["weights"].dtype == data["offsets"].dtype == np.float32
        expected = np.einsum("tk,kvc->tvc", motion.weights, motion.basis)
        np.testing.assert_allclose(data["offsets"], expected, atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["m.npz"]


def test_meshes_of_any_size_take_the_same_memory(tmp_path: Path) -> None:
    """A package may name a mesh of millions of vertices."""
    motion = FaceMotion(50.0, 0.0, ("a",), np.ones((100, 1), np.float32), np.ones((1, 200_000, 3), np.float32))
    tracemalloc.start()
    write_motion(motion, tmp_path / "m.npz", vertices=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6
    with np.load(tmp_path / "m.npz", allow_pickle=False, mmap_mode="r") as data:
        assert data["offsets"].shape == (100, 200_000, 3)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "m.npz").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError):
        write_motion(random_motion(), tmp_path / "m.npz", vertices=True, progress=lambda _: 1 // 0)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("fps", [24000 / 1001, 25, 30, 60, 120])
def test_other_rates_keep_the_time(fps: float) -> None:
    weights = np.linspace(0, 1, 500, dtype=np.float32)[:, None]
    slow = FaceMotion(50.0, 0.0, ("a",), weights, np.zeros((1, 1, 3), np.float32)).at_rate(fps)
    assert slow.duration == pytest.approx(10.0, abs=0.6 / fps)
    inside = slow.times < 499 / 50
    np.testing.assert_allclose(slow.weights[inside, 0], slow.times[inside] * 50 / 499, atol=1e-5)
