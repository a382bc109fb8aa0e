# SPDX-License-Identifier: GPL-3.0-or-later
"""From FaceMotion to the keys that are written: scene frames, coming to rest, key reduction; and two filters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .key_reduction import reduce_to_beziers
from .motion import FaceMotion, rows_at

SETTLE = 0.2  # seconds after the last frame in which the face comes back to rest


@dataclass(frozen=True)
class Keys:
    """Keys of one curve, in scene frames: linear where `slopes` is None, else Bézier.

    frames: float32 (n,), rising. values: float32 (n,).
    slopes: float32 (n, 2), value per frame on the left and on the right of each key; 0 outside the first and the last.
    Handles lie at a third of each interval: then time is linear in the Bézier parameter, and the curve a cubic
    Hermite spline that can be cut anywhere without changing it.
    """

    frames: np.ndarray
    values: np.ndarray
    slopes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def at(self, frames: np.ndarray) -> np.ndarray:
        """Values at `frames` (m,), float64; before the first key and after the last the curve is held."""
        return self._evaluate(np.asarray(frames, np.float64))[0]

    def handles(self) -> tuple[np.ndarray, np.ndarray]:
        """Left and right Bézier handles, float32 (n, 2) each, as (frame, value)."""
        slopes = np.zeros((len(self), 2)) if self.slopes is None else self.slopes.astype(np.float64)
        gaps = np.diff(self.frames.astype(np.float64)) / 3
        padded = np.pad(gaps, 1, mode="edge") if len(gaps) else np.ones(2)
        before, after = -padded[:-1], padded[1:]
        left = np.stack([self.frames + before, self.values + before * slopes[:, 0]], axis=1)
        right = np.stack([self.frames + after, self.values + after * slopes[:, 1]], axis=1)
        return left.astype(np.float32), right.astype(np.float32)

    def cut(self, frames: np.ndarray) -> Keys:
        """The same curve with further keys at `frames` (m,), where it has none yet."""
        wanted = np.unique(np.asarray(frames, np.float32))
        wanted = wanted[np.isfinite(wanted)]
        wanted = wanted[np.append(self.frames, np.nan)[np.searchsorted(self.frames, wanted)] != wanted]
        if not len(wanted):
            return self
        place = np.searchsorted(self.frames, wanted)
        values, slopes = self._evaluate(wanted.astype(np.float64))
        both = None
        if self.slopes is not None:
            both = np.insert(self.slopes, place, np.stack([slopes, slopes], axis=1).astype(np.float32), axis=0)
        return Keys(
            np.insert(self.frames, place, wanted), np.insert(self.values, place, values.astype(np.float32)), both
        )

    def _evaluate(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and slopes at `frames`."""
        if len(self) < 2 or self.slopes is None:
            return np.interp(frames, self.frames, self.values), np.zeros(len(frames))
        left = np.clip(np.searchsorted(self.frames, frames, side="right") - 1, 0, len(self) - 2)
        start, gap = self.frames[left].astype(np.float64), np.diff(self.frames.astype(np.float64))[left]
        u = np.clip((frames - start) / gap, 0, 1)
        a, b = self.values[left].astype(np.float64), self.values[left + 1].astype(np.float64)
        m, n = self.slopes[left, 1] * gap, self.slopes[left + 1, 0] * gap
        values = a + (b - a) * u * u * (3 - 2 * u) + u * (1 - u) * (m * (1 - u) - n * u)
        slopes = (6 * (b - a) * u * (1 - u) + m * (1 - u) * (1 - 3 * u) + n * u * (3 * u - 2)) / gap
        outside = (frames < self.frames[0]) | (frames > self.frames[-1])
        return values, np.where(outside, 0.0, slopes)


@dataclass(frozen=True)
class CurveSet:
    """Keys per shape key, ready for F-curves.

    fps: scene frames per second (Hz).
    names: K shape-key names.
    keys: K `Keys`; frames are whole scene frames.
    """

    fps: float
    names: tuple[str, ...]
    keys: tuple[Keys, ...]

    @property
    def frame_range(self) -> tuple[int, int]:
        """First and last scene frame that carries a key."""
        return int(min(keys.frames[0] for keys in self.keys)), int(max(keys.frames[-1] for keys in self.keys))

    @property
    def key_count(self) -> int:
        """Number of keys in all curves together."""
        return sum(len(keys) for keys in self.keys)

    def at(self, frames: np.ndarray) -> np.ndarray:
        """Values at `frames` (m,): float64 (m, K)."""
        return np.stack([keys.at(frames) for keys in self.keys], axis=1)


def make_curves(motion: FaceMotion, fps: float, start_frame: float = 1.0, *, tolerance: float = 0.0) -> CurveSet:
    """Sample `motion` on whole scene frames.

    fps: the scene's rate, 24000/1001 as well as 120 (Hz). start_frame: where the motion's frame 0 falls, may lie
    between two frames. tolerance: largest error that leaving out keys may cause on any frame, in weight (0 keeps every
    key, joined by straight lines; otherwise the keys have Bézier handles).
    Blendshape weights are clipped to 0…1. After the last frame the face settles to rest within `SETTLE` seconds.
    """
    if fps <= 0:
        raise ValueError(f"fps must be positive, not {fps}")
    first = int(np.ceil(start_frame - 1e-6))
    last = int(np.floor(start_frame + (motion.duration - 1 / motion.fps) * fps + 1e-6))
    frames = np.arange(first, max(first, last) + 1)
    values = rows_at(motion.weights, (frames - start_frame) / fps * motion.fps)
    rest = max(1, round(SETTLE * fps))
    fade = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, rest + 1) / rest)
    frames = np.append(frames, frames[-1] + np.arange(1, rest + 1)).astype(np.float32)
    values = np.concatenate([values, fade[:, None] * values[-1]])
    if motion.kind == "blendshapes":
        values = values.clip(0.0, 1.0)
    values = values.astype(np.float32)
    if tolerance <= 0:
        columns = np.ascontiguousarray(values.T)
        return CurveSet(fps, motion.names, tuple(Keys(frames, column) for column in columns))
    reduced = reduce_to_beziers(values, tolerance, motion.kind == "blendshapes")
    return CurveSet(
        fps,
        motion.names,
        tuple(Keys(frames[kept], values[kept, k], slopes) for k, (kept, slopes) in enumerate(reduced)),
    )


def smooth_step(values: np.ndarray, begin: float = 0.0, end: float = 1.0) -> np.ndarray:
    """0 up to `begin`, 1 from `end` on, smooth between."""
    part: np.ndarray = np.clip((values - begin) / (end - begin), 0.0, 1.0)
    return part * part * (3.0 - 2.0 * part)


def gaussian_smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Low-pass the columns of `values` (T, K) with a Gaussian of `sigma` frames; the ends are mirrored."""
    if sigma < 1e-3:
        return values
    reach = min(int(np.ceil(4 * sigma)), 10 * len(values))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="symmetric")
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1).astype(np.float32)
