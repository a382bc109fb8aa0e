# SPDX-License-Identifier: GPL-3.0-or-later
"""NLA strips of the animator's own: what they move stays theirs, wherever a lip sync goes."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import FRAMES, NAMES, generate, strength, values_at
from heads import add_key, arkit_puppet, fingerprint
from wav2sem_lipsync.inference import LipSyncError
from wav2sem_lipsync.operators import keyframes, sound

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
    settings.start_frame = 190
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


def test_how_an_action_that_is_gone_was_blended_counts_no_more(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pushing an action down gives its blending to the strip, and leaves it to what is assigned next, too."""
    obj = arkit_puppet(NAMES)
    users_strip(obj)
    data = obj.data.shape_keys.animation_data
    left = {"action_blend_type": "MULTIPLY", "action_extrapolation": "NOTHING", "action_influence": 0.5}
    for name, value in left.items():
        setattr(data, name, value)
    with monkeypatch.context() as patched:
        patched.setattr(sound, "play_in_sync", failing)
        with pytest.raises(RuntimeError, match="no sync"):
            generate()
    assert {name: getattr(data, name) for name in left} == pytest.approx(left)
    generate()
    expected = np.clip([jaw_of(obj).evaluate(frame) for frame in FRAMES], 0, 1)
    np.testing.assert_allclose(values_at(obj, "jawOpen", FRAMES), expected, atol=1e-5)
    data.action_influence = 0.7
    generate()
    assert data.action_influence == pytest.approx(0.7), "what the animator gave the lip sync stays"


def failing(*arguments: Any) -> None:
    raise LipSyncError("no sync")


def jaw_of(obj: bpy.types.Object) -> bpy.types.FCurve:
    data = obj.data.shape_keys.animation_data
    return keyframes.curves_of(keyframes.bag_of(data.action, data.action_slot))[keyframes.value_path("jawOpen")]
