# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows cover the clip, cut at quiet places and join without a seam."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.windows import LONGEST, OVERLAP, crossfade, frame_loudness, plan_windows


@settings(max_examples=60)
@given(frames=st.integers(1, 20_000), fps=st.sampled_from([25.0, 30.0, 50.0]), seed=st.integers(0, 99))
def test_windows_cover_everything_and_join_to_identity(frames: int, fps: float, seed: int) -> None:
    loudness = np.random.default_rng(seed).random(frames)
    windows = plan_windows(loudness, fps)
    assert windows[0][0] == 0 and windows[-1][1] == frames
    assert all(0 < last - first <= LONGEST * fps for first, last in windows)
    for (_, last), (first, _) in itertools.pairwise(windows):
        assert last - first == int(OVERLAP * fps)
    truth = np.random.default_rng(0).random((frames, 2))
    np.testing.assert_allclose(crossfade(windows, (truth[a:b] for a, b in windows)), truth)


def test_cuts_fall_into_the_pause() -> None:
    loudness = np.ones(2000)
    loudness[1000:1060] = 0  # a pause from 20.0 to 21.2 s at 50 Hz
    (_, last), (first, _) = plan_windows(loudness, 50.0)
    assert 1000 <= first < last <= 1060


def test_a_step_between_windows_becomes_a_smooth_ramp() -> None:
    windows = [(0, 100), (50, 200)]
    joined = crossfade(windows, [np.zeros((100, 1)), np.ones((150, 1))])
    assert np.abs(np.diff(joined[:, 0])).max() < 0.04


def test_loudness_per_frame() -> None:
    np.testing.assert_allclose(frame_loudness(np.r_[np.zeros(4), np.full(4, 2.0)], 4), [0, 4])
