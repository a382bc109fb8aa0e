# SPDX-License-Identifier: GPL-3.0-or-later
"""Vertex caches in the PC2 format: every vertex at every sample, as Blender's Mesh Cache modifier reads it.

Little-endian: "POINTCACHE2" and a zero byte, int32 version 1, int32 vertices, float32 first frame, float32 frames per
sample, int32 samples; then float32 x, y, z per vertex, sample after sample (Autodesk 3ds Max SDK, Point Cache 2).
"""

from __future__ import annotations

import glob
import os
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from .errors import CacheError

SUFFIX = ".pc2"
_HEADER = struct.Struct("<12siiffi")
_MAGIC = b"POINTCACHE2\0"
_MOST = 1 << 40  # bytes: more is no cache but a damaged header
_GIVEN_UP = 86_400.0  # seconds since anything was written to what is half a cache: who did was killed


@dataclass(frozen=True)
class PointCache:
    """A cache on disk: `samples` times `vertices` positions, the first one at frame `start`."""

    path: Path
    vertices: int
    samples: int
    start: float

    @staticmethod
    def open(path: str | Path) -> PointCache:
        """Check the header and that the file is as long as it says; raises CacheError."""
        path = Path(path)
        try:
            with path.open("rb") as file:
                head = file.read(_HEADER.size)
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise CacheError(f"The vertex cache “{path.name}” cannot be read ({error.strerror}).") from error
        broken = CacheError(f"“{path.name}” is no whole vertex cache; generate the lip sync again.")
        if len(head) < _HEADER.size:
            raise broken
        magic, version, vertices, start, step, samples = _HEADER.unpack(head)
        if magic != _MAGIC or version != 1 or vertices <= 0 or samples <= 0 or step != 1 or not np.isfinite(start):
            raise broken
        if size != _HEADER.size + _bytes(vertices, samples):
            raise broken
        return PointCache(path, vertices, samples, float(start))

    def read(self, sample: int) -> np.ndarray:
        """Positions of one sample, float32 (V, 3); raises CacheError when the file has gone, IndexError."""
        if not 0 <= sample < self.samples:
            raise IndexError(sample)
        count = 3 * self.vertices
        try:
            with self.path.open("rb") as file:
                file.seek(_HEADER.size + 4 * count * sample)
                values = np.frombuffer(file.read(4 * count), "<f4")
        except OSError as error:
            raise CacheError(f"The vertex cache “{self.path.name}” cannot be read ({error.strerror}).") from error
        if len(values) != count:
            raise CacheError(f"“{self.path.name}” is no whole vertex cache; generate the lip sync again.")
        return values.reshape(-1, 3).astype(np.float32)


def write_cache(
    folder: Path, stem: str, start: float, samples: int, vertices: int, blocks: Iterable[np.ndarray]
) -> Path:
    """Write the `blocks` (n, vertices, 3), `samples` in all and one per frame from `start` on; returns the new file.

    It gets the name `stem`-1.pc2, or the next number that is free: a cache that exists may belong to another version
    of the .blend. Written beside its place and renamed, so that it appears whole or not at all, whatever `blocks`
    raises. What lies there half-written since a day or more is removed. Raises CacheError when the folder cannot be
    written.
    """
    if samples <= 0 or vertices <= 0 or _bytes(vertices, samples) > _MOST:
        raise ValueError(f"{samples} samples of {vertices} vertices are no cache")
    beside = folder / f".{stem}.{uuid4().hex}"
    new_folder = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder, stem)
        with beside.open("xb") as file:
            file.write(_HEADER.pack(_MAGIC, 1, vertices, start, 1.0, samples))
            for block in blocks:
                file.write(np.ascontiguousarray(block, "<f4").data)
            written = file.tell()
        if written != _HEADER.size + _bytes(vertices, samples):
            raise ValueError(f"{written} bytes are not {samples} samples of {vertices} vertices")
        return _publish(beside, folder, stem)
    except OSError as error:
        raise CacheError(
            f"The vertex cache cannot be written to “{folder}” ({error.strerror}); is the disk full or read-only?"
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
            if new_folder:
                folder.rmdir()  # unless a cache lies in it now


def _bytes(vertices: int, samples: int) -> int:
    return 12 * vertices * samples


def _sweep(folder: Path, stem: str) -> None:
    """Remove what writers that were killed left beside the caches `stem`."""
    for path in folder.glob(f".{glob.escape(stem)}.{'[0-9a-f]' * 32}"):
        with suppress(OSError):  # what cannot be removed stops no bake
            if time.time() - path.stat().st_mtime > _GIVEN_UP:
                path.unlink()


def _publish(beside: Path, folder: Path, stem: str) -> Path:
    """Give `beside` the first free name; never one that is taken, even by somebody who writes at the same time."""
    number = 1
    while True:
        path = folder / f"{stem}-{number}{SUFFIX}"
        try:
            if os.name == "nt":
                beside.rename(path)  # refuses a name that is taken
            else:
                _link(beside, path)
            return path
        except FileExistsError:
            number += 1


def _link(beside: Path, path: Path) -> None:
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError(path) from None
        beside.rename(path)
