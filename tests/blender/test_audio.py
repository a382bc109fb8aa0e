# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech from files, strips and datablocks, and the strip that makes it heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import soundfile
from edit_tools import NAMES, bake_of, curves_of, values_at
from heads import arkit_puppet, fit_of, largest_error, made_up_head, motion_of
from strip_tools import add_strip, mixdown, set_handles
from wav2sem_lipsync.inference import AudioError, LipSyncModel, Speech
from wav2sem_lipsync.operators import audio_source, readiness, sound
from wav2sem_lipsync.operators.properties import job_state
from wav2sem_lipsync.operators.strip_times import span_of, times_of

EXACT = 2e-5  # metres


@pytest.fixture
def click_file(tmp_path: Path) -> Path:
    """Two seconds of quiet noise with a click at exactly 1 s."""
    samples = np.random.default_rng(0).normal(size=32000) * 0.01
    samples[16000:16010] = 0.9
    soundfile.write(tmp_path / "click.wav", samples, 16000)
    return tmp_path / "click.wav"


def heard_click(folder: Path) -> float:
    """Seconds from scene frame 1 to the first click in Blender's own mixdown."""
    samples, rate = mixdown(folder / "mixdown.wav", 1, 200)
    return float(np.flatnonzero(np.abs(samples) > 0.4)[0] / rate)


def strips() -> list[Any]:
    return list(bpy.context.scene.sequence_editor.strips_all)


@pytest.mark.parametrize("start", [1.0, 25.0, 11.4, 1.96])
@pytest.mark.parametrize("rate", [(24, 1.001), (30, 1.0)])
def test_speech_is_heard_at_the_start_frame(
    start: float, rate: tuple[int, float], click_file: Path, settings: Any, tmp_path: Path
) -> None:
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = rate
    made_up_head()
    settings.audio_path, settings.start_frame = str(click_file), start
    bpy.ops.wav2sem.generate_lipsync()
    (strip,) = strips()
    assert strip.channel == 1
    fps = rate[0] / rate[1]
    assert times_of(strip, fps).first_sample == pytest.approx(start, abs=1e-3)
    assert heard_click(tmp_path) == pytest.approx((start - 1) / fps + 1.0, abs=2e-3)
    assert (scene.sync_mode, scene.use_audio_scrub) == ("AUDIO_SYNC", True)


def test_a_second_bake_adds_no_second_strip(settings: Any) -> None:
    made_up_head()
    for _ in range(2):
        bpy.ops.wav2sem.generate_lipsync()
    assert len(strips()) == 1
    assert len(bpy.data.sounds) == 1
    settings.start_frame = 30
    bpy.ops.wav2sem.generate_lipsync()
    assert len(strips()) == 2
    assert len(bpy.data.sounds) == 1
    assert len({strip.channel for strip in strips()}) == 2, "strips that overlap need channels of their own"
    told = "The same sound is heard from frame 1 on, where nobody speaks it; mute it there."
    assert told in job_state(bpy.context).details
    strips()[0].mute = True
    bpy.ops.wav2sem.generate_lipsync()
    assert "The same sound" not in job_state(bpy.context).details


def test_a_sound_that_another_head_speaks_is_not_left_over(settings: Any) -> None:
    made_up_head("One")
    bpy.ops.wav2sem.generate_lipsync()
    made_up_head("Two")
    settings.start_frame = 200
    bpy.ops.wav2sem.generate_lipsync()
    assert "The same sound" not in job_state(bpy.context).details


def last_frame(head: bpy.types.Object) -> int:
    """The last frame at which a shape key of `head` moves."""
    tables = [[point.co[:] for point in curve.keyframe_points] for curve in curves_of(head).values()]
    return round(max(frame for keys in tables for frame, value in keys if abs(value) > 1e-3))


def test_lips_end_where_the_strip_of_a_file_was_trimmed(settings: Any) -> None:
    head = arkit_puppet(NAMES)
    bpy.ops.wav2sem.generate_lipsync()
    assert last_frame(head) > 60
    set_handles(strips()[0], 1, 31)
    bpy.ops.wav2sem.generate_lipsync()
    assert len(strips()) == 1
    assert last_frame(head) <= 31 + 5, "the face rests a fifth of a second later"
    assert "“babble.wav” is trimmed in the sequencer" in job_state(bpy.context).details


def test_lips_begin_where_the_strip_of_a_file_was_trimmed(settings: Any) -> None:
    head = arkit_puppet(NAMES)
    bpy.ops.wav2sem.generate_lipsync()
    set_handles(strips()[0], 21, 73)
    bpy.ops.wav2sem.generate_lipsync()
    assert len(strips()) == 1, "the words that are left would be heard twice"
    assert bake_of(head).action.frame_range[0] == 21


def test_a_file_that_was_cut_in_two_is_spoken_without_what_was_taken_out(settings: Any, speech_file: Path) -> None:
    head = arkit_puppet(NAMES)
    set_handles(add_strip(speech_file, 1), 1, 21)
    set_handles(add_strip(speech_file, 1), 51, 73)
    bpy.ops.wav2sem.generate_lipsync()
    assert len(strips()) == 2
    assert all(np.abs(values_at(head, name, np.arange(27, 45))).max() < 0.05 for name in NAMES)
    assert max(np.abs(values_at(head, name, np.arange(52, 60))).max() for name in NAMES) > 0.1


@pytest.mark.skipif(bpy.app.version < (5, 0), reason="before Blender 5.0 the sequencer has no scene of its own")
def test_sequencer_that_shows_another_scene_is_told(settings: Any, speech_file: Path) -> None:
    made_up_head()
    other = bpy.data.scenes.new("Edit")
    bpy.context.workspace.sequencer_scene = other
    assert "“Edit”" in sound.elsewhere(bpy.data.scenes["Scene"])
    assert sound.elsewhere(other) == ""
    other.sequence_editor_create().strips.new_sound("line", str(speech_file), 1, 1).select = True
    settings.source = "STRIP"
    reason = readiness.disabled_reason(bpy.context)
    assert reason.endswith("in the sequencer that shows the scene “Scene”; yours shows “Edit”.")


def test_strip_that_is_gone_is_told_whatever_is_selected(settings: Any, speech_file: Path) -> None:
    made_up_head()
    add_strip(speech_file, 1).select = True
    settings.source, settings.strip = "STRIP", "old"
    assert "no sound strip “old”" in readiness.disabled_reason(bpy.context)
    with pytest.raises(AudioError, match="“old” in the sequencer; choose another one, or clear the field"):
        audio_source.from_settings(settings, bpy.context.scene)


def test_users_strips_keep_their_channels(settings: Any, click_file: Path) -> None:
    made_up_head()
    music = add_strip(click_file, 1)
    music.channel = 1
    bpy.ops.wav2sem.generate_lipsync()
    assert sorted((strip.name, strip.channel) for strip in strips()) == [("babble.wav", 2), ("line", 1)]


def test_speech_is_laid_where_it_is_heard(settings: Any, click_file: Path, tmp_path: Path) -> None:
    made_up_head()
    settings.audio_path = str(click_file)
    bpy.ops.wav2sem.generate_lipsync()
    channels = bpy.context.scene.sequence_editor.channels
    for number in (1, 2):
        channels[number].mute = True
    bpy.ops.wav2sem.generate_lipsync()
    assert [strip.channel for strip in strips()] == [1, 3]
    assert heard_click(tmp_path) == pytest.approx(1.0, abs=2e-3)


def test_scene_is_lengthened_but_never_shortened(settings: Any) -> None:
    made_up_head()
    bpy.context.scene.frame_end = 1000
    bpy.ops.wav2sem.generate_lipsync()
    assert bpy.context.scene.frame_end == 1000


def model_on(toy_folder: Path, samples: np.ndarray) -> Any:
    return LipSyncModel.load(toy_folder).run(Speech(samples.astype(np.float32)))


def test_strip_is_heard_as_trimmed_and_where_it_lies(
    settings: Any, toy_folder: Path, speech_file: Path, babble: np.ndarray
) -> None:
    head = made_up_head()
    strip = add_strip(speech_file, 30)
    set_handles(strip, 42, 78)  # 0.5 s to 2 s of the file at 24 fps
    settings.source = "STRIP"
    bpy.ops.wav2sem.generate_lipsync()
    assert len(strips()) == 1
    data = head.data.shape_keys.animation_data
    assert data.action.frame_range[0] == 42
    written = soundfile.read(speech_file, dtype="float32")[0]
    assert largest_error(head, model_on(toy_folder, written[8000:32000]), fit_of(head), 42) < EXACT


def test_strip_between_frames(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    strip = add_strip(speech_file, 30)
    strip.sound_offset = 0.5 / 24
    settings.source = "STRIP"
    bpy.ops.wav2sem.generate_lipsync()
    assert head.data.shape_keys.animation_data.action.frame_range[0] == 31
    spoken = soundfile.read(speech_file, dtype="float32")[0]
    heard = spoken[: round((times_of(strip, 24).right - 30.5) / 24 * 16000)]
    assert largest_error(head, model_on(toy_folder, heard), fit_of(head), 30.5) < EXACT


@pytest.mark.parametrize(("trim", "offset"), [(0, 0.0), (0, 0.25), (0, -0.02), (6, 0.0), (6, 0.25)])
def test_times_of_a_strip_are_blenders_own(trim: int, offset: float, click_file: Path, tmp_path: Path) -> None:
    strip = add_strip(click_file, 10)
    strip.sound_offset = offset
    if trim:
        setattr(strip, "content_trim_start" if hasattr(strip, "content_trim_start") else "animation_offset_start", trim)
    first = times_of(strip, 24).first_sample
    assert heard_click(tmp_path) == pytest.approx((first - 1) / 24 + 1.0, abs=2e-3)


def test_strip_by_name_and_active_strip(click_file: Path, speech_file: Path) -> None:
    scene = bpy.context.scene
    one, two = add_strip(click_file, 1), add_strip(speech_file, 1)
    one.select = two.select = False
    assert audio_source.find_strips(scene, "") == []
    assert audio_source.find_strips(scene, two.name) == [two]
    scene.sequence_editor.active_strip = one
    assert audio_source.find_strips(scene, "") == [one]
    assert audio_source.find_strips(scene, "gone") == []


@pytest.mark.parametrize("on_disk", ["nothing", "another"])
def test_packed_sound_needs_no_file(on_disk: str, settings: Any, click_file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.wav"
    copy.write_bytes(click_file.read_bytes())
    sound = bpy.data.sounds.load(str(copy))
    sound.pack()
    copy.unlink()
    if on_disk == "another":
        soundfile.write(copy, np.zeros(3200), 16000)
    head = made_up_head()
    settings.source, settings.sound = "SOUND", sound
    for _ in range(2):
        bpy.ops.wav2sem.generate_lipsync()
        (strip,) = strips()
        assert strip.sound == sound
        assert list(bpy.data.sounds) == [sound]
        assert span_of(strip)[1] >= 1 + 24 * soundfile.info(click_file).duration, "the strip cuts the speech off"
        assert head.data.shape_keys.animation_data.action
    assert heard_click(tmp_path) == pytest.approx(1.0, abs=2e-3)


def test_sound_datablock_is_shared_not_doubled(settings: Any, speech_file: Path) -> None:
    sound = bpy.data.sounds.load(str(speech_file))
    made_up_head()
    settings.source, settings.sound = "SOUND", sound
    bpy.ops.wav2sem.generate_lipsync()
    assert [strip.sound for strip in strips()] == [sound]
    assert len(bpy.data.sounds) == 1


@pytest.mark.parametrize("local_plays", [False, True])
def test_a_linked_sound_is_not_taken_for_a_local_one_of_its_name(
    local_plays: bool, speech_file: Path, click_file: Path, tmp_path: Path, toy_folder: Path
) -> None:
    bpy.data.sounds.load(str(speech_file)).name = "voice"
    bpy.data.libraries.write(str(tmp_path / "voices.blend"), {bpy.data.sounds["voice"]})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "voices.blend"), link=True) as (_, wanted):
        wanted.sounds = ["voice"]
    (linked,) = wanted.sounds
    if local_plays:
        add_strip(click_file, 1)
    else:
        bpy.data.sounds.load(str(click_file))
    (local,) = [sound for sound in bpy.data.sounds if sound != linked]
    local.name = "voice"
    head = made_up_head()
    settings = bpy.context.scene.wav2sem_lipsync
    settings.source, settings.sound = "SOUND", linked
    bpy.ops.wav2sem.generate_lipsync()
    assert [strip.sound for strip in strips()] == [local] * local_plays + [linked]
    assert len(bpy.data.sounds) == 2
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < EXACT


def test_packed_sounds_of_one_path_are_different_ones(tmp_path: Path) -> None:
    contents = []
    for level in (0.1, 0.2):
        soundfile.write(tmp_path / "line.wav", np.full(16000, level, np.float32), 16000, subtype="FLOAT")
        contents.append((tmp_path / "line.wav").read_bytes())
    source = audio_source.AudioSource(
        tuple(audio_source.Recording(str(tmp_path / "line.wav"), packed) for packed in contents)
    )
    assert [round(float(take.samples[0]), 3) for take in source.takes(1, 24)] == [0.1, 0.2]


def test_packed_garbage_is_named_by_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"not a sound" * 50)
    sound = bpy.data.sounds.load(str(tmp_path / "noise.wav"))
    sound.pack()
    with pytest.raises(AudioError, match=r"noise\.wav") as caught:
        audio_source.from_sound(sound).takes(1.0, 24.0)
    assert "/tmp" not in str(caught.value).replace(str(tmp_path), "")


@pytest.mark.parametrize("written", ["//lines/line.wav", "//lines\\line.wav"])
def test_path_relative_to_the_blend_file(written: str, settings: Any, speech_file: Path, tmp_path: Path) -> None:
    """Files from Windows have it with backslashes."""
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "line.wav").write_bytes(speech_file.read_bytes())
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    head = made_up_head()
    settings = bpy.context.scene.wav2sem_lipsync
    settings.audio_path = written
    bpy.ops.wav2sem.generate_lipsync()
    assert head.data.shape_keys
    assert bpy.data.sounds[0].filepath == "//lines/line.wav"
