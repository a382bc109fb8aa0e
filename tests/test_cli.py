# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m inference` as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT
from toy_package import decoder_arrays, make_toy_package, write_json

from inference import LipSyncModel
from inference.__main__ import main


@pytest.fixture
def wav(tmp_path: Path, babble: np.ndarray) -> Path:
    soundfile.write(tmp_path / "a.wav", babble, 16000)
    return tmp_path / "a.wav"


def test_subprocess_end_to_end(wav: Path, toy_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inference", str(wav), "-o", str(tmp_path / "m.npz"), "--model", str(toy_folder)]
    done = subprocess.run([*command, "--fps", "24000/1001", "--vertices"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 72
    with np.load(tmp_path / "m.npz", allow_pickle=False) as data:
        assert data["offsets"].shape == (72, 5023, 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_log_on_a_full_disk(wav: Path, toy_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inference", str(wav), "-o", str(tmp_path / "m.npz"), "--model", str(toy_folder)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert (tmp_path / "m.npz").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_job_that_a_farm_ends_leaves_nothing_half_written(wav: Path, toy_folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inference", str(wav), "-o", str(tmp_path / "m.npz"), "--model", str(toy_folder)]
    job = subprocess.Popen([*command, "--fps", "1000", "--vertices"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".m.npz.*")) and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    job.terminate()
    _, error = job.communicate(timeout=60)
    assert (job.returncode, error) in ((1, "Error: Cancelled; nothing was changed.\n"), (0, ""))
    assert not list(tmp_path.glob(".m.npz.*")) and (tmp_path / "m.npz").exists() == (job.returncode == 0)


def test_without_anybody_to_tell(wav: Path, toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may start programs whose streams are closed."""
    monkeypatch.setattr(sys, "stderr", None)
    assert main([str(wav), "-o", str(tmp_path / "m.npz"), "--model", str(toy_folder)]) == 0


def test_help_can_be_shown_in_any_encoding() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "inference", "--help"]
    assert subprocess.run(command, cwd=ROOT, env=environment, capture_output=True).returncode == 0


def test_model_rate_by_default(wav: Path, toy_folder: Path, tmp_path: Path) -> None:
    assert main([str(wav), "-o", str(tmp_path / "m.npz"), "--model", str(toy_folder)]) == 0
    with np.load(tmp_path / "m.npz", allow_pickle=False) as data:
        assert float(data["fps"]) == 50.0 and len(data["times"]) == 150


def test_failures_are_one_sentence_and_write_nothing(
    wav: Path, toy_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.npz"
    jobs = (
        ["nowhere.wav", "-o", str(out), "--model", str(toy_folder)],
        ["x" * 300 + ".wav", "-o", str(out), "--model", str(toy_folder)],
        [str(wav), "-o", str(out), "--model", str(tmp_path)],
        [str(wav), "-o", str(out), "--model", str(toy_folder), "--style", "shouting"],
        [str(wav), "-o", str(tmp_path / "no" / "folder.npz"), "--model", str(toy_folder)],
        [str(wav), "-o", str(tmp_path / "face.fbx"), "--model", str(toy_folder)],
        [str(wav), "-o", str(tmp_path / "face.csv"), "--vertices", "--model", str(toy_folder)],
    )
    for job in jobs:
        assert main(job) == 1
        error = capsys.readouterr().err.strip()
        assert error.startswith("Error: ") and "\n" not in error and not error.startswith(f"Error: “{out}”")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["a.wav"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (KeyboardInterrupt(), "Cancelled; nothing was changed."),
        (
            MemoryError("Unable to allocate 220. MiB"),
            "There is too little memory for this; close other programs, or cut the speech into pieces.",
        ),
    ],
)
def test_what_is_no_error_of_ours_is_one_sentence(
    error: BaseException, words: str, wav: Path, toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def interrupted(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(LipSyncModel, "run", interrupted)
    assert main([str(wav), "-o", str(tmp_path / "m.npz"), "--model", str(toy_folder)]) == 1
    assert capsys.readouterr().err == f"Error: {words}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_the_speech_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], babble: np.ndarray) -> None:
    """A recording may have any name; so may the motion, by mistake."""
    speech = tmp_path / "line.npz"
    soundfile.write(speech, babble, 16000, format="WAV")
    before = speech.read_bytes()
    assert main([str(speech), "-o", str(tmp_path / "." / "line.npz")]) == 1
    assert "is the speech itself" in capsys.readouterr().err and speech.read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        [], ["a.wav"], ["a.wav", "-o", "m.npz", "--fps", "0"], ["a.wav", "-o", "m.npz", "--longest", "ten"],
        ["a.wav", "-o", "m.npz", "--tolerance", "nan"], ["a.wav", "-o", "m.npz", "--tolerance", "-1"],
        ["a.wav", "--nonsense"],
    ],
)  # fmt: skip
def test_wrong_usage_is_exit_code_2(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("vertices", "arguments", "words"),
    [(7, ["a.npz", "--arkit"], "no ARKit blendshapes"), (5023, ["a.csv"], "needs blendshapes; show them with --arkit")],
)
def test_what_a_model_cannot_show_is_told_before_it_runs(
    vertices: int, arguments: list[str], words: str, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """An hour of speech takes minutes."""
    folder = make_toy_package(tmp_path / "toy")
    np.savez(folder / "decoder.npz", **decoder_arrays(outputs=3 * vertices))
    topology = "flame-5023" if vertices == 5023 else f"vertices-{vertices}"
    write_json(folder, topology=topology, output={"kind": "vertices"})
    monkeypatch.setattr(LipSyncModel, "run", lambda *_, **__: pytest.fail("the model ran"))
    monkeypatch.chdir(tmp_path)
    assert main([str(wav), "--model", str(folder), "-o", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_vertex_model_as_arkit(tmp_path: Path, babble: np.ndarray, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_toy_package(tmp_path / "toy")
    arrays = decoder_arrays(outputs=3 * 5023)
    for name in ("vertice_map_r.weight", "vertice_map_r.bias", "vertice_map.weight"):
        arrays[name] *= 0.01
    np.savez(folder / "decoder.npz", **arrays)
    write_json(folder, output={"kind": "vertices"})
    soundfile.write(tmp_path / "speech.wav", babble, 16000)
    common = [str(tmp_path / "speech.wav"), "--model", str(folder), "--vertices", "-o"]
    assert main([*common, str(tmp_path / "plain.npz"), "--device", "COREML", "--longest", "inf"]) == 0
    assert capsys.readouterr().err.startswith("The model runs on the CPU")
    assert main([*common, str(tmp_path / "arkit.npz"), "--arkit"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["residual_largest_mm"] > summary["residual_rms_mm"] > 0
    with np.load(tmp_path / "plain.npz") as plain, np.load(tmp_path / "arkit.npz") as arkit:
        assert "jawOpen" in arkit["names"] and "residual_00" in arkit["names"]
        np.testing.assert_allclose(plain["offsets"], arkit["offsets"], atol=1e-6)
