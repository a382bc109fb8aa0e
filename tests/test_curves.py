# SPDX-License-Identifier: GPL-3.0-or-later
"""From motion to keys: time, smoothing, strength, key reduction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference import EMBEDDED_MODEL, CurveSet, FaceMotion, LipSyncModel, make_curves, read_speech
from inference.curves import SETTLE, gaussian_smooth

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
    keys = make_curves(ramp, fps, start_frame).keys[0]
    frames, values = keys.frames, keys.values
    inside = frames <= start_frame + (600 - 1 / 50) * fps
    seconds = (frames[inside].astype(np.float64) - start_frame) / fps
    assert np.abs(values[inside] * 600 - seconds).max() < 0.1 / fps
    assert seconds[0] >= 0 and seconds[0] < 1 / fps
    assert np.all(frames == np.rint(frames))


def test_settles_to_rest_after_the_end() -> None:
    keys = make_curves(motion(np.ones((50, 1))), 25).keys[0]
    frames, values = keys.frames, keys.values
    assert values[-1] == pytest.approx(0, abs=1e-6)
    assert frames[-1] - 1 == pytest.approx((1 - 1 / 50 + SETTLE) * 25, abs=1.1)


def test_blendshapes_are_clipped() -> None:
    values = make_curves(motion(np.full((50, 1), 1.4)), 30).keys[0].values
    assert values.max() == 1.0


def rebuilt(curves: CurveSet, parts: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Frames, `parts` to a scene frame, and the values of all curves there."""
    first, last = curves.frame_range
    frames = np.arange(first * parts, last * parts + 1) / parts
    return frames, curves.at(frames)


rough = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 60), st.integers(1, 4)), elements=st.floats(0, 1, width=32).map(np.float32)
)


@settings(max_examples=60)
@given(weights=rough, tolerance=st.sampled_from([0.001, 0.01, 0.1, 0.5]), fps=st.sampled_from([24, 60]))
def test_reduced_keys_stay_within_the_tolerance_and_the_range(weights: np.ndarray, tolerance: float, fps: int) -> None:
    every, few = (make_curves(motion(weights), fps, tolerance=t) for t in (0.0, tolerance))
    assert few.frame_range == every.frame_range
    assert few.key_count <= every.key_count
    frames, values = rebuilt(every)
    assert np.abs(few.at(frames) - values).max() <= tolerance
    between = rebuilt(few, 16)[1]
    assert between.min() >= -1e-6 and between.max() <= 1 + 1e-6
    for keys in few.keys:
        left, right = keys.handles()
        assert min(left[:, 1].min(), right[:, 1].min()) >= -1e-6
        assert max(left[:, 1].max(), right[:, 1].max()) <= 1 + 1e-6


def test_reduced_speech_keeps_less_than_a_quarter_of_its_keys() -> None:
    """At 1 % of full range; the embedded model says the demo's sentences ten times, a minute together."""
    speech = read_speech(ROOT / "vendored_models" / "demo_speech" / "speech.flac")
    said = LipSyncModel.load(EMBEDDED_MODEL).run(speech)
    minute = replace(said, weights=np.tile(said.weights, (1 + int(60 / said.duration), 1)))
    every, few = (make_curves(minute, 24, tolerance=t) for t in (0.0, 0.01))
    assert few.key_count < every.key_count / 4


def test_what_is_smooth_has_slopes_that_agree() -> None:
    wave = 0.5 + 0.4 * np.sin(np.arange(500) / 15)[:, None]
    keys = make_curves(motion(wave), 50, tolerance=0.01).keys[0]
    inside = keys.slopes[1:-8]
    assert np.all(inside[:, 0] == inside[:, 1])
    assert len(keys) < 40


def test_a_corner_stays_a_corner() -> None:
    tent = np.concatenate([np.linspace(0, 1, 50), np.linspace(1, 0, 50)])[:, None]
    keys = make_curves(motion(tent), 50, tolerance=0.001).keys[0]
    assert len(keys) <= 6
    assert keys.at(np.array([50.0, 51.0])).min() > 0.97


@settings(max_examples=60)
@given(weights=rough, tolerance=st.sampled_from([0.0, 0.05]), cuts=st.lists(st.floats(-10, 80, width=32), max_size=8))
def test_a_curve_that_is_cut_stays_the_same(weights: np.ndarray, tolerance: float, cuts: list[float]) -> None:
    curves = make_curves(motion(weights), 24, tolerance=tolerance)
    frames = np.linspace(-15, 90, 500)
    for keys in curves.keys:
        more = keys.cut(np.array(cuts))
        assert set(np.float32(cuts).tolist()) <= set(more.frames.tolist())
        assert np.all(np.diff(more.frames) > 0)
        np.testing.assert_allclose(more.at(frames), keys.at(frames), atol=2e-4)


def test_smoothing_keeps_the_mean_and_lowers_jitter() -> None:
    rough = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    smooth = gaussian_smooth(rough, 3.0)
    assert smooth.shape == rough.shape
    np.testing.assert_allclose(smooth.mean(axis=0), rough.mean(axis=0), atol=0.02)
    assert np.abs(np.diff(smooth, axis=0)).mean() < 0.2 * np.abs(np.diff(rough, axis=0)).mean()
    assert gaussian_smooth(rough, 0.0) is rough
