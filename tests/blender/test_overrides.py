# SPDX-License-Identifier: GPL-3.0-or-later
"""Characters of another file, overridden here: what was done to them is still there when the file is opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import heads
import numpy as np
import pytest
from edit_tools import NAMES, generate, values_at
from heads import arkit_puppet
from wav2sem_lipsync.operators import ids, refine

LINE, SECOND = np.arange(1, 78), np.arange(200, 277)


def overridden(folder: Path) -> bpy.types.Object:
    """What is in the file, linked from another; object and mesh overridden."""
    hero = heads.overridden(folder, *bpy.data.objects)
    bpy.context.view_layer.objects.active = hero
    return hero


def chosen(speech_file: Path, **values: Any) -> None:
    """The settings of Generate, in a file that is new."""
    settings = bpy.context.scene.wav2sem_lipsync
    for name, value in {"audio_path": str(speech_file), **values}.items():
        setattr(settings, name, value)


def reopened(folder: Path) -> bpy.types.Object:
    """The hero after saving and opening the file."""
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(folder / "shot.blend"))
    return bpy.context.scene.objects["Hero"]


@pytest.fixture
def speaking(speech_file: Path, tmp_path: Path) -> bpy.types.Object:
    """A hero that speaks in the library already, frames 1 to 77, from a strip."""
    arkit_puppet(NAMES, "Hero")
    chosen(speech_file, destination="NLA")
    generate()
    return overridden(tmp_path)


def test_a_second_line_in_a_strip_is_saved_and_the_first_plays_on(
    speaking: bpy.types.Object, speech_file: Path, tmp_path: Path
) -> None:
    first = values_at(speaking, "jawOpen", LINE)
    assert np.ptp(first) > 0.1
    chosen(speech_file, destination="NLA", start_frame=200)
    generate()
    second = values_at(speaking, "jawOpen", SECOND)
    np.testing.assert_allclose(second, first, atol=1e-5)
    for _ in range(2):
        hero = reopened(tmp_path)
        for name in NAMES:
            np.testing.assert_allclose(values_at(hero, name, np.array([100, 190, 500])), 0, atol=1e-6)
        np.testing.assert_allclose(values_at(hero, "jawOpen", LINE), first, atol=1e-5)
        np.testing.assert_allclose(values_at(hero, "jawOpen", SECOND), second, atol=1e-5)
    assert bpy.ops.wav2sem.diagnose_mouth() == {"FINISHED"}
    assert "hold" not in bpy.context.window_manager.wav2sem_job.details.lower()


@pytest.mark.parametrize("destination", ["NLA", "ACTION"])
def test_a_line_in_place_of_the_librarys_is_saved(
    destination: str, speaking: bpy.types.Object, speech_file: Path, tmp_path: Path
) -> None:
    getattr(speaking, ids.FACE).strength = 0.5
    before = values_at(speaking, "jawOpen", LINE)
    chosen(speech_file, destination=destination, start_frame=11)
    generate()
    assert refine.disabled_reason(speaking) == ""  # the library's, which is not played, needs no Refine Here
    said = values_at(speaking, "jawOpen", LINE + 10)
    assert "Hero Lip Sync" in bpy.context.window_manager.wav2sem_job.details  # the library's, which is kept
    assert 0.3 * np.ptp(before) < np.ptp(said) < 0.7 * np.ptp(before)
    hero = reopened(tmp_path)
    np.testing.assert_allclose(values_at(hero, "jawOpen", LINE + 10), said, atol=1e-5)
    np.testing.assert_allclose(values_at(hero, "jawOpen", np.arange(1, 11)), said[0], atol=1e-5)
    assert refine.disabled_reason(hero) == ""
    getattr(hero, ids.FACE).strength = 0.0
    np.testing.assert_allclose(values_at(hero, "jawOpen", LINE + 10), 0, atol=1e-5)


@pytest.mark.parametrize("known", ["nothing", "sliders"])
def test_sliders_of_a_head_that_the_library_never_refined(known: str, speech_file: Path, tmp_path: Path) -> None:
    hero = arkit_puppet(NAMES, "Hero")
    if known == "sliders":
        getattr(hero, ids.FACE).jaw = 1.0
    hero = overridden(tmp_path)
    chosen(speech_file)
    generate()
    face = getattr(hero, ids.FACE)
    face.strength = 0.3
    face.life.blinks = 0.4
    mute = face.mutes.add()
    mute.first, mute.last = 60, 70
    said = values_at(hero, "jawOpen", LINE)
    assert np.ptp(said) > 0.03
    for _ in range(3):
        hero = reopened(tmp_path)
        face = getattr(hero, ids.FACE)
        assert (face.strength, face.life.blinks) == pytest.approx((0.3, 0.4))
        assert [(mute.first, mute.last) for mute in face.mutes] == [(60, 70)]
        refine.refresh(hero, bpy.context.scene)
        np.testing.assert_allclose(values_at(hero, "jawOpen", LINE), said, atol=1e-5)
