# SPDX-License-Identifier: GPL-3.0-or-later
"""Poses that nobody has keyed yet: whoever looks at other frames would play the animation over them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import bpy

from . import single_user
from .keyframes import bag_of
from .nla_strips import is_ours

_LAST = re.compile(r'(?:^|\.)(?P<name>\w+)$|\["(?P<own>(?:[^"\\]|\\.)*)"\]$')  # of an RNA path: property, or custom one

Place = tuple[bpy.types.ID, str, int]
"""Datablock, RNA path, and index (0 where the property is no array): what a curve animates."""


@contextmanager
def kept(baked: bpy.types.Key | None = None) -> Iterator[None]:
    """All that has curves has the value that it has now once more afterwards, whether it was posed or played.

    `baked` has just been given new curves, as has what other actions of ours animate: these show what the curves say.
    """
    before = {place: _read(*place) for place in _animated(baked)}
    try:
        yield
    finally:
        for place, value in before.items():
            if value is not None and _read(*place) != value:
                with suppress(AttributeError, TypeError, ValueError):  # some properties take back not all that they say
                    _write(*place, value)


def _animated(baked: bpy.types.Key | None) -> Iterator[Place]:
    for owner in _datablocks():
        for each in single_user.holders(owner.animation_data) if baked is None or owner != baked else ():
            # An object keyed beside its lip sync, as Blender does it, plays another slot of the same action.
            if each.action and each.action_slot and not (baked is not None and is_ours(each.action, each.action_slot)):
                bag = bag_of(each.action, each.action_slot)
                yield from ((owner, curve.data_path, curve.array_index) for curve in bag.fcurves) if bag else ()


def _datablocks() -> Iterator[bpy.types.ID]:
    """Those of this file that may be animated, node trees within others included."""
    for known in bpy.data.bl_rna.properties:
        if known.type == "COLLECTION":
            for owner in getattr(bpy.data, known.identifier):
                if owner.library is None:
                    inner = getattr(owner, "node_tree", None)
                    yield from (each for each in (owner, inner) if hasattr(each, "animation_data"))


def _is_array(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str)


def _read(owner: bpy.types.ID, path: str, index: int) -> Any:
    """None when there is no such property."""
    try:
        value = owner.path_resolve(path)
        return value[index] if _is_array(value) else value
    except (ValueError, IndexError):
        return None


def _write(owner: bpy.types.ID, path: str, index: int, value: Any) -> None:
    array, last = owner.path_resolve(path), _LAST.search(path)
    if _is_array(array):
        array[index] = value  # it is no copy
    elif last is not None:
        holder = owner.path_resolve(path, False).data
        if last["name"]:
            setattr(holder, last["name"], value)
        else:
            holder[bpy.utils.unescape_identifier(last["own"])] = value
