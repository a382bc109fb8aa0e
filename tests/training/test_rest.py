# SPDX-License-Identifier: GPL-3.0-or-later
"""Jerk, still moments, seams and baselines, where the right figure is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("torch")

from inference import LipSyncModel, Speech
from inference.windows import OVERLAP, plan_windows
from training.evaluation.baselines import linear_regression, regression_features, ridge
from training.evaluation.clips import EvalClip
from training.evaluation.rest import LIPS, jerk, lip_steps, nonspeech, recordings, seam_frames, still_frames

RATE = 16000


def test_jerk_is_the_third_derivative() -> None:
    times = np.arange(40) / 25
    np.testing.assert_allclose(jerk(2 * times**3, 25.0), 12.0, rtol=1e-6)
    np.testing.assert_allclose(jerk(np.stack([times, times**2], 1), 25.0), 0.0, atol=1e-6)


def test_still_frames_keep_away_from_motion() -> None:
    opening = np.zeros(100)
    opening[50:] = 5.0
    still = still_frames(opening, 25.0)
    assert still[:45].all() and still[55:].all()
    assert not still[45:55].any()


def test_nobody_speaks_in_sounds_of_a_known_level() -> None:
    sounds = nonspeech(2.0)
    level = {name: 10 * np.log10(np.mean(np.square(sound)) + 1e-20) for name, sound in sounds.items()}
    assert not sounds["digital silence"].any()
    for name, decibels in (("mains hum, -30 dB", -30), ("white noise, -20 dB", -20), ("tones, -20 dB", -20)):
        assert level[name] == pytest.approx(decibels, abs=0.1)
    assert len(sounds["tones, -20 dB"]) == 3 * len(sounds["digital silence"])
    np.testing.assert_array_equal(sounds["tones, -20 dB"], nonspeech(2.0)["tones, -20 dB"])


def test_recordings_are_heard_for_a_minute_at_one_level(tmp_path: Path) -> None:
    tone = np.sin(np.arange(3 * RATE) / 10)
    (tmp_path / "below").mkdir()
    soundfile.write(tmp_path / "below" / "loud.ogg", 0.8 * tone, RATE)
    soundfile.write(tmp_path / "soft.wav", 0.01 * tone, RATE)
    (tmp_path / "broken.mp3").write_bytes(b"no sound")
    (tmp_path / "notes.txt").write_text("no sound either")
    heard = dict(recordings(tmp_path, seconds=2.0))
    assert set(heard) == {"loud.ogg", "soft.wav"}
    for sound in heard.values():
        assert len(sound) == 2 * RATE
        assert 10 * np.log10(np.mean(np.square(sound))) == pytest.approx(-20, abs=0.1)
    with pytest.raises(FileNotFoundError, match="no recording"):
        list(recordings(tmp_path / "nowhere"))


def test_ridge_finds_a_linear_law() -> None:
    features = np.random.default_rng(0).normal(size=(20_000, 3))
    np.testing.assert_allclose(ridge(features, features @ [1.0, -2.0, 0.5] + 4.0), [1, -2, 0.5, 4], atol=0.02)


def test_regression_carries_over_to_a_clip_it_has_not_seen() -> None:
    """Lips that follow the loudness of a noise are easy to predict, but never from the clip's own lips."""

    def clip(name: str, seed: int, sign: float) -> EvalClip:
        random, seconds = np.random.default_rng(seed), 8
        wave = np.sin(2 * np.pi * np.arange(seconds * RATE) / RATE * (1 + 0.2 * seed)) ** 2
        times = np.arange(seconds * 25) / 25
        lips = sign * wave[:: RATE // 25]
        sound = (0.1 * random.normal(size=len(wave)) * wave).astype(np.float32)
        return EvalClip(name, "grid", Speech(sound), {"t": times, "aperture": lips})

    clips = [clip("odd", 4, -1.0), *(clip(f"even {seed}", seed, 1.0) for seed in (1, 2, 3, 5, 6, 7))]
    found = linear_regression(clips)
    for each in clips:
        curve = np.interp(each.reference["t"], found[each.name]["t"], found[each.name]["aperture"])
        r = np.corrcoef(curve, each.reference["aperture"])[0, 1]
        assert (r < -0.5) if each.name == "odd" else (r > 0.5)


def test_features_look_around() -> None:
    sound = np.zeros(RATE, np.float32)
    sound[RATE // 2 :] = 0.1 * np.random.default_rng(0).normal(size=RATE // 2)
    features = regression_features(sound, np.array([0.1, 0.4, 0.9])).reshape(3, 11, -1).mean(2)
    assert np.ptp(features[0]) < 0.02  # silence all around
    assert features[1, -1] > features[1, 0] + 0.5  # the noise begins 100 ms later


@pytest.fixture(scope="module")
def model(toy_folder: Path) -> LipSyncModel:
    return LipSyncModel.load(toy_folder)


def test_seams_lie_where_windows_overlap(model: LipSyncModel) -> None:
    assert not seam_frames(model, Speech(np.zeros(4 * RATE, np.float32))).any()
    sound = np.random.default_rng(0).normal(0, 0.1, 60 * RATE).astype(np.float32)
    quiet = slice(20 * RATE, 21 * RATE + RATE // 10)
    sound[quiet] = 0
    shared = seam_frames(model, Speech(sound))
    first = np.flatnonzero(shared)[0] / model.package.fps
    assert 20.0 <= first <= 20.2
    assert shared.sum() >= int(OVERLAP * model.package.fps)


def test_steps_are_distances(model: LipSyncModel) -> None:
    motion = model.run(Speech(np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)))
    places = motion.offsets()[:, LIPS]
    expected = np.linalg.norm(np.diff(places, axis=0), axis=2).max(1) * 1000
    np.testing.assert_allclose(lip_steps(motion), expected, atol=1e-4)


def test_seams_of_imported_packages_lie_where_their_windows_meet(tmp_path: Path) -> None:
    """wav2vec2 hears 30.0 frames a second, which are no whole number of samples apart, and frames of its own."""
    pytest.importorskip("transformers")
    import torch
    from official import STRIDES, random_official

    from training.convert.__main__ import main

    torch.save(random_official(3, heads=4, vertices=21).state_dict(), tmp_path / "model.pth")
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4, "conv_stride": list(STRIDES)}))
    argv = ["--faceformer", str(tmp_path / "model.pth"), "--audio-config", str(tmp_path / "config.json")]
    assert main([*argv, "-o", str(tmp_path / "package"), "--dataset", "vocaset"]) == 0
    imported = LipSyncModel.load(tmp_path / "package")
    sound = np.random.default_rng(0).normal(0, 0.1, 240 * RATE).astype(np.float32)
    for second in range(15, 240, 30):  # pauses, a little longer than two windows share
        sound[second * RATE : int((second + 1.2) * RATE)] *= 0.01
    planned = []

    def plan(loudness: np.ndarray, fps: float, longest: float) -> list[tuple[int, int]]:
        planned.append((loudness, windows := plan_windows(loudness, fps, longest)))
        return windows

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inference.encoder.plan_windows", plan)
        motion = imported.run(Speech(sound))
    shared = seam_frames(imported, Speech(sound))
    (_, windows), *_ = planned
    expected = np.zeros(len(motion.weights), bool)
    for (first, _), (_, last) in zip(windows[1:], windows[:-1], strict=True):
        expected[first:last] = True
    assert len(windows) > 5
    np.testing.assert_array_equal(shared, expected)
