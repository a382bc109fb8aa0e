# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech of any length through official models: windows, fresh starts at pauses, cancel."""

from __future__ import annotations

import json
from math import inf

import numpy as np
import pytest
import torch
from official import random_official

from benchmarks.literal_loop import LiteralLoop
from inference import Cancelled, LipSyncModel, Speech
from inference.encoder import convolution_statistics, receptive_field
from training.convert.__main__ import convert


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LipSyncModel:
    folder = tmp_path_factory.mktemp("long")
    torch.save(random_official(3, heads=2, fusion="add").state_dict(), folder / "m.pth")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    convert(folder / "m.pth", folder / "package", audio_config=folder / "config.json")
    return LipSyncModel.load(folder / "package", threads=1)


def speech(seconds: float, loud: bool = False) -> Speech:
    """Noise in syllables; every tenth second is a pause, and later seconds are louder unless `loud` is equal."""
    rng = np.random.default_rng(2)
    t = np.arange(int(seconds * 16000)) / 16000
    envelope = np.abs(np.sin(2 * np.pi * 2 * t)) * (t % 10 < 9) * (1 if loud else 0.2 + t / seconds)
    return Speech((0.2 * rng.normal(size=len(t)) * envelope).astype(np.float32))


def test_statistics_are_those_of_the_whole_convolution() -> None:
    rng = np.random.default_rng(0)
    samples = (0.3 + np.cumsum(rng.normal(size=9000)) / 50).astype(np.float32)
    kernel = rng.normal(size=(6, 10)).astype(np.float32)
    statistics = convolution_statistics(samples, 10, 5).astype(np.float64)
    patches = np.lib.stride_tricks.sliding_window_view(samples, 10)[::5].astype(np.float64)
    out = patches @ kernel.T
    np.testing.assert_allclose(statistics[0] @ kernel.T, out.mean(axis=0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.square(statistics[1:] @ kernel.T).sum(axis=0), out.var(axis=0), rtol=1e-4)
    assert receptive_field((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)) == 400


def test_windows_change_little_and_normalisation_not_at_all(model: LipSyncModel) -> None:
    clip = speech(60)
    ticks: list[float] = []
    whole = model.encoder.listen(clip, ticks.append, inf).memory
    windowed = model.encoder.listen(clip, ticks.append, 20).memory
    assert whole.shape == windowed.shape and len(ticks) > 3
    assert np.abs(windowed - whole).mean() < 0.1 * whole.std(axis=0).mean()
    # Loudness grows over the clip: normalised by itself, its last part sounds different.
    alone = model.encoder.listen(Speech(clip.samples[-20 * 16000 :]), ticks.append, inf).memory
    assert np.abs(windowed[-300:] - whole[-300:]).mean() < 0.5 * np.abs(alone[-300:] - whole[-300:]).mean()
    step = np.abs(np.diff(windowed, axis=0)).max(axis=0)
    assert (step <= 1.2 * np.abs(np.diff(whole, axis=0)).max(axis=0)).all()


def test_fresh_starts_leave_no_seam(model: LipSyncModel) -> None:
    clip = speech(45)
    exact, fresh = model.run(clip, longest=inf).weights, model.run(clip, longest=10).weights
    assert exact.shape == fresh.shape and np.abs(exact - fresh).max() > 1e-4
    assert np.abs(np.diff(fresh, axis=0)).max() <= 1.1 * np.abs(np.diff(exact, axis=0)).max()


def test_default_is_exact_for_minutes(model: LipSyncModel) -> None:
    clip = speech(70)
    np.testing.assert_array_equal(model.run(clip).weights, model.run(clip, longest=inf).weights)


def test_long_runs_keep_keys_in_float32_and_stay_exact(model: LipSyncModel) -> None:
    memory = np.random.default_rng(0).normal(size=(2400, model.decoder.width)).astype(np.float32)
    long = model.decoder.run(memory, model.style_vector())
    short = model.decoder.run(memory[:1900], model.style_vector())
    assert 0 < np.abs(long[:1900] - short).max() < 1e-5


def test_progress_never_stands_still_nor_goes_back(model: LipSyncModel) -> None:
    """Half of the listening is for the sentence vector, which the whole clip has in common."""
    ticks: list[float] = []
    model.encoder.listen(speech(60), ticks.append, 10)
    assert model.encoder.wav2sem is not None and len(ticks) > 10
    assert ticks[0] == 0 and min(np.diff(ticks)) > 0 and max(np.diff(ticks)) < 0.15 and ticks[-1] > 0.8


def test_cancel_within_a_run_of_the_decoder(model: LipSyncModel) -> None:
    heard: list[str] = []

    def progress(fraction: float, stage: str) -> None:
        heard.append(stage)

    with pytest.raises(Cancelled):
        model.run(speech(30), progress=progress, cancelled=lambda: heard.count("Moving the lips") == 2)
    assert heard.count("Moving the lips") == 2


def test_the_benchmarks_loop_is_the_same_decoder(model: LipSyncModel) -> None:
    package = model.package
    memory = np.random.default_rng(0).normal(size=(70, model.decoder.width)).astype(np.float32)
    loop = LiteralLoop(package.decoder_arrays(), package.period, package.heads, package.memory_per_frame)
    ours = model.decoder.run(memory, model.style_vector()) @ model.decoder.output_weight.T + model.decoder.output_bias
    np.testing.assert_allclose(ours, loop.run(memory, model.style_vector()), atol=1e-5)
