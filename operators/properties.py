# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sets (on the scene) and what a job says of itself (on the window manager). No logic."""

from __future__ import annotations

import bpy
from bpy.props import (
    BoolProperty,
    CollectionProperty,
    EnumProperty,
    FloatProperty,
    IntProperty,
    PointerProperty,
    StringProperty,
)

from . import ids
from .bake_modes import MODES
from .model_list import model_items, remembered, style_items

SOURCES = (
    ("FILE", "File", "A sound file: WAV, FLAC, OGG, Opus, MP3, AIFF", "FILE_SOUND", 0),
    ("STRIP", "Strip", "A sound strip of this scene's sequencer, trimmed as it is trimmed there", "SEQUENCE", 1),
    ("SOUND", "Sound", "A sound that is in this file already, packed ones too", "SOUND", 2),
)
KEYS = (
    ("EVERY", "All", "One key on each frame: exactly what the model says"),
    ("REDUCED", "Reduced", "Only the keys that are needed to stay within the tolerance"),
)
DESTINATIONS = (
    ("ACTION", "Action", "A new action of its own; where another action is playing, a strip beneath it"),
    ("SLOT", "Slot", "The action that plays now, in its own slot, beside the curves that you have there"),
    ("NLA", "NLA", "A strip in the track “Lip Sync” of the nonlinear animation editor"),
)
HAND_EDITS = (
    ("KEEP", "Keep", "Keys that you edited by hand stand as they are when lip sync is generated again"),
    ("DROP", "Drop", "Generate again without what you edited by hand; the earlier action is kept"),
)


def _is_mesh(settings: bpy.types.PropertyGroup, obj: bpy.types.Object) -> bool:
    return obj.type == "MESH"


class LipSyncSettings(bpy.types.PropertyGroup):
    """What to speak, who speaks, and how it is baked."""

    source: EnumProperty(name="Speech From", items=SOURCES, description="Where the speech is")
    audio_path: StringProperty(
        name="Speech",
        description="Sound file with the speech",
        subtype="FILE_PATH",
        options={"PATH_SUPPORTS_BLEND_RELATIVE"},
    )
    strip: StringProperty(
        name="Strip", description="Sound strip with the speech; empty: those that are selected, or the active one"
    )
    sound: PointerProperty(name="Sound", type=bpy.types.Sound, description="Sound with the speech")
    target: PointerProperty(
        name="Head",
        type=bpy.types.Object,
        poll=_is_mesh,
        description="Mesh that speaks: FLAME topology, or with ARKit shape keys; empty: the active object",
    )
    model_id: StringProperty()
    model: EnumProperty(
        name="Model", description="Network that turns speech into motion", **remembered(model_items, "model_id")
    )
    style_name: StringProperty()
    style: EnumProperty(
        name="Style",
        description="Way of speaking that the model has learned",
        **remembered(style_items, "style_name"),
    )
    second_style_name: StringProperty()
    second_style: EnumProperty(
        name="Second Style",
        description="Style that is mixed into the first one",
        **remembered(style_items, "second_style_name"),
    )
    style_mix: FloatProperty(
        name="Mix",
        default=0.0,
        min=0.0,
        max=1.0,
        subtype="FACTOR",
        description="Share of the second style: at 0 the first one speaks alone, at 1 the second",
    )
    start_frame: FloatProperty(
        name="Start Frame", default=1.0, precision=1, step=100, description="Frame at which the speech begins"
    )
    mode: EnumProperty(name="Mode", items=MODES, description="What the speech is baked to")
    exact_tolerance: FloatProperty(
        name="Within (mm)",
        default=0.1,
        min=0.001,
        max=5.0,
        soft_max=1.0,
        precision=3,
        step=1,
        description="Largest distance of a vertex to where the model puts it, in millimetres of a life-size head",
    )
    keys: EnumProperty(name="Keys", items=KEYS, description="How many keys are written")
    tolerance: FloatProperty(
        name="Tolerance",
        default=0.01,
        min=0.0001,
        max=0.5,
        soft_max=0.1,
        precision=3,
        step=0.1,
        description="Largest difference that leaving out keys may cause, of a shape key's range 0 to 1",
    )
    destination: EnumProperty(name="Into", items=DESTINATIONS, description="Where the animation goes")
    hand_edits: EnumProperty(
        name="Hand Edits", items=HAND_EDITS, description="What Generate does with keys that you edited by hand"
    )


class LipSyncCause(bpy.types.PropertyGroup):
    """One thing that keeps a mouth from moving, as the panel shows it."""

    cause: StringProperty()
    subject: StringProperty()
    sentence: StringProperty()
    fix: StringProperty()  # what the button says, "" for none


class LipSyncJob(bpy.types.PropertyGroup):
    """State of the running job and words about the last one; written by operators, read by panels."""

    running: BoolProperty()
    item: StringProperty()  # key of the queue's entry that is generated, "" if it is none
    progress: FloatProperty(min=0.0, max=1.0)
    stage: StringProperty()
    seconds_left: FloatProperty(default=-1.0)
    level: StringProperty()  # "", "INFO", "WARNING", "ERROR" or "CANCELLED"
    message: StringProperty()
    details: StringProperty()  # one line each
    speed: FloatProperty()  # seconds of speech per second that the last one took; 0: none yet
    causes: CollectionProperty(type=LipSyncCause)
    verdict: StringProperty()  # one sentence on whether the mouth moves, "" when nobody asked
    diagnosed: IntProperty()  # session id of the object that it is about, whose name may be another's by now; 0: none
    target_key: StringProperty()  # which mesh the next two describe
    target_line: StringProperty()
    target_usable: BoolProperty()
    edits_line: StringProperty()  # what was edited by hand, and how many keys that are
    edited_keys: IntProperty()


def settings_of(scene: bpy.types.Scene) -> LipSyncSettings:
    """The scene's settings."""
    return getattr(scene, ids.SETTINGS)


def job_state(context: bpy.types.Context) -> LipSyncJob:
    """State of the session's job."""
    return getattr(context.window_manager, ids.JOB)


def tell(context: bpy.types.Context, level: str, message: str, details: str = "") -> None:
    """Show words about what was done where the panels see them; levels as in `LipSyncJob`."""
    state = job_state(context)
    state.level, state.message, state.details = level, message, details


CLASSES = (LipSyncSettings, LipSyncCause, LipSyncJob)


def register() -> None:
    """Register the groups and hang them on Scene and WindowManager."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    setattr(bpy.types.Scene, ids.SETTINGS, PointerProperty(type=LipSyncSettings))
    setattr(bpy.types.WindowManager, ids.JOB, PointerProperty(type=LipSyncJob, options={"SKIP_SAVE"}))


def unregister() -> None:
    """Take them away again."""
    delattr(bpy.types.WindowManager, ids.JOB)
    delattr(bpy.types.Scene, ids.SETTINGS)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
