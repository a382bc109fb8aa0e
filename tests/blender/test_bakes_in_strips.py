# SPDX-License-Identifier: GPL-3.0-or-later
"""Lip sync in NLA strips that the animator moves and stretches: refined in place, with hand edits."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, curves_of, generate, strength, values_at
from heads import arkit_puppet, fingerprint
from wav2sem_lipsync.inference import LipSyncError
from wav2sem_lipsync.operators import animation, ids, sound
from wav2sem_lipsync.operators.playing import parts_of


def into_strip(settings: Any) -> tuple[bpy.types.Object, bpy.types.NlaStrip]:
    obj = arkit_puppet(NAMES)
    settings.destination = "NLA"
    generate()
    return obj, obj.data.shape_keys.animation_data.nla_tracks[0].strips[0]


def test_a_strip_that_was_moved_and_stretched_stays(settings: Any) -> None:
    obj, strip = into_strip(settings)
    strip.frame_start_ui, strip.scale = 40, 1.5
    span = strip.frame_start, strip.frame_end, strip.scale
    curves_of(obj)["jawOpen"].keyframe_points[20].co.y = 0.77
    strength(obj, 0.5)
    assert (strip.frame_start, strip.frame_end, strip.scale) == pytest.approx(span)
    bpy.context.scene.frame_set(int(strip.frame_start + 20 * 1.5))
    assert obj.data.shape_keys.key_blocks["jawOpen"].value == pytest.approx(0.77, abs=1e-5)


@pytest.mark.parametrize(
    ("scale", "repeat", "reverse"), [(1.5, 1, False), (1, 2.5, False), (1, 1, True), (0.8, 2, True)]
)
def test_what_a_strip_plays_is_what_blender_plays(scale: float, repeat: float, reverse: bool, settings: Any) -> None:
    obj, strip = into_strip(settings)
    strip.frame_start_ui, strip.scale, strip.repeat, strip.use_reverse = 20, scale, repeat, reverse
    (part,) = parts_of(obj.data.shape_keys)
    frames = np.arange(int(strip.frame_start) - 3, int(strip.frame_end) + 4)
    said = [part.value("jawOpen", frame) for frame in frames]
    shown = values_at(obj, "jawOpen", frames)
    assert np.ptp(shown) > 0.1
    np.testing.assert_allclose(said, shown, atol=1e-4)


def test_a_line_that_is_repeated_by_a_linked_strip_is_shifted_there_too(settings: Any) -> None:
    obj, strip = into_strip(settings)
    again = obj.data.shape_keys.animation_data.nla_tracks[0].strips.new("Again", 300, strip.action)
    again.action_slot = strip.action_slot
    line = values_at(obj, "jawOpen", np.arange(300, 375))
    for offset in (-8, 8):
        getattr(obj, ids.FACE).offset = offset
        np.testing.assert_allclose(values_at(obj, "jawOpen", np.arange(300, 375) + offset), line, atol=1e-4)


@pytest.mark.parametrize("offset", [-5.0, 3.0, 12.0])
def test_a_strip_plays_all_of_an_action_that_was_shifted(offset: float, settings: Any) -> None:
    obj, strip = into_strip(settings)
    strip.frame_start_ui = 40
    frames = np.arange(30, 140)
    before = values_at(obj, "jawOpen", frames)
    getattr(obj, ids.FACE).offset = offset
    after = values_at(obj, "jawOpen", frames + offset)
    np.testing.assert_allclose(after, before, atol=1e-4)
    getattr(obj, ids.FACE).offset = 0
    np.testing.assert_allclose(values_at(obj, "jawOpen", frames), before, atol=1e-4)


@pytest.mark.parametrize("offset", [900.0, 77.0, -77.0, -900.0])
def test_lines_that_come_later_or_earlier_by_more_than_they_last(offset: float, settings: Any) -> None:
    """In one step, as a value is typed or Reset clicked: Blender lets neither end of a strip pass the other."""
    obj, strip = into_strip(settings)
    strip.scale = 2.0
    settings.start_frame = 180
    generate()
    assert len(obj.data.shape_keys.animation_data.nla_tracks[0].strips) == 2
    frames = np.arange(0, 270, 3)
    before = values_at(obj, "jawOpen", frames)
    for there in (offset, 0.0, offset - 100.0, offset):
        getattr(obj, ids.FACE).offset = 2.0 * round(there / 2)
        after = values_at(obj, "jawOpen", frames + getattr(obj, ids.FACE).offset)
        np.testing.assert_allclose(after, before, atol=1e-4)


def test_from_strip_to_action_takes_its_place_and_its_edits(settings: Any) -> None:
    obj, strip = into_strip(settings)
    action = strip.action
    strip.frame_start_ui, strip.scale = 10, 1.25
    curves_of(obj)["jawOpen"].keyframe_points[20].co.y = 0.77
    settings.destination = "ACTION"
    generate()
    data = obj.data.shape_keys.animation_data
    assert not [strip for track in data.nla_tracks for strip in track.strips]
    assert data.action not in (None, action) and action.use_fake_user
    assert values_at(obj, "jawOpen", np.array([21]))[0] == pytest.approx(0.77, abs=1e-5)


@pytest.mark.parametrize("destination", ["ACTION", "NLA"])
def test_a_failed_bake_puts_the_strip_back(destination: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    obj, strip = into_strip(settings)
    strip.frame_start_ui, strip.action_frame_start, strip.scale, strip.influence = 10, 6, 1.25, 0.75
    bpy.context.scene.frame_set(20)
    before = fingerprint()

    def fail(*_: Any) -> None:
        raise LipSyncError("no")

    monkeypatch.setattr(sound, "play_in_sync", fail)
    settings.destination = destination
    with pytest.raises(RuntimeError, match="no"):
        generate()
    (strip,) = obj.data.shape_keys.animation_data.nla_tracks[0].strips
    assert (strip.scale, strip.action_frame_start, strip.influence) == (1.25, 6, 0.75)
    bpy.context.scene.frame_set(20)
    assert fingerprint() == before


def test_refining_in_tweak_mode(settings: Any) -> None:
    obj, strip = into_strip(settings)
    data = obj.data.shape_keys.animation_data
    data.nla_tracks[0].select = strip.select = True
    data.nla_tracks.active = data.nla_tracks[0]
    data.use_tweak_mode = True
    assert data.use_tweak_mode
    assert [bake.action for bake in animation.bakes(obj.data.shape_keys)] == [strip.action]
    curves_of(obj)["jawOpen"].keyframe_points[20].co.y = 0.77
    strength(obj, 0.0)
    data.use_tweak_mode = False
    assert values_at(obj, "jawOpen", np.array([21]))[0] == pytest.approx(0.77, abs=1e-5)
    assert values_at(obj, "jawOpen", np.array([30]))[0] == pytest.approx(0, abs=1e-6)
