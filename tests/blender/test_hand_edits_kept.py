# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in Blender: Bézier reduction as Blender evaluates it, and hand edits that stand whatever is generated after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import (
    FRAMES,
    NAMES,
    Animator,
    add_envelope,
    bake_of,
    curves_of,
    evaluated_at,
    generate,
    keys_of,
    speaking_puppet,
    strength,
    values_at,
)
from heads import add_key, arkit_puppet, made_up_head
from wav2sem_lipsync.inference import CurveSet, LipSyncError, hand_edits
from wav2sem_lipsync.operators import animation, ids, keyframes


@pytest.fixture
def puppet(settings: Any) -> bpy.types.Object:
    """A head that speaks."""
    return speaking_puppet()


def test_numbers_are_blenders_own() -> None:
    kinds = bpy.types.Keyframe.bl_rna.properties
    for attribute, names in {
        "interpolation": ("CONSTANT", "LINEAR", "BEZIER"),
        "handle_left_type": ("FREE", "AUTO", "ALIGNED", "AUTO_CLAMPED"),
        "type": ("KEYFRAME", "GENERATED"),
    }.items():
        for name in names:
            assert kinds[attribute].enum_items[name].value == getattr(hand_edits, name)


@pytest.mark.parametrize("tolerance", [0.01, 0.05])
def test_reduced_keys_as_blender_evaluates_them(tolerance: float, puppet: bpy.types.Object, settings: Any) -> None:
    every, count = evaluated_at(puppet), animation.generated(bake_of(puppet).action).key_count
    settings.keys, settings.tolerance = "REDUCED", tolerance
    generate()
    few = evaluated_at(puppet)
    assert max(np.abs(few[name] - every[name]).max() for name in NAMES) <= tolerance
    assert animation.generated(bake_of(puppet).action).key_count < 0.6 * count  # syllables of noise, three seconds
    for values in evaluated_at(puppet, np.arange(1, 80, 0.125)).values():
        assert values.min() >= -1e-6 and values.max() <= 1 + 1e-6
    for fcurve in curves_of(puppet).values():
        for point in fcurve.keyframe_points:
            assert point.interpolation == "BEZIER" and point.type == "GENERATED"
            assert point.handle_left_type == point.handle_right_type and point.handle_left_type in ("ALIGNED", "FREE")


def test_nothing_is_edited_after_a_bake(puppet: bpy.types.Object, settings: Any) -> None:
    assert animation.hand_edits(bake_of(puppet)) == {}
    settings.keys = "REDUCED"
    generate()
    assert animation.hand_edits(bake_of(puppet)) == {}
    strength(puppet, 0.7)
    assert animation.hand_edits(bake_of(puppet)) == {}


@pytest.mark.parametrize("mode", ["EVERY", "REDUCED"])
@pytest.mark.parametrize("seed", range(6))
def test_twenty_random_edits_stand(seed: int, mode: str, puppet: bpy.types.Object, settings: Any) -> None:
    settings.keys = mode
    generate()
    untouched = {}
    for value in (0.5, 1.6, 1.0):
        strength(puppet, value)
        untouched[value] = evaluated_at(puppet)
    animator = Animator(puppet, seed)
    animator.edit(20)
    for value in (0.5, 1.6):
        strength(puppet, value)
        animator.check()
        check_between(puppet, untouched[value])
    generate()
    animator.check()
    check_between(puppet, untouched[1.6])
    assert "Kept as you edited them by hand" in bpy.context.window_manager.wav2sem_job.details
    settings.keys = "REDUCED" if mode == "EVERY" else "EVERY"
    generate()
    animator.check()
    settings.keys = mode
    strength(puppet, 1.0)
    generate()
    animator.check()
    check_between(puppet, untouched[1.0])


def check_between(obj: bpy.types.Object, expected: dict[str, np.ndarray]) -> None:
    """Outside of the spans of edits Blender evaluates what was generated; beyond its ends the outermost key holds."""
    spans, written = animation.hand_edits(bake_of(obj)), animation.stored_curves(bake_of(obj).action)
    compared = 0
    for name, values in evaluated_at(obj).items():
        outside = (written[name].keys.frames[0] <= FRAMES) & (written[name].keys.frames[-1] >= FRAMES)
        for start, end in spans[name].spans if name in spans else ():
            outside &= ~((start < FRAMES) & (end > FRAMES))
        compared += int(outside.sum())
        np.testing.assert_allclose(values[outside], expected[name][outside], atol=2e-5)
    assert compared > 100


@pytest.mark.parametrize("mode", ["EVERY", "REDUCED"])
def test_writing_the_same_again_changes_nothing(mode: str, puppet: bpy.types.Object, settings: Any) -> None:
    settings.keys = mode
    generate()
    Animator(puppet, 0).edit(10)
    strength(puppet, 0.8)
    before = keys_of(puppet), puppet.data.shape_keys.animation_data.action[ids.WRITTEN]
    getattr(puppet, ids.FACE).strength = 0.8
    generate()
    generate()
    assert (keys_of(puppet), puppet.data.shape_keys.animation_data.action[ids.WRITTEN]) == before


def test_keys_stay_selected_while_a_slider_is_dragged(puppet: bpy.types.Object) -> None:
    fcurve = curves_of(puppet)["jawOpen"]
    fcurve.keyframe_points[7].select_control_point = True
    chosen = [point.select_control_point for point in fcurve.keyframe_points]
    strength(puppet, 0.6)
    assert [point.select_control_point for point in curves_of(puppet)["jawOpen"].keyframe_points] == chosen


def test_a_deleted_curve_stays_deleted_until_edits_are_dropped(puppet: bpy.types.Object, settings: Any) -> None:
    bake = bake_of(puppet)
    keyframes.bag_of(bake.action, bake.slot).fcurves.remove(curves_of(puppet)["mouthClose"])
    strength(puppet, 0.5)
    generate()
    assert "mouthClose" not in curves_of(puppet)
    assert bpy.ops.wav2sem.drop_edits() == {"FINISHED"}
    assert "mouthClose" in curves_of(puppet)


def test_a_renamed_shape_key_is_still_refined_and_generated(puppet: bpy.types.Object, settings: Any) -> None:
    add_key(puppet, "frown").keyframe_insert("value", frame=9)
    curves_of(puppet)["jawOpen"].keyframe_points[20].co.y = 0.77
    opened = values_at(puppet, "jawOpen", FRAMES)
    puppet.data.shape_keys.key_blocks["jawOpen"].name = "jaw_open"  # another way to write it
    assert "jaw_open" in curves_of(puppet) and "jawOpen" not in curves_of(puppet)
    assert list(animation.hand_edits(bake_of(puppet))) == ["jawOpen"]
    for _ in range(2):
        strength(puppet, 0.5)
        expected = np.where(FRAMES == 21, 0.77, 0.5 * opened)
        np.testing.assert_allclose(values_at(puppet, "jaw_open", FRAMES), expected, atol=1e-5)
        assert set(curves_of(puppet)) == {"jaw_open", "frown", *NAMES[1:]}
        generate()
    assert list(animation.hand_edits(bake_of(puppet))) == ["jaw_open"]


@pytest.mark.parametrize("destination", ["ACTION", "SLOT"])
def test_a_new_shape_key_under_a_former_name_speaks(destination: str, puppet: bpy.types.Object, settings: Any) -> None:
    curves_of(puppet)["jawOpen"].keyframe_points[20].co.y = 0.77
    opened = values_at(puppet, "jawOpen", FRAMES)
    puppet.data.shape_keys.key_blocks["jawOpen"].name = "jawOpen_old"
    add_key(puppet, "jawOpen")
    strength(puppet, 0.5)  # until it is generated again the key speaks that did so far
    expected = np.where(FRAMES == 21, 0.77, 0.5 * opened)
    np.testing.assert_allclose(values_at(puppet, "jawOpen_old", FRAMES), expected, atol=1e-5)
    strength(puppet, 1.0)
    settings.destination = destination
    for _ in range(2):
        generate()
        np.testing.assert_allclose(values_at(puppet, "jawOpen", FRAMES), opened, atol=1e-5)
        assert not values_at(puppet, "jawOpen_old", FRAMES).any()


@pytest.mark.parametrize("destination", ["ACTION", "SLOT"])
@pytest.mark.parametrize("mode", ["EVERY", "REDUCED"])
def test_two_shape_keys_may_exchange_their_names(mode: str, destination: str, settings: Any) -> None:
    puppet = arkit_puppet([*NAMES, "mouthSmileRight"])
    settings.keys = mode
    generate()
    left, right = (puppet.data.shape_keys.key_blocks[f"mouthSmile{side}"] for side in ("Left", "Right"))
    curves_of(puppet)["mouthSmileLeft"].keyframe_points[2].co.y = 0.77
    generate()
    before = {key: values_at(puppet, key.name, FRAMES) for key in (left, right)}
    left.name, right.name = "meanwhile", "mouthSmileLeft"
    left.name = "mouthSmileRight"
    assert list(animation.hand_edits(bake_of(puppet))) == ["mouthSmileLeft"]
    strength(puppet, 0.5)
    np.testing.assert_allclose(values_at(puppet, right.name, FRAMES), 0.5 * before[right], atol=0.01)
    strength(puppet, 1.0)
    for key in (left, right):
        np.testing.assert_allclose(values_at(puppet, key.name, FRAMES), before[key], atol=1e-5)
    settings.destination = destination
    generate()
    np.testing.assert_allclose(values_at(puppet, "mouthSmileLeft", FRAMES), before[left], atol=1e-5)
    np.testing.assert_allclose(values_at(puppet, "mouthSmileRight", FRAMES), before[right], atol=1e-5)
    strength(puppet, 0.0)
    assert not values_at(puppet, "mouthSmileRight", FRAMES).any()
    assert np.count_nonzero(values_at(puppet, "mouthSmileLeft", FRAMES)) < 20, "but what was edited"


@pytest.mark.parametrize("destination", ["ACTION", "SLOT"])
@pytest.mark.parametrize("mode", ["EVERY", "REDUCED"])
def test_keys_that_two_curves_exchanged_are_hand_edits(mode: str, destination: str, settings: Any) -> None:
    """Copied from one to the other and back: no shape key was renamed, so that they stand where they were pasted."""
    puppet = arkit_puppet(NAMES)
    settings.keys = mode
    generate()
    one, two = (curves_of(puppet)[name] for name in ("jawOpen", "mouthFunnel"))
    copied = keyframes.read(one), keyframes.read(two)
    keyframes.write(one, copied[1])
    keyframes.write(two, copied[0])
    pasted = {name: values_at(puppet, name, FRAMES) for name in ("jawOpen", "mouthFunnel")}
    assert set(animation.hand_edits(bake_of(puppet))) == set(pasted)
    settings.destination = destination
    for act in (lambda: strength(puppet, 0.5), generate):
        act()
        for name, values in pasted.items():
            np.testing.assert_allclose(values_at(puppet, name, FRAMES), values, atol=1e-5)


@pytest.mark.parametrize("mode", ["EVERY", "REDUCED"])
def test_a_curve_that_is_not_generated_for_a_while_comes_back(
    mode: str, puppet: bpy.types.Object, settings: Any
) -> None:
    settings.keys = mode
    generate()
    bake = bake_of(puppet)
    whole = animation.generated(bake.action)
    columns = [whole.names.index(name) for name in ("jawOpen", "mouthClose")]
    less = CurveSet(whole.fps, *(tuple(part[i] for i in columns) for part in (whole.names, whole.keys)))
    before = evaluated_at(puppet)
    point = curves_of(puppet)["mouthFunnel"].keyframe_points[20]
    point.co.y = 0.77
    frame = int(point.co.x)
    keyframes.bag_of(bake.action, bake.slot).fcurves.remove(curves_of(puppet)["mouthPucker"])
    animation.rewrite(bake, less)
    assert set(curves_of(puppet)) == {"jawOpen", "mouthClose", "mouthFunnel"}
    values = evaluated_at(puppet)["mouthFunnel"]
    assert values[frame - 1] == pytest.approx(0.77) and np.count_nonzero(np.abs(values) > 1e-6) < 20
    animation.rewrite(bake, whole)
    assert set(curves_of(puppet)) == {*NAMES} - {"mouthPucker"}
    after = evaluated_at(puppet)
    assert after["mouthFunnel"][frame - 1] == pytest.approx(0.77)
    start, end = animation.hand_edits(bake)["mouthFunnel"].spans[0]
    outside = ~((start < FRAMES) & (end > FRAMES))
    np.testing.assert_allclose(after["mouthFunnel"][outside], before["mouthFunnel"][outside], atol=2e-5)
    np.testing.assert_allclose(after["mouthSmileLeft"], before["mouthSmileLeft"], atol=1e-6)


def test_mutes_modifiers_and_own_curves_are_left_alone(puppet: bpy.types.Object, settings: Any) -> None:
    add_key(puppet, "frown").keyframe_insert("value", frame=9)
    curves = curves_of(puppet)
    curves["jawOpen"].mute = True
    curves["mouthClose"].modifiers.new("NOISE").strength = 0.2
    curves["jawOpen"].keyframe_points[3].co.y += 0.2
    for act in (lambda: strength(puppet, 0.5), generate, bpy.ops.wav2sem.drop_edits):
        act()
        curves = curves_of(puppet)
        assert curves["jawOpen"].mute
        assert [modifier.type for modifier in curves["mouthClose"].modifiers] == ["NOISE"]
        assert [tuple(point.co) for point in curves["frown"].keyframe_points] == [(9.0, 0.0)]


def test_generating_with_drop_begins_afresh(puppet: bpy.types.Object, settings: Any) -> None:
    clean = keys_of(puppet)
    Animator(puppet, 1).edit(5)
    first, edited = bake_of(puppet).action, keys_of(puppet)
    settings.hand_edits = "DROP"
    generate()
    assert keys_of(puppet) == clean
    assert settings.hand_edits == "KEEP"
    assert first.use_fake_user and first != bake_of(puppet).action
    puppet.data.shape_keys.animation_data.action = first
    assert keys_of(puppet) == edited


WINK = np.array([20, 30, 40])


def wink(obj: bpy.types.Object) -> bpy.types.Object:
    """The animator keys a shape of his own; Blender puts the keys into the Action of the lip sync."""
    key = add_key(obj, "wink")
    for frame, value in zip(WINK, (0.0, 0.8, 0.2), strict=True):
        key.value = value
        key.keyframe_insert("value", frame=frame)
    fcurve = curves_of(obj)["wink"]
    fcurve.extrapolation = "LINEAR"
    fcurve.modifiers.new("LIMITS").max_y, fcurve.modifiers[0].use_max_y = 0.5, True
    return obj


def check_wink(obj: bpy.types.Object) -> None:
    np.testing.assert_allclose(values_at(obj, "wink", WINK), [0.0, 0.5, 0.2], atol=1e-6)
    assert values_at(obj, "wink", np.array([42]))[0] < 0.19  # it goes on as it went


def test_an_envelope_plays_on(settings: Any) -> None:
    obj = wink(speaking_puppet())
    add_envelope(curves_of(obj)["wink"], {10: (-0.1, 0.2), 60: (-0.1, 0.9)})
    frames = np.arange(15, 45)
    before = values_at(obj, "wink", frames)
    bake_of(obj).action[ids.MARK] = bake_of(obj).action[ids.MARK].replace("babble.wav", "another.wav")
    settings.start_frame = 500
    generate()
    assert np.ptp(before) > 0.1
    np.testing.assert_allclose(values_at(obj, "wink", frames), before, atol=1e-6)


@pytest.mark.parametrize("destination", ["ACTION", "NLA"])
@pytest.mark.parametrize("case", ["drop", "another speech", "another set of keys"])
def test_what_was_keyed_beside_a_lip_sync_plays_on(case: str, destination: str, settings: Any) -> None:
    obj = wink(speaking_puppet() if case != "another set of keys" else flame_head_that_speaks())
    bake = bake_of(obj)
    settings.destination = destination
    if case == "drop":
        curves_of(obj)["jawOpen"].keyframe_points[20].co.y = 0.77
        settings.hand_edits = "DROP"
    elif case == "another speech":
        bake.action[ids.MARK] = bake.action[ids.MARK].replace("babble.wav", "another.wav")
        settings.start_frame = 500
    else:
        settings.mode = "EXACT"
    generate()
    latest = max(animation.bakes(obj.data.shape_keys), key=lambda each: each.action.frame_range[0])
    assert latest.action != bake.action
    assert animation.hand_edits(latest) == {}
    check_wink(obj)
    strength(obj, 0.5)
    check_wink(obj)


@pytest.mark.parametrize("mode", ["ARKIT", "EXACT"])
def test_what_was_keyed_beside_a_lip_sync_silences_no_other_line(mode: str, settings: Any) -> None:
    """The animator took a line out of its strip and keyed something far from it, where another line speaks."""
    settings.destination, settings.start_frame = "NLA", 200
    obj = flame_head_that_speaks()
    line = values_at(obj, "jawOpen", np.arange(200, 270))
    settings.start_frame = 1
    generate()
    data = obj.data.shape_keys.animation_data
    (track,) = data.nla_tracks
    action, slot = track.strips[0].action, track.strips[0].action_slot
    track.strips.remove(track.strips[0])
    data.action, data.action_slot = action, slot
    wink(obj)
    curves_of(obj)["wink"].keyframe_points.insert(250, 0.5)
    action[ids.MARK] = action[ids.MARK].replace("babble.wav", "another.wav")
    settings.mode = mode
    generate()
    assert data.action is None
    np.testing.assert_allclose(values_at(obj, "jawOpen", np.arange(200, 270)), line, atol=1e-4)
    if mode == "ARKIT":
        np.testing.assert_allclose(values_at(obj, "wink", WINK), [0.0, 0.5, 0.2], atol=1e-6)


def flame_head_that_speaks() -> bpy.types.Object:
    head = made_up_head()
    generate()
    return head


def test_edits_of_a_line_move_with_its_start(puppet: bpy.types.Object, settings: Any) -> None:
    curves_of(puppet)["jawOpen"].keyframe_points[20].co.y = 0.77
    settings.start_frame = 11
    generate()
    (point,) = (p for p in curves_of(puppet)["jawOpen"].keyframe_points if p.type != "GENERATED")
    assert tuple(point.co) == (31.0, np.float32(0.77))


def test_another_line_elsewhere_takes_no_edits(puppet: bpy.types.Object, settings: Any) -> None:
    curves_of(puppet)["jawOpen"].keyframe_points[20].co.y = 0.77
    bake = bake_of(puppet)
    bake.action[ids.MARK] = bake.action[ids.MARK].replace("babble.wav", "another.wav")
    settings.start_frame = 500
    generate()
    assert animation.hand_edits(bake_of(puppet)) == {}


def test_a_bake_of_an_older_release_is_kept_beside(puppet: bpy.types.Object, settings: Any) -> None:
    old = bake_of(puppet).action
    for mark in (ids.WRITTEN, ids.RAW):
        del old[mark]
    for destination in ("SLOT", "ACTION"):
        settings.destination = destination
        generate()
        assert bake_of(puppet).action != old and old.use_fake_user


def test_damaged_data_stop_nobody(puppet: bpy.types.Object, settings: Any) -> None:
    bake = bake_of(puppet)
    del bake.action[ids.WRITTEN]
    bake.action[ids.WRITTEN] = b"\x00nonsense"
    with pytest.raises(LipSyncError, match="generate it again"):
        animation.hand_edits(bake)
    generate()
    assert animation.hand_edits(bake_of(puppet)) == {}


@pytest.mark.parametrize("guest", [False, True])
def test_a_slot_with_damaged_data_stays_as_it_is(puppet: bpy.types.Object, settings: Any, guest: bool) -> None:
    bake, before = bake_of(puppet), keys_of(puppet)
    if guest:  # in an action of the user's, where bakes go to its slot whatever the destination is
        bake.action[ids.GUEST] = bake.slot.handle
    del bake.action[ids.WRITTEN]
    bake.action[ids.WRITTEN] = b"\x00nonsense"
    settings.destination = "ACTION" if guest else "SLOT"
    with pytest.raises(RuntimeError, match="unlink it"):
        generate()
    data = puppet.data.shape_keys.animation_data
    assert data.action == bake.action
    assert str(keys_of(puppet)) == str(before)
    data.action = None
    generate()
    assert data.action not in (None, bake.action)


def test_the_panel_counts_edits(puppet: bpy.types.Object) -> None:
    from wav2sem_lipsync.operators import hand_edits as buttons

    state = bpy.context.window_manager.wav2sem_job
    buttons.refresh(bpy.context)
    assert (state.edits_line, state.edited_keys) == ("Nothing edited by hand", 0)
    assert not bpy.ops.wav2sem.drop_edits.poll()
    curves = curves_of(puppet)
    for name in NAMES[:4]:
        for i in range(5):
            curves[name].keyframe_points[10 * i + 5].co.y += 0.5
    curves["mouthSmileLeft"].keyframe_points[7].co.y += 0.5
    buttons.refresh(bpy.context)
    assert (state.edits_line, state.edited_keys) == ("21 hand-edited keys on 5 shape keys", 21)
    assert bpy.ops.wav2sem.drop_edits() == {"FINISHED"}
    assert (state.edits_line, state.edited_keys) == ("Nothing edited by hand", 0)


def test_merge_leaves_a_plain_action(puppet: bpy.types.Object, settings: Any) -> None:
    Animator(puppet, 2).edit(8)
    action, before, values = bake_of(puppet).action, keys_of(puppet), evaluated_at(puppet)
    slot = bake_of(puppet).slot
    assert bpy.ops.wav2sem.merge_edits() == {"FINISHED"}
    assert not [mark for mark in ids.MARKS if mark in action]
    assert not animation.bakes(puppet.data.shape_keys)
    fcurves = keyframes.curves_of(keyframes.bag_of(action, slot))
    assert {p.type for fcurve in fcurves.values() for p in fcurve.keyframe_points} == {"KEYFRAME"}
    assert {path.split('"')[1]: keyframes.read(f)["co"].tobytes() for path, f in fcurves.items()} == before
    for name in NAMES:
        found = [fcurves[keyframes.value_path(name)].evaluate(frame) for frame in FRAMES]
        np.testing.assert_array_equal(found, values[name])
    assert not bpy.ops.wav2sem.merge_edits.poll()


def test_flame_head_edits_survive_too(settings: Any) -> None:
    head = made_up_head()
    generate()
    curves_of(head)["jawOpen"].keyframe_points[20].co.y = 0.77
    strength(head, 0.3)
    generate()
    assert values_at(head, "jawOpen", np.array([21]))[0] == pytest.approx(0.77, abs=1e-5)


def test_edits_survive_saving_and_appending(puppet: bpy.types.Object, tmp_path: Path) -> None:
    animator = Animator(puppet, 3)
    animator.edit(12)
    strength(puppet, 0.7)
    counted = {name: edits.touched.tolist() for name, edits in animation.hand_edits(bake_of(puppet)).items()}
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    for appended in (False, True):
        if appended:
            bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
            with bpy.data.libraries.load(str(tmp_path / "shot.blend")) as (_, wanted):
                wanted.objects = ["Puppet"]
            bpy.context.scene.collection.objects.link(wanted.objects[0])
        animator.obj = bpy.data.objects["Puppet"]
        found = animation.hand_edits(bake_of(animator.obj))
        assert {name: edits.touched.tolist() for name, edits in found.items()} == counted
        strength(animator.obj, 1.2)
        animator.check()
        strength(animator.obj, 0.7)


def test_undo_takes_keys_and_what_is_known_of_them_back_together(puppet: bpy.types.Object) -> None:
    curves_of(puppet)["jawOpen"].keyframe_points[20].co.y = 0.77
    bpy.ops.ed.undo_push(message="edited")
    before, action = keys_of(puppet), bake_of(puppet).action
    written = action[ids.WRITTEN]
    for act in (
        lambda: strength(bpy.data.objects["Puppet"], 0.4),
        bpy.ops.wav2sem.drop_edits,
        bpy.ops.wav2sem.merge_edits,
    ):
        act()
        bpy.ops.ed.undo_push(message="acted")
        assert bpy.data.actions[0].get(ids.WRITTEN) != written or keys_of(bpy.data.objects["Puppet"]) != before
        bpy.ops.ed.undo()
        head = bpy.data.objects["Puppet"]
        assert keys_of(head) == before and bake_of(head).action[ids.WRITTEN] == written
        assert list(animation.hand_edits(bake_of(head))) == ["jawOpen"]
