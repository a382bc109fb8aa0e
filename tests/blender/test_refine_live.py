# SPDX-License-Identifier: GPL-3.0-or-later
"""Refine: sliders move the evaluated mesh without the network; through saving, appending, overriding and undo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from heads import arkit_puppet, evaluated, made_up_head, motion_of, rest
from test_register import draw_all
from wav2sem_lipsync.inference import FaceMotion, LipSyncError, LipSyncModel, compact
from wav2sem_lipsync.operators import (
    bake,
    face_properties,
    id_bytes,
    ids,
    life,
    readiness,
    refine,
    scene_task,
    stored_result,
)
from wav2sem_lipsync.operators.arkit_names import Channel
from wav2sem_lipsync.operators.stored_result import StoredResult

FRAMES = (5, 11, 20, 33, 48)
SLIDERS = {
    "strength": 0.6,
    "jaw": 1.7,
    "lip_closure": 2.0,
    "rounding": 0.3,
    "upper_lip": 0.0,
    "lower_lip": 2.0,
    "smoothing": 0.08,
    "offset": 2.5,
}
UNKNOWN_TO_THE_TOY = ("upper_lip", "lower_lip")  # it drives no shape of these


def generate() -> None:
    assert bpy.ops.wav2sem.generate_lipsync("EXEC_DEFAULT", True) == {"FINISHED"}


@pytest.fixture
def head(settings: Any, monkeypatch: pytest.MonkeyPatch) -> bpy.types.Object:
    """A head that speaks for three seconds; from then on the network may not run."""
    obj = made_up_head()
    generate()

    def run(*_: Any, **__: Any) -> None:
        raise AssertionError("the network ran again")

    monkeypatch.setattr(LipSyncModel, "run", run)
    return obj


def movement(obj: bpy.types.Object, frames: tuple[int, ...] = FRAMES) -> float:
    """Mean distance of the vertices from rest at `frames`."""
    return float(np.mean([np.abs(evaluated(obj, frame) - rest(obj)).mean() for frame in frames]))


def keys_of(obj: bpy.types.Object) -> dict[str, bytes]:
    """Places of all keys of the lip sync, bit by bit."""
    found = {}
    for baked in refine.bakes_of(obj):
        for curve in baked.action.layers[0].strips[0].channelbag(baked.slot).fcurves:
            places = np.empty(2 * len(curve.keyframe_points), np.float32)
            curve.keyframe_points.foreach_get("co", places)
            found[curve.data_path] = places.tobytes()
    return found


def face(obj: bpy.types.Object) -> Any:
    return getattr(obj, ids.FACE)


def neutral(obj: bpy.types.Object) -> None:
    for known in face(obj).bl_rna.properties:
        if known.type == "FLOAT":
            setattr(face(obj), known.identifier, known.default)


def test_strength_moves_the_mesh_less_and_more(head: bpy.types.Object) -> None:
    spoken = movement(head)
    face(head).strength = 0.5
    assert 0.3 * spoken < movement(head) < 0.7 * spoken
    face(head).strength = 1.5
    assert movement(head) > 1.2 * spoken
    face(head).strength = 0.0
    assert movement(head) < 1e-6


@pytest.mark.parametrize("name", SLIDERS)
def test_every_slider_there_and_back_changes_no_bit(head: bpy.types.Object, name: str) -> None:
    before = keys_of(head)
    setattr(face(head), name, SLIDERS[name])
    assert (keys_of(head) == before) == (name in UNKNOWN_TO_THE_TOY)
    neutral(head)
    assert keys_of(head) == before


def test_sliders_count_in_generate_too(settings: Any) -> None:
    first, second = made_up_head("First"), made_up_head("Second")
    settings.target = first
    face(first).strength = 0.5
    generate()
    settings.target = second
    generate()
    face(second).strength = 0.5
    assert list(keys_of(first).values()) == list(keys_of(second).values())


def test_sliders_turned_while_the_network_runs_count(settings: Any) -> None:
    obj = made_up_head()
    task = scene_task.task_from_settings(bpy.context)
    result = task.compute(lambda *_: None, lambda: False)
    face(obj).strength = 0.5
    bake.write(task, result)
    late = keys_of(obj)
    generate()
    assert keys_of(obj) == late


def test_each_head_has_its_own_sliders(settings: Any) -> None:
    first, second = made_up_head("First"), made_up_head("Second")
    for obj in (first, second):
        settings.target = obj
        generate()
    before = keys_of(second)
    face(first).strength = 0.2
    assert keys_of(second) == before != keys_of(first)


def test_offset_is_in_frames(head: bpy.types.Object) -> None:
    before = evaluated(head, 20)
    face(head).offset = 5.0
    np.testing.assert_allclose(evaluated(head, 25), before, atol=1e-6)


def test_jaw_leaves_other_shapes_alone(head: bpy.types.Object) -> None:
    before = keys_of(head)
    face(head).jaw = 0.5
    after = keys_of(head)
    changed = {path for path in before if after[path] != before[path]}
    assert changed == {'key_blocks["jawOpen"].value', 'key_blocks["mouthClose"].value'}


def test_no_head_without_lip_sync(settings: Any) -> None:
    obj = made_up_head()
    assert "generate one first" in refine.disabled_reason(obj)
    face(obj).strength = 0.5  # kept for the bake to come, does no harm now
    assert not bpy.ops.wav2sem.refine_reset.poll()
    assert refine.disabled_reason(None)
    assert refine.disabled_reason(bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT")))


# Undo


def test_undo_takes_sliders_and_curves_back_together(head: bpy.types.Object) -> None:
    name, before, spoken = head.name, keys_of(head), movement(head)
    bpy.ops.ed.undo_push(message="before")
    bpy.ops.wav2sem.refine_preset("EXEC_DEFAULT", True, preset="CARTOON")
    assert keys_of(bpy.data.objects[name]) != before
    bpy.ops.ed.undo()
    obj = bpy.data.objects[name]
    assert face(obj).strength == 1.0
    assert keys_of(obj) == before
    assert movement(obj) == pytest.approx(spoken)
    bpy.ops.ed.redo()
    obj = bpy.data.objects[name]
    assert face(obj).strength > 1.0
    assert keys_of(obj) != before


def test_one_step_for_a_slider(head: bpy.types.Object) -> None:
    """What the interface does: properties change while the mouse moves, then one step is pushed."""
    name, before = head.name, keys_of(head)
    bpy.ops.ed.undo_push(message="before")
    for value in (0.9, 0.8, 0.7):
        face(head).strength = value
    bpy.ops.ed.undo_push(message="Strength")
    bpy.ops.ed.undo()
    assert keys_of(bpy.data.objects[name]) == before


# Presets, reset, mutes


def test_presets_differ_and_natural_is_what_was_spoken(head: bpy.types.Object) -> None:
    spoken, seen = keys_of(head), {}
    for preset in ("SUBTLE", "BROAD", "CARTOON", "NATURAL"):
        assert bpy.ops.wav2sem.refine_preset(preset=preset) == {"FINISHED"}
        seen[preset] = movement(head)
    assert seen["SUBTLE"] < seen["NATURAL"] < seen["BROAD"] < seen["CARTOON"]
    assert keys_of(head) == spoken


def test_reset_leaves_mutes(head: bpy.types.Object) -> None:
    for name, value in SLIDERS.items():
        setattr(face(head), name, value)
    bpy.ops.wav2sem.add_mute()
    assert bpy.ops.wav2sem.refine_reset() == {"FINISHED"}
    assert all(getattr(face(head), name) == (0.0 if name in ("smoothing", "offset") else 1.0) for name in SLIDERS)
    assert len(face(head).mutes) == 1


def test_a_muted_region_is_at_rest_and_the_others_are_not(head: bpy.types.Object) -> None:
    scene, spoken = bpy.context.scene, keys_of(head)
    scene.use_preview_range, scene.frame_preview_start, scene.frame_preview_end = True, 20, 30
    assert bpy.ops.wav2sem.add_mute() == {"FINISHED"}
    assert movement(head, (20, 25, 30)) < 1e-6
    assert movement(head, (10, 45)) > 1e-4
    face(head).mutes[0].last = 24
    assert movement(head, (22, 24)) < 1e-6 < 1e-4 < movement(head, (30,))
    assert bpy.ops.wav2sem.remove_mute(index=0) == {"FINISHED"}
    assert keys_of(head) == spoken


def test_the_ends_of_a_muted_region_take_no_keys(head: bpy.types.Object) -> None:
    """They would count at one frame alone, and come back after Re-time."""
    bpy.ops.wav2sem.add_mute()
    for end in ("first", "last"):
        with pytest.raises(TypeError, match="not animatable"):
            head.keyframe_insert(f"{ids.FACE}.mutes[0].{end}", frame=1)


def test_a_mute_without_preview_range_lies_around_the_current_frame(head: bpy.types.Object) -> None:
    bpy.context.scene.frame_set(40)
    bpy.ops.wav2sem.add_mute()
    mute = face(head).mutes[0]
    assert mute.first < 40 < mute.last
    assert movement(head, (40,)) < 1e-6


# Animated sliders


def animate(obj: bpy.types.Object, name: str, *keys: tuple[float, float]) -> None:
    for frame, value in keys:
        setattr(face(obj), name, value)
        obj.keyframe_insert(f"{ids.FACE}.{name}", frame=frame)


def test_an_animated_strength_fades_the_speech_in(head: bpy.types.Object) -> None:
    spoken = {frame: movement(head, (frame,)) for frame in (10, 60)}
    animate(head, "strength", (30, 0.0), (40, 1.0))
    bpy.context.view_layer.update()  # the depsgraph notices; the timer never comes without a window
    refine.refresh_pending()
    assert movement(head, (10, 20, 28)) < 1e-6
    assert movement(head, (60,)) == pytest.approx(spoken[60], rel=1e-4)
    assert 0 < movement(head, (36,)) < spoken[60] * 2
    assert spoken[10] > 1e-4


def test_an_animated_slider_counts_in_generate(settings: Any) -> None:
    obj = made_up_head()
    animate(obj, "strength", (30, 0.0), (40, 1.0))
    generate()
    generated = keys_of(obj)
    assert movement(obj, (10, 20, 28)) < 1e-6 < 1e-4 < movement(obj, (50,))
    refine.refresh(obj, bpy.context.scene)
    assert keys_of(obj) == generated


def test_refreshing_again_writes_nothing_and_wakes_nobody(head: bpy.types.Object) -> None:
    animate(head, "strength", (1, 0.5), (60, 1.0))
    bpy.context.view_layer.update()
    refine.refresh_pending()
    before = keys_of(head)
    bpy.context.view_layer.update()
    refine.refresh_pending()
    bpy.context.view_layer.update()
    assert not refine.pending()
    assert keys_of(head) == before


def test_opening_a_file_changes_nothing(head: bpy.types.Object, tmp_path: Path) -> None:
    name = head.name
    animate(head, "strength", (1, 0.5), (60, 1.0))
    bpy.context.view_layer.update()
    refine.refresh_pending()
    save_and_open(tmp_path / "saved.blend")
    bpy.context.view_layer.update()
    assert not refine.pending()
    animate(bpy.data.objects[name], "jaw", (1, 0.5))
    bpy.context.view_layer.update()
    assert refine.pending()


def test_a_preset_leaves_what_is_animated(head: bpy.types.Object) -> None:
    animate(head, "strength", (1, 0.5), (60, 0.5))
    bpy.ops.wav2sem.refine_preset(preset="CARTOON")
    assert face(head).strength == 0.5
    assert face(head).jaw > 1.0


# Another day, another file


def save_and_open(path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(path))
    bpy.ops.wm.open_mainfile(filepath=str(path))


def test_saved_opened_refined(head: bpy.types.Object, tmp_path: Path) -> None:
    name, spoken, moved = head.name, keys_of(head), movement(head)
    face(head).strength = 0.5
    bpy.ops.wav2sem.add_mute()
    save_and_open(tmp_path / "saved.blend")
    obj = bpy.data.objects[name]
    assert (face(obj).strength, len(face(obj).mutes)) == (0.5, 1)
    bpy.ops.wav2sem.remove_mute(index=0)
    assert movement(obj) < 0.7 * moved
    face(obj).strength = 1.0
    assert keys_of(obj) == spoken


def test_appended_refined(head: bpy.types.Object, tmp_path: Path) -> None:
    name, moved, path = head.name, movement(head), str(tmp_path / "saved.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    with bpy.data.libraries.load(path, link=False) as (_, wanted):
        wanted.objects = [name]
    obj = wanted.objects[0]
    bpy.context.scene.collection.objects.link(obj)
    assert movement(obj) == pytest.approx(moved)
    face(obj).strength = 0.0
    assert movement(obj) < 1e-6


@pytest.fixture
def library(head: bpy.types.Object, tmp_path: Path) -> tuple[str, float]:
    """A file with a speaking character in a collection; how much it moves. The open file is another."""
    collection = bpy.data.collections.new("Character")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(head)
    moved, path = movement(head), str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return path, moved


def link(path: str) -> bpy.types.Collection:
    with bpy.data.libraries.load(path, link=True) as (_, wanted):
        wanted.collections = ["Character"]
    bpy.context.scene.collection.children.link(wanted.collections[0])
    return wanted.collections[0]


def override(path: str, fully: bool) -> bpy.types.Object:
    return overridden(link(path), fully)


def overridden(linked: bpy.types.Collection, fully: bool) -> bpy.types.Object:
    made = linked.override_hierarchy_create(bpy.context.scene, bpy.context.view_layer, do_fully_editable=fully)
    obj = made.all_objects[0]
    bpy.context.view_layer.objects.active = obj
    return obj


@pytest.mark.parametrize("fully", [False, True])
def test_an_override_is_refined_here(library: tuple[str, float], fully: bool, tmp_path: Path) -> None:
    path, moved = library
    obj = override(path, fully)
    name = obj.name
    assert movement(obj) == pytest.approx(moved)
    assert "Refine Here" in refine.disabled_reason(obj)
    face(obj).strength = 0.5
    assert movement(obj) == pytest.approx(moved)  # the library's own keys are nobody's to change
    assert bpy.ops.wav2sem.refine_here("EXEC_DEFAULT", True) == {"FINISHED"}
    assert 0.3 * moved < movement(obj) < 0.7 * moved
    assert not bpy.ops.wav2sem.refine_here.poll()
    face(obj).strength = 0.25
    face(obj).mutes.add()
    quarter = movement(obj)
    assert quarter < 0.4 * moved

    save_and_open(tmp_path / "shot.blend")
    obj = bpy.data.objects[name]
    assert obj.override_library is not None
    assert face(obj).strength == 0.25
    assert movement(obj) == pytest.approx(quarter)
    face(obj).strength = 1.0
    assert movement(obj) == pytest.approx(moved)
    bpy.ops.wm.open_mainfile(filepath=path)
    assert movement(bpy.data.objects[name]) == pytest.approx(moved)


def test_what_is_only_linked_says_so(library: tuple[str, float]) -> None:
    obj = link(library[0]).all_objects[0]
    bpy.context.view_layer.objects.active = obj
    assert "library override" in refine.disabled_reason(obj)
    assert not bpy.ops.wav2sem.refine_here.poll()


def test_the_mesh_of_an_override_is_overridden_too(settings: Any, speech_file: Path, tmp_path: Path) -> None:
    collection = bpy.data.collections.new("Character")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(arkit_puppet(["jawOpen"]))
    path = str(tmp_path / "library.blend")
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    obj = override(path, fully=False)
    bpy.context.scene.wav2sem_lipsync.audio_path = str(speech_file)
    reason = readiness.disabled_reason(bpy.context)
    assert "library override, but its mesh is still linked" in reason and "Override Mesh" in reason
    assert "wav2sem.override_mesh" in draw_all()
    assert bpy.ops.wav2sem.override_mesh("EXEC_DEFAULT", True) == {"FINISHED"}
    assert not bpy.ops.wav2sem.override_mesh.poll()
    assert "wav2sem.override_mesh" not in draw_all()
    generate()
    assert movement(obj) > 0.001


@pytest.mark.parametrize("fully", [False, True])
def test_two_characters_of_one_library_speak_by_themselves(
    library: tuple[str, float], fully: bool, tmp_path: Path
) -> None:
    """Blender lets both overrides show the one mesh that is linked."""
    path, moved = library
    linked = link(path)
    first, second = overridden(linked, fully), overridden(linked, fully)
    assert first.data == second.data
    for obj, strength in ((first, 0.5), (second, 0.25)):
        bpy.context.view_layer.objects.active = obj
        assert bpy.ops.wav2sem.refine_here("EXEC_DEFAULT", True) == {"FINISHED"}
        face(obj).strength = strength
    apart = movement(first), movement(second)
    assert 0.4 * moved > apart[1] < 0.7 * apart[0]
    names = first.name, second.name
    save_and_open(tmp_path / "shot.blend")
    assert [movement(bpy.data.objects[name, None]) for name in names] == pytest.approx(apart)


# What is stored


def test_stored_weights_are_the_networks_within_a_65535th(settings: Any, toy_folder: Path, speech_file: Path) -> None:
    obj = made_up_head()
    generate()
    result, facts = stored_result.read(refine.bakes_of(obj)[0].action)
    motion = motion_of(toy_folder, speech_file)
    assert np.abs(result.motion.weights - motion.weights).max() <= 0.5 / 65535 + 1e-7
    assert result.motion.names == motion.names
    assert (facts.start_frame, facts.fps, facts.tolerance) == (1.0, 24.0, 0.0)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04" + bytes(50)], ids=("empty", "text", "zip"))
def test_damaged_data_is_one_sentence_and_no_key_is_lost(head: bpy.types.Object, data: bytes) -> None:
    before = keys_of(head)
    refine.bakes_of(head)[0].action[ids.RAW] = data
    assert "generate" in refine.disabled_reason(head)
    face(head).strength = 0.3
    assert keys_of(head) == before
    assert not bpy.ops.wav2sem.refine_preset.poll()


def test_many_lines_are_unpacked_once(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    head, settings.destination, looks = made_up_head(), "NLA", []
    for line in range(12):
        settings.start_frame = 1 + 100 * line
        generate()
    for number, baked in enumerate(refine.bakes_of(head)):  # the toy says the same each time
        result, _ = stored_result.read(baked.action)
        motion = replace(result.motion, weights=result.motion.weights * (1 - number / 100))
        id_bytes.store(baked.action, ids.RAW, stored_result.packed(replace(result, motion=motion)))
    assert len(refine.bakes_of(head)) == 12 and refine.disabled_reason(head) == ""
    real = stored_result.unpack
    monkeypatch.setattr(stored_result, "unpack", lambda data: looks.append(data) or real(data))
    for _ in range(3):
        assert refine.disabled_reason(head) == life.disabled_reason(head) == ""
    face(head).strength = 0.5
    assert not looks
    last = refine.bakes_of(head)[-1].action
    last[ids.RAW] = b"nonsense"
    assert "generate" in refine.disabled_reason(head)
    assert not bpy.ops.wav2sem.refine_preset.poll()


def test_what_is_kept_unpacked_is_bounded_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        stored_result.packed(replace(GOOD, motion=replace(GOOD.motion, weights=GOOD.motion.weights / (1 + i))))
        for i in range(5)
    ]
    first = stored_result.unpacked(lines[0])
    size = len(lines[0]) + first.motion.weights.nbytes + first.extras["loudness"].nbytes
    monkeypatch.setattr(stored_result, "_unpacked", {})
    monkeypatch.setattr(stored_result, "_KEPT", 3.5 * size)
    for line in (*lines, lines[3], lines[0]):
        stored_result.unpacked(line)
    assert list(stored_result._unpacked) == [lines[4], lines[3], lines[0]]
    monkeypatch.setattr(stored_result, "_KEPT", 1)
    stored_result.unpacked(lines[1])
    assert list(stored_result._unpacked) == [lines[1]], "the one in use, however large"


GOOD = StoredResult(
    FaceMotion(50.0, 0.0, ("jawOpen", "mouthClose"), np.random.default_rng(0).random((30, 2), np.float32), None),
    (Channel("jawOpen", (0,)), Channel("both", (0, 1))),
    {"loudness": np.arange(30.0)},
)


@pytest.mark.parametrize("kind", ["blendshapes", "vertices"])
def test_stored_and_read_back(kind: str) -> None:
    weights = GOOD.motion.weights if kind == "blendshapes" else 5 * GOOD.motion.weights - 3
    found = stored_result.unpacked(
        stored_result.packed(replace(GOOD, motion=replace(GOOD.motion, weights=weights, kind=kind)))
    )
    assert np.abs(found.motion.weights - weights).max() <= 0.51 / 65535 * max(1.0, np.ptp(weights))
    assert (found.motion.fps, found.motion.names, found.motion.kind) == (50.0, GOOD.motion.names, kind)
    assert found.channels == GOOD.channels
    np.testing.assert_array_equal(found.extras["loudness"], GOOD.extras["loudness"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", np.zeros((2, 30))),
        ("weights", np.zeros((2, 0), np.uint16)),
        ("weights", np.zeros(60, np.uint16)),
        ("low", np.array([0.0, np.nan])),
        ("low", np.array(["a", "b"])),
        ("span", np.array([1.0, np.inf])),
        ("span", np.ones(3)),
        ("fps", np.float64(0)),
        ("fps", np.array("fast")),
        ("fps", np.ones(2)),
        ("kind", np.array("dance")),
        ("names", np.array(["jawOpen", "jawOpen"])),
        ("names", np.arange(2)),
        ("keys", np.array(["a", "a"])),
        ("keys", np.array([], "U1")),
        ("columns", np.array([0, 0, 2], np.int32)),
        ("columns", np.array([-1, 0, 1], np.int32)),
        ("columns", np.array([0.5, 0, 1])),
        ("columns", np.zeros((3, 2), np.int32)),
        ("counts", np.array([3, 0], np.int32)),
        ("counts", np.array([-1, 4], np.int32)),
        ("counts", np.array([1.0, 2.0])),
        ("counts", np.zeros((2, 1), np.int32)),
    ],
)
def test_arrays_that_do_not_fit_are_damage(name: str, value: np.ndarray) -> None:
    arrays = compact.unpack(stored_result.packed(GOOD)) | {name: value}
    with pytest.raises(LipSyncError, match="damaged"):
        stored_result.unpacked(compact.pack(arrays))


@pytest.mark.parametrize("name", ["weights", "low", "fps", "kind", "names", "keys", "columns", "counts"])
def test_arrays_that_are_missing_are_damage(name: str) -> None:
    arrays = compact.unpack(stored_result.packed(GOOD))
    del arrays[name]
    with pytest.raises(LipSyncError, match="damaged"):
        stored_result.unpacked(compact.pack(arrays))


def test_facts_that_are_nonsense_are_refused(head: bpy.types.Object) -> None:
    action = refine.bakes_of(head)[0].action
    for about in ("", "[]", '{"start_frame": 1}', '{"start_frame": 1, "fps": 0}', '{"start_frame": NaN, "fps": 24}'):
        action[ids.MARK] = about
        assert "damaged" in refine.disabled_reason(head)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"start_frame":' + "9" * 400 + ',"fps":24}', "9" * 5000, "null"])
def test_facts_of_a_hostile_file_are_refused(head: bpy.types.Object, text: str) -> None:
    action = refine.bakes_of(head)[0].action
    action[ids.MARK] = text
    assert isinstance(stored_result.description(action), dict)
    with pytest.raises(LipSyncError, match="damaged"):
        stored_result.facts(action)


def test_the_puppets_spelling_is_remembered(settings: Any) -> None:
    """Keys with other spellings, and one for both sides."""
    obj = arkit_puppet(["JawOpen", "mouth_close", "mouthSmile"])
    generate()
    before = keys_of(obj)
    assert len(before) == 3
    face(obj).strength = 0.5
    assert all(keys_of(obj)[path] != before[path] for path in before)


def test_an_nla_strip_that_was_moved_mutes_where_the_timeline_says(settings: Any) -> None:
    obj = made_up_head()
    settings.destination = "NLA"
    generate()
    strip = obj.data.shape_keys.animation_data.nla_tracks[0].strips[0]
    length = strip.frame_end - strip.frame_start
    strip.frame_start += 100
    strip.frame_end = strip.frame_start + length
    mute = face(obj).mutes.add()
    mute.first, mute.last = 120, 130
    assert movement(obj, (121, 125, 129)) < 1e-6
    assert movement(obj, (110, 145)) > 1e-4


@pytest.fixture
def stretched(settings: Any) -> bpy.types.Object:
    """A head whose line begins at frame 50 and is stretched to twice its length."""
    obj = made_up_head()
    settings.destination, settings.start_frame = "NLA", 50
    generate()
    obj.data.shape_keys.animation_data.nla_tracks[0].strips[0].scale = 2.0
    return obj


def test_a_stretched_strip_mutes_where_the_timeline_says(stretched: bpy.types.Object) -> None:
    assert movement(stretched, (101, 110, 119)) > 1e-4
    mute = face(stretched).mutes.add()
    mute.first, mute.last = 100, 120
    assert movement(stretched, (101, 110, 119)) < 1e-6
    assert movement(stretched, (85, 92)) > 1e-4 and movement(stretched, (130, 140)) > 1e-4


def test_a_stretched_strip_follows_keyed_sliders_where_they_are_keyed(stretched: bpy.types.Object) -> None:
    before = {frame: evaluated(stretched, frame) - rest(stretched) for frame in (80, 92, 140, 150)}
    face(stretched).strength = 0.0
    face(stretched).keyframe_insert("strength", frame=110)
    face(stretched).strength = 1.0
    face(stretched).keyframe_insert("strength", frame=112)
    refine.refresh(stretched, bpy.context.scene)
    for frame, moved in before.items():
        after = evaluated(stretched, frame) - rest(stretched)
        np.testing.assert_allclose(after, moved if frame > 111 else 0.0, atol=1e-5)


def test_a_stretched_strip_comes_later_by_frames_of_the_timeline(stretched: bpy.types.Object) -> None:
    before = [evaluated(stretched, frame) for frame in (80, 100, 130)]
    face(stretched).offset = 4
    for frame, shape in zip((80, 100, 130), before, strict=True):
        np.testing.assert_allclose(evaluated(stretched, frame + 4), shape, atol=1e-5)


def test_the_nod_of_a_stretched_strip_is_stretched(stretched: bpy.types.Object) -> None:
    strip = stretched.data.shape_keys.animation_data.nla_tracks[0].strips[0]
    strip.scale = 1.0
    face(stretched).life.nod = 1.0
    turns = empty_turns(stretched, np.arange(50, 120))
    strip.scale = 2.0
    refine.refresh(stretched, bpy.context.scene)
    assert np.abs(turns).max() > 1e-3
    np.testing.assert_allclose(empty_turns(stretched, np.arange(50, 190, 2)), turns, atol=1e-5)


def empty_turns(obj: bpy.types.Object, frames: np.ndarray) -> np.ndarray:
    """Rotation (n, 3) of the nodding empty of `obj`."""
    found = []
    for frame in frames:
        bpy.context.scene.frame_set(int(frame))
        found.append(face(obj).life.nod_object.rotation_euler[:])
    return np.array(found)


def test_the_update_of_many_properties_happens_once(head: bpy.types.Object, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = refine.refresh
    monkeypatch.setattr(refine, "refresh", lambda obj, scene: (calls.append(obj.name), real(obj, scene)))
    bpy.ops.wav2sem.refine_preset(preset="CARTOON")
    assert calls == [head.name]
    assert len(face_properties.on_change) == 1
