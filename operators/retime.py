# SPDX-License-Identifier: GPL-3.0-or-later
"""The button Re-time: the animation follows the sound strips that were moved, without asking the network again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import bpy
import numpy as np
from bpy.app.handlers import persistent

from ..inference import CurveSet, LipSyncError
from ..inference.hand_edits import CurveEdits, Move
from ..inference.pieces import Piece, follow
from . import (
    animation,
    face_properties,
    ids,
    nla_strips,
    refine,
    retimed_sliders,
    run,
    shaping,
    stored_result,
    strip_curves,
)
from .animated import Timing
from .animation import Bake
from .found_strips import are_elsewhere, laid_now, moved
from .frames import frame_rate
from .greyed import Greyed
from .properties import tell
from .readiness import heads_to_speak
from .retimed_sliders import Moved, Route
from .stored_result import Facts

NOTHING_MOVED = "No sound strip has moved since lip sync was generated."


@dataclass(frozen=True)
class Retiming:
    """A bake whose strips were moved: how it lies in the scene, and how from now on."""

    bake: Bake
    old: Facts
    new: Facts
    later: float


def is_offered(context: bpy.types.Context) -> bool:
    """Whether any of the heads has a lip sync from sounds that have a place on the timeline."""
    return any(True for obj in heads_to_speak(context) for _ in _from_strips(obj))


def disabled_reason(context: bpy.types.Context) -> str:
    """Why there is nothing to re-time, as one sentence; empty when there is. Cheap enough for a panel."""
    if run.current() is not None:
        return "A lip sync is being generated; wait for it or cancel it."
    heads = heads_to_speak(context)
    if not heads:
        return "No mesh is chosen; select a head."
    if not is_offered(context):
        return f"“{heads[0].name}” has no lip sync from sound strips; generate one first."
    try:
        found = [retiming for obj in heads for retiming in retimings(obj, context.scene)]
    except LipSyncError as error:
        return str(error)
    return "" if found else NOTHING_MOVED


def retimings(obj: bpy.types.Object, scene: bpy.types.Scene) -> list[Retiming]:
    """What Re-time would do to `obj`; raises LipSyncError when a strip cannot be followed or a bake not be changed.

    What other scenes speak is left to them, unless that is all there is: then it raises, too.
    """
    fps = frame_rate(scene)
    found, bakes = [], [*_from_strips(obj)]
    for bake, facts in [each for each in bakes if not are_elsewhere(scene, each[1].pieces)] or bakes:
        strip, later = bake.strip, refine.later(bake)
        pieces = laid_now(scene, facts.pieces, later)
        if moved(facts.pieces, pieces) or abs(fps - facts.fps) > 1e-6:
            if not bake.action.is_editable:
                raise LipSyncError(f"The lip sync of “{obj.name}” is linked from another file; make it local first.")
            if obj.data.shape_keys.animation_data.use_tweak_mode:
                raise LipSyncError(
                    f"A strip of “{obj.name}” is in tweak mode; leave it in the nonlinear animation editor."
                )
            if strip and (abs(strip.scale - 1) > 1e-6 or abs(strip.repeat - 1) > 1e-6 or strip.use_reverse):
                raise LipSyncError(
                    f"The animation strip “{strip.name}” is scaled, repeated or reversed; set it back first."
                )
            now = replace(facts, start_frame=pieces[0].frames[0], fps=fps, pieces=pieces)
            found.append(Retiming(bake, facts, now, later))
    return found


def _from_strips(obj: bpy.types.Object) -> Iterator[tuple[Bake, Facts]]:
    """The bakes of `obj` whose pieces have strips."""
    for bake in animation.bakes(obj.data.shape_keys) if obj.type == "MESH" else ():
        try:
            facts = stored_result.facts(bake.action)
        except LipSyncError:
            continue
        if stored_result.is_stored(bake.action) and facts.pieces and all(piece.strip for piece in facts.pieces):
            yield bake, facts


class LIPSYNC_OT_retime(Greyed, bpy.types.Operator):
    """Move the animation to where its sound strips are now, with hand edits, muted regions and keyed sliders"""

    bl_idname = ids.RETIME
    bl_label = "Re-time"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def reason(cls, context: bpy.types.Context) -> str:
        """Something must have moved."""
        return disabled_reason(context)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Shape everything first, then write everything."""
        scene = context.scene
        try:
            found = [(obj, found) for obj in heads_to_speak(context) if (found := retimings(obj, scene))]
            message = _follow_all(found, scene)
        except LipSyncError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        tell(context, "INFO", message)
        self.report({"INFO"}, message)
        return {"FINISHED"}


def _curves(retiming: Retiming, obj: bpy.types.Object, scene: bpy.types.Scene) -> CurveSet:
    """The curves of a bake with its pieces where they are now, as the head's sliders want them."""
    animation.stored_curves(retiming.bake.action)  # damage shows now and not when half is written
    result, _ = stored_result.read(retiming.bake.action)
    sliders = face_properties.snapshot(obj, scene).timed(Timing(shift=-retiming.later))
    return shaping.shape(result, retiming.new, sliders)


def _follow_all(found: list[tuple[bpy.types.Object, list[Retiming]]], scene: bpy.types.Scene) -> str:
    """Let heads follow their strips, those that share shape keys once; returns a sentence on what came along."""
    once = list({obj.data.shape_keys: (obj, retimed) for obj, retimed in reversed(found)}.values())
    routes = [_route(obj, retimed) for obj, retimed in once]
    edited, lost, bare, along = 0, 0, 0, Moved()
    with ExitStack() as undo:
        for (obj, _), route in zip(once, routes, strict=True):
            along += retimed_sliders.follow(obj, route, undo)
        shaped = [(obj, [(one, _curves(one, obj, scene)) for one in retimed]) for obj, retimed in once]
        for (obj, curves), route in zip(shaped, routes, strict=True):
            counts = _write(obj, curves, scene, undo)
            edited, lost, bare = edited + counts[0], lost + counts[1], bare + counts[2]
            refine.nod(obj, scene, undo, partial(follow, route.before, route.after), route.rate)
        undo.pop_all()
    who = f"“{found[0][0].name}” follows its" if len(found) == 1 else f"{len(found)} heads follow their"
    parts = [
        _counted(edited, "key", " edited by hand moved along"),
        _counted(along.keys, "key", " of sliders moved along"),
        _counted(along.regions, "muted region", " moved along"),
        _counted(lost, "edited key", " on words cut off and spoken over left out"),
        _counted(along.gone, "muted region", " on words cut off and spoken over left out"),
        _counted(along.kept, "key", " of sliders on words cut off and spoken over kept"),
        _counted(bare, "animation strip", " lost the modifiers, which no strip takes past another"),
    ]
    return "; ".join([f"{who} strips", *filter(None, parts)]) + "."


def _counted(count: int, what: str, fate: str) -> str:
    return f"{count} {what}{'s' * (count > 1)}{fate}" if count else ""


def _write(
    obj: bpy.types.Object, shaped: list[tuple[Retiming, CurveSet]], scene: bpy.types.Scene, undo: ExitStack
) -> tuple[int, int, int]:
    """Put curves in place, and hand edits to where their sound is heard; returns how many keys those are, how many
    were left out, and how many strips lost their modifiers.
    """
    edited, lost, strips = 0, 0, []
    offset = face_properties.snapshot(obj, scene).amounts["offset"]
    for retiming, curves in shaped:
        bake, old, new = animation.own(retiming.bake, undo), retiming.old, retiming.new
        move = partial(follow, old.pieces, new.pieces)
        lost += sum(_homeless(edits, move) for edits in animation.hand_edits(bake).values())
        edited += animation.rewrite(bake, curves, move=move, rate=new.fps / old.fps)
        description = stored_result.description(bake.action) | stored_result.facts_plain(new)
        bake.action[ids.MARK] = json.dumps(description)
        strip_curves.remember(bake.action, offset)
        scene.frame_end = max(scene.frame_end, math.ceil(curves.frame_range[1] + retiming.later))
        if bake.strip is not None and nla_strips.is_ours(bake.action):
            strips.append((bake.strip, move, new.fps / old.fps))
    return edited, lost, nla_strips.lay_anew(obj.data.shape_keys.animation_data, strips)


def _homeless(edits: CurveEdits, move: Move) -> int:
    """How many hand-edited keys have no place after `move`."""
    frames, _ = move(edits.hand["co"][:, 0].astype(np.float64))
    return int(np.isnan(frames).sum())


def _route(obj: bpy.types.Object, found: list[Retiming]) -> Route:
    """Where frames of the timeline go: with the nearest piece of any lip sync of the head, moved or not."""
    moved = {one.bake.action: one.new.pieces for one in found}
    before: list[Piece] = []
    after: list[Piece] = []
    for bake, facts in _from_strips(obj):
        later = refine.later(bake)
        for pieces, shown in ((facts.pieces, before), (moved.get(bake.action, facts.pieces), after)):
            shown += [replace(piece, frames=tuple(frame + later for frame in piece.frames)) for piece in pieces]
    return Route(before, after, found[0].new.fps / found[0].old.fps)


@persistent
def _after_update(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph) -> None:
    """Show at once what strips do to the button: the sidebar does not redraw for changes in the sequencer."""
    if not any(isinstance(update.id, bpy.types.Scene) for update in depsgraph.updates):
        return
    for window in bpy.context.window_manager.windows:
        for area in window.screen.areas:
            for region in area.regions if area.type == "VIEW_3D" else ():
                if region.type == "UI":
                    region.tag_redraw()


def register() -> None:
    """Register the operator, and watch the sequencer."""
    bpy.utils.register_class(LIPSYNC_OT_retime)
    bpy.app.handlers.depsgraph_update_post.append(_after_update)


def unregister() -> None:
    """Watch no more; unregister it."""
    bpy.app.handlers.depsgraph_update_post.remove(_after_update)
    bpy.utils.unregister_class(LIPSYNC_OT_retime)
