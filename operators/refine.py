# SPDX-License-Identifier: GPL-3.0-or-later
"""Live refinement: a slider changes, and the curves of the head's lip sync follow, from the stored result.

A slider that is set calls `refresh` at once. A slider that is keyed calls nothing: its F-curve changes. A depsgraph
handler notices that, and a timer refreshes when the hand rests. What comes out is compared with what is there, so
that refreshing twice writes once and nothing goes round in circles.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import bpy
from bpy.app.handlers import persistent

from ..inference import CurveSet, LipSyncError, MeshError
from ..inference.hand_edits import Move
from . import (
    animation,
    face_properties,
    ids,
    life_keys,
    life_shaping,
    nla_strips,
    shape_keys,
    shaping,
    single_user,
    stored_result,
    strip_curves,
    vertex_cache,
)
from . import nod as nodding
from .animated import Timing
from .animation import Bake
from .face_properties import SLIDERS
from .life_properties import AMOUNTS
from .playing import played_names
from .stored_result import Facts, StoredResult

_REST = 0.1  # seconds without a change after which animated sliders are looked at


def bakes_of(obj: bpy.types.Object | None) -> list[Bake]:
    """The lip syncs that play on `obj`."""
    return animation.bakes(obj.data.shape_keys) if obj is not None and obj.type == "MESH" else []


def disabled_reason(obj: bpy.types.Object | None) -> str:
    """Why the sliders of `obj` do nothing, as one sentence; empty when they do. Cheap enough for a panel."""
    if obj is None:
        return "No mesh is chosen; select a head."
    bakes = bakes_of(obj)
    if not bakes and vertex_cache.find(obj) is not None:
        return f"“{obj.name}” plays a vertex cache, which has no shape keys to refine; bake ARKit keys for that."
    if not bakes:
        meta = nla_strips.around(obj.data.shape_keys if obj.type == "MESH" else None)
        if meta:
            return f"The lip sync of “{obj.name}” lies in the meta strip “{meta}”; ungroup that to refine it."
        return f"“{obj.name}” has no lip sync yet; generate one first."
    if not obj.is_editable:
        return f"“{obj.name}” is linked from another file; make it a library override first."
    if lies_elsewhere(obj):
        return f"The lip sync of “{obj.name}” is linked from another file; click Refine Here to get your own copy."
    hindered = face_properties.keyed_in_strips(obj) or single_user.tweaked(obj.data.shape_keys)
    if hindered:
        return hindered
    stored = [bake.action for bake in bakes if stored_result.is_stored(bake.action)]
    try:
        for action in stored:
            stored_result.read(action)
    except LipSyncError as error:
        return str(error)
    return "" if stored else f"The lip sync of “{obj.name}” has no stored speech analysis; generate it again to refine."


def lies_elsewhere(obj: bpy.types.Object) -> bool:
    """Whether the shape keys or the lip sync of `obj` belong to another file."""
    return not obj.data.shape_keys.is_editable or any(not bake.action.is_editable for bake in bakes_of(obj))


def refresh(obj: bpy.types.Object, scene: bpy.types.Scene) -> None:
    """Shape every lip sync of `obj` anew as its sliders say; raises LipSyncError."""
    face_properties.share(obj)
    if disabled_reason(obj):
        return
    with ExitStack() as undo:
        life_keys.add_missing(obj, face_properties.snapshot(obj, scene).life.shapes, undo)
        sliders = face_properties.snapshot(obj, scene)
        before = played_names(obj.data.shape_keys)
        shaped = [
            (bake, shaping.shape(result, facts, sliders.timed(timing(bake)))) for bake, result, facts in _stored(obj)
        ]
        animation.rewrite_all(shaped, undo)
        for bake in _refinable(obj):
            strip = bake.strip if nla_strips.is_ours(bake.action) else None
            strip_curves.follow(strip, bake.action, timing(bake), sliders.amounts["offset"])
        shape_keys.come_to_rest(obj.data.shape_keys, before - played_names(obj.data.shape_keys), undo)
        nod(obj, scene, undo)
        undo.pop_all()


def nod(
    obj: bpy.types.Object,
    scene: bpy.types.Scene,
    undo: ExitStack,
    move: Move | None = None,
    rate: float = 1.0,
) -> None:
    """Let the empty of `obj`, and those of other objects with its mesh, follow its lip syncs; raises LipSyncError.

    `undo` learns how to take that back. move, rate: what becomes of hand edits, as in `animation.rewrite`.
    """
    for each in face_properties.sharing(obj):
        if each == obj or (each.is_editable and nodding.object_of(each) is not None):
            nodding.follow(each, scene, _turns(each, scene), undo, move, rate)


def _turns(obj: bpy.types.Object, scene: bpy.types.Scene) -> list[CurveSet]:
    """How the empty of `obj` turns in each of its lip syncs; raises LipSyncError."""
    life = face_properties.snapshot(obj, scene).life
    curves = []
    for bake, result, facts in _stored(obj) if life.wants("nod") else ():
        turns = life_shaping.nod_curves(result, facts, life.timed(timing(bake)))
        if turns is not None:
            curves.append(life_shaping.timed(turns, timing(bake).back))
    return curves


def _stored(obj: bpy.types.Object) -> Iterator[tuple[Bake, StoredResult, Facts]]:
    """The lip syncs of `obj` that can be shaped anew, and what the network said; raises LipSyncError."""
    for bake in _refinable(obj):
        yield bake, *stored_result.read(bake.action)


def _refinable(obj: bpy.types.Object) -> list[Bake]:
    return [bake for bake in bakes_of(obj) if stored_result.is_stored(bake.action)]


def later(bake: Bake) -> float:
    """Frames by which the NLA plays a lip sync later than its Action says."""
    return float(bake.strip.frame_start - bake.strip.action_frame_start) if bake.strip is not None else 0.0


def timing(bake: Bake) -> Timing:
    """From the timeline to the frames of a lip sync's Action: its strip may be moved and stretched."""
    strip = bake.strip
    if strip is None:
        return Timing()
    return Timing(1 / strip.scale, strip.action_frame_start - strip.frame_start / strip.scale)


def localise(obj: bpy.types.Object) -> None:
    """Give the library override `obj` its own copies of its mesh and of its lip sync, so that they can be refined.

    Shape keys belong to the mesh, which an override leaves in the library until it is overridden too. Raises MeshError.
    """
    if not obj.data.shape_keys.is_editable:
        override_mesh(obj)
    keys = obj.data.shape_keys
    for action in dict.fromkeys(holder.action for holder in single_user.holders(keys.animation_data)):
        if action is not None and ids.MARK in action and not action.is_editable:
            single_user.exchange_all(keys, action, action.copy())


def override_mesh(obj: bpy.types.Object) -> None:
    """Let the library override `obj` have an override of its mesh, for it alone; raises MeshError."""
    mesh = obj.data.override_create() if obj.override_library else None
    if mesh is None:
        raise MeshError(f"The mesh of “{obj.name}” cannot be overridden; make the object and its data local.")
    obj.data = mesh
    if obj.data != mesh:
        raise MeshError(f"“{obj.name}” may not change its mesh; make the override editable, then try again.")


def _on_change(obj: bpy.types.Object) -> None:
    """A slider was set."""
    try:
        refresh(obj, bpy.context.scene)
    except LipSyncError as error:
        print(f"Lip sync: {error}")  # an update callback can tell nobody; the panel says it too


_pending: set[int] = set()  # session ids of Actions with sliders that changed


@persistent
def _after_load(*_: object) -> None:
    """Forget the update that opening a file made of everything in it: nobody has changed a slider."""
    _pending.clear()


@persistent
def _after_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Notice that an Action that animates sliders was edited; no more, since data may not be written here."""
    actions = [update.id.original for update in depsgraph.updates if isinstance(update.id, bpy.types.Action)]
    changed = {action.session_uid for action in actions if _animates_sliders(action)}
    if changed:
        _pending.update(changed)
        if bpy.app.timers.is_registered(refresh_pending):
            bpy.app.timers.unregister(refresh_pending)
        bpy.app.timers.register(refresh_pending, first_interval=_REST)


def pending() -> bool:
    """Whether an animated slider changed and its head was not refreshed yet."""
    return bool(_pending)


def _animates_sliders(action: bpy.types.Action) -> bool:
    paths = [f"{ids.FACE}.{name}" for name in (*SLIDERS, *(f"life.{name}" for name in AMOUNTS))]
    bags = (bag for layer in action.layers for strip in layer.strips for bag in strip.channelbags)
    return any(bag.fcurves.find(path) is not None for bag in bags for path in paths)


def refresh_pending() -> None:
    """Refresh the heads whose animated sliders changed; called by a timer."""
    actions = set(_pending)
    _pending.clear()
    scene = bpy.context.scene
    for obj in scene.objects:
        data = obj.animation_data
        if data is not None and data.action is not None and data.action.session_uid in actions:
            _on_change(obj)


def register() -> None:
    """Listen to sliders and to their animation."""
    face_properties.on_change.append(_on_change)
    bpy.app.handlers.load_post.append(_after_load)
    bpy.app.handlers.depsgraph_update_post.append(_after_update)


def unregister() -> None:
    """Listen no more."""
    if bpy.app.timers.is_registered(refresh_pending):
        bpy.app.timers.unregister(refresh_pending)
    bpy.app.handlers.depsgraph_update_post.remove(_after_update)
    bpy.app.handlers.load_post.remove(_after_load)
    face_properties.on_change.remove(_on_change)
