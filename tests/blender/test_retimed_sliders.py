# SPDX-License-Identifier: GPL-3.0-or-later
"""Re-time takes along what Refine was told about words: muted regions, and sliders that are keyed on the timeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, generate
from heads import add_object, arkit_puppet, evaluated, fingerprint
from strip_tools import add_strip, drag, set_handles
from wav2sem_lipsync.inference import LipSyncError
from wav2sem_lipsync.operators import animation, ids, keyframes, refine
from wav2sem_lipsync.operators.face_properties import face_of
from wav2sem_lipsync.operators.properties import job_state

LINE = np.arange(0, 72, 2)  # frames of a line of three seconds from its beginning


def shown(head: bpy.types.Object, frames: np.ndarray) -> np.ndarray:
    """The evaluated mesh (frames, V, 3)."""
    return np.stack([evaluated(head, float(frame)) for frame in frames])


def same(head: bpy.types.Object, frames: np.ndarray, before: np.ndarray) -> None:
    off = np.abs(shown(head, frames) - before).max(axis=(1, 2))
    assert off.max() < 1e-4, dict(zip(frames.tolist(), off.round(4).tolist(), strict=True))


def mute(head: bpy.types.Object, first: int, last: int) -> None:
    region = face_of(head).mutes.add()
    region.first, region.last = first, last


def muted(head: bpy.types.Object) -> list[tuple[int, int]]:
    return [(region.first, region.last) for region in face_of(head).mutes]


def key(head: bpy.types.Object, *keys: tuple[float, float], name: str = "strength") -> None:
    """Straight lines between keys."""
    for frame, value in keys:
        setattr(face_of(head), name, value)
        head.keyframe_insert(f"{ids.FACE}.{name}", frame=frame)
    for point in slider(head, name).keyframe_points:
        point.interpolation = "LINEAR"
    refine.refresh(head, bpy.context.scene)


def slider(head: bpy.types.Object, name: str = "strength") -> bpy.types.FCurve:
    data = head.animation_data
    return keyframes.curves_of(keyframes.bag_of(data.action, data.action_slot))[f"{ids.FACE}.{name}"]


def keyed(head: bpy.types.Object, name: str = "strength") -> list[float]:
    return [point.co.x for point in slider(head, name).keyframe_points]


def said() -> str:
    return str(job_state(bpy.context).message)


def retime() -> None:
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}


@pytest.fixture
def sounds(settings: Any, speech_file: Path) -> tuple[Any, Any]:
    """The same speech twice, from frame 11 and from frame 211."""
    settings.source = "STRIP"
    found = add_strip(speech_file, 11, "one"), add_strip(speech_file, 211, "two", 4)
    for one in found:
        one.select = True
    return found


@pytest.fixture(params=["ACTION", "NLA"])
def head(settings: Any, sounds: tuple[Any, Any], request: pytest.FixtureRequest) -> bpy.types.Object:
    """A head that speaks both."""
    settings.destination = request.param
    found = arkit_puppet(NAMES)
    generate()
    return found


def test_what_is_muted_and_keyed_stays_with_its_words(head: bpy.types.Object, sounds: tuple[Any, Any]) -> None:
    mute(head, 30, 40)
    mute(head, 220, 230)
    key(head, (11, 1.0), (50, 0.3), (80, 1.0), (240, 1.0), (250, 1.8), (260, 1.0))
    before = [shown(head, first + LINE) for first in (11, 211)]
    assert np.ptp(before[1], axis=0).max() > 0.1
    drag(sounds[1], 261)
    retime()
    for first, there in zip((11, 261), before, strict=True):
        same(head, first + LINE, there)
    assert muted(head) == [(30, 40), (270, 280)]
    assert keyed(head) == [11, 50, 80, 290, 300, 310]
    assert said() == "“Puppet” follows its strips; 3 keys of sliders moved along; 1 muted region moved along."
    drag(sounds[0], 401)  # past the other one
    retime()
    for first, there in zip((401, 261), before, strict=True):
        same(head, first + LINE, there)
    refine.refresh(head, bpy.context.scene)
    same(head, 401 + LINE, before[0])


def test_a_region_over_two_lines_is_parted_only_where_they_part(
    head: bpy.types.Object, sounds: tuple[Any, Any]
) -> None:
    mute(head, 50, 230)
    before = [shown(head, first + LINE) for first in (11, 211)]
    for sound, frame in zip(sounds, (31, 231), strict=True):
        drag(sound, frame)
    retime()
    assert muted(head) == [(70, 250)]
    drag(sounds[1], 331)
    retime()
    assert muted(head) == [(70, 103), (331, 350)]
    for first, there in zip((31, 331), before, strict=True):
        same(head, first + LINE, there)


def test_a_line_that_is_cut_in_two_takes_its_muted_words_apart(head: bpy.types.Object, sounds: tuple[Any, Any]) -> None:
    mute(head, 20, 60)
    second = sounds[0].split(frame=40, split_method="SOFT")
    drag(second, 111)  # what is heard of it begins at 140
    retime()
    assert muted(head) == [(20, 40), (140, 160)]
    rest = np.array([vertex.co for vertex in head.data.vertices])
    for frame in (21, 30, 39, 141, 150, 159):
        np.testing.assert_allclose(evaluated(head, frame), rest, atol=1e-5)
    assert np.abs(shown(head, np.arange(165, 180)) - rest).max() > 0.05


def test_nothing_that_is_keyed_is_lost_with_words_that_are_cut_off(
    head: bpy.types.Object, sounds: tuple[Any, Any]
) -> None:
    """The end of a line is trimmed, and the next one moved up to it."""
    mute(head, 60, 70)
    mute(head, 40, 60)
    key(head, (20, 0.5), (70, 1.0), (220, 1.5))
    set_handles(sounds[0], 11, 51)
    drag(sounds[1], 52)
    retime()
    assert keyed(head) == [20, 61, 70]
    assert muted(head) == [(40, 51)]
    told = said().partition("follows its strips; ")[2].rstrip(".").split("; ")
    assert told == [
        "1 key of sliders moved along",
        "1 muted region moved along",
        "1 muted region on words cut off and spoken over left out",
        "1 key of sliders on words cut off and spoken over kept",
    ]


def test_another_frame_rate_takes_along_what_is_muted_and_keyed(head: bpy.types.Object) -> None:
    mute(head, 35, 59)
    key(head, (11, 1.0), (59, 0.5), (211, 1.0))
    bpy.context.scene.render.fps = 48
    retime()
    assert keyed(head) == [11, 107, 211]  # strips stay on their frames, and last twice as many
    assert muted(head) == [(59, 107)]


def test_retime_is_one_step_for_sliders_too(settings: Any, speech_file: Path) -> None:
    sound = add_strip(speech_file, 11)
    sound.select, settings.source = True, "STRIP"
    head = arkit_puppet(NAMES)
    generate()
    mute(head, 30, 40)
    key(head, (11, 1.0), (50, 0.3))
    drag(sound, 61)
    bpy.ops.ed.undo_push(message="dragged")
    before = fingerprint()
    bpy.ops.wav2sem.retime("EXEC_DEFAULT", True)
    assert (muted(head), keyed(head)) == ([(80, 90)], [61, 100])
    bpy.ops.ed.undo()
    head = bpy.data.objects["Puppet"]
    assert (muted(head), keyed(head)) == ([(30, 40)], [11, 50])
    assert fingerprint() == before


def test_what_goes_wrong_moves_nothing(
    head: bpy.types.Object, sounds: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    mute(head, 220, 230)
    key(head, (220, 1.0), (250, 0.3))
    drag(sounds[1], 261)
    before = fingerprint()

    def fail(*_: Any, **__: Any) -> None:
        raise LipSyncError("no")

    monkeypatch.setattr(animation, "own", fail)
    with pytest.raises(RuntimeError, match="no"):
        bpy.ops.wav2sem.retime()
    assert (muted(head), keyed(head)) == ([(220, 230)], [220, 250])
    assert fingerprint() == before


def test_an_action_that_another_object_plays_stays_its_own(head: bpy.types.Object, sounds: tuple[Any, Any]) -> None:
    key(head, (220, 1.0), (250, 0.3))
    other = add_object("Other", bpy.data.meshes.new("Other"))
    other.animation_data_create().action = head.animation_data.action
    other.animation_data.action_slot = head.animation_data.action_slot
    bpy.context.view_layer.objects.active = head
    drag(sounds[1], 261)
    retime()
    assert keyed(head) == [270, 300]
    assert keyed(other) == [220, 250]


def test_all_objects_with_the_mesh_keep_what_they_have_in_common(
    head: bpy.types.Object, sounds: tuple[Any, Any]
) -> None:
    twin = head.copy()
    bpy.context.scene.collection.objects.link(twin)
    mute(head, 220, 230)
    key(twin, (220, 1.0), (250, 0.3))
    before = shown(head, 211 + LINE)
    drag(sounds[1], 261)
    bpy.context.view_layer.objects.active = head
    for select in (head, twin):
        select.select_set(True)
    retime()
    assert muted(head) == muted(twin) == [(270, 280)]
    assert keyed(twin) == [270, 300]
    same(head, 261 + LINE, before)
    assert "; 2 keys of sliders moved along; 1 muted region moved along." in said()


def test_other_keys_of_the_head_stay(head: bpy.types.Object, sounds: tuple[Any, Any]) -> None:
    key(head, (220, 1.0), (250, 0.3))
    head.keyframe_insert("location", frame=230)
    drag(sounds[1], 261)
    retime()
    data = head.animation_data
    place = keyframes.curves_of(keyframes.bag_of(data.action, data.action_slot))["location"]
    assert place.range()[0] == 230


def test_a_keyed_offset_and_influence_keep_to_their_words(settings: Any, sounds: tuple[Any, Any]) -> None:
    settings.destination = "NLA"
    head = arkit_puppet(NAMES)
    generate()
    (strip,) = head.data.shape_keys.animation_data.nla_tracks[0].strips
    strip.use_animated_influence = True
    curve = strip.fcurves.find("influence")
    curve.keyframe_points.clear()
    for frame, value in ((215, 1.0), (260, 0.3)):
        curve.keyframe_points.insert(frame, value)
    key(head, (211, 0.0), (250, 6.0), name="offset")
    before = shown(head, 214 + LINE)
    drag(sounds[1], 261)
    retime()
    assert keyed(head, "offset") == [261, 300]
    same(head, 264 + LINE, before)
    refine.refresh(head, bpy.context.scene)
    same(head, 264 + LINE, before)


def test_keys_in_an_action_of_another_file_are_told(
    head: bpy.types.Object, sounds: tuple[Any, Any], tmp_path: Path
) -> None:
    key(head, (220, 1.0), (250, 0.3))
    action = head.animation_data.action
    bpy.data.libraries.write(str(tmp_path / "keys.blend"), {action})
    with bpy.data.libraries.load(str(tmp_path / "keys.blend"), link=True) as (_, wanted):
        wanted.actions = [action.name]
    head.animation_data.action = wanted.actions[0]
    head.animation_data.action_slot = next(slot for slot in wanted.actions[0].slots if slot.target_id_type == "OBJECT")
    drag(sounds[1], 261)
    with pytest.raises(RuntimeError, match="linked from another file; make it local first"):
        bpy.ops.wav2sem.retime()


@pytest.mark.parametrize("destination", ["ACTION", "SLOT"])
def test_generate_tells_that_what_is_muted_and_keyed_stays(destination: str, settings: Any, speech_file: Path) -> None:
    """Re-time takes it along; whoever generates anew may have set it right by himself already."""
    strip = add_strip(speech_file, 30)
    strip.select, settings.source, settings.destination = True, "STRIP", destination
    head = arkit_puppet([*NAMES, "own"])
    head.data.shape_keys.key_blocks["own"].keyframe_insert("value", frame=1)
    generate()
    region = face_of(head).mutes.add()
    region.first, region.last = 40, 50
    generate()
    assert "stay on their frames" not in job_state(bpy.context).details
    face_of(head).keyframe_insert("strength", frame=40)
    drag(strip, 90)
    generate()
    told = "Muted regions and keyed sliders stay on their frames, though the speech moved; Re-time takes them along"
    assert told in job_state(bpy.context).details
    assert [(each.first, each.last) for each in face_of(head).mutes] == [(40, 50)]
