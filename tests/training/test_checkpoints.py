# SPDX-License-Identifier: GPL-3.0-or-later
"""What is no checkpoint or no corpus is told before any work begins, in one sentence."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

import checkpoint_tools  # noqa: E402

from training import ablation, closures, export, label, oracle, restore, train, wav2sem  # noqa: E402
from training.calibration import Calibration  # noqa: E402
from training.checkpoints import argument, save  # noqa: E402
from training.config import Config  # noqa: E402
from training.targets import NAMES  # noqa: E402

LIPS, BRANCH = checkpoint_tools.lips(), checkpoint_tools.branch()


class Evil:
    """Would write a file if it were unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("evil.txt", "w"))


def damaged(path: Path) -> None:
    """Half of a checkpoint."""
    save(path, {"config": Config().to_dict(), "average": {"a": torch.zeros(1000)}})
    path.write_bytes(path.read_bytes()[:2000])


STRANGERS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no checkpoint"),
    "damaged": damaged,
    "tensor": lambda path: torch.save(torch.zeros(3), path),
    "other": lambda path: torch.save({"config": {"wheels": 4}}, path),
    "list": lambda path: torch.save({"config": [1]}, path),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Evil())),
    "evil": lambda path: torch.save({"config": Evil()}, path),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_what_is_no_checkpoint_is_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    STRANGERS[kind](tmp_path / "last.pt")
    for main, command in ((export.main, ["last.pt", "package"]), (label.main, ["last.pt", "labels.jsonl"])):
        monkeypatch.setattr(sys, "argv", ["command", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "“last.pt” is no checkpoint; give the last.pt or wav2sem.pt of a training" in capsys.readouterr().err
    assert not (tmp_path / "evil.txt").exists()


def test_files_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "none.pt"), str(tmp_path / "package")])
    with pytest.raises(SystemExit):
        export.main()
    assert "none.pt” cannot be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "command"),
    [
        (restore.main, ["package", "folder"]),
        (label.main, ["last.pt", "labels.jsonl"]),
        (train.main, ["--folder", "run"]),
        (export.main, ["last.pt", "package", "--calibrate", "training/cache"]),
        (wav2sem.main, ["--initial", "last.pt", "--folder", "run"]),
        (ablation.main, ["--initial", "last.pt", "--wav2sem", "wav2sem.pt"]),
        (closures.main, ["package"]),
    ],
)
def test_a_corpus_that_is_not_there(
    main: Callable[[], None], command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "last.pt", LIPS)
    save(tmp_path / "wav2sem.pt", BRANCH)
    monkeypatch.setattr(sys, "argv", ["command", *command])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "there is no corpus in “training/cache”; name its folder or make it" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt", "wav2sem.pt"}


def test_a_checkpoint_is_taken(tmp_path: Path) -> None:
    save(tmp_path / "last.pt", {"config": Config().to_dict()})
    assert argument(str(tmp_path / "last.pt")) == tmp_path / "last.pt"


def test_a_restored_branch_has_no_map_from_texts_and_says_so(tmp_path: Path) -> None:
    save(tmp_path / "wav2sem.pt", BRANCH)
    with pytest.raises(ValueError, match="restored"):
        wav2sem.sentence_whitening(tmp_path / "wav2sem.pt")


@pytest.mark.parametrize(
    ("main", "command", "said"),
    [
        (export.main, "wav2sem.pt package", "moves no lips"),
        (export.main, "last.pt package --initial wav2sem.pt", "moves no lips"),
        (export.main, "last.pt package --wav2sem last.pt", "no Wav2Sem"),
        (label.main, "wav2sem.pt labels.jsonl", "moves no lips"),
        (train.main, "--initial wav2sem.pt", "moves no lips"),
        (train.main, "--initial last.pt --wav2sem last.pt", "no Wav2Sem"),
        (ablation.main, "--initial wav2sem.pt --wav2sem wav2sem.pt", "moves no lips"),
        (ablation.main, "--initial last.pt --wav2sem last.pt", "no Wav2Sem"),
        (closures.main, "nowhere --cache .", "“nowhere”"),
        (export.main, "last.pt package --advance -20", "--advance"),
        (export.main, "last.pt package --advance 200", "--advance"),
        (export.main, "last.pt package --gain 0", "--gain"),
        (export.main, "last.pt package --share nan", "--share"),
        (oracle.main, "--eval nowhere", "--eval"),
        (oracle.main, "--style loud", "'loud'"),
        (oracle.main, "--fps 0", "--fps"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(main, command, said, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.jsonl").touch()
    save(tmp_path / "last.pt", LIPS)
    save(tmp_path / "wav2sem.pt", BRANCH)
    monkeypatch.setattr(sys, "argv", ["command", *command.split()])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert said in capsys.readouterr().err


def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "last.pt"
    save(path, LIPS)
    before = path.read_bytes()

    def full(state: object, part: Path) -> None:
        part.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 994496 vs 994444")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"last.pt” cannot be written; make room on its disk"):
        save(path, LIPS)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 2}, {"hidden": "a"}, {"hidden": 64}, {"heads": 3}, {"heads": 0}, {"bands": 0}, {"names": 3},
        {"names": ["jawOpen"]}, {"average": [1]}, {"average": {}}, {"average": {"phone_head.weight": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_that_does_not_hold_together_is_told(changes, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.jsonl").touch()
    save(tmp_path / "last.pt", checkpoint_tools.lips(**changes))
    for main, command in (
        (export.main, "last.pt package"),
        (label.main, "last.pt labels.jsonl --cache ."),
        (ablation.main, "--initial last.pt --wav2sem wav2sem.pt --cache ."),
    ):
        monkeypatch.setattr(sys, "argv", ["command", *command.split()])
        with pytest.raises(SystemExit, match="2"):
            main()
        assert "“last.pt” does not hold together" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"clips.jsonl", "last.pt"}


@pytest.mark.parametrize("changes", [{"layers": 2}, {"hidden": 64}, {"semantic": 9}], ids=str)
def test_a_sentence_vector_that_does_not_hold_together_is_told(changes, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "last.pt", LIPS)
    save(tmp_path / "wav2sem.pt", checkpoint_tools.branch(**changes))
    for main, command in ((train.main, []), (ablation.main, ["--initial", "last.pt"])):
        monkeypatch.setattr(sys, "argv", ["command", *command, "--wav2sem", "wav2sem.pt"])
        with pytest.raises(SystemExit, match="2"):
            main()
        assert "“wav2sem.pt” does not hold together" in capsys.readouterr().err


def test_shapes_that_nobody_has_are_told_before_a_package_is_written(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "last.pt", checkpoint_tools.lips(names=[f"shape{i}" for i in range(len(NAMES))]))
    monkeypatch.setattr(sys, "argv", ["export", "last.pt", "package"])
    with pytest.raises(SystemExit, match="2"):
        export.main()
    assert "The ARKit basis has no" in capsys.readouterr().err and not (tmp_path / "package").exists()


@pytest.mark.parametrize(("gain", "reached"), [([], 1.2), (["--gain", "1.5"], 1.5)])
def test_a_gain_that_is_given_is_not_calibrated_away(gain, reached, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips.jsonl").touch()
    save(tmp_path / "last.pt", checkpoint_tools.lips())
    monkeypatch.setattr(export, "open_corpus", lambda *_: None)
    monkeypatch.setattr(export, "calibrate", lambda *_: Calibration(1.2, 0.01, 0.04))
    written: list[Calibration] = []

    def write(*shown: object) -> None:
        written.append(shown[-1])
        raise InterruptedError

    monkeypatch.setattr(export, "export_package", write)
    monkeypatch.setattr(sys, "argv", ["export", "last.pt", "package", "--calibrate", ".", *gain])
    with pytest.raises(InterruptedError):
        export.main()
    more = reached / 1.2
    assert written == [Calibration(reached, round(0.01 * more, 4), round(0.04 * more, 4))]
