# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that lie in modifiers: ours that plays a vertex cache, and others that replace the shape."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import bpy

from ..inference import CacheError
from . import vertex_cache
from .causes import Cause, Face

_REPLACING = {"MESH_CACHE", "MESH_SEQUENCE_CACHE"}


def our_cache(face: Face) -> Iterator[Cause]:
    """The modifier that plays a vertex cache is off, misplaced, without file, or set otherwise."""
    cache = face.cache
    if cache is None:
        return
    if not cache.show_viewport:
        if not face.parts:  # else the shape keys have taken over
            clause = f"its modifier “{cache.name}”, which plays the vertex cache, is switched off; switch it on"
            mend = partial(setattr, cache, "show_viewport", True)
            yield Cause("cache_off", cache.name, clause, "Switch On", mend, face.obj)
        return
    try:
        file = vertex_cache.opened(cache)
    except CacheError as error:
        yield Cause("cache_file", cache.name, f"its vertex cache is not there: {str(error).removesuffix('.')}")
        return
    if file.vertices != len(face.obj.data.vertices):
        clause = (
            f"its vertex cache has {file.vertices} vertices and the mesh {len(face.obj.data.vertices)}; generate again"
        )
        yield Cause("cache_vertices", cache.name, clause)
    wrong = {
        name: value
        for name, value in (vertex_cache.PLAYING | {"frame_start": file.start}).items()
        if vertex_cache.setting(cache, name) != value
    }
    if wrong:
        clause = f"its modifier “{cache.name}” is set otherwise than the lip sync needs; set it right"
        yield Cause("cache_settings", cache.name, clause, "Set Right", partial(_set, cache, wrong), face.obj)
    place = list(face.obj.modifiers).index(cache)
    if any(each.show_viewport for each in list(face.obj.modifiers)[:place]):
        clause = f"its modifier “{cache.name}” replaces what the modifiers before it do; move it to the top"
        mend = partial(face.obj.modifiers.move, place, 0)
        yield Cause("cache_place", cache.name, clause, "Move to Top", mend, face.obj)


def others(face: Face) -> Iterator[Cause]:
    """Caches of other programs replace the positions of all vertices."""
    for modifier in face.obj.modifiers:
        if modifier == face.cache or modifier.type not in _REPLACING or not modifier.show_viewport:
            continue
        if modifier.type == "MESH_CACHE" and modifier.deform_mode == "INTEGRATE":
            continue
        yield replacing(modifier)


def replacing(modifier: bpy.types.Modifier) -> Cause:
    """A modifier that discards what comes before it."""
    clause = f"the modifier “{modifier.name}” replaces the shape that it moves; switch it off"
    mend = partial(setattr, modifier, "show_viewport", False)
    return Cause("modifier", modifier.name, clause, "Switch Off", mend, modifier.id_data)


CHECKS = (our_cache, others)


def _set(modifier: bpy.types.Modifier, settings: dict[str, object]) -> None:
    for name, value in settings.items():
        setattr(modifier, name, value)
