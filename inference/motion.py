# SPDX-License-Identifier: GPL-3.0-or-later
"""FaceMotion: what a model says the face does, as weights over a linear basis of vertex offsets."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .places import written_whole

_BLOCK = 1 << 24  # bytes of vertices that are formed at once: 278 frames of FLAME's; packages may have other meshes


@dataclass(frozen=True)
class FaceMotion:
    """Face motion at a constant rate.

    fps: frames per second (Hz) of `weights`.
    start: seconds on the timeline of frame 0.
    names: K blendshape (or basis) names.
    weights: float32, (T, K).
    basis: float32, (K, V, 3), metres, vertex order and axes of the model's topology (FLAME: +Y up, +Z forward).
    kind: "blendshapes" (weights mean something to an artist and lie in 0…1) or "vertices" (basis is only algebra).
    """

    fps: float
    start: float
    names: tuple[str, ...]
    weights: np.ndarray
    basis: np.ndarray
    kind: str = "blendshapes"

    @property
    def times(self) -> np.ndarray:
        """Seconds of every frame on the timeline, float64 (T,)."""
        return self.start + np.arange(len(self.weights)) / self.fps

    @property
    def duration(self) -> float:
        """Seconds from the first frame to one frame past the last."""
        return len(self.weights) / self.fps

    def offsets(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """Vertex offsets from the neutral face of frames first…last-1: float32 (n, V, 3), metres."""
        flat = self.basis.reshape(len(self.names), -1)
        return (self.weights[first:last] @ flat).reshape(-1, *self.basis.shape[1:])

    def at_rate(self, fps: float) -> FaceMotion:
        """The same motion sampled at `fps` Hz by linear interpolation in time."""
        count = max(1, round(self.duration * fps))
        return FaceMotion(
            fps,
            self.start,
            self.names,
            sample_weights(self, self.start + np.arange(count) / fps),
            self.basis,
            self.kind,
        )


def sample_weights(motion: FaceMotion, times: np.ndarray) -> np.ndarray:
    """Weights at `times` (seconds on the timeline), float32 (len(times), K); ends are held."""
    return rows_at(motion.weights, (times - motion.start) * motion.fps)


def rows_at(values: np.ndarray, position: np.ndarray) -> np.ndarray:
    """`values` (T, K) at fractional rows `position` (n,), linearly between, (n, K); ends are held."""
    position = np.clip(position, 0, len(values) - 1)
    # A hair's breadth off a row is that row: 1/24 s has no exact float.
    position = np.where(np.abs(position - np.rint(position)) < 1e-6, np.rint(position), position)
    left = np.floor(position).astype(int)
    right = np.minimum(left + 1, len(values) - 1)
    part = (position - left)[:, None].astype(np.float32)
    between: np.ndarray = (1 - part) * values[left] + part * values[right]
    return between


def write_motion(
    motion: FaceMotion,
    path: str | Path,
    vertices: bool = False,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write `motion` as .npz: fps, times, names, weights and, if asked, offsets (T, V, 3) in metres.

    Vertices are formed and written block by block: an hour needs no more memory than a second. The file appears
    whole or not at all. Raises OSError when the place cannot be written.
    """
    with written_whole(Path(path)) as beside, zipfile.ZipFile(beside, "w") as archive:
        for key, value in (
            ("fps", np.float64(motion.fps)),
            ("times", motion.times),
            ("names", np.array(motion.names)),
            ("weights", motion.weights.astype(np.float32, copy=False)),
        ):
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
        if vertices:
            _write_offsets(archive, motion, progress)


def _write_offsets(archive: zipfile.ZipFile, motion: FaceMotion, progress: Callable[[float], None] | None) -> None:
    count = len(motion.weights)
    step = max(1, _BLOCK // (12 * motion.basis.shape[1]))  # frames
    header = {"descr": "<f4", "fortran_order": False, "shape": (count, *motion.basis.shape[1:])}
    with archive.open("offsets.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        for first in range(0, count, step):
            member.write(motion.offsets(first, first + step).astype("<f4", copy=False).tobytes())
            if progress:
                progress(min(1.0, (first + step) / count))
