# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples of lips that prepare for what is not heard yet: where a recording begins, and in the silence before."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.batches import CAUGHT_UP, LATE, BatchStream, ExampleMaker, at_pace, catch_up  # noqa: E402
from training.config import DENSE_STEP, PHONES, Config  # noqa: E402
from training.features import STEP  # noqa: E402
from training.geometry import MEASURES, NEUTRAL_GAP, lip_geometry  # noqa: E402
from training.packing import PREROLL, Clip, Corpus, faces_of, frame_phones  # noqa: E402
from training.targets import NAMES  # noqa: E402

SPOKEN = [(0.0, 0.06, "P"), (0.06, 0.5, "AA"), (0.5, 0.8, "AE"), (0.8, 1.6, "SIL")]
FRAMES = 80
P = PHONES.index("P")


def lips(weights: np.ndarray) -> np.ndarray:
    """Gap between the lips (T,) in mm."""
    aperture = lip_geometry(NAMES).measures[:, MEASURES.index("aperture")]
    gap: np.ndarray = NEUTRAL_GAP + weights.astype(np.float64) @ aperture
    return gap


@pytest.fixture(scope="module")
def maker() -> ExampleMaker:
    """Examples of one word that begins with a p, with the recording."""
    clips = []
    for number in range(4):
        about = {"id": str(number), "source": "synthetic:x", "text": "", "language": "en", "split": "train"}
        sound = (np.random.default_rng(number).normal(0, 0.05, FRAMES * 320) * 32768).astype(np.int16)
        labels = frame_phones([list(phone) for phone in SPOKEN], FRAMES)
        clips.append(Clip(about, sound, labels, faces_of(str(number), SPOKEN, FRAMES), 1))
    return ExampleMaker(Corpus(clips, tuple(NAMES), "key"), Config(semantic=0, real_share=0.0, nonspeech_share=0.0))


def test_lips_shut_before_a_clip_that_begins_with_p() -> None:
    gap = lips(faces_of("a", SPOKEN, FRAMES)[0])
    assert len(gap) == PREROLL + FRAMES
    assert gap[PREROLL - 8 : PREROLL].min() < 1.0
    resting = lips(faces_of("a", [(0.0, 1.6, "SIL")], FRAMES)[0])
    assert gap[0] == pytest.approx(resting[0], abs=0.3)


def test_silence_before_a_p_and_a_beginning_with_p_both_show_it(maker: ExampleMaker) -> None:
    after_silence = at_once = 0
    for seed in range(60):
        example = maker.make(np.random.default_rng(seed), 200)
        gap, phones = lips(example["weights"]), example["phones"]
        for first in np.flatnonzero((phones[1:] == P) & (phones[:-1] != P)) + 1:
            if first > 12:
                after_silence += 1
                assert gap[first - 9 : first + 1].min() < 1.0
        if phones[0] == P:
            at_once += 1
            assert gap[:2].min() < 1.5
            assert gap[5:20].max() > 5.0
    assert after_silence > 50 and at_once > 5


def test_lips_catch_up_without_a_jump() -> None:
    weights = np.arange(LATE + 20.0)[:, None]
    caught = catch_up(weights)[:, 0]
    assert len(caught) == 20
    assert caught[0] == 0
    assert np.array_equal(caught[CAUGHT_UP:], weights[LATE + CAUGHT_UP :, 0])
    assert np.all(np.diff(caught) >= 1) and np.diff(caught).max() <= 2


def test_the_first_example_of_long_batches_has_styles_too(maker: ExampleMaker) -> None:
    """Length and examples of a batch are drawn by themselves."""
    batches = islice(BatchStream(maker, Config(semantic=0, crop=0.4, batch=3, nonspeech_share=0.0)), 400)
    neutral = [bool(batch.style[0, 0]) for batch in batches if batch.phones.shape[1] > 20]
    assert len(neutral) > 50 and 0.3 < np.mean(neutral) < 0.8


@pytest.mark.parametrize("step", [136, 160, 200])
def test_what_is_known_is_known_at_the_pace_of_hearing(step: int) -> None:
    time = np.arange(170) / 50
    weights = np.stack([time, np.sin(3 * time)], 1)
    phones, found = at_pace((time * 4).astype(np.int64), weights, step)
    heard = np.arange(170 * 160 // step) * 2 * step / 16000
    assert len(phones) == len(found) == len(heard)
    assert found[:-1] == pytest.approx(np.stack([heard, np.sin(3 * heard)], 1)[:-1], abs=1e-3)
    assert np.mean(phones == (heard * 4).astype(int)) > 0.95


def test_some_batches_are_heard_as_densely_as_lips_are_moved(maker: ExampleMaker) -> None:
    config = Config(semantic=0, batch=2, nonspeech_share=0.0, dense_share=0.5)
    batches, prepared = list(islice(BatchStream(maker, config), 100)), 0
    assert 0.35 < np.mean([batch.step == DENSE_STEP for batch in batches]) < 0.65
    for batch in batches:
        assert batch.step in (STEP, DENSE_STEP)
        assert batch.phones.shape == batch.weights.shape[:2] == batch.known.shape
        assert batch.speech.shape[1] == 2 * batch.step * batch.phones.shape[1]
        for phones, gap in zip(batch.phones.numpy(), map(lips, batch.weights.numpy()), strict=True):
            for first in np.flatnonzero((phones[1:] == P) & (phones[:-1] != P)) + 1:
                if first > 15 and batch.step == DENSE_STEP:
                    prepared += 1
                    assert gap[first - 11 : first + 1].min() < 1.0
    assert prepared > 50
