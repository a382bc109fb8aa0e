# SPDX-License-Identifier: GPL-3.0-or-later
"""The network's parts against literal formulas, and a tiny one that learns."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.config import HOP, PHONES, STYLES, Config  # noqa: E402
from training.decoder import FaceDecoder, causal_bias, periodic_positions  # noqa: E402
from training.features import LogMel, mel_filters  # noqa: E402
from training.geometry import MEASURES, lip_geometry  # noqa: E402
from training.losses import LipLoss  # noqa: E402
from training.model import FaceFormer, WideContext  # noqa: E402
from training.wav2sem import Whitening, collapse_ratio, contrastive_loss, retrieval  # noqa: E402

TINY = Config(hidden=32, layers=1, heads=2, decoder=16, semantic=0, period=5, dropout=0.0)
NAMES = ("jawOpen", "mouthClose", "mouthPucker", "mouthFunnel")


def test_positions_follow_the_paper() -> None:
    table = periodic_positions(5, 8)
    for t in range(5):
        for k in range(4):
            angle = t / 10000 ** (2 * k / 8)
            assert table[t, 2 * k] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[t, 2 * k + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_bias_follows_the_paper() -> None:
    bias = causal_bias(13, 4, 5)
    for head, slope in enumerate((1 / 4, 1 / 16, 1 / 64, 1 / 256)):
        for i in range(13):
            for j in range(13):
                expected = -slope * ((i - j) // 5) if j <= i else -math.inf
                assert bias[head, i, j] == expected


def test_training_computes_what_inference_does() -> None:
    torch.manual_seed(1)
    speech = 0.1 * torch.randn(2, 8000)
    for mel in (LogMel(40), LogMel(40, subtract=1.0)):
        assert torch.allclose(mel.train()(speech), mel.eval()(speech), atol=1e-4)
    wide = WideContext(16)
    torch.nn.init.normal_(wide.across[-1].weight)
    for frames in (30, 260):
        features = torch.randn(2, frames, 16)
        assert torch.allclose(wide.train()(features), wide.eval()(features), atol=1e-4)


def random_decoder() -> FaceDecoder:
    torch.manual_seed(3)
    decoder = FaceDecoder(16, 4, 5, len(NAMES), len(STYLES)).eval()
    torch.nn.init.normal_(decoder.vertice_map_r.weight, 0, 0.2)
    return decoder


def test_shortcut_of_the_alignment_attention_is_exact() -> None:
    """As the official code writes it: frame i may look at memory i only."""
    decoder, memory, inputs = random_decoder(), torch.randn(2, 12, 16), torch.randn(2, 12, 16)
    bias = causal_bias(12, decoder.heads, decoder.period).repeat(2, 1, 1)
    x = inputs + decoder.positions[torch.arange(12) % decoder.period]
    forbidden = ~torch.eye(12, dtype=torch.bool)
    hidden = decoder.transformer_decoder(x, memory, tgt_mask=bias, memory_mask=forbidden)
    assert torch.allclose(decoder.decode(inputs, memory), decoder.vertice_map_r(hidden), atol=1e-5)


def test_jacobi_passes_become_the_loop() -> None:
    decoder, memory = random_decoder(), torch.randn(2, 12, 16)
    style = torch.eye(len(STYLES))[:2]
    passes = decoder(memory, style, 12)
    loop = decoder.loop(memory, style)
    assert torch.allclose(passes[-1], loop, atol=1e-5)
    for n, weights in enumerate(passes, 1):  # pass n is exact on its first n frames
        assert torch.allclose(weights[:, :n], loop[:, :n], atol=1e-5)
    assert not torch.allclose(passes[0], loop, atol=1e-3)


def test_log_mel_hears_a_tone_in_its_band_and_not_its_level() -> None:
    time = np.arange(16000) / 16000
    mel = LogMel(64)
    tone = torch.tensor(np.sin(2 * np.pi * 1000 * time), dtype=torch.float32)[None]
    loud, quiet = mel(tone * 0.5), mel(tone * 0.01)
    assert loud.shape == (1, 100, 64)
    assert torch.allclose(loud, quiet, atol=1e-3)
    band = int(loud[0, 50].argmax())
    assert abs(int(mel_filters(64)[:, 32].argmax()) - band) <= 1  # bin 32 is 1000 Hz
    assert torch.allclose(mel(torch.zeros(1, 1600)), torch.full((1, 10, 64), math.log(1e-4) / 4))


def test_noise_that_never_ceases_is_taken_away_and_speech_is_not() -> None:
    random = np.random.default_rng(1)
    loud = np.arange(32000) // 4000 % 2 == 1  # quarters of a second
    words = 0.1 * random.standard_normal(32000) * loud
    fan = 0.03 * random.standard_normal(32000)  # 10 dB below them

    def heard(sound: np.ndarray, subtract: float) -> np.ndarray:
        """Decibels, of frames that lie wholly within a word or a pause."""
        frames = LogMel(64, subtract=subtract)(torch.tensor(sound, dtype=torch.float32)[None])[0].numpy()
        return 40 / np.log(10) * frames.mean(1)

    word = loud[::160] & np.roll(loud[::160], 3) & np.roll(loud[::160], -3)
    pause = ~loud[::160] & ~np.roll(loud[::160], 3) & ~np.roll(loud[::160], -3)
    kept, taken = (heard(words + fan, subtract) for subtract in (0.0, 1.0))
    assert np.abs(taken - kept)[word].max() < 1.0
    assert (taken - kept)[pause].mean() < -3.0
    np.testing.assert_allclose(heard(words, 1.0)[word], heard(words, 0.0)[word], atol=0.05)  # digital silence between
    steady = heard(fan, 1.0) - heard(fan, 0.0)
    assert (steady > -10.1).all() and (steady < -3).all()


def test_frames_are_centred_on_their_time() -> None:
    click = torch.zeros(1, 16000)
    click[0, 50 * 160] = 1.0
    energy = LogMel(64)(click)[0].mean(1)
    assert int(energy.argmax()) == 50
    assert energy[49] == pytest.approx(float(energy[51]), abs=0.02)


def test_closure_left_open_costs_and_a_wide_vowel_does_not() -> None:
    losses = LipLoss(lip_geometry(NAMES), phone_weight=1.0, closure_weight=0.3)
    shut, vowel = torch.zeros(1, 4, len(NAMES)), torch.zeros(1, 4, len(NAMES))
    shut[..., 1] = 0.06  # mouthClose: the lips pressed
    vowel[..., 0] = 0.3
    wider = torch.tensor([0.1, 0.0, 0.0, 0.0])  # jaw 3 mm further open
    known = torch.ones(1, 4, dtype=torch.bool)
    assert float(losses.motion(shut + wider, shut, known)["closure"]) > 1.0
    assert float(losses.motion(shut - wider, shut, known)["closure"]) == 0.0
    assert float(losses.motion(vowel + wider, vowel, known)["closure"]) == 0.0


def test_geometry_is_in_millimetres() -> None:
    geometry = lip_geometry(NAMES)
    jaw = geometry.measures[0]
    assert 20 < jaw[MEASURES.index("aperture")] < 40
    assert geometry.measures[1, MEASURES.index("aperture")] < -20  # mouthClose undoes the opening
    pucker = geometry.measures[2]
    assert pucker[MEASURES.index("width")] < -3
    assert 100 < len(geometry.lips) < 400
    weights = np.array([0.3, 0.2, 0.5, 0.0], np.float32)
    from inference import arkit_basis

    names, deltas = arkit_basis()
    offsets = sum(w * deltas[list(names).index(n)] for w, n in zip(weights, NAMES, strict=True)) * 1000
    literal = np.square(offsets[geometry.lips]).sum(1).mean()
    assert np.square(weights @ geometry.lip_factor).sum() == pytest.approx(literal, rel=1e-3)


def test_a_tiny_network_learns_loudness() -> None:
    torch.manual_seed(0)
    network, losses = FaceFormer(TINY, len(NAMES)), LipLoss(lip_geometry(NAMES), phone_weight=1.0, closure_weight=0.3)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    random = np.random.default_rng(0)
    on = np.repeat(random.random((4, 10)) < 0.5, 10, axis=1)
    speech = torch.tensor(
        np.repeat(on, HOP, axis=1) * random.standard_normal((4, 100 * HOP)) * 0.1, dtype=torch.float32
    )
    target = torch.zeros(4, 100, len(NAMES))
    target[..., 0] = torch.tensor(on) * 0.4
    phones = torch.tensor(on) * PHONES.index("AA")
    style, known = torch.eye(len(STYLES))[[0, 1, 2, 3]], torch.ones(4, 100, dtype=torch.bool)
    values = []
    for _ in range(60):
        terms = losses(network(speech, style), target, phones, known)
        terms["total"].backward()
        optimiser.step()
        optimiser.zero_grad()
        values.append(float(terms["total"].detach()))
    assert values[-1] < 0.5 * values[0]
    with torch.no_grad():
        opening = network(speech, style).weights[-1][..., 0]
    assert opening[torch.tensor(on)].mean() > opening[~torch.tensor(on)].mean() + 0.1


def test_collapse_is_seen() -> None:
    meant = np.random.default_rng(1).standard_normal((50, 8))
    assert collapse_ratio(np.ones((50, 8)), meant) == 0.0
    assert collapse_ratio(meant, meant) == pytest.approx(1.0)
    texts = [str(i) for i in range(50)]
    assert retrieval(meant, meant, texts)["top1"] == 1.0
    assert retrieval(np.roll(meant, 1, 0), meant, texts)["top1"] < 0.1


def test_whitening_leaves_unit_variance_and_no_mean() -> None:
    random = np.random.default_rng(2)
    raw = random.standard_normal((500, 12)) @ random.standard_normal((12, 12)) + 5
    white = Whitening.fit(raw, 6)(raw)
    assert np.abs(white.mean(0)).max() < 1e-4
    assert np.all(white.std(0) < 1.01)
    assert np.all(white.std(0) > 0.6)


def test_contrastive_loss_prefers_the_right_text_and_ignores_equal_ones() -> None:
    meant = torch.eye(4)
    same = torch.zeros(4, 4, dtype=torch.bool)
    right = contrastive_loss(meant, meant, same, torch.tensor(3.0))
    wrong = contrastive_loss(meant.roll(1, 0), meant, same, torch.tensor(3.0))
    assert right < 0.1 < wrong
    twice = torch.cat([meant[:1], meant[:1], meant[2:]])
    same[0, 1] = same[1, 0] = True
    assert contrastive_loss(twice, twice, same, torch.tensor(3.0)) < 0.1
