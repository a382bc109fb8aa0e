# SPDX-License-Identifier: GPL-3.0-or-later
"""Into the slot that plays: a lip sync among the user's own curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import soundfile
from edit_tools import FRAMES, NAMES, bake_of, curves_of, generate, keys_of, strength, values_at
from heads import arkit_puppet, fingerprint
from wav2sem_lipsync.inference import CurveSet, LipSyncError
from wav2sem_lipsync.operators import animation, ids, keyframes, sound


@pytest.fixture
def animated(settings: Any) -> bpy.types.Object:
    """A head with an action of the user's: its own frown, and jawOpen keyed by hand."""
    obj = arkit_puppet([*NAMES, "frown"])
    blocks = obj.data.shape_keys.key_blocks
    for name, frame, value in (("frown", 5, 0.4), ("frown", 50, 0.9), ("jawOpen", 10, 0.3), ("jawOpen", 60, 0.6)):
        blocks[name].value = value
        blocks[name].keyframe_insert("value", frame=frame)
    settings.destination = "SLOT"
    return obj


def test_into_the_slot_that_plays(animated: bpy.types.Object, settings: Any) -> None:
    data = animated.data.shape_keys.animation_data
    action, slot = data.action, data.action_slot
    own = {name: fcurve_points(action, slot, name) for name in ("frown", "jawOpen")}
    for _ in range(2):
        generate()
        assert (data.action, data.action_slot, len(bpy.data.actions)) == (action, slot, 1)
        assert {name: fcurve_points(action, slot, name) for name in own} == own
        assert "Left to your own keys: jawOpen" in bpy.context.window_manager.wav2sem_job.details
        assert set(curves_of(animated)) == {*NAMES, "frown"}
    moving = values_at(animated, "mouthClose", FRAMES)
    assert np.ptp(moving) > 0.05
    strength(animated, 0.0)
    assert np.ptp(values_at(animated, "mouthClose", FRAMES)) < 1e-6
    assert {name: fcurve_points(action, slot, name) for name in own} == own


def fcurve_points(action: bpy.types.Action, slot: Any, name: str) -> list[tuple[float, float]]:
    fcurve = keyframes.curves_of(keyframes.bag_of(action, slot))[keyframes.value_path(name)]
    return [tuple(point.co) for point in fcurve.keyframe_points]


def test_a_guest_is_not_replaced_with_its_host(animated: bpy.types.Object, settings: Any) -> None:
    generate()
    data = animated.data.shape_keys.animation_data
    host = data.action
    curves_of(animated)["mouthClose"].keyframe_points[20].co.y = 0.77
    for destination in ("ACTION", "NLA", "SLOT"):
        settings.destination = destination
        generate()
        assert data.action == host and not data.nla_tracks
        told = "where the earlier lip sync is" in bpy.context.window_manager.wav2sem_job.details
        assert told == (destination != "SLOT")
        assert fcurve_points(host, data.action_slot, "mouthClose")[20] == (21.0, np.float32(0.77))


def test_an_action_hosts_one_head(animated: bpy.types.Object, settings: Any) -> None:
    generate()
    host = bake_of(animated).action
    before = keys_of(animated)
    other = arkit_puppet(NAMES, "Other")
    data = other.data.shape_keys.animation_data_create()
    data.action = host
    data.action_slot = host.slots.new("KEY", "other")
    assert not animation.bakes(other.data.shape_keys)
    with pytest.raises(RuntimeError, match="lip sync of another head"):
        generate()
    assert keys_of(animated) == before and len(bpy.data.actions) == 1
    settings.destination = "ACTION"
    generate()
    assert keys_of(animated) == before and data.action == host
    assert [bake.strip.name for bake in animation.bakes(other.data.shape_keys)] == ["Other Lip Sync"]


def test_another_speech_in_the_slot_leaves_a_copy_of_the_first(animated: bpy.types.Object, settings: Any) -> None:
    generate()
    host = bake_of(animated).action
    host[ids.MARK] = host[ids.MARK].replace("babble.wav", "another.wav")
    before = keys_of(animated)
    settings.start_frame = 200
    generate()
    (copy,) = (action for action in bpy.data.actions if action != host)
    assert copy.use_fake_user and copy.name in bpy.context.window_manager.wav2sem_job.details
    assert keys_of(animated) != before
    animated.data.shape_keys.animation_data.action = copy
    animated.data.shape_keys.animation_data.action_slot = copy.slots[0]
    assert keys_of(animated) == before


def test_a_file_of_the_same_name_is_another_speech(
    animated: bpy.types.Object, settings: Any, speech_file: Path, tmp_path: Path
) -> None:
    """As where each shot has its folder, and each folder a file called after the character."""
    generate()
    before = keys_of(animated)
    samples, rate = soundfile.read(speech_file)
    soundfile.write(tmp_path / speech_file.name, samples[rate:], rate)
    settings.audio_path = str(tmp_path / speech_file.name)
    for _ in range(2):  # the second time nothing more is lost
        generate()
        host = animated.data.shape_keys.animation_data.action
        (copy,) = [action for action in bpy.data.actions if action != host]
        fcurves = keyframes.curves_of(keyframes.bag_of(copy, copy.slots[0]))
        kept = {path.split('"')[1]: keyframes.read(fcurve)["co"].tobytes() for path, fcurve in fcurves.items()}
        assert copy.use_fake_user and kept == before


@pytest.mark.parametrize("again", [False, True])
def test_a_bake_into_the_slot_that_fails_leaves_it(
    again: bool, animated: bpy.types.Object, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if again:
        generate()
        settings.keys = "REDUCED"
    before = fingerprint(), dict(animated.data.shape_keys.animation_data.action.items())

    def fail(*_: Any) -> None:
        raise LipSyncError("no")

    monkeypatch.setattr(sound, "play_in_sync", fail)
    with pytest.raises(RuntimeError, match="no"):
        generate()
    assert (fingerprint(), dict(animated.data.shape_keys.animation_data.action.items())) == before


def test_into_the_slot_of_our_own_action_and_of_none(settings: Any) -> None:
    obj = arkit_puppet(NAMES)
    settings.destination = "SLOT"
    generate()
    data = obj.data.shape_keys.animation_data
    action = data.action
    assert action.name == "Puppet Lip Sync" and ids.GUEST not in action
    generate()
    assert data.action == action and len(bpy.data.actions) == 1


def test_a_linked_action_is_refused_as_a_host(animated: bpy.types.Object, tmp_path: Any) -> None:
    data = animated.data.shape_keys.animation_data
    data.action.name = "Theirs"
    bpy.data.libraries.write(str(tmp_path / "theirs.blend"), {data.action}, fake_user=True)
    with bpy.data.libraries.load(str(tmp_path / "theirs.blend"), link=True) as (_, wanted):
        wanted.actions = ["Theirs"]
    data.action = wanted.actions[0]
    data.action_slot = data.action.slots[0]
    with pytest.raises(RuntimeError, match="linked from another file"):
        generate()
    with pytest.raises(LipSyncError, match="linked"):
        animation.rewrite(animation.Bake(animated.data.shape_keys, data.action, data.action_slot), CurveSet(24, (), ()))
