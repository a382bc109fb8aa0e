# SPDX-License-Identifier: GPL-3.0-or-later
"""Several strips at once: which ones speak, where their motion lies, and that half a frame is never exceeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import soundfile
from heads import evaluated, fit_of, largest_error, made_up_head, motion_of, rest
from strip_tools import add_strip, drag, set_handles
from wav2sem_lipsync.inference import AudioError
from wav2sem_lipsync.operators import audio_source, readiness
from wav2sem_lipsync.operators.strip_times import heard_of, span_of

EXACT = 4e-5  # metres: weights are stored in 16 bits


@pytest.fixture
def head(settings: Any) -> bpy.types.Object:
    """A head, with the sequencer as the source of speech."""
    settings.source = "STRIP"
    return made_up_head()


def choose(*strips: Any) -> None:
    for strip in bpy.context.scene.sequence_editor.strips_all:
        strip.select = strip in strips


def chosen() -> list[str]:
    return [strip.name for strip in audio_source.find_strips(bpy.context.scene, "")]


def editor() -> Any:
    return bpy.context.scene.sequence_editor


def jaw(head: bpy.types.Object) -> bpy.types.FCurve:
    data = head.data.shape_keys.animation_data
    bag = data.action.layers[0].strips[0].channelbag(data.action_slot)
    return bag.fcurves.find('key_blocks["jawOpen"].value')


def test_all_selected_strips_speak_each_at_its_place(
    head: bpy.types.Object, speech_file: Path, toy_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "music.wav").write_bytes(speech_file.read_bytes())
    music = add_strip(tmp_path / "music.wav", 1, "music")
    one, two = add_strip(speech_file, 11, "one"), add_strip(speech_file, 311, "two")
    two.sound_offset = 0.25 / 24
    choose(two, one)
    assert chosen() == ["one", "two"]
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    motion, fit = motion_of(toy_folder, speech_file), fit_of(head)
    assert largest_error(head, motion, fit, 11) < EXACT
    assert largest_error(head, motion, fit, 311.25) < EXACT
    for frame in (120, 200, 300):
        assert np.abs(evaluated(head, frame) - rest(head)).max() < 1e-6, "rest between the strips"
    assert len(editor().strips_all) == 3, "nothing was added"
    assert music.name == "music"


def test_only_the_chosen_strip_is_heard_whatever_plays_over_it(
    head: bpy.types.Object, speech_file: Path, toy_folder: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(5).uniform(-1, 1, 5 * 16000)
    soundfile.write(tmp_path / "noise.wav", noise, 16000)
    strip, noise_strip = add_strip(speech_file, 11), add_strip(tmp_path / "noise.wav", 1, "noise", 4)
    strip.mute, strip.volume = True, 0.01
    noise_strip.volume = 10
    choose(strip)
    bpy.ops.wav2sem.generate_lipsync()
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 11) < EXACT


def test_a_packed_strip_needs_no_file(
    head: bpy.types.Object, speech_file: Path, toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy.wav"
    copy.write_bytes(speech_file.read_bytes())
    strip = add_strip(copy, 11)
    strip.sound.pack()
    copy.unlink()
    choose(strip)

    def no_file(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr("tempfile.mkstemp", no_file)
    bpy.ops.wav2sem.generate_lipsync()
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 11) < EXACT


def test_neighbouring_cuts_of_a_take_sound_as_one(head: bpy.types.Object, speech_file: Path, toy_folder: Path) -> None:
    strip = add_strip(speech_file, 11)
    other = strip.split(frame=40, split_method="SOFT")
    choose(strip, other)
    bpy.ops.wav2sem.generate_lipsync()
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 11) < EXACT


def test_strips_in_a_meta_strip_are_heard_as_far_as_it_reaches(head: bpy.types.Object, speech_file: Path) -> None:
    strip = add_strip(speech_file, 11)
    meta = editor().strips.new_meta("meta", 5, 11)
    strip.move_to_meta(meta)
    set_handles(meta, 11, 59)
    choose(meta)
    assert chosen() == ["line"]
    (stretch,) = heard_of(strip, 24.0, 3.0)
    assert stretch.frames == (11, 59)
    bpy.ops.wav2sem.generate_lipsync()
    assert jaw(head).range()[1] <= 59 + 5
    drag(meta, 111)
    assert heard_of(strip, 24.0, 3.0)[0].frames[0] == pytest.approx(span_of(meta)[0])


def test_a_selection_inside_a_closed_meta_strip_does_not_count(speech_file: Path) -> None:
    inner, outer = add_strip(speech_file, 11, "inner"), add_strip(speech_file, 200, "outer")
    meta = editor().strips.new_meta("meta", 5, 11)
    inner.move_to_meta(meta)
    inner.select, meta.select, outer.select = True, False, True
    assert chosen() == ["outer"]


def test_the_panel_says_how_many_strips_and_how_long(settings: Any, speech_file: Path) -> None:
    settings.source = "STRIP"
    strips = [add_strip(speech_file, 1 + 100 * i, f"line {i}") for i in range(4)]
    assert readiness.strips_line(bpy.context) == "4 strips, 0:12 of speech"
    choose(strips[2])
    assert readiness.strips_line(bpy.context) == "line 2"


def test_strips_that_are_trimmed_to_silence_are_left_out_or_told(head: bpy.types.Object, speech_file: Path) -> None:
    one, two = add_strip(speech_file, 11), add_strip(speech_file, 211, "late")
    two.sound_offset = 10.0
    choose(one, two)
    bpy.ops.wav2sem.generate_lipsync()
    assert jaw(head).range()[1] < 120
    choose(two)
    with pytest.raises(RuntimeError, match="Nothing of “late” is heard"):
        bpy.ops.wav2sem.generate_lipsync()


def test_strips_days_apart_are_refused_before_memory_is(head: bpy.types.Object, speech_file: Path) -> None:
    choose(add_strip(speech_file, 11), add_strip(speech_file, 900_000, "far"))
    with pytest.raises(RuntimeError, match="hours apart"):
        bpy.ops.wav2sem.generate_lipsync()


def test_a_strip_without_sound_is_told(speech_file: Path) -> None:
    strip = add_strip(speech_file, 11)
    bpy.data.sounds.remove(strip.sound)
    with pytest.raises(AudioError, match="has no sound"):
        audio_source.from_strips([strip], 24.0)
