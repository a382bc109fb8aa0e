# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes that lie in the object, its shape keys and the scene: hidden, being edited, pinned, muted, out of range."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import bpy
import numpy as np

from . import vertex_cache
from .causes import Cause, Face, listed
from .frames import shown_at


def away(face: Face) -> Iterator[Cause]:
    """The object is in no view layer, or hidden."""
    obj, layer = face.obj, face.layer
    if layer is None:
        excluded = [each for view in face.scene.view_layers for each in _layers_of(view.layer_collection, obj)]
        if excluded:
            clause = f"it is not in the scene “{face.scene.name}”, as its collection is excluded; include it"
            mend = partial(_set_all, excluded, "exclude", False)
            yield Cause("excluded", obj.name, clause, "Include It", mend, face.scene)
        else:
            yield Cause("absent", obj.name, f"it is not in the scene “{face.scene.name}”; link it there")
    elif not obj.visible_get(view_layer=layer):
        yield Cause("hidden", obj.name, "it is hidden; show it", "Show It", partial(_show, obj, layer), face.scene)


def edited(face: Face) -> Iterator[Cause]:
    """Edit Mode shows the shape that is edited, Sculpt Mode the active shape key."""
    mode = face.obj.mode
    if mode in ("EDIT", "SCULPT") and face.layer is not None:
        clause = f"it is in {mode.title()} Mode, which shows no animation; leave it"
        yield Cause("mode", mode, clause, "Object Mode", partial(_leave_mode, face.obj, face.layer), face.scene)


def pinned(face: Face) -> Iterator[Cause]:
    """Solo Active Shape Key shows one key at its full value."""
    if face.obj.show_only_shape_key and face.keys:
        clause = "one of its shape keys is pinned; switch off Solo Active Shape Key"
        yield Cause("pinned", "", clause, "Unpin", partial(setattr, face.obj, "show_only_shape_key", False), face.obj)


def absolute(face: Face) -> Iterator[Cause]:
    """Absolute shape keys ignore their values."""
    if face.keys and not face.keys.use_relative:
        clause = "its shape keys are absolute; make them relative"
        mend = partial(setattr, face.keys, "use_relative", True)
        yield Cause("absolute", "", clause, "Make Relative", mend, face.keys)


def muted(face: Face) -> Iterator[Cause]:
    """Shape keys that are switched off."""
    blocks = [face.keys.key_blocks[name] for name in face.names] if face.keys else []
    off = [key for key in blocks if key.mute]
    if off:
        what = f"its shape key {off[0].name} is muted" if len(off) == 1 else f"{len(off)} of its shape keys are muted"
        which = "" if len(off) == 1 else f" ({listed([key.name for key in off])})"
        clause = f"{what}{which}; unmute {'it' if len(off) == 1 else 'them'}"
        yield Cause("key_muted", off[0].name, clause, "Unmute", partial(_set_all, off, "mute", False), face.keys)


def narrow(face: Face) -> Iterator[Cause]:
    """The animation system keeps a value within the slider's range."""
    if not face.keys:
        return
    cut = []
    for name in face.names:
        key = face.keys.key_blocks[name]
        low, high = _extent(face, name)
        if low < key.slider_min - 0.01 or high > key.slider_max + 0.01:
            cut.append((key, min(low, key.slider_min), max(high, key.slider_max)))
    if cut:
        key = cut[0][0]
        names = listed([each.name for each, _, _ in cut])
        clause = f"the range of its shape key {names} is only {key.slider_min:g} to {key.slider_max:g}; widen it"
        yield Cause("range", key.name, clause, "Widen", partial(_widen, cut), face.keys)


def out_of_sight(face: Face) -> Iterator[Cause]:
    """The speech lies where the scene is not played, or the current frame outside of it."""
    if not face.parts and face.cache is None:
        return
    scene = face.scene
    first, last = speech_range(face)
    if scene.use_preview_range and (scene.frame_preview_end < first or scene.frame_preview_start > last):
        clause = f"the preview range leaves out its speech, frames {first:.0f} to {last:.0f}; switch it off"
        mend = partial(setattr, scene, "use_preview_range", False)
        yield Cause("preview", "", clause, "Switch Off", mend, scene, playback=True)
    if scene.frame_end < first or scene.frame_start > last:
        clause = f"its speech, frames {first:.0f} to {last:.0f}, lies "
        if last < 0:
            clause += "before frame 0, and no scene begins earlier; generate it with a later start"
            yield Cause("scene_range", "", clause, playback=True)
        else:
            clause += "outside the frames of the scene; extend them"
            yield Cause("scene_range", "", clause, "Extend", partial(_extend, scene, first, last), scene, playback=True)
    if not first - 1 <= scene.frame_current_final <= last + 1:
        clause = f"its speech is on frames {first:.0f} to {last:.0f}, and this is frame {scene.frame_current}; go there"
        mend = partial(scene.frame_set, round(shown_at(scene, first)))
        yield Cause("frame", "", clause, "Go There", mend, scene, playback=True)


def stretched(face: Face) -> Iterator[Cause]:
    """Time Stretching plays the keys faster or slower than the sound, which it leaves alone."""
    render = face.scene.render
    if render.frame_map_old != render.frame_map_new:
        clause = "the scene stretches the time of its keys, and not that of the sound; switch off its time stretching"
        mend = partial(setattr, render, "frame_map_new", render.frame_map_old)
        yield Cause("stretched", "", clause, "Switch Off", mend, face.scene, playback=True)


def speech_range(face: Face) -> tuple[float, float]:
    """First and last frame of all its speech."""
    ranges = [part.frame_range for part in face.parts]
    if face.cache is not None:
        ranges += [vertex_cache.frame_range(face.cache)]
    return min(first for first, _ in ranges), max(last for _, last in ranges)


CHECKS = (away, edited, pinned, absolute, muted, narrow)
PLAYBACK_CHECKS = (out_of_sight, stretched)


def _layers_of(collection: bpy.types.LayerCollection, obj: bpy.types.Object) -> list[bpy.types.LayerCollection]:
    """Excluded layer collections on the way to `obj`."""
    found = []
    if obj.name in collection.collection.all_objects and collection.exclude:
        found.append(collection)
    for child in collection.children:
        found += _layers_of(child, obj)
    return found


def path_to(collection: bpy.types.LayerCollection, obj: bpy.types.Object) -> list[bpy.types.LayerCollection]:
    """Layer collections from the outermost to one that holds `obj`, that are not excluded; empty if there is none."""
    if collection.exclude:
        return []
    if obj.name in collection.collection.objects:
        return [collection]
    for child in collection.children:
        below = path_to(child, obj)
        if below:
            return [collection, *below]
    return []


def _show(obj: bpy.types.Object, layer: bpy.types.ViewLayer) -> None:
    obj.hide_viewport = False
    obj.hide_set(False, view_layer=layer)
    for collection in path_to(layer.layer_collection, obj):
        collection.hide_viewport = False
        collection.collection.hide_viewport = False


def _leave_mode(obj: bpy.types.Object, layer: bpy.types.ViewLayer) -> None:
    layer.objects.active = obj
    with bpy.context.temp_override(view_layer=layer, object=obj, active_object=obj):
        bpy.ops.object.mode_set(mode="OBJECT")


def _set_all(things: list[Any], attribute: str, value: Any) -> None:
    for thing in things:
        setattr(thing, attribute, value)


def _extent(face: Face, name: str) -> tuple[float, float]:
    """Smallest and largest value of the curves of a shape key."""
    low = high = 0.0
    for part in face.parts:
        if name in part.curves and len(points := part.curves[name].keyframe_points):
            places = np.empty(2 * len(points), np.float32)
            points.foreach_get("co", places)
            low, high = min(low, float(places[1::2].min())), max(high, float(places[1::2].max()))
    return low, high


def _widen(cut: list[tuple[bpy.types.ShapeKey, float, float]]) -> None:
    for key, low, high in cut:
        key.slider_min, key.slider_max = low, high


def _extend(scene: bpy.types.Scene, first: float, last: float) -> None:
    scene.frame_start = min(scene.frame_start, int(first))
    scene.frame_end = max(scene.frame_end, int(last) + 1)
