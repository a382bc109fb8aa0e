# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of motion on the timeline: each where its sound is heard, rest between them, and moves that are followed."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from inference.compact import DamagedData
from inference.errors import AudioError
from inference.motion import FaceMotion, sample_weights
from inference.pieces import (
    Piece,
    Stretch,
    duration,
    follow,
    follow_around,
    follow_spans,
    from_plain,
    laid,
    place,
    place_values,
    to_plain,
)

FPS = 24000 / 1001


def motion(rows: int = 200, names: int = 3) -> FaceMotion:
    """Smooth motion that is nowhere at rest."""
    weights = 0.5 + 0.4 * np.sin(np.arange(rows)[:, None] / 7 + np.arange(names))
    return FaceMotion(50.0, 0.0, tuple("abc"[:names]), weights.astype(np.float32), np.zeros((names, 1, 3), np.float32))


def piece(first: int, count: int, frame: float, fps: float = FPS, second: float = 0.0, speed: float = 1.0) -> Piece:
    length = count / 50
    frames = (frame, frame + length * fps / speed)
    return Piece(first, count, second, frames, (second, second + length), (second, second + length), mark=str(first))


def at_frame(placed: tuple[FaceMotion, float], frames: np.ndarray, fps: float = FPS) -> np.ndarray:
    shown, start = placed
    return sample_weights(shown, (frames - start) / fps)


def test_one_piece_at_normal_speed_is_the_motion_itself() -> None:
    raw = motion()
    shown, start = place(raw, [piece(0, 200, 1001.5)], FPS)
    assert shown is raw
    assert start == 1001.5


def test_each_piece_is_heard_at_its_place() -> None:
    raw = motion()
    placed = place(raw, [piece(0, 100, 11.3), piece(100, 100, 200.7, second=4.0)], FPS)
    for first, frame in ((0, 11.3), (100, 200.7)):
        rows = np.arange(5, 95)
        said = at_frame(placed, frame + rows / 50 * FPS)
        assert np.abs(said - raw.weights[first + rows]).max() < 0.01


@pytest.mark.parametrize("fps", [FPS, 25.0, 60.0, 120.0, 240.0])
def test_on_whole_scene_frames_nothing_is_lost(fps: float) -> None:
    raw = motion()
    rough = np.random.default_rng(0).random(raw.weights.shape, np.float32)
    raw = FaceMotion(50.0, 0.0, raw.names, rough, raw.basis)
    placed = place(raw, [piece(0, 100, 11.3, fps), piece(100, 100, 2000.7, fps)], fps)
    frames = np.arange(2001, 2001 + int(1.9 * fps))
    wanted = sample_weights(raw, 2 + (frames - 2000.7) / fps)
    assert np.abs(at_frame(placed, frames, fps) - wanted).max() < 1e-4


def test_rest_between_pieces_and_soft_ways_there() -> None:
    raw = motion()
    placed = place(raw, [piece(0, 100, 0), piece(100, 100, 200)], FPS)
    end = 2 * FPS
    between = at_frame(placed, np.linspace(end + 0.21 * FPS, 200 - 0.21 * FPS, 50))
    assert np.abs(between).max() == 0
    shown, _ = placed
    steps = np.abs(np.diff(shown.weights, axis=0)).max()
    usual = np.abs(np.diff(raw.weights, axis=0)).max()
    assert steps < 3 * usual


def test_a_short_gap_is_a_crossfade() -> None:
    raw = FaceMotion(50.0, 0.0, ("a",), np.full((200, 1), 0.8, np.float32), np.zeros((1, 1, 3), np.float32))
    shown, _ = place(raw, [piece(0, 100, 0), piece(100, 100, 2.1 * FPS)], FPS)
    assert shown.weights.min() > 0.79


def test_where_pieces_overlap_the_stronger_weight_wins() -> None:
    weights = np.zeros((200, 2), np.float32)
    weights[:100, 0], weights[100:, 1] = 0.7, 0.6
    raw = FaceMotion(50.0, 0.0, ("a", "b"), weights, np.zeros((2, 1, 3), np.float32))
    placed = place(raw, [piece(0, 100, 0), piece(100, 100, FPS)], FPS)
    both = at_frame(placed, np.array([1.5 * FPS]))
    assert both == pytest.approx(np.array([[0.7, 0.6]]), abs=1e-5)


@pytest.mark.parametrize("speed", [0.5, 1.25, 2.0])
def test_faster_sound_moves_faster(speed: float) -> None:
    raw = motion()
    placed = place(raw, [piece(0, 200, 50.0, speed=speed)], FPS)
    rows = np.arange(0, 190, 7)
    said = at_frame(placed, 50 + rows / 50 * FPS / speed)
    assert np.abs(said - raw.weights[rows]).max() < 0.03
    assert placed[0].duration == pytest.approx(4 / speed, abs=0.02)


def test_a_bent_map_is_followed_between_its_nodes() -> None:
    raw = motion()
    bent = Piece(0, 200, 1.0, (10.0, 34.0, 58.0, 82.0), (1.0, 1.5, 3.5, 5.0), (1.0, 5.0))
    placed = place(raw, [bent], 24.0)
    frames = np.arange(10, 82, 3.0)
    rows = (np.interp(frames, bent.frames, bent.seconds) - 1) * 50
    assert np.abs(at_frame(placed, frames, 24.0) - [_row(raw, row) for row in rows]).max() < 0.05
    assert bent.second_at(bent.frame_at(2.2)) == pytest.approx(2.2)


def _row(raw: FaceMotion, row: float) -> np.ndarray:
    return sample_weights(raw, np.array([row / 50]))[0]


def test_other_values_are_placed_alike() -> None:
    pieces = [piece(0, 100, 0), piece(100, 100, 100)]
    raw = motion()
    values, rate, start = place_values(raw.weights, 50.0, pieces, FPS)
    shown, begin = place(raw, pieces, FPS)
    assert (rate, start) == (shown.fps, begin)
    assert np.array_equal(values, shown.weights)


def test_pieces_days_apart_are_refused_not_filled() -> None:
    with pytest.raises(AudioError, match="hours apart"):
        place(motion(), [piece(0, 100, 0), piece(100, 100, 1e7)], FPS)


def test_frames_follow_the_piece_they_lie_in() -> None:
    before = [piece(0, 100, 0.0), piece(100, 100, 100.0)]
    after = [piece(0, 100, 10.0), piece(100, 100, 80.0)]
    assert follow(before, after, np.array([5.0, 47.0, 110.0, 170.0]))[0] == pytest.approx([15.0, 57.0, 90.0, 150.0])
    assert follow(before, before, np.array([5.0, 70.0]))[0] == pytest.approx([5.0, 70.0])
    assert follow(before, after[:1], np.array([5.0, 110.0]))[0] == pytest.approx([15.0, 110.0])


def test_frames_follow_a_change_of_speed_and_a_cut() -> None:
    before = [piece(0, 100, 0.0, fps=24)]
    slow = [piece(0, 100, 12.0, fps=24, speed=0.5)]
    assert follow(before, slow, np.array([0.0, 10.0]))[0] == pytest.approx([12.0, 32.0])
    halves = [
        laid(before[0], Stretch((0.0, 24.0), (0.0, 1.0))),
        laid(before[0], Stretch((100.0, 124.0), (1.0, 2.0))),
    ]
    assert follow(before, halves, np.array([10.0, 30.0]))[0] == pytest.approx([10.0, 106.0])


def test_what_was_cut_out_of_a_line_has_no_place_where_the_line_goes_on() -> None:
    whole = piece(0, 100, 0.0, fps=25.0)
    halves = [laid(whole, Stretch((0.0, 15.0), (0.0, 0.6))), laid(whole, Stretch((15.0, 35.0), (1.2, 2.0)))]
    assert all(halves)
    goals, _ = follow([whole], [half for half in halves if half], np.array([10.0, 20.0, 26.0, 40.0]))
    assert np.isnan(goals[1:3]).all() and goals[[0, 3]] == pytest.approx([10.0, 25.0])


def test_far_from_words_the_distance_is_kept_whatever_their_speed() -> None:
    before, after = [piece(0, 100, 100.0, fps=25.0)], [piece(0, 100, 300.0, fps=25.0, speed=2.0)]
    goals, _ = follow_around(before, after, 1.0, np.array([0.0, 100.0, 120.0, 150.0, 1150.0]))
    assert goals == pytest.approx([200.0, 300.0, 310.0, 325.0, 1325.0])
    assert follow_around([], [], 1.0, np.array([3.0]))[0] == pytest.approx([3.0])
    assert follow_around(before, before, 1.0, np.zeros(0))[0].shape == (0,)


def test_spans_go_with_their_words() -> None:
    before = [piece(0, 100, 0.0, fps=25.0), piece(100, 100, 100.0, fps=25.0)]
    both = [piece(0, 100, 20.0, fps=25.0), piece(100, 100, 120.0, fps=25.0)]
    apart = [before[0], piece(100, 100, 160.0, fps=25.0)]
    near = [before[0], piece(100, 100, 51.0, fps=25.0)]
    across = [(30.0, 130.0)]
    assert follow_spans(before, before, 1.0, across) == across
    assert np.allclose(follow_spans(before, both, 1.0, across), [(50, 150)])
    assert np.allclose(follow_spans(before, apart, 1.0, across), [(30, 50), (160, 190)], atol=0.01)
    assert np.allclose(follow_spans(before, near, 1.0, [(80, 110)]), [(50, 61)], atol=0.01), "over no other words"
    assert np.allclose(follow_spans(before, both, 1.0, [(110.0, 110.0)]), [(130, 130)])
    assert follow_spans([], [], 1.0, across) == across
    between = [*both, piece(200, 50, 80.0, fps=25.0)]
    moved = follow_spans([*before, piece(200, 50, 400.0, fps=25.0)], between, 1.0, across)
    assert np.allclose(moved, [(50, 70), (120, 150)], atol=0.01), "a third line came between"


@pytest.mark.parametrize("seed", range(60))
def test_what_is_spanned_are_the_same_words_as_before(seed: int) -> None:
    """Lines in another order, trimmed and cut in two: of each word it is known whether a span held it.

    Of lines that speak at the same time one cannot be spanned without the other.
    """
    rng = np.random.default_rng(seed)
    count, overlapping = int(rng.integers(1, 5)), seed % 4 == 0
    gaps = rng.integers(0, 60, (2, 2 * count)) - [[0], [50 * overlapping]]
    before, at = [], 0.0
    for number, gap in enumerate(gaps[0, :count]):
        at += float(gap)
        before.append(piece(100 * number, 100, at, fps=25.0))
        at += 50
    heard = []
    for line in (before[i] for i in rng.permutation(count)):
        cuts = np.sort(rng.uniform(0, 2, 2)) if rng.random() < 0.3 else np.zeros(0)
        ends = [0.0, *cuts, 2.0]
        heard += [(line, *part) for part in list(pairwise(ends))[:: 2 if len(cuts) else 1]]
    after, at = [], 0.0
    for (line, first, last), gap in zip(heard, gaps[1], strict=False):
        at += float(gap)
        new = laid(line, Stretch((at, at + 25 * (last - first)), (first, last)))
        if new is not None:
            after.append(new)
        at += 25 * (last - first)
    spans = [tuple(sorted(rng.integers(-20, 50 * count + 120, 2).astype(float)))]
    found = follow_spans(before, after, 1.0, spans)
    for new in after:
        line = next(line for line in before if line.mark == new.mark)
        for frame in np.arange(new.frames[0] + 1, new.frames[-1] - 1):
            was = float(line.frame_at(new.second_at(frame)))
            if min(abs(was - end) for end in spans[0]) > 1:
                held = any(first <= frame <= last for first, last in found)
                wanted = spans[0][0] < was < spans[0][1]
                assert held == wanted or (overlapping and held), (spans, found, frame, was)


def test_a_piece_is_laid_where_its_sound_is_heard() -> None:
    said = Piece(0, 120, 0.8, (0.0, 48.0), (1.0, 3.0), (1.0, 3.0))  # rows from 0.8 to 3.2 s: silence on both sides
    whole = laid(said, Stretch((100.0, 148.0), (1.0, 3.0)))
    assert whole is not None
    assert whole.seconds == pytest.approx((0.8, 3.18))
    assert whole.frames == pytest.approx((95.2, 152.32))
    cut = laid(said, Stretch((100.0, 124.0), (1.5, 2.5)))
    assert cut is not None
    assert (cut.seconds, cut.frames) == ((1.5, 2.5), (100.0, 124.0))
    assert laid(cut, Stretch((100.0, 148.0), (1.0, 3.0))) == whole, "what was cut off can come back"
    assert laid(said, Stretch((100.0, 148.0), (4.0, 6.0))) is None


def test_pieces_survive_json() -> None:
    pieces = (piece(0, 100, 1.5), piece(100, 100, 70.25, second=3.0))
    assert from_plain(json.loads(json.dumps(to_plain(pieces))), 200) == pieces
    assert duration(pieces) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("first", -1),
        ("count", 0),
        ("count", 201),
        ("count", "many"),
        ("second", float("nan")),
        ("frames", [1.0]),
        ("frames", [2.0, 1.0]),
        ("frames", [1.0, 1e300]),
        ("seconds", [1.0, 1.0]),
        ("seconds", [0.0, 1.0, 2.0]),
        ("heard", [0.0]),
        ("frames", None),
    ],
)
def test_damaged_pieces_are_refused(name: str, value: object) -> None:
    stored = to_plain([piece(0, 200, 1.0)])
    stored[0][name] = value
    with pytest.raises(DamagedData, match="generate"):
        from_plain(stored, 200)


@pytest.mark.parametrize("stored", [None, {}, [], [3], [{}], "pieces"])
def test_what_is_no_list_of_pieces_is_refused(stored: object) -> None:
    with pytest.raises(DamagedData):
        from_plain(stored, 200)
