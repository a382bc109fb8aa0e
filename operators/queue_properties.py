# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue on the Scene: which head says what, and what became of it. No logic but words for the panel."""

from __future__ import annotations

import os

import bpy
from bpy.props import CollectionProperty, EnumProperty, FloatProperty, IntProperty, PointerProperty, StringProperty

from . import ids
from .model_list import remembered, style_items
from .properties import SOURCES, settings_of

STATUSES = (
    ("WAITING", "Waiting", "Not generated yet", "DOT", 0),
    ("DONE", "Done", "The head speaks", "CHECKMARK", 1),
    ("FAILED", "Failed", "Could not be generated", "ERROR", 2),
)


def _is_mesh(entry: bpy.types.PropertyGroup, obj: bpy.types.Object) -> bool:
    return obj.type == "MESH"


def _changed(entry: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """What was generated is no longer what is asked for."""
    entry.status, entry.sentence = "WAITING", ""


class LipSyncQueueEntry(bpy.types.PropertyGroup):
    """One head and its speech.

    key: stays the same when entries are moved. strip: one name, or several, each on a line of its own. style_name: a
    style, or a blend as `model_list.chosen_style` writes it; the enum shows the former.
    """

    key: StringProperty()
    head: PointerProperty(
        name="Head", type=bpy.types.Object, poll=_is_mesh, description="Mesh that speaks", update=_changed
    )
    source: EnumProperty(name="Speech From", items=SOURCES, description="Where the speech is", update=_changed)
    audio_path: StringProperty(
        name="Speech",
        description="Sound file with the speech",
        subtype="FILE_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
        update=_changed,
    )
    strip: StringProperty(name="Strip", description="Sound strip with the speech", update=_changed)
    sound: PointerProperty(name="Sound", type=bpy.types.Sound, description="Sound with the speech", update=_changed)
    start_frame: FloatProperty(
        name="Start Frame",
        default=1.0,
        precision=1,
        step=100,
        description="Frame at which the speech begins",
        update=_changed,
    )
    style_name: StringProperty()
    style: EnumProperty(
        name="Style",
        description="Way of speaking that the model has learned",
        update=_changed,
        **remembered(style_items, "style_name"),
    )
    status: EnumProperty(name="Status", items=STATUSES)
    sentence: StringProperty()  # why it failed, or what was made

    @property
    def model(self) -> str:
        """The scene's model; the styles are its."""
        return str(settings_of(self.id_data).model)

    @property
    def strip_names(self) -> list[str]:
        """Names of the strips that speak."""
        return self.strip.splitlines()

    @property
    def speech(self) -> str:
        """What is spoken, for a line of the list."""
        if self.source == "FILE":
            return os.path.basename(self.audio_path.replace("\\", "/")) or "no speech"
        if self.source == "SOUND":
            return self.sound.name if self.sound else "no speech"
        first, *more = self.strip_names or [""]
        return (f"{first} and {len(more)} more" if more else first) or "no speech"


class LipSyncQueue(bpy.types.PropertyGroup):
    """The scene's queue."""

    entries: CollectionProperty(type=LipSyncQueueEntry)
    active: IntProperty(name="Active Entry", options=set())


def queue_of(scene: bpy.types.Scene) -> LipSyncQueue:
    """The queue of `scene`."""
    return getattr(scene, ids.QUEUE)


CLASSES = (LipSyncQueueEntry, LipSyncQueue)


def register() -> None:
    """Register the groups and hang the queue on Scene."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    setattr(bpy.types.Scene, ids.QUEUE, PointerProperty(type=LipSyncQueue))


def unregister() -> None:
    """Take them away again."""
    delattr(bpy.types.Scene, ids.QUEUE)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
