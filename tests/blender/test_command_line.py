# SPDX-License-Identifier: GPL-3.0-or-later
"""bake.py without a window: exit codes, one JSON line, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import bpy
import pytest
from conftest import ROOT
from heads import evaluated, fingerprint, made_up_head
from wav2sem_lipsync.operators import command_line
from wav2sem_lipsync.operators.frames import FIRST_FRAME, LAST_FRAME

import bake


@pytest.fixture
def shot(tmp_path: Path) -> Path:
    """A .blend with a head, in a folder whose name is no identifier."""
    folder = tmp_path / "shot 1 (é)"
    folder.mkdir()
    made_up_head()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "shot.blend"))
    return folder / "shot.blend"


def arguments(shot: Path, speech: Path, toy: Path, **changes: str) -> list[str]:
    options = {
        "audio": str(speech),
        "object": "Head",
        "output": str(shot.with_name("out.blend")),
        "model": str(toy),
    } | changes
    return [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]


def last_line(text: str) -> dict[str, Any]:
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])


def run(*parts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *parts], capture_output=True, text=True, timeout=120, cwd=ROOT.parent, check=False
    )


def test_as_a_program(shot: Path, speech_file: Path, toy_folder: Path) -> None:
    before = shot.read_bytes()
    done = run(str(ROOT / "bake.py"), str(shot), "--", *arguments(shot, speech_file, toy_folder))
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("{")] == [done.stdout.splitlines()[-1]]
    line = last_line(done.stdout)
    assert line["ok"]
    assert line["moves"]
    assert line["keys"] > 100
    assert "Listening to the speech" in done.stderr
    assert shot.read_bytes() == before
    assert sorted(path.name for path in shot.parent.iterdir()) == ["out.blend", "shot.blend"]
    bpy.ops.wm.open_mainfile(filepath=str(shot.with_name("out.blend")))
    head = bpy.data.objects["Head"]
    assert head.data.shape_keys.animation_data.action.name == "Head Lip Sync"
    assert abs(evaluated(head, 13) - evaluated(head, 500)).max() > 1e-3
    assert len(bpy.context.scene.sequence_editor.strips_all) == 1


def test_failure_as_a_program(shot: Path, tmp_path: Path, toy_folder: Path) -> None:
    done = run(str(ROOT / "bake.py"), str(shot), "--", *arguments(shot, tmp_path / "none.wav", toy_folder))
    assert done.returncode == 1
    assert "no sound file" in last_line(done.stdout)["error"]
    assert "Error: There is no sound file" in done.stderr
    assert "Traceback" not in done.stderr
    assert not shot.with_name("out.blend").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(("stream", "code"), [("stdout", 1), ("stderr", 0)])
def test_log_on_a_full_disk(stream: str, code: int, shot: Path, speech_file: Path, toy_folder: Path) -> None:
    """The bake is not lost, and what is left to say is a sentence."""
    command = [sys.executable, str(ROOT / "bake.py"), str(shot), "--", *arguments(shot, speech_file, toy_folder)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, text=True, timeout=120, check=False, **(streams | {stream: full}))
    assert done.returncode == code
    assert "Traceback" not in (done.stderr or "")
    assert shot.with_name("out.blend").exists()


def test_wrong_usage_as_a_program() -> None:
    done = run(str(ROOT / "bake.py"), "--", "--audio", "a.wav")
    assert done.returncode == 2
    assert "--object" in done.stderr


BAD = {
    "no audio": ({"audio": "/nowhere/a.wav"}, "no sound file"),
    "no object": ({"object": "Hed"}, "no object “Hed”"),
    "no text": ({"object": "\udcff"}, "no object “\udcff”"),
    "no mesh": ({"object": "Lamp"}, "not a mesh"),
    "no folder": ({"output": "/nowhere/out.blend"}, "cannot be written"),
    "no blend": ({"output": "out.mp4"}, "end in .blend"),
    "no model": ({"model": "/nowhere"}, "model"),
    "no name of a model": ({"model": "m" * 300}, "model"),
    "no style": ({"style": "opera"}, "style"),
}


@pytest.mark.parametrize(
    "option",
    [
        "--start-frame=nan", "--start-frame=inf", "--start-frame=1e300", "--start-frame=-1e9", "--start-frame=3000000",
        "--tolerance=nan", "--tolerance=inf", "--tolerance=-1", "--within=0", "--within=x",
    ],
)  # fmt: skip
def test_number_out_of_range_is_wrong_usage(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bake.main(["--audio", "a.wav", "--object", "Head", "--output", "out.blend", option])
    assert "is no number from" in capsys.readouterr().err


def test_speech_ends_within_the_frames_of_blender(
    shot: Path, speech_file: Path, toy_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The limits are those of Blender's own properties; the last key that fits is where they say."""
    known = bpy.types.Scene.bl_rna.properties["frame_current"]
    assert (known.hard_min, known.hard_max) == (FIRST_FRAME, LAST_FRAME)
    last = []
    for start in range(LAST_FRAME - 79, LAST_FRAME - 73):  # three seconds and the rest after them last 77 frames
        if bake.main(arguments(shot, speech_file, toy_folder, start_frame=str(start))) == 0:
            last.append(last_line(capfd.readouterr().out)["last_frame"])
        else:
            assert "choose another start frame" in last_line(capfd.readouterr().out)["error"]
    assert 0 < len(last) < 6 and LAST_FRAME - 2 <= max(last) <= LAST_FRAME


@pytest.mark.parametrize("name", BAD)
def test_each_failure_is_one_sentence(
    name: str, shot: Path, speech_file: Path, toy_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bpy.context.scene.collection.objects.link(bpy.data.objects.new("Lamp", bpy.data.lights.new("Lamp", "POINT")))
    changes, words = BAD[name]
    before = fingerprint()
    assert bake.main(arguments(shot, speech_file, toy_folder, **changes)) == 1
    out, _ = capfd.readouterr()
    error = last_line(out)["error"]
    assert words in error
    assert error.endswith(".")
    assert fingerprint() == before
    assert [path.name for path in shot.parent.iterdir()] == ["shot.blend"]


def test_disk_that_cannot_be_written(
    shot: Path, speech_file: Path, toy_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder stands where the file should be; unlike permissions this stops an administrator too."""
    shot.with_name("out.blend").mkdir()
    assert bake.main(arguments(shot, speech_file, toy_folder)) == 1
    assert "cannot be written" in last_line(capfd.readouterr().out)["error"]


def test_save_that_breaks_off_leaves_no_piece(
    shot: Path,
    speech_file: Path,
    toy_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    shot.with_name("out.blend").write_text("yesterday's")
    monkeypatch.setattr(os, "replace", full)
    assert bake.main(arguments(shot, speech_file, toy_folder)) == 1
    assert "disk full" in last_line(capfd.readouterr().out)["error"]
    assert shot.with_name("out.blend").read_text() == "yesterday's"
    assert sorted(path.name for path in shot.parent.iterdir()) == ["out.blend", "shot.blend"]


def test_place_and_piece_that_another_program_holds(
    shot: Path,
    speech_file: Path,
    toy_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As on Windows, where what is open is neither replaced nor removed."""

    def held(*_: Any, **__: Any) -> None:
        raise PermissionError("[WinError 32] The process cannot access the file")

    monkeypatch.setattr(os, "replace", held)
    monkeypatch.setattr(Path, "unlink", held)
    assert bake.main(arguments(shot, speech_file, toy_folder)) == 1
    error = last_line(capfd.readouterr().out)["error"]
    assert "(The process cannot access the file); is it open in another program" in error


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_ended_while_it_saves(
    kind: signal.Signals, shot: Path, speech_file: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def save(place: str, obj: bpy.types.Object) -> None:
        Path(place).write_bytes(b"half")
        signal.raise_signal(kind)

    earlier = signal.signal(kind, signal.SIG_IGN)
    try:
        monkeypatch.setitem(command_line.output.FORMATS, ".blend", ("wm.save_as_mainfile", save))
        assert bake.main(arguments(shot, speech_file, toy_folder)) == 1
        assert signal.getsignal(kind) == signal.SIG_IGN
    finally:
        signal.signal(kind, earlier)
    assert last_line(capfd.readouterr().out)["error"] == "Cancelled; nothing was changed."
    assert [path.name for path in shot.parent.iterdir()] == ["shot.blend"]


def test_exporter_that_fails_in_the_midst_of_a_line(
    shot: Path,
    speech_file: Path,
    toy_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As Blender shows what an exporter raises, cut off after some thousand characters."""

    def fails(*_: Any) -> None:
        os.write(1, b"Error: Python: Trace... truncated")
        raise RuntimeError("Error: [Errno 28] No space left on device")

    monkeypatch.setitem(command_line.output.FORMATS, ".glb", ("wm.save_as_mainfile", fails))
    assert bake.main(arguments(shot, speech_file, toy_folder, output=str(shot.with_name("out.glb")))) == 1
    assert "disk full" in last_line(capfd.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("error", "words"),
    [(KeyboardInterrupt(), "Cancelled; nothing was changed."), (MemoryError("220. MiB"), "There is too little memory")],
)
def test_what_is_no_error_of_ours_is_one_sentence(
    error: BaseException, words: str, shot: Path, speech_file: Path, toy_folder: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def interrupted(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(command_line.lipsync_task.Task, "compute", interrupted)
    assert bake.main(arguments(shot, speech_file, toy_folder)) == 1
    assert last_line(capfd.readouterr().out)["error"].startswith(words)
    if isinstance(error, Exception):  # a worker that runs out of memory has lost this job alone
        monkeypatch.setattr(command_line, "_run", interrupted)
        assert command_line._answer({"output": str(shot.with_name("out.blend"))})["error"].startswith(words)
    assert [path.name for path in shot.parent.iterdir()] == ["shot.blend"]


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text, and pipes, as Linux has them")
def test_file_that_is_no_blend(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.blend").write_text("no blend")
    parts = ["--audio", "a.wav", "--object", "Head", "--output", str(tmp_path / "out.blend")]
    assert bake.main([str(tmp_path / "bad.blend"), *parts]) == 1
    assert "cannot be opened" in last_line(capfd.readouterr().out)["error"]
    shutil.copy(tmp_path / "bad.blend", tmp_path / "\udcff.blend")
    os.mkfifo(tmp_path / "pipe.blend")
    for name in ("\udcff.blend", "pipe.blend", "none.blend", f"{'x' * 300}.blend", ""):
        assert bake.main([str(tmp_path / name), *parts]) == 1
        assert "cannot be opened" in last_line(capfd.readouterr().out)["error"]


def test_options_reach_the_bake(shot: Path, speech_file: Path, toy_folder: Path) -> None:
    options = arguments(shot, speech_file, toy_folder, start_frame="20.5", tolerance="0.05", style="broad")
    assert bake.main([*options, "--nla"]) == 0
    data = bpy.data.objects["Head"].data.shape_keys.animation_data
    assert data.action is None
    action = data.nla_tracks[0].strips[0].action
    assert action.frame_range[0] == 21
    curve = action.layers[0].strips[0].channelbag(action.slots[0]).fcurves[0]
    assert len(curve.keyframe_points) < 70


def test_into_the_slot_that_plays(shot: Path, speech_file: Path, toy_folder: Path) -> None:
    bpy.ops.wm.open_mainfile(filepath=str(shot))
    head = bpy.data.objects["Head"]
    head.shape_key_add(name="Basis")
    head.shape_key_add(name="frown").keyframe_insert("value", frame=9)
    bpy.ops.wm.save_mainfile()
    assert bake.main([*arguments(shot, speech_file, toy_folder), "--slot"]) == 0
    (action,) = bpy.data.actions
    paths = {curve.data_path for curve in action.layers[0].strips[0].channelbag(action.slots[0]).fcurves}
    assert {'key_blocks["frown"].value', 'key_blocks["jawOpen"].value'} <= paths


def test_command_of_blender(shot: Path, speech_file: Path, toy_folder: Path) -> None:
    """`blender --command lipsync` calls this very function."""
    assert command_line._command is not None
    assert command_line.main([str(shot), *arguments(shot, speech_file, toy_folder)]) == 0


def test_bake_py_needs_no_identifier_for_a_folder(tmp_path: Path) -> None:
    link = tmp_path / "my-add on 2"
    link.symlink_to(ROOT, target_is_directory=True)
    done = run(str(link / "bake.py"), "--", "--help")
    assert done.returncode == 0
    assert "--audio" in done.stdout
