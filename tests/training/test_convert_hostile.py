# SPDX-License-Identifier: GPL-3.0-or-later
"""Checkpoints from strangers: every usual dress is read, everything else is refused in one sentence with no trace."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official import random_official

from inference import LipSyncModel, ModelPackage
from training.convert import ConvertError
from training.convert.__main__ import convert, main
from training.convert.checkpoint import read_checkpoint
from training.convert.layout import AudioConfig, face_former

LAYER = "transformer_decoder.layers.0."
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return random_official(5, fusion="map").state_dict()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"num_attention_heads": 2}))
    return path


def old_names(state: State) -> State:
    """The names of a weight norm before torch 2."""
    renamed = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    return {_replace(name, renamed): value for name, value in state.items()}


def _replace(name: str, pairs: dict[str, str]) -> str:
    for old, new in pairs.items():
        name = name.replace(old, new)
    return name


DRESSES: dict[str, Callable[[State], Any]] = {
    "bare": lambda s: s,
    "old weight norm": old_names,
    "swapped weight norm": lambda s: {
        _replace(n, {"original0": "X", "original1": "original0"}).replace("X", "original1"): v for n, v in s.items()
    },
    "wrapped": lambda s: {"epoch": 3, "time": 2**40, "state_dict": s, "optimizer": {"lr": 1e-4}},
    "model and module": lambda s: {"model": {f"module.module.{n}": v for n, v in s.items()}},
    "double": lambda s: {n: v.double() for n, v in s.items()},
    "no table, strange extras": lambda s: {n: v for n, v in s.items() if n != "PPE.pe"} | {"seen": torch.tensor(7)},
}


def test_a_bytearray_of_any_size_is_refused_unmade(tmp_path: Path, state: State) -> None:
    """Torch makes it before anything can be checked."""
    size = struct.pack("<q", 1 << 44)
    made = b"\x80\x02}X\x01\x00\x00\x00acbuiltins\nbytearray\n\x8a\x08" + size + b"\x85Rs."
    torch.save(state, tmp_path / "base.pth")
    with zipfile.ZipFile(tmp_path / "base.pth") as base, zipfile.ZipFile(tmp_path / "m.pth", "w") as bad:
        for member in base.infolist():
            bad.writestr(member.filename, made if member.filename.endswith("data.pkl") else base.read(member))
    with pytest.raises(ConvertError, match="bytearray"):
        read_checkpoint(tmp_path / "m.pth")


def test_tensors_without_storage_are_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.empty(3, device="meta")}}, tmp_path / "m.pth")
    with pytest.raises(ConvertError):
        read_checkpoint(tmp_path / "m.pth")


@pytest.mark.parametrize("text", ['{"num_attention_heads": 0}', '{"num_attention_heads": Infinity}', "[" * 100_000,
                                  '{"conv_stride": [1e999]}', '{"num_attention_heads": -2}'])  # fmt: skip
def test_odd_audio_configs_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConvertError, match=r"no wav2vec2 config\.json"):
        AudioConfig.read(tmp_path / "config.json")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("dress", DRESSES)
def test_every_dress_is_read(tmp_path: Path, state: State, dress: str, legacy: bool) -> None:
    torch.save(DRESSES[dress](state), tmp_path / "m.pth", _use_new_zipfile_serialization=not legacy)
    config = AudioConfig(heads=2)
    found = face_former(read_checkpoint(tmp_path / "m.pth"), config)
    torch.save(state, tmp_path / "plain.pth")
    plain = face_former(read_checkpoint(tmp_path / "plain.pth"), config)
    assert (found.period, found.biwi, found.styles) == (30, False, 8)
    for name, array in plain.encoder.arrays.items():
        np.testing.assert_allclose(found.encoder.arrays[name], array, rtol=1e-6)
    assert found.fusion is not None and found.wav2sem is not None
    np.testing.assert_array_equal(found.fusion[0], plain.fusion[0])


def test_half_precision_is_read(tmp_path: Path, state: State) -> None:
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "m.pth")
    found = face_former(read_checkpoint(tmp_path / "m.pth"), AudioConfig(heads=2))
    assert found.period == 30 and found.decoder["obj_vector.weight"].dtype == np.float32


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch executed",)


def evil_zip(path: Path, state: State) -> None:
    torch.save(state | {"extra": Evil()}, path)


def evil_pickle(path: Path, state: State) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def evil_legacy(path: Path, state: State) -> None:
    torch.save(state | {"extra": Evil()}, path, _use_new_zipfile_serialization=False)


def truncated(path: Path, state: State) -> None:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def truncated_legacy(path: Path, state: State) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def not_a_number(path: Path, state: State) -> None:
    bad = state["vertice_map_r.weight"].clone()
    bad[3, 3] = float("nan")
    torch.save(state | {"vertice_map_r.weight": bad}, path)


def wrong_shape(path: Path, state: State) -> None:
    torch.save(state | {LAYER + "linear1.weight": state[LAYER + "linear1.weight"][:, :-1].clone()}, path)


def tenfold(path: Path, state: State) -> None:
    torch.save(state | {"vertice_map_r.weight": state["vertice_map_r.weight"].repeat(10, 1)}, path)


def expanded(path: Path, state: State) -> None:
    """A tensor of 4 TB by a stride of zero."""
    torch.save(state | {"vertice_map_r.weight": torch.zeros(1, 1).expand(10**9, 10**3)}, path)


def one_storage_of_many_names(path: Path, state: State) -> None:
    """A thousand tensors in the bytes of one; as arrays they would fill a thousand times as much."""
    weight = torch.zeros(1 << 16, dtype=torch.float16)
    torch.save(state | {f"layer.{number}": weight[:] for number in range(1000)}, path)


def declares_more_than_it_stores(path: Path, state: State) -> None:
    """The pickle claims ten times the elements that the archive holds."""
    shape = state["audio_feature_map.weight"].shape
    lie = torch.zeros(shape[0] * 10, shape[1] * 1000)
    torch.save({"audio_feature_map.weight": lie}, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data[:64] if name.endswith("data/0") else data)


def declares_more_in_legacy(path: Path, state: State) -> None:
    """The old container makes room for what its pickle says before it looks at the file."""
    torch.save(state, path, _use_new_zipfile_serialization=False)
    count = state["vertice_map_r.weight"].numel()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"M" + count.to_bytes(2, "little"), b"J" + (2**30).to_bytes(4, "little")))


def bomb(path: Path, state: State) -> None:
    torch.save(state, path)
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, bytes(50_000_000) if name.endswith("data/0") else data)


def text(path: Path, state: State) -> None:
    path.write_text("<html>Quota exceeded</html>")


def empty(path: Path, state: State) -> None:
    path.write_bytes(b"")


def list_of_tensors(path: Path, state: State) -> None:
    torch.save(list(state.values()), path)


def wav2sem_alone(path: Path, state: State) -> None:
    torch.save({n.removeprefix("Wav2Bert."): v for n, v in state.items() if n.startswith("Wav2Bert.")}, path)


def missing_layer(path: Path, state: State) -> None:
    torch.save({n: v for n, v in state.items() if "encoder.layers.0.attention.k_proj" not in n}, path)


def other_positions(path: Path, state: State) -> None:
    torch.save(state | {"PPE.pe": torch.rand_like(state["PPE.pe"])}, path)


def nothing(path: Path, state: State) -> None:
    pass


HOSTILE = {
    evil_zip: "asks to run",
    evil_pickle: "damaged or no",
    evil_legacy: "asks to run",
    truncated: "damaged",
    truncated_legacy: "damaged",
    not_a_number: "no finite",
    wrong_shape: "linear1.weight",
    tenfold: "vertice_map",
    expanded: "larger than the file",
    one_storage_of_many_names: "larger than the file",
    declares_more_than_it_stores: "larger than the file",
    declares_more_in_legacy: "larger than the file",
    bomb: "unpacks to more",
    text: "damaged or no",
    empty: "damaged or no",
    list_of_tensors: "no state dict",
    wav2sem_alone: "not of FaceFormer",
    missing_layer: "lacks encoder.layers.0.attention.k_proj",
    other_positions: "PPE.pe",
    nothing: "no checkpoint",
}


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_hostile_files_are_refused(
    tmp_path: Path, config: Path, state: State, make: Callable[[Path, State], None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    make(tmp_path / "m.pth", state)
    before = sorted(tmp_path.rglob("*"))
    code = main(["--faceformer", str(tmp_path / "m.pth"), "--audio-config", str(config), "-o", str(tmp_path / "out")])
    message = capsys.readouterr().err
    assert code == 1 and HOSTILE[make] in message and message.count("\n") == 1, message
    assert sorted(tmp_path.rglob("*")) == before


def test_heads_that_do_not_fit_point_to_the_config(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(ConvertError, match="--audio-config"):
        face_former(read_checkpoint(tmp_path / "m.pth"), AudioConfig(heads=7))


def test_a_failing_write_leaves_the_old_package(tmp_path: Path, config: Path, state: State, monkeypatch: Any) -> None:
    torch.save(state, tmp_path / "m.pth")
    convert(tmp_path / "m.pth", tmp_path / "out", audio_config=config)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(ConvertError, match="No space left"):
        convert(tmp_path / "m.pth", tmp_path / "out", audio_config=config)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "m.pth", "out"]


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path, config: Path, state: State) -> None:
    torch.save(state, tmp_path / "m.pth")
    with pytest.raises(ConvertError, match="no model package"):
        convert(tmp_path / "m.pth", tmp_path, audio_config=config)


def test_a_file_is_no_folder(tmp_path: Path, config: Path, state: State, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(state, tmp_path / "m.pth")
    arguments = ["--faceformer", str(tmp_path / "m.pth"), "--audio-config", str(config), "-o", str(config)]
    assert main(arguments) == 1
    assert "config.json” cannot be written (Not a directory)" in capsys.readouterr().err


def test_a_package_with_other_files_is_not_replaced(tmp_path: Path, config: Path, state: State) -> None:
    """Who keeps the checkpoint in the folder of what it became would lose both."""
    torch.save(state, tmp_path / "m.pth")
    out = tmp_path / "out"
    convert(tmp_path / "m.pth", out, audio_config=config)
    (tmp_path / "m.pth").rename(out / "m.pth")
    with pytest.raises(ConvertError, match="beside a model package"):
        convert(out / "m.pth", out, audio_config=config)
    assert sorted(path.name for path in out.iterdir()) == [
        "decoder.npz",
        "m.pth",
        "model.json",
        "model.onnx",
        "wav2sem.onnx",
    ]


@pytest.mark.parametrize("where", [".", "link"])
def test_the_folder_one_is_in_or_a_link_to_it(
    where: str, tmp_path: Path, config: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(state, tmp_path / "m.pth")
    out = tmp_path / "out"
    convert(tmp_path / "m.pth", out, audio_config=config)
    if where == "link":
        (tmp_path / "link").symlink_to(out)
    monkeypatch.chdir(out if where == "." else tmp_path)
    convert(tmp_path / "m.pth", Path(where), audio_config=config, name="Again")
    monkeypatch.chdir(tmp_path)
    assert ModelPackage.read(out).name == "Again"
    left = {"config.json", "m.pth", "out"} | ({"link"} if where == "link" else set())
    assert {path.name for path in tmp_path.iterdir()} == left


def test_every_file_it_was_made_of_is_named(tmp_path: Path, config: Path) -> None:
    """Both are often called model.pth."""
    official = random_official(5, fusion="map")
    for folder, tensors in (("face", official.state_dict()), ("sentence", official.semantic_state())):
        (tmp_path / folder).mkdir()
        torch.save(tensors, tmp_path / folder / "model.pth")
    convert(tmp_path / "face" / "model.pth", tmp_path / "out", tmp_path / "sentence" / "model.pth", audio_config=config)
    made = json.loads((tmp_path / "out" / "model.json").read_text(encoding="utf-8"))["converted_from"]
    assert sorted(made) == ["face/model.pth", "sentence/model.pth"] and len(set(made.values())) == 2


def test_audio_encoder_from_a_wav2vec2_folder(tmp_path: Path, state: State) -> None:
    from safetensors.torch import save_file

    folder = tmp_path / "wav2vec2"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    audio = {n.replace("audio_encoder.", "wav2vec2."): v for n, v in state.items() if n.startswith("audio_encoder.")}
    save_file({n: v.contiguous() for n, v in audio.items()}, folder / "model.safetensors")
    torch.save({n: v for n, v in state.items() if not n.startswith("audio_encoder.")}, tmp_path / "m.pth")
    with pytest.raises(ConvertError, match="--wav2vec2"):
        convert(tmp_path / "m.pth", tmp_path / "out", audio_config=folder / "config.json")
    convert(tmp_path / "m.pth", tmp_path / "out", wav2vec2=folder)
    assert len(ModelPackage.read(tmp_path / "out").styles) == 8


def test_package_says_what_it_is(tmp_path: Path, config: Path) -> None:
    torch.save(random_official(1, biwi=True).state_dict(), tmp_path / "biwi.pth")
    convert(tmp_path / "biwi.pth", tmp_path / "out", audio_config=config)
    package = ModelPackage.read(tmp_path / "out")
    assert (package.fps, package.memory_per_frame, package.period) == (25.0, 2, 25)
    assert package.topology == "vertices-21" and package.styles == ("F2", "F3", "F4", "M3", "M4", "M5")
    assert LipSyncModel.load(package).basis.shape == (17, 21, 3)
