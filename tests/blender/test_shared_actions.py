# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads that play the same Action, as duplicates do: what is done to one must not move the other."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from edit_tools import NAMES, edit_jaw, generate, values_at
from heads import arkit_puppet, evaluated, fingerprint, made_up_head, rest
from strip_tools import add_strip, drag, in_meta
from test_register import draw_all
from wav2sem_lipsync.operators import animation, face_properties, ids, refine, vertex_cache
from wav2sem_lipsync.operators import nod as nodding
from wav2sem_lipsync.operators.face_properties import face_of
from wav2sem_lipsync.operators.properties import job_state

FRAMES = np.arange(1, 90)


def jaw(head: bpy.types.Object) -> np.ndarray:
    return values_at(head, "jawOpen", FRAMES)


def select(*heads: bpy.types.Object) -> None:
    for obj in bpy.context.scene.objects:
        obj.select_set(obj in heads)
    bpy.context.view_layer.objects.active = heads[-1]


def copy_of(head: bpy.types.Object, *, own_keys: bool = True) -> bpy.types.Object:
    """As scripts copy, which shares Actions; without `own_keys` as Alt+D does."""
    twin = head.copy()
    if own_keys:
        twin.data = head.data.copy()
    bpy.context.scene.collection.objects.link(twin)
    return twin


@pytest.fixture
def strip(settings: Any, speech_file: Path) -> Any:
    found = add_strip(speech_file, 1)
    found.select = True
    settings.source = "STRIP"
    return found


@pytest.fixture(params=["ACTION", "NLA"])
def head(settings: Any, strip: Any, request: pytest.FixtureRequest) -> bpy.types.Object:
    settings.destination = request.param
    found = arkit_puppet(NAMES)
    generate()
    return found


def test_a_slider_of_a_duplicate_leaves_the_original(head: bpy.types.Object) -> None:
    select(head)
    bpy.ops.object.duplicate()
    twin, before = bpy.context.view_layer.objects.active, jaw(head)
    face_of(twin).strength = 0.3
    np.testing.assert_array_equal(jaw(head), before)
    np.testing.assert_allclose(jaw(twin).max(), 0.3 * before.max(), rtol=0.1)
    count = len(bpy.data.actions)
    face_of(twin).strength = 0.4
    face_of(head).strength = 0.5
    assert len(bpy.data.actions) == count


@pytest.mark.parametrize("own_keys", [True, False])
def test_hand_edits_of_heads_that_share_an_action_move_once(head: bpy.types.Object, strip: Any, own_keys: bool) -> None:
    edit_jaw(head)
    twin, before = copy_of(head, own_keys=own_keys), jaw(head)
    select(head, twin)
    drag(strip, 31)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    for obj in (head, twin):
        np.testing.assert_allclose(values_at(obj, "jawOpen", FRAMES + 30), before, atol=1e-4)
    edited = "2 keys" if own_keys else "1 key"
    assert f"; {edited} edited by hand moved along." in job_state(bpy.context).message


def test_a_head_is_retimed_alone(head: bpy.types.Object, strip: Any) -> None:
    twin, before = copy_of(head), jaw(head)
    select(head)
    drag(strip, 31)
    bpy.ops.wav2sem.retime()
    np.testing.assert_array_equal(jaw(twin), before)
    np.testing.assert_allclose(values_at(head, "jawOpen", FRAMES + 30), before, atol=1e-4)
    select(twin)
    assert bpy.ops.wav2sem.retime.poll()


def test_a_copy_that_speaks_into_its_slot_leaves_the_original(settings: Any, strip: Any, tmp_path: Path) -> None:
    head = arkit_puppet(NAMES)
    generate()
    twin, before = copy_of(head), jaw(head)
    select(twin)
    face_of(twin).strength = 0.5
    face_of(head).strength = 1.0
    settings.destination = "SLOT"
    generate()
    np.testing.assert_array_equal(jaw(head), before)
    assert jaw(twin).max() < 0.7 * before.max()


@pytest.mark.parametrize("users_own", [False, True])
def test_a_head_that_was_given_anothers_action_without_a_slot_leaves_the_other(users_own: bool, settings: Any) -> None:
    one, two = arkit_puppet(NAMES, "One"), arkit_puppet(NAMES, "Two")
    if users_own:
        one.data.shape_keys.key_blocks["mouthSmileLeft"].keyframe_insert("value", frame=1)
    settings.target, settings.destination = one, "SLOT" if users_own else "ACTION"
    generate()
    before = jaw(one)
    data = two.data.shape_keys.animation_data_create()
    data.action = one.data.shape_keys.animation_data.action
    assert data.action_slot is None
    settings.target, settings.destination, settings.start_frame = two, "SLOT", 30
    generate()
    np.testing.assert_array_equal(jaw(one), before)
    np.testing.assert_allclose(jaw(two)[29:60], before[:31], atol=1e-6)


@pytest.mark.parametrize("destination", ["ACTION", "NLA", "SLOT"])
def test_heads_whose_actions_blender_merged_move_each_by_itself(destination: str, settings: Any) -> None:
    """Merge Animation moves the slots of one head into the action of the other, whose lip sync alone is known then."""
    one, two = arkit_puppet(NAMES, "One"), arkit_puppet(NAMES, "Two")
    for head, start in ((one, 1), (two, 20)):
        settings.target, settings.start_frame = head, start
        generate()
        head.keyframe_insert("location", frame=1)  # which Blender does in the action of the shape keys
    settings.target = None
    said, before = jaw(two), jaw(one)
    select(two, one)
    assert bpy.ops.anim.merge_animation() == {"FINISHED"}
    assert one.data.shape_keys.animation_data.action == two.data.shape_keys.animation_data.action
    select(two)
    assert refine.disabled_reason(two) == "“Two” has no lip sync yet; generate one first."
    assert not bpy.ops.wav2sem.drop_edits.poll()
    settings.destination, settings.start_frame = destination, 40
    if destination == "SLOT":
        with pytest.raises(RuntimeError, match="holds the lip sync of another head"):
            generate()
    else:
        generate()
        assert "Your own action plays on top" in job_state(bpy.context).details
    np.testing.assert_array_equal(jaw(two), said)
    face_of(one).strength = 0.5
    np.testing.assert_allclose(jaw(one), 0.5 * before, atol=1e-4)
    np.testing.assert_array_equal(jaw(two), said)


@pytest.mark.parametrize("drop", [bpy.ops.wav2sem.drop_edits, bpy.ops.wav2sem.merge_edits])
def test_what_is_done_to_the_edits_of_one_is_not_done_to_the_other(head: bpy.types.Object, drop: Any) -> None:
    edit_jaw(head)
    twin, before = copy_of(head), jaw(head)
    select(twin)
    assert drop() == {"FINISHED"}
    np.testing.assert_array_equal(jaw(head), before)
    (kept,) = animation.bakes(head.data.shape_keys)
    assert animation.hand_edits(kept)


def test_what_was_shared_is_shared_again_when_something_goes_wrong(head: bpy.types.Object) -> None:
    twin = copy_of(head)
    before = fingerprint()
    (bake,) = animation.bakes(twin.data.shape_keys)
    with ExitStack() as undo:
        assert animation.own(bake, undo).action != bake.action
    assert fingerprint() == before


def tweak(head: bpy.types.Object) -> None:
    data = head.data.shape_keys.animation_data
    data.nla_tracks.active, data.nla_tracks[0].strips[0].select = data.nla_tracks[0], True
    data.use_tweak_mode = True


def test_in_tweak_mode_nothing_is_done_to_the_other(settings: Any, strip: Any) -> None:
    settings.destination = "NLA"
    head = arkit_puppet(NAMES)
    generate()
    edit_jaw(head)
    twin, before = copy_of(head), jaw(head)
    select(twin)
    tweak(twin)
    face_of(twin).strength = 0.3
    told = "is being tweaked; leave tweak mode first."
    assert refine.disabled_reason(twin).endswith(told)
    for button in (bpy.ops.wav2sem.drop_edits, bpy.ops.wav2sem.merge_edits, bpy.ops.wav2sem.refine_reset):
        assert not button.poll()
    np.testing.assert_array_equal(jaw(head), before)
    twin.data.shape_keys.animation_data.use_tweak_mode = False
    assert refine.disabled_reason(twin) == ""


def test_a_nod_that_two_heads_play_is_the_others_too(settings: Any, strip: Any) -> None:
    head = arkit_puppet(NAMES)
    generate()
    face_of(head).life.nod = 1.0
    empty = face_of(head).life.nod_object

    def nods(of: bpy.types.Object) -> np.ndarray:
        found = []
        for frame in FRAMES:
            bpy.context.scene.frame_set(int(frame))
            found.append(tuple(of.rotation_euler))
        return np.array(found)

    before = nods(empty)
    twin, other = copy_of(head), empty.copy()
    bpy.context.scene.collection.objects.link(other)
    other[ids.NOD] = twin
    face_of(twin).life.nod_object = other
    face_of(twin).life.nod = 0.2
    np.testing.assert_array_equal(nods(empty), before)
    np.testing.assert_allclose(nods(other), 0.2 * before, atol=2e-3)


def test_the_cache_of_an_object_with_the_same_mesh_rests_too(settings: Any, strip: Any, tmp_path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    head = made_up_head()
    twin = copy_of(head, own_keys=False)
    for obj in (head, twin):
        select(obj)
        settings.mode = "CACHE"
        generate()
    settings.mode = "ARKIT"
    generate()
    assert not any(vertex_cache.find(obj).show_viewport for obj in (head, twin))


def test_who_spoke_by_the_same_keys_plays_the_cache_that_takes_their_place(
    settings: Any, strip: Any, tmp_path: Path
) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    head = made_up_head()
    twin = copy_of(head, own_keys=False)
    select(head)
    settings.mode = "CACHE"
    generate()
    assert vertex_cache.find(twin) is None  # it never spoke
    settings.mode = "ARKIT"
    generate()
    settings.mode = "CACHE"
    generate()
    assert np.abs(evaluated(twin, 13) - rest(twin)).max() > 1e-3
    np.testing.assert_array_equal(evaluated(twin, 13), evaluated(head, 13))


def test_a_line_in_a_meta_strip_is_the_others_too(settings: Any, strip: Any) -> None:
    settings.destination = "NLA"
    head = arkit_puppet(NAMES)
    generate()
    twin, before = copy_of(head), jaw(head)
    in_meta(head)
    select(twin)
    face_of(twin).strength = 0.2
    np.testing.assert_array_equal(jaw(head), before)
    assert jaw(twin).max() < 0.3 * before.max()


# Objects with one mesh


@pytest.fixture
def pair(head: bpy.types.Object) -> tuple[bpy.types.Object, bpy.types.Object]:
    """A head that speaks, and its linked duplicate, as Alt+D makes one."""
    select(head)
    bpy.ops.object.duplicate(linked=True)
    twin = bpy.context.view_layer.objects.active
    assert twin.data == head.data
    return head, twin


def test_a_slider_of_one_is_the_others_too(pair: tuple[bpy.types.Object, bpy.types.Object]) -> None:
    """Else the next slider of the other would undo the first."""
    head, twin = pair
    before = jaw(head)
    face_of(twin).strength = 0.5
    np.testing.assert_allclose(jaw(head), 0.5 * before, atol=1e-4)
    face_of(head).jaw = 0.5
    np.testing.assert_allclose(jaw(twin), 0.25 * before, atol=1e-4)
    assert (face_of(head).strength, face_of(twin).jaw) == (0.5, 0.5)
    select(twin)
    bpy.ops.wav2sem.refine_reset()
    face_of(head).life.seed = 3
    np.testing.assert_array_equal(jaw(head), before)
    assert face_of(head).strength == 1.0 and face_of(twin).life.seed == 3


def test_a_muted_region_of_one_is_the_others_too(pair: tuple[bpy.types.Object, bpy.types.Object]) -> None:
    head, twin = pair
    scene = bpy.context.scene
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 20, 40
    select(twin)
    bpy.ops.wav2sem.add_mute()
    face_of(head).smoothing = 0.01
    assert jaw(head)[20:39].max() < 1e-6 < jaw(head)[:10].max()
    face_of(head).mutes[0].last = 30
    assert jaw(twin)[34:39].max() > 1e-3
    select(head)
    bpy.ops.wav2sem.remove_mute(index=0)
    assert not face_of(twin).mutes and jaw(twin)[20:29].max() > 1e-3


def test_what_is_keyed_on_one_counts_for_the_other(pair: tuple[bpy.types.Object, bpy.types.Object]) -> None:
    head, twin = pair
    before = jaw(head)
    for frame, strength in ((40, 0.0), (41, 1.0)):
        face_of(head).strength = strength
        head.keyframe_insert(f"{ids.FACE}.strength", frame=frame)
    refine.refresh(head, bpy.context.scene)
    for obj in (twin, head):
        face_of(obj).smoothing = 0.001 if obj == twin else 0.0
        np.testing.assert_allclose(jaw(head)[:39], 0.0, atol=1e-3)
        np.testing.assert_allclose(jaw(head)[42:], before[42:], atol=1e-2)
    heads = face_properties.sharing(twin)
    assert face_properties.holder(heads, face_of(twin).path_from_id("strength")) == head, "the panel shows that one"
    assert face_properties.holder(heads, face_of(twin).path_from_id("jaw")) == twin
    for obj in (head, twin):
        select(obj)
        draw_all()


def test_who_speaks_anew_sets_the_other_as_he_is_set(pair: tuple[bpy.types.Object, bpy.types.Object]) -> None:
    head, twin = pair
    before = jaw(head)
    for obj, strength in ((head, 0.2), (twin, 0.5)):  # as they were when each had a mesh of its own
        with face_properties.quietly():
            face_of(obj).strength = strength
    select(twin)
    generate()
    np.testing.assert_allclose(jaw(head), 0.5 * before, atol=1e-4)
    face_of(head).life.rate = 30
    np.testing.assert_allclose(jaw(twin), 0.5 * before, atol=1e-4)


def test_each_nods_by_itself(settings: Any, strip: Any) -> None:
    head = arkit_puppet(NAMES)
    generate()
    twin = copy_of(head, own_keys=False)
    twin.location.x = 3.0
    face_of(head).life.nod = 1.0
    assert face_of(twin).life.nod == 0.0 and face_of(twin).life.nod_object is None
    face_of(twin).life.nod = 0.5
    one, two = (nodding.object_of(obj).animation_data.action for obj in (head, twin))
    assert one != two and face_of(head).life.nod == 1.0
    face_of(twin).life.seed = 5
    drag(strip, 31)
    starts = [action.frame_range[0] for action in (one, two)]
    points = [action.layers[0].strips[0].channelbags[0].fcurves[0].keyframe_points for action in (one, two)]
    for each in points:
        each[20].co.y = 0.77
    edited = [each[20].co.x for each in points]
    select(head, twin)
    assert bpy.ops.wav2sem.retime() == {"FINISHED"}
    for action, start, frame in zip((one, two), starts, edited, strict=True):
        assert action.frame_range[0] == start + 30
        (curve, *_) = action.layers[0].strips[0].channelbags[0].fcurves
        assert curve.evaluate(frame + 30) == pytest.approx(0.77)


def test_an_object_that_is_linked_from_elsewhere_is_left_as_it_is(settings: Any, strip: Any, tmp_path: Path) -> None:
    bpy.data.libraries.write(str(tmp_path / "hero.blend"), {arkit_puppet(NAMES, "Hero")})
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(str(tmp_path / "hero.blend"), link=True) as (_, wanted):
        wanted.objects = ["Hero"]
    local = wanted.objects[0].copy()
    bpy.context.scene.collection.objects.link(local)
    assert local.data == wanted.objects[0].data
    face_of(local).strength = 0.5
    assert face_of(wanted.objects[0]).strength == 1.0
