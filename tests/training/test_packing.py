# SPDX-License-Identifier: GPL-3.0-or-later
"""Packing: what an interrupted run, or one that looked in the wrong folder, leaves behind."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from training import packing
from training.corpus.clips import Clip
from training.packing import load_corpus, open_corpus

RATE = 16000


def make_corpus(folder: Path, *names: str) -> Path:
    """A cache of one made clip and of real ones called `names`, which lie in the folder real."""
    clips, phones = [], [(0.0, 0.5, "AA"), (0.5, 1.0, "SIL")]
    about = {"speaker": "a", "language": "en", "text": "a", "tier": "A", "split": "train", "seconds": 1.0}
    (folder / "real").mkdir()
    for name in ("made", *names):
        sound = np.random.default_rng(len(name)).normal(0, 0.05, RATE)
        soundfile.write(folder / f"{name}.flac" if name == "made" else folder / "real" / f"{name}.flac", sound, RATE)
        source = "synthetic:x" if name == "made" else "real:x"
        clips.append(Clip(id=name, audio=f"{name}.flac", source=source, phones=phones, **about))
    (folder / "clips.jsonl").write_text("".join(clip.line() + "\n" for clip in clips))
    return folder


def packed(cache: Path, real: Path) -> list[str]:
    return [clip.about["id"] for clip in load_corpus(cache, real, 1).clips]


def test_a_wrong_folder_of_recordings_is_told_and_does_not_take_them_out_for_good(tmp_path: Path, capsys) -> None:
    cache = make_corpus(tmp_path, "one", "two")
    for wrong in (tmp_path / "nowhere", tmp_path / "real" / "one.flac", tmp_path):
        with pytest.raises(FileNotFoundError, match="--real"):
            load_corpus(cache, wrong, 1)
    with pytest.raises(SystemExit, match="2"):
        open_corpus(argparse.ArgumentParser(), cache, tmp_path / "nowhere")
    assert "--real" in capsys.readouterr().err
    assert packed(cache, tmp_path / "real") == ["made", "one", "two"]
    assert packed(cache, tmp_path / "nowhere") == ["made", "one", "two"]  # it is packed, and the folder not needed


@pytest.mark.parametrize("phones", [[[0, 1e9, "AA"]], [[0, 1, "QQ"]], [["0", "1", "AA"]], "AA"])
def test_labels_that_nobody_can_draw_are_told_before_anything_is_packed(phones, tmp_path: Path, capsys) -> None:
    cache = make_corpus(tmp_path)
    about = json.loads((cache / "clips.jsonl").read_text())
    (cache / "clips.jsonl").write_text(json.dumps(about | {"phones": phones}) + "\n")
    with pytest.raises(SystemExit, match="2"):
        open_corpus(argparse.ArgumentParser(), cache, tmp_path / "real", 1)
    assert "in clips.jsonl is no clip" in capsys.readouterr().err
    assert not list((cache / "packed").rglob("*.npy"))


def test_a_recording_that_is_damaged_or_gone_is_left_out(tmp_path: Path) -> None:
    cache = make_corpus(tmp_path, "one", "two", "three")
    (tmp_path / "real" / "two.flac").write_bytes(b"no sound")
    (tmp_path / "real" / "three.flac").unlink()
    assert packed(cache, tmp_path / "real") == ["made", "one"]


def test_a_corpus_of_nothing_that_can_be_read_is_told(tmp_path: Path) -> None:
    cache = make_corpus(tmp_path)
    (tmp_path / "made.flac").write_bytes(b"no sound")
    with pytest.raises(FileNotFoundError, match="can be read"):
        load_corpus(cache, tmp_path / "real", 1)


def test_a_listing_that_was_cut_short_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = make_corpus(tmp_path, "one", "two")
    write = Path.write_text

    def interrupted(path: Path, text: str, **how: str) -> None:
        write(path, text[: len(text) // 2], **how)
        raise OSError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", interrupted)
        with pytest.raises(OSError, match="interrupted"):
            packing._pack_sound([clip.__dict__ | {"phones": None} for clip in _clips(cache)], _folder(cache), cache,
                                tmp_path / "real")  # fmt: skip
    assert not (_folder(cache) / "clips.jsonl").exists()


def _clips(cache: Path) -> list[Clip]:
    from training.corpus.clips import read_clips

    return list(read_clips(cache))


def _folder(cache: Path) -> Path:
    folder = cache / "packed" / "shard"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_recordings_of_another_rate_are_told(tmp_path: Path, capsys) -> None:
    cache = make_corpus(tmp_path, "one")
    soundfile.write(tmp_path / "real" / "one.flac", np.zeros(44100), 44100)
    with pytest.raises(SystemExit, match="2"):
        open_corpus(argparse.ArgumentParser(), cache, tmp_path / "real")
    assert "recordings of 16 kHz" in capsys.readouterr().err
