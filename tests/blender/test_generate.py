# SPDX-License-Identifier: GPL-3.0-or-later
"""The button, from speech to a mouth that moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from heads import (
    arkit_puppet,
    evaluated,
    fingerprint,
    fit_of,
    largest_error,
    made_up_head,
    motion_of,
    weights_at,
)
from strip_tools import add_strip
from wav2sem_lipsync.operators import scene_task
from wav2sem_lipsync.operators.properties import job_state

EXACT = 2e-5  # metres
RATES = {
    "23.976": (24, 1.001),
    "24": (24, 1.0),
    "25": (25, 1.0),
    "29.97": (30, 1.001),
    "30": (30, 1.0),
    "60": (60, 1.0),
    "120": (120, 1.0),
}


def generate() -> set[str]:
    return bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True)


@pytest.mark.parametrize("rate", RATES)
def test_every_frame_is_weights_times_basis(rate: str, settings: Any, toy_folder: Path, speech_file: Path) -> None:
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = RATES[rate]
    head = made_up_head()
    settings.start_frame = 11
    assert generate() == {"FINISHED"}
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 11) < EXACT


def test_a_start_between_frames(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    settings.start_frame = 3.4
    generate()
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), np.float32(3.4)) < EXACT


def test_keys_within_tolerance(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    settings.keys, settings.tolerance = "REDUCED", 0.05
    generate()
    motion = motion_of(toy_folder, speech_file)
    frames = np.arange(1, 60)
    wanted = weights_at(motion, (frames - 1) / 24)
    blocks = head.data.shape_keys.key_blocks
    for frame, weights in zip(frames, wanted, strict=True):
        bpy.context.scene.frame_set(int(frame))
        for name, weight in zip(motion.names, weights, strict=True):
            assert abs(blocks[name].value - weight) <= 0.05 + 1e-4
    every = 78 * len(motion.names)
    assert sum(len(curve.keyframe_points) for curve in curves(head)) < every


def curves(obj: bpy.types.Object) -> Any:
    data = obj.data.shape_keys.animation_data
    return data.action.layers[0].strips[0].channelbag(data.action_slot).fcurves


def test_style_changes_the_motion(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    settings.style = "broad"
    generate()
    fit = fit_of(head)
    assert largest_error(head, motion_of(toy_folder, speech_file, style="broad"), fit, 1) < EXACT
    assert largest_error(head, motion_of(toy_folder, speech_file, style="neutral"), fit, 1) > EXACT


def test_two_styles_mix(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    settings.second_style, settings.style_mix = "broad", 0.25
    generate()
    fit = fit_of(head)
    mixed = motion_of(toy_folder, speech_file, style={"neutral": 0.75, "broad": 0.25})
    assert largest_error(head, mixed, fit, 1) < EXACT
    assert largest_error(head, motion_of(toy_folder, speech_file, style="neutral"), fit, 1) > EXACT


def test_the_mouth_comes_to_rest(settings: Any) -> None:
    head = made_up_head()
    generate()
    last = int(head.data.shape_keys.animation_data.action.frame_range[1])
    assert bpy.context.scene.frame_end >= last
    np.testing.assert_allclose(evaluated(head, last), evaluated(head, last + 50))
    assert all(curve.evaluate(last) == 0 for curve in curves(head))


def test_one_undo_step_takes_everything_back(settings: Any) -> None:
    made_up_head()
    bpy.context.scene.frame_end = 20
    before = fingerprint()
    bpy.ops.ed.undo_push(message="before")
    generate()
    assert bpy.data.actions
    assert bpy.context.scene.frame_end > 20
    bpy.ops.ed.undo()
    assert fingerprint() == before


def test_chosen_head_wins_over_the_active_object(settings: Any) -> None:
    head = made_up_head("Chosen")
    settings.target = head
    made_up_head("Active")
    generate()
    assert head.data.shape_keys
    assert bpy.data.objects["Active"].data.shape_keys is None


def test_result_is_told(settings: Any) -> None:
    made_up_head()
    generate()
    state = bpy.context.window_manager.wav2sem_job
    assert state.level == "INFO"
    assert "speaks for 3.0 s" in state.message
    assert "Head Lip Sync" in state.details
    assert not state.running


def test_selection_frame_and_active_key_stay(settings: Any) -> None:
    head = made_up_head()
    bpy.context.scene.frame_set(17, subframe=0.25)
    generate()
    assert bpy.context.scene.frame_current_final == 17.25
    assert bpy.context.view_layer.objects.active == head


def test_arkit_keys_of_any_mesh_are_driven_and_not_reshaped(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    puppet = arkit_puppet(["JAWOPEN", "mouthSmile_L", "mouthSmile.R", "unrelated"])
    shapes = [[tuple(point.co) for point in key.data] for key in puppet.data.shape_keys.key_blocks]
    generate()
    blocks = puppet.data.shape_keys.key_blocks
    assert [key.name for key in blocks] == ["Basis", "JAWOPEN", "mouthSmile_L", "mouthSmile.R", "unrelated"]
    assert [[tuple(point.co) for point in key.data] for key in blocks] == shapes
    motion = motion_of(toy_folder, speech_file)
    bpy.context.scene.frame_set(13)
    wanted = dict(zip(motion.names, weights_at(motion, np.array([0.5]))[0], strict=True))
    found = [blocks[name].value for name in ("JAWOPEN", "mouthSmile_L", "mouthSmile.R", "unrelated")]
    expected = [wanted["jawOpen"], wanted["mouthSmileLeft"], wanted["mouthSmileRight"], 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_several_objects_may_share_the_mesh(settings: Any) -> None:
    head = made_up_head()
    twin = head.copy()
    bpy.context.scene.collection.objects.link(twin)
    generate()
    moved = evaluated(twin, 13) - evaluated(twin, 500)
    assert np.abs(moved).max() > 1e-3
    np.testing.assert_allclose(evaluated(head, 13), evaluated(twin, 13))


def test_a_device_that_is_not_there_is_named_and_the_cpu_used(
    settings: Any, toy_folder: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = made_up_head()
    monkeypatch.setattr(scene_task, "device", lambda context: "DIRECTML")
    assert generate() == {"FINISHED"}
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < EXACT
    assert "DIRECTML cannot be used" in job_state(bpy.context).details


@pytest.mark.parametrize("source", ["FILE", "STRIP"])
def test_speech_that_is_over_before_the_scene_begins_is_told(source: str, settings: Any, speech_file: Path) -> None:
    """Shots often begin at frame 1001, and a start frame is 1 until somebody sets it."""
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1001, 1100
    arkit_puppet(["jawOpen", "mouthClose"])
    if source == "STRIP":
        add_strip(speech_file, 1).select = True
    settings.source = source
    assert generate() == {"FINISHED"}
    way = "move its strip" if source == "STRIP" else "choose a later start frame"
    told = f"The speech is over at frame 77, and the scene begins at frame 1001; {way}."
    assert told in job_state(bpy.context).details.splitlines()
    scene.frame_start = 50
    assert generate() == {"FINISHED"}
    assert "is over" not in job_state(bpy.context).details


def test_time_stretching_is_told(settings: Any) -> None:
    """Blender plays keys at another speed then, and the sound as before."""
    head = arkit_puppet(["jawOpen", "mouthClose"])
    assert generate() == {"FINISHED"}
    assert "stretches" not in job_state(bpy.context).details
    before = evaluated(head, 40)
    bpy.context.scene.render.frame_map_new = 200
    assert evaluated(head, 80) == pytest.approx(before, abs=1e-5)
    assert generate() == {"FINISHED"}
    assert "The scene stretches the time of keys" in job_state(bpy.context).details


def test_a_sound_in_the_home_folder(settings: Any, speech_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(speech_file.parent))
    monkeypatch.setenv("USERPROFILE", str(speech_file.parent))
    arkit_puppet(["jawOpen", "mouthClose"])
    settings.audio_path = f"~/{speech_file.name}"
    assert bpy.ops.wav2sem.generate_lipsync.poll()
    assert generate() == {"FINISHED"}
