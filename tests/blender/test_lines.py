# SPDX-License-Identifier: GPL-3.0-or-later
"""Several lines of one head in NLA strips: generated, repeated, re-timed or shifted, every line is heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, curves_of, edit_jaw, generate, values_at
from heads import arkit_puppet
from strip_tools import add_strip, drag, in_meta, push_down
from wav2sem_lipsync.operators import causes_played, ids, refine, retime
from wav2sem_lipsync.operators.causes import Face
from wav2sem_lipsync.operators.playing import parts_of

LINE = 72  # frames of the speech: three seconds


def queue() -> Any:
    return bpy.context.scene.wav2sem_queue


def generate_all() -> None:
    assert bpy.ops.wav2sem.generate_all("EXEC_DEFAULT", True) == {"FINISHED"}


def jaw(head: bpy.types.Object, start: float) -> np.ndarray:
    """What Blender shows of a line, by frames since its beginning; the face comes to rest after it."""
    return values_at(head, "jawOpen", start + np.arange(LINE - 2))


@pytest.fixture
def spoken(settings: Any) -> np.ndarray:
    """The line, as it is when nothing else plays."""
    head = arkit_puppet(NAMES, "Alone")
    generate()
    line = jaw(head, 1)
    assert np.ptp(line) > 0.1
    return line


@pytest.fixture
def head(spoken: np.ndarray) -> bpy.types.Object:
    found = arkit_puppet(NAMES)
    bpy.context.view_layer.objects.active = found
    for obj in bpy.context.scene.objects:
        obj.select_set(obj == found)
    return found


def add_lines(*starts: float) -> None:
    for start in starts:
        bpy.ops.wav2sem.queue_add()
        queue().entries[-1].start_frame = start


def heard(head: bpy.types.Object, spoken: np.ndarray, *starts: float) -> None:
    for start in starts:
        np.testing.assert_allclose(jaw(head, start), spoken, atol=1e-4, err_msg=f"the line from {start} on")


def test_a_line_that_is_repeated_alone_leaves_the_others(
    head: bpy.types.Object, spoken: np.ndarray, speech_file: Path
) -> None:
    add_lines(1, 200)
    queue().entries[1].audio_path = "nowhere.wav"
    generate_all()
    queue().entries[1].audio_path = str(speech_file)
    generate_all()
    heard(head, spoken, 1, 200)
    queue().entries[0].status, queue().entries[0].start_frame = "WAITING", 3
    generate_all()
    heard(head, spoken, 3, 200)


def test_a_second_line_leaves_the_first_that_was_alone(head: bpy.types.Object, spoken: np.ndarray) -> None:
    add_lines(1)
    generate_all()
    assert head.data.shape_keys.animation_data.action is not None
    add_lines(120)
    generate_all()
    heard(head, spoken, 1, 120)


def test_an_action_does_not_play_over_lines_in_strips(
    head: bpy.types.Object, spoken: np.ndarray, settings: Any
) -> None:
    add_lines(1, 200)
    generate_all()
    settings.start_frame = 400
    queue().entries.clear()
    generate()
    heard(head, spoken, 1, 200, 400)
    settings.start_frame = 200
    generate()
    heard(head, spoken, 1, 200, 400)


@pytest.mark.parametrize("starts", [(1, 73, 145), (145, 73, 1), (73, 1, 145)])
def test_lines_may_follow_each_other_at_once(
    head: bpy.types.Object, spoken: np.ndarray, starts: tuple[int, ...]
) -> None:
    """The face comes to rest within a fifth of a second after a line; the next one does not wait for it."""
    add_lines(*starts)
    generate_all()
    assert {entry.status for entry in queue().entries} == {"DONE"}
    heard(head, spoken, *starts)
    rest = values_at(head, "jawOpen", np.array([230.0, 400]))
    np.testing.assert_allclose(rest, 0, atol=1e-4)
    face = Face(bpy.context.scene, bpy.context.view_layer, head, tuple(parts_of(head.data.shape_keys)), None)
    assert not list(causes_played.switched_off(face))


@pytest.mark.parametrize("to", [70, 40])
def test_a_line_dragged_into_another_is_heard_from_its_beginning(
    head: bpy.types.Object, spoken: np.ndarray, settings: Any, speech_file: Path, to: int
) -> None:
    one, two = add_strip(speech_file, 1, "one"), add_strip(speech_file, 200, "two", 4)
    settings.destination, settings.source = "NLA", "STRIP"
    for strip in (one, two):
        for other in bpy.context.scene.sequence_editor.strips_all:
            other.select = other == strip
        generate()
    drag(two, to)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    heard(head, spoken, to)
    np.testing.assert_allclose(jaw(head, 1)[: to - 2], spoken[: to - 2], atol=1e-4)
    drag(two, 200)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    heard(head, spoken, 1, 200)


def test_an_offset_that_comes_back_to_nothing_leaves_every_line_in_place(
    head: bpy.types.Object, spoken: np.ndarray
) -> None:
    add_lines(1, 80, 160)
    generate_all()
    face = getattr(head, ids.FACE)
    for offset in (8, 0, -8, 0, 20, -20, 0):
        face.offset = offset
        heard(head, spoken, *(start + offset for start in (1, 80, 160)))


def test_hand_edits_of_lines_stay_with_their_lines(head: bpy.types.Object, spoken: np.ndarray) -> None:
    add_lines(1, 73)
    generate_all()
    key = curves_of(head)["jawOpen"].keyframe_points[30]
    key.co.y, frame = 0.9, int(key.co.x)
    queue().entries[1].status = "WAITING"
    generate_all()
    assert values_at(head, "jawOpen", np.array([frame]))[0] == pytest.approx(0.9, abs=1e-5)


def test_a_line_before_one_that_was_stretched_leaves_that_as_it_is(head: bpy.types.Object, spoken: np.ndarray) -> None:
    add_lines(73)
    generate_all()
    queue().entries[0].status = "WAITING"
    add_lines(300)
    generate_all()
    strips = head.data.shape_keys.animation_data.nla_tracks[0].strips
    strips[0].scale, strips[0].influence = 1.5, 0.75
    span = strips[0].frame_start, strips[0].frame_end
    line = values_at(head, "jawOpen", np.arange(85, 180))
    add_lines(1)
    generate_all()
    heard(head, spoken, 1)
    np.testing.assert_allclose(values_at(head, "jawOpen", np.arange(85, 180)), line, atol=1e-4)
    tracks = head.data.shape_keys.animation_data.nla_tracks
    stretched = next(strip for track in tracks for strip in track.strips if strip.scale == 1.5)
    assert (stretched.frame_start, stretched.frame_end) == pytest.approx(span)
    assert stretched.influence == pytest.approx(0.75)


@pytest.mark.parametrize("by", ["pushing down", "renaming"])
def test_a_line_in_a_track_of_another_name_is_heard_beside_the_next(
    settings: Any, head: bpy.types.Object, spoken: np.ndarray, by: str
) -> None:
    settings.destination = "NLA" if by == "renaming" else "ACTION"
    generate()
    data = head.data.shape_keys.animation_data
    if by == "renaming":
        data.nla_tracks[0].name = "Dialogue"
    else:
        push_down(data)
    settings.start_frame = 200
    for destination in ("ACTION", "NLA"):
        settings.destination = destination
        generate()
        heard(head, spoken, 1, 200)


def test_hand_edits_survive_in_a_track_of_another_name(
    settings: Any, head: bpy.types.Object, spoken: np.ndarray
) -> None:
    settings.destination = "NLA"
    generate()
    head.data.shape_keys.animation_data.nla_tracks[0].name = "Dialogue"
    edit_jaw(head)
    generate()
    assert values_at(head, "jawOpen", np.array([21.0])) == pytest.approx(0.93, abs=1e-4)
    assert [track.name for track in head.data.shape_keys.animation_data.nla_tracks] == ["Dialogue"]


def test_a_line_that_was_put_aside_stays_so(settings: Any, head: bpy.types.Object, spoken: np.ndarray) -> None:
    settings.destination = "NLA"
    generate()
    data = head.data.shape_keys.animation_data
    data.nla_tracks[0].mute = True
    aside = data.nla_tracks[0].strips[0]
    aside_action = aside.action
    for start in (1, 200):
        settings.start_frame = start
        generate()
    heard(head, spoken, 1, 200)
    assert [strip.action for strip in data.nla_tracks[0].strips] == [aside_action] and data.nla_tracks[0].mute


def test_a_strip_that_holds_over_other_lines_is_named_and_mended(
    settings: Any, head: bpy.types.Object, spoken: np.ndarray
) -> None:
    settings.destination = "NLA"
    generate()
    data, pushed = head.data.shape_keys.animation_data, bpy.data.actions[head.name + " Lip Sync"].copy()
    strip = data.nla_tracks.new().strips.new("above", 200, pushed)  # Blender lets it hold
    strip.action_slot = pushed.slots[0]
    face = Face(bpy.context.scene, bpy.context.view_layer, head, tuple(parts_of(head.data.shape_keys)), None)
    (cause,) = causes_played.switched_off(face)
    assert cause.id == "silences" and cause.subject == "above"
    assert cause.mend is not None
    cause.mend()
    heard(head, spoken, 1, 200)


def test_a_line_in_the_users_own_action_is_heard_beside_the_next(
    settings: Any, head: bpy.types.Object, spoken: np.ndarray
) -> None:
    key = head.shape_key_add(name="Mine", from_mix=False)
    key.value = 0.0
    key.keyframe_insert("value", frame=1)
    settings.destination = "SLOT"
    generate()
    push_down(head.data.shape_keys.animation_data)
    settings.destination, settings.start_frame = "NLA", 200
    generate()
    heard(head, spoken, 1, 200)


def test_a_line_that_was_cut_in_two_comes_back_from_an_offset(
    settings: Any, head: bpy.types.Object, spoken: np.ndarray
) -> None:
    settings.destination = "NLA"
    generate()
    data = head.data.shape_keys.animation_data
    (strip,) = data.nla_tracks[0].strips
    last = strip.frame_end
    strip.action_frame_end = strip.frame_end = 40
    second = data.nla_tracks[0].strips.new("second", 40, strip.action)
    second.action_slot = strip.action_slot
    second.action_frame_start, second.frame_start = 40, 40
    second.action_frame_end = second.frame_end = last
    heard(head, spoken, 1)
    face = getattr(head, ids.FACE)
    face.offset = 3
    np.testing.assert_allclose(jaw(head, 4)[: LINE - 8], spoken[: LINE - 8], atol=1e-4)
    face.offset = 0
    heard(head, spoken, 1)


def test_the_sound_of_another_line_is_not_followed(settings: Any, head: bpy.types.Object, spoken: np.ndarray) -> None:
    settings.destination = "NLA"
    scene = bpy.context.scene
    generate()
    first = [strip for strip in scene.sequence_editor.strips_all if strip.get(ids.PIECE)]
    for strip in list(scene.sequence_editor.strips_all):
        scene.sequence_editor.strips.remove(strip)
    assert first
    settings.start_frame = 300
    generate()
    assert not bpy.ops.wav2sem.retime.poll()
    assert "is gone from the sequencer" in retime.disabled_reason(bpy.context)
    heard(head, spoken, 1, 300)


def test_a_line_in_a_meta_strip_is_heard_beside_the_next_and_told(
    settings: Any, head: bpy.types.Object, spoken: np.ndarray
) -> None:
    settings.destination = "NLA"
    generate()
    in_meta(head)
    heard(head, spoken, 1)
    assert "lies in the meta strip" in refine.disabled_reason(head)
    settings.start_frame = 200
    generate()
    heard(head, spoken, 1, 200)
    assert refine.disabled_reason(head) == ""


@pytest.mark.parametrize(("button", "moved"), [("generate_lipsync", 0), ("generate_lipsync", 20), ("retime", 20)])
def test_how_a_line_is_blended_is_taken_over(button: str, moved: int, settings: Any, speech_file: Path) -> None:
    """A fade that is keyed in the strip is work, too: generated again, the line fades as before, with its words."""
    strip = add_strip(speech_file, 30)
    strip.select, settings.source, settings.destination = True, "STRIP", "NLA"
    obj = arkit_puppet(NAMES)
    generate()
    line = obj.data.shape_keys.animation_data.nla_tracks[0].strips[0]
    line.use_animated_influence = True
    fade = line.fcurves.find("influence")
    for frame, value in ((0, 1.0), (50, 1.0), (80, 0.2)):
        fade.keyframe_points.insert(frame, value)
    line.blend_in = 6
    assert line.blend_in == 6
    frames = np.arange(30, 100)
    before = values_at(obj, "jawOpen", frames)
    drag(strip, 30 + moved)
    getattr(bpy.ops.wav2sem, button)()
    (line,) = obj.data.shape_keys.animation_data.nla_tracks[0].strips
    assert (line.frame_start, line.blend_in, line.use_animated_influence) == (30 + moved, 6, True)
    np.testing.assert_allclose(values_at(obj, "jawOpen", frames + moved), before, atol=1e-4)
    add_strip(speech_file, 400, "other", 5).select = True
    strip.select = False
    generate()
    other = obj.data.shape_keys.animation_data.nla_tracks[0].strips[1]
    assert (other.blend_in, other.use_animated_influence) == (0, False), "a line of another time begins plain"


@pytest.mark.parametrize("destination", ["ACTION", "NLA"])
def test_a_line_beside_one_that_was_merged(
    destination: str, head: bpy.types.Object, spoken: np.ndarray, settings: Any
) -> None:
    settings.start_frame, settings.destination = 200, "NLA"
    generate()
    assert bpy.ops.wav2sem.merge_edits() == {"FINISHED"}
    settings.destination = destination
    for settings.start_frame in (400, 50, 400):
        generate()
    heard(head, spoken, 50, 200, 400)
    settings.start_frame = 240
    with pytest.raises(RuntimeError, match="moves every shape key"):
        generate()
