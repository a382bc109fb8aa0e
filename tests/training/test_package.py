# SPDX-License-Identifier: GPL-3.0-or-later
"""Export: the package run by `inference` equals the network run by PyTorch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from inference import LipSyncModel, Speech  # noqa: E402
from inference.session import Session  # noqa: E402
from training.closures import closed_events  # noqa: E402
from training.config import Config  # noqa: E402
from training.encoder import SpeechEncoder, Wav2Sem  # noqa: E402
from training.export import amplify, average, check_storage, export_package, hear_every, parity  # noqa: E402
from training.features import LogMel  # noqa: E402
from training.model import FaceFormer, MemoryGraph  # noqa: E402

NAMES = ("jawOpen", "mouthClose", "mouthPucker", "mouthPressLeft", "mouthPressRight")


def networks(semantic: int) -> tuple[FaceFormer, Wav2Sem | None]:
    torch.manual_seed(5)
    config = Config(hidden=96, layers=1, heads=2, decoder=16, semantic=semantic, period=5)
    network = FaceFormer(config, len(NAMES)).eval()
    torch.nn.init.normal_(network.decoder.vertice_map_r.weight, 0.05, 0.1)
    if not semantic:
        return network, None
    torch.nn.init.normal_(network.semantic_map.weight, 0, 0.3)
    return network, Wav2Sem(config).eval()


@pytest.mark.parametrize("semantic", [0, 8])
def test_package_equals_the_network(tmp_path: Path, semantic: int) -> None:
    network, wav2sem = networks(semantic)
    export_package(network, NAMES, wav2sem, tmp_path, "0.0.1", shrunk=False)
    assert parity(network, wav2sem, tmp_path) < 1e-4
    motion = LipSyncModel.load(tmp_path).run(Speech(np.zeros(16000, np.float32)))
    assert motion.weights.shape == (50, len(NAMES))


def test_networks_are_averaged_in_place() -> None:
    (one, _), (other, _) = networks(8), networks(8)
    torch.nn.init.normal_(other.audio_feature_map.weight)
    before = one.audio_feature_map.weight.detach().clone()
    average(one, other, 0.7)
    torch.testing.assert_close(one.audio_feature_map.weight, 0.7 * before + 0.3 * other.audio_feature_map.weight)
    assert torch.equal(one.context.along.weight, other.context.along.weight)  # where both are alike
    with pytest.raises(ValueError, match="different shapes"):
        average(one, networks(0)[0], 0.7)


def test_lips_may_come_earlier(tmp_path: Path) -> None:
    network, _ = networks(0)
    export_package(network, NAMES, None, tmp_path, "0.0.1", shrunk=False, advance=20)
    assert parity(network, None, tmp_path, 20) < 1e-4
    speech = 0.1 * torch.randn(1, 16000)
    later = torch.cat([speech[:, 320:], torch.zeros(1, 320)], 1)
    assert torch.equal(MemoryGraph(network, 20)(speech), MemoryGraph(network)(later))


def test_speech_may_be_heard_at_another_pace(tmp_path: Path) -> None:
    network, wav2sem = networks(8)
    speech = 0.1 * torch.randn(1, 16000)
    usual, dense = (LogMel(64, step).eval()(speech) for step in (160, 80))
    torch.testing.assert_close(dense[:, ::2], usual)  # more frames of the same sound
    hear_every(144, network, wav2sem)
    export_package(network, NAMES, wav2sem, tmp_path, "0.0.1", shrunk=False, advance=20)
    assert parity(network, wav2sem, tmp_path, 20) < 1e-4
    motion = LipSyncModel.load(tmp_path).run(Speech(np.zeros(28800, np.float32)))
    assert motion.fps == 16000 / 288 and len(motion.weights) == 100
    with pytest.raises(ValueError, match="leave --step out"):
        SpeechEncoder(Config(front_end="wave", hidden=96, layers=1, heads=2)).hear_every(144)


def test_half_precision_moves_little_and_saves_space(tmp_path: Path) -> None:
    network, wav2sem = networks(8)
    export_package(network, NAMES, wav2sem, tmp_path / "full", "0.0.1", shrunk=False)
    export_package(network, NAMES, wav2sem, tmp_path / "half", "0.0.1", shrunk=True)
    sizes = [(tmp_path / name / "model.onnx").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.85 * sizes[0]
    assert parity(network, wav2sem, tmp_path / "half") < 5e-3


def test_wav2sem_in_eight_bits_says_nearly_the_same(tmp_path: Path) -> None:
    network, wav2sem = networks(8)
    speech = 0.1 * np.random.default_rng(0).standard_normal((1, 32000)).astype(np.float32)
    said, bytes_ = [], []
    for name, shrunk in (("full", False), ("half", True)):
        export_package(network, NAMES, wav2sem, tmp_path / name, "0.0.1", shrunk=shrunk)
        said.append(Session(tmp_path / name / "wav2sem.onnx", "CPU", 1).run("semantic", {"speech": speech}))
        weights = onnx.load(tmp_path / name / "wav2sem.onnx").graph.initializer
        bytes_.append(sum(len(weight.raw_data) for weight in weights))
    assert bytes_[1] < 0.35 * bytes_[0]
    assert 0 < np.abs(said[1] - said[0]).max() < 0.02 * np.abs(said[0]).max()


def test_storage_that_moves_a_vertex_too_far_is_refused(tmp_path: Path) -> None:
    network, _ = networks(0)
    export_package(network, NAMES, None, tmp_path, "0.0.1", shrunk=False)
    full = LipSyncModel.load(tmp_path).run(Speech(np.zeros(8000, np.float32)))
    longest = float(np.linalg.norm(full.basis[0], axis=1).max())  # metres that jawOpen moves a vertex, of all most
    weights = full.weights.copy()
    weights[7, 0] += 0.9e-4 / longest
    assert check_storage(full, replace(full, weights=weights)) == pytest.approx(0.9e-4, rel=1e-3)
    weights[7, 0] += 0.2e-4 / longest
    with pytest.raises(ValueError, match=r"0\.110 mm; 0\.1 mm are allowed\. Export with --float32"):
        check_storage(full, replace(full, weights=weights))


def test_the_sentence_vector_reaches_the_lips(tmp_path: Path) -> None:
    network, _ = networks(8)
    speech = torch.randn(1, 3200) * 0.1
    without, with_vector = (network.encode(speech, vector)[1] for vector in (torch.zeros(1, 8), torch.ones(1, 8)))
    difference = (with_vector - without).detach()
    assert float(difference.abs().max()) > 1e-3
    assert torch.allclose(difference, difference[:, :1].expand_as(difference), atol=1e-5)  # the same on every frame


def test_gain_enlarges_motion_and_leaves_the_loop_alone() -> None:
    network, _ = networks(0)
    decoder, memory, style = network.decoder, torch.randn(1, 9, 16), torch.eye(4)[:1]
    rest = np.array([0.1, 0.0, 0.3, 0.2, 0.1], np.float32)
    before = decoder.loop(memory, style)
    amplify(decoder, rest, 1.3)
    assert torch.allclose(
        decoder.loop(memory, style), torch.tensor(rest) + 1.3 * (before - torch.tensor(rest)), atol=1e-5
    )


def test_closures_are_counted_by_event() -> None:
    gap = np.full(50, 8.0)
    gap[10:13] = 0.5
    phones = [[0.0, 0.2, "AA"], [0.2, 0.26, "P"], [0.26, 0.6, "AA"], [0.6, 0.7, "M"], [0.7, 1.0, "T"]]
    assert closed_events(gap, 50.0, phones) == [True, False]
