# SPDX-License-Identifier: GPL-3.0-or-later
"""Actions, slots, tracks and drivers: ours are right, the user's stay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import generate
from heads import add_key, arkit_puppet, evaluated, made_up_head, overridden, rest
from wav2sem_lipsync.inference import ModelPackage
from wav2sem_lipsync.operators import audio_source, bake, ids, lipsync_task


def animation_of(obj: bpy.types.Object) -> bpy.types.AnimData:
    return obj.data.shape_keys.animation_data


def bag_of(action: bpy.types.Action, slot: Any) -> Any:
    return action.layers[0].strips[0].channelbag(slot)


def moves(obj: bpy.types.Object) -> bool:
    return bool(np.abs(evaluated(obj, 13) - evaluated(obj, 500)).max() > 1e-3)


def test_one_action_with_one_slot(settings: Any) -> None:
    head = made_up_head()
    generate()
    data = animation_of(head)
    assert [action.name for action in bpy.data.actions] == ["Head Lip Sync"]
    assert len(data.action.slots) == 1
    assert data.action_slot == data.action.slots[0]
    assert data.action_slot.target_id_type == "KEY"
    assert [user.name for user in data.action_slot.users()] == [head.data.shape_keys.name]
    assert len(data.action.layers) == 1


def test_keys_are_on_whole_frames_and_marked_as_generated(settings: Any) -> None:
    head = made_up_head()
    settings.start_frame = 7.3
    generate()
    data = animation_of(head)
    curves = bag_of(data.action, data.action_slot).fcurves
    assert len(curves)
    for curve in curves:
        frames = np.array([point.co.x for point in curve.keyframe_points])
        np.testing.assert_array_equal(frames, np.arange(8, 8 + len(frames)))
        assert {point.interpolation for point in curve.keyframe_points} == {"LINEAR"}
        assert {point.handle_left_type for point in curve.keyframe_points} == {"AUTO_CLAMPED"}
        assert {point.type for point in curve.keyframe_points} == {"GENERATED"}
        assert curve.group.name == ids.TRACK
        assert curve.is_valid


def test_handles_are_ready_for_bezier(settings: Any) -> None:
    head = made_up_head()
    generate()
    data = animation_of(head)
    curves = bag_of(data.action, data.action_slot).fcurves
    assert len(curves)
    for curve in curves:
        for point in curve.keyframe_points:
            assert point.handle_left.x < point.co.x < point.handle_right.x


def test_action_tells_where_it_came_from(settings: Any) -> None:
    made_up_head()
    generate()
    about = json.loads(bpy.data.actions[0][ids.MARK])
    assert (about["schema"], about["model"], about["style"], about["speech"]) == (1, "toy", "neutral", "babble.wav")


def test_names_that_need_escaping(settings: Any) -> None:
    puppet = arkit_puppet(["jawOpen"], 'Hero "the voice"\\ é 口')
    generate()
    assert moves(puppet)
    assert animation_of(puppet).action.name == 'Hero "the voice"\\ é 口 Lip Sync'


def test_users_action_keeps_playing(settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    frown = add_key(head, "frown")
    frown.keyframe_insert("value", frame=1)
    frown.value = 0.8
    frown.keyframe_insert("value", frame=13)
    users = animation_of(head).action
    slot = animation_of(head).action_slot
    generate()
    data = animation_of(head)
    assert (data.action, data.action_slot) == (users, slot)
    assert [track.name for track in data.nla_tracks] == [ids.TRACK]
    assert moves(head)
    bpy.context.scene.frame_set(13)
    assert head.data.shape_keys.key_blocks["frown"].value == pytest.approx(0.8)
    assert head.data.shape_keys.key_blocks["jawOpen"].value > 0.01


def test_action_shared_with_the_object_keeps_both_slots(settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    frown = add_key(head, "frown")
    head.keyframe_insert("location", frame=1)
    frown.keyframe_insert("value", frame=1)
    shared = head.animation_data.action
    animation_of(head).action = shared
    animation_of(head).action_slot = shared.slots.new("KEY", "frown slot")
    slots = [slot.identifier for slot in shared.slots]
    generate()
    assert animation_of(head).action == shared
    assert [slot.identifier for slot in shared.slots] == slots
    assert head.animation_data.action == shared
    assert moves(head)


def test_users_curve_on_the_same_key_wins_and_is_named(settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    jaw = add_key(head, "jawOpen")
    jaw.keyframe_insert("value", frame=1)
    generate()
    assert "also animates jawOpen" in bpy.context.window_manager.wav2sem_job.details
    bpy.context.scene.frame_set(13)
    assert jaw.value == 0


def test_users_tracks_are_left_alone(settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    frown = add_key(head, "frown")
    frown.value = 0.6
    frown.keyframe_insert("value", frame=1)
    data = animation_of(head)
    users = data.action
    data.nla_tracks.new().strips.new("mine", 1, users)
    data.action = None
    generate()
    assert data.action.name == "Head Lip Sync"
    assert [[strip.name for strip in track.strips] for track in data.nla_tracks] == [["mine"]]
    bpy.context.scene.frame_set(13)
    assert frown.value == pytest.approx(0.6)
    assert moves(head)


def test_drivers_are_left_alone_and_named(settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    jaw = add_key(head, "jawOpen")
    jaw.driver_add("value").driver.expression = "0.25"
    generate()
    data = animation_of(head)
    assert [driver.data_path for driver in data.drivers] == ['key_blocks["jawOpen"].value']
    assert 'key_blocks["jawOpen"].value' not in [c.data_path for c in bag_of(data.action, data.action_slot).fcurves]
    assert "jawOpen" in bpy.context.window_manager.wav2sem_job.details
    assert moves(head)
    bpy.context.scene.frame_set(13)
    assert jaw.value == pytest.approx(0.25)


def test_second_bake_takes_the_place_and_loses_nothing(settings: Any) -> None:
    head = made_up_head()
    generate()
    first = animation_of(head).action
    keys = len(bag_of(first, first.slots[0]).fcurves[0].keyframe_points)
    settings.start_frame = 40
    generate()
    second = animation_of(head).action
    assert second != first
    assert first.use_fake_user
    assert len(bag_of(first, first.slots[0]).fcurves[0].keyframe_points) == keys
    assert first.name in bpy.context.window_manager.wav2sem_job.details
    assert len(head.data.shape_keys.key_blocks) == 7


def test_into_a_strip(settings: Any) -> None:
    head = made_up_head()
    settings.destination, settings.start_frame = "NLA", 21
    generate()
    data = animation_of(head)
    assert data.action is None
    (strip,) = data.nla_tracks[0].strips
    assert (strip.frame_start, strip.action_frame_start, strip.scale) == (21, 21, 1)
    assert strip.action_slot == strip.action.slots[0]
    assert np.abs(evaluated(head, 33) - evaluated(head, 500)).max() > 1e-3
    np.testing.assert_array_equal(evaluated(head, 500), rest(head))
    np.testing.assert_array_equal(evaluated(head, 1), evaluated(head, 21))


def test_lines_one_after_another_share_the_track(settings: Any) -> None:
    head = made_up_head()
    settings.destination = "NLA"
    for start in (1, 200, 400):
        settings.start_frame = start
        generate()
    (track,) = animation_of(head).nla_tracks
    assert [strip.frame_start for strip in track.strips] == [1, 200, 400]
    np.testing.assert_array_equal(evaluated(head, 190), rest(head))
    np.testing.assert_array_equal(evaluated(head, 900), rest(head))
    settings.start_frame = 210
    replaced = track.strips[1].action
    generate()
    (track,) = animation_of(head).nla_tracks
    assert [strip.frame_start for strip in track.strips] == [1, 210, 400]
    assert replaced.use_fake_user


def test_from_action_to_strip_leaves_no_action_on_top(settings: Any) -> None:
    head = made_up_head()
    generate()
    settings.destination = "NLA"
    generate()
    data = animation_of(head)
    assert data.action is None
    assert len(data.nla_tracks) == 1
    assert moves(head)


def test_tweak_mode_is_refused(settings: Any) -> None:
    head = made_up_head()
    settings.destination = "NLA"
    generate()
    data = animation_of(head)
    data.nla_tracks[0].select = True
    data.nla_tracks[0].strips[0].select = True
    data.nla_tracks.active = data.nla_tracks[0]
    data.use_tweak_mode = True
    assert data.use_tweak_mode
    with pytest.raises(RuntimeError, match="tweak mode"):
        generate()


def test_a_script_may_bake_what_it_has_just_linked(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    """Without an operator in between Blender has not yet told the view layer of the new object."""
    head = made_up_head()
    source = audio_source.from_file(str(speech_file))
    task = lipsync_task.prepare(bpy.context.scene, head, source, ModelPackage.read(toy_folder), lipsync_task.Options())
    assert bake.write(task, task.compute(lambda *_: None, lambda: False)).moves


def test_head_in_an_excluded_collection_is_explained(settings: Any) -> None:
    puppet = arkit_puppet(["jawOpen"])
    bpy.context.scene.collection.objects.unlink(puppet)
    away = bpy.data.collections.new("Away")
    away.objects.link(puppet)
    bpy.context.scene.collection.children.link(away)
    bpy.context.view_layer.layer_collection.children["Away"].exclude = True
    settings.target = puppet
    generate()
    assert "not in the scene" in bpy.context.window_manager.wav2sem_job.message


REASONS = {
    "muted": (lambda head: setattr(head.data.shape_keys.key_blocks["jawOpen"], "mute", True), "is muted"),
    "range": (lambda head: setattr(head.data.shape_keys.key_blocks["jawOpen"], "slider_max", 0.001), "range"),
    "pinned": (lambda head: setattr(head, "show_only_shape_key", True), "pinned"),
    "hidden": (lambda head: setattr(head, "hide_viewport", True), "hidden"),
    "shapeless": (lambda head: flatten(head), "no shape of their own"),
}


def flatten(head: bpy.types.Object) -> None:
    for key in head.data.shape_keys.key_blocks:
        for point, vertex in zip(key.data, head.data.vertices, strict=True):
            point.co = vertex.co


@pytest.mark.parametrize("name", REASONS)
def test_a_mouth_that_does_not_move_is_explained(name: str, settings: Any) -> None:
    spoil, words = REASONS[name]
    puppet = arkit_puppet(["jawOpen"])
    spoil(puppet)
    settings.target = puppet
    generate()
    state = bpy.context.window_manager.wav2sem_job
    assert state.level == "WARNING"
    assert words in state.message


def test_another_action_on_top_is_explained(settings: Any) -> None:
    puppet = arkit_puppet(["jawOpen"])
    puppet.data.shape_keys.key_blocks["jawOpen"].keyframe_insert("value", frame=1)
    generate()
    state = bpy.context.window_manager.wav2sem_job
    assert state.level == "WARNING"
    assert "plays on top" in state.message


def linked_hero(folder: Path, keys: list[str]) -> bpy.types.Object:
    """A character of another file, its object and mesh overridden here."""
    return overridden(folder, arkit_puppet(keys, "Hero"))


def test_library_override_with_all_its_keys(speech_file: Path, tmp_path: Path) -> None:
    hero = linked_hero(tmp_path, ["jawOpen", "mouthClose"])
    settings = bpy.context.scene.wav2sem_lipsync
    settings.target, settings.audio_path = hero, str(speech_file)
    generate()
    assert moves(hero)
