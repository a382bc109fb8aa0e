# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand edits on generated curves stand, whatever is generated afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inference import FaceMotion, make_curves
from inference.compact import DamagedData, pack, unpack
from inference.curves import Keys
from inference.hand_edits import (
    BEZIER,
    CONSTANT,
    GENERATED,
    KEY,
    KEYFRAME,
    LINEAR,
    Written,
    as_written,
    count,
    diff,
    from_arrays,
    merge,
    shifted,
    to_arrays,
)
from inference.pieces import Piece, Stretch, follow, laid, place

EVERY, REDUCED = 0.0, 0.02


def generated(strength: float, tolerance: float, seed: int = 0, start: float = 1.0) -> Keys:
    """Two seconds of one shape key, clipped at 1 for large strengths."""
    rng = np.random.default_rng(seed)
    weights = np.abs(np.convolve(rng.normal(size=120), np.hanning(12), mode="valid"))[:100, None].astype(np.float32)
    weights[40:55] = 0
    weights *= strength / weights.max()
    motion = FaceMotion(50.0, 0.0, ("jawOpen",), weights, np.zeros((1, 4, 3), np.float32))
    return make_curves(motion, 24, start, tolerance=tolerance).keys[0]


def fresh(keys: Keys) -> tuple[np.ndarray, Written]:
    current, written = merge(keys, None)
    assert current is not None
    return current, written


def evaluate(keys: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Values of an F-curve with linear and Bézier keys at `frames`, by bisection in the Bézier parameter."""
    left = np.clip(np.searchsorted(keys["co"][:, 0], frames, side="right") - 1, 0, len(keys) - 2)
    a, b = keys[left], keys[left + 1]
    points = np.stack([a["co"], a["handle_right"], b["handle_left"], b["co"]]).astype(np.float64)
    low, high = np.zeros(len(frames)), np.ones(len(frames))

    def at(t: np.ndarray, axis: int) -> np.ndarray:
        p = points[..., axis]
        return (1 - t) ** 3 * p[0] + 3 * t * (1 - t) ** 2 * p[1] + 3 * t * t * (1 - t) * p[2] + t**3 * p[3]

    for _ in range(50):
        middle = (low + high) / 2
        early = at(middle, 0) < frames
        low, high = np.where(early, middle, low), np.where(early, high, middle)
    share = (frames - points[0, :, 0]) / (points[3, :, 0] - points[0, :, 0])
    straight = points[0, :, 1] + share * (points[3, :, 1] - points[0, :, 1])
    inside = np.where(a["interpolation"] == BEZIER, at(low, 1), straight)
    return np.select(
        [frames <= keys["co"][0, 0], frames >= keys["co"][-1, 0]], [keys["co"][0, 1], keys["co"][-1, 1]], inside
    )


class Animator:
    """Edits keys as a hand does, and remembers which keys are his and which frames he emptied."""

    def __init__(self, keys: np.ndarray) -> None:
        self._first, self.keys, self.emptied = keys.copy(), keys.copy(), set[float]()
        self.his = np.zeros(len(keys), bool)

    def edit(self, kind: str, place: float, amount: float) -> None:
        if not len(self.keys):
            kind = "add"
        i = min(int(place * len(self.keys)), len(self.keys) - 1)
        if kind == "delete":
            self.emptied.add(float(self.keys["co"][i, 0]))
            self.keys, self.his = np.delete(self.keys, i), np.delete(self.his, i)
            return
        if kind == "add":
            key = np.zeros(1, KEY)
            key["co"] = key["handle_left"] = key["handle_right"] = (round(60 * place) + 0.5 * (amount > 0.5), amount)
            key["interpolation"] = BEZIER
            self._put(key[0])
            return
        key = self.keys[i].copy()
        if kind == "value":
            key["co"][1] += 0.01 + amount
        elif kind == "move":
            self.emptied.add(float(key["co"][0]))
            self.keys, self.his = np.delete(self.keys, i), np.delete(self.his, i)
            for point in ("co", "handle_left", "handle_right"):
                key[point][0] += 1 + round(6 * amount)
        elif kind == "interpolation":
            key["interpolation"] = CONSTANT
        else:
            key["handle_right"] += (0.1, 0.2 + amount)
            key["handle_right_type"] = key["handle_left_type"] = 0
            key["interpolation"] = BEZIER
        self._put(key)

    def _put(self, key: np.ndarray) -> None:
        """As Blender does: a key takes the place of another on the same frame."""
        same = np.abs(self.keys["co"][:, 0] - key["co"][0]) < 1e-3
        # A generated key where an equal one was generated is that one: nobody can tell.
        there = self._first[np.abs(self._first["co"][:, 0] - key["co"][0]) < 1e-3]
        equal = len(there) and _alike(there[0], key)
        keys = np.append(self.keys[~same], key)
        his = np.append(self.his[~same], not equal)
        order = np.argsort(keys["co"][:, 0], kind="stable")
        self.keys, self.his = keys[order], his[order]
        self.emptied.discard(float(key["co"][0]))


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    if any(a[kind] != b[kind] for kind in ("type", "interpolation", "handle_left_type", "handle_right_type")):
        return False
    places = ["co"] if a["interpolation"] == LINEAR else ["co", "handle_left", "handle_right"]
    return max(float(np.abs(a[place] - b[place]).max()) for place in places) < 2e-4


KINDS = ("value", "move", "add", "delete", "interpolation", "handles")
edit_lists = st.lists(st.tuples(st.sampled_from(KINDS), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=20)
rounds = st.lists(
    st.tuples(st.sampled_from([0.0, 0.4, 1.0, 1.3, 3.0]), st.sampled_from([EVERY, REDUCED])), min_size=1, max_size=4
)


@example(EVERY, [("value", 0.4375, 0.0), ("move", 0.5, 0.0), ("move", 0.4375, 0.0)], [(0.0, EVERY)])
@settings(max_examples=200)
@given(tolerance=st.sampled_from([EVERY, REDUCED]), edits=edit_lists, rounds=rounds)
def test_all_hand_keys_stand_through_any_regeneration(tolerance: float, edits: list, rounds: list) -> None:
    keys, written = fresh(generated(1.0, tolerance))
    first = set(keys["co"][:, 0].tolist())
    hand = Animator(keys)
    for edit in edits:
        hand.edit(*edit)
    his, keys = hand.keys[hand.his], hand.keys
    for strength, mode in rounds:
        new = generated(strength, mode)
        found = diff(keys, written)
        keys, written = merge(new, found)
        own = keys["type"] != GENERATED
        for attribute in KEY.names:
            if attribute != "type":
                np.testing.assert_array_equal(keys[own][attribute], his[attribute])
        generated_frames = set(keys["co"][~own, 0].tolist())
        assert not hand.emptied & first & generated_frames
        assert np.all(np.diff(keys["co"][:, 0]) > 0)
        frames = np.arange(new.frames[0], new.frames[-1] + 1, dtype=float)  # before and after, the outermost key holds
        inside = np.zeros(len(frames), bool)
        for start, end in found.spans if found else ():
            inside |= (frames > start) & (frames < end)
        if not inside.all():
            np.testing.assert_allclose(evaluate(keys, frames)[~inside], new.at(frames)[~inside], atol=1e-5)
        again, twice = merge(new, diff(keys, written))
        np.testing.assert_array_equal(again, keys)
        assert twice.keys.frames.tolist() == written.keys.frames.tolist()
        if found is not None:
            assert count(diff(keys, written)) == count(found)


@pytest.mark.parametrize("tolerance", [EVERY, REDUCED])
def test_what_nobody_touched_has_no_edits(tolerance: float) -> None:
    current, written = fresh(generated(1.0, tolerance))
    assert diff(current, written) is None


@pytest.mark.parametrize("tolerance", [EVERY, REDUCED])
def test_twenty_edits_count_as_twenty(tolerance: float) -> None:
    current, written = fresh(generated(1.0, tolerance, seed=3))
    hand = Animator(current)
    step = 1 / 21
    for i in range(5):
        hand.edit("value", i * step, 0.1)
    for i in range(5, 10):
        hand.edit("handles", i * step, 0.1)
    for frame in (61, 63, 65, 67, 69):
        key = current[-1].copy()
        key["co"][0] = frame
        hand._put(key)
    for _ in range(5):
        hand.edit("delete", 0.6, 0)
    assert count(diff(hand.keys, written)) == 20


def test_a_key_moved_between_frames_counts_once() -> None:
    current, written = fresh(generated(1.0, EVERY))
    current["co"][10, 0] += 0.5
    assert count(diff(current, written)) == 1


def test_a_deleted_curve_stays_deleted() -> None:
    _, written = fresh(generated(1.0, EVERY))
    edits = diff(None, written)
    assert edits is not None and edits.gone and count(edits) == 0
    keys, written = merge(generated(0.5, REDUCED), edits)
    assert keys is None
    assert diff(None, written).gone


def test_a_curve_emptied_of_keys_stays_empty() -> None:
    _, written = fresh(generated(1.0, EVERY))
    keys, written = merge(generated(0.5, REDUCED), diff(np.zeros(0, KEY), written))
    assert len(keys) == 0
    keys, _ = merge(generated(1.0, EVERY), diff(keys, written))
    assert len(keys) == 0


def test_a_key_keyed_again_at_its_place_is_pinned() -> None:
    """The value is the generator's, but the animator said it: strength doesn't move it."""
    current, written = fresh(generated(1.0, EVERY))
    current["type"][20] = KEYFRAME
    keys, _ = merge(generated(0.2, EVERY), diff(current, written))
    np.testing.assert_array_equal(keys["co"][20], current["co"][20])


def test_a_deletion_is_remembered_though_the_new_curve_has_no_key_there() -> None:
    current, written = fresh(generated(1.0, EVERY))
    every = set(current["co"][:, 0].tolist())
    current = np.delete(current, np.s_[20:23])
    line = Keys(np.array([1, 59], np.float32), np.zeros(2, np.float32), np.zeros((2, 2), np.float32))
    keys, written = merge(line, diff(current, written))
    keys, _ = merge(generated(1.0, EVERY), diff(keys, written))
    assert every - set(keys["co"][:, 0].tolist()) == {21, 22, 23}


def test_edits_after_the_end_stand_when_the_new_speech_is_shorter() -> None:
    current, written = fresh(generated(1.0, EVERY))
    late = current[-1:].copy()
    late["co"] = (80, 0.7)
    short = Keys(np.arange(1, 31, dtype=np.float32), np.full(30, 0.5, np.float32))
    keys, _ = merge(short, diff(np.concatenate([current, late]), written))
    np.testing.assert_array_equal(keys["co"][-1], np.float32([80, 0.7]))
    np.testing.assert_allclose(evaluate(keys, np.arange(1.0, 31)), 0.5)


@pytest.mark.parametrize("tolerance", [EVERY, REDUCED])
@pytest.mark.parametrize("cut", [(0.0, 1.0), (1.0, 2.0)])
def test_an_edit_on_words_that_are_cut_off_opens_the_mouth_there_alone(
    cut: tuple[float, float], tolerance: float
) -> None:
    """The mouth went there as slowly as the silence is long, and stayed so for ever."""
    line, frames = LINES[0], np.arange(-20.0, 90)
    before = spoken([line], tolerance)
    current, written = fresh(before)
    edited = int(np.abs(current["co"][:, 0] - (40 if cut[0] == 0 else 8)).argmin())
    current["co"][edited, 1] = 0.77
    new = [laid(line, Stretch(tuple(line.frame_at(second) for second in cut), cut))]
    after = spoken(new, tolerance)
    edits = shifted(diff(current, written), moved([line], new))
    keys, again = merge(after, edits)
    ((start, end),) = edits.spans
    away = (frames <= start) | (frames >= end)
    assert end - start < 15 and current["co"][edited].tolist() in keys["co"].tolist()
    np.testing.assert_allclose(evaluate(keys, frames[away]), after.at(frames[away]), atol=1e-5)
    # Drawn longer again, and once more: as it was.
    back = shifted(diff(keys, again), moved(new, [line]))
    keys, again = merge(before, back)
    np.testing.assert_allclose(evaluate(keys, frames), evaluate(current, frames), atol=1e-5)
    assert count(diff(keys, again)) == 1


@pytest.mark.parametrize("tolerance", [EVERY, REDUCED])
@pytest.mark.parametrize("by", [10.0, -7.25])
def test_edits_move_in_time_with_the_speech(tolerance: float, by: float) -> None:
    current, written = fresh(generated(1.0, tolerance))
    hand = Animator(current)
    for edit in (("value", 0.3, 0.2), ("handles", 0.5, 0.1), ("delete", 0.8, 0)):
        hand.edit(*edit)
    edits = diff(hand.keys, written)
    keys, written = merge(
        generated(0.5, tolerance, start=1.0 + by),
        shifted(edits, lambda frames: (frames + by, np.zeros(len(frames), int))),
    )
    his = keys[keys["type"] != GENERATED]
    for point in ("co", "handle_left", "handle_right"):
        wanted = hand.keys[hand.his][point] + np.float32([by, 0])
        np.testing.assert_allclose(his[point], wanted, atol=1e-4)
    assert count(diff(keys, written)) == count(edits)


LINES = [
    Piece(100 * i, 100, 0.0, (a, a + 48.0), (0.0, 2.0), (0.0, 2.0), mark=f"m{i}") for i, a in enumerate((1, 60, 120))
]


def spoken(pieces: Sequence[Piece], tolerance: float) -> Keys:
    """One generated curve over some of three lines, each of which says something else."""
    values = (0.5 + 0.4 * np.sin(np.arange(300) / 5)).astype(np.float32)
    raw = FaceMotion(50.0, 0.0, ("a",), values[:, None], np.zeros((1, 0, 3), np.float32))
    shown, start = place(raw, pieces, 24.0)
    return make_curves(shown, 24.0, start, tolerance=tolerance).keys[0]


def between(keys: np.ndarray, start: float, end: float) -> list[float]:
    """Frames of the keys from `start` to `end`."""
    frames = keys["co"][:, 0]
    return frames[(frames >= start) & (frames <= end)].tolist()


def moved(lines: Sequence[Piece], new: Sequence[Piece]) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    return partial(follow, lines, new)


@pytest.mark.parametrize("tolerance", [EVERY, REDUCED])
@pytest.mark.parametrize("key", [0, -1])
def test_an_edit_of_the_outermost_key_silences_no_other_line(tolerance: float, key: int) -> None:
    alone, both = spoken(LINES[1:2], tolerance), spoken(LINES, tolerance)
    current = as_written(alone)
    current["co"][key, 1] += 0.1
    keys, _ = merge(both, diff(current, Written.whole(alone)))
    for line in (LINES[0], LINES[2]):
        assert between(keys, *line.frames) == between(as_written(both), *line.frames)
    assert current["co"][key].tolist() in keys["co"].tolist()


@pytest.mark.parametrize("goes", [0, 1])
def test_edits_between_two_lines_part_when_these_change_places(goes: int) -> None:
    before = spoken(LINES, EVERY)
    current = as_written(before)
    pause = (current["co"][:, 0] > 50) & (current["co"][:, 0] < 59)
    edits = diff(current[~pause], Written.whole(before))
    new = [replace(line, frames=(180.0, 228.0)) if i == goes else line for i, line in enumerate(LINES)]
    after = spoken(new, EVERY)
    later = shifted(edits, moved(LINES, new))
    keys, _ = merge(after, later)
    assert between(keys, *LINES[2].frames) == between(as_written(after), *LINES[2].frames)  # nobody edited that line
    assert len(later.touched) == len(edits.touched) == 8
    assert not set(later.touched) & set(keys["co"][:, 0])  # what was deleted stays deleted
    assert len(set(keys["co"][:, 0])) == len(keys)


def test_edits_on_words_that_are_cut_off_do_not_hold_the_next_line() -> None:
    lines = LINES[:2]
    before = spoken(lines, EVERY)
    current = as_written(before)
    frames = current["co"][:, 0]
    current["co"][(frames >= 20) & (frames <= 45), 1] = 0.0
    current["co"][frames == 66, 1] = 0.77
    edits = diff(current, Written.whole(before))
    new = [laid(lines[0], Stretch((1.0, 25.0), (0.0, 1.0))), replace(lines[1], frames=(26.0, 74.0))]
    after = spoken(new, EVERY)
    keys, _ = merge(after, shifted(edits, moved(lines, new)))
    his = keys["type"] != GENERATED
    assert keys["co"][his][:, 0].tolist() == [20, 21, 22, 23, 24, 25, 32]
    at = np.arange(33.0, 74)
    np.testing.assert_allclose(evaluate(keys, at), after.at(at), atol=1e-5)
    # Where nobody speaks instead they stay, for whoever draws the strip longer again.
    alone = shifted(edits, moved(lines, [new[0], lines[1]]))
    assert len(alone.hand) == len(edits.hand)


def test_handles_that_float32_turns_late_on_the_timeline_are_nobodys_edit() -> None:
    """A timeline that begins at one o'clock, as in editing: Blender aligns handles anew, in steps of float32."""
    late = generated(1.0, REDUCED, start=86_400.0)
    current, written = fresh(late)
    current["handle_right"][:, 0] = np.nextafter(current["handle_right"][:, 0], np.float32(0))
    assert diff(current, written) is None
    current["handle_right"][5, 1] += 0.05
    assert count(diff(current, written)) == 1


def test_linear_keys_are_written_as_before() -> None:
    keys = as_written(generated(1.0, EVERY))
    assert set(keys["interpolation"]) == {LINEAR} and set(keys["type"]) == {GENERATED}


@pytest.mark.parametrize("tolerance", [EVERY, REDUCED])
def test_what_was_written_survives_packing(tolerance: float) -> None:
    current, written = fresh(generated(1.0, tolerance))
    _, other = merge(generated(1.0, REDUCED), diff(np.delete(current, 12), written))
    back = from_arrays(unpack(pack(to_arrays({"jawOpen": written, "mouth “x”": other}))))
    assert list(back) == ["jawOpen", "mouth “x”"]
    assert diff(current, back["jawOpen"]) is None
    np.testing.assert_array_equal(back["mouth “x”"].hidden, other.hidden)
    assert from_arrays(to_arrays({})) == {}


@pytest.mark.parametrize("name", ["names", "lengths", "bezier", "frames", "values", "slopes", "hidden"])
def test_damaged_arrays_are_refused(name: str) -> None:
    arrays = to_arrays({"a": fresh(generated(1.0, REDUCED))[1]})
    with pytest.raises(DamagedData):
        from_arrays({key: value for key, value in arrays.items() if key != name})
    with pytest.raises(DamagedData):
        from_arrays(arrays | {name: np.concatenate([arrays[name], arrays[name]])})
