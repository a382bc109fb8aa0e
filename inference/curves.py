# SPDX-License-Identifier: GPL-3.0-or-later
"""From FaceMotion to the keys that are written: scene frames, smoothing, strength, key reduction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .motion import FaceMotion, sample_weights

SETTLE = 0.2  # seconds after the last frame in which the face comes back to rest


@dataclass(frozen=True)
class CurveSet:
    """Keys per shape key, ready for F-curves with linear interpolation.

    fps: scene frames per second (Hz).
    names: K shape-key names.
    keys: K pairs (frames, values), both float32 (n,); frames are whole scene frames, rising.
    """

    fps: float
    names: tuple[str, ...]
    keys: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def frame_range(self) -> tuple[int, int]:
        """First and last scene frame that carries a key."""
        return int(min(frames[0] for frames, _ in self.keys)), int(max(frames[-1] for frames, _ in self.keys))

    @property
    def key_count(self) -> int:
        """Number of keys in all curves together."""
        return sum(len(frames) for frames, _ in self.keys)


def make_curves(
    motion: FaceMotion,
    fps: float,
    start_frame: float = 1.0,
    *,
    strength: float = 1.0,
    smoothing: float = 0.0,
    tolerance: float = 0.0,
) -> CurveSet:
    """Sample `motion` on whole scene frames.

    fps: the scene's rate, 24000/1001 as well as 120 (Hz). start_frame: where the motion's frame 0 falls, may lie
    between two frames. strength: factor on all weights. smoothing: standard deviation of a Gaussian, seconds.
    tolerance: largest error that leaving out keys may cause, in weight (0 keeps every key).
    Blendshape weights are clipped to 0…1. After the last frame the face settles to rest within `SETTLE` seconds.
    """
    if fps <= 0:
        raise ValueError(f"fps must be positive, not {fps}")
    first, last = (
        int(np.ceil(start_frame - 1e-6)),
        int(np.floor(start_frame + (motion.duration - 1 / motion.fps) * fps + 1e-6)),
    )
    frames = np.arange(first, max(first, last) + 1)
    smooth = gaussian_smooth(motion.weights, smoothing * motion.fps)
    sampled = FaceMotion(motion.fps, 0.0, motion.names, smooth, motion.basis, motion.kind)
    values = strength * sample_weights(sampled, (frames - start_frame) / fps)
    rest = max(1, round(SETTLE * fps))
    fade = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, rest + 1) / rest)
    frames = np.append(frames, frames[-1] + np.arange(1, rest + 1)).astype(np.float32)
    values = np.concatenate([values, fade[:, None] * values[-1]])
    if motion.kind == "blendshapes":
        values = values.clip(0.0, 1.0)
    values = values.astype(np.float32)
    keys = []
    for k in range(len(motion.names)):
        kept = reduce_keys(values[:, k], tolerance)
        keys.append((frames[kept], values[kept, k]))
    return CurveSet(fps, motion.names, tuple(keys))


def gaussian_smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    """Low-pass the columns of `values` (T, K) with a Gaussian of `sigma` frames; the ends are mirrored."""
    if sigma < 1e-3:
        return values
    reach = min(int(np.ceil(4 * sigma)), 10 * len(values))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="symmetric")
    return np.stack([np.convolve(column, kernel, mode="valid") for column in padded.T], axis=1).astype(np.float32)


def reduce_keys(values: np.ndarray, tolerance: float) -> np.ndarray:
    """Indices of the keys of `values` (T,) that suffice for linear interpolation within `tolerance`.

    Ramer-Douglas-Peucker with the vertical distance; first and last are always kept; tolerance 0 keeps all.
    """
    count = len(values)
    if tolerance <= 0 or count < 3:
        return np.arange(count)
    keep = np.zeros(count, bool)
    keep[[0, -1]] = True
    spans = [(0, count - 1)]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        line = np.linspace(values[a], values[b], b - a + 1)[1:-1]
        error = np.abs(values[a + 1 : b] - line)
        worst = int(error.argmax())
        if error[worst] > tolerance:
            middle = a + 1 + worst
            keep[middle] = True
            spans += [(a, middle), (middle, b)]
    return np.flatnonzero(keep)
