# SPDX-License-Identifier: GPL-3.0-or-later
"""NLA strips of the animator's own: what they move stays theirs, wherever a lip sync goes."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import FRAMES, NAMES, generate, strength, values_at
from heads import add_key, arkit_puppet, fingerprint
from wav2sem_lipsync.operators import keyframes

SMILE = np.array([200, 210, 220])


def users_strip(obj: bpy.types.Object, names: tuple[str, ...] = ("mouthSmileLeft",)) -> bpy.types.NlaStrip:
    """Up at frame 210 and down again, pushed down into a track."""
    keys = obj.data.shape_keys
    data = keys.animation_data or keys.animation_data_create()
    action = bpy.data.actions.new("Smile")
    slot = action.slots.new(id_type="KEY", name="Smile")
    bag = keyframes.make_bag(action, slot)
    for name in names:
        fcurve = bag.fcurves.new(keyframes.value_path(name))
        for frame, value in zip(SMILE, (0, 1, 0), strict=True):
            fcurve.keyframe_points.insert(frame, value)
    track = data.nla_tracks.new()
    track.name = "Mine"
    strip = track.strips.new("Smile", 200, action)
    strip.action_slot = slot
    return strip


def told() -> str:
    return str(bpy.context.window_manager.wav2sem_job.details)


@pytest.mark.parametrize("destination", ["ACTION", "NLA", "SLOT"])
def test_what_a_strip_moves_is_left_to_it(destination: str, settings: Any) -> None:
    obj = arkit_puppet(NAMES)
    users_strip(obj)
    if destination == "SLOT":
        add_key(obj, "frown").keyframe_insert("value", frame=1)
    settings.destination = destination
    for _ in range(2):
        generate()
        assert "Left to your own keys: mouthSmileLeft." in told()
        np.testing.assert_allclose(values_at(obj, "mouthSmileLeft", SMILE), [0, 1, 0], atol=1e-6)
        assert np.ptp(values_at(obj, "jawOpen", FRAMES)) > 0.1
    strength(obj, 1.5)
    np.testing.assert_allclose(values_at(obj, "mouthSmileLeft", SMILE), [0, 1, 0], atol=1e-6)
    assert np.ptp(values_at(obj, "jawOpen", FRAMES)) > 0.1


@pytest.mark.parametrize("destination", ["ACTION", "NLA"])
def test_a_strip_that_came_after_the_bake(destination: str, settings: Any) -> None:
    obj = arkit_puppet(NAMES)
    settings.destination = destination
    generate()
    spoken = values_at(obj, "mouthSmileLeft", FRAMES)
    strip = users_strip(obj)
    above = destination == "NLA"  # then it is covered by nothing, and may add to the lip sync
    if above:
        strip.blend_type, strip.extrapolation = "ADD", "NOTHING"
    generate()
    np.testing.assert_allclose(values_at(obj, "mouthSmileLeft", SMILE), [0, 1, 0], atol=1e-6)
    assert ("Left to your own keys" in told()) == (not above)
    if above:
        np.testing.assert_allclose(values_at(obj, "mouthSmileLeft", FRAMES), spoken, atol=1e-6)
        strength(obj, 1.0)
        np.testing.assert_allclose(values_at(obj, "mouthSmileLeft", FRAMES), spoken, atol=1e-6)


@pytest.mark.parametrize("off", ["strip", "track", "nla"])
def test_a_strip_that_is_off_has_no_say(off: str, settings: Any) -> None:
    obj = arkit_puppet(NAMES)
    strip = users_strip(obj)
    data = obj.data.shape_keys.animation_data
    if off == "strip":
        strip.mute = True
    elif off == "track":
        data.nla_tracks[0].mute = True
    else:
        data.use_nla = False
    generate()
    assert "Left to" not in told()
    assert np.ptp(values_at(obj, "mouthSmileLeft", FRAMES)) > 0.02


def test_strips_that_move_everything_are_told(settings: Any) -> None:
    obj = arkit_puppet(NAMES)
    users_strip(obj, tuple(NAMES))
    before = fingerprint()
    with pytest.raises(RuntimeError, match="strip “Smile” moves every shape key"):
        generate()
    assert fingerprint() == before


def test_curves_that_move_everything_are_told(settings: Any) -> None:
    """Such as those of a lip sync that was merged: nothing is left to be written beside them."""
    obj = arkit_puppet(NAMES)
    settings.destination = "SLOT"
    add_key(obj, "frown").keyframe_insert("value", frame=1)
    generate()
    assert bpy.ops.wav2sem.merge_edits() == {"FINISHED"}
    before = fingerprint()
    with pytest.raises(RuntimeError, match="move every shape key that would speak; delete them"):
        generate()
    assert fingerprint() == before


def test_only_what_was_written_is_counted(settings: Any) -> None:
    obj = arkit_puppet(NAMES)
    for name in NAMES[:2]:
        obj.data.shape_keys.key_blocks[name].keyframe_insert("value", frame=1)
    settings.destination = "SLOT"
    generate()
    assert f"on {len(NAMES) - 2} shape keys." in bpy.context.window_manager.wav2sem_job.message
