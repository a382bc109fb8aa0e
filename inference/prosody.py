# SPDX-License-Identifier: GPL-3.0-or-later
"""What is heard besides the sounds: how loud the speech is, where it pauses, which syllables stand out."""

from __future__ import annotations

from bisect import bisect
from typing import NamedTuple

import numpy as np

from .curves import gaussian_smooth
from .motion import FaceMotion
from .speech import SAMPLE_RATE, Speech

FLOOR = -100.0  # dB: digital silence
_PAUSE = 0.15  # seconds: the closure of a stop consonant is shorter
_BLOCK = 4096  # frames whose samples are squared at once
_LOUDER = 8.0  # dB above its surroundings that make a syllable stand out wholly


class Prosody(NamedTuple):
    """What accents and pauses are found by, at `fps` Hz: loudness in dB and opening of the jaw, (T,) each."""

    fps: float
    loudness: np.ndarray
    jaw: np.ndarray

    @property
    def seconds(self) -> float:
        """Length of the speech."""
        return len(self.loudness) / self.fps


class Accents(NamedTuple):
    """Stressed syllables: seconds from the motion's first frame, and strength in 0…1; both (n,)."""

    seconds: np.ndarray
    strength: np.ndarray


def loudness_of(speech: Speech, fps: float, count: int) -> np.ndarray:
    """Loudness of `speech` in each of `count` motion frames at `fps` Hz: dB of full scale, float32 (count,)."""
    edges = np.round(np.arange(count + 1) * SAMPLE_RATE / fps).astype(int).clip(0, len(speech.samples))
    power = np.zeros(count)
    for first in range(0, count, _BLOCK):  # hours at once would be twice as large as the speech
        bounds = edges[first : first + _BLOCK + 1]
        filled = np.diff(bounds) > 0  # the motion may outlast the speech by a frame
        if filled.any():
            squares = np.square(speech.samples[bounds[0] : bounds[-1]], dtype=np.float64)
            sums = np.add.reduceat(squares, bounds[:-1][filled] - bounds[0])
            power[first : first + _BLOCK][filled] = sums / np.diff(bounds)[filled]
    return (10 * np.log10(power + 10 ** (FLOOR / 10))).astype(np.float32)


def prosody_of(motion: FaceMotion, loudness: np.ndarray) -> Prosody:
    """Prosody of speech that makes the face move so, before any slider; `loudness` (T,) as `loudness_of` gives it.

    All weights together stand for the jaw in a motion that has no such shape.
    """
    weights = motion.weights
    jaw = weights[:, motion.names.index("jawOpen")] if "jawOpen" in motion.names else weights.sum(axis=1)
    return Prosody(motion.fps, loudness, jaw)


def pauses(prosody: Prosody) -> np.ndarray:
    """Stretches of silence in seconds, (n, 2): begin and end."""
    quiet = prosody.loudness < _silence_below(prosody.loudness)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    found = edges.reshape(-1, 2) / prosody.fps
    return found[found[:, 1] - found[:, 0] > _PAUSE - 1e-6]


def accents_of(prosody: Prosody) -> Accents:
    """Syllables that stand out from what is around them, by loudness and by how far the jaw opens.

    The lips lead the sound, so a syllable's jaw is looked for before its loudest moment.
    """
    fps, loudness, jaw = prosody
    spoken = loudness > _silence_below(loudness)
    loud = gaussian_smooth(loudness[:, None].clip(_silence_below(loudness), None), 0.04 * fps)[:, 0]
    weight = gaussian_smooth(spoken[:, None].astype(np.float32), fps)[:, 0] + 1e-6
    usual = gaussian_smooth((loud * spoken)[:, None], fps)[:, 0] / weight
    peaks = np.flatnonzero((loud >= _highest(loud, round(0.1 * fps), round(0.1 * fps))) & spoken)
    opened = _highest(jaw, round(0.2 * fps), round(0.05 * fps))
    usual_jaw = gaussian_smooth(opened[:, None], fps)[:, 0]
    standing_out = (loud - usual)[peaks] / _LOUDER + (opened - usual_jaw)[peaks] / (2 * float(jaw.std()) + 1e-3)
    kept = standing_out > 0.25
    return Accents(peaks[kept] / fps, standing_out[kept].clip(0.0, 1.0))


def thinned(accents: Accents, apart: float) -> Accents:
    """The strongest of `accents` that lie at least `apart` seconds from each other."""
    kept: list[int] = []
    for i in np.argsort(-accents.strength, kind="stable"):
        place = bisect(kept, i)
        if all(
            abs(accents.seconds[i] - accents.seconds[other]) >= apart for other in kept[max(0, place - 1) : place + 1]
        ):
            kept.insert(place, int(i))
    return Accents(accents.seconds[kept], accents.strength[kept])


def _silence_below(loudness: np.ndarray) -> float:
    """Loudness in dB below which nobody speaks: well under the loud syllables, and above the noise of the recording."""
    floor, loud = np.percentile(loudness, [5, 95])
    return float(loud - min(25.0, 0.6 * (loud - floor)))


def _highest(values: np.ndarray, before: int, after: int) -> np.ndarray:
    """Largest of `values` (T,) from `before` frames earlier to `after` frames later, (T,)."""
    padded = np.pad(values, (before, after), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, before + after + 1).max(axis=1)
