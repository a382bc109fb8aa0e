# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of hand edits share: a speaking head, its curves as Blender has them, and an animator at random."""

from __future__ import annotations

import bpy
import numpy as np
import pytest
from heads import arkit_puppet
from wav2sem_lipsync.operators import animation, ids, keyframes

NAMES = ["jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmileLeft"]
FRAMES = np.arange(1, 80)


def generate() -> None:
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}


def bake_of(obj: bpy.types.Object) -> animation.Bake:
    return animation.bakes(obj.data.shape_keys)[0]


def curves_of(obj: bpy.types.Object) -> dict[str, bpy.types.FCurve]:
    bake = bake_of(obj)
    found = keyframes.curves_of(keyframes.bag_of(bake.action, bake.slot))
    return {path.split('"')[1]: fcurve for path, fcurve in found.items()}


def evaluated_at(obj: bpy.types.Object, frames: np.ndarray = FRAMES) -> dict[str, np.ndarray]:
    """What Blender makes of the keys."""
    return {name: np.array([fcurve.evaluate(f) for f in frames]) for name, fcurve in curves_of(obj).items()}


def add_envelope(fcurve: bpy.types.FCurve, points: dict[float, tuple[float, float]]) -> bpy.types.FModifier:
    """An envelope with `points`, least and most by frame. In bulk: see `keyframes._set_points`."""
    envelope = fcurve.modifiers.new("ENVELOPE")
    for frame in points:
        envelope.control_points.add(frame)
    for name, values in zip(("min", "max"), np.array(list(points.values()), np.float32).T, strict=True):
        envelope.control_points.foreach_set(name, np.ascontiguousarray(values))
    envelope.mute = False
    return envelope


def edit_jaw(obj: bpy.types.Object) -> None:
    """Key the jaw by hand at frame 21, to 0.93."""
    point = next(point for point in curves_of(obj)["jawOpen"].keyframe_points if round(point.co.x) == 21)
    point.co.y, point.type = 0.93, "KEYFRAME"


def strength(obj: bpy.types.Object, value: float) -> None:
    getattr(obj, ids.FACE).strength = value


def speaking_puppet() -> bpy.types.Object:
    """A head of eight vertices that speaks."""
    obj = arkit_puppet(NAMES)
    generate()
    return obj


def keys_of(obj: bpy.types.Object) -> dict[str, bytes]:
    return {name: keyframes.read(fcurve)["co"].tobytes() for name, fcurve in curves_of(obj).items()}


def values_at(obj: bpy.types.Object, name: str, frames: np.ndarray) -> np.ndarray:
    found = []
    for frame in frames:
        bpy.context.scene.frame_set(int(np.floor(frame)), subframe=float(frame % 1))
        found.append(obj.data.shape_keys.key_blocks[name].value)
    return np.array(found)


class Animator:
    """Edits keys through Blender's own interface; knows afterwards which are his and where he deleted."""

    def __init__(self, obj: bpy.types.Object, seed: int) -> None:
        self.obj, self.rng = obj, np.random.default_rng(seed)
        self.his: dict[tuple[str, float], float] = {}
        self.deleted: set[tuple[str, float]] = set()
        self.first = {(name, point.co.x) for name, fcurve in curves_of(obj).items() for point in fcurve.keyframe_points}

    def edit(self, count: int) -> None:
        while len(self.his) + len(self.deleted) < count:
            name = str(self.rng.choice(NAMES))
            fcurve = curves_of(self.obj)[name]
            free = [p for p in fcurve.keyframe_points if not {(name, p.co.x + d) for d in (-1, 0, 1)} & self._places()]
            if free:
                kind = str(self.rng.choice(["value", "move", "delete", "insert", "key", "handle", "interpolation"]))
                getattr(self, kind)(name, fcurve, free[self.rng.integers(len(free))])
                fcurve.update()

    def _places(self) -> set[tuple[str, float]]:
        return set(self.his) | self.deleted

    def _value(self) -> float:
        return float(np.float32(self.rng.uniform(0.02, 1.3)))

    def value(self, name: str, fcurve: bpy.types.FCurve, point: bpy.types.Keyframe) -> None:
        point.co.y = self.his[name, point.co.x] = self._value()

    def move(self, name: str, fcurve: bpy.types.FCurve, point: bpy.types.Keyframe) -> None:
        frame = point.co.x + 0.5
        self.his[name, frame] = point.co.y
        if (name, point.co.x) in self.first:
            self.deleted.add((name, point.co.x))
        for place in (point.co, point.handle_left, point.handle_right):
            place.x += 0.5

    def delete(self, name: str, fcurve: bpy.types.FCurve, point: bpy.types.Keyframe) -> None:
        self.deleted.add((name, point.co.x))
        fcurve.keyframe_points.remove(point)

    def insert(self, name: str, fcurve: bpy.types.FCurve, point: bpy.types.Keyframe) -> None:
        frame, value = point.co.x + 0.25, self._value()
        fcurve.keyframe_points.insert(frame, value)
        self.his[name, frame] = value

    def key(self, name: str, fcurve: bpy.types.FCurve, point: bpy.types.Keyframe) -> None:
        frame, value = point.co.x, self._value()
        key = self.obj.data.shape_keys.key_blocks[name]
        key.slider_max = 2.0
        key.value = value
        assert key.keyframe_insert("value", frame=frame)
        self.his[name, frame] = value

    def handle(self, name: str, fcurve: bpy.types.FCurve, point: bpy.types.Keyframe) -> None:
        point.interpolation = "BEZIER"
        point.handle_left_type = point.handle_right_type = "FREE"
        point.handle_right = (point.co.x + 0.4, point.co.y + 0.3)
        self.his[name, point.co.x] = point.co.y

    def interpolation(self, name: str, fcurve: bpy.types.FCurve, point: bpy.types.Keyframe) -> None:
        point.interpolation = "CONSTANT"
        self.his[name, point.co.x] = point.co.y

    def check(self) -> None:
        """Everything stands, in the keys and in what is evaluated."""
        curves = curves_of(self.obj)
        places = {(name, p.co.x): p.co.y for name, fcurve in curves.items() for p in fcurve.keyframe_points}
        kinds = {(name, p.co.x): p.type for name, fcurve in curves.items() for p in fcurve.keyframe_points}
        for place, value in self.his.items():
            assert places[place] == value and kinds[place] != "GENERATED"
            bpy.context.scene.frame_set(int(np.floor(place[1])), subframe=place[1] % 1)
            key = self.obj.data.shape_keys.key_blocks[place[0]]
            assert key.value == pytest.approx(min(value, key.slider_max), abs=1e-5)
        assert not self.deleted & set(places)
