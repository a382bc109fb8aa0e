# SPDX-License-Identifier: GPL-3.0-or-later
"""Blinks, brows and nods on a head: lids really shut, nothing of the user's is touched, sliders and undo work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import bpy
import numpy as np
import pytest
from heads import (
    add_key,
    add_mesh,
    add_object,
    arkit_puppet,
    evaluated,
    fingerprint,
    fit_of,
    largest_error,
    made_up_head,
    motion_of,
)
from mathutils import Vector
from wav2sem_lipsync.inference.life import BLINK_SHAPES, BROW_SHAPES, basis_of, blink_times
from wav2sem_lipsync.operators import life as life_words
from wav2sem_lipsync.operators import life_shaping, refine, stored_result
from wav2sem_lipsync.operators.ids import NOD
from wav2sem_lipsync.panels.life_panel import LIPSYNC_PT_life


@pytest.fixture
def head(settings: Any) -> bpy.types.Object:
    """A head that speaks."""
    made = made_up_head()
    bpy.ops.wav2sem.generate_lipsync()
    return made


def life(obj: bpy.types.Object) -> Any:
    return obj.wav2sem_face.life


def curves(obj: bpy.types.Object) -> dict[str, Any]:
    data = obj.data.shape_keys.animation_data
    bag = data.action.layers[0].strips[0].channelbag(data.action_slot)
    return {curve.data_path.split('"')[1]: curve for curve in bag.fcurves}


def values(curve: Any) -> np.ndarray:
    return np.array([point.co.y for point in curve.keyframe_points])


def frames_of(obj: bpy.types.Object) -> range:
    first, last = obj.data.shape_keys.animation_data.action.frame_range
    return range(int(first), int(last) + 1)


def nod_curves(empty: bpy.types.Object) -> Iterator[Any]:
    data = empty.animation_data
    yield from data.action.layers[0].strips[0].channelbag(data.action_slot).fcurves


def shown(obj: bpy.types.Object) -> list[str]:
    """Texts that the panel draws."""
    layout = MagicMock()
    for maker in ("column", "row"):
        getattr(layout, maker).return_value = layout
    context = SimpleNamespace(
        scene=bpy.context.scene,
        view_layer=bpy.context.view_layer,
        preferences=SimpleNamespace(system=SimpleNamespace(ui_scale=1.0)),
        region=SimpleNamespace(width=3000),
    )
    LIPSYNC_PT_life.draw(SimpleNamespace(layout=layout), context)
    return [str(call.kwargs["text"]) for call in layout.label.mock_calls]


def test_off_by_default(head: bpy.types.Object) -> None:
    assert not set(BLINK_SHAPES + BROW_SHAPES) & set(head.data.shape_keys.key_blocks.keys())
    assert len(bpy.data.objects) == 1


def test_blinks_move_the_evaluated_lids(head: bpy.types.Object) -> None:
    before = {frame: evaluated(head, frame) for frame in frames_of(head)}
    life(head).blinks = 1.0
    lids = curves(head)["eyeBlinkLeft"]
    shut = [frame for frame in frames_of(head) if lids.evaluate(frame) == 1.0]
    assert shut
    full = basis_of(BLINK_SHAPES).sum(axis=0) @ fit_of(head).linear.T
    both = [frame for frame in shut if curves(head)["eyeBlinkRight"].evaluate(frame) == 1.0]
    assert both
    for frame in both:
        np.testing.assert_allclose(evaluated(head, frame) - before[frame], full, atol=2e-5)
    still = [frame for frame in frames_of(head) if lids.evaluate(frame) == 0.0]
    assert len(still) > len(before) / 2
    np.testing.assert_allclose(evaluated(head, still[0]), before[still[0]], atol=1e-6)


def test_the_eyes_of_a_real_head_shut(settings: Any, flame: dict[str, np.ndarray]) -> None:
    head = add_mesh("Flame", flame["vertices"], flame["faces"])
    bpy.ops.wav2sem.generate_lipsync()
    life(head).blinks = 1.0
    lids = [curves(head)[name] for name in BLINK_SHAPES]
    opened, shut = (
        next(frame for frame in frames_of(head) if all(lid.evaluate(frame) == value for lid in lids))
        for value in (0.0, 1.0)
    )
    for first in (3931, 4477):  # where the vertices of each eyeball begin
        middle = flame["vertices"][first : first + 546].mean(axis=0)
        assert gap(evaluated(head, opened), flame["faces"], middle) > 6e-3
        assert gap(evaluated(head, shut), flame["faces"], middle) < 0.6e-3


def gap(vertices: np.ndarray, faces: np.ndarray, middle: np.ndarray) -> float:
    """Height of what is seen of an eyeball, metres: rays from the front, in a column through its middle."""
    from mathutils.bvhtree import BVHTree

    tree = BVHTree.FromPolygons(vertices.tolist(), faces.tolist())
    seen = 0
    for height in np.arange(-0.015, 0.015, 1e-4):
        _, _, face, _ = tree.ray_cast((middle[0], middle[1] + height, 0.2), (0, 0, -1))
        seen += face is not None and faces[face][0] >= 3931
    return seen * 1e-4


def test_lips_are_as_without(head: bpy.types.Object) -> None:
    before = {name: values(curve) for name, curve in curves(head).items()}
    life(head).blinks, life(head).brows, life(head).nod = 1.0, 1.0, 1.0
    after = curves(head)
    for name, expected in before.items():
        np.testing.assert_array_equal(values(after[name]), expected)


def test_places_come_from_the_stored_loudness(head: bpy.types.Object) -> None:
    life(head).blinks = 1.0
    life(head).seed = 3
    ((result, facts),) = [stored_result.read(bake.action) for bake in refine.bakes_of(head)]
    prosody, start = life_shaping._prosody(result, facts)
    assert start == 1
    assert prosody.loudness[100:120].max() > prosody.loudness[-20:].max() + 30, "the speech ends in silence"
    begun = blink_times(prosody, 20.0, 3)
    lids = values(curves(head)["eyeBlinkLeft"])
    starts = np.flatnonzero((lids[1:] > 0) & (lids[:-1] == 0)) / 24
    assert len(starts) == len(begun)
    np.testing.assert_allclose(starts, begun, atol=1.5 / 24)


def test_generate_again_lives_at_once_and_is_one_undo_step(head: bpy.types.Object) -> None:
    life(head).blinks, life(head).nod = 1.0, 1.0
    expected = {name: values(curve) for name, curve in curves(head).items()}
    bpy.ops.ed.undo_push(message="before")
    before = fingerprint()
    bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True)
    for name, curve in curves(head).items():
        np.testing.assert_array_equal(values(curve), expected[name])
    bpy.ops.ed.undo()
    assert fingerprint() == before


def test_a_fresh_head_gets_its_keys_in_the_first_bake(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    life(head).blinks, life(head).brows, life(head).nod = 1.0, 0.5, 1.0
    assert head.data.shape_keys is None, "nothing to live on yet"
    bpy.ops.ed.undo_push(message="before")
    before = fingerprint()
    bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True)
    assert set(BLINK_SHAPES + BROW_SHAPES) <= set(curves(head))
    assert life(head).nod_object.animation_data.action
    bpy.ops.ed.undo()
    assert fingerprint() == before


@pytest.mark.parametrize("spoken", [False, True])
def test_a_failed_bake_changes_nothing_of_life(spoken: bool, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from wav2sem_lipsync.inference import AudioError
    from wav2sem_lipsync.operators import sound

    def fails(*_: Any) -> None:
        raise AudioError("No.")

    head = made_up_head()
    if spoken:
        bpy.ops.wav2sem.generate_lipsync()
    life(head).blinks, life(head).brows, life(head).nod = 1.0, 0.5, 1.0
    empty = life(head).nod_object
    settings.start_frame = 30
    before = fingerprint()
    monkeypatch.setattr(sound, "play_in_sync", fails)
    with pytest.raises(RuntimeError, match="No"):
        bpy.ops.wav2sem.generate_lipsync()
    assert fingerprint() == before
    assert life(head).nod_object == empty
    if spoken:
        life(head).nod = 0.5
        assert life(head).nod_object == empty


def test_off_again_is_as_before(head: bpy.types.Object, toy_folder: Path, speech_file: Path) -> None:
    life(head).blinks, life(head).brows, life(head).nod = 1.0, 1.0, 1.0
    empty = life(head).nod_object
    bpy.context.scene.frame_set(20)
    life(head).blinks = life(head).brows = life(head).nod = 0.0
    assert not set(BLINK_SHAPES + BROW_SHAPES) & set(curves(head))
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < 2e-5
    assert tuple(empty.rotation_euler) == (0, 0, 0)
    bpy.context.scene.frame_set(25)
    assert tuple(empty.rotation_euler) == (0, 0, 0)


def test_keys_edited_by_hand_stand(head: bpy.types.Object) -> None:
    life(head).blinks, life(head).nod = 1.0, 1.0
    lid, turn = curves(head)["eyeBlinkLeft"], next(nod_curves(life(head).nod_object))
    for curve in (lid, turn):
        curve.keyframe_points[30].co.y = 0.77
        curve.update()
    frame = lid.keyframe_points[30].co.x
    life(head).seed = 9
    life(head).blinks, life(head).nod = 0.5, 2.0
    assert curves(head)["eyeBlinkLeft"].evaluate(frame) == pytest.approx(0.77)
    assert next(nod_curves(life(head).nod_object)).evaluate(frame) == pytest.approx(0.77)


@pytest.mark.parametrize("way", ["driver", "own action"])
def test_what_the_user_animates_is_left_to_him(way: str, settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    key = add_key(head, "eyeBlinkLeft")
    if way == "driver":
        key.driver_add("value").driver.expression = "0.25"
    else:
        key.value = 0.25
        key.keyframe_insert("value", frame=1)
    bpy.ops.wav2sem.generate_lipsync()
    life(head).blinks = 1.0
    paths = [
        curve.data_path
        for bake in refine.bakes_of(head)
        for layer in bake.action.layers
        for bag in layer.strips[0].channelbags
        for curve in bag.fcurves
    ]
    assert not any("eyeBlinkLeft" in path for path in paths)
    assert any("eyeBlinkRight" in path for path in paths)
    bpy.context.scene.frame_set(40)
    assert key.value == pytest.approx(0.25)
    assert any("Left to your own drivers or keys: eyeBlinkLeft." in text for text in shown(head))


def test_keys_of_any_spelling_blink_and_none_are_made(settings: Any) -> None:
    puppet = arkit_puppet(["jawOpen", "eyeBlink_L", "EyeBlink.R", "browInnerUp"])
    bpy.ops.wav2sem.generate_lipsync()
    life(puppet).blinks = life(puppet).brows = 1.0
    assert set(curves(puppet)) == {"jawOpen", "eyeBlink_L", "EyeBlink.R", "browInnerUp"}
    assert values(curves(puppet)["eyeBlink_L"]).max() > 0.9
    assert 0 < values(curves(puppet)["browInnerUp"]).max() <= 0.7
    assert shown(puppet) == []


def test_a_head_that_cannot_blink_says_so(settings: Any) -> None:
    puppet = arkit_puppet(["jawOpen"])
    bpy.ops.wav2sem.generate_lipsync()
    life(puppet).blinks = 1.0
    assert set(curves(puppet)) == {"jawOpen"}
    assert any("has no shape keys to blink; add some" in text for text in shown(puppet))


def test_before_a_bake_the_panel_says_why(settings: Any) -> None:
    head = made_up_head()
    assert any("no lip sync yet" in text for text in shown(head))
    assert life_words.disabled_reason(None)


def test_a_bake_without_loudness_says_why(head: bpy.types.Object) -> None:
    (bake,) = refine.bakes_of(head)
    result, _ = stored_result.read(bake.action)
    from dataclasses import replace

    from wav2sem_lipsync.operators import id_bytes, ids

    id_bytes.store(bake.action, ids.RAW, stored_result.packed(replace(result, extras={})))
    life(head).blinks = 1.0
    assert "eyeBlinkLeft" not in curves(head)
    assert any("generate it again" in text for text in shown(head))


@pytest.mark.parametrize("turned", [False, True])
def test_the_empty_nods_about_the_axes_of_the_head(turned: bool, settings: Any, flame: dict[str, np.ndarray]) -> None:
    from mathutils import Matrix

    head = add_mesh("Flame", flame["vertices"], flame["faces"])
    upright = Matrix.Rotation(np.pi / 2, 4, "X")  # FLAME is Y up
    head.matrix_world = Matrix.Translation((3, 4, 5)) @ (Matrix.Rotation(0.7, 4, "Z") if turned else Matrix()) @ upright
    bpy.context.view_layer.update()
    bpy.ops.wav2sem.generate_lipsync()
    life(head).nod = 1.0
    empty = life(head).nod_object
    bpy.context.view_layer.update()
    assert (empty.matrix_world.translation - head.matrix_world.translation).length < 0.1
    turn = np.array([[curve.evaluate(frame) for curve in nod_curves(empty)] for frame in frames_of(head)])
    assert np.degrees(np.abs(turn).max()) > 1
    chin_down = int(turn[:, 0].argmax()) + frames_of(head).start
    bpy.context.scene.frame_set(chin_down)
    forward = np.array(head.matrix_world.to_3x3() @ Matrix.Identity(3).col[2])
    nodding = np.array(empty.matrix_world.to_3x3()) @ np.array([0, -1, 0])
    assert nodding[2] < forward[2] - 0.005, "the chin goes down"
    assert nodding @ forward > 0.99


def test_nobody_else_is_turned(head: bpy.types.Object) -> None:
    before = head.matrix_world.copy()
    life(head).nod = 1.0
    bpy.context.scene.frame_set(20)
    bpy.context.view_layer.update()
    assert head.matrix_world == before
    assert head.parent is None
    assert len(head.constraints) == 0


def test_a_head_bone_nods_as_the_guide_says(head: bpy.types.Object) -> None:
    head.rotation_euler = (0.3, 0.0, 1.0)
    bpy.context.view_layer.update()
    life(head).nod = 1.0
    empty = life(head).nod_object
    rig = bpy.data.objects.new("Rig", bpy.data.armatures.new("Rig"))
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    drawn = rig.data.edit_bones.new("head")
    drawn.head, drawn.tail, drawn.roll = empty.location, empty.location + Vector((0, 0, 0.1)), 0.4
    bpy.ops.object.mode_set(mode="OBJECT")
    bpy.context.scene.frame_set(-100)
    still, bone = empty.matrix_world.copy(), rig.pose.bones["head"]
    follow = bone.constraints.new("CHILD_OF")
    follow.target, follow.set_inverse_pending = empty, True
    angles = []
    for frame in (-100, *frames_of(head)):
        bpy.context.scene.frame_set(int(frame))
        turned = bone.matrix @ bone.bone.matrix_local.inverted()
        nodded = empty.matrix_world @ still.inverted()
        assert turned.to_quaternion().rotation_difference(nodded.to_quaternion()).angle < 1e-3
        angles.append(turned.to_quaternion().angle)
    assert angles[0] < 1e-6 and max(angles) > 0.01


def test_an_empty_that_does_not_nod_is_the_users(head: bpy.types.Object) -> None:
    life(head).nod = 1.0
    empty = life(head).nod_object
    turn = next(nod_curves(empty))
    turn.keyframe_points[30].co.y = 0.5
    turn.update()
    life(head).nod = 0.0
    (own,) = nod_curves(empty)
    kept = [tuple(point.co) for point in own.keyframe_points if point.co.y]
    assert kept == [(31.0, 0.5)], "what was edited by hand stays"
    empty.rotation_euler.y = 0.3
    life(head).blinks = 0.7
    assert empty.rotation_euler.y == pytest.approx(0.3)
    life(head).nod = 1.0
    assert [len(curve.keyframe_points) for curve in nod_curves(empty)] == [77, 77, 77]
    assert next(nod_curves(empty)).evaluate(31) == pytest.approx(0.5)


def test_a_duplicate_gets_an_empty_of_its_own(head: bpy.types.Object) -> None:
    life(head).nod = 1.0
    twin = head.copy()
    twin.data = head.data.copy()
    bpy.context.scene.collection.objects.link(twin)
    life(twin).nod = 0.5
    assert life(twin).nod_object not in (None, life(head).nod_object)
    assert [life(each).nod_object[NOD] for each in (head, twin)] == [head, twin]


def test_a_head_in_two_scenes_has_one_empty(head: bpy.types.Object) -> None:
    here, there = bpy.context.scene, bpy.data.scenes.new("There")
    follower = add_object("Follower", None)
    for obj in (head, follower):
        there.collection.objects.link(obj)
    life(head).nod = 1.0
    empty = life(head).nod_object
    follower.constraints.new("COPY_ROTATION").target = empty

    def turns(scene: bpy.types.Scene) -> np.ndarray:
        found = []
        for frame in frames_of(head):
            scene.frame_set(frame)
            layer = scene.view_layers[0]
            found.append(follower.evaluated_get(layer.depsgraph).matrix_world.to_euler())
        return np.array(found) - np.array(empty.delta_rotation_euler)

    whole = turns(here)
    assert np.ptp(whole, axis=0).max() > 0.02
    with bpy.context.temp_override(scene=there):
        life(head).nod = 0.5
    assert life(head).nod_object == empty
    for scene in (here, there):
        np.testing.assert_allclose(turns(scene), 0.5 * whole, atol=2e-3)
    life(head).nod = 0.0
    np.testing.assert_allclose(turns(there), 0, atol=1e-6)
    assert [obj for obj in bpy.data.objects if obj.type == "EMPTY" and obj != follower] == [empty]
    assert empty.users_scene == (here, there)


def test_a_nod_goes_to_no_scene_without_the_head(head: bpy.types.Object) -> None:
    life(head).nod = 1.0
    empty = life(head).nod_object
    with bpy.context.temp_override(scene=bpy.data.scenes.new("Elsewhere")):
        life(head).nod = 0.5
    assert empty.users_scene == (bpy.context.scene,)
    bpy.context.scene.collection.objects.unlink(empty)
    life(head).nod = 1.0
    assert life(head).nod_object.users_scene == (bpy.context.scene,), "one that was deleted is made again"


def test_exact_shapes_blink_too(settings: Any) -> None:
    head = made_up_head()
    settings.mode = "EXACT"
    bpy.ops.wav2sem.generate_lipsync()
    before = {frame: evaluated(head, frame) for frame in frames_of(head)}
    life(head).blinks = 1.0
    lids = [curves(head)[name] for name in BLINK_SHAPES]
    shut = next(frame for frame in frames_of(head) if all(lid.evaluate(frame) == 1.0 for lid in lids))
    full = basis_of(BLINK_SHAPES).sum(axis=0) @ fit_of(head).linear.T
    np.testing.assert_allclose(evaluated(head, shut) - before[shut], full, atol=2e-5)


def test_a_vertex_cache_says_that_it_does_not_blink(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    settings.mode = "CACHE"
    life(head).blinks = 1.0
    bpy.ops.wav2sem.generate_lipsync()
    assert "Blinks and brows are not in a vertex cache" in bpy.context.window_manager.wav2sem_job.details
    assert head.data.shape_keys is None


def test_an_action_of_the_users_on_the_empty_stays(head: bpy.types.Object) -> None:
    life(head).nod = 1.0
    empty = life(head).nod_object
    own = bpy.data.actions.new("Own")
    empty.animation_data.action = own
    life(head).nod = 0.5
    assert empty.animation_data.action == own
    assert len(own.layers) == 0
    assert any("plays an action of your own" in text for text in shown(head))


def test_the_nod_of_a_merged_lip_sync_outlasts_the_next_line(head: bpy.types.Object, settings: Any) -> None:
    life(head).nod = 1.0
    empty = life(head).nod_object
    turned = [[curve.evaluate(frame) for frame in frames_of(head)] for curve in nod_curves(empty)]
    assert np.ptp(turned) > 0.01
    assert bpy.ops.wav2sem.merge_edits() == {"FINISHED"}
    frames = frames_of(head)
    head.data.shape_keys.animation_data.nla_tracks.new()
    head.data.shape_keys.animation_data.action.use_fake_user = True
    head.data.shape_keys.animation_data.action = None
    settings.start_frame = 200
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    assert [[curve.evaluate(frame) for frame in frames] for curve in nod_curves(empty)] == turned
    assert {point.type for curve in nod_curves(empty) for point in curve.keyframe_points} == {"KEYFRAME"}
    assert any("plays an action of your own" in text for text in shown(head))


def test_an_amount_that_is_keyed(head: bpy.types.Object) -> None:
    life(head).blinks = 1.0
    last = frames_of(head)[-1]
    for frame, amount in ((1, 1.0), (last // 2, 1.0), (last // 2 + 1, 0.0), (last, 0.0)):
        life(head).blinks = amount
        head.keyframe_insert("wav2sem_face.life.blinks", frame=frame)
    life(head).rate = 60.0
    refine.refresh(head, bpy.context.scene)
    lids = curves(head)["eyeBlinkLeft"]
    assert max(lids.evaluate(frame) for frame in range(1, last // 2)) > 0.8
    assert max(lids.evaluate(frame) for frame in range(last // 2 + 3, last)) < 0.05


def test_life_goes_on_in_another_file(head: bpy.types.Object, tmp_path: Path) -> None:
    life(head).blinks, life(head).nod = 1.0, 1.0
    expected = values(curves(head)["eyeBlinkLeft"])
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "saved.blend"))
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "saved.blend"))
    again = bpy.data.objects["Head"]
    life(again).blinks = 0.5
    np.testing.assert_allclose(values(curves(again)["eyeBlinkLeft"]), expected / 2, atol=1e-6)
    assert life(again).nod_object.name == "Head Nod"
    life(again).nod = 2.0
    assert len(bpy.data.objects) == 2


def test_damaged_loudness_is_one_sentence(head: bpy.types.Object) -> None:
    from dataclasses import replace

    from wav2sem_lipsync.inference.compact import DamagedData
    from wav2sem_lipsync.operators import id_bytes, ids

    (bake,) = refine.bakes_of(head)
    result, _ = stored_result.read(bake.action)
    for wrong in (np.zeros(3, np.uint8), np.full(len(result.motion.weights), np.nan)):
        id_bytes.store(
            bake.action, ids.RAW, stored_result.packed(replace(result, extras={life_shaping.LOUDNESS: wrong}))
        )
        before = {name: values(curve).tolist() for name, curve in curves(head).items()}
        life(head).blinks = 0.0
        life(head).blinks = 1.0  # the update callback can raise to nobody
        with pytest.raises(DamagedData, match="loudness"):
            refine.refresh(head, bpy.context.scene)
        assert {name: values(curve).tolist() for name, curve in curves(head).items()} == before
