# SPDX-License-Identifier: GPL-3.0-or-later
"""Several recordings through the network: neighbours are heard together, silence between distant ones not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .motion import FaceMotion
from .pieces import Piece, Stretch, laid
from .prosody import loudness_of
from .speech import SAMPLE_RATE, Speech

JOINED = 1.0  # seconds between two recordings up to which they are heard as one
_OVERLAP = 1e-3  # seconds by which neighbours may run into each other


@dataclass(frozen=True)
class Take:
    """One recording as it is heard.

    samples: float32 (N,) at `SAMPLE_RATE`, as they are in the file, whatever the speed they are heard at.
    second: second of the file at samples[0]. stretches: one, or several where the sound stands still between.
    strip, sound, length: as of `Piece`.
    """

    samples: np.ndarray
    second: float
    stretches: tuple[Stretch, ...]
    strip: str = ""
    sound: str = ""
    length: float = 0.0

    @property
    def begin(self) -> float:
        """Scene frame at which it is first heard."""
        return self.stretches[0].frames[0]

    def joins(self, fps: float) -> bool:
        """Whether it runs through at normal speed, so that others can be heard together with it."""
        frames, seconds = self.stretches[0].frames, self.stretches[0].seconds
        speed = (seconds[-1] - seconds[0]) * fps / (frames[-1] - frames[0])
        return len(self.stretches) == 1 and len(frames) == 2 and abs(speed - 1) < 1e-6


@dataclass(frozen=True)
class Spoken:
    """What the network says to some takes: rows of all of them one after the other, each in its own sound's time.

    motion: T rows. loudness: dB of full scale, float32 (T,). pieces: which rows belong where, in order of time.
    """

    motion: FaceMotion
    loudness: np.ndarray
    pieces: tuple[Piece, ...]


def listen(takes: Sequence[Take], fps: float, run: Callable[[Speech, float, float], FaceMotion]) -> Spoken:
    """Let the network hear `takes` in a scene of `fps` (Hz).

    run(speech, done, share): the network; of all work the fraction `done` lies behind it and `share` is this speech.
    Takes no more than `JOINED` seconds apart are heard as one, with silence between, and then cut in the middle of
    it: the network knows what came before, and each take still moves by itself. Takes that overlap, and those at a
    speed of their own, are heard alone.
    """
    groups = _groups(sorted(takes, key=lambda take: take.begin), fps)
    speeches = [_joined(group, fps) for group in groups]
    total = sum(len(speech.samples) for speech in speeches)
    motions, loudness, pieces = [], [], []
    rows = done = 0
    for group, speech in zip(groups, speeches, strict=True):
        motion = run(speech, done / total, len(speech.samples) / total)
        motions.append(motion)
        loudness.append(loudness_of(speech, motion.fps, len(motion.weights)))
        pieces += _cut(group, rows, len(motion.weights), motion.fps, fps)
        rows += len(motion.weights)
        done += len(speech.samples)
    weights = np.concatenate([motion.weights for motion in motions])
    return Spoken(replace(motions[0], start=0.0, weights=weights), np.concatenate(loudness), tuple(pieces))


def _groups(takes: Sequence[Take], fps: float) -> list[list[Take]]:
    groups: list[list[Take]] = []
    for take in takes:
        last = groups[-1][-1] if groups else None
        if last is not None and last.joins(fps) and take.joins(fps):
            gap = (take.begin - last.stretches[0].frames[-1]) / fps
            if -_OVERLAP <= gap <= JOINED:
                groups[-1].append(take)
                continue
        groups.append([take])
    return groups


def _joined(group: Sequence[Take], fps: float) -> Speech:
    """The sound of a group, silence where none of it is heard."""
    if len(group) == 1:
        return Speech(group[0].samples)
    begins = [round((take.begin - group[0].begin) / fps * SAMPLE_RATE) for take in group]
    end = max(begin + len(take.samples) for begin, take in zip(begins, group, strict=True))
    samples = np.zeros(end, np.float32)
    for begin, take in zip(begins, group, strict=True):
        samples[begin : begin + len(take.samples)] += take.samples
    return Speech(samples)


def _cut(group: Sequence[Take], first: int, count: int, rate: float, fps: float) -> list[Piece]:
    """Pieces of the `count` rows at `rate` Hz, from row `first` on, that belong to a group."""
    if len(group) == 1:
        return _stretches(group[0], first, count, rate)
    begins = [(take.begin - group[0].begin) / fps for take in group]
    ends = [begin + len(take.samples) / SAMPLE_RATE for begin, take in zip(begins, group, strict=True)]
    middles = [(end + begin) / 2 for end, begin in zip(ends[:-1], begins[1:], strict=True)]
    edges = [0, *(int(np.ceil(middle * rate - 1e-6)) for middle in middles), count]
    pieces = []
    for i, take in enumerate(group):
        shift = take.second - begins[i]  # from seconds of the group to seconds of the file
        last = min(edges[i + 1] + 1, count)  # neighbours share a row, so that nothing is lost between two
        pieces.append(_piece(take, take.stretches[0], first, edges[i], last, edges[i] / rate + shift, rate))
    return [piece for piece in pieces if piece is not None]


def _stretches(take: Take, first: int, count: int, rate: float) -> list[Piece]:
    """One piece for each stretch of a take that was heard alone."""
    pieces = []
    for stretch in take.stretches:
        begin, end = ((second - take.second) * rate for second in (stretch.seconds[0], stretch.seconds[-1]))
        row = min(max(0, int(np.floor(begin + 1e-6))), count - 1)
        last = count if stretch is take.stretches[-1] else min(int(np.ceil(end)) + 1, count)
        pieces.append(_piece(take, stretch, first, row, last, take.second + row / rate, rate))
    return [piece for piece in pieces if piece is not None]


def _piece(take: Take, stretch: Stretch, first: int, row: int, last: int, second: float, rate: float) -> Piece | None:
    """Rows `row` to `last` of a group whose rows begin at `first`: the motion of a stretch of `take`."""
    heard = (stretch.seconds[0], stretch.seconds[-1])
    piece = Piece(first + row, last - row, second, stretch.frames, stretch.seconds, heard, take.strip)
    return laid(replace(piece, sound=take.sound, length=take.length, rate=rate), stretch) if last > row else None
