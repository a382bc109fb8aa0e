# SPDX-License-Identifier: GPL-3.0-or-later
"""Results for other programs: imported back, the head speaks as it did, its shape keys intact."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
from conftest import ROOT
from heads import add_object, evaluated, made_up_head
from wav2sem_lipsync.operators import left_out, output
from wav2sem_lipsync.operators.whole_file import is_whole

import bake as program

SUFFIXES = [suffix for suffix in output.FORMATS if suffix != ".blend"]
FRAMES = (5, 17, 40, 71, 90)
WORST = 5e-5  # metres


@pytest.fixture
def head(speech_file: Path, toy_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bpy.types.Object:
    """A head on a rig that turns, speaking from an NLA strip, at 29.97 Hz and 5 frames into the scene."""
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = 30, 1.001
    scene.frame_start, scene.frame_end = 5, 100
    head = made_up_head()
    for polygon in head.data.polygons:
        polygon.use_smooth = True
    _hang_on_rig(head)
    place = tmp_path_factory.mktemp("baked") / "head.blend"
    assert program.main([*arguments(speech_file, toy_folder, place), "--start-frame", "5", "--nla"]) == 0
    return head


def arguments(speech: Path, model: Path, place: Path) -> list[str]:
    options = {"audio": speech, "object": "Head", "model": model, "output": place}
    return [str(part) for name, value in options.items() for part in (f"--{name}", value)]


def _hang_on_rig(head: bpy.types.Object) -> None:
    rig = add_object("Rig", bpy.data.armatures.new("Rig"))
    bpy.ops.object.mode_set(mode="EDIT")
    bone = rig.data.edit_bones.new("head")
    bone.tail = (0, 0, 0.2)
    bpy.ops.object.mode_set(mode="OBJECT")
    head.parent = rig
    head.vertex_groups.new(name="head").add(range(len(head.data.vertices)), 1.0, "REPLACE")
    head.modifiers.new("Rig", "ARMATURE").object = rig
    turn = rig.pose.bones["head"]
    turn.rotation_mode = "XYZ"
    for frame, angle in ((1, 0.0), (90, 0.4)):
        turn.rotation_euler = (angle, 0, -angle)
        turn.keyframe_insert("rotation_euler", frame=frame)


def world(obj: bpy.types.Object, frame: int) -> np.ndarray:
    """Evaluated vertices (V, 3) in world space."""
    points = evaluated(obj, frame)
    matrix = np.array(obj.evaluated_get(bpy.context.evaluated_depsgraph_get()).matrix_world)
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def imported(path: Path) -> bpy.types.Object:
    """The head of `path`, alone in a new file of the same frame rate."""
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    bpy.context.scene.render.fps, bpy.context.scene.render.fps_base = 30, 1.001
    match path.suffix:
        case ".glb":  # the importer, too, takes fps · base for the rate
            bpy.context.scene.render.fps_base = 1 / 1.001
            bpy.ops.import_scene.gltf(filepath=str(path))
            bpy.context.scene.render.fps_base = 1.001
        case ".fbx":
            bpy.ops.wm.fbx_import(filepath=str(path), anim_offset=0.0)
        case ".abc":
            bpy.ops.wm.alembic_import(filepath=str(path), as_background_job=False)
        case _:
            bpy.ops.wm.usd_import(filepath=str(path))
    return max((obj for obj in bpy.context.scene.objects if obj.type == "MESH"), key=lambda obj: len(obj.data.vertices))


def nearest(points: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Index of the nearest of `among` for each of `points`: formats may reorder and split vertices."""
    return np.array([np.square(among - point).sum(axis=1).argmin() for point in points])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_imported_back_it_speaks_as_before(suffix: str, head: bpy.types.Object, tmp_path: Path) -> None:
    wanted = {frame: world(head, frame) for frame in FRAMES}
    keys = {key.name for key in head.data.shape_keys.key_blocks[1:]}
    output.write(tmp_path / f"head{suffix}", head)
    assert [path.name for path in tmp_path.iterdir()] == [f"head{suffix}"]
    back = imported(tmp_path / f"head{suffix}")
    if suffix != ".abc":
        assert {key.name for key in back.data.shape_keys.key_blocks[1:]} == keys
    place = nearest(wanted[FRAMES[0]], world(back, FRAMES[0]))
    for frame in FRAMES:
        assert abs(world(back, frame)[place] - wanted[frame]).max() < WORST, frame
    assert abs(wanted[17] - wanted[40]).max() > 100 * WORST


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_users_file_stays_as_it_is(suffix: str, head: bpy.types.Object, tmp_path: Path) -> None:
    scene, layer = bpy.context.scene, bpy.context.view_layer
    other = add_object("Other", None)
    for obj in layer.objects:
        obj.select_set(obj == other)
    scene.frame_set(33)
    blocks = {kind: sorted(getattr(bpy.data, kind).keys()) for kind in ("objects", "actions", "meshes", "collections")}
    output.write(tmp_path / f"head{suffix}", head)
    assert [obj.name for obj in layer.objects.selected] == ["Other"] and layer.objects.active == other
    assert scene.frame_current == 33
    assert {kind: sorted(getattr(bpy.data, kind).keys()) for kind in blocks} == blocks


def hide_eye(rig: bpy.types.Object, rigs: bpy.types.LayerCollection) -> None:
    rig.hide_set(True)


def hide_screen(rig: bpy.types.Object, rigs: bpy.types.LayerCollection) -> None:
    rig.hide_viewport = True


def unselectable(rig: bpy.types.Object, rigs: bpy.types.LayerCollection) -> None:
    rig.hide_select = rig.children[0].hide_select = True


def hide_collection_eye(rig: bpy.types.Object, rigs: bpy.types.LayerCollection) -> None:
    rigs.hide_viewport = True


def hide_collection(rig: bpy.types.Object, rigs: bpy.types.LayerCollection) -> None:
    rigs.collection.hide_viewport = rigs.collection.hide_select = True
    rig.hide_set(True)


HIDING = (hide_eye, hide_screen, unselectable, hide_collection_eye, hide_collection)


def hidden(rig: bpy.types.Object, rigs: bpy.types.LayerCollection) -> tuple[bool, ...]:
    """All switches that hide something."""
    seen = rig.hide_get(), rig.hide_viewport, rig.hide_select, rig.children[0].hide_select
    return *seen, rigs.hide_viewport, rigs.collection.hide_viewport, rigs.collection.hide_select


@pytest.mark.parametrize("suffix", [".glb", ".fbx", ".usdc"])
@pytest.mark.parametrize("hide", HIDING, ids=lambda hide: hide.__name__)
def test_a_hidden_rig_comes_along(hide: Any, suffix: str, head: bpy.types.Object, tmp_path: Path) -> None:
    wanted = {frame: world(head, frame) for frame in (17, 90)}
    rig, scene = head.parent, bpy.context.scene
    collection = bpy.data.collections.new("Rigs")
    scene.collection.children.link(collection)
    scene.collection.objects.unlink(rig)
    collection.objects.link(rig)
    rigs = bpy.context.view_layer.layer_collection.children["Rigs"]
    hide(rig, rigs)
    before = hidden(rig, rigs)
    output.write(tmp_path / f"head{suffix}", head)
    assert hidden(rig, rigs) == before
    back = imported(tmp_path / f"head{suffix}")
    assert any(obj.type == "ARMATURE" for obj in bpy.data.objects)
    place = nearest(wanted[17], world(back, 17))
    for frame, points in wanted.items():
        assert abs(world(back, frame)[place] - points).max() < WORST, frame


def test_pose_mode_is_left_and_entered_again(head: bpy.types.Object, tmp_path: Path) -> None:
    rig, layer = head.parent, bpy.context.view_layer
    other = add_object("Other Rig", bpy.data.armatures.new("Other Rig"))
    for obj in layer.objects:
        obj.select_set(obj in (rig, other))
    layer.objects.active = rig
    bpy.ops.object.mode_set(mode="POSE")
    rig.select_set(False)
    modes = {obj.name: obj.mode for obj in layer.objects}
    assert modes["Rig"] == modes["Other Rig"] == "POSE"
    output.write(tmp_path / "head.glb", head)
    assert {obj.name: obj.mode for obj in layer.objects} == modes
    assert [obj.name for obj in layer.objects.selected] == ["Other Rig"] and layer.objects.active == rig


def test_what_cannot_be_written_leaves_what_was_there(
    head: bpy.types.Object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "head.glb"
    path.write_text("yesterday's")
    rigs = bpy.data.collections.new("Rigs")
    bpy.context.scene.collection.children.link(rigs)
    bpy.context.scene.collection.objects.unlink(head.parent)
    rigs.objects.link(head.parent)
    bpy.context.view_layer.layer_collection.children["Rigs"].exclude = True
    bpy.context.view_layer.update()
    with pytest.raises(output.OutputError, match="“Rig” is not in the view layer"):
        output.write(path, head)
    bpy.context.view_layer.layer_collection.children["Rigs"].exclude = False

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output.os, "replace", full)
    with pytest.raises(output.OutputError, match="disk full"):
        output.write(path, head)
    assert path.read_text() == "yesterday's" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.9999])
@pytest.mark.parametrize(
    ("suffix", "packed"), [(".blend", False), (".blend", True), (".usdc", True), (".usda", True), (".usd", True)]
)
def test_what_a_full_disk_cuts_short_is_noticed(
    suffix: str, packed: bool, part: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blender says nothing when the end of a packed .blend or of a USD file is not written."""
    monkeypatch.setattr(bpy.context.preferences.filepaths, "use_file_compression", packed)
    operator, write = output.FORMATS[suffix]

    def cut(place: str, obj: bpy.types.Object) -> None:
        write(place, obj)
        os.truncate(place, int(part * Path(place).stat().st_size))

    head, path = made_up_head(), tmp_path / f"head{suffix}"
    output.write(path, head)
    before = path.read_bytes()
    assert before.startswith(b"BLENDER") == (suffix == ".blend" and not packed)
    monkeypatch.setitem(output.FORMATS, suffix, (operator, cut))
    with pytest.raises(output.OutputError, match=r"only a part of it was taken\); .* the disk full"):
        output.write(path, head)
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_a_hole_in_a_packed_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room that another program makes meanwhile lets the end be written, but not what lies before it."""
    monkeypatch.setattr(bpy.context.preferences.filepaths, "use_file_compression", True)
    output.write(tmp_path / "head.blend", made_up_head())
    raw = (tmp_path / "head.blend").read_bytes()
    (tmp_path / "head.blend").write_bytes(raw[:9000] + raw[13000:])
    assert not is_whole(tmp_path / "head.blend")


def test_alembic_looks_for_room_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer would end Blender."""
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(output.shutil, "disk_usage", lambda place: usage(3_000_000))
    head = made_up_head()
    bpy.context.scene.frame_start, bpy.context.scene.frame_end = 11, 110
    with pytest.raises(output.OutputError, match="100 frames of “Head” may take 12 MB, and the disk has 3 MB left"):
        output.write(tmp_path / "head.abc", head)
    bpy.context.scene.frame_end = 20
    output.write(tmp_path / "head.abc", head)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows have no such call")
def test_alembic_under_a_quota(speech_file: Path, toy_folder: Path, tmp_path: Path) -> None:
    """A limit of the size of files stands for it: the disk has room, and only a try tells."""
    import resource

    made_up_head()
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    options = arguments(speech_file, toy_folder, tmp_path / "head.abc")
    done = subprocess.run(
        [sys.executable, str(ROOT / "bake.py"), str(tmp_path / "shot.blend"), "--", *options],
        capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)),
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "cannot be written (File too large)" in json.loads(done.stdout.splitlines()[-1])["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["shot.blend"]


def test_the_reason_is_said_and_not_the_place_in_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Error: Python: Traceback …\n  File x\nOSError: [Errno 28] No space left on device\nLocation: output.py:63\n"

    def full(place: str, obj: bpy.types.Object) -> None:
        raise RuntimeError(said)

    monkeypatch.setitem(output.FORMATS, ".glb", ("export_scene.gltf", full))
    with pytest.raises(output.OutputError, match=r"cannot be written \(No space left on device\); .* the disk full"):
        output.write(tmp_path / "head.glb", made_up_head())


def key_times(path: Path) -> list[tuple[float, float]]:
    """First and last second of every input of the animations in a .glb, as it says and as it is."""
    data = path.read_bytes()
    assert int.from_bytes(data[8:12], "little") == len(data)
    length = int.from_bytes(data[12:16], "little")
    about, binary = json.loads(data[20 : 20 + length]), data[28 + length :]
    found = []
    for index in {sampler["input"] for animation in about["animations"] for sampler in animation["samplers"]}:
        accessor = about["accessors"][index]
        view = about["bufferViews"][accessor["bufferView"]]
        times = np.frombuffer(binary, "<f4", accessor["count"], view.get("byteOffset", 0))
        assert np.float32(accessor["min"][0]) == times.min() and np.float32(accessor["max"][0]) == times.max()
        found.append((float(times[0]), float(times[-1])))
    return found


@pytest.mark.parametrize(("fps", "base"), [(24, 1.001), (30, 1.001), (25, 1.0), (60, 2.5)])
def test_gltf_runs_at_the_scenes_speed(fps: int, base: float, tmp_path: Path) -> None:
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = fps, base
    scene.frame_start, scene.frame_end = 1001, 1100
    head = made_up_head()
    head.location.x = 0.0
    for frame in (1001, 1100):
        head.location.x += 1.0
        head.keyframe_insert("location", frame=frame)
    output.write(tmp_path / "head.glb", head)
    wanted = pytest.approx((1001 * base / fps, 1100 * base / fps), rel=1e-6)
    assert key_times(tmp_path / "head.glb") == [wanted]


def test_a_vertex_cache_goes_into_alembic_alone(head: bpy.types.Object, tmp_path: Path) -> None:
    head.modifiers.new("Cache", "MESH_CACHE")
    for suffix in (".glb", ".fbx", ".usdc"):
        with pytest.raises(output.OutputError, match=r"choose \.abc"):
            output.write(tmp_path / f"head{suffix}", head)
    assert not list(tmp_path.iterdir())
    output.write(tmp_path / "head.abc", head)
    head.modifiers["Cache"].show_viewport = head.modifiers["Cache"].show_render = False
    output.write(tmp_path / "head.glb", head)  # as a later bake of ARKit keys leaves it


def test_exporter_that_is_switched_off(tmp_path: Path) -> None:
    bpy.ops.preferences.addon_disable(module="io_scene_fbx")
    try:
        with pytest.raises(output.OutputError, match="enable its add-on"):
            output.check_place(tmp_path / "head.fbx")
    finally:
        bpy.ops.preferences.addon_enable(module="io_scene_fbx")
    output.check_place(tmp_path / "head.fbx")


def test_command_line_writes_what_the_ending_says(
    speech_file: Path, toy_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made_up_head()
    assert program.main(arguments(speech_file, toy_folder, tmp_path / "head.glb")) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[-1])["ok"]
    assert (tmp_path / "head.glb").read_bytes()[:4] == b"glTF"


def test_the_operator_writes_the_chosen_head(head: bpy.types.Object, tmp_path: Path) -> None:
    bpy.context.view_layer.objects.active = head
    assert bpy.ops.wav2sem.export_head(filepath=str(tmp_path / "anna.v2.fbx"), format=".glb") == {"FINISHED"}
    assert (tmp_path / "anna.v2.glb").read_bytes()[:4] == b"glTF"
    assert bpy.ops.wav2sem.export_head(filepath=str(tmp_path / "anna.v2"), format=".glb") == {"FINISHED"}
    assert [path.name for path in tmp_path.iterdir()] == ["anna.v2.glb"]
    with pytest.raises(RuntimeError, match="folder that exists"):
        bpy.ops.wav2sem.export_head(filepath=str(tmp_path / "none" / "anna.glb"))
    for nameless in ("", f"{tmp_path}/"):
        with pytest.raises(RuntimeError, match="no name; type one"):
            bpy.ops.wav2sem.export_head(filepath=nameless)
    assert not tmp_path.with_suffix(".glb").exists()
    bpy.context.view_layer.objects.active = None
    assert not bpy.ops.wav2sem.export_head.poll()
    entries = [draw.__module__ for draw in bpy.types.TOPBAR_MT_file_export._dyn_ui_initialize()]
    assert "wav2sem_lipsync.panels.export_menu" in entries


OUTSIDE = "The lips of “Head” move from frame "


@pytest.mark.parametrize("destination", ["ACTION", "NLA"])
@pytest.mark.parametrize(
    ("start", "frames", "moving", "way"),
    [
        (-20, (1, 90), "-20 to 56", "no scene begins before frame 0, so let the speech begin later"),
        (-20, (0, 90), "-20 to 56", "no scene begins before frame 0, so let the speech begin later"),
        (20, (30, 96), "20 to 96", "extend the frames of the scene"),
        (20, (20, 60), "20 to 96", "extend the frames of the scene"),
        (20, (20, 92), "", ""),
        (0, (0, 97), "", ""),
    ],
)
def test_speech_outside_of_the_exported_frames_is_told(
    start: int, frames: tuple[int, int], moving: str, way: str, destination: str, settings: Any, tmp_path: Path
) -> None:
    """In a file that holds frame after frame they are missing, so that somebody has to say so."""
    scene = bpy.context.scene
    scene.frame_start = frames[0]
    head = made_up_head()
    settings.start_frame, settings.destination = start, destination
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    scene.frame_end = frames[1]
    first = world(head, frames[0])
    assert abs(first - world(head, start)).max() > 100 * WORST or start == frames[0]
    assert bpy.ops.wav2sem.export_head(filepath=str(tmp_path / "head.usdc"), format=".usdc") == {"FINISHED"}
    state = bpy.context.window_manager.wav2sem_job
    written = f"{moving}, and only the scene's frames {frames[0]} to {frames[1]} were written; {way} and export again."
    assert (state.level, state.details) == (("WARNING", OUTSIDE + written) if way else ("INFO", ""))
    back = imported(tmp_path / "head.usdc")
    place = nearest(first, world(back, -30))
    assert abs(world(back, -30)[place] - first).max() < WORST, "nothing earlier is in the file"


@pytest.mark.parametrize("destination", ["ACTION", "NLA"])
@pytest.mark.parametrize("nla", ["as it is", "off", "own soloed", "own muted", "own muted and soloed", "other soloed"])
def test_what_does_not_play_is_not_told_of_and_what_plays_is(nla: str, destination: str, settings: Any) -> None:
    head = made_up_head()
    settings.start_frame, settings.destination = -20, destination
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    data = head.data.shape_keys.animation_data
    data.use_nla = nla != "off"
    own, other = (*data.nla_tracks, *(data.nla_tracks.new() for _ in "ab"))[:2]
    own.mute = "own muted" in nla
    if "soloed" in nla:
        (other if nla.startswith("other") else own).is_solo = True
    slot = data.action_slot
    data.action = data.action  # Blender looks at the tracks again
    if slot is not None:
        data.action_slot = slot
    plays = bool(abs(evaluated(head, 10) - evaluated(head, -5)).max() > 1e-5)
    assert (left_out.sentence(bpy.context.scene, head) != "") == plays


def test_the_command_line_tells_what_an_export_leaves_out(
    speech_file: Path, toy_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made_up_head()
    for name, told in (("head.usdc", True), ("head.blend", False)):  # which holds all of it
        assert program.main([*arguments(speech_file, toy_folder, tmp_path / name), "--start-frame", "-20"]) == 0
        captured = capfd.readouterr()
        notes = json.loads(captured.out.splitlines()[-1])["notes"]
        assert (OUTSIDE in captured.err) == told == any(note.startswith(OUTSIDE) for note in notes)


def test_a_cache_that_begins_before_the_scene_is_told(settings: Any, tmp_path: Path) -> None:
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    head = made_up_head()
    settings.mode, settings.start_frame = "CACHE", -20
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    assert left_out.sentence(bpy.context.scene, head).startswith(f"{OUTSIDE}-20 to ")
