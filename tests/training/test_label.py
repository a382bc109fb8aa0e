# SPDX-License-Identifier: GPL-3.0-or-later
"""Self-training: what the phone head says becomes phones, and phones become targets where they are sure."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import checkpoint_tools  # noqa: E402

from training import label  # noqa: E402
from training.config import FPS, NO_PHONE, PHONES  # noqa: E402
from training.label import MOSTLY, PER_TEXT, PhoneModel, segments, unlabelled  # noqa: E402
from training.packing import PREROLL, Clip, Corpus, frame_phones, with_labels  # noqa: E402
from training.targets import NAMES  # noqa: E402

SIL, AA, B = (PHONES.index(name) for name in ("SIL", "AA", "B"))
SPOKEN = np.repeat([SIL, B, AA, SIL, B, AA, SIL], [10, 4, 8, 6, 4, 8, 10]).astype(np.int8)


def clip(identity: str, phones: np.ndarray, aligned: bool, text: str = "", split: str = "train") -> Clip:
    """A silent recording of a person."""
    about = {"id": identity, "source": "real:x", "text": text, "split": split, "language": "en"}
    weights = np.zeros((2, PREROLL + len(phones), len(NAMES)), np.float16) if aligned else None
    labels = phones if aligned else np.full(len(phones), NO_PHONE, np.int8)
    return Clip(about, np.zeros(len(phones) * 320, np.int16), labels, weights, 1)


@pytest.fixture(scope="module")
def model() -> PhoneModel:
    return PhoneModel.of([clip("a", SPOKEN, True)] * 20)


def says(phones: np.ndarray, strength: float = 6.0) -> np.ndarray:
    """Logits (T, P) of a phone head that is as sure as `strength` of every frame."""
    logits = np.zeros((len(phones), len(PHONES)))
    logits[np.arange(len(phones)), phones] = strength
    return logits


def test_what_is_heard_clearly_is_written_down(model: PhoneModel) -> None:
    path, posterior = model.label(says(SPOKEN))
    np.testing.assert_array_equal(path, SPOKEN)
    assert posterior.min() > 0.5 and np.median(posterior) > 0.99


def test_a_single_odd_frame_is_not_believed(model: PhoneModel) -> None:
    odd = SPOKEN.copy()
    odd[17] = PHONES.index("K")
    np.testing.assert_array_equal(model.label(says(odd, 3.0))[0], SPOKEN)


def test_noise_is_not_sure(model: PhoneModel) -> None:
    _, posterior = model.label(np.random.default_rng(0).normal(size=(200, len(PHONES))) * 0.3)
    assert (posterior >= 0.8).mean() < MOSTLY


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 39), st.integers(1, 9)), min_size=1, max_size=12))
def test_segments_give_the_frames_back(runs: list[tuple[int, int]]) -> None:
    frames = np.repeat([phone for phone, _ in runs], [count for _, count in runs]).astype(np.int8)
    phones = [[round(start, 3), round(end, 3), PHONES[phone]] for start, end, phone in segments(frames)]
    np.testing.assert_array_equal(frame_phones(phones, len(frames)), frames)


def test_only_unaligned_training_speech_is_labelled_and_no_text_too_often() -> None:
    clips = [clip("aligned", SPOKEN, True), clip("dev", SPOKEN, False, split="dev")]
    clips += [clip(f"wake{i}", SPOKEN, False, "Computer") for i in range(PER_TEXT + 5)]
    clips += [clip(f"free{i}", SPOKEN, False) for i in range(PER_TEXT + 5)]
    clips += [clip("short", SPOKEN[:20], False)]
    found = [c.about["id"] for c in unlabelled(Corpus(clips, tuple(NAMES), "key"))]
    assert len(found) == 2 * PER_TEXT + 5
    assert not {"aligned", "dev", "short"} & set(found)


def test_labels_become_targets_and_doubt_teaches_nothing(tmp_path: Path) -> None:
    corpus = Corpus([clip("a", SPOKEN, True), clip("b", SPOKEN, False)], tuple(NAMES), "key")
    phones = [[start, end, PHONES[phone]] for start, end, phone in segments(SPOKEN)]
    lines = [{"id": name, "phones": phones, "doubtful": [[0.19, 0.27]]} for name in ("a", "b")]
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    labelled = with_labels(corpus, tmp_path / "labels.jsonl")
    assert labelled.clips[0] is corpus.clips[0], "an alignment is better than a label"
    new = labelled.clips[1]
    assert set(np.flatnonzero(new.phones == NO_PHONE) / FPS) == {0.2, 0.22, 0.24, 0.26}
    assert new.weights is not None and new.weights.shape == (2, len(SPOKEN), len(NAMES))
    shut = new.weights[0][:, NAMES.index("mouthPressLeft")]
    assert shut[:40].max() > 0.1 and set(labelled.choose("train")) == {0, 1}


def test_a_corpus_without_aligned_people_can_be_labelled(tmp_path: Path, monkeypatch, capsys) -> None:
    """As synthetic speech and own recordings that nobody aligned: the aligned rest says how phones follow."""
    made = replace(clip("made", SPOKEN, True), about=clip("made", SPOKEN, True).about | {"source": "synthetic:x"})
    people = [clip(f"free{i}", np.tile(SPOKEN, 2), False) for i in range(3)]
    monkeypatch.setattr(label, "open_corpus", lambda *_: Corpus([made] * 20 + people, tuple(NAMES), "key"))
    monkeypatch.setattr(label, "hear", lambda network, heard: says(np.tile(SPOKEN, 2)))
    checkpoint, labels = tmp_path / "last.pt", tmp_path / "new" / "labels.jsonl"
    torch.save(checkpoint_tools.lips(), checkpoint)
    (tmp_path / "clips.jsonl").touch()
    monkeypatch.setattr(sys, "argv", ["label", str(checkpoint), str(labels), "--cache", str(tmp_path)])
    label.main()
    assert len(labels.read_text().splitlines()) == 3
    assert "3 clips" in capsys.readouterr().out


def test_labels_that_have_no_place_are_told_before_the_work(tmp_path: Path, monkeypatch, capsys) -> None:
    checkpoint = tmp_path / "last.pt"
    torch.save(checkpoint_tools.lips(), checkpoint)
    (tmp_path / "clips.jsonl").touch()
    argv = ["label", str(checkpoint), str(checkpoint / "labels.jsonl"), "--cache", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit, match="2"):
        label.main()
    assert "labels.jsonl" in capsys.readouterr().err
