# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user animates himself is his as long as it plays: muted drivers and curves give their shape keys back."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, generate, values_at
from heads import arkit_puppet
from strip_tools import push_down
from wav2sem_lipsync.inference import MeshError
from wav2sem_lipsync.operators import face_properties, refine
from wav2sem_lipsync.operators.face_properties import face_of
from wav2sem_lipsync.operators.properties import job_state

FRAMES = np.arange(1, 70)


def jaw(head: bpy.types.Object) -> np.ndarray:
    return values_at(head, "jawOpen", FRAMES)


def driver(head: bpy.types.Object, name: str) -> bpy.types.FCurve:
    found = head.data.shape_keys.key_blocks[name].driver_add("value")
    found.driver.expression = "0.5"
    return found


def test_muted_drivers_leave_the_mouth_to_lip_sync(settings: Any) -> None:
    head = arkit_puppet(NAMES)
    curves = [driver(head, name) for name in NAMES]
    for curve in curves[1:]:
        curve.mute = True
    generate()
    assert "Left to their drivers: jawOpen." in job_state(bpy.context).details
    curves[0].mute = True
    generate()
    assert "Left to their drivers" not in job_state(bpy.context).details
    assert np.ptp(jaw(head)) > 0.1


def test_a_muted_curve_covers_nothing(settings: Any) -> None:
    head = arkit_puppet(NAMES)
    head.data.shape_keys.key_blocks["jawOpen"].keyframe_insert("value", frame=1)
    data = head.data.shape_keys.animation_data
    (curve,) = data.action.layers[0].strips[0].channelbag(data.action_slot).fcurves
    generate()
    assert "also animates jawOpen" in job_state(bpy.context).details
    curve.mute = True
    generate()
    assert "also animates" not in job_state(bpy.context).details
    assert np.ptp(jaw(head)) > 0.1


@pytest.fixture
def pushed(settings: Any) -> bpy.types.Object:
    """A head whose Strength is keyed, in an action that was pushed down since."""
    head = arkit_puppet(NAMES)
    generate()
    face = face_of(head)
    for frame, value in ((1, 0.0), (60, 1.0)):
        face.strength = value
        face.keyframe_insert("strength", frame=frame)
    refine.refresh(head, bpy.context.scene)
    push_down(head.animation_data)
    return head


def test_sliders_that_the_nla_keys_are_told_and_nothing_freezes(pushed: bpy.types.Object) -> None:
    bpy.context.scene.frame_set(1)
    before = jaw(pushed)
    bpy.context.scene.frame_set(1)
    face_of(pushed).jaw = 1.5
    np.testing.assert_array_equal(jaw(pushed), before)
    told = "“Strength” is keyed in the strip “pushed” of “Puppet”, which lip sync cannot follow; "
    assert refine.disabled_reason(pushed).startswith(told)
    with pytest.raises(MeshError, match="cannot follow"):
        face_properties.snapshot(pushed, bpy.context.scene)
    with pytest.raises(RuntimeError, match="cannot follow"):
        bpy.ops.wav2sem.generate_lipsync()


def test_a_muted_strip_keys_no_slider(pushed: bpy.types.Object) -> None:
    pushed.animation_data.nla_tracks[0].strips[0].mute = True
    face_of(pushed).strength = 0.5
    assert refine.disabled_reason(pushed) == ""
    assert np.ptp(jaw(pushed)) > 0.05
