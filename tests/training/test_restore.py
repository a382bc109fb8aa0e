# SPDX-License-Identifier: GPL-3.0-or-later
"""A package becomes the network that it was exported from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from inference import ModelError  # noqa: E402
from training.calibration import Calibration  # noqa: E402
from training.checkpoints import save  # noqa: E402
from training.config import PHONES, Config  # noqa: E402
from training.encoder import Wav2Sem  # noqa: E402
from training.export import amplify, export_package, hear_every, parity  # noqa: E402
from training.model import FaceFormer  # noqa: E402
from training.packing import PREROLL, Clip, Corpus  # noqa: E402
from training.restore import TOLERANCE, fill, fit_phone_head, restore  # noqa: E402
from training.targets import NAMES  # noqa: E402
from training.wav2sem import branch_config, take_over  # noqa: E402

REST = np.full(len(NAMES), 0.1, np.float32)


def filled(network: torch.nn.Module) -> torch.nn.Module:
    """With parameters that all differ: what begins as nothing would be restored by doing nothing."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    return network.eval()


def parameters_of(network: FaceFormer) -> dict[str, torch.Tensor]:
    """Its parameters, weight norm resolved: length and direction of a kernel are not told apart by a package."""
    found = {name: p.detach().clone() for name, p in network.named_parameters() if "parametrizations" not in name}
    return found | {"positions": network.audio_encoder.encoder.pos_conv_embed.conv.weight.detach().clone()}


@pytest.mark.parametrize("semantic", [0, 8])
def test_a_package_is_the_network_again(tmp_path: Path, semantic: int) -> None:
    torch.manual_seed(3)
    config = Config(hidden=96, layers=2, heads=2, decoder=16, semantic=semantic, period=5)
    network = filled(FaceFormer(config, len(NAMES)))
    wav2sem = filled(Wav2Sem(config)) if semantic else None
    before = parameters_of(network)
    amplify(network.decoder, REST, 1.3)
    hear_every(144, network, wav2sem)
    export_package(network, tuple(NAMES), wav2sem, tmp_path, "0.0.1", True, 20, Calibration(1.3))
    found, sentences, names, made = restore(tmp_path)
    assert parity(found, sentences, tmp_path, made.advance) < 1e-4
    amplify(found.decoder, REST, 1 / made.gain)
    assert names == tuple(NAMES) and (made.gain, made.advance) == (1.3, 20)
    assert found.config == config
    after = parameters_of(found)
    differing = {name for name in before if not torch.allclose(after[name], before[name], atol=2e-3)}
    assert differing == {"phone_head.weight", "phone_head.bias"}
    if sentences is not None:
        speech = 0.1 * torch.randn(1, 16000)
        torch.testing.assert_close(sentences(speech), wav2sem(speech), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize(
    "made",
    [
        {"heads": 0},
        {"heads": 3},
        {"gain": 0},
        {"gain": "x"},
        {"subtract": -1},
        {"advance": -20},
        {"advance": 1e9},
        {"wheels": 4},
        [1],
    ],
)
def test_a_package_made_with_what_cannot_be_is_refused(tmp_path: Path, made: object) -> None:
    network = filled(FaceFormer(Config(hidden=96, layers=1, heads=2, decoder=16, semantic=0), len(NAMES)))
    export_package(network, tuple(NAMES), None, tmp_path, "0.0.1", False)
    model = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(model | {"made_with": made}))
    if made == {"heads": 3}:  # 96 features have three heads, too: what it says differs
        restored, _, _, found = restore(tmp_path)
        assert parity(restored, None, tmp_path, found.advance) > TOLERANCE
        return
    with pytest.raises(ValueError, match="made_with"):
        restore(tmp_path)


def test_packages_from_before_noise_was_subtracted_are_restored_as_they_are(tmp_path: Path) -> None:
    shape = {"hidden": 96, "layers": 1, "heads": 2, "decoder": 16, "semantic": 0}
    network = filled(FaceFormer(Config(**shape, subtract=0.0), len(NAMES)))
    export_package(network, tuple(NAMES), None, tmp_path, "0.0.1", False)
    model = json.loads((tmp_path / "model.json").read_text())
    assert model["made_with"].pop("subtract") == 0
    (tmp_path / "model.json").write_text(json.dumps(model))
    restored, _, _, made = restore(tmp_path)
    assert restored.config.subtract == 0
    assert parity(restored, None, tmp_path, made.advance) < TOLERANCE


def test_other_packages_are_refused(toy_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not of training\.export"):
        restore(toy_folder)
    with pytest.raises(ModelError):
        restore(tmp_path)


def test_wav2sem_goes_on_from_what_was_restored(tmp_path: Path) -> None:
    config = Config(hidden=32, layers=1, heads=2, decoder=16, semantic=8)
    network = FaceFormer(config, len(NAMES))
    save(tmp_path / "last.pt", {"config": config.to_dict(), "names": list(NAMES), "average": network.state_dict()})
    branch = Wav2Sem(branch_config(tmp_path / "last.pt"))
    take_over(branch, tmp_path / "last.pt")
    for name, value in network.audio_encoder.state_dict().items():
        assert torch.equal(branch.audio_encoder.state_dict()[name], value)


def test_parameters_of_something_else_are_refused() -> None:
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2))
    bias = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"0\.weight"):
        fill(layer, {"0.bias": bias})
    with pytest.raises(ValueError, match=r"0\.weight is \(2, 4\)"):
        fill(layer, {"0.bias": bias, "0.weight": np.zeros((2, 4), np.float32)})


def test_the_phone_head_learns_what_the_encoder_hears() -> None:
    """Loud frames are one phone, quiet ones another; frames without a label teach nothing."""
    torch.manual_seed(3)
    random = np.random.default_rng(0)
    loud = np.repeat([0, 1, 0, 1], 20).astype(np.int8)
    sound = (random.normal(0, 1, 80 * 320) * np.repeat(np.where(loud, 8000, 20), 320)).astype(np.int16)
    labels = np.where(loud, PHONES.index("AA"), PHONES.index("SIL")).astype(np.int8)
    about = {"id": "a", "source": "real:x", "text": "", "language": "en", "split": "train"}
    corpus = Corpus(
        [Clip(about, sound, labels, np.zeros((2, PREROLL + 80, len(NAMES)), np.float16), 1)], tuple(NAMES), "key"
    )
    network = FaceFormer(Config(hidden=32, layers=1, heads=2, decoder=16, semantic=0), len(NAMES)).eval()
    assert fit_phone_head(network, corpus) > 0.95
