# SPDX-License-Identifier: GPL-3.0-or-later
"""Face motion for other programs, and other programs' onnxruntime."""

from __future__ import annotations

import csv
import json
import os
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.errors import ModelError, OutputError, RuntimeMissing
from inference.interchange import LIVE_LINK_COLUMNS, write_json, write_live_link_csv
from inference.motion import FaceMotion, write_motion
from inference.places import check_place
from inference.session import available_providers, runtime_clash


def motion(kind: str = "blendshapes") -> FaceMotion:
    weights = np.linspace(0, 1, 120 * 3, dtype=np.float32).reshape(120, 3)
    return FaceMotion(60.0, 1.0, ("jawOpen", "mouthSmileLeft", "extra"), weights, np.zeros((3, 4, 3), np.float32), kind)


def test_live_link_layout(tmp_path: Path) -> None:
    write_live_link_csv(motion(), tmp_path / "face.csv")
    with (tmp_path / "face.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(LIVE_LINK_COLUMNS) == len(set(LIVE_LINK_COLUMNS)) == 61
    assert list(rows[0]) == ["Timecode", "BlendshapeCount", *LIVE_LINK_COLUMNS] and len(rows) == 120
    assert [rows[i]["Timecode"] for i in (0, 1, 59, 60)] == [
        "00:00:01:00.000", "00:00:01:01.000", "00:00:01:59.000", "00:00:02:00.000",
    ]  # fmt: skip
    assert [float(row["JawOpen"]) for row in rows] == pytest.approx(motion().weights[:, 0], abs=1e-6)
    assert [float(row["MouthSmileLeft"]) for row in rows] == pytest.approx(motion().weights[:, 1], abs=1e-6)
    assert {row["HeadYaw"] for row in rows} == {"0.000000"} and {row["BlendshapeCount"] for row in rows} == {"61"}


def test_a_column_for_both_sides_is_their_mean(tmp_path: Path) -> None:
    """ARKit has one cheekPuff and one browInnerUp, the models here one for each side."""
    names = ("cheekPuffLeft", "cheekPuffRight", "browInnerUpLeft")
    weights = np.array([[0.2, 0.4, 0.3]], np.float32)
    write_live_link_csv(FaceMotion(60.0, 0.0, names, weights, np.zeros((3, 4, 3), np.float32)), tmp_path / "face.csv")
    with (tmp_path / "face.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert float(row["CheekPuff"]) == pytest.approx(0.3) and float(row["BrowInnerUp"]) == pytest.approx(0.3)


def test_json_gives_the_same_numbers(tmp_path: Path) -> None:
    write_json(motion(), tmp_path / "face.json")
    data = json.loads((tmp_path / "face.json").read_text())
    assert (data["fps"], data["start"], data["names"]) == (60.0, 1.0, ["jawOpen", "mouthSmileLeft", "extra"])
    np.testing.assert_allclose(data["weights"], motion().weights, atol=1e-6)


def test_only_blendshapes_go_to_live_link_and_nothing_half_written_stays(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="blendshapes"):
        write_live_link_csv(motion("vertices"), tmp_path / "face.csv")
    (tmp_path / "taken.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_json(motion(), tmp_path / "taken.json")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.json"]


def test_another_onnxruntime_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert runtime_clash() is None
    foreign = tmp_path / "onnxruntime_gpu-1.2.3.dist-info"
    foreign.mkdir()
    (foreign / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.2.3\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "onnxruntime-gpu 1.2.3" in str(runtime_clash())


def test_onnxruntime_that_fails_to_load_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onnxruntime").mkdir()
    text = "raise ImportError('DLL load failed: A dynamic link library (DLL) initialization routine failed.')"
    (tmp_path / "onnxruntime" / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(RuntimeMissing, match="Visual C\\+\\+ Redistributable"):
        available_providers()


@pytest.mark.parametrize("name", ["x" * 400 + ".csv", "nul\0.csv", "folder/face.csv", "face.txt"])
def test_a_place_that_cannot_be_written_is_told_before_the_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="; choose "):
        check_place(tmp_path / name, (".csv", ".json"))
    check_place(tmp_path / "face.csv", (".csv", ".json"))


def test_a_name_that_checks_can_be_written(tmp_path: Path) -> None:
    """What lies beside it for a while has a longer name: that was found out when the work was done."""
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    for length in range(longest - 14, longest + 1):
        path = tmp_path / ("x" * (length - 4) + ".npz")
        with suppress(OutputError):
            check_place(path, (".npz",))
            write_motion(motion(), path)
            write_json(motion(), path)
    assert len(list(tmp_path.iterdir())) == 5


def test_a_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: not mode & os.X_OK)
    with pytest.raises(OutputError, match="choose a folder that exists and may be written to"):
        check_place(tmp_path / "face.csv", (".csv",))


def test_an_hour_as_csv_takes_little_memory(tmp_path: Path) -> None:
    long = replace(motion(), weights=np.tile(motion().weights, (200, 1)))
    tracemalloc.start()
    write_live_link_csv(long, tmp_path / "face.csv")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000
    with (tmp_path / "face.csv").open(newline="") as file:
        heading, *rows = csv.reader(file)
        jaw = [float(row[heading.index("JawOpen")]) for row in rows]
    np.testing.assert_allclose(jaw, long.weights[:, 0], atol=1e-6)
    assert (rows[4096][0], rows[-1][0]) == ("00:01:09:16.000", "00:06:40:59.000")


def test_an_hour_as_json_takes_no_more_memory_than_a_second(tmp_path: Path) -> None:
    long = replace(motion(), weights=np.tile(motion().weights, (200, 1)))
    tracemalloc.start()
    write_json(long, tmp_path / "face.json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    found = json.loads((tmp_path / "face.json").read_text())
    assert list(found) == ["fps", "start", "names", "weights"]
    np.testing.assert_allclose(found["weights"], long.weights, atol=1e-6)
