# SPDX-License-Identifier: GPL-3.0-or-later
"""Ten minutes at 23.976 frames per second from frame 1001.5 on: lips and sound stay together to the last syllable.

A loudness meter stands in for the network: what is asked is where its motion goes, not how well it hears.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest
import soundfile
from heads import add_key, add_mesh, evaluated
from strip_tools import add_strip, mixdown
from wav2sem_lipsync.inference import FaceMotion, LipSyncModel, Speech

FPS = 24000 / 1001
START, LENGTH, SYLLABLE = 1001.5, 600.0, 0.4
SYLLABLES = (0.1, 123.46, 300.0, 451.18, 599.5)  # seconds of the sound at which they begin
REACH = 0.3  # seconds around a syllable that are looked at


@pytest.fixture(scope="module")
def syllables_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of silence with five syllables of noise."""
    samples = np.zeros(round(LENGTH * 16000), np.float32)
    rng = np.random.default_rng(2)
    for begin in SYLLABLES:
        first = round(begin * 16000)
        count = round(SYLLABLE * 16000)
        samples[first : first + count] = rng.uniform(-0.8, 0.8, count) * np.hanning(count)
    path = tmp_path_factory.mktemp("long") / "syllables.wav"
    soundfile.write(path, samples, 16000)
    return path


def puppet(names: tuple[str, ...]) -> bpy.types.Object:
    """A mesh of which every shape key moves a vertex of its own by 1."""
    obj = add_mesh("Puppet", np.zeros((len(names) + 2, 3)), [[0, 1, 2]])
    obj.shape_key_add(name="Basis")
    for i, name in enumerate(names):
        add_key(obj, name).data[i].co.z = 1
    return obj


def meter(model: LipSyncModel, speech: Speech, *arguments: Any, **options: Any) -> FaceMotion:
    """Each weight is how loud the speech is in a frame."""
    frames = speech.samples[: len(speech.samples) // 320 * 320].reshape(-1, 320)
    loudness = np.sqrt(np.square(frames).mean(axis=1, keepdims=True))
    return FaceMotion(50.0, 0.0, model.names, np.repeat(loudness, len(model.names), axis=1), model.basis)


def middle(times: np.ndarray, amounts: np.ndarray) -> float:
    """Time about which `amounts` lie."""
    return float((times * amounts).sum() / amounts.sum())


@pytest.mark.parametrize("source", ["STRIP", "FILE"])
def test_lips_and_sound_stay_within_half_a_frame(
    source: str, syllables_file: Path, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = 24, 1.001
    monkeypatch.setattr(LipSyncModel, "run", meter)
    head = puppet(("jawOpen", "mouthFunnel"))
    settings.source, settings.audio_path, settings.start_frame = source, str(syllables_file), START
    if source == "STRIP":
        strip = add_strip(syllables_file, 1001)
        strip.sound_offset = 0.5 / FPS
    assert bpy.ops.wav2sem.generate_lipsync() == {"FINISHED"}
    played, rate = mixdown(tmp_path / "mix.wav", 1001, scene.frame_end)
    errors = []
    for begin in SYLLABLES:
        centre = START + (begin + SYLLABLE / 2) * FPS
        frames = np.arange(np.ceil(centre - REACH * FPS), np.floor(min(centre + REACH * FPS, scene.frame_end)))
        lips = middle(frames, np.array([evaluated(head, frame)[0, 2] for frame in frames]))
        window = slice(round((frames[0] - 1001) / FPS * rate), round((frames[-1] - 1001) / FPS * rate))
        sound = middle(1001 + np.arange(window.start, window.stop) / rate * FPS, np.square(played[window]))
        half_a_row = 0.01 * FPS  # the meter's frames are named by their beginning
        errors.append(lips + half_a_row - sound)
    print("frames between lips and sound:", np.round(errors, 3))
    assert np.abs(errors).max() < 0.5
    assert abs(errors[-1] - errors[0]) < 0.1, "drift"
