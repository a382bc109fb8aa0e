# SPDX-License-Identifier: GPL-3.0-or-later
"""Filling the queue, and its entries as items of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import bpy

from ..inference import AudioError, MeshError
from . import audio_source, bake_modes, model_list
from .frames import frame_rate
from .lipsync_task import Task, find_scene
from .pairing import paired
from .properties import settings_of
from .queue_properties import LipSyncQueueEntry, queue_of
from .readiness import selected_strips
from .run import Item
from .scene_task import task_of


def add(scene: bpy.types.Scene, head: bpy.types.Object, strips: Sequence[Any] = ()) -> LipSyncQueueEntry:
    """A new entry at the end: `head` says `strips` of the sequencer, or without any the scene's present speech."""
    queue, settings = queue_of(scene), settings_of(scene)
    entry = queue.entries.add()
    entry.key, entry.head = uuid4().hex, head
    entry.style_name = model_list.chosen_style(settings) or ""
    entry.source = "STRIP" if strips else settings.source
    if entry.source == "STRIP":
        spoken = strips or audio_source.find_strips(scene, settings.strip)
        entry.strip = "\n".join(strip.name for strip in spoken)
    entry.audio_path, entry.sound, entry.start_frame = settings.audio_path, settings.sound, settings.start_frame
    queue.active = len(queue.entries) - 1
    return entry


def add_heads(context: bpy.types.Context, heads: Sequence[bpy.types.Object]) -> list[LipSyncQueueEntry]:
    """The entries of `heads`, new ones for those that have none.

    Heads that are new get the strips that are selected in the sequencer, by name and then in order of time where the
    counts fit; the others get the scene's present speech, once for those that share a mesh and so its shape keys.
    """
    scene = context.scene
    known = {entry.head for entry in queue_of(scene).entries}
    new = [head for head in heads if head not in known]
    strips = selected_strips(scene)
    pairs = paired([head.name for head in new], [_heard_name(strip) for strip in strips])
    own_each = settings_of(scene).mode == bake_modes.CACHE
    for i, head in enumerate(new):
        if i in pairs:
            add(scene, head, [strips[pairs[i]]])
        elif own_each or head.data not in [entry.head.data for entry in _of(scene, heads)]:
            add(scene, head)
    return _of(scene, heads)


def _of(scene: bpy.types.Scene, heads: Sequence[bpy.types.Object]) -> list[LipSyncQueueEntry]:
    """The entries of `heads`."""
    return [entry for entry in queue_of(scene).entries if entry.head in heads]


def items_of(context: bpy.types.Context, entries: Sequence[LipSyncQueueEntry]) -> list[Item]:
    """Items of a run that generates `entries`, whose status is set back to waiting."""
    items = []
    for entry in entries:
        entry.status, entry.sentence = "WAITING", ""
        items.append(_item(context.scene.session_uid, entry.key, entry.head.name if entry.head else "No head"))
    return items


def _item(scene: int, key: str, label: str) -> Item:
    return Item(
        label, lambda: _prepare(scene, key), lambda item: _ended(scene, key, item), lambda: _undone(scene, key), key
    )


def _prepare(scene_uid: int, key: str) -> Task:
    """The bake of an entry; a mesh with several gets strips, so that one line does not replace another."""
    scene, entry = _entry(scene_uid, key)
    if scene is None or entry is None:
        raise MeshError("It was taken from the queue before its turn came.")
    if entry.source == "STRIP":
        editor = scene.sequence_editor
        names = entry.strip_names
        strips = [strip for strip in editor.strips_all if strip.name in names] if editor else []
        if any(strip.type != "SOUND" for strip in strips):
            raise AudioError(f"The strip “{entry.speech}” has no sound; choose a sound strip.")
        if len(strips) < len(names):
            raise AudioError(f"The strip “{entry.speech}” is not in the sequencer any more; choose another one.")
        source = audio_source.from_strips(strips, frame_rate(scene))
    else:
        source = audio_source.from_settings(entry, scene)
    head = entry.head
    if head is None:
        raise MeshError("This entry has no head; choose one, or remove the entry.")
    if head.name not in scene.objects:
        raise MeshError(f"“{head.name}” is not in the scene “{scene.name}”; choose another head.")
    changes = {"style": entry.style_name or None, "start_frame": entry.start_frame}
    others = [each.head for each in queue_of(scene).entries if each.key != key and each.head is not None]
    if head in others and settings_of(scene).mode == bake_modes.CACHE:
        raise MeshError(
            f"A vertex cache holds one line and “{head.name}” has several in the queue; make one entry of all their "
            "strips, or bake ARKit keys."
        )
    if head.data in [other.data for other in others]:
        changes["destination"] = "NLA"
    return task_of(bpy.context, scene, head, source, **changes)


def _ended(scene: int, key: str, item: Item) -> None:
    _, entry = _entry(scene, key)
    if entry is None:
        return
    if item.report is not None:
        entry.status, entry.sentence = "DONE", item.report.sentence
    elif item.error is not None and not item.cancelled:
        entry.status, entry.sentence = "FAILED", str(item.error)


def _undone(scene: int, key: str) -> bool:
    """Whether an entry that was done is so no more: undo takes its status back with its bake."""
    _, entry = _entry(scene, key)
    return entry is None or entry.status != "DONE"


def _entry(scene_uid: int, key: str) -> tuple[bpy.types.Scene | None, LipSyncQueueEntry | None]:
    """Scene and entry, looked up anew: either may be gone or renamed, and undo makes every reference invalid."""
    scene = find_scene(scene_uid)
    entries = queue_of(scene).entries if scene else ()
    return scene, next((entry for entry in entries if entry.key == key), None)


def _heard_name(strip: Any) -> str:
    return f"{strip.name} {strip.sound.name if strip.sound else ''}"
