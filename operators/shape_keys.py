# SPDX-License-Identifier: GPL-3.0-or-later
"""Adding ARKit shape keys to a FLAME-topology mesh; keys that exist are never touched."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import bpy
import numpy as np

from ..inference import MeshFit
from .target_mesh import basis_coordinates


def add_keys(obj: bpy.types.Object, names: Sequence[str], deltas: np.ndarray, fit: MeshFit, undo: ExitStack) -> None:
    """Add a key per name with `deltas` (K, V, 3), metres in FLAME's axes, turned into the space of `obj`'s mesh.

    `undo` learns how to take each one away again.
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
        key.value = 0.0
    obj.active_shape_key_index = active
    obj.data.update_tag()


def _remove(obj: bpy.types.Object, name: str) -> None:
    if obj.data.shape_keys and name in obj.data.shape_keys.key_blocks:
        obj.shape_key_remove(obj.data.shape_keys.key_blocks[name])


def _remove_all(obj: bpy.types.Object) -> None:
    if obj.data.shape_keys:
        obj.shape_key_clear()
