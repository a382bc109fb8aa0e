# SPDX-License-Identifier: GPL-3.0-or-later
"""Re-time: strips are dragged, cut, renamed; the animation follows, hand edits with it, and nothing is listened to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import soundfile
from heads import arkit_puppet, evaluated, fingerprint, fit_of, largest_error, made_up_head, motion_of, rest
from strip_tools import add_strip, drag, set_handles
from wav2sem_lipsync.inference import LipSyncModel
from wav2sem_lipsync.operators import ids, nod, retime, run
from wav2sem_lipsync.operators.strip_times import span_of

EXACT = 4e-5  # metres: weights are stored in 16 bits


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks the network fails."""

    def run(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the network was asked again")

    monkeypatch.setattr(LipSyncModel, "run", run)


def generate_from_strips(*strips: Any) -> bpy.types.Object:
    head = made_up_head()
    for strip in bpy.context.scene.sequence_editor.strips_all:
        strip.select = strip in strips
    bpy.context.scene.wav2sem_lipsync.source = "STRIP"
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    return head


def reason() -> str:
    return retime.disabled_reason(bpy.context)


def curve(head: bpy.types.Object, name: str = "jawOpen") -> bpy.types.FCurve:
    data = head.data.shape_keys.animation_data
    action, slot = (data.action, data.action_slot) if data.action else _in_nla(data)
    bag = action.layers[0].strips[0].channelbag(slot)
    return bag.fcurves.find(f'key_blocks["{name}"].value')


def _in_nla(data: Any) -> tuple[Any, Any]:
    strip = data.nla_tracks[0].strips[0]
    return strip.action, strip.action_slot


def test_a_dragged_strip_takes_the_animation_along(
    settings: Any, speech_file: Path, toy_folder: Path, request: pytest.FixtureRequest
) -> None:
    strip = add_strip(speech_file, 30)
    head = generate_from_strips(strip)
    assert reason() == "No sound strip has moved since lip sync was generated."
    assert not bpy.ops.wav2sem.retime.poll()
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    request.getfixturevalue("deaf")
    drag(strip, 83)
    strip.name = "renamed"
    assert reason() == ""
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    assert largest_error(head, motion, fit, 83) < EXACT
    assert head.data.shape_keys.animation_data.action.frame_range[0] == 83
    assert reason().startswith("No sound strip has moved")


def test_a_strip_that_the_bake_placed_itself_can_be_dragged(settings: Any, speech_file: Path, toy_folder: Path) -> None:
    head = made_up_head()
    settings.start_frame = 11
    bpy.ops.wav2sem.generate_lipsync()
    (strip,) = bpy.context.scene.sequence_editor.strips_all
    strip.sound_offset = 0.5 / 24
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 11.5) < EXACT


@pytest.mark.parametrize("start", [11.0, 11.7])
def test_a_sound_that_does_not_end_on_a_frame_has_not_moved(settings: Any, tmp_path: Path, start: float) -> None:
    soundfile.write(tmp_path / "odd.wav", np.random.default_rng(1).normal(0, 0.1, int(2.03 * 16000)), 16000)
    made_up_head()
    settings.audio_path, settings.start_frame = str(tmp_path / "odd.wav"), start
    bpy.ops.wav2sem.generate_lipsync()
    assert reason() == retime.NOTHING_MOVED
    (strip,) = bpy.context.scene.sequence_editor.strips_all
    drag(strip, 12)
    assert reason() == ""
    drag(strip, 11)
    set_handles(strip, 11, 55)
    assert reason() == ""


def test_each_strip_is_followed_by_its_own_piece(settings: Any, speech_file: Path, toy_folder: Path) -> None:
    one, two = add_strip(speech_file, 11), add_strip(speech_file, 211)
    head = generate_from_strips(one, two)
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    drag(two, 301)
    drag(one, 401)  # past the other one
    bpy.ops.wav2sem.retime()
    assert largest_error(head, motion, fit, 301) < EXACT
    assert largest_error(head, motion, fit, 401) < EXACT
    assert np.abs(evaluated(head, 390) - rest(head)).max() < 1e-6


def test_hand_edits_move_with_the_piece_they_lie_in(settings: Any, speech_file: Path) -> None:
    one, two = add_strip(speech_file, 11), add_strip(speech_file, 211)
    head = generate_from_strips(one, two)
    for frame, value in ((40, 0.77), (240, 0.66)):
        point = next(point for point in curve(head).keyframe_points if round(point.co.x) == frame)
        point.co.y = value
        point.type = "KEYFRAME"
    drag(two, 261)
    bpy.ops.wav2sem.retime()
    found = curve(head)
    assert found.evaluate(40) == pytest.approx(0.77, abs=1e-5)
    assert found.evaluate(290) == pytest.approx(0.66, abs=1e-5)
    hand = [round(point.co.x) for point in found.keyframe_points if point.type == "KEYFRAME"]
    assert hand == [40, 290]


def test_an_edit_of_the_first_key_silences_no_line_that_comes_before_it_now(
    settings: Any, speech_file: Path, toy_folder: Path
) -> None:
    one, two = add_strip(speech_file, 11, "one"), add_strip(speech_file, 211, "two", 4)
    head = generate_from_strips(one, two)
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    curve(head).keyframe_points[0].co.y += 0.05
    drag(one, 401)
    bpy.ops.wav2sem.retime()
    assert bpy.context.window_manager.wav2sem_job.message.endswith("1 key edited by hand moved along.")
    assert largest_error(head, motion, fit, 211) < EXACT


def test_edits_on_words_that_are_cut_off_leave_the_next_line_alone(
    settings: Any, speech_file: Path, toy_folder: Path
) -> None:
    """The end of a line is trimmed, and the next one moved up to it."""
    one, two = add_strip(speech_file, 1, "one"), add_strip(speech_file, 101, "two", 4)
    head = generate_from_strips(one, two)
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    for point in curve(head).keyframe_points:
        if round(point.co.x) in (20, 50, 60):
            point.co.y = 0.9
            point.type = "KEYFRAME"
    set_handles(one, 1, 37)
    drag(two, 38)
    bpy.ops.wav2sem.retime()
    assert [round(point.co.x) for point in curve(head).keyframe_points if point.type == "KEYFRAME"] == [20]
    assert bpy.context.window_manager.wav2sem_job.message.endswith(
        "; 1 key edited by hand moved along; 2 edited keys on words cut off and spoken over left out."
    )
    assert largest_error(head, motion, fit, 38) < EXACT


def test_edits_on_words_that_were_cut_out_leave_the_rest_of_the_line_alone(settings: Any, speech_file: Path) -> None:
    """The middle of a line is cut out, and the gap closed."""
    strip = add_strip(speech_file, 1)
    head = generate_from_strips(strip)
    heard = [curve(head).evaluate(frame) for frame in range(45, 70)]
    for point in curve(head).keyframe_points:
        if round(point.co.x) in (28, 32, 36):
            point.co.y, point.type = 1.0, "KEYFRAME"
    middle = strip.split(frame=25, split_method="SOFT")
    end = middle.split(frame=41, split_method="SOFT")
    bpy.context.scene.sequence_editor.strips.remove(middle)
    drag(end, 1 - 16)  # its content begins where it is not heard
    assert span_of(end)[0] == 25
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    assert "3 edited keys on words cut off and spoken over left out" in bpy.context.window_manager.wav2sem_job.message
    assert [curve(head).evaluate(frame) for frame in range(29, 54)] == pytest.approx(heard, abs=0.02)


def test_a_bake_in_the_nla_follows_too(settings: Any, speech_file: Path, toy_folder: Path) -> None:
    strip = add_strip(speech_file, 30)
    settings.destination = "NLA"
    head = generate_from_strips(strip)
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    drag(strip, 60)
    bpy.ops.wav2sem.retime()
    assert largest_error(head, motion, fit, 60) < EXACT
    drag(strip, 20)
    bpy.ops.wav2sem.retime()
    assert largest_error(head, motion, fit, 20) < EXACT


def test_an_nla_strip_that_was_moved_by_hand_comes_back_to_its_sound(
    settings: Any, speech_file: Path, toy_folder: Path
) -> None:
    sound = add_strip(speech_file, 30)
    settings.destination = "NLA"
    head = generate_from_strips(sound)
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    head.data.shape_keys.animation_data.nla_tracks[0].strips[0].frame_start += 10
    assert reason() == ""
    bpy.ops.wav2sem.retime()
    assert largest_error(head, motion, fit, 30) < EXACT


def test_bakes_in_the_nla_may_change_places(settings: Any, speech_file: Path, toy_folder: Path) -> None:
    one, two = add_strip(speech_file, 11, "one"), add_strip(speech_file, 211, "two")
    settings.destination, settings.source = "NLA", "STRIP"
    head = made_up_head()
    for strip in (one, two):
        one.select, two.select = strip == one, strip == two
        bpy.ops.wav2sem.generate_lipsync()
    strips = head.data.shape_keys.animation_data.nla_tracks[0].strips
    strips[0].mute, strips[0].name = True, "first"
    strips[1].use_animated_influence = True
    for frame, value in ((211, 1.0), (230, 0.5)):
        strips[1].fcurves.find("influence").keyframe_points.insert(frame, value)
    drag(two, 31)
    drag(one, 311)
    bpy.ops.wav2sem.retime()
    found = [(strip.frame_start, strip.mute, strip.extrapolation) for strip in strips]
    assert found == [(31, False, "HOLD"), (311, True, "HOLD")]
    assert strips[1].name == "first"
    influence = strips[0].fcurves.find("influence").keyframe_points
    assert [tuple(point.co) for point in influence] == [(31, 1.0), (50, 0.5)]
    strips[1].mute, strips[0].use_animated_influence, strips[0].influence = False, False, 1.0
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    assert largest_error(head, motion, fit, 31) < EXACT
    assert largest_error(head, motion, fit, 311) < EXACT


def test_a_bake_on_top_of_another_in_the_nla_gets_a_track(settings: Any, speech_file: Path) -> None:
    one, two = add_strip(speech_file, 11, "one"), add_strip(speech_file, 211, "two")
    settings.destination, settings.source = "NLA", "STRIP"
    head = made_up_head()
    for strip in (one, two):
        one.select, two.select = strip == one, strip == two
        bpy.ops.wav2sem.generate_lipsync()
    drag(two, 41)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    tracks = head.data.shape_keys.animation_data.nla_tracks
    assert [[strip.frame_start for strip in track.strips] for track in tracks] == [[11], [41]]


def test_a_scaled_animation_strip_is_told(settings: Any, speech_file: Path) -> None:
    sound = add_strip(speech_file, 30)
    settings.destination = "NLA"
    head = generate_from_strips(sound)
    head.data.shape_keys.animation_data.nla_tracks[0].strips[0].scale = 1.5
    drag(sound, 60)
    assert "scaled" in reason()


def test_in_an_action_of_the_users_only_our_curves_move(settings: Any, speech_file: Path) -> None:
    head = arkit_puppet(["jawOpen", "mouthClose", "blink"])
    head.data.shape_keys.key_blocks["blink"].keyframe_insert("value", frame=40)
    sound = add_strip(speech_file, 30)
    settings.destination, settings.source = "SLOT", "STRIP"
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    drag(sound, 60)
    bpy.ops.wav2sem.retime()
    assert curve(head, "blink").range()[0] == 40
    assert curve(head, "jawOpen").range()[0] == 60


def test_blinks_and_nods_come_along(settings: Any, speech_file: Path) -> None:
    sound = add_strip(speech_file, 30)
    head = made_up_head()
    life = head.wav2sem_face.life
    life.blinks = life.nod = 1.0
    life.rate = 60
    sound.select, settings.source = True, "STRIP"
    bpy.ops.wav2sem.generate_lipsync()
    nodding = nod.object_of(head).animation_data.action
    before = [curve(head, "eyeBlinkLeft").evaluate(frame) for frame in range(30, 100)]
    turns = nodding.frame_range[0]
    assert max(before) > 0.5
    (turn,) = (each for each in nodding.layers[0].strips[0].channelbags[0].fcurves if each.array_index == 0)
    turn.keyframe_points[20].co.y = 0.77
    edited = turn.keyframe_points[20].co.x
    drag(sound, 90)
    bpy.ops.wav2sem.retime()
    assert [curve(head, "eyeBlinkLeft").evaluate(frame) for frame in range(90, 160)] == pytest.approx(before, abs=1e-5)
    assert nodding.frame_range[0] == turns + 60
    assert turn.evaluate(edited + 60) == pytest.approx(0.77) and abs(turn.evaluate(edited)) < 0.3


def test_several_selected_heads_follow_at_once(settings: Any, speech_file: Path) -> None:
    sound = add_strip(speech_file, 30)
    heads = [generate_from_strips(sound)]
    heads.append(generate_from_strips(sound))
    for head in heads:
        head.select_set(True)
    drag(sound, 60)
    bpy.ops.wav2sem.retime()
    assert [curve(head).range()[0] for head in heads] == [60, 60]


def test_a_strip_that_was_cut_gives_two_pieces(settings: Any, speech_file: Path, toy_folder: Path) -> None:
    strip = add_strip(speech_file, 1)
    head = generate_from_strips(strip)
    motion = motion_of(toy_folder, speech_file)
    second = strip.split(frame=25, split_method="SOFT")
    drag(second, 101)  # the content begins at 101, what is heard of it at 125
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    jaw = curve(head)
    wanted = motion.weights[:, motion.names.index("jawOpen")]
    for frame, second_heard in ((10, 9 / 24), (20, 19 / 24), (130, 29 / 24), (160, 59 / 24)):
        assert jaw.evaluate(frame) == pytest.approx(np.interp(second_heard * 50, range(len(wanted)), wanted), abs=0.02)
    assert jaw.evaluate(75) == 0.0


def test_a_copy_is_left_out(settings: Any, speech_file: Path, toy_folder: Path) -> None:
    strip = add_strip(speech_file, 1)
    head = generate_from_strips(strip)
    copy = add_strip(speech_file, 301)
    copy[ids.PIECE] = strip[ids.PIECE]
    drag(strip, 11)
    bpy.ops.wav2sem.retime()
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 11) < EXACT
    strip.name = "other"
    drag(strip, 21)
    assert "several copies of “line”" in reason()


def test_what_cannot_be_followed_is_said_and_nothing_changes(settings: Any, speech_file: Path, tmp_path: Path) -> None:
    strip = add_strip(speech_file, 30)
    set_handles(strip, 42, 78)
    generate_from_strips(strip)
    set_handles(strip, 42, 90)
    assert "More of “line” is heard now" in reason()
    before = fingerprint()
    with pytest.raises(RuntimeError, match="More of"):
        bpy.ops.wav2sem.retime("EXEC_DEFAULT")
    assert fingerprint() == before
    set_handles(strip, 48, 70)
    assert reason() == "", "what was heard less is followed"
    bpy.context.scene.sequence_editor.strips.remove(strip)
    assert reason().startswith("The strip “line” is gone from the sequencer; bring it back, delete its line")


def test_a_strip_of_another_scene_is_told(settings: Any, speech_file: Path) -> None:
    head, other = generate_from_strips(add_strip(speech_file, 30)), bpy.data.scenes.new("Close-up")
    other.collection.objects.link(head)
    other.view_layers[0].objects.active = head
    with bpy.context.temp_override(scene=other, view_layer=other.view_layers[0]):
        assert reason() == "The strip “line” is in the sequencer of the scene “Scene”; re-time there."


def test_a_shortened_strip_shortens_the_motion_and_can_be_drawn_out_again(
    settings: Any, speech_file: Path, toy_folder: Path
) -> None:
    strip = add_strip(speech_file, 1)
    head = generate_from_strips(strip)
    keys = len(curve(head).keyframe_points)
    set_handles(strip, 1, 37)
    bpy.ops.wav2sem.retime()
    assert curve(head).range()[1] <= 37 + 6
    set_handles(strip, 1, 73)
    bpy.ops.wav2sem.retime()
    assert len(curve(head).keyframe_points) == keys
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < EXACT


def test_another_frame_rate_is_followed(settings: Any, speech_file: Path, toy_folder: Path) -> None:
    strip = add_strip(speech_file, 25)
    head = generate_from_strips(strip)
    motion = motion_of(toy_folder, speech_file)
    bpy.context.scene.render.fps = 30
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    frames = np.arange(25, 80)
    wanted = np.interp((frames - 25) / 30 * 50, range(len(motion.weights)), motion.weights[:, 0])
    jaw = curve(head, motion.names[0])
    assert np.abs([jaw.evaluate(frame) for frame in frames] - wanted).max() < 1e-3


def test_undo_is_one_step(settings: Any, speech_file: Path) -> None:
    strip = add_strip(speech_file, 30)
    generate_from_strips(strip)
    drag(strip, 50)
    before = fingerprint()
    bpy.ops.ed.undo_push(message="dragged")
    bpy.ops.wav2sem.retime("EXEC_DEFAULT", True)
    assert fingerprint() != before
    bpy.ops.ed.undo()
    assert fingerprint() == before


def test_a_head_without_strips_is_told_so(settings: Any) -> None:
    made_up_head()
    assert "has no lip sync from sound strips" in reason()
    assert not retime.is_offered(bpy.context)


def test_a_damaged_mark_offers_nothing(settings: Any, speech_file: Path) -> None:
    strip = add_strip(speech_file, 30)
    head = generate_from_strips(strip)
    action = head.data.shape_keys.animation_data.action
    about = json.loads(action[ids.MARK])
    about["pieces"][0]["frames"] = [5, 1]
    action[ids.MARK] = json.dumps(about)
    assert not retime.is_offered(bpy.context)


def test_nothing_is_moved_while_a_lip_sync_is_being_generated(
    settings: Any, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strip = add_strip(speech_file, 30)
    generate_from_strips(strip)
    drag(strip, 60)
    assert reason() == ""
    monkeypatch.setattr(run, "current", lambda: object())
    assert reason().startswith("A lip sync is being generated")


def test_the_panel_is_told_what_happened(settings: Any, speech_file: Path) -> None:
    strip = add_strip(speech_file, 30)
    generate_from_strips(strip)
    drag(strip, 60)
    bpy.ops.wav2sem.retime()
    assert bpy.context.window_manager.wav2sem_job.message == "“Head” follows its strips."


def test_saved_and_opened_again_the_strips_are_still_known(
    settings: Any, speech_file: Path, toy_folder: Path, tmp_path: Path
) -> None:
    one, two = add_strip(speech_file, 11), add_strip(speech_file, 211)
    generate_from_strips(one, two)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    assert reason() == retime.NOTHING_MOVED
    head = bpy.data.objects["Head"]
    strips = sorted(bpy.context.scene.sequence_editor.strips_all, key=lambda strip: span_of(strip)[0])
    drag(strips[1], 260)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 260) < EXACT


def test_appended_to_a_file_without_sound_the_head_says_so(settings: Any, speech_file: Path, tmp_path: Path) -> None:
    generate_from_strips(add_strip(speech_file, 11))
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "head.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "head.blend")) as (there, here):
        here.objects = there.objects
    (head,) = here.objects
    bpy.context.scene.collection.objects.link(head)
    bpy.context.view_layer.objects.active = head
    assert reason().startswith("The strip “line” is gone from the sequencer; bring it back, delete its line")


def test_a_head_that_speaks_in_two_scenes_is_retimed_in_each(settings: Any, speech_file: Path) -> None:
    settings.destination = "NLA"
    head, here, there = generate_from_strips(add_strip(speech_file, 30)), bpy.context.scene, bpy.data.scenes.new("Shot")
    there.collection.objects.link(head)
    there.view_layers[0].objects.active = head
    spoken = there.wav2sem_lipsync
    spoken.audio_path, spoken.destination, spoken.start_frame = str(speech_file), "NLA", 200
    with bpy.context.temp_override(scene=there, view_layer=there.view_layers[0]):
        assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    for scene, starts in ((here, [37, 200]), (there, [37, 207])):
        with bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0]):
            assert reason() == retime.NOTHING_MOVED
            drag(scene.sequence_editor.strips_all[0], 37 if scene == here else 207)
            assert bpy.ops.wav2sem.retime() == {"FINISHED"}
        (track,) = head.data.shape_keys.animation_data.nla_tracks
        assert [strip.frame_start for strip in track.strips] == starts
