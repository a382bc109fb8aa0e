# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech in, motion out, on the toy model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from reference_decoder import literal_loop
from toy_package import NAMES, decoder_arrays

from inference import AudioError, Cancelled, LipSyncModel, ModelError, Speech, arkit_basis
from inference.encoder import _Wav2Vec2Clip
from inference.speech import SAMPLE_RATE


@pytest.fixture(scope="module")
def model(toy_folder: Path) -> LipSyncModel:
    return LipSyncModel.load(toy_folder)


def test_equals_graph_and_literal_loop(model: LipSyncModel, babble: np.ndarray) -> None:
    motion = model.run(Speech(babble, 3.0), "broad")
    assert motion.names == NAMES and motion.start == 3.0 and len(motion.weights) == 150
    semantic = model.encoder.wav2sem.run("semantic", {"speech": babble[None]})
    memory = model.encoder.graph.run("memory", {"speech": babble[None], "semantic": semantic})[0]
    expected = literal_loop(decoder_arrays(), memory, np.array([0.0, 1.0]), period=50, heads=4)
    np.testing.assert_allclose(motion.weights, expected.clip(0, 1), atol=1e-5)


def test_basis_are_the_arkit_deltas(model: LipSyncModel, babble: np.ndarray) -> None:
    motion = model.run(Speech(babble))
    names, deltas = arkit_basis()
    picked = deltas[[names.index(name) for name in NAMES]]
    np.testing.assert_allclose(
        motion.offsets(10, 12), np.einsum("tk,kvc->tvc", motion.weights[10:12], picked), atol=1e-6
    )


def test_odd_lengths_are_padded(model: LipSyncModel, babble: np.ndarray) -> None:
    assert len(model.run(Speech(babble[:16001])).weights) == 51


def test_long_speech_runs_in_windows_without_a_jump(model: LipSyncModel, babble: np.ndarray) -> None:
    long = Speech(np.tile(babble, 14))
    heard: list[tuple[float, str]] = []
    motion = model.run(long, progress=lambda fraction, stage: heard.append((fraction, stage)))
    assert len(motion.weights) == 14 * 150
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 4


def test_style_blends(model: LipSyncModel, babble: np.ndarray) -> None:
    speech = Speech(babble)
    neutral, broad = (model.run(speech, style).weights for style in ("neutral", "broad"))
    blend = model.run(speech, {"neutral": 3.0, "broad": 1.0}).weights
    assert np.abs(neutral - broad).max() > 0.01
    assert np.abs(blend - neutral).max() > 1e-4
    np.testing.assert_array_equal(model.style_vector({"broad": 2.0}), [0, 1])


@pytest.mark.parametrize("style", ["shouting", {"neutral": 0.0}, {"neutral": -1.0, "broad": 2.0}, {"x": 1.0}])
def test_unknown_styles(model: LipSyncModel, babble: np.ndarray, style: object) -> None:
    with pytest.raises(ModelError, match="style"):
        model.run(Speech(babble), style)


def test_cancel(model: LipSyncModel, babble: np.ndarray) -> None:
    with pytest.raises(Cancelled):
        model.run(Speech(babble), cancelled=lambda: True)


def test_sentence_vectors_of_several_sizes_are_told() -> None:
    class Varies:
        def run(self, output: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
            return np.zeros((1, inputs["speech"].shape[1]), np.float32)

    package = SimpleNamespace(kernels=(10, 3), strides=(160, 2), memory_per_frame=1, fps=50.0)
    samples = np.random.default_rng(0).normal(size=SAMPLE_RATE).astype(np.float32)
    clip = _Wav2Vec2Clip(SimpleNamespace(package=package, wav2sem=Varies()), samples)
    with pytest.raises(ModelError, match="several sizes"):
        clip.sentence([(0, 20), (20, 45)], lambda part: None)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(16000),
        np.zeros(16000, np.int16),
        np.zeros((16000, 2), np.float32),
        np.zeros(0, np.float32),
        np.full(16000, np.nan, np.float32),
    ],
    ids=["float64", "int16", "stereo", "nothing", "no numbers"],
)
def test_samples_that_no_model_can_hear_are_not_blamed_on_it(samples: np.ndarray, model: LipSyncModel) -> None:
    with pytest.raises(AudioError):
        model.run(Speech(samples))
