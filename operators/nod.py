# SPDX-License-Identifier: GPL-3.0-or-later
"""The empty that nods: made when it is first wanted, turned by an action of its own; no rig is touched.

Its axes are the head's (X to the head's left, Y backwards, Z up) by way of its delta rotation, so that its rotation is
the nod alone. A head bone follows it by a Child Of constraint; Copy Rotation in Local Space would do nothing, since for
Blender an object without a parent has no such space.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from ..inference import CurveSet, MeshError
from ..inference.compact import pack
from ..inference.curves import Keys
from ..inference.hand_edits import KEYFRAME, Move, Written, diff, merge, shifted, to_arrays
from . import animation, id_bytes, ids, keyframes, single_user, target_mesh
from .life_shaping import NOD_AXES

_PIVOT = np.array([0.0, -0.02, -0.045])  # metres in FLAME: between the ears and a little below, where a skull turns
_TO_FLAME = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)  # X left, Y back, Z up to FLAME's +Y up, +Z front
_SIZE = 0.12  # metres of a life-size head
_PATH = "rotation_euler"


def follow(
    obj: bpy.types.Object, scene: bpy.types.Scene, curves: Sequence[CurveSet], undo: ExitStack,
    move: Move | None = None, rate: float = 1.0,
) -> None:  # fmt: skip
    """Let the empty of `obj` turn as `curves` say (radians about `NOD_AXES`), one set for each lip sync of the head.

    Without curves an empty that is there comes to rest. Keys that were edited by hand stand, as they do on the lip
    sync itself, or move as in `animation.rewrite`. `undo` learns how to take everything back. Raises DamagedData.
    """
    empty = object_of(obj)
    if users_own(empty) or not (curves or _stored(empty)):
        return
    if empty is None or not empty.users_scene:
        empty = _new_empty(obj, scene, undo)
    elif obj.name in scene.objects and empty.name not in scene.objects:
        _link(empty, obj, scene, undo)  # a new one would leave alone what follows this one
    action = _action(empty, undo)
    stored = _stored(empty)
    bag = keyframes.make_bag(action, empty.animation_data.action_slot)
    undo.callback(_restore, action, bag, _kept(bag), bytes(action[ids.WRITTEN]) if stored else b"")
    now: dict[str, Written] = {}
    for axis, name in enumerate(NOD_AXES):
        fcurve, before = bag.fcurves.find(_PATH, index=axis), stored.get(name)
        if fcurve is not None and before is None:
            continue  # the user's own
        if not curves:
            rest = animation.come_to_rest(bag, fcurve, before) if before is not None else None
            if rest is not None:
                now[name] = rest
            elif fcurve is not None:
                undo.callback(setattr, empty, _PATH, empty.rotation_euler.copy())
                empty.rotation_euler[axis] = 0
            continue
        current = None if fcurve is None else keyframes.read(fcurve)
        edits = diff(current, before) if before is not None else None
        if edits is not None and move is not None:
            edits = shifted(edits, move, rate)
        if fcurve is not None and move is not None:
            keyframes.move_modifiers(fcurve, move, rate)
        merged, now[name] = merge(_joined([each.keys[axis] for each in curves]), edits)
        if merged is not None:
            keyframes.write(fcurve or bag.fcurves.new(_PATH, index=axis), merged, current)
        elif fcurve is not None:
            bag.fcurves.remove(fcurve)
    id_bytes.store(action, ids.WRITTEN, pack({"fps": np.float64(1.0), **to_arrays(now)}, level=0))


def object_of(obj: bpy.types.Object) -> bpy.types.Object | None:
    """The empty of `obj`, as long as it has one; a duplicate of a head does not share the empty of its original."""
    empty = getattr(obj, ids.FACE).life.nod_object
    return empty if empty is not None and empty.get(ids.NOD) == obj else None


def make_plain(obj: bpy.types.Object) -> None:
    """Make the action of the empty of `obj` a plain one of the user's, which later lip syncs leave alone."""
    empty = object_of(obj)
    data = empty.animation_data if empty is not None else None
    if data is None or data.action is None or users_own(empty) or single_user.tweaked(empty):
        return
    action = _action(empty, ExitStack())
    for fcurve in keyframes.make_bag(action, data.action_slot).fcurves:
        keyframes.set_types(fcurve, KEYFRAME)
    for mark in (ids.NOD, ids.WRITTEN):
        action.pop(mark, None)


def users_own(empty: bpy.types.Object | None) -> bool:
    """Whether the empty plays an action of the user's, or one from another file."""
    data = empty.animation_data if empty is not None else None
    action = data.action if data is not None else None
    return action is not None and (ids.NOD not in action or not action.is_editable)


def _stored(empty: bpy.types.Object | None) -> dict[str, Written]:
    """The curves of the empty as they were generated; none while it does not nod."""
    data = empty.animation_data if empty is not None else None
    return animation.stored_curves(data.action) if data is not None and data.action is not None else {}


def _kept(bag: Any) -> dict[int, np.ndarray]:
    return {fcurve.array_index: keyframes.read(fcurve) for fcurve in bag.fcurves if fcurve.data_path == _PATH}


def _restore(action: bpy.types.Action, bag: Any, kept: dict[int, np.ndarray], written: bytes) -> None:
    for axis in range(3):
        fcurve = bag.fcurves.find(_PATH, index=axis)
        if axis in kept:
            keyframes.write(fcurve or bag.fcurves.new(_PATH, index=axis), kept[axis])
        elif fcurve is not None:
            bag.fcurves.remove(fcurve)
    id_bytes.store(action, ids.WRITTEN, written) if written else action.pop(ids.WRITTEN, None)


def _joined(parts: list[Keys]) -> Keys:
    """Keys of several lip syncs one after the other; where two overlap the later one wins."""
    parts = sorted(parts, key=lambda keys: float(keys.frames[0]))
    frames, values = np.zeros(0, np.float32), np.zeros(0, np.float32)
    slopes: np.ndarray | None = np.zeros((0, 2), np.float32) if all(k.slopes is not None for k in parts) else None
    for keys in parts:
        kept = frames < keys.frames[0] if len(keys) else np.ones(len(frames), bool)
        frames, values = np.append(frames[kept], keys.frames), np.append(values[kept], keys.values)
        if slopes is not None:
            slopes = np.concatenate([slopes[kept], keys.slopes])
    return Keys(frames, values, slopes)


def _new_empty(obj: bpy.types.Object, scene: bpy.types.Scene, undo: ExitStack) -> bpy.types.Object:
    name = f"{obj.name} Nod"
    empty = bpy.data.objects.new(name, None)
    undo.callback(bpy.data.objects.remove, empty)
    empty[ids.NOD] = obj
    empty.empty_display_type = "ARROWS"
    rotation, place, scale = _axes(obj)
    empty.empty_display_size = _SIZE * scale
    empty.location = place
    empty.delta_rotation_euler = rotation.to_euler()
    _link(empty, obj, scene, undo)
    life = getattr(obj, ids.FACE).life
    undo.callback(setattr, life, "nod_object", life.nod_object)
    life.nod_object = empty
    return empty


def _link(empty: bpy.types.Object, obj: bpy.types.Object, scene: bpy.types.Scene, undo: ExitStack) -> None:
    """Put `empty` into `scene`, beside `obj` where it can be."""
    beside = [each for each in obj.users_collection if each in _collections(scene) and _takes_objects(each)]
    objects = (beside or [scene.collection])[0].objects
    objects.link(empty)
    undo.callback(objects.unlink, empty)


def _axes(obj: bpy.types.Object) -> tuple[Matrix, Vector, float]:
    """Rotation and place in the world of the empty, and world units in a metre of the head."""
    world = obj.matrix_world
    try:
        fit = target_mesh.read_target(obj).fit
    except MeshError:
        fit = None
    if fit is None:
        return world.to_quaternion().to_matrix(), world.translation.copy(), max(obj.dimensions) / 0.25 or 1.0
    linear = np.array(world.to_3x3()) @ fit.linear @ _TO_FLAME
    place = world @ Vector(fit.offset + fit.linear @ _PIVOT)
    scale = float(np.cbrt(abs(np.linalg.det(linear))))
    return Matrix(linear.tolist()).to_quaternion().to_matrix(), place, scale


def _collections(scene: bpy.types.Scene) -> list[Any]:
    return [scene.collection, *scene.collection.children_recursive]


def _takes_objects(collection: bpy.types.Collection) -> bool:
    return collection.library is None and collection.override_library is None


def _action(empty: bpy.types.Object, undo: ExitStack) -> bpy.types.Action:
    data = empty.animation_data
    if data is not None and data.action is not None:
        return single_user.make(empty, data.action, data.action_slot, undo)
    if data is None:
        undo.callback(empty.animation_data_clear)
        data = empty.animation_data_create()
    action = bpy.data.actions.new(empty.name)
    undo.callback(bpy.data.actions.remove, action)
    action[ids.NOD] = True
    data.action = action
    data.action_slot = action.slots.new(id_type="OBJECT", name=empty.name)
    return action
