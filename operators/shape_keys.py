# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding shape keys to a FLAME-topology mesh; keys that exist are never reshaped.

Exact keys are numbered in sets, “Lip Sync 1-00” and so on: actions of earlier bakes, which are kept, go on to animate
the shapes that they were made for. Who no longer wants an earlier bake deletes its action and its set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

import bpy
import numpy as np

from ..inference import MeshFit
from . import ids
from .nla_strips import is_ours
from .target_mesh import basis_coordinates

_SET = re.compile(rf"{re.escape(ids.TRACK)} (\d+)-\d+")


def free_prefix(keys: bpy.types.Key | None) -> str:
    """How a new set of exact keys is called: a number that no key has and no lip sync of this file refers to."""
    taken = {0}
    for name in keys.key_blocks.keys() if keys else ():
        taken.update(int(number) for number in _SET.findall(name))
    for action in filter(is_ours, bpy.data.actions):
        bags = (bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags)
        for curve in (curve for bag in bags for curve in bag.fcurves):
            taken.update(int(number) for number in _SET.findall(curve.data_path))
    return f"{ids.TRACK} {max(taken) + 1}-"


def come_to_rest(keys: bpy.types.Key, names: Iterable[str], undo: ExitStack) -> None:
    """Give keys that are no longer animated the value 0: they would stay where the last frame left them."""
    for name in names:
        key = keys.key_blocks[name]
        undo.callback(setattr, key, "value", key.value)
        key.value = 0.0


def add_keys(
    obj: bpy.types.Object,
    names: Sequence[str],
    deltas: np.ndarray,
    fit: MeshFit,
    undo: ExitStack,
    limits: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Add a key per name with `deltas` (K, V, 3), metres in FLAME's axes, turned into the space of `obj`'s mesh.

    limits: the least and the largest value that the keys can have. `undo` learns how to take each one away again.
    """
    if not names:
        return
    undo.callback(setattr, obj, "active_shape_key_index", obj.active_shape_key_index)
    active = obj.active_shape_key_index
    if obj.data.shape_keys is None:
        undo.callback(_remove_all, obj)
        obj.shape_key_add(name="Basis", from_mix=False)
    rest = basis_coordinates(obj.data)
    reference = obj.data.shape_keys.reference_key
    linear = fit.linear.T.astype(np.float32)
    for name, delta in zip(names, deltas, strict=True):
        key = obj.shape_key_add(name=name, from_mix=False)
        undo.callback(_remove, obj, key.name)
        # Coordinates and reference are set outright: what a new key starts from depends on what was edited last.
        key.points.foreach_set("co", (rest + delta @ linear).ravel())  # hundreds of times quicker than `data`
        key.relative_key = reference
        key.slider_min, key.slider_max = limits
        key.value = 0.0
    obj.active_shape_key_index = active
    obj.data.update_tag()


def _remove(obj: bpy.types.Object, name: str) -> None:
    if obj.data.shape_keys and name in obj.data.shape_keys.key_blocks:
        obj.shape_key_remove(obj.data.shape_keys.key_blocks[name])


def _remove_all(obj: bpy.types.Object) -> None:
    if obj.data.shape_keys:
        obj.shape_key_clear()
