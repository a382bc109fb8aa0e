# SPDX-License-Identifier: GPL-3.0-or-later
"""The degradations of the robustness section do what their names say."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

from inference import Speech
from training.evaluation import verdict
from training.evaluation.clips import EvalClip
from training.evaluation.robustness import DRAWS, add_noise, at_speed, babble, conditions, kept, means, telephone

RATE = 16000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def power(sound: np.ndarray) -> float:
    return float(np.mean(np.square(sound, dtype=np.float64)))


def test_noise_lies_as_many_decibels_below() -> None:
    speech, noise = tone(200), np.random.default_rng(0).normal(0, 3, RATE).astype(np.float32)
    mixed = add_noise(speech, noise, 10.0)
    assert 10 * np.log10(power(speech) / power(mixed - speech)) == pytest.approx(10, abs=0.05)


def test_noise_never_overloads() -> None:
    assert np.abs(add_noise(3 * tone(200), np.ones(RATE, np.float32), 0.0)).max() <= 1


def test_silence_beneath_the_speech_changes_nothing() -> None:
    """As a recording given with --nonspeech may be for as long as a clip is."""
    np.testing.assert_array_equal(add_noise(tone(200), np.zeros(RATE, np.float32), 10.0), tone(200))


def test_babble_holds_every_voice_alike_and_repeats_by_seed() -> None:
    voices = [tone(300), 0.01 * tone(700)]
    mix = babble(voices, 2 * RATE, np.random.default_rng(1))
    spectrum = np.abs(np.fft.rfft(mix))
    assert spectrum[600] == pytest.approx(spectrum[1400], rel=0.1)
    assert power(mix) == pytest.approx(1, rel=1e-3)
    np.testing.assert_array_equal(mix, babble(voices, 2 * RATE, np.random.default_rng(1)))


@pytest.mark.parametrize(("hertz", "heard"), [(100, False), (1000, True), (3300, True), (3700, False), (6000, False)])
def test_a_telephone_passes_its_band(hertz: float, heard: bool) -> None:
    line = telephone(tone(hertz))
    assert len(line) == RATE
    assert (power(line) > 0.9 * power(tone(hertz))) == heard
    if not heard:
        assert power(line) < 1e-3 * power(tone(hertz))


def test_a_telephone_quantises() -> None:
    error = telephone(tone(1000))[2000:-2000] - tone(1000)[2000:-2000]
    assert 25 < 10 * np.log10(power(tone(1000)) / power(error)) < 45  # about 38 dB for 8 bits of mu-law


def test_speed_shortens_and_raises() -> None:
    fast = at_speed(tone(400), 1.25)
    assert len(fast) == pytest.approx(RATE / 1.25, abs=2)
    spectrum = np.abs(np.fft.rfft(fast))
    assert spectrum.argmax() * RATE / len(fast) == pytest.approx(500, abs=3)


def test_the_reference_follows_the_speed() -> None:
    reference = {"t": np.arange(50) / 25, "aperture": np.ones(50), "speech": np.array([0.5, 1.5])}
    clip = EvalClip("a", "grid", Speech(tone(200, 2.0)), reference)
    found = {name: (samples, ref) for name, samples, ref in conditions(clip, [tone(90)], 0)}
    assert set(found) == {"babble 10 dB", "telephone", "speed 0.8", "speed 1.25"}
    for name, factor in (("telephone", 1.0), ("speed 0.8", 0.8), ("speed 1.25", 1.25)):
        samples, ref = found[name]
        assert len(samples) / RATE == pytest.approx(2 / factor, abs=1e-3)
        np.testing.assert_allclose(ref["t"] * factor, reference["t"])
        np.testing.assert_allclose(ref["speech"] * factor, reference["speech"])


def test_recordings_lie_beneath_the_speech_once_a_draw() -> None:
    reference = {"t": np.arange(25) / 25, "speech": np.array([0.0, 1.0])}
    clip = EvalClip("a", "grid", Speech(tone(200)), reference)
    background = [tone(1000, 3.0), 0.1 * tone(3000, 0.4)]
    heard = [s for name, s, _ in conditions(clip, [tone(90)], 0, background) if name == "background 10 dB"]
    assert len(heard) == DRAWS
    for sound in heard:
        assert len(sound) == RATE
        assert 10 * np.log10(power(clip.speech.samples) / power(sound - clip.speech.samples)) == pytest.approx(
            10, abs=0.3
        )


def test_means_weigh_clips_alike() -> None:
    row = {"condition": "telephone", "lag": 0.0}
    rows = [{"clip": "a", "clean": 0.8, "r_ap": 0.8, **row}, {"clip": "b", "clean": 0.4, "r_ap": 0.2, **row}]
    (mean,) = means(rows)
    assert mean["clip"] == "mean" and mean["kept"] == pytest.approx(0.5 / 0.6)


def test_lips_that_follow_nothing_keep_nothing() -> None:
    """Lips that stand still, and lips that move against the speaker's: a share of their correlation means nothing."""
    assert kept(0.4, 0.8) == 0.5
    assert np.isnan(kept(0.0, 0.0)) and np.isnan(kept(-0.38, -0.2))
    clean, worse = {"a": 0.8, "b": -0.2}, {"a": 0.79, "b": -0.38}
    rows = [{"clip": c, "condition": "telephone", "clean": clean[c], "kept": kept(worse[c], clean[c]),
             "r_ap": worse[c]} for c in clean]  # fmt: skip
    (found,) = verdict.robustness_verdicts(rows + means(rows))
    assert found["holds"] == "NO" and "worst – (b)" in found["reached"]
