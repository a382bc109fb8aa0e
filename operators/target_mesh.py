# SPDX-License-Identifier: GPL-3.0-or-later
"""The mesh that speaks, as a snapshot: FLAME topology, or a mesh with ARKit shape keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import bpy
import numpy as np

from ..inference import FlameTopology, MeshError, MeshFit, arkit_basis
from ..inference.flame import VERTEX_COUNT
from . import arkit_names
from .arkit_names import Channel


@dataclass(frozen=True)
class TargetMesh:
    """What a bake needs to know of an object; holds no bpy reference, so that a worker thread may carry it.

    uid: Blender's session id of the object, found again however it is renamed.
    shape: vertex and edge count; the bake stops when they changed meanwhile.
    fit: how FLAME lies in the mesh, None when only its ARKit keys are driven.
    keys: names of its shape keys, the reference key left out; reference: that one's, "" without keys.
    driven: those of `keys` whose value has a driver.
    can_create: shape keys may be added (not so in a library override).
    """

    uid: int
    name: str
    shape: tuple[int, int]
    fit: MeshFit | None
    keys: tuple[str, ...]
    driven: frozenset[str]
    can_create: bool
    reference: str = ""

    def bind(self, names: Sequence[str]) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
        """How the model's `names` reach the mesh: channels (existing keys and, on FLAME, new ones), and the new names.

        Raises MeshError when nothing can be driven.
        """
        found = arkit_names.channels(self.keys, names)
        new: tuple[str, ...] = ()
        if self.fit is not None:
            taken = arkit_names.recognise(self.keys, names)
            new = tuple(name for name in names if name not in taken)
            if self.reference in new:
                raise MeshError(
                    f"“{self.reference}” is the first of the shape keys of “{self.name}” and moves nothing there; move "
                    "the basis above it."
                )
            single = tuple(channel for channel in found if len(channel.columns) == 1)
            found = single + tuple(Channel(name, (names.index(name),)) for name in new)
            if new and not self.can_create:
                raise MeshError(
                    f"“{self.name}” is a library override without all the shape keys it needs; generate the lip sync "
                    "once in the library file, or make the mesh local."
                )
        if not found:
            raise MeshError(_unmoved(self.name))
        free = tuple(channel for channel in found if channel.key not in self.driven)
        if not free:
            raise MeshError(f"Every ARKit shape key of “{self.name}” has a driver; remove the drivers to animate them.")
        return free, new


def read_target(obj: bpy.types.Object | None) -> TargetMesh:
    """Snapshot of `obj`; raises MeshError when it cannot be animated."""
    reason = unusable_reason(obj)
    if reason:
        raise MeshError(reason)
    assert obj is not None
    mesh = obj.data
    keys = mesh.shape_keys
    names = tuple(key.name for key in keys.key_blocks if key != keys.reference_key) if keys else ()
    fit, error = _flame_fit(mesh)
    if fit is None and not arkit_names.recognise(names, _known_names()):
        raise error or MeshError("The mesh is no FLAME head and has no ARKit shape keys.")
    return TargetMesh(
        uid=obj.session_uid,
        name=obj.name,
        shape=(len(mesh.vertices), len(mesh.edges)),
        fit=fit,
        keys=names,
        driven=_driven(keys, names),
        can_create=mesh.override_library is None,
        reference=keys.reference_key.name if keys else "",
    )


def unusable_reason(obj: bpy.types.Object | None) -> str:
    """Why `obj` cannot be animated whatever its shape, as one sentence; empty when it can. Cheap enough for poll."""
    if obj is None:
        return "No mesh is chosen; select a head."
    if obj.type != "MESH":
        return f"“{obj.name}” is not a mesh; select a head."
    mesh = obj.data
    if mesh.is_editmode or obj.mode == "SCULPT":
        return f"“{obj.name}” is being edited; leave {'Edit' if mesh.is_editmode else 'Sculpt'} Mode first."
    if not mesh.is_editable or (mesh.shape_keys and not mesh.shape_keys.is_editable):
        return _linked(obj)
    if len(mesh.vertices) == 0:
        return f"“{obj.name}” has no vertices; select a head."
    keys = mesh.shape_keys
    if keys and not keys.use_relative:
        return f"“{obj.name}” has absolute shape keys; switch them to Relative."
    if keys and keys.animation_data and keys.animation_data.use_tweak_mode:
        return f"An animation strip of “{obj.name}” is being tweaked; leave tweak mode first."
    return ""


def could_speak(obj: bpy.types.Object) -> bool:
    """Whether `obj` looks like a head: FLAME's vertex count, or shape keys with ARKit names. Cheap enough for poll."""
    if obj.type != "MESH":
        return False
    keys = obj.data.shape_keys
    return len(obj.data.vertices) == VERTEX_COUNT or (keys is not None and _any_known(tuple(keys.key_blocks.keys())))


@lru_cache(maxsize=256)
def _any_known(keys: tuple[str, ...]) -> bool:
    return bool(arkit_names.recognise(keys, _known_names()))


def describe(obj: bpy.types.Object, names: Sequence[str] | None = None) -> tuple[str, bool]:
    """One line for the panel on what `obj` is, and whether a model of `names` can animate it (None: any)."""
    try:
        target = read_target(obj)
    except MeshError as error:
        return str(error), False
    recognised = len(arkit_names.recognise(target.keys, _known_names()))
    if target.fit is None:
        if names is not None and not arkit_names.channels(target.keys, names):
            return _unmoved(target.name), False
        return f"{recognised} ARKit keys recognised", True
    if target.fit.warning:
        return target.fit.warning, True
    return "FLAME topology" + (f", {recognised} ARKit keys" if recognised else ""), True


def find(target: TargetMesh) -> bpy.types.Object:
    """The object of `target`, still as it was; raises MeshError when it is gone or changed."""
    for obj in bpy.data.objects:
        if obj.session_uid == target.uid:
            break
    else:
        raise MeshError(f"“{target.name}” was deleted while the speech was being analysed; nothing was changed.")
    reason = unusable_reason(obj)
    if reason:
        raise MeshError(reason)
    if (len(obj.data.vertices), len(obj.data.edges)) != target.shape:
        raise MeshError(f"“{obj.name}” was edited while its speech was being analysed; generate again.")
    return obj


def basis_coordinates(mesh: bpy.types.Mesh) -> np.ndarray:
    """Rest positions in mesh space, float32 (V, 3): the reference key's where there are shape keys."""
    rest = mesh.shape_keys.reference_key.points if mesh.shape_keys else mesh.vertices
    coordinates = np.empty((len(mesh.vertices), 3), np.float32)
    rest.foreach_get("co", coordinates.reshape(-1))
    return coordinates


def _linked(obj: bpy.types.Object) -> str:
    """Why the mesh of `obj` belongs to another file: Blender overrides an object and leaves its mesh as it is."""
    if not obj.is_editable:
        return f"“{obj.name}” is linked from another file; make it local or a library override first."
    if mesh_is_left_behind(obj):
        return f"“{obj.name}” is a library override, but its mesh is still linked; click Override Mesh."
    return f"The mesh of “{obj.name}” is linked from another file; make the mesh local first."


def mesh_is_left_behind(obj: bpy.types.Object) -> bool:
    """Whether `obj` is a library override of this file, and its mesh still the library's."""
    linked = obj.type == "MESH" and not obj.data.is_editable
    return linked and obj.is_editable and obj.override_library is not None


def _unmoved(name: str) -> str:
    return f"The model moves none of the ARKit shape keys of “{name}”; add some of the mouth, such as jawOpen."


def _flame_fit(mesh: bpy.types.Mesh) -> tuple[MeshFit | None, MeshError | None]:
    edges = np.empty((len(mesh.edges) if len(mesh.vertices) == VERTEX_COUNT else 0, 2), np.int32)
    if len(edges):  # of a mesh with another count only the count matters, and it may be large
        mesh.edges.foreach_get("vertices", edges.reshape(-1))
    try:
        return FlameTopology.load().check(basis_coordinates(mesh), edges), None
    except MeshError as error:
        return None, error


def _known_names() -> tuple[str, ...]:
    """All ARKit names, with the two that the basis keeps as left and right halves."""
    return (*arkit_basis()[0], "browInnerUp", "cheekPuff")


def _driven(keys: bpy.types.Key | None, names: Sequence[str]) -> frozenset[str]:
    if keys is None or keys.animation_data is None:
        return frozenset()
    paths = {driver.data_path for driver in keys.animation_data.drivers if not driver.mute}
    return frozenset(name for name in names if keys.key_blocks[name].path_from_id("value") in paths)
