# SPDX-License-Identifier: GPL-3.0-or-later
"""What a head is set to, kept on its Object: the sliders of Refine. No logic but taking a snapshot.

The properties can be overridden on a linked character and animated. `on_change` is called with the object whenever
the user, or a script, sets one. Objects with one mesh have one lip sync, and so one set of sliders: what is set on one
is set on all (`share`), what is keyed on one counts for all. Only a nod is each object's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import bpy
import numpy as np
from bpy.app.handlers import persistent
from bpy.props import CollectionProperty, FloatProperty, IntProperty, PointerProperty

from ..inference import MeshError
from . import ids, keyframes, life_keys, life_properties
from .animated import Animated, Setting
from .face_changes import OVERRIDABLE, changed
from .face_changes import on_change as on_change
from .face_changes import quietly as quietly
from .life_properties import LipSyncLife
from .life_shaping import LifeSliders
from .shaping import Sliders

_MOST_FRAMES = 200_000  # at which an animated slider is looked at


def _factor(name: str, description: str) -> Any:
    return FloatProperty(
        name=name, description=description, default=1.0, min=0.0, max=4.0, soft_max=2.0, step=5, precision=2,
        override=OVERRIDABLE, update=changed,
    )  # fmt: skip


class LipSyncMute(bpy.types.PropertyGroup):
    """Scene frames between which the face is at rest."""

    # What were keyed would count at one frame alone, and come back after Re-time.
    first: IntProperty(
        name="From", description="First frame at rest", options=set(), override=OVERRIDABLE, update=changed
    )
    last: IntProperty(name="To", description="Last frame at rest", options=set(), override=OVERRIDABLE, update=changed)


class LipSyncFace(bpy.types.PropertyGroup):
    """The sliders of one head."""

    strength: _factor("Strength", "How far everything moves; closures stay shut")
    jaw: _factor("Jaw", "How far the jaw opens; lips that are shut stay shut")
    lip_closure: _factor(
        "Lip Closure", "How firmly the lips shut on p, b and m: above 1 near-closures shut too, below 1 they stay apart"
    )
    rounding: _factor("Rounding", "How far the lips go forward on o, u and w")
    upper_lip: _factor("Upper Lip", "How far the upper lip rises and rolls")
    lower_lip: _factor("Lower Lip", "How far the lower lip falls and rolls")
    smoothing: FloatProperty(
        name="Smoothing",
        description="Calms what is faster than this many seconds; closures are kept",
        default=0.0, min=0.0, max=1.0, soft_max=0.2, step=1, precision=3, subtype="TIME_ABSOLUTE",
        override=OVERRIDABLE, update=changed,
    )  # fmt: skip
    offset: FloatProperty(
        name="Time Offset",
        description="Frames by which the face comes later than the sound; negative: earlier",
        default=0.0, soft_min=-10.0, soft_max=10.0, min=-1000.0, max=1000.0, step=10, precision=1,
        override=OVERRIDABLE, update=changed,
    )  # fmt: skip
    mutes: CollectionProperty(type=LipSyncMute, override={"LIBRARY_OVERRIDABLE", "USE_INSERTION"})
    life: PointerProperty(type=LipSyncLife, override=OVERRIDABLE)


SLIDERS = ("strength", "jaw", "lip_closure", "rounding", "upper_lip", "lower_lip", "smoothing", "offset")


def face_of(obj: bpy.types.Object) -> LipSyncFace:
    """The settings of `obj`."""
    return getattr(obj, ids.FACE)


def sharing(obj: bpy.types.Object) -> list[bpy.types.Object]:
    """The objects that show the mesh of `obj`, and so its lip sync; `obj` first."""
    if obj.data is None or obj.data.users < 2:  # quick: asked on every redraw
        return [obj]
    return [obj, *(other for other in bpy.data.objects if other.data == obj.data and other != obj)]


def share(obj: bpy.types.Object) -> None:
    """Set the other objects with the mesh of `obj` as it is set, but for sliders that are animated, and for nods."""
    heads = sharing(obj)
    for other in (each for each in heads[1:] if each.is_editable):
        with quietly():
            for (source, name), (goal, _) in zip(_common(obj), _common(other), strict=True):
                value = getattr(source, name)
                if getattr(goal, name) != value and animating(heads, source.path_from_id(name)) is None:
                    setattr(goal, name, value)
        set_mutes(face_of(other), mutes_of(face_of(obj)))


def _common(obj: bpy.types.Object) -> list[tuple[bpy.types.PropertyGroup, str]]:
    """What objects with one mesh have in common: the group and the name of each property."""
    face = face_of(obj)
    return [(face, name) for name in SLIDERS] + [(face.life, name) for name in ("blinks", "brows", "rate", "seed")]


def mutes_of(face: LipSyncFace) -> list[tuple[int, int]]:
    """The regions in which `face` rests: first and last scene frame of each."""
    return [(mute.first, mute.last) for mute in face.mutes]


def set_mutes(face: LipSyncFace, regions: Sequence[tuple[int, int]]) -> None:
    """Let `face` rest in `regions`, as of `mutes_of`, and in no others; calls nobody back."""
    if mutes_of(face) == regions:
        return
    with quietly():
        while len(face.mutes) > len(regions):
            face.mutes.remove(len(face.mutes) - 1)
        while len(face.mutes) < len(regions):
            face.mutes.add()
        for mute, region in zip(face.mutes, regions, strict=True):
            mute.first, mute.last = region


def snapshot(obj: bpy.types.Object, scene: bpy.types.Scene) -> Sliders:
    """The settings of `obj`, those that an action animates at every frame they have keys on and `scene` plays.

    Raises MeshError when the NLA animates one.
    """
    face, keyed, heads = face_of(obj), keyed_in_strips(obj), sharing(obj)
    if keyed:
        raise MeshError(keyed)
    return Sliders(
        {name: setting(heads, face, name, scene) for name in SLIDERS},
        tuple((float(first), float(last)) for first, last in mutes_of(face)),
        _life(heads, face.life, scene),
    )


def _life(heads: Sequence[bpy.types.Object], life: LipSyncLife, scene: bpy.types.Scene) -> LifeSliders:
    amounts = {
        name: setting(heads[:1] if name == "nod" else heads, life, name, scene) for name in life_properties.AMOUNTS
    }
    sliders = LifeSliders(amounts, life.rate, life.seed)
    return replace(sliders, channels=life_keys.existing(heads[0])) if sliders.shapes else sliders


def setting(
    heads: Sequence[bpy.types.Object], group: bpy.types.PropertyGroup, name: str, scene: bpy.types.Scene
) -> Setting:
    """Property `name` of `group`: its number, or what the F-curve in the action of one of `heads` makes of it."""
    curve = animating(heads, group.path_from_id(name))
    if curve is None:
        return float(getattr(group, name))
    first, last = curve.range()
    first, last = int(np.floor(min(first, scene.frame_start))), int(np.ceil(max(last, scene.frame_end)))
    frames = np.arange(first, min(last, first + _MOST_FRAMES) + 1)
    known = group.bl_rna.properties[name]
    values = np.array([curve.evaluate(frame) for frame in frames])
    return Animated(frames.astype(np.float64), np.nan_to_num(values).clip(known.hard_min, known.hard_max))


def keyed_in_strips(obj: bpy.types.Object) -> str:
    """One sentence when a strip of the NLA animates a slider of `obj`, which nobody here can follow; else ""."""
    data = obj.animation_data
    playing = data.nla_tracks if data is not None and data.use_nla else ()
    for strip in (strip for track in playing if not track.mute for strip in track.strips if not strip.mute):
        for group, name in animatable(obj):
            path = group.path_from_id(name)
            if _curve(strip, path) is not None and animating([obj], path) is None:
                label = group.bl_rna.properties[name].name
                return (
                    f"“{label}” is keyed in the strip “{strip.name}” of “{obj.name}”, which lip sync cannot follow; "
                    "assign that action instead, or delete the keys."
                )
    return ""


def animatable(obj: bpy.types.Object) -> list[tuple[bpy.types.PropertyGroup, str]]:
    """The sliders of `obj`: group and name of each property that may be animated."""
    face = face_of(obj)
    return [(face, name) for name in SLIDERS] + [(face.life, name) for name in life_properties.AMOUNTS]


def animating(heads: Sequence[bpy.types.Object], path: str) -> bpy.types.FCurve | None:
    """The F-curve that plays on property `path` of the first of `heads` whose own action has one."""
    curves = (_curve(each.animation_data, path) for each in heads if each.animation_data is not None)
    return next((curve for curve in curves if curve is not None), None)


def holder(heads: Sequence[bpy.types.Object], path: str) -> bpy.types.Object:
    """Which of `heads`, which share a mesh, says what property `path` is: who animates it, else the first."""
    return next((each for each in heads if animating([each], path) is not None), heads[0])


def _curve(holder: bpy.types.AnimData | bpy.types.NlaStrip, path: str) -> bpy.types.FCurve | None:
    """The F-curve on `path` in the slot that `holder` plays, if it does something."""
    if holder.action is None or holder.action_slot is None:
        return None
    bag = keyframes.bag_of(holder.action, holder.action_slot)
    curve = bag.fcurves.find(path) if bag else None
    return None if curve is None or curve.mute or curve.is_empty else curve


CLASSES = (LipSyncMute, LipSyncLife, LipSyncFace)


def ensure() -> None:
    """Register unless that was done: scripts bake without the extension being enabled."""
    if not hasattr(bpy.types.Object, ids.FACE):
        register()


@persistent
def _before_save(*_: Any) -> None:
    """Give the library's heads the groups that their overrides have, which reading them does.

    Blender 5.0 to 5.2 cannot override a property of a group that the library lacks: on loading it says "expected ID
    type, not LipSyncFace", and every slider is back at its default.
    """
    for obj in bpy.data.objects:
        if obj.override_library is not None and obj.override_library.reference is not None:
            _ = face_of(obj.override_library.reference).life.rate


def register() -> None:
    """Register the groups and hang them on Object."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    setattr(bpy.types.Object, ids.FACE, PointerProperty(type=LipSyncFace, override=OVERRIDABLE))
    bpy.app.handlers.save_pre.append(_before_save)


def unregister() -> None:
    """Take them away again."""
    bpy.app.handlers.save_pre.remove(_before_save)
    delattr(bpy.types.Object, ids.FACE)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
