# SPDX-License-Identifier: GPL-3.0-or-later
"""Converted packages answer as the authors' code: on its stored outputs, and on random models step by step."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official import random_official

from inference import LipSyncModel, Speech
from training.convert.__main__ import convert

CLIPS = ("speech_1p0", "noise_1p0", "speech_3p7", "speech_4p11", "speech_25p0")
TINY = {
    # name of the outputs: FaceFormer's file, Wav2Sem's file, fusion
    "tiny_vocaset": ("tiny_vocaset_faceformer.pth", None, None),
    "tiny_vocaset_w2s": ("tiny_vocaset_faceformer_wav2sem.pth", "tiny_wav2sem_encoder.pth", "add"),
    "tiny_vocaset_w2s_map": ("tiny_vocaset_faceformer_wav2sem.pth", None, None),
    "tiny_biwi": ("tiny_biwi_faceformer.pth", None, None),
    "tiny_biwi cuda": ("tiny_biwi_faceformer_cudatag.pth", None, None),
    "tiny_biwi legacy": ("tiny_biwi_faceformer_legacy.pth", None, None),
    "tiny_biwi_w2s": ("tiny_biwi_faceformer.pth", "tiny_wav2sem_encoder_ddp.pth", None),
}
FULL = {"full_vocaset": None, "full_vocaset_w2s": "add", "full_vocaset_w2s_map": "map", "full_biwi": None}
METRES, RELATIVE = 1e-6, 1e-4


def audio(shared: Path, clip: str) -> Speech:
    with np.load(shared / "parity" / "audio.npz") as data:
        return Speech(data["speech_25p0"][:65800] if clip == "speech_4p11" else data[clip])


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def features(model: LipSyncModel, speech: Speech) -> np.ndarray:
    return model.encoder.listen(speech, lambda fraction: None).memory


@pytest.mark.parametrize("name", TINY)
def test_equals_the_authors_code(shared: Path, tmp_path: Path, name: str) -> None:
    faceformer, wav2sem, fusion = TINY[name]
    folder = shared / "parity"
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    convert(
        folder / faceformer, tmp_path / "package", folder / wav2sem if wav2sem else None,
        audio_config=tmp_path / "config.json", fusion=fusion,
    )  # fmt: skip
    model = LipSyncModel.load(tmp_path / "package", threads=1)
    compared = 0
    for clip in CLIPS:
        path = folder / f"{name.split()[0]}__{clip}.npz"
        if not path.is_file():
            continue
        with np.load(path) as stored, np.load(folder / "templates.npz") as templates:
            motion = model.run(audio(shared, clip), dict(zip(model.package.styles, stored["one_hot"][0], strict=True)))
            assert len(motion.weights) == int(stored["frame_num"])
            vertices = motion.offsets().reshape(len(motion.weights), -1)
            vertices = vertices + templates[f"v{vertices.shape[1]}"]
            found = vertices[:: int(stored["frame_stride"]), :: int(stored["coord_stride"])]
            assert np.abs(found - stored["vertices"]).max() < METRES
            assert relative(features(model, audio(shared, clip)), stored["audio_feature_map_out"]) < RELATIVE
            compared += 1
    assert compared


def test_half_takes_less_room_and_says_nearly_the_same(tmp_path: Path) -> None:
    torch.save(random_official(5, 32, fusion="add").state_dict(), tmp_path / "model.pth")
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 32}))
    sizes, said = [], []
    for name, half in (("full", False), ("half", True)):
        convert(tmp_path / "model.pth", tmp_path / name, audio_config=tmp_path / "config.json", half=half)
        sizes.append(sum(path.stat().st_size for path in (tmp_path / name).glob("*.onnx")))
        noise = 0.1 * np.random.default_rng(0).normal(size=16_000)
        said.append(features(LipSyncModel.load(tmp_path / name, threads=1), Speech(noise.astype(np.float32))))
    assert sizes[1] < 0.9 * sizes[0]
    assert 0 < relative(said[1], said[0]) < 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_full_size_equals_the_authors_code(shared: Path, tmp_path: Path, name: str) -> None:
    folder = shared / "parity"
    spec = importlib.util.spec_from_file_location("recipe", folder / "recipe.py")
    assert spec and spec.loader
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    arrays = recipe.state_dict(name.removesuffix("_map"))
    torch.save({key: torch.from_numpy(array) for key, array in arrays.items()}, tmp_path / "model.pth")
    del arrays
    convert(tmp_path / "model.pth", tmp_path / "package", fusion=FULL[name])
    (tmp_path / "model.pth").unlink()
    model = LipSyncModel.load(tmp_path / "package", threads=1)
    with np.load(folder / f"{name}__speech_3p7.npz") as stored:
        speech = audio(shared, "speech_3p7")
        motion = model.run(speech, model.package.styles[int(stored["one_hot_index"])])
        assert len(motion.weights) == int(stored["frame_num"])
        template = recipe.template(3 * model.package.vertices).reshape(-1, 3)
        error = np.abs((motion.offsets() + template)[::10, ::50] - stored["vertices_f10_v50"]).max()
        off = relative(features(model, speech), stored["audio_feature_map_out"])
        print(f"{name}: vertices {error:.1e} m, features {off:.1e}")
        assert error < METRES and off < RELATIVE


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    heads=st.sampled_from([1, 2, 3]),
    biwi=st.booleans(),
    fusion=st.sampled_from([None, "add", "map"]),
    samples=st.integers(1600, 30_000),
    width=st.sampled_from([8, 16, 32]),
)
def test_random_models_equal_the_steps(
    tmp_path_factory: pytest.TempPathFactory, seed: int, heads: int, biwi: bool, fusion: str | None, samples: int,
    width: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("random")
    official = random_official(seed, heads, biwi, fusion, width=width)
    torch.save(official.state_dict(), folder / "model.pth")
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": heads}))
    convert(folder / "model.pth", folder / "package", audio_config=folder / "config.json")
    model = LipSyncModel.load(folder / "package", threads=1)
    rng = np.random.default_rng(seed)
    speech = Speech((0.01 + 0.1 * rng.normal(size=samples)).astype(np.float32))
    style = rng.dirichlet(np.ones(len(model.package.styles)))
    memory, offsets = official.outputs(speech.samples, style)
    motion = model.run(speech, dict(zip(model.package.styles, style, strict=True)))
    assert relative(features(model, speech), memory) < RELATIVE
    np.testing.assert_allclose(motion.offsets().reshape(len(motion.weights), -1), offsets, atol=METRES)
