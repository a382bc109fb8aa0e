# SPDX-License-Identifier: GPL-3.0-or-later
"""Hand edits on generated curves: found by comparing with what was written, and kept when curves are written anew.

An edit is never stored as such. A key is the generator's while it is of type GENERATED and stands where it was written;
all others are the animator's. Keys that were written and are missing were deleted by him. Around each run of edits lies
a *span*, from the last untouched key before it to the first after it. New curves are left out inside the spans, and the
animator's keys are put there as they are; the new curve gets a key at each end of a span, which doesn't change it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from .compact import DamagedData
from .curves import Keys

# Numbers that .blend files hold: they never change.
CONSTANT, LINEAR, BEZIER = 0, 1, 2
FREE, AUTO, ALIGNED, AUTO_CLAMPED = 0, 1, 3, 4
KEYFRAME, GENERATED = 0, 5

# One key of an F-curve, whole. Places are (frame, value).
KEY = np.dtype(
    [
        ("co", "f4", 2),
        ("handle_left", "f4", 2),
        ("handle_right", "f4", 2),
        ("back", "f4"),
        ("amplitude", "f4"),
        ("period", "f4"),
        ("type", "u1"),
        ("interpolation", "u1"),
        ("handle_left_type", "u1"),
        ("handle_right_type", "u1"),
        ("easing", "u1"),
    ],
    align=True,
)
# What keys that are joined by straight lines have in common. Blender places automatic handles by itself.
STRAIGHT = {
    "type": GENERATED,
    "interpolation": LINEAR,
    "handle_left_type": AUTO_CLAMPED,
    "handle_right_type": AUTO_CLAMPED,
}
SAME = 1e-4  # frames and values closer than this are equal
_SAME_HANDLE = 1e-3  # Blender itself turns aligned handles a little
_BACK = 1.70158  # Blender's own overshoot for new keys

Move = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Where frames (n,) go, NaN where they have no place, and on which way each goes (n,), ≥ 0: see `pieces.follow`."""


@dataclass(frozen=True)
class Written:
    """A generated curve as it was written; of its keys `hidden`, bool (n,), gave way to hand edits."""

    keys: Keys
    hidden: np.ndarray

    @classmethod
    def whole(cls, keys: Keys) -> Written:
        """All of `keys`, none hidden."""
        return cls(keys, np.zeros(len(keys), bool))


@dataclass(frozen=True)
class CurveEdits:
    """What the animator did to one curve.

    hand: his keys, KEY (h,). spans: float32 (m, 2), frames; where no untouched key is left on one side, a frame further
    than what he edited, since other lines may come there. touched: float32 (t,), frames of generated keys that he
    changed or deleted. gone: he deleted the whole curve. borders: float32 (b,), those ends of spans at which an
    untouched key stands; it stands there also where the speech that is left doesn't reach.
    """

    hand: np.ndarray
    spans: np.ndarray
    touched: np.ndarray
    gone: bool = False
    borders: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))


def as_written(keys: Keys) -> np.ndarray:
    """`keys` the way they are written to an F-curve, KEY (n,)."""
    made = np.zeros(len(keys), KEY)
    made["co"][:, 0], made["co"][:, 1] = keys.frames, keys.values
    made["type"], made["back"] = GENERATED, _BACK
    if keys.slopes is None:
        for attribute, number in STRAIGHT.items():
            made[attribute] = number
        made["handle_left"] = made["handle_right"] = made["co"]
        return made
    made["handle_left"], made["handle_right"] = keys.handles()
    made["interpolation"] = BEZIER
    made["handle_left_type"] = np.where(keys.slopes[:, 0] == keys.slopes[:, 1], ALIGNED, FREE)
    made["handle_right_type"] = made["handle_left_type"]
    return made


def diff(current: np.ndarray | None, written: Written) -> CurveEdits | None:
    """Edits that turned `written` into the keys `current`, KEY (n,) (None: there is no such curve); None if none."""
    if current is None:
        return CurveEdits(np.zeros(0, KEY), np.zeros((0, 2), np.float32), np.zeros(0, np.float32), gone=True)
    expected = as_written(written.keys)[~written.hidden]
    if len(current) == len(expected) and _generated(current, expected).all():
        return None
    current = current[np.argsort(current["co"][:, 0], kind="stable")]
    frames = expected["co"][:, 0]
    if len(expected):
        nearest = np.searchsorted((frames[1:] + frames[:-1]) / 2, current["co"][:, 0])
        untouched = _generated(current, expected[nearest])
        stands = np.zeros(len(expected), bool)
        stands[nearest[untouched]] = True
    else:
        untouched, stands = np.zeros(len(current), bool), np.zeros(0, bool)
    hand, touched = current[~untouched], frames[~stands]
    if not len(hand) and not len(touched):
        return None
    edited, standing = np.union1d(hand["co"][:, 0], touched), frames[stands]
    first, last = min([edited[0], *standing[:1]]) - 1, max([edited[-1], *standing[-1:]]) + 1
    borders = np.concatenate([[first], standing, [last]]).astype(np.float32)
    starts = borders[np.searchsorted(borders, edited, side="left") - 1]
    ends = borders[np.searchsorted(borders, edited, side="right")]
    spans = np.unique(np.stack([starts, ends], axis=1), axis=0)
    return CurveEdits(hand, spans, touched, borders=np.intersect1d(spans, standing))


def merge(generated: Keys, edits: CurveEdits | None) -> tuple[np.ndarray | None, Written]:
    """Keys to write, KEY (n,) or None for no curve, and what `diff` has to know next time."""
    if edits is None or edits.gone:
        return (as_written(generated) if edits is None else None), Written.whole(generated)
    spans, touched = _snapped(edits.spans, generated.frames), _snapped(edits.touched, generated.frames)
    cuts = spans[:0, 0]
    if len(generated):
        # Without a border what he did where nobody speaks any longer would be led up to, and last for ever.
        borders = _snapped(edits.borders, generated.frames)
        cuts = np.append(spans[(spans > generated.frames[0]) & (spans < generated.frames[-1])], borders)
    whole = generated.cut(np.concatenate([cuts, touched]))
    inside = np.zeros(len(whole), bool)
    for start, end in spans:
        inside[np.searchsorted(whole.frames, start, side="right") : np.searchsorted(whole.frames, end)] = True
    hand = edits.hand.copy()
    hand["type"][hand["type"] == GENERATED] = KEYFRAME
    keys = np.concatenate([as_written(whole)[~inside], hand])
    keys = keys[np.argsort(keys["co"][:, 0], kind="stable")]
    inside[np.searchsorted(whole.frames, touched)] = False
    return keys, Written(whole, inside)


def count(edits: CurveEdits) -> int:
    """How many keys the animator edited: changed, added, moved (one each) and deleted ones; 0 for a deleted curve."""
    added = np.setdiff1d(edits.hand["co"][:, 0], edits.touched)
    removed = np.setdiff1d(edits.touched, edits.hand["co"][:, 0])
    # Where a key came and one went in the same span, it was moved.
    came, went = (
        np.bincount(np.searchsorted(edits.spans[:, 0], frames), minlength=len(edits.spans) + 1)
        for frames in (added, removed)
    )
    return len(edits.hand) - len(added) + int(np.maximum(came, went).sum())


def shifted(edits: CurveEdits, move: Move, rate: float = 1.0) -> CurveEdits:
    """The same edits elsewhere in time, as `move` says; handles grow by `rate`, with their keys.

    A span that lies on several ways is parted, so that it covers nothing that comes between them.
    """
    spans, borders = _moved_spans(edits, move, rate)
    touched = np.sort(move(edits.touched.astype(np.float64))[0])
    touched = touched[np.isfinite(touched)].astype(np.float32)
    return CurveEdits(moved_keys(edits.hand, move, rate), spans, touched, edits.gone, borders)


def moved_keys(keys: np.ndarray, move: Move, rate: float = 1.0, axis: int = 0) -> np.ndarray:
    """`keys`, KEY (n,), where `move` takes their frames, or with `axis` 1 their values, as far as these have a place.

    Handles grow by `rate`.
    """
    keys = keys.copy()
    goals = move(keys["co"][:, axis].astype(np.float64))[0]
    for handle in ("handle_left", "handle_right"):
        keys[handle][:, axis] = goals + rate * (keys[handle][:, axis] - keys["co"][:, axis])
    keys["co"][:, axis] = goals
    keys = keys[np.isfinite(goals)]
    return keys[np.argsort(keys["co"][:, 0], kind="stable")]


def _moved_spans(edits: CurveEdits, move: Move, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The spans of `edits`, parted where what they hold goes several ways, float32 (n, 2), and their borders (b,).

    Where a span is parted the curve went on, so that is a border, too.
    """
    edited = np.union1d(edits.hand["co"][:, 0], edits.touched)
    inner = [
        edited[np.searchsorted(edited, start, "right") : np.searchsorted(edited, end)] for start, end in edits.spans
    ]
    points = [np.array([start, *between, end]) for (start, end), between in zip(edits.spans, inner, strict=True)]
    everywhere = np.concatenate([np.zeros(0), *points])
    goals, ways = move(everywhere)
    ways = np.where(np.isfinite(goals), ways, -1)
    found, borders, begin = [], [], 0
    open_ends = np.setdiff1d(edits.spans, edits.borders)
    for span in points:
        between = np.arange(begin + 1, begin + len(span) - 1)
        begin += len(span)
        for run in np.split(between, np.flatnonzero(np.diff(ways[between])) + 1):
            if len(run) and ways[run[0]] >= 0:
                ends = [(run[0], -1), (run[-1], 1)]
                found.append([_end(everywhere, goals, ways, last, side, rate) for last, side in ends])
                beside = [everywhere[last + side] for last, side in ends]
                borders += [end for end, was in zip(found[-1], beside, strict=True) if was not in open_ends]
    spans = np.unique(np.array(found, np.float32).reshape(-1, 2), axis=0)
    return spans, np.unique(np.array(borders, np.float32))


def _end(points: np.ndarray, goals: np.ndarray, ways: np.ndarray, last: int, side: int, rate: float) -> float:
    """Where a span ends beside its outermost edit `last`: at the point beside it, or as far off as that was."""
    beside = last + side
    if ways[beside] == ways[last]:
        return float(goals[beside])
    return float(goals[last] + rate * (points[beside] - points[last]))


def to_arrays(curves: Mapping[str, Written]) -> dict[str, np.ndarray]:
    """All curves of a face as a few arrays, for `compact.pack`."""
    every = [curve.keys for curve in curves.values()]
    bezier = [keys.slopes for keys in every if keys.slopes is not None]
    empty = np.zeros(0, np.float32)
    return {
        "names": np.array(list(curves), "U") if curves else np.zeros(0, "U1"),
        "lengths": np.array([len(keys) for keys in every], np.int64),
        "bezier": np.array([keys.slopes is not None for keys in every], bool),
        "frames": np.concatenate([empty, *(keys.frames for keys in every)]),
        "values": np.concatenate([empty, *(keys.values for keys in every)]),
        "slopes": np.concatenate([empty.reshape(0, 2), *bezier]),
        "hidden": np.concatenate([empty.astype(bool), *(curve.hidden for curve in curves.values())]),
    }


def from_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, Written]:
    """What `to_arrays` was given; raises DamagedData when the arrays don't fit together."""
    try:
        lengths, bezier = arrays["lengths"].astype(np.int64), arrays["bezier"].astype(bool)
        slopes_of = np.where(bezier, lengths, 0)
        names = [str(name) for name in arrays["names"]]
        wanted = (int(lengths.sum()),)
        shapes = {name: arrays[name].shape for name in ("frames", "values", "hidden")}
        if (
            not len(names) == len(lengths) == len(bezier) == len(set(names))
            or (lengths < 0).any()
            or set(shapes.values()) != {wanted}
            or arrays["slopes"].shape != (int(slopes_of.sum()), 2)
            or not all(np.isfinite(arrays[name]).all() for name in ("frames", "values", "slopes"))
        ):
            raise ValueError("the arrays do not fit together")
        ends, slope_ends = np.cumsum(lengths), np.cumsum(slopes_of)
        parts = [np.split(arrays[name].astype(np.float32), ends)[:-1] for name in ("frames", "values")]
        hidden = np.split(arrays["hidden"].astype(bool), ends)[:-1]
        slopes = np.split(arrays["slopes"].astype(np.float32), slope_ends)[:-1]
        return {
            name: Written(Keys(frames, values, slope if curved else None), hide)
            for name, frames, values, slope, curved, hide in zip(names, *parts, slopes, bezier, hidden, strict=True)
        }
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DamagedData("The stored lip sync is damaged; generate it again.") from error


def _generated(current: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Which of the keys `current` (n,) stand as `expected` (n,) says."""
    same = np.abs(current["co"] - expected["co"]).max(axis=1) < SAME
    for attribute in ("type", "interpolation", "handle_left_type", "handle_right_type"):
        same &= current[attribute] == expected[attribute]
    if (expected["interpolation"] == BEZIER).any():
        for handle in ("handle_left", "handle_right"):
            # Late on the timeline float32 itself steps by more.
            least = np.maximum(_SAME_HANDLE, 2 * np.spacing(np.abs(expected["co"][:, 0])))
            near = np.abs(current[handle] - expected[handle]).max(axis=1) < least
            same &= near | (expected["interpolation"] != BEZIER)
    return same


def _snapped(frames: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """`frames`, those that all but meet one of `grid` (rising) set onto it."""
    if not len(grid):
        return frames
    nearest = grid[np.searchsorted((grid[1:] + grid[:-1]) / 2, frames)]
    with np.errstate(invalid="ignore"):
        return np.where(np.abs(nearest - frames) < 10 * SAME, nearest, frames).astype(np.float32)
