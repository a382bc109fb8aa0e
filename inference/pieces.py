# SPDX-License-Identifier: GPL-3.0-or-later
"""Pieces of motion at their places on the timeline: each where its sound is heard, the face at rest between them.

What the network says is kept per piece in the sound's own time; where the sound is heard is another matter, which an
animator changes by dragging a strip. `place` brings the two together, `follow` says where a moved piece took a frame,
`follow_spans` where it took a region.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .compact import DamagedData
from .curves import SETTLE
from .errors import AudioError
from .motion import FaceMotion, rows_at
from .speech import LONGEST

_FINER = 2  # least rate of the timeline over that of the network: pieces seldom begin on each other's frames
_SHORTEST = 1e-3  # seconds of sound that are worth moving lips for
_APART = 0.5  # frames that are worth parting a region
_BESIDE = 1e-3  # frames off an end of words at which one asks to which side a frame belongs
_MOST_PIECES, _MOST_NODES = 10_000, 100_000


@dataclass(frozen=True)
class Stretch:
    """Where a sound runs on: at scene frame frames[i] its second seconds[i] is heard, straight between; both rise."""

    frames: tuple[float, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a raw motion, and where their sound is heard.

    first, count: rows of the raw motion, at `rate` Hz. second: second of the sound file at row `first`.
    frames, seconds: where its sound is heard, as of `Stretch`; with the silence around it that belongs to it.
    heard: seconds of the file that the network heard for it, (from, to), whatever is heard today.
    strip, mark: name and lasting id of the strip; sound: name of the file; length: seconds that the file lasts.
    """

    first: int
    count: int
    second: float
    frames: tuple[float, ...]
    seconds: tuple[float, ...]
    heard: tuple[float, float]
    strip: str = ""
    mark: str = ""
    sound: str = ""
    length: float = 0.0
    rate: float = 50.0

    def frame_at(self, seconds: Any) -> Any:
        """Scene frames at which `seconds` of the file are heard; beyond the nodes at the speed next to them."""
        return _along(seconds, self.seconds, self.frames)

    def second_at(self, frames: Any) -> Any:
        """Seconds of the file that are heard at `frames`, likewise."""
        return _along(frames, self.frames, self.seconds)

    @property
    def straight(self) -> bool:
        """Whether the sound runs at one speed."""
        return len(self.frames) == 2


def place(raw: FaceMotion, pieces: Sequence[Piece], fps: float) -> tuple[FaceMotion, float]:
    """Motion on the timeline of a scene of `fps` (Hz), and the scene frame of its first row.

    One piece at normal speed is `raw` itself. Otherwise there is a row on every scene frame, and some between. Where
    pieces overlap, the stronger weight of each shape key wins; between them the face settles to rest within `SETTLE`
    seconds and leaves it so before the next. Raises AudioError when the pieces lie further apart than speech can be
    long.
    """
    if len(pieces) == 1 and _untouched(pieces[0], raw, fps):
        return raw, float(pieces[0].frame_at(pieces[0].second))
    weights, rate, start = place_values(raw.weights, raw.fps, pieces, fps)
    return FaceMotion(rate, 0.0, raw.names, weights, raw.basis, raw.kind), start


def place_values(
    values: np.ndarray, rate: float, pieces: Sequence[Piece], fps: float
) -> tuple[np.ndarray, float, float]:
    """`place` for any `values` (T, K) at `rate` Hz whose rest is 0: float32 (n, K), their rate, frame of the first."""
    start, end = min(piece.frames[0] for piece in pieces), max(piece.frames[-1] for piece in pieces)
    if (end - start) / fps > LONGEST:
        raise AudioError(f"The strips lie more than {LONGEST / 3600:.0f} hours apart; generate them one by one.")
    per_frame = max(1, math.ceil(_FINER * rate / fps - 1e-6))  # so that sampling on scene frames loses nothing
    first, last = math.ceil(start * per_frame - 1e-6), math.floor(end * per_frame + 1e-6)
    frames = np.arange(first, max(first, last) + 1) / per_frame
    placed = np.zeros((len(frames), values.shape[1]), np.float32)
    covered = np.zeros(len(frames), bool)
    for piece in pieces:
        inside = slice(*np.searchsorted(frames, (piece.frames[0] - 1e-6, piece.frames[-1] + 1e-6)))
        position = (piece.second_at(frames[inside]) - piece.second) * rate
        said = rows_at(values[piece.first : piece.first + piece.count], position)
        said = said * _ease(frames[inside], piece, pieces, fps)[:, None]
        taken = covered[inside][:, None]
        weaker = np.abs(placed[inside]) <= np.abs(said)
        placed[inside] = np.where(taken & ~weaker, placed[inside], said)
        covered[inside] = True
    _rest_between(placed, covered, SETTLE * per_frame * fps)
    return placed, per_frame * fps, float(frames[0])


def follow(before: Sequence[Piece], after: Sequence[Piece], frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where `frames` (n,) of the animation go when the pieces move from `before` to `after`, float64 (n,), and the way
    on which each goes, int (n,): frames on the same way stay together.

    A frame goes with the piece that it lies in or nearest to: to where the same second of the sound is heard now.
    Pieces belong together by the id of their strip, or where there is none by their place in the raw motion; a frame
    whose piece is gone stays. NaN where the second was cut off and something else is heard in its place.
    """
    moved = np.array(frames, np.float64)
    ways = np.zeros(len(moved), int)
    if not before or not len(moved):
        return moved, ways
    nearest = np.argmin([_outside(moved, piece.frames) for piece in before], axis=0)
    for number, piece in enumerate(before):
        mine = np.flatnonzero(nearest == number)
        same = [i for i, new in enumerate(after) if _belong(piece, new)]
        ways[mine] = number * (len(after) + 1)
        if len(mine) and same:
            seconds = piece.second_at(moved[mine])
            outside = np.stack([_outside(seconds, after[i].seconds) for i in same])
            choice = np.argmin(outside, axis=0)
            goals = np.stack([after[i].frame_at(seconds) for i in same])[choice, np.arange(len(mine))]
            cut_off = (outside.min(axis=0) > _SHORTEST) & (_outside(seconds, piece.seconds) < _SHORTEST)
            for other in after if cut_off.any() else ():
                goals[cut_off & (goals >= other.frames[0]) & (goals <= other.frames[-1])] = np.nan
            moved[mine] = goals
            ways[mine] += 1 + np.array(same)[choice]
    return moved, ways


def follow_around(
    before: Sequence[Piece], after: Sequence[Piece], rate: float, frames: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`follow` for `frames` (n,) that need not lie on words: outside of all pieces they stay as far from the nearest
    one as they were, times `rate`, whatever the speed of its sound.
    """
    words = _on_words(before, frames)
    goals, ways = follow(before, after, words)
    return goals + rate * (frames - words), ways


def follow_spans(
    before: Sequence[Piece], after: Sequence[Piece], rate: float, spans: Iterable[tuple[float, float]]
) -> list[tuple[float, float]]:
    """Where `spans`, first and last frame of each, go with the words in them, as of `follow_around`.

    One whose words go apart is parted, what of it has no place is left out, and it grows over no other words.
    """
    ends = [frame for piece in before for frame in (piece.frames[0], piece.frames[-1])]
    for piece in before:
        parts = [new for new in after if _belong(piece, new)]
        ends += [float(piece.frame_at(second)) for new in parts for second in (new.seconds[0], new.seconds[-1])]
    beside = np.unique([end + side for end in ends for side in (-_BESIDE, _BESIDE)])
    found = []
    for first, last in map(sorted, spans):
        frames = np.array([first, *beside[(beside > first) & (beside < last)], last])
        words = _on_words(before, frames)
        goals, ways = follow(before, after, words)
        goals = _into_silence(goals, rate * (frames - words), after)
        apart = (np.abs(np.diff(goals) - rate * np.diff(frames)) > _APART) & (np.diff(ways) != 0)
        parted = np.isnan(np.diff(goals)) | apart | _spoken_between(goals, ways, after)
        runs = [run for run in np.split(goals, np.flatnonzero(parted) + 1) if np.isfinite(run).all()]
        least = min(_APART, rate * (last - first))  # what is shorter is but an end of words
        found += [(float(run.min()), float(run.max())) for run in runs if np.ptp(run) >= least]
    return found


def _on_words(pieces: Sequence[Piece], frames: np.ndarray) -> np.ndarray:
    """The frames nearest to `frames` (n,) at which any of `pieces` is heard; the same where there are none."""
    if not pieces or not len(frames):
        return np.array(frames, np.float64)
    nearest = np.argmin([_outside(frames, piece.frames) for piece in pieces], axis=0)
    first, last = np.array([(piece.frames[0], piece.frames[-1]) for piece in pieces])[nearest].T
    return np.asarray(frames, np.float64).clip(first, last)


def _into_silence(words: np.ndarray, further: np.ndarray, pieces: Sequence[Piece]) -> np.ndarray:
    """`words` (n,), frames, moved `further` (n,) into the silence beside them, as far as none of `pieces` is heard."""
    goals = words + further
    for piece in pieces:
        first, last = piece.frames[0], piece.frames[-1]
        within = (first < words - _APART) & (words + _APART < last)
        goals = np.where((further != 0) & within, words, goals)
        goals = np.where((further < 0) & (last <= words + _APART), np.maximum(goals, np.minimum(last, words)), goals)
        goals = np.where((further > 0) & (first >= words - _APART), np.minimum(goals, np.maximum(first, words)), goals)
    return goals


def _spoken_between(frames: np.ndarray, ways: np.ndarray, pieces: Sequence[Piece]) -> np.ndarray:
    """Between which of `frames` (n,), which came on `ways` of `follow`, and the next one any of `pieces` is heard
    where they themselves are not, bool (n - 1,).
    """
    own = np.where(np.diff(ways) == 0, ways[:-1] % (len(pieces) + 1) - 1, -1)
    spoken = np.zeros(len(own), bool)
    for number, piece in enumerate(pieces):
        first, last = piece.frames[0], piece.frames[-1]
        spoken |= (first < frames[1:] - _APART) & (last > frames[:-1] + _APART) & (own != number)
    for number, piece in enumerate(pieces):
        heard = _outside(frames, piece.frames) < 2 * _BESIDE
        spoken &= ~(heard[1:] & heard[:-1] & (own == number))
    return spoken


def _belong(piece: Piece, new: Piece) -> bool:
    return new.mark == piece.mark if piece.mark else new.first == piece.first


def laid(piece: Piece, stretch: Stretch) -> Piece | None:
    """`piece` where `stretch` of its sound is heard now; None if none of it is.

    What is cut off its sound is cut off the piece; what is not keeps the silence beside it.
    """
    first, last = max(piece.heard[0], stretch.seconds[0]), min(piece.heard[1], stretch.seconds[-1])
    if last - first < _SHORTEST:
        return None
    near = 1 / piece.rate  # seconds: strips end on frames, sounds do not
    begin, end = piece.second, piece.second + (piece.count - 1) / piece.rate
    first = begin if first - piece.heard[0] < near else first
    last = end if piece.heard[1] - last < near and end > piece.heard[1] + near else last
    inner = [second for second in stretch.seconds[1:-1] if first < second < last]
    seconds = np.array([first, *inner, last])
    frames = _along(seconds, stretch.seconds, stretch.frames)
    return replace(piece, frames=tuple(frames.tolist()), seconds=tuple(seconds.tolist()))


def duration(pieces: Iterable[Piece]) -> float:
    """Seconds of sound in all pieces together."""
    return sum(piece.heard[1] - piece.heard[0] for piece in pieces)


def to_plain(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """`pieces` as what JSON knows."""
    return [asdict(piece) for piece in pieces]


def from_plain(stored: object, rows: int) -> tuple[Piece, ...]:
    """What `to_plain` made, checked against the number of rows of the raw motion; raises DamagedData."""
    try:
        if not isinstance(stored, list) or not 0 < len(stored) <= _MOST_PIECES:
            raise ValueError("no list of pieces")
        return tuple(_checked(entry, rows) for entry in stored)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        raise DamagedData("The stored lip sync says of no strip where it belongs; generate it again.") from error


def _checked(entry: Mapping[str, Any], rows: int) -> Piece:
    piece = Piece(
        int(entry["first"]),
        int(entry["count"]),
        float(entry["second"]),
        tuple(map(float, entry["frames"])),
        tuple(map(float, entry["seconds"])),
        (float(entry["heard"][0]), float(entry["heard"][1])),
        strip=str(entry["strip"]),
        mark=str(entry["mark"]),
        sound=str(entry["sound"]),
        length=float(entry["length"]),
        rate=float(entry["rate"]),
    )
    numbers = np.array([piece.second, piece.length, piece.rate, *piece.frames, *piece.seconds, *piece.heard])
    fitting = piece.first >= 0 and 0 < piece.count <= rows - piece.first
    paired = 2 <= len(piece.frames) == len(piece.seconds) <= _MOST_NODES
    if not (
        fitting and paired and 1 <= piece.rate <= 1000 and np.isfinite(numbers).all() and np.abs(numbers).max() < 1e9
    ):
        raise ValueError("numbers out of range")
    if not ((np.diff(piece.frames) > 0).all() and (np.diff(piece.seconds) > 0).all()):
        raise ValueError("nodes do not rise")
    return piece


def _untouched(piece: Piece, raw: FaceMotion, fps: float) -> bool:
    """Whether `piece` is all of `raw` at normal speed."""
    speed = (piece.seconds[-1] - piece.seconds[0]) * fps / (piece.frames[-1] - piece.frames[0])
    whole = (piece.first, piece.count) == (0, len(raw.weights))
    last = piece.second + (piece.count - 1) / raw.fps
    shown = piece.seconds[0] < piece.second + 0.5 / raw.fps and piece.seconds[-1] > last - 0.5 / raw.fps
    return whole and shown and piece.straight and abs(speed - 1) < 1e-6


def _outside(values: np.ndarray, bounds: Sequence[float]) -> np.ndarray:
    """How far each of `values` (n,) lies outside of what `bounds` enclose; 0 inside."""
    return np.maximum(np.maximum(bounds[0] - values, values - bounds[-1]), 0.0)


def _along(values: Any, known: Sequence[float], wanted: Sequence[float]) -> Any:
    """`wanted` at `values` of `known`, straight between the nodes and beyond the outermost two."""
    x, y = np.asarray(known, np.float64), np.asarray(wanted, np.float64)
    i = np.clip(np.searchsorted(x, values) - 1, 0, len(x) - 2)
    return y[i] + (values - x[i]) / (x[i + 1] - x[i]) * (y[i + 1] - y[i])


def _ease(frames: np.ndarray, piece: Piece, pieces: Sequence[Piece], fps: float) -> np.ndarray:
    """Factor (n,) that lets a piece come and go softly where it begins or ends while another one speaks."""
    factor = np.ones(len(frames), np.float32)
    begin, end = piece.frames[0], piece.frames[-1]
    reach, touch = min(SETTLE * fps, end - begin), fps / piece.rate
    if any(other.frames[0] < begin < other.frames[-1] - touch for other in pieces):
        factor *= _rise((frames - begin) / reach)
    if any(other.frames[0] + touch < end < other.frames[-1] for other in pieces):
        factor *= _rise((end - frames) / reach)
    return factor


def _rise(part: np.ndarray) -> np.ndarray:
    """From 0 to 1 while `part` goes from 0 to 1, as half a cosine."""
    return (0.5 - 0.5 * np.cos(np.pi * part.clip(0.0, 1.0))).astype(np.float32)


def _rest_between(weights: np.ndarray, covered: np.ndarray, reach: float) -> None:
    """Fill the rows that no piece covers: from the row before towards rest, and from rest to the row after.

    A gap shorter than `reach` rows is a crossfade.
    """
    covered[[0, -1]] = True
    edges = np.flatnonzero(np.diff(covered.astype(int))) + 1
    for first, last in edges.reshape(-1, 2):
        gap = last - first + 1
        steps = np.arange(1, gap)[:, None] / min(reach, gap)
        falling = 1 - _rise(steps)
        weights[first:last] = falling * weights[first - 1] + falling[::-1] * weights[last]
