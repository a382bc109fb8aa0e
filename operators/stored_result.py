# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network said, kept with the Action, so that it can be shaped anew on any machine without the network.

The weights are an ID property of bytes (`ids.RAW`), 16 bits each: they travel with the Action through saving,
appending, linking and undo. A minute of the embedded model's speech takes 62 KB. Facts that may change later (start
frame, rate, tolerance) stand in the JSON of `ids.MARK`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from threading import Lock
from typing import Any

import bpy
import numpy as np

from ..inference import FaceMotion
from ..inference.compact import DamagedData, pack, unpack
from ..inference.pieces import Piece, from_plain, to_plain
from . import ids
from .arkit_names import Channel

_STEPS = 65535  # of a column's range: an error of at most 8e-6 in a weight between 0 and 1
_LONGEST, _MOST = 10_000_000, 1024  # frames and columns that are believed
_LARGEST = 1e6  # weight, either way
_EXTRA = "extra_"
_KEPT = 1 << 28  # bytes of results that are kept unpacked: some five hours of 52 weights at 50 Hz

_unpacked: dict[bytes, StoredResult] = {}  # the one that was asked for longest ago first
_lock = Lock()  # a bake unpacks on its thread, the panels on theirs


@dataclass(frozen=True)
class StoredResult:
    """Raw motion, and how its columns reach the shape keys of the mesh.

    motion: start 0, and a basis of no vertices (K, 0, 3). extras: further arrays by name, one row per frame or not.
    """

    motion: FaceMotion
    channels: tuple[Channel, ...]
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """How a result lies in the scene: from `start_frame` on at `fps` Hz, keys reduced to `tolerance` (0: all).

    pieces: which rows of the raw motion belong where; none where all of it begins at `start_frame`.
    """

    start_frame: float
    fps: float
    tolerance: float
    pieces: tuple[Piece, ...] = ()


def packed(result: StoredResult) -> bytes:
    """`result` as bytes; touches no bpy."""
    motion = result.motion
    weights = motion.weights.astype(np.float64)
    low = weights.min(axis=0, initial=0.0)
    span = np.maximum(weights.max(axis=0, initial=0.0) - low, 1e-12)
    if motion.kind == "blendshapes":  # then whole weights stay whole: 1 is 65535
        span = np.maximum(span, 1.0)
    return pack(
        {
            # Transposed: a curve's neighbours in time are alike, and deflate finds it.
            "weights": np.rint((weights - low) / span * _STEPS).astype(np.uint16).T,
            "low": low,
            "span": span,
            "fps": np.float64(motion.fps),
            "kind": np.array(motion.kind),
            "names": np.array(motion.names),
            "keys": np.array([channel.key for channel in result.channels]),
            "columns": np.array([column for channel in result.channels for column in channel.columns], np.int32),
            "counts": np.array([len(channel.columns) for channel in result.channels], np.int32),
        }
        | {_EXTRA + name: array for name, array in result.extras.items()}
    )


def unpacked(data: bytes) -> StoredResult:
    """What `packed` was given, but for rounding; touches no bpy. Raises DamagedData for bytes it did not write.

    Results are kept, since panels ask for all of a head's lines on every redraw: by size, so that many lines fit.
    """
    with _lock:
        result = _unpacked.pop(data, None)
        if result is not None:
            _unpacked[data] = result
            return result
    result = _unpack(data)
    with _lock:
        _unpacked[data] = result
        while len(_unpacked) > 1 and sum(map(_size, _unpacked.items())) > _KEPT:
            del _unpacked[next(iter(_unpacked))]
    return result


def _size(kept: tuple[bytes, StoredResult]) -> int:
    data, result = kept
    return len(data) + result.motion.weights.nbytes + sum(array.nbytes for array in result.extras.values())


def _unpack(data: bytes) -> StoredResult:
    arrays = unpack(data)
    try:
        steps, low, span = arrays["weights"], arrays["low"], arrays["span"]
        names, keys, columns, counts = (arrays[name] for name in ("names", "keys", "columns", "counts"))
        fps, kind = float(arrays["fps"]), str(arrays["kind"])
        good = (
            steps.dtype == np.uint16
            and steps.ndim == 2
            and 0 < steps.shape[0] <= _MOST
            and 0 < steps.shape[1] <= _LONGEST
            and low.shape == span.shape == names.shape == steps.shape[:1]
            and np.abs(low).max() < _LARGEST
            and np.abs(span).max() < _LARGEST
            and names.dtype.kind == keys.dtype.kind == "U"
            and len(set(names.tolist())) == len(names)
            and keys.shape == counts.shape
            and len(set(keys.tolist())) == len(keys) > 0
            and 1 <= fps <= 1000
            and kind in ("blendshapes", "vertices")
            and columns.dtype.kind == counts.dtype.kind == "i"
            and columns.ndim == 1
            and counts.min() > 0
            and counts.sum() == len(columns)
            and columns.min() >= 0
            and columns.max() < len(names)
        )
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise _damaged() from error
    if not good:
        raise _damaged()
    groups = np.split(columns, np.cumsum(counts)[:-1])
    weights = np.empty(steps.shape[::-1], np.float32)
    for column, row in enumerate(steps):  # one by one: no second copy in float64
        weights[:, column] = low[column] + row * (span[column] / _STEPS)
    weights.flags.writeable = False
    return StoredResult(
        FaceMotion(fps, 0.0, tuple(names.tolist()), weights, np.zeros((len(names), 0, 3), np.float32), kind),
        tuple(Channel(key, tuple(map(int, group))) for key, group in zip(keys.tolist(), groups, strict=True)),
        {name.removeprefix(_EXTRA): array for name, array in arrays.items() if name.startswith(_EXTRA)},
    )


def is_stored(action: bpy.types.Action) -> bool:
    """Whether `action` carries a raw result."""
    return ids.RAW in action and isinstance(action[ids.RAW], bytes)


def read(action: bpy.types.Action) -> tuple[StoredResult, Facts]:
    """The raw result that `action` carries, and its facts. Raises DamagedData when it carries none that can be used."""
    data = action.get(ids.RAW)
    if not isinstance(data, bytes):
        raise DamagedData(f"“{action.name}” holds no speech analysis; generate the lip sync again.")
    result = unpacked(data)
    return result, facts(action, len(result.motion.weights))


def facts(action: bpy.types.Action, rows: int = _LONGEST) -> Facts:
    """How the result, of `rows` frames, lies in the scene. Raises DamagedData."""
    about = description(action)
    try:
        found = Facts(float(about["start_frame"]), float(about["fps"]), float(about.get("tolerance", 0.0)))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged() from error
    if not (np.isfinite([found.start_frame, found.tolerance]).all() and 0 < found.fps < 1e5 and found.tolerance >= 0):
        raise _damaged()
    return replace(found, pieces=from_plain(about["pieces"], rows)) if "pieces" in about else found


def spoken(about: Mapping[str, Any]) -> tuple[float, float] | None:
    """First and last frame of the speech in what `ids.MARK` says; None where it doesn't tell."""
    try:
        pieces = from_plain(about.get("pieces"), _LONGEST)
    except DamagedData:
        return None
    return min(piece.frames[0] for piece in pieces), max(piece.frames[-1] for piece in pieces)


def facts_plain(found: Facts) -> dict[str, Any]:
    """`found` as it stands in the JSON of `ids.MARK`."""
    return asdict(found) | {"pieces": to_plain(found.pieces)}


def description(action: bpy.types.Action) -> dict[str, Any]:
    """The JSON of `ids.MARK`; empty for an action that has none."""
    try:
        about = json.loads(action.get(ids.MARK, "{}"))
    except (TypeError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _damaged() -> DamagedData:
    return DamagedData("The stored speech analysis is damaged; generate the lip sync again.")
