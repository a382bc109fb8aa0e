# SPDX-License-Identifier: GPL-3.0-or-later
"""From motion to keys: time, smoothing, strength, key reduction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference import FaceMotion, make_curves
from inference.curves import SETTLE, gaussian_smooth, reduce_keys

RATES = [24000 / 1001, 24, 25, 30000 / 1001, 30, 60, 120]


def motion(weights: np.ndarray, fps: float = 50.0, start: float = 0.0) -> FaceMotion:
    weights = np.asarray(weights, np.float32)
    names = tuple(f"k{i}" for i in range(weights.shape[1]))
    return FaceMotion(fps, start, names, weights, np.zeros((weights.shape[1], 4, 3), np.float32))


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("start_frame", [1.0, 1001.5, -20.25])
def test_a_ramp_stays_a_ramp_in_time(fps: float, start_frame: float) -> None:
    """A weight that grows by 0.1 a second reads off the scene time of every key, ten minutes long."""
    ramp = motion(np.arange(600 * 50)[:, None] / 50 / 600)
    frames, values = make_curves(ramp, fps, start_frame).keys[0]
    inside = frames <= start_frame + (600 - 1 / 50) * fps
    seconds = (frames[inside].astype(np.float64) - start_frame) / fps
    assert np.abs(values[inside] * 600 - seconds).max() < 0.1 / fps
    assert seconds[0] >= 0 and seconds[0] < 1 / fps
    assert np.all(frames == np.rint(frames))


def test_settles_to_rest_after_the_end() -> None:
    frames, values = make_curves(motion(np.ones((50, 1))), 25).keys[0]
    assert values[-1] == pytest.approx(0, abs=1e-6)
    assert frames[-1] - 1 == pytest.approx((1 - 1 / 50 + SETTLE) * 25, abs=1.1)


def test_blendshapes_are_clipped_after_strength() -> None:
    values = make_curves(motion(np.full((50, 1), 0.7)), 30, strength=2.0).keys[0][1]
    assert values.max() == 1.0


@settings(max_examples=50, deadline=None)
@given(
    values=hnp.arrays(np.float32, st.integers(1, 80), elements=st.floats(0, 1, width=32)),
    tolerance=st.floats(1e-3, 0.5),
)
def test_key_reduction_stays_within_tolerance(values: np.ndarray, tolerance: float) -> None:
    kept = reduce_keys(values, tolerance)
    rebuilt = np.interp(np.arange(len(values)), kept, values[kept])
    assert np.abs(rebuilt - values).max() <= tolerance + 1e-6
    assert {0, len(values) - 1} <= set(kept.tolist())


def test_key_reduction_reduces() -> None:
    assert len(reduce_keys(np.linspace(0, 1, 500), 0.01)) == 2
    assert len(reduce_keys(np.linspace(0, 1, 500), 0.0)) == 500


def test_smoothing_keeps_the_mean_and_lowers_jitter() -> None:
    rough = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    smooth = gaussian_smooth(rough, 3.0)
    assert smooth.shape == rough.shape
    np.testing.assert_allclose(smooth.mean(axis=0), rough.mean(axis=0), atol=0.02)
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.2 * np.abs(np.diff(rough, axis=0)).mean()
    assert gaussian_smooth(rough, 0.0) is rough
