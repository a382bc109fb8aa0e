# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics: the cases in which the right figure is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import arkit_basis
from training import metrics

LIPS = np.arange(10, 30)
UPPER = np.arange(40, 60)


@pytest.fixture
def motion():
    rng = np.random.default_rng(0)
    neutral = rng.normal(size=(100, 3))
    return neutral, [neutral + 0.002 * rng.normal(size=(n, 100, 3)) for n in (20, 35)]


def test_identical_motion_has_no_error(motion):
    neutral, true = motion
    assert metrics.lip_error_squared(true, true, LIPS).pooled == 0
    assert metrics.lip_error(true, true, LIPS).pooled == 0
    assert metrics.mean_vertex_error(true, true).pooled == 0
    figure, size = metrics.dynamics_deviation(true, true, neutral, UPPER)
    assert figure.pooled == size == 0


def test_one_millimetre_is_one_millimetre(motion):
    _, true = motion
    moved = [t + np.array([0.0, 0.001, 0.0]) for t in true]
    assert metrics.lip_error_squared(moved, true, LIPS).pooled == pytest.approx(1e-6)
    assert metrics.lip_error(moved, true, LIPS).pooled == pytest.approx(1e-3)
    assert metrics.mean_vertex_error(moved, true, LIPS).pooled == pytest.approx(1e-3)


def test_pooling_weighs_frames_and_each_keeps_sequences(motion):
    _, true = motion
    moved = [true[0] + np.array([0.001, 0, 0]), true[1] + np.array([0.003, 0, 0])]
    figure = metrics.lip_error(moved, true, LIPS)
    np.testing.assert_allclose(figure.each, [0.001, 0.003])
    assert figure.pooled == pytest.approx((20 * 0.001 + 35 * 0.003) / 55)


def test_squared_error_bounds_the_other(motion):
    _, true = motion
    moved = [t + 0.001 * np.random.default_rng(1).normal(size=t.shape) for t in true]
    squared, plain = metrics.lip_error_squared(moved, true, LIPS), metrics.lip_error(moved, true, LIPS)
    assert np.sqrt(squared.pooled) >= plain.pooled > 0


def test_dynamics_ignore_the_order_of_frames_and_a_still_face_is_positive(motion):
    neutral, true = motion
    shuffled = [t[np.random.default_rng(2).permutation(len(t))] for t in true]
    figure, _ = metrics.dynamics_deviation(shuffled, true, neutral, UPPER)
    assert figure.pooled == pytest.approx(0, abs=1e-18)
    still = [np.broadcast_to(neutral, t.shape) for t in true]
    figure, size = metrics.dynamics_deviation(still, true, neutral, UPPER)
    assert figure.pooled == size > 0


def test_over_and_under_acting_cancel_only_in_the_signed_figure():
    wave = np.sin(np.arange(40) / 3)[:, None, None] * np.ones((1, 100, 3)) * 0.01
    true = [wave, wave]
    lively = (wave**2).sum(2).std(0).mean()
    figure, size = metrics.dynamics_deviation([wave * np.sqrt(2), wave * 0], true, np.zeros((100, 3)), UPPER)
    assert figure.pooled == pytest.approx(0, abs=1e-12)
    assert size == pytest.approx(lively)


def test_sequences_are_cut_to_the_shorter(motion):
    _, true = motion
    assert metrics.lip_error([t[:-3] for t in true], true, LIPS).pooled == 0
    with pytest.raises(ValueError, match="no frames"):
        metrics.lip_error([t[:0] for t in true], true, LIPS)
    with pytest.raises(ValueError, match="predictions"):
        metrics.lip_error(true[:1], true, LIPS)


@given(st.integers(-10, 10))
def test_sync_offset_finds_the_shift(shift):
    curve = np.convolve(np.random.default_rng(3).normal(size=200), np.ones(5) / 5, "same")
    assert metrics.sync_offset(np.roll(curve, shift), curve, 30.0) == pytest.approx(shift / 30)


def test_lips_that_do_not_move_are_not_late():
    curve = np.sin(np.arange(100) / 5)
    for still in (np.zeros(100), 1.84 + 1e-12 * curve):
        assert np.isnan(metrics.sync_offset(still, curve, 30.0)) and np.isnan(metrics.sync_offset(curve, still, 30.0))


def test_gap_scores():
    true = np.sin(np.arange(100) / 5)
    r, error = metrics.gap_scores(true + 0.1, true)
    assert r == pytest.approx(1)
    assert error == pytest.approx(0.1)
    assert metrics.gap_scores(np.zeros(100), true)[0] == 0


def test_closure_recall_counts_bilabials_only():
    gap = np.full(100, 5e-3)
    gap[24:27] = 0
    phones = [(0.45, 0.55, "B"), (1.2, 1.3, "M"), (1.5, 1.6, "AA")]
    assert metrics.closure_recall(gap, 50.0, phones) == 0.5
    assert np.isnan(metrics.closure_recall(gap, 50.0, phones[2:]))


def test_what_was_not_tracked_is_no_miss_and_no_lag():
    curve = np.convolve(np.random.default_rng(3).normal(size=200), np.ones(5) / 5, "same")
    lost = curve.copy()
    lost[40:60] = np.nan
    assert metrics.sync_offset(np.roll(curve, 3), lost, 30.0) == pytest.approx(0.1)
    assert np.isnan(metrics.sync_offset(curve, np.full(200, np.nan), 30.0))
    gap = np.full(100, np.nan)
    gap[20:30] = 0.0
    assert metrics.closure_recall(gap, 50.0, [(0.45, 0.55, "B"), (1.2, 1.3, "M")]) == 1.0


def test_few_frames_that_were_tracked_tell_no_lag():
    """Two or three points lie on a line with whatever they are laid beside."""
    curve = np.sin(np.arange(100) / 5)
    lost = np.full(100, np.nan)
    lost[40:44] = np.roll(curve, -2)[40:44]
    assert np.isnan(metrics.sync_offset(curve, lost, 30.0))
    lost[30:60] = np.roll(curve, -2)[30:60]
    assert metrics.sync_offset(curve, lost, 30.0) == pytest.approx(2 / 30)


def test_rounding_is_no_correlation():
    still = (1.84 + 1e-7 * np.random.default_rng(0).normal(size=100)).astype(np.float32)
    assert metrics.correlation(still, np.sin(np.arange(100) / 5)) == 0
    assert metrics.correlation(1e-9 * np.arange(10), np.arange(10.0)) == pytest.approx(1)


def test_frames_without_landmarks_do_not_count():
    points = np.random.default_rng(4).normal(size=(6, 20, 2))
    detected = points + 0.1 * np.random.default_rng(5).normal(size=points.shape)
    expected = metrics.landmark_error(points[1:], detected[1:])
    detected[0] = np.nan
    np.testing.assert_allclose(metrics.landmark_error(points, detected), expected)
    with pytest.raises(ValueError, match="no frame"):
        metrics.landmark_error(points, np.full_like(points, np.nan))


@given(st.floats(0.2, 5), st.floats(-3, 3), st.floats(-50, 50), st.integers(0, 99))
def test_landmarks_under_a_similarity_have_no_error(scale, angle, shift, seed):
    points = np.random.default_rng(seed).normal(size=(6, 20, 2))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    sequence, frame = metrics.landmark_error(points, scale * points @ rotation.T + shift)
    assert sequence < 1e-8
    assert frame < 1e-8


def test_a_mirror_image_is_an_error_and_frames_hide_amplitude():
    points = np.random.default_rng(4).normal(size=(6, 20, 2))
    assert metrics.landmark_error(points, points * [-1, 1])[0] > 0.1
    pulsing = points[:1] * np.linspace(0.5, 1.5, 6)[:, None, None]
    sequence, frame = metrics.landmark_error(np.repeat(points[:1], 6, 0), pulsing)
    assert frame < 1e-8 < sequence


def test_bootstrap_sees_a_paired_difference():
    rng = np.random.default_rng(5)
    clips = rng.normal(0, 1, 40)
    mean, low, high = metrics.bootstrap(clips + 0.1 + 0.01 * rng.normal(size=40), clips)
    assert 0.08 < low < mean < high < 0.12
    mean, low, high = metrics.bootstrap(clips)
    assert low < mean < high


def test_regions_are_apart():
    names, deltas = arkit_basis()
    lips, upper = metrics.lip_vertices(names, deltas), metrics.upper_face_vertices(names, deltas)
    assert 80 < len(lips) < 800
    assert len(upper) > 200
    assert not set(lips) & set(upper)
