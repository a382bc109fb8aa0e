# SPDX-License-Identifier: GPL-3.0-or-later
"""Several recordings: who is heard together with whom, and which rows of the motion belong to which recording."""

from __future__ import annotations

import numpy as np
import pytest

from inference.motion import FaceMotion
from inference.pieces import Piece, Stretch
from inference.speech import SAMPLE_RATE, Speech
from inference.takes import Take, listen

FPS = 24.0


def take(frame: float, seconds: float, level: float, second: float = 0.0, speed: float = 1.0) -> Take:
    """A recording whose samples all have the value `level`."""
    samples = np.full(round(seconds * SAMPLE_RATE), level, np.float32)
    frames = (frame, frame + seconds * FPS / speed)
    return Take(samples, second, (Stretch(frames, (second, second + seconds)),), strip=f"{level:g}")


class Listener:
    """A network whose one weight is the level of the sound."""

    def __init__(self) -> None:
        self.heard: list[np.ndarray] = []
        self.shares: list[tuple[float, float]] = []

    def __call__(self, speech: Speech, done: float, share: float) -> FaceMotion:
        self.heard.append(speech.samples)
        self.shares.append((done, share))
        count = int(np.ceil(speech.duration * 50))
        levels = speech.samples[np.minimum(np.arange(count) * 320 + 160, len(speech.samples) - 1)]
        return FaceMotion(50.0, 0.0, ("level",), levels[:, None], np.zeros((1, 1, 3), np.float32))


def rows_of(piece: Piece, spoken: FaceMotion) -> np.ndarray:
    return spoken.weights[piece.first : piece.first + piece.count, 0]


def test_one_recording_is_one_piece() -> None:
    listener = Listener()
    spoken = listen([take(10.5, 2.0, 0.3, second=1.0)], FPS, listener)
    (piece,) = spoken.pieces
    assert (piece.first, piece.count, piece.second) == (0, 100, 1.0)
    assert piece.frames == (10.5, 58.5)
    assert piece.heard == (1.0, 3.0)
    assert listener.shares == [(0.0, 1.0)]
    assert len(spoken.loudness) == 100
    assert spoken.loudness.mean() == pytest.approx(20 * np.log10(0.3), abs=0.1)


def test_neighbours_are_heard_together_and_cut_in_the_middle_between_them() -> None:
    listener = Listener()
    spoken = listen([take(34, 1.0, 0.5), take(0, 1.0, 0.3, second=7.0)], FPS, listener)
    (sound,) = listener.heard
    gap = 34 / 24 - 1
    assert len(sound) == round((34 / 24 + 1) * SAMPLE_RATE)
    assert np.abs(sound[round(1.01 * SAMPLE_RATE) : round((1 + gap - 0.01) * SAMPLE_RATE)]).max() == 0
    first, second = spoken.pieces
    assert first.first + first.count == second.first + 1
    assert second.first + second.count == len(spoken.motion.weights)
    middle = 1 + gap / 2
    assert second.first == np.ceil(middle * 50)
    # Row and sound go together: the row at second s of the group is second s + 7 of the first file.
    assert first.second == pytest.approx(7.0)
    assert second.second == pytest.approx(second.first / 50 - 34 / 24)
    assert second.frame_at(0.0) == pytest.approx(34.0)
    assert first.frame_at(7.0) == pytest.approx(0.0)
    assert first.frames[1] == pytest.approx(second.frames[0])
    assert first.heard == (7.0, 8.0)
    assert second.heard == (0.0, 1.0)
    assert set(np.round(rows_of(first, spoken.motion), 3)) == {0.0, np.float32(0.3)}


def test_distant_recordings_are_heard_alone() -> None:
    listener = Listener()
    spoken = listen([take(0, 1.0, 0.3), take(2400, 1.0, 0.5)], FPS, listener)
    assert [len(sound) for sound in listener.heard] == [SAMPLE_RATE, SAMPLE_RATE]
    assert [piece.first for piece in spoken.pieces] == [0, 50]
    assert listener.shares == [(0.0, 0.5), (0.5, 0.5)]


def test_recordings_that_overlap_keep_their_own_motion() -> None:
    spoken = listen([take(0, 2.0, 0.3), take(24, 2.0, 0.5)], FPS, Listener())
    assert [piece.count for piece in spoken.pieces] == [100, 100]
    assert set(rows_of(spoken.pieces[1], spoken.motion)) == {np.float32(0.5)}


def test_a_recording_at_another_speed_is_heard_unaltered_and_alone() -> None:
    listener = Listener()
    slow = take(24, 2.0, 0.5, speed=0.5)
    spoken = listen([take(0, 1.0, 0.3), slow], FPS, listener)
    assert np.array_equal(listener.heard[1], slow.samples)
    assert spoken.pieces[1].frames == (24, 120)


def test_a_sound_that_stands_still_has_a_piece_before_and_after() -> None:
    samples = np.linspace(0, 1, 4 * SAMPLE_RATE, dtype=np.float32)
    stretches = (Stretch((10.0, 34.0), (1.0, 2.0)), Stretch((58.0, 130.0), (2.0, 5.0)))
    spoken = listen([Take(samples, 1.0, stretches)], FPS, Listener())
    before, after = spoken.pieces
    assert len(spoken.motion.weights) == 200
    assert before.second == 1.0
    assert after.second == pytest.approx(2.0)
    assert rows_of(after, spoken.motion)[0] == pytest.approx(0.25, abs=0.01)
    assert (before.heard, after.heard) == ((1.0, 2.0), (2.0, 5.0))


def test_a_touch_of_overlap_between_cuts_of_one_take_is_no_overlap() -> None:
    listener = Listener()
    listen([take(0, 1.00002, 0.3), take(24, 1.0, 0.3, second=1.0)], FPS, listener)
    assert len(listener.heard) == 1
