# SPDX-License-Identifier: GPL-3.0-or-later
"""Exact shapes and vertex caches: the evaluated mesh is what the model says, and nothing of the user's is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from heads import (
    add_key,
    add_mesh,
    arkit_puppet,
    evaluated,
    fingerprint,
    fit_of,
    largest_error,
    made_up_head,
    motion_of,
    overridden,
    rest,
)
from test_register import draw_all
from test_vertex_model import vertex_package
from wav2sem_lipsync.inference import Cancelled, FaceMotion, LipSyncError, ModelPackage, PointCache, arkit_basis
from wav2sem_lipsync.operators import (
    audio_source,
    bake,
    batch_jobs,
    command_line,
    ids,
    lipsync_task,
    model_list,
    output,
    sound,
    vertex_cache,
)
from wav2sem_lipsync.operators.lipsync_task import Options
from wav2sem_lipsync.operators.properties import job_state

EXACT = 2e-5  # metres: what rounding leaves


@pytest.fixture(params=["blendshapes", "vertices"])
def motion(
    request: Any, toy_folder: Path, tmp_path: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> FaceMotion:
    """What the chosen model says; once of either kind."""
    if request.param == "blendshapes":
        return motion_of(toy_folder, speech_file)
    package = ModelPackage.read(vertex_package(tmp_path / "vertices", 5023, "flame-5023"))
    monkeypatch.setattr(model_list, "packages", lambda context: [package])
    return motion_of(package.folder, speech_file)


def generate(mode: str, **settings: Any) -> None:
    for name, value in (("mode", mode), *settings.items()):
        setattr(bpy.context.scene.wav2sem_lipsync, name, value)
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    state = bpy.context.window_manager.wav2sem_job
    assert state.level == "INFO", state.message


def saved(folder: Path) -> Path:
    """Save the file as shot.blend in `folder`."""
    path = folder / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    return path


def exact_keys(obj: bpy.types.Object) -> list[bpy.types.ShapeKey]:
    return [key for key in obj.data.shape_keys.key_blocks if key.name.startswith("Lip Sync")]


def cache_of(obj: bpy.types.Object) -> bpy.types.Modifier:
    (modifier,) = [each for each in obj.modifiers if each.type == "MESH_CACHE"]
    return modifier


# ---- exact ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.5, 0.02])
def test_every_vertex_within_the_tolerance(tolerance: float, motion: FaceMotion, settings: Any) -> None:
    head = made_up_head()
    settings.start_frame = 7.4
    generate("EXACT", exact_tolerance=tolerance)
    error = largest_error(head, motion, fit_of(head), np.float32(7.4))
    assert error <= 1e-3 * tolerance + EXACT
    keys = exact_keys(head)
    assert len(keys) < len(motion.names) or motion.kind == "blendshapes"
    values = [point.co.y for curve in curves_of(head) for point in curve.keyframe_points]
    assert min(values) < 0 and max(np.abs(values)) <= 1 + 1e-6
    assert f"within {tolerance:g} mm" in bpy.context.window_manager.wav2sem_job.details


def curves_of(obj: bpy.types.Object) -> Any:
    data = obj.data.shape_keys.animation_data
    return data.action.layers[0].strips[0].channelbag(data.action_slot).fcurves


def test_a_larger_tolerance_needs_fewer_shapes(motion: FaceMotion, settings: Any) -> None:
    counts = []
    for tolerance in (0.01, 0.3, 3.0):
        head = made_up_head(f"Head {tolerance}")
        generate("EXACT", exact_tolerance=tolerance, target=head)
        counts.append(len(exact_keys(head)))
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


def test_in_any_unit_and_orientation(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    turn = 100 * np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    head = made_up_head(linear=turn)
    generate("EXACT", exact_tolerance=0.05)
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) <= 5e-5 + EXACT


def test_exact_takes_the_place_of_arkit_keys_which_come_to_rest(motion: FaceMotion, settings: Any) -> None:
    head = made_up_head()
    generate("ARKIT")
    first = head.data.shape_keys.animation_data.action
    bpy.context.scene.frame_set(13)
    assert any(key.value > 0.01 for key in head.data.shape_keys.key_blocks[1:])
    generate("EXACT", exact_tolerance=0.05)
    assert head.data.shape_keys.animation_data.action != first and first.use_fake_user
    arkit = [key for key in head.data.shape_keys.key_blocks[1:] if key not in exact_keys(head)]
    assert arkit and all(key.value == 0 for key in arkit)
    assert largest_error(head, motion, fit_of(head), 1) <= 5e-5 + EXACT
    generate("ARKIT")
    assert all(key.value == 0 for key in exact_keys(head))
    bpy.context.scene.frame_set(13)
    assert any(key.value > 0.01 for key in arkit)


def test_earlier_exact_bakes_keep_their_shapes(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    generate("EXACT", exact_tolerance=0.05)
    data = head.data.shape_keys.animation_data
    first, slot = data.action, data.action_slot
    shapes = [np.array([point.co for point in key.points]) for key in exact_keys(head)]
    before = evaluated(head, 13)
    generate("EXACT", exact_tolerance=0.5, style="broad")
    assert data.action != first
    names = [key.name for key in exact_keys(head)]
    assert names[0] == "Lip Sync 1-00" and "Lip Sync 2-00" in names
    for key, shape in zip(exact_keys(head), shapes, strict=False):
        np.testing.assert_array_equal(np.array([point.co for point in key.points]), shape)
    for key in exact_keys(head):
        key.value = 0.0
    data.action = first
    data.action_slot = slot
    for key in exact_keys(head)[len(shapes) :]:
        key.value = 0.0
    np.testing.assert_allclose(evaluated(head, 13), before, atol=1e-6)


def test_a_set_that_an_action_refers_to_is_not_made_again(settings: Any) -> None:
    head = made_up_head()
    generate("EXACT")
    generate("ARKIT")  # the exact action is kept
    for key in exact_keys(head):
        head.shape_key_remove(key)
    generate("EXACT")
    assert {key.name.partition("-")[0] for key in exact_keys(head)} == {"Lip Sync 2"}


def test_a_users_key_of_that_name_is_left_alone(settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    own = add_key(head, "Lip Sync 1-00")
    generate("EXACT")
    assert own.name == "Lip Sync 1-00" and own.value == 0
    np.testing.assert_array_equal([point.co for point in own.points], rest(head))
    assert "Lip Sync 2-00" in head.data.shape_keys.key_blocks


def edit_by_hand(obj: bpy.types.Object) -> bpy.types.Action:
    """Put a key of jawOpen where no network would."""
    data = obj.data.shape_keys.animation_data
    curve = next(c for c in curves_of(obj) if "jawOpen" in c.data_path)
    curve.keyframe_points[20].co.y = 0.9
    curve.keyframe_points[20].type = "KEYFRAME"
    curve.update()
    return data.action


def test_hand_edits_stay_with_the_keys_that_they_are_on(settings: Any) -> None:
    head = made_up_head()
    head.wav2sem_face.life.blinks = 1.0  # curves that both bakes have
    generate("ARKIT")
    edited = edit_by_hand(head)
    generate("EXACT")
    assert not any("jawOpen" in curve.data_path for curve in curves_of(head))
    assert f"What you edited by hand stays in “{edited.name}”" in job_state(bpy.context).details
    assert edited.use_fake_user
    kept = edited.layers[0].strips[0].channelbag(edited.slots[0]).fcurves
    assert next(c for c in kept if "jawOpen" in c.data_path).keyframe_points[20].co.y == pytest.approx(0.9)


def test_hand_edits_in_a_slot_are_not_lost_to_another_mode(settings: Any) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    add_key(head, "frown").keyframe_insert("value", frame=1)
    generate("ARKIT", destination="SLOT")
    edit_by_hand(head)
    before = fingerprint()
    settings.mode = "EXACT"
    with pytest.raises(RuntimeError, match="edited by hand"):
        bpy.ops.wav2sem.generate_lipsync()
    assert fingerprint() == before
    generate("EXACT", hand_edits="DROP")
    assert not any("jawOpen" in curve.data_path for curve in curves_of(head))


def test_sliders_work_on_exact_keys(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    """Strength is exact; the jaw's share goes as far as the shapes span it."""
    head = made_up_head()
    generate("EXACT", exact_tolerance=0.02)
    whole = evaluated(head, 13) - rest(head)
    head.wav2sem_face.strength = 0.5
    np.testing.assert_allclose(evaluated(head, 13) - rest(head), 0.5 * whole, atol=1e-3 * np.abs(whole).max() + 3e-5)
    head.wav2sem_face.strength = 1.0
    head.wav2sem_face.jaw = 0.5
    turned = evaluated(head, 13)
    generate("EXACT", exact_tolerance=0.02)
    assert np.abs(turned - evaluated(head, 13)).max() < 0.2 * np.abs(whole).max()
    assert np.abs(evaluated(head, 13) - rest(head) - whole).max() > 0.1 * np.abs(whole).max()


def test_reduced_keys_of_exact_shapes(settings: Any) -> None:
    head = made_up_head()
    generate("EXACT", keys="REDUCED", tolerance=0.02)
    action = head.data.shape_keys.animation_data.action
    frames = action.frame_range[1] - action.frame_range[0] + 1
    assert all(len(curve.keyframe_points) < frames for curve in curves_of(head))


def test_silence(settings: Any, tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    head = made_up_head()
    head.wav2sem_face.strength = 0.0
    settings.audio_path = str(tmp_path / "silence.wav")
    generate("EXACT")
    np.testing.assert_allclose(evaluated(head, 13), rest(head), atol=1e-7)


# ---- vertex cache --------------------------------------------------------------------------------------------------

RATES = {"24": (24, 1.0), "23.976": (24, 1.001), "50": (50, 1.0), "29.97": (30, 1.001)}


@pytest.mark.parametrize("rate", RATES)
def test_the_evaluated_mesh_is_what_the_model_says(
    rate: str, motion: FaceMotion, settings: Any, tmp_path: Path
) -> None:
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = RATES[rate]
    head = made_up_head()
    saved(tmp_path)
    settings.start_frame = 20.3
    generate("CACHE")
    assert largest_error(head, motion, fit_of(head), np.float32(20.3)) < EXACT
    assert head.data.shape_keys is None
    last = int(cache_of(head).frame_start) + PointCache.open(tmp_path / "lip_sync" / "Head-1.pc2").samples - 1
    assert bpy.context.scene.frame_end >= last
    np.testing.assert_allclose(evaluated(head, last + 30), rest(head), atol=1e-6)
    assert [strip.name for strip in bpy.context.scene.sequence_editor.strips] == ["babble.wav"]


def test_between_two_frames_it_goes_straight(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    saved(tmp_path)
    generate("CACHE")
    one, two = evaluated(head, 13), evaluated(head, 14)
    np.testing.assert_allclose(evaluated(head, 13.25), 0.75 * one + 0.25 * two, atol=1e-6)


def test_in_centimetres_and_z_up(settings: Any, tmp_path: Path, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head(linear=100 * np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]))
    saved(tmp_path)
    generate("CACHE")
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < EXACT


def test_the_users_shape_keys_stay_alive(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    blink = add_key(head, "blink")
    blink.points[100].co.z += 0.004
    saved(tmp_path)
    generate("CACHE")
    open_eyes = evaluated(head, 13)
    blink.value = 1.0
    moved = evaluated(head, 13) - open_eyes
    assert np.linalg.norm(moved[100]) == pytest.approx(0.004, rel=0.1)
    assert np.abs(np.delete(moved, 100, axis=0)).max() < 1e-6


def test_blinks_and_brows_are_in_the_cache(settings: Any, tmp_path: Path) -> None:
    head, twin = made_up_head(), made_up_head("Twin")
    saved(tmp_path)
    for obj, mode in ((head, "ARKIT"), (twin, "CACHE")):
        obj.wav2sem_face.life.blinks = obj.wav2sem_face.life.brows = 1.0
        obj.wav2sem_face.life.rate = 60.0
        generate(mode, target=obj)
    assert twin.data.shape_keys is None
    frames = range(1, 80, 3)
    lids = []
    for frame in frames:
        np.testing.assert_allclose(evaluated(twin, frame), evaluated(head, frame), atol=EXACT)
        lids.append(head.data.shape_keys.key_blocks["eyeBlinkLeft"].value)
    assert max(lids) > 0.3


def test_on_flame_itself_beside_a_blink_and_under_a_subdivision(
    flame: dict[str, np.ndarray], settings: Any, tmp_path: Path, toy_folder: Path, speech_file: Path
) -> None:
    head = add_mesh("Head", flame["vertices"], flame["faces"])
    motion = motion_of(toy_folder, speech_file)
    saved(tmp_path)
    generate("CACHE")
    assert largest_error(head, motion, fit_of(head), 1) < EXACT
    head.shape_key_add(name="Basis")
    blink = add_key(head, "blink")
    names, deltas = arkit_basis()
    lid = deltas[names.index("eyeBlinkLeft")]
    blink.points.foreach_set("co", (flame["vertices"] + lid).astype(np.float32).ravel())
    opened = evaluated(head, 13)
    blink.value = 1.0
    assert np.linalg.norm(evaluated(head, 13) - opened - lid, axis=1).max() < 2e-4  # turned with the skin it lies on
    head.modifiers.new("Subsurf", "SUBSURF").levels = 1
    assert len(evaluated(head, 13)) > 4 * 5023 - 100
    assert np.abs(evaluated(head, 13) - evaluated(head, 500)).max() > 1e-3


def test_arkit_keys_of_an_earlier_bake_come_to_rest_and_come_back(
    settings: Any, tmp_path: Path, toy_folder: Path, speech_file: Path
) -> None:
    head = made_up_head()
    motion = motion_of(toy_folder, speech_file)
    saved(tmp_path)
    generate("ARKIT")
    bpy.context.scene.frame_set(13)
    action = head.data.shape_keys.animation_data.action
    generate("CACHE")
    assert head.data.shape_keys.animation_data.action is None and action.use_fake_user
    assert action.name in bpy.context.window_manager.wav2sem_job.details
    assert largest_error(head, motion, fit_of(head), 1) < EXACT
    generate("ARKIT")
    assert not cache_of(head).show_viewport and not cache_of(head).show_render
    assert "switched off" in bpy.context.window_manager.wav2sem_job.details
    assert largest_error(head, motion, fit_of(head), 1) < EXACT


@pytest.mark.parametrize("destination", ["NLA", "SLOT"])
def test_earlier_bakes_elsewhere_are_silent_too(destination: str, settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    if destination == "SLOT":
        add_key(head, "frown").keyframe_insert("value", frame=1)
    saved(tmp_path)
    generate("CACHE")
    alone = evaluated(head, 13)
    generate("ARKIT", destination=destination)
    generate("CACHE")
    np.testing.assert_allclose(evaluated(head, 13), alone, atol=1e-6)
    if destination == "SLOT":
        assert head.data.shape_keys.animation_data.action is not None  # the user's own
    generate("ARKIT", destination=destination)  # and they come back
    assert not cache_of(head).show_viewport
    np.testing.assert_allclose(evaluated(head, 13), alone, atol=1e-6)


def test_a_cache_beside_an_action_that_plays_no_slot(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    head.shape_key_add(name="Basis")
    add_key(head, "frown").keyframe_insert("value", frame=1)
    saved(tmp_path)
    generate("CACHE")
    alone = evaluated(head, 13)
    generate("ARKIT", destination="SLOT")
    data = head.data.shape_keys.animation_data
    data.action_slot = None
    for key in head.data.shape_keys.key_blocks:
        key.value = 0
    generate("CACHE")
    np.testing.assert_allclose(evaluated(head, 13), alone, atol=1e-6)


def test_what_was_keyed_beside_a_lip_sync_plays_on_beside_a_cache(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    saved(tmp_path)
    generate("CACHE")
    alone = evaluated(head, 13)
    generate("ARKIT")
    wink = add_key(head, "wink")
    for frame in (1, 500):
        wink.value = frame / 1000
        wink.keyframe_insert("value", frame=frame)
    generate("CACHE")
    np.testing.assert_allclose(evaluated(head, 13), alone, atol=1e-6)
    assert wink.value > 0.001
    evaluated(head, 500)
    assert wink.value == pytest.approx(0.5)
    generate("ARKIT")
    assert not cache_of(head).show_viewport
    np.testing.assert_allclose(evaluated(head, 13), alone, atol=1e-6)
    evaluated(head, 500)
    assert wink.value == pytest.approx(0.5)


def linked_head(folder: Path, modifiers: tuple[str, ...]) -> bpy.types.Object:
    """A head of another file, object and mesh overridden here."""
    head = made_up_head("Hero")
    for kind in modifiers:
        head.modifiers.new(kind.title(), kind)
    return overridden(folder, head)


def test_a_cache_on_a_library_override(tmp_path: Path, speech_file: Path, toy_folder: Path) -> None:
    hero = linked_head(tmp_path, ())
    saved(tmp_path)
    generate("CACHE", target=hero, audio_path=str(speech_file))
    assert largest_error(hero, motion_of(toy_folder, speech_file), fit_of(hero), 1) < EXACT
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    hero = bpy.context.scene.objects["Hero"]
    assert np.abs(evaluated(hero, 13) - evaluated(hero, 500)).max() > 1e-3


@pytest.mark.parametrize(("mode", "words"), [("CACHE", "modifiers cannot be preceded"), ("EXACT", "no new shape keys")])
def test_what_a_library_override_cannot_take_is_told(mode: str, words: str, tmp_path: Path, speech_file: Path) -> None:
    hero = linked_head(tmp_path, ("SMOOTH",))
    saved(tmp_path)
    settings = bpy.context.scene.wav2sem_lipsync
    settings.target, settings.audio_path, settings.mode = hero, str(speech_file), mode
    before = fingerprint()
    with pytest.raises(RuntimeError, match=words):
        bpy.ops.wav2sem.generate_lipsync()
    assert fingerprint() == before


def test_lines_at_other_times_play_on(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    saved(tmp_path)
    generate("CACHE")
    generate("ARKIT", start_frame=200)
    assert cache_of(head).show_viewport
    action = head.data.shape_keys.animation_data.action
    generate("CACHE", start_frame=500)
    assert head.data.shape_keys.animation_data.action == action
    for frame in (212, 512):
        assert np.abs(evaluated(head, frame) - rest(head)).max() > 1e-3


def test_it_stands_first_and_is_reused(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    head.modifiers.new("Smooth", "SMOOTH")
    head.modifiers.new("Subsurf", "SUBSURF").show_viewport = False
    saved(tmp_path)
    generate("CACHE")
    assert [each.name for each in head.modifiers] == ["Lip Sync", "Smooth", "Subsurf"]
    generate("CACHE", start_frame=30)
    assert [each.name for each in head.modifiers] == ["Lip Sync", "Smooth", "Subsurf"]
    assert cache_of(head).filepath == "//lip_sync/Head-2.pc2" and cache_of(head).frame_start == 30
    assert sorted(path.name for path in (tmp_path / "lip_sync").iterdir()) == ["Head-1.pc2", "Head-2.pc2"]


def test_a_cache_that_gives_way_to_another_is_told(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    saved(tmp_path)
    generate("CACHE")
    assert "earlier bake" not in bpy.context.window_manager.wav2sem_job.details
    generate("CACHE", start_frame=200)
    told = "The vertex cache “Head-1.pc2” of an earlier bake plays no more; its file stays where it is."
    assert told in bpy.context.window_manager.wav2sem_job.details
    np.testing.assert_array_equal(evaluated(head, 13), evaluated(head, 40))
    assert np.abs(evaluated(head, 212) - rest(head)).max() > 1e-3


@pytest.mark.parametrize("mode", ["CACHE", "ARKIT"])
def test_a_cache_whose_modifier_was_renamed_gives_way_too(mode: str, settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    saved(tmp_path)
    generate("CACHE")
    spoken = evaluated(head, 20)
    cache_of(head).name = "Mouth"
    generate(mode)
    assert len(head.modifiers) == 1
    np.testing.assert_allclose(evaluated(head, 20), spoken, atol=1e-4)


def test_it_survives_saving_and_moving_the_folder(settings: Any, tmp_path: Path) -> None:
    made_up_head()
    (tmp_path / "one").mkdir()
    path = saved(tmp_path / "one")
    generate("CACHE")
    wanted = evaluated(bpy.data.objects["Head"], 13)
    bpy.ops.wm.save_mainfile()
    (tmp_path / "one").rename(tmp_path / "two")
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "two" / path.name))
    np.testing.assert_allclose(evaluated(bpy.data.objects["Head"], 13), wanted, atol=1e-6)


def test_an_unsaved_file_is_told_to_be_saved(settings: Any) -> None:
    made_up_head()
    settings.mode = "CACHE"
    with pytest.raises(RuntimeError, match="Save the file first: the vertex cache lies beside it"):
        bpy.ops.wav2sem.generate_lipsync()


@pytest.mark.parametrize("mode", ["EXACT", "CACHE"])
def test_only_flame_heads(mode: str, settings: Any, tmp_path: Path) -> None:
    arkit_puppet(["jawOpen"])
    saved(tmp_path)
    settings.mode = mode
    before = fingerprint()
    with pytest.raises(RuntimeError, match="no FLAME head"):
        bpy.ops.wav2sem.generate_lipsync()
    assert fingerprint() == before and not (tmp_path / "lip_sync").exists()


def task_of(head: bpy.types.Object, mode: str, model: Path, speech: Path) -> lipsync_task.Task:
    source = audio_source.from_file(str(speech))
    return lipsync_task.prepare(bpy.context.scene, head, source, ModelPackage.read(model), Options(mode=mode))


@pytest.mark.parametrize("mode", ["EXACT", "CACHE"])
def test_one_undo_step_takes_everything_back(mode: str, settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    head.modifiers.new("Smooth", "SMOOTH")
    saved(tmp_path)
    before = fingerprint(), [each.name for each in head.modifiers]
    bpy.ops.ed.undo_push(message="before")
    settings.mode = mode
    assert bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True) == {"FINISHED"}
    bpy.ops.ed.undo()
    assert (fingerprint(), [each.name for each in bpy.data.objects["Head"].modifiers]) == before


@pytest.mark.parametrize("mode", ["EXACT", "CACHE"])
@pytest.mark.parametrize("earlier", ["ARKIT", "EXACT", "CACHE"])
def test_a_bake_that_fails_leaves_everything_as_it_was(
    mode: str, earlier: str, settings: Any, tmp_path: Path, toy_folder: Path, speech_file: Path, monkeypatch: Any
) -> None:
    head = made_up_head()
    head.modifiers.new("Smooth", "SMOOTH")
    saved(tmp_path)
    generate(earlier)
    task = task_of(head, mode, toy_folder, speech_file)
    result = task.compute(lambda *_: None, lambda: False)

    def fail(*_: Any) -> None:
        raise LipSyncError("Something went wrong.")

    def state() -> Any:
        settings_of = [
            [(p.identifier, str(getattr(m, p.identifier))) for p in m.bl_rna.properties] for m in head.modifiers
        ]
        files = sorted(path.name for path in tmp_path.rglob("*.pc2"))
        return fingerprint(), settings_of, files

    before = state()
    monkeypatch.setattr(sound, "play_in_sync", fail)
    with pytest.raises(LipSyncError):
        bake.write(task, result)
    after = state()
    if mode == "CACHE":  # the file of the bake that failed is deleted
        before = *before[:2], [name for name in before[2] if name != result.baked.cache.path.name]
    assert after == before


@pytest.mark.parametrize("when", [0.0, 0.98, 0.99])
def test_a_cancelled_cache_leaves_no_file(
    when: float, settings: Any, tmp_path: Path, toy_folder: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = made_up_head()
    monkeypatch.setattr(vertex_cache, "_BLOCK", 8)
    saved(tmp_path)
    task = task_of(head, "CACHE", toy_folder, speech_file)
    reached = []
    stop: Callable[[], bool] = lambda: bool(reached) and reached[-1] >= when  # noqa: E731
    with pytest.raises(Cancelled):
        task.compute(lambda part, _: reached.append(part), stop)
    assert not list(tmp_path.rglob("*.pc2"))


def test_a_result_that_nobody_writes_leaves_no_file(
    settings: Any, tmp_path: Path, toy_folder: Path, speech_file: Path
) -> None:
    head = made_up_head()
    saved(tmp_path)
    result = task_of(head, "CACHE", toy_folder, speech_file).compute(lambda *_: None, lambda: False)
    assert list(tmp_path.rglob("*.pc2"))
    del result
    assert not list(tmp_path.rglob("*.pc2"))


def test_a_mesh_that_was_edited_meanwhile(settings: Any, tmp_path: Path, toy_folder: Path, speech_file: Path) -> None:
    head = made_up_head()
    saved(tmp_path)
    task = task_of(head, "CACHE", toy_folder, speech_file)
    result = task.compute(lambda *_: None, lambda: False)
    head.data.vertices[7].co.x += 0.01
    with pytest.raises(LipSyncError, match="was edited"):
        bake.write(task, result)
    assert not head.modifiers and not list(tmp_path.rglob("*.pc2"))


@pytest.mark.parametrize("mode", ["ARKIT", "EXACT", "CACHE"])
def test_the_panel_shows_what_a_mode_needs(mode: str, settings: Any) -> None:
    settings.mode = mode
    texts = draw_all()
    assert "mode" in texts
    assert ("exact_tolerance" in texts) == (mode == "EXACT")
    assert ("destination" in texts) == (mode != "CACHE")


# ---- why the mouth does not move -----------------------------------------------------------------------------------


def change(name: str, value: Any) -> Callable[[bpy.types.Object], None]:
    return lambda head: setattr(cache_of(head), name, value)


CAUSES: dict[str, tuple[Callable[[bpy.types.Object], Any], str]] = {
    "off": (change("show_viewport", False), "cache_off"),
    "factor": (change("factor", 0.0), "cache_settings"),
    "start": (change("frame_start", 3000.0), "cache_settings"),
    "play mode": (change("play_mode", "CUSTOM"), "cache_settings"),
    "file gone": (change("filepath", "//nowhere.pc2"), "cache_file"),
    "another mesh's file": (lambda head: other_cache(head), "cache_vertices"),
}


def other_cache(head: bpy.types.Object) -> None:
    from wav2sem_lipsync.inference import write_cache

    folder = Path(bpy.data.filepath).parent
    cache_of(head).filepath = str(write_cache(folder, "other", 1.0, 1, 3, [np.zeros((1, 3, 3))]))


@pytest.mark.parametrize("name", CAUSES)
def test_causes_of_a_cache_that_does_not_move(name: str, settings: Any, tmp_path: Path) -> None:
    spoil, expected = CAUSES[name]
    head = made_up_head()
    saved(tmp_path)
    generate("CACHE")
    state = bpy.context.window_manager.wav2sem_job
    bpy.context.scene.frame_set(13)
    assert bpy.ops.wav2sem.diagnose_mouth() == {"FINISHED"} and not state.causes
    spoil(head)
    assert np.abs(evaluated(head, 13) - evaluated(head, 500)).max() < 1e-3
    bpy.context.scene.frame_set(13)
    bpy.ops.wav2sem.diagnose_mouth()
    found = {entry.cause: entry for entry in state.causes}
    assert expected in found
    if found[expected].fix:
        bpy.ops.wav2sem.fix_mouth(cause=expected, subject=found[expected].subject)
        assert np.abs(evaluated(head, 13) - evaluated(head, 500)).max() > 1e-3


def test_a_modifier_before_the_cache_is_named(settings: Any, tmp_path: Path) -> None:
    head = made_up_head()
    saved(tmp_path)
    generate("CACHE")
    head.modifiers.new("Smooth", "SMOOTH")
    head.modifiers.move(1, 0)
    bpy.ops.wav2sem.diagnose_mouth()
    found = {entry.cause: entry for entry in bpy.context.window_manager.wav2sem_job.causes}
    bpy.ops.wav2sem.fix_mouth(cause="cache_place", subject=found["cache_place"].subject)
    assert head.modifiers[0].name == ids.TRACK


# ---- without a window ----------------------------------------------------------------------------------------------


def command(folder: Path, model: Path, speech: Path, *more: str, output: str = "out.blend") -> list[str]:
    given = {"audio": speech, "object": "Head", "output": folder / output, "model": model}
    return [*(part for name, value in given.items() for part in (f"--{name}", str(value))), *more]


@pytest.mark.parametrize("where", ["beside the shot", "elsewhere", "of a file never saved"])
def test_a_cache_from_the_command_line_lies_beside_the_output(
    where: str, tmp_path: Path, toy_folder: Path, speech_file: Path
) -> None:
    made_up_head()
    shot = saved(tmp_path)
    out = tmp_path if where == "beside the shot" else tmp_path / "out"
    out.mkdir(exist_ok=True)
    blend = [str(shot)]
    if where == "of a file never saved":
        bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
        made_up_head()
        blend = []
    assert command_line.main([*blend, *command(out, toy_folder, speech_file, "--mode", "cache")]) == 0
    bpy.ops.wm.open_mainfile(filepath=str(out / "out.blend"))
    head = bpy.data.objects["Head"]
    assert cache_of(head).filepath == "//lip_sync/Head-1.pc2"
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) < EXACT
    assert (out / "lip_sync" / "Head-1.pc2").is_file()


def test_exact_from_the_command_line(tmp_path: Path, toy_folder: Path, speech_file: Path, capsys: Any) -> None:
    made_up_head()
    shot = saved(tmp_path)
    more = ("--mode", "exact", "--within", "0.03")
    assert command_line.main([str(shot), *command(tmp_path, toy_folder, speech_file, *more)]) == 0
    assert "within 0.03 mm" in capsys.readouterr().err
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "out.blend"))
    head = bpy.data.objects["Head"]
    assert largest_error(head, motion_of(toy_folder, speech_file), fit_of(head), 1) <= 3e-5 + EXACT


def test_a_cache_needs_a_blend(tmp_path: Path, toy_folder: Path, speech_file: Path, capsys: Any) -> None:
    made_up_head()
    shot = saved(tmp_path)
    parts = command(tmp_path, toy_folder, speech_file, "--mode", "cache", output="out.glb")
    assert command_line.main([str(shot), *parts]) == 1
    assert "played by a .blend" in capsys.readouterr().err and not (tmp_path / "lip_sync").exists()


def test_an_output_that_cannot_be_written_leaves_no_cache(
    tmp_path: Path, toy_folder: Path, speech_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up_head()
    shot = saved(tmp_path)

    def refuse(*_: Any) -> None:
        raise output.OutputError("The disk is full.")

    monkeypatch.setattr(output, "write", refuse)
    assert command_line.main([str(shot), *command(tmp_path, toy_folder, speech_file, "--mode", "cache")]) == 1
    assert not list(tmp_path.rglob("*.pc2"))


@pytest.mark.parametrize("words", [("--mode", "best"), ("--mode", "exact", "--within", "0"), ("--within", "wide")])
def test_wrong_words(words: tuple[str, ...], tmp_path: Path, toy_folder: Path, speech_file: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        command_line.main(command(tmp_path, toy_folder, speech_file, *words))
    assert caught.value.code == 2


def test_modes_in_a_job_list(tmp_path: Path) -> None:
    lines = [
        "blend,audio,object,output,mode,within",
        "a.blend,a.wav,H,1.blend,Exact,0.2",
        "a.blend,a.wav,H,2.blend,odd,",
    ]
    (tmp_path / "jobs.csv").write_text("\n".join(lines))
    good, bad = batch_jobs.read_jobs(str(tmp_path / "jobs.csv"), {"model": "m"})
    assert (good.mode, good.within, good.problem) == ("exact", 0.2, "")
    assert "no mode" in bad.problem
