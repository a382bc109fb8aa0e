# SPDX-License-Identifier: GPL-3.0-or-later
"""Lip sync as a vertex cache: a PC2 file beside the .blend, and the Mesh Cache modifier that plays it.

The modifier stands first and integrates: it adds what the shape keys do to what the cache says, so that blinks and
other keys of the user stay alive. It measures that against the mesh's own vertices, which is therefore where the
cache starts from.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import bpy
import numpy as np

from ..inference import CacheError, CurveSet, MeshError, MeshFit, PointCache
from . import ids

FOLDER = "lip_sync"  # beside the .blend
_BLOCK = 256  # frames that are formed at once: 15 MB
# What the modifier must be set to, and what it starts with besides.
PLAYING: dict[str, Any] = {
    "cache_format": "PC2",
    "time_mode": "FRAME",
    "play_mode": "SCENE",
    "factor": 1.0,
    "forward_axis": "POS_Y",
    "up_axis": "POS_Z",
    "flip_axis": (False, False, False),
    "frame_scale": 1.0,
}
_BESIDES = {
    "interpolation": "LINEAR",
    "deform_mode": "INTEGRATE",
    "vertex_group": "",
    "show_viewport": True,
    "show_render": True,
}


@dataclass(frozen=True)
class Plan:
    """What a worker needs to write a cache: where, how the file name begins, and the vertices at rest (V, 3)."""

    folder: Path
    stem: str
    rest: np.ndarray

    def blocks(
        self, curves: CurveSet, basis: np.ndarray, fit: MeshFit, tick: Callable[[float], None]
    ) -> Iterator[np.ndarray]:
        """Positions (n, V, 3) in mesh space, frame by frame; `basis` (K, V, 3), metres, for the names of `curves`.

        `tick` is told the fraction that is done.
        """
        first, last = curves.frame_range
        flat = (basis.astype(np.float64) @ fit.linear.T).astype(np.float32).reshape(len(basis), -1)
        for begin in range(first, last + 1, _BLOCK):
            tick((begin - first) / (last + 1 - first))
            weights = curves.at(np.arange(begin, min(begin + _BLOCK, last + 1))).astype(np.float32)
            yield self.rest + (weights @ flat).reshape(-1, *self.rest.shape)


class CacheFile:
    """A cache that was written. It is deleted with this object unless it is kept: a bake may yet be cancelled."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._delete = weakref.finalize(self, path.unlink, missing_ok=True)

    def keep(self) -> None:
        """Leave the file where it is."""
        self._delete.detach()

    def delete(self) -> None:
        """Delete it now."""
        self._delete()


def plan(obj: bpy.types.Object, folder: Path | None = None) -> Plan:
    """Where the cache of `obj` goes: `folder`, or beside the .blend; raises MeshError where it cannot."""
    if folder is None:
        if not bpy.data.filepath:
            raise MeshError("Save the file first: the vertex cache lies beside it.")
        folder = Path(bpy.data.filepath).parent / FOLDER
    if find(obj) is None and obj.override_library is not None and len(obj.modifiers) > 0:
        raise MeshError(
            f"“{obj.name}” is a library override, whose modifiers cannot be preceded by another; bake shape keys."
        )
    stem = bpy.path.clean_name(obj.name).strip(".")[:40] or "head"
    return Plan(folder, stem, _vertices(obj))


def attach(obj: bpy.types.Object, path: Path, planned: Plan, undo: ExitStack) -> bpy.types.Modifier:
    """Play the cache at `path` on `obj`, by our modifier or a new one, first in the stack.

    Raises MeshError when the mesh is no longer as it was planned.
    """
    if not np.array_equal(_vertices(obj), planned.rest):
        raise MeshError(f"“{obj.name}” was edited while its speech was being analysed; generate again.")
    cache = PointCache.open(path)
    modifier = find(obj)
    if modifier is None:
        modifier = obj.modifiers.new(ids.TRACK, "MESH_CACHE")
        undo.callback(obj.modifiers.remove, modifier)
    place = list(obj.modifiers).index(modifier)
    if place:
        undo.callback(obj.modifiers.move, 0, place)
        obj.modifiers.move(place, 0)
    for name, value in (PLAYING | _BESIDES | {"filepath": _shown(path), "frame_start": cache.start}).items():
        undo.callback(setattr, modifier, name, setting(modifier, name))
        setattr(modifier, name, value)
    return modifier


def setting(modifier: bpy.types.Modifier, name: str) -> Any:
    """The value of a setting, by itself and not as something that changes with the modifier."""
    value = getattr(modifier, name)
    return tuple(value) if isinstance(value, bpy.types.bpy_prop_array) else value


def go_with(obj: bpy.types.Object, blend: Path) -> None:
    """Let the cache of `obj` be found from `blend`, to which the open file is about to be saved as a copy."""
    modifier = find(obj)
    if modifier is not None and not bpy.data.filepath:  # else Blender itself turns relative paths when it saves
        modifier.filepath = f"//{bpy.path.relpath(bpy.path.abspath(modifier.filepath), start=str(blend.parent))[2:]}"


def playing(obj: bpy.types.Object) -> str:
    """Name of the file that our modifier on `obj` plays, "" for none."""
    modifier = find(obj)
    if modifier is None or not (modifier.show_viewport or modifier.show_render):
        return ""
    return Path(modifier.filepath).name


def switch_off(obj: bpy.types.Object, first: float, last: float, undo: ExitStack) -> str:
    """Let our modifier rest, where it plays in the frames `first` to `last`; returns its file's name, "" for none."""
    modifier, played = find(obj), playing(obj)
    if modifier is None or not played:
        return ""
    begin, end = frame_range(modifier)
    if begin > last or end < first:
        return ""
    for name in ("show_viewport", "show_render"):
        undo.callback(setattr, modifier, name, getattr(modifier, name))
        setattr(modifier, name, False)
    return played


def find(obj: bpy.types.Object) -> bpy.types.Modifier | None:
    """Our modifier on `obj`, whatever it is called now: a second one beside it would move everything twice."""
    caches = [each for each in obj.modifiers if each.type == "MESH_CACHE"]
    return next((each for each in caches if each.name.startswith(ids.TRACK) or _plays_ours(each)), None)


def _plays_ours(modifier: bpy.types.Modifier) -> bool:
    """Whether its file lies where a bake puts them."""
    return PureWindowsPath(modifier.filepath.removeprefix("//")).parent.name == FOLDER  # knows slashes of both kinds


def opened(modifier: bpy.types.Modifier) -> PointCache:
    """The cache that `modifier` plays; raises CacheError."""
    if not modifier.filepath:
        raise CacheError("The Mesh Cache modifier names no file; generate the lip sync again.")
    return PointCache.open(bpy.path.abspath(modifier.filepath, library=modifier.id_data.library))


def frame_range(modifier: bpy.types.Modifier) -> tuple[float, float]:
    """First and last frame of the cache that `modifier` plays; where it cannot be read, the first twice."""
    try:
        return modifier.frame_start, modifier.frame_start + opened(modifier).samples - 1
    except CacheError:
        return modifier.frame_start, modifier.frame_start


def _vertices(obj: bpy.types.Object) -> np.ndarray:
    """The mesh's own vertices, float32 (V, 3)."""
    vertices = np.empty((len(obj.data.vertices), 3), np.float32)
    obj.data.vertices.foreach_get("co", vertices.reshape(-1))
    return vertices


def _shown(path: Path) -> str:
    """Relative to the .blend where there is one, so that both can be moved together."""
    if not bpy.data.filepath:
        return str(path)
    try:
        return str(bpy.path.relpath(str(path)))
    except ValueError:  # another drive of Windows
        return str(path)
