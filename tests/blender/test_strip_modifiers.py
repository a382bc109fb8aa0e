# SPDX-License-Identifier: GPL-3.0-or-later
"""Modifiers of NLA strips, as an animator adds them to speak on twos: no script can make them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, generate, values_at
from heads import arkit_puppet
from strip_tools import add_strip, drag
from wav2sem_lipsync.operators.face_properties import face_of
from wav2sem_lipsync.operators.properties import job_state

WORDS = np.arange(32, 104)


@pytest.fixture
def sounds(speech_file: Path) -> list[Any]:
    """Two sound strips, in a file with a window: modifiers are added by its operators."""
    bpy.ops.wm.read_homefile(use_empty=False, use_factory_startup=True)
    settings = bpy.context.scene.wav2sem_lipsync
    settings.source, settings.destination = "STRIP", "NLA"
    return [add_strip(speech_file, frame, name, channel) for frame, name, channel in ((32, "a", 3), (200, "b", 4))]


@pytest.fixture
def head(sounds: list[Any]) -> bpy.types.Object:
    """A head that says both, its first line on fours from frame 60 on."""
    made = arkit_puppet(NAMES)
    for sound in sounds:
        for other in sounds:
            other.select = other == sound
        generate()
    _on_fours(made)
    return made


def lines(head: bpy.types.Object) -> list[bpy.types.NlaStrip]:
    return [strip for track in head.data.shape_keys.animation_data.nla_tracks for strip in track.strips]


def _on_fours(head: bpy.types.Object) -> None:
    window = bpy.context.window_manager.windows[0]
    area = window.screen.areas[0]
    area.type = "NLA_EDITOR"
    for strip in lines(head):
        strip.select = strip == lines(head)[0]
    head.data.shape_keys.animation_data.nla_tracks.active = head.data.shape_keys.animation_data.nla_tracks[0]
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        assert bpy.ops.nla.fmodifier_add(type="STEPPED", only_active=False) == {"FINISHED"}
    (stepped,) = lines(head)[0].modifiers
    stepped.frame_step, stepped.use_frame_start, stepped.frame_start = 4, True, 60


def test_a_line_on_fours_follows_its_sound_and_an_offset(head: bpy.types.Object, sounds: list[Any]) -> None:
    line = lines(head)[0]
    line.use_animated_influence = True
    line.fcurves.find("influence").keyframe_points.insert(50, 1.0)
    line.fcurves.find("influence").keyframe_points.insert(70, 0.5)
    before = values_at(head, "jawOpen", WORDS)
    assert len(set(before[40:44])) == 1 < len(set(before[:4]))
    for frame in (72, 12):
        drag(sounds[0], frame)
        assert bpy.ops.wav2sem.retime() == {"FINISHED"}
        assert "lost" not in job_state(bpy.context).message
        np.testing.assert_allclose(values_at(head, "jawOpen", WORDS + frame - 32), before, atol=1e-5)
    face_of(head).offset = 8
    np.testing.assert_allclose(values_at(head, "jawOpen", WORDS - 12), before, atol=1e-5)
    assert lines(head)[0].modifiers[0].frame_start == 48


def test_a_line_that_passes_another_says_that_its_modifiers_are_lost(head: bpy.types.Object, sounds: list[Any]) -> None:
    drag(sounds[0], 400)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    assert "1 animation strip lost the modifiers" in job_state(bpy.context).message
    assert [line.frame_start for line in lines(head)] == [200, 400]


def test_a_line_that_is_generated_again_says_that_its_modifiers_are_lost(
    head: bpy.types.Object, sounds: list[Any]
) -> None:
    for sound, told in ((sounds[1], False), (sounds[0], True)):
        for other in sounds:
            other.select = other == sound
        generate()
        assert ("modifiers of the animation strip that it replaced are lost" in job_state(bpy.context).details) == told


@pytest.mark.parametrize("frame", [130, 180, 230])
def test_a_line_that_comes_over_another_lies_as_it_should(
    frame: int, head: bpy.types.Object, sounds: list[Any]
) -> None:
    drag(sounds[0], frame)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    assert ("lost" in job_state(bpy.context).message) == (frame > 120)
    starts = [[strip.frame_start for strip in track.strips] for track in head.data.shape_keys.animation_data.nla_tracks]
    assert starts == [[frame], [200]] if frame < 200 else [[200], [frame]]
