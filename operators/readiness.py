# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between the user and the button; asked by its poll and by the panel on every redraw, so cheap."""

from __future__ import annotations

from typing import Any

import bpy

from . import audio_source, model_list, run, target_mesh
from .properties import job_state, settings_of
from .queue_properties import queue_of
from .strip_times import span_of


def target_object(context: bpy.types.Context) -> bpy.types.Object | None:
    """The chosen head, or the active object when none is chosen."""
    chosen = settings_of(context.scene).target
    return chosen or context.view_layer.objects.active


def strips_line(context: bpy.types.Context) -> str:
    """The sound strip that would be spoken, or how many there are and how long they last; empty when there is none."""
    scene = context.scene
    strips = audio_source.find_strips(scene, settings_of(scene).strip)
    if len(strips) < 2:
        return strips[0].name if strips else ""
    frames = sum(end - first for first, end in map(span_of, strips))
    seconds = round(frames * scene.render.fps_base / scene.render.fps)
    return f"{len(strips)} strips, {seconds // 60}:{seconds % 60:02d} of speech"


def selected_heads(context: bpy.types.Context) -> list[bpy.types.Object]:
    """The selected meshes that could speak, in order of their names."""
    selected = context.view_layer.objects.selected
    return sorted(filter(target_mesh.could_speak, selected), key=lambda obj: obj.name_full)


def selected_strips(scene: bpy.types.Scene) -> list[Any]:
    """The sound strips that are selected in the sequencer, in order of time."""
    return [strip for strip in audio_source.find_strips(scene, "") if strip.select]


def heads_to_speak(context: bpy.types.Context) -> list[bpy.types.Object]:
    """Whom Generate is for: the chosen head; else the selected ones where they are several; else the active object."""
    if settings_of(context.scene).target is None:
        selected = selected_heads(context)
        if len(selected) > 1:
            return selected
    obj = target_object(context)
    return [obj] if obj is not None else []


def target_key(context: bpy.types.Context, obj: bpy.types.Object) -> str:
    """Changes when what is known of `obj` as a target may have changed: its mesh, its names, the model."""
    mesh = obj.data
    names = tuple(mesh.shape_keys.key_blocks.keys()) if mesh.shape_keys else ()
    model = settings_of(context.scene).model_id
    return f"{obj.session_uid} {mesh.session_uid} {len(mesh.vertices)} {len(mesh.edges)} {hash((model, *names))}"


def disabled_reason(context: bpy.types.Context) -> str:
    """Why lip sync cannot be generated now, as one sentence; empty when it can."""
    if run.current() is not None:
        return "A lip sync is being generated; wait for it or cancel it."
    heads = heads_to_speak(context)
    reason = _several_reason(context, heads) if len(heads) > 1 else _one_reason(context, target_object(context))
    model = model_list.missing_reason(context, settings_of(context.scene).model_id)
    return reason or model or _unsaved_reason(context)


def _unsaved_reason(context: bpy.types.Context) -> str:
    """A vertex cache needs a place."""
    needs_place = settings_of(context.scene).mode == "CACHE" and not bpy.data.filepath
    return "Save the file first: the vertex cache lies beside it." if needs_place else ""


def _one_reason(context: bpy.types.Context, obj: bpy.types.Object | None) -> str:
    """What is wrong with the head or with its speech."""
    reason = target_mesh.unusable_reason(obj)
    if not reason and obj is not None:
        state = job_state(context)
        if obj.name not in context.scene.objects:
            reason = f"“{obj.name}” is not in the scene “{context.scene.name}”; choose another head."
        elif state.target_key == target_key(context, obj) and not state.target_usable:
            reason = state.target_line
    return reason or audio_source.missing_reason(settings_of(context.scene), context.scene)


def _several_reason(context: bpy.types.Context, heads: list[bpy.types.Object]) -> str:
    """The same for several heads; what is wrong with the speech of one shows in the queue."""
    reason = next(filter(None, map(target_mesh.unusable_reason, heads)), "")
    queued = {entry.head for entry in queue_of(context.scene).entries}
    if reason or queued.issuperset(heads) or selected_strips(context.scene):
        return reason
    return audio_source.missing_reason(settings_of(context.scene), context.scene)
