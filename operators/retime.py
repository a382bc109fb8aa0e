# SPDX-License-Identifier: GPL-3.0-or-later
"""The button Re-time: the animation follows the sound strips that were moved, without asking the network again."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import bpy

from ..inference import CurveSet, LipSyncError
from ..inference.pieces import Piece, follow
from . import animation, face_properties, ids, shaping, stored_result
from .animation import Bake
from .found_strips import laid_now, moved
from .readiness import target_object
from .stored_result import Facts


@dataclass(frozen=True)
class Retiming:
    """A bake whose strips were moved: where its pieces lay, and where they lie now."""

    bake: Bake
    facts: Facts
    now: tuple[Piece, ...]
    fps: float
    later: float

    @property
    def new_facts(self) -> Facts:
        """How the result lies in the scene from now on."""
        return replace(self.facts, start_frame=self.now[0].frames[0], fps=self.fps, pieces=self.now)


def is_offered(context: bpy.types.Context) -> bool:
    """Whether the head's lip sync came from sounds that have a place on the timeline."""
    return any(True for _ in _from_strips(target_object(context)))


def disabled_reason(context: bpy.types.Context) -> str:
    """Why there is nothing to re-time, as one sentence; empty when there is. Cheap enough for a panel."""
    obj = target_object(context)
    if obj is None:
        return "No mesh is chosen; select a head."
    if not is_offered(context):
        return f"“{obj.name}” has no lip sync from sound strips; generate one first."
    try:
        found = retimings(obj, context.scene)
    except LipSyncError as error:
        return str(error)
    if not found:
        return "No sound strip has moved since lip sync was generated."
    for retiming in found:
        if not retiming.bake.action.is_editable:
            return f"The lip sync of “{obj.name}” is linked from another file; make it local first."
    return ""


def retimings(obj: bpy.types.Object, scene: bpy.types.Scene) -> list[Retiming]:
    """What Re-time would do; raises LipSyncError when a strip cannot be followed."""
    fps = scene.render.fps / scene.render.fps_base
    found = []
    for bake, facts in _from_strips(obj):
        later = bake.strip.frame_start - bake.strip.action_frame_start if bake.strip else 0.0
        now = laid_now(scene, facts.pieces, later)
        if moved(facts.pieces, now) or abs(fps - facts.fps) > 1e-6:
            found.append(Retiming(bake, facts, now, fps, later))
    return found


def _from_strips(obj: bpy.types.Object | None) -> Iterator[tuple[Bake, Facts]]:
    """The bakes of `obj` whose pieces have strips."""
    for bake in animation.bakes(obj.data.shape_keys) if obj is not None and obj.type == "MESH" else ():
        try:
            facts = stored_result.facts(bake.action)
        except LipSyncError:
            continue
        if stored_result.is_stored(bake.action) and facts.pieces and all(piece.strip for piece in facts.pieces):
            yield bake, facts


class LIPSYNC_OT_retime(bpy.types.Operator):
    """Move the animation to where its sound strips are now, hand edits included, without a new analysis"""

    bl_idname = ids.RETIME
    bl_label = "Re-time"
    bl_options = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Grey, with the reason, while nothing has moved."""
        reason = disabled_reason(context)
        if reason:
            cls.poll_message_set(reason)
        return not reason

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Shape everything first, then write everything."""
        obj, scene = target_object(context), context.scene
        assert obj is not None
        try:
            found = [(retiming, _curves(retiming, obj, scene)) for retiming in retimings(obj, scene)]
            edited = sum(_write(retiming, curves, scene) for retiming, curves in found)
        except LipSyncError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        hand = f"; {edited} keys edited by hand moved along" if edited else ""
        self.report({"INFO"}, f"“{obj.name}” follows its strips{hand}.")
        return {"FINISHED"}


def _curves(retiming: Retiming, obj: bpy.types.Object, scene: bpy.types.Scene) -> CurveSet:
    """The curves of a bake with its pieces where they are now, as the head's sliders want them."""
    result, _ = stored_result.read(retiming.bake.action)
    sliders = face_properties.snapshot(obj, scene).moved(-retiming.later)
    return shaping.shape(result, retiming.new_facts, sliders)


def _write(retiming: Retiming, curves: CurveSet, scene: bpy.types.Scene) -> int:
    """Put `curves` in place, and hand edits to where their sound is heard; returns how many keys those are."""
    bake, old, new = retiming.bake, retiming.facts, retiming.new_facts
    edited = animation.rewrite(
        bake,
        curves,
        move=lambda frames: follow(old.pieces, new.pieces, frames),
        rate=new.fps / old.fps,
    )
    about = stored_result.description(bake.action) | stored_result.facts_plain(new)
    bake.action[ids.MARK] = json.dumps(about)
    scene.frame_end = max(scene.frame_end, math.ceil(curves.frame_range[1] + retiming.later))
    return edited


def register() -> None:
    """Register the operator."""
    bpy.utils.register_class(LIPSYNC_OT_retime)


def unregister() -> None:
    """Unregister it."""
    bpy.utils.unregister_class(LIPSYNC_OT_retime)
