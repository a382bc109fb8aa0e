# SPDX-License-Identifier: GPL-3.0-or-later
"""F-curves in bulk: all keys of one as an array of `hand_edits.KEY`, and back, touching only what differs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

from ..inference.curves import Keys
from ..inference.hand_edits import AUTO, AUTO_CLAMPED, GENERATED, KEY, SAME, STRAIGHT, Move

_HANDLES = ("handle_left", "handle_right")
_ENDS, _BLENDS = ("frame_start", "frame_end"), ("blend_in", "blend_out")

Modified = Any  # bpy.types.FCurve or bpy.types.NlaStrip
Modifiers = tuple[tuple[str, dict[str, Any], tuple[dict[str, Any], ...]], ...]
"""Of each modifier its type, its settings, and those of the control points that an envelope has."""


def value_path(name: str) -> str:
    """RNA path of a shape key's value from its Key datablock."""
    return f'key_blocks["{bpy.utils.escape_identifier(name)}"].value'


def bag_of(action: bpy.types.Action, slot: Any) -> Any | None:
    """The channelbag with the F-curves of `slot`; None while it has none."""
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(slot)
            if bag is not None:
                return bag
    return None


def make_bag(action: bpy.types.Action, slot: Any) -> Any:
    """The channelbag with the F-curves of `slot`, made where there is none."""
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True)


def curves_of(bag: Any | None) -> dict[str, bpy.types.FCurve]:
    """The F-curves by their paths."""
    return {fcurve.data_path: fcurve for fcurve in bag.fcurves} if bag else {}


def span(action: bpy.types.Action, slot: Any | None) -> tuple[float, float]:
    """First and last frame that has keys in `slot`; in all of `action` where there are none.

    `Action.frame_range` covers what else was keyed into the Action, or is what the user typed in.
    """
    bag = bag_of(action, slot) if slot else None
    keyed = [fcurve for fcurve in bag.fcurves if fcurve.keyframe_points or fcurve.sampled_points] if bag else []
    ranges = [fcurve.range() for fcurve in keyed] or [action.frame_range]
    return float(min(first for first, _ in ranges)), float(max(last for _, last in ranges))


@dataclass(frozen=True)
class Contents:
    """What an F-curve holds, for another one or for later: keys, KEY (n,), settings, and modifiers."""

    keys: np.ndarray
    settings: dict[str, Any]
    modifiers: Modifiers

    @staticmethod
    def of(fcurve: bpy.types.FCurve) -> Contents:
        """Those of `fcurve`, which may be removed then."""
        return Contents(read(fcurve), _settings(fcurve), modifiers_of(fcurve))

    def put(self, fcurve: bpy.types.FCurve) -> None:
        """Give them to `fcurve`, which has no modifiers yet."""
        _set(fcurve, self.settings)  # first: automatic handles depend on them
        write(fcurve, self.keys)
        for kind, settings, points in self.modifiers:
            modifier = fcurve.modifiers.new(kind)
            _set(modifier, settings)
            for point in points:
                modifier.control_points.add(point["frame"])
            _set_points(modifier, points)


def copy(fcurve: bpy.types.FCurve, bag: Any) -> bpy.types.FCurve:
    """The same F-curve in another channelbag."""
    if hasattr(bag.fcurves, "new_from_fcurve"):  # since Blender 5.0
        return bag.fcurves.new_from_fcurve(fcurve)
    made = bag.fcurves.new(fcurve.data_path, index=fcurve.array_index)
    Contents.of(fcurve).put(made)
    return made


def modifiers_of(fcurve: Modified) -> Modifiers:
    """The modifiers of `fcurve` as they are."""
    return tuple(
        (modifier.type, _settings(modifier), tuple(map(_settings, getattr(modifier, "control_points", ()))))
        for modifier in fcurve.modifiers
    )


def moved_modifiers(modifiers: Modifiers, move: Move, rate: float = 1.0) -> Modifiers:
    """`modifiers` whose frame ranges, and control points, go where `move` says; blends grow by `rate`.

    What has no place there, or would be turned round, stays where it is.
    """

    def moved(frames: list[float]) -> list[float] | None:
        goals = move(np.array(frames, np.float64))[0] if frames else np.zeros(0)
        return goals.tolist() if np.isfinite(goals).all() and (np.diff(goals) > 0).all() else None

    found = []
    for kind, settings, points in modifiers:
        if kind == "STEPPED":
            ends = [name for name in _ENDS if settings[f"use_{name}"]]
        else:
            ends = list(_ENDS) if settings["use_restricted_range"] else []
        goals = moved([settings[name] for name in ends])
        if ends and goals is not None:
            blends = {name: rate * settings[name] for name in _BLENDS}
            settings = settings | dict(zip(ends, goals, strict=True)) | blends
        goals = moved([point["frame"] for point in points])
        if goals is not None:
            points = tuple(point | {"frame": goal} for point, goal in zip(points, goals, strict=True))
        found.append((kind, settings, points))
    return tuple(found)


def time_modifiers(fcurve: Modified, modifiers: Modifiers) -> None:
    """Let the modifiers of `fcurve` act when `modifiers`, which are as many, say; all else about them stays."""
    for modifier, (_, settings, points) in zip(fcurve.modifiers, modifiers, strict=True):
        for name in ("frame_end", *_ENDS, *_BLENDS):  # the beginning takes the end along, and the end the beginning
            if getattr(modifier, name) != settings[name]:
                setattr(modifier, name, settings[name])
        _set_points(modifier, points)


def move_modifiers(fcurve: Modified, move: Move, rate: float = 1.0) -> None:
    """Let the modifiers of `fcurve` go with its keys, as of `moved_modifiers`."""
    if fcurve.modifiers:
        time_modifiers(fcurve, moved_modifiers(modifiers_of(fcurve), move, rate))


def _settings(data: bpy.types.bpy_struct) -> dict[str, Any]:
    """What can be set in an F-curve or modifier, but for what the F-curve animates."""
    found = {}
    for known in data.bl_rna.properties:
        name = known.identifier
        if not known.is_readonly and name not in ("data_path", "array_index", "group"):
            value = getattr(data, name)
            found[name] = value[:] if getattr(known, "is_array", False) else value  # or it would be a view
    return found


def _set(data: bpy.types.bpy_struct, settings: dict[str, Any]) -> None:
    for name, value in settings.items():
        setattr(data, name, value)


def _set_points(modifier: bpy.types.FModifier, points: tuple[dict[str, Any], ...]) -> None:
    """Give an envelope's control points, which are as many, the settings `points`; other modifiers have none.

    In bulk: when one alone is set, Blender (to 5.2 at least) takes it for a modifier, reads on past its end, and may
    crash.
    """
    if not points:
        return
    for name in points[0]:
        modifier.control_points.foreach_set(name, np.array([point[name] for point in points], np.float32))
    modifier.mute = modifier.mute  # nothing else says that something changed


def read(fcurve: bpy.types.FCurve) -> np.ndarray:
    """All keys, KEY (n,)."""
    points = fcurve.keyframe_points
    keys = np.zeros(len(points), KEY)
    for attribute, (kind, _) in _fields():
        # Blender copies in one go where the type is its own: enumerations are single bytes.
        values = np.empty((len(keys), *kind.shape), kind.base)
        points.foreach_get(attribute, values.reshape(-1))
        keys[attribute] = values
    return keys


def write(fcurve: bpy.types.FCurve, keys: np.ndarray, current: np.ndarray | None = None) -> bool:
    """Give `fcurve` the keys `keys`, KEY (n,); `current` is what it has, where known. Returns whether it changed.

    As long as their number stays the same the keys stay selected as they are.
    """
    points = fcurve.keyframe_points
    afresh = current is None or len(current) != len(keys)
    if afresh:
        points.clear()
        points.add(len(keys))
    changed = afresh
    for attribute, (kind, _) in _fields():
        if current is not None and not afresh and _equal(attribute, keys, current):
            continue
        points.foreach_set(attribute, np.ascontiguousarray(keys[attribute], kind.base).reshape(-1))
        changed = True
    if changed:
        fcurve.update()
    return changed


def set_types(fcurve: bpy.types.FCurve, kind: int) -> None:
    """Give all generated keys another type."""
    types = np.empty(len(fcurve.keyframe_points), np.uint8)
    fcurve.keyframe_points.foreach_get("type", types)
    types[types == GENERATED] = kind
    fcurve.keyframe_points.foreach_set("type", types)
    fcurve.update()


def stands(fcurve: bpy.types.FCurve, keys: Keys) -> bool:
    """Whether `fcurve` has just what was written from `keys`: the quick answer, for straight lines alone."""
    points = fcurve.keyframe_points
    if keys.slopes is not None or len(keys) != len(points):
        return False
    for attribute, number in STRAIGHT.items():
        numbers = np.empty(len(points), np.uint8)
        points.foreach_get(attribute, numbers)
        if (numbers != number).any():
            return False
    at = places(fcurve)
    off = max(np.abs(at[:, 0] - keys.frames).max(initial=0), np.abs(at[:, 1] - keys.values).max(initial=0))
    return bool(off < SAME)


def places(fcurve: bpy.types.FCurve) -> np.ndarray:
    """Frames and values of all keys, float32 (n, 2)."""
    found = np.empty((len(fcurve.keyframe_points), 2), np.float32)
    fcurve.keyframe_points.foreach_get("co", found.reshape(-1))
    return found


def slide(fcurve: bpy.types.FCurve, keys: Keys) -> None:
    """Move the keys of `fcurve`, which has as many, to where `keys` are; all else about them stays."""
    places = np.stack([keys.frames, keys.values], axis=1)
    fcurve.keyframe_points.foreach_set("co", places.reshape(-1))
    fcurve.update()


def _fields() -> Any:
    assert KEY.fields is not None
    return KEY.fields.items()


def _equal(attribute: str, keys: np.ndarray, current: np.ndarray) -> bool:
    if attribute in _HANDLES:
        kind = keys[f"{attribute}_type"]
        placed = (kind != AUTO) & (kind != AUTO_CLAMPED)  # the others Blender places
        return bool((keys[attribute][placed] == current[attribute][placed]).all())
    return bool((keys[attribute] == current[attribute]).all())
