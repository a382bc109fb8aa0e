# SPDX-License-Identifier: GPL-3.0-or-later
"""Which shape keys blink and raise the brows: those that a head has; a FLAME head gets those that it lacks.

Keys that have a driver, or that an action of the user's animates, are left to him.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache

import bpy

from ..inference import MeshError
from ..inference.life import SHAPES, basis_of
from . import arkit_names, ids, keyframes, shape_keys, target_mesh
from .arkit_names import Channel
from .target_mesh import TargetMesh


@dataclass(frozen=True)
class Plan:
    """Channels over `SHAPES`, and the keys among them that are to be made."""

    channels: tuple[Channel, ...] = ()
    new: tuple[str, ...] = ()


def existing(obj: bpy.types.Object) -> tuple[Channel, ...]:
    """Channels of the keys that `obj` has and the user leaves to us."""
    keys = obj.data.shape_keys
    if keys is None:
        return ()
    taken = _left(keys)
    return tuple(channel for channel in _channels(_names(keys)) if channel.key not in taken)


def left_alone(obj: bpy.types.Object) -> tuple[str, ...]:
    """Keys that would blink or rise, but have a driver or keys of the user's own."""
    keys = obj.data.shape_keys
    if keys is None:
        return ()
    taken = _left(keys)
    return tuple(channel.key for channel in _channels(_names(keys)) if channel.key in taken)


def served(obj: bpy.types.Object) -> frozenset[str]:
    """Those of `SHAPES` that `obj` has keys for, whoever animates them."""
    channels = _channels(_names(obj.data.shape_keys))
    return frozenset(SHAPES[column] for channel in channels for column in channel.columns)


def planned(obj: bpy.types.Object, target: TargetMesh, shapes: Sequence[str]) -> Plan:
    """What `shapes` are to move on `obj`; `target` says whether it is a FLAME head that may get new keys."""
    channels = existing(obj)
    missing = _missing(obj, shapes)
    if target.fit is None or not target.can_create or not missing:
        return Plan(channels)
    made = tuple(Channel(name, (SHAPES.index(name),)) for name in missing)
    return Plan(channels + made, missing)


def add_missing(obj: bpy.types.Object, shapes: Sequence[str], undo: ExitStack) -> None:
    """Give `obj`, if it is a FLAME head, the keys for `shapes` that it lacks. `undo` learns how to take them away."""
    if not _missing(obj, shapes):
        return
    try:
        target = target_mesh.read_target(obj)
    except MeshError:
        return  # it cannot have new keys now, and needs none for its lip sync
    add(obj, target, planned(obj, target, shapes).new, undo)


def add(obj: bpy.types.Object, target: TargetMesh, names: Sequence[str], undo: ExitStack) -> None:
    """Add the keys `names`, those of them that came meanwhile left out."""
    there = obj.data.shape_keys.key_blocks.keys() if obj.data.shape_keys else ()
    names = tuple(name for name in names if name not in there)
    if names and target.fit is not None:
        shape_keys.add_keys(obj, names, basis_of(names), target.fit, undo)


def _missing(obj: bpy.types.Object, shapes: Sequence[str]) -> tuple[str, ...]:
    """Those of `shapes` that no key of `obj` is for."""
    there = served(obj)
    return tuple(shape for shape in shapes if shape not in there)


@lru_cache(maxsize=64)
def _channels(names: tuple[str, ...]) -> tuple[Channel, ...]:
    return arkit_names.channels(names, SHAPES)


def _names(keys: bpy.types.Key | None) -> tuple[str, ...]:
    return tuple(key.name for key in keys.key_blocks if key != keys.reference_key) if keys else ()


def _left(keys: bpy.types.Key) -> frozenset[str]:
    """Keys with a driver, and those with a curve in an assigned action that no lip sync is in; muted ones are none."""
    data = keys.animation_data
    if data is None:
        return frozenset()
    paths = {driver.data_path for driver in data.drivers if not driver.mute}
    if data.action is not None and data.action_slot is not None and ids.MARK not in data.action:
        fcurves = keyframes.curves_of(keyframes.bag_of(data.action, data.action_slot))
        paths |= {path for path, fcurve in fcurves.items() if not fcurve.mute}
    return frozenset(key.name for key in keys.key_blocks if keyframes.value_path(key.name) in paths)
