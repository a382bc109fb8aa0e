# SPDX-License-Identifier: GPL-3.0-or-later
"""F-curve modifiers that the animator limited to some words stay with them when the words move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, add_envelope, curves_of, generate, values_at
from heads import arkit_puppet
from strip_tools import add_strip, drag
from wav2sem_lipsync.inference import LipSyncError
from wav2sem_lipsync.operators import ids, keyframes, nod, sound
from wav2sem_lipsync.operators.face_properties import face_of

WORDS = np.arange(30, 100)


@pytest.fixture
def strip(settings: Any, speech_file: Path) -> Any:
    """A sound strip at frame 30, the speech of whoever generates."""
    strip = add_strip(speech_file, 30)
    strip.select, settings.source = True, "STRIP"
    return strip


def shut(fcurve: bpy.types.FCurve) -> None:
    """Nothing from frame 45 to 55, with a soft beginning."""
    limits = fcurve.modifiers.new("LIMITS")
    limits.use_max_y, limits.max_y = True, 0.0
    limits.use_restricted_range, limits.frame_start, limits.frame_end, limits.blend_in = True, 45, 55, 4


def in_steps(fcurve: bpy.types.FCurve) -> None:
    """Animated on fives, from frame 50 on."""
    stepped = fcurve.modifiers.new("STEPPED")
    stepped.frame_step, stepped.use_frame_start, stepped.frame_start = 5, True, 50


def enveloped(fcurve: bpy.types.FCurve) -> None:
    """Larger and larger from frame 45 to 55."""
    envelope = add_envelope(fcurve, {45: (-1.0, 1.0), 55: (-1.0, 0.5)})
    envelope.reference_value, envelope.default_min, envelope.default_max = 0.0, -1.0, 1.0


KINDS: tuple[Callable[[bpy.types.FCurve], None], ...] = (shut, in_steps, enveloped)


@pytest.mark.parametrize(
    ("destination", "button"),
    [
        ("ACTION", "retime"),
        ("NLA", "retime"),
        ("SLOT", "retime"),
        ("ACTION", "generate_lipsync"),
        ("SLOT", "generate_lipsync"),
    ],
)
@pytest.mark.parametrize("modify", KINDS)
def test_modifiers_go_with_the_words_they_are_for(
    modify: Callable[[bpy.types.FCurve], None], destination: str, button: str, settings: Any, strip: Any
) -> None:
    head = arkit_puppet([*NAMES, "own"])
    settings.destination = destination
    if destination == "SLOT":
        head.data.shape_keys.key_blocks["own"].keyframe_insert("value", frame=1)
    generate()
    plain = values_at(head, "jawOpen", WORDS)
    modify(curves_of(head)["jawOpen"])
    head.data.shape_keys.animation_data.action = head.data.shape_keys.animation_data.action  # seen from now on
    before = values_at(head, "jawOpen", WORDS)
    assert np.abs(before - plain).max() > 0.1
    for place in (95, 10):  # later, and earlier
        drag(strip, place)
        assert getattr(bpy.ops.wav2sem, button)() == {"FINISHED"}
        if modify is in_steps:  # where the steps lie is counted from frame 0
            assert curves_of(head)["jawOpen"].modifiers[0].frame_start == place + 20
        else:
            assert values_at(head, "jawOpen", WORDS + place - 30) == pytest.approx(before, abs=1e-5)


def test_modifiers_in_a_strip_on_sliders_and_on_the_nod_come_along(settings: Any, strip: Any) -> None:
    settings.destination = "NLA"
    head = arkit_puppet(NAMES)
    face = face_of(head)
    generate()
    face.life.nod = 1.0
    face.keyframe_insert("strength", frame=40)
    line = head.data.shape_keys.animation_data.nla_tracks[0].strips[0]
    line.use_animated_influence = True
    line.fcurves.find("influence").keyframe_points.insert(40, 1.0)
    nodding = nod.object_of(head).animation_data
    turning = keyframes.bag_of(nodding.action, nodding.action_slot)
    slider = head.animation_data.action.layers[0].strips[0].channelbags[0].fcurves[0]
    for fcurve in (line.fcurves.find("influence"), slider, turning.fcurves[0]):
        shut(fcurve)
    drag(strip, 90)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    line = head.data.shape_keys.animation_data.nla_tracks[0].strips[0]
    limits = [fcurve.modifiers[0] for fcurve in (line.fcurves.find("influence"), slider, turning.fcurves[0])]
    assert [(each.frame_start, each.frame_end, each.blend_in) for each in limits] == [(105, 115, 4)] * 3
    face.offset = 10
    assert limits[0].frame_start == 115, "as the keys of the strip do"
    assert limits[1].frame_start == 105


def test_another_frame_rate_stretches_blends(settings: Any, speech_file: Path) -> None:
    bpy.context.scene.render.fps = 24
    head = arkit_puppet(NAMES)
    settings.start_frame = 25
    generate()
    shut(curves_of(head)["jawOpen"])
    bpy.context.scene.render.fps = 48
    (sound_strip,) = bpy.context.scene.sequence_editor.strips_all
    drag(sound_strip, 49)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    limits = curves_of(head)["jawOpen"].modifiers[0]
    assert (limits.frame_start, limits.frame_end, limits.blend_in) == pytest.approx((89, 109, 8))


def test_a_bake_that_fails_leaves_modifiers_where_they_were(
    settings: Any, strip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = arkit_puppet([*NAMES, "own"])
    head.data.shape_keys.key_blocks["own"].keyframe_insert("value", frame=1)
    settings.destination = "SLOT"
    generate()
    shut(curves_of(head)["jawOpen"])
    drag(strip, 90)

    def fail(*arguments: Any) -> None:
        raise LipSyncError("no")

    monkeypatch.setattr(sound, "play_in_sync", fail)
    with pytest.raises(RuntimeError, match="no"):
        bpy.ops.wav2sem.generate_lipsync()
    limits = curves_of(head)["jawOpen"].modifiers[0]
    assert (limits.frame_start, limits.frame_end) == (45, 55)
    assert ids.MARK in head.data.shape_keys.animation_data.action


def test_a_range_on_words_that_go_apart_stays() -> None:
    """Frames 1 to 10 go to 20, those after to 11: what would be turned round stays where it is."""
    action = bpy.data.actions.new("own")
    slot = action.slots.new(id_type="OBJECT", name="own")
    fcurve = keyframes.make_bag(action, slot).fcurves.new("location")
    shut(fcurve)
    enveloped(fcurve)

    def apart(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.where(frames < 50, frames + 20, frames - 40), (frames < 50).astype(int)

    def nowhere(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(frames), np.nan), np.zeros(len(frames), int)

    for move in (apart, nowhere):
        keyframes.move_modifiers(fcurve, move, 2.0)
        limits, envelope = fcurve.modifiers
        assert (limits.frame_start, limits.frame_end, limits.blend_in) == (45, 55, 4)
        assert [point.frame for point in envelope.control_points] == [45, 55]


def test_an_envelope_whose_points_read_as_a_modifier_moves_and_is_copied() -> None:
    """Blender takes a point that is set alone for a modifier: what follows would be a CYCLES one, of no F-curve."""
    action = bpy.data.actions.new("own")
    bag = keyframes.make_bag(action, action.slots.new(id_type="OBJECT", name="own"))
    fcurve = bag.fcurves.new("location")
    cycles = float(np.uint32(0x3F800004).view(np.float32))  # ends in 4, which is what CYCLES is
    envelope = add_envelope(fcurve, dict.fromkeys(range(1, 11), (cycles, cycles)))
    keyframes.move_modifiers(fcurve, lambda frames: (frames + 20, np.zeros(len(frames), int)))
    assert [point.frame for point in envelope.control_points] == list(range(21, 31))
    other = bag.fcurves.new("location", index=1)
    keyframes.Contents.of(fcurve).put(other)
    assert keyframes.modifiers_of(other) == keyframes.modifiers_of(fcurve)
