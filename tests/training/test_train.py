# SPDX-License-Identifier: GPL-3.0-or-later
"""The training loop: it goes on where it stopped, it stops when nothing improves, and it keeps the best network."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training.augment import NoiseBank, degrade, drift, laughter  # noqa: E402
from training.batches import BatchStream, ExampleMaker, warped_filters  # noqa: E402
from training.checkpoints import load, load_network, save  # noqa: E402
from training.config import DENSE_STEP, PROFILES, Config  # noqa: E402
from training.corpus.clips import watched  # noqa: E402
from training.encoder import Wav2Sem  # noqa: E402
from training.export import beginning  # noqa: E402
from training.geometry import lip_geometry  # noqa: E402
from training.losses import LipLoss  # noqa: E402
from training.model import FaceFormer  # noqa: E402
from training.packing import Clip, Corpus, faces_of  # noqa: E402
from training.targets import NAMES  # noqa: E402
from training.train import (  # noqa: E402
    Best,
    build,
    development_clips,
    forward_loss,
    main,
    optimisers_of,
    train,
)
from training.wav2sem import branch_config  # noqa: E402

TINY = Config(hidden=32, layers=1, heads=2, decoder=16, semantic=0, batch=2, crop=1.0, rate=3e-3)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    """Six clips of noise whose mouths open and shut."""
    random, clips = np.random.default_rng(0), []
    phones = [(0.0, 0.3, "SIL"), (0.3, 0.6, "AA"), (0.6, 0.7, "B"), (0.7, 1.3, "AE"), (1.3, 1.6, "SIL")]
    for number in range(6):
        about = {"id": str(number), "source": "real:x" if number % 2 else "synthetic:x", "text": "", "language": "en"}
        about["split"] = "dev" if number > 3 else "train"
        sound = (random.normal(0, 0.05, 80 * 320) * 32768).astype(np.int16)
        clips.append(Clip(about, sound, np.zeros(80, np.int8), faces_of(str(number), phones, 80), 1))
    return Corpus(clips, tuple(NAMES), "key")


def steps(run: Path) -> list[int]:
    """At which steps the network was evaluated."""
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_training_goes_on_where_it_stopped(corpus: Corpus, tmp_path: Path) -> None:
    train(Config(**TINY.to_dict() | {"steps": 3}), corpus, tmp_path)
    assert steps(tmp_path) == [1, 2, 3]
    train(Config(**TINY.to_dict() | {"steps": 5}), corpus, tmp_path)
    assert steps(tmp_path) == [1, 2, 3, 4, 5]
    heard = [json.loads(line)["hours_heard"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert heard == sorted(heard)
    train(Config(**TINY.to_dict() | {"steps": 5}), corpus, tmp_path)
    assert len(steps(tmp_path)) == 5
    network, names = load_network(tmp_path / "last.pt")
    assert names == tuple(NAMES) and network.config.hidden == 32


def test_a_network_alone_is_nothing_to_go_on_with(tmp_path: Path, monkeypatch, capsys) -> None:
    """As training.restore makes it: without optimisers."""
    state = {"config": TINY.to_dict(), "names": list(NAMES), "average": FaceFormer(TINY, len(NAMES)).state_dict()}
    save(tmp_path / "last.pt", state)
    (tmp_path / "clips.jsonl").touch()
    monkeypatch.setattr(sys, "argv", ["train", "--folder", str(tmp_path), "--cache", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "give it as --initial" in capsys.readouterr().err


def test_a_training_of_another_shape_is_not_gone_on_with(corpus: Corpus, tmp_path: Path, monkeypatch, capsys) -> None:
    train(Config(**TINY.to_dict() | {"steps": 1}), corpus, tmp_path)
    (tmp_path / "clips.jsonl").touch()
    command = f"train --profile small --hidden 48 --folder {tmp_path} --cache {tmp_path}"
    monkeypatch.setattr(sys, "argv", command.split())
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "another hidden, layers, heads, decoder; give the same" in " ".join(capsys.readouterr().err.split())


def test_what_of_the_first_network_fits_nowhere_is_told(corpus: Corpus, tmp_path: Path, capsys) -> None:
    first = replace(TINY, semantic=8)
    state = {"config": first.to_dict(), "average": FaceFormer(first, len(NAMES)).state_dict()}
    save(tmp_path / "last.pt", state)
    build(replace(TINY, layers=2), corpus, tmp_path / "last.pt")
    assert "without what fits nowhere: semantic_map.weight, semantic_map.bias\n" in capsys.readouterr().out
    build(replace(TINY, layers=2, semantic=8), corpus, tmp_path / "last.pt")
    assert "without" not in capsys.readouterr().out


@pytest.mark.parametrize("labels", [None, "no labels\n", "[]\n", "{}\n"])
def test_what_holds_no_labels_is_told_in_a_sentence(
    labels: str | None, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:  # fmt: skip
    place = tmp_path / "labels.jsonl"
    if labels is not None:
        place.write_text(labels)
    (tmp_path / "clips.jsonl").touch()
    monkeypatch.setattr("training.train.open_corpus", lambda *_: corpus)
    monkeypatch.setattr(sys, "argv", ["train", "--cache", str(tmp_path), "--labels", str(place)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "holds no labels" in capsys.readouterr().err


def test_training_stops_when_nothing_improves(corpus: Corpus, tmp_path: Path) -> None:
    train(Config(**TINY.to_dict() | {"steps": 5}), corpus, tmp_path / "first")
    still, initial = Config(**TINY.to_dict() | {"steps": 50, "rate": 0.0}), tmp_path / "first" / "last.pt"
    train(still, corpus, tmp_path, initial=initial, patience=2)
    assert steps(tmp_path) == [5, 10, 15]


def test_every_parameter_has_one_optimiser() -> None:
    """Muon has what leads from features to features; what leads in and out, and what is no matrix, has AdamW."""
    network = FaceFormer(Config(**TINY.to_dict() | {"semantic": 8}), len(NAMES))
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    muon, adam = (
        [names[id(parameter)] for group in each.param_groups for parameter in group["params"]]
        for each in optimisers_of(network)
    )
    assert sorted(muon + adam) == sorted(names.values())
    assert "audio_feature_map.weight" in muon and "decoder.transformer_decoder.layers.0.linear1.weight" in muon
    assert not {"phone_head.weight", "semantic_map.weight", "decoder.obj_vector.weight"} & set(muon)
    assert not any("vertice_map" in name or "bias" in name or "conv" in name for name in muon)


@pytest.mark.parametrize("more", [{}, {"semantic": 8}, {"dropout": 0.1, "clean_weight": 1.0, "dense_share": 0.5}])
def test_an_interrupted_training_ends_where_another_does(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, float]
) -> None:
    """Nothing that an optimiser remembers is lost with the process, nor what chance drops."""
    config, saved = Config(**TINY.to_dict() | {"steps": 6} | more), []
    vectors = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32) if config.semantic else None

    def interrupted(path: Path, state: dict[str, object]) -> None:
        save(path, state)
        saved.append(path)
        if len(saved) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.checkpoints.save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, corpus, tmp_path / "halted", vectors)
    for run in ("halted", "whole"):
        train(config, corpus, tmp_path / run, vectors)
    halted, whole = (load(tmp_path / run / "last.pt") for run in ("halted", "whole"))
    assert halted["step"] == whole["step"] == 6
    for name, value in whole["network"].items():
        assert torch.equal(value, halted["network"][name]), name


def test_with_steps_the_clock_decides_nothing(corpus: Corpus, tmp_path: Path) -> None:
    config = Config(**TINY.to_dict() | {"steps": 6})
    first, again = (train(config, corpus, tmp_path / str(every), every=every) for every in (0.0, 3.0))
    for one, other in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_watches_english_speech_that_no_report_judges_by(corpus: Corpus) -> None:
    found = np.concatenate(list(development_clips(corpus, 40).values()))
    about = [corpus.clips[i].about for i in found]
    assert about and all(clip["split"] == "dev" and clip["language"] == "en" for clip in about)
    ids = [f"clip{number}" for number in range(1000)]
    seen = [watched(name, "dev", "en") for name in ids]
    assert 400 < sum(seen) < 600
    assert not any(watched(name, *where) for name in ids for where in (("dev", "it"), ("test", "en"), ("train", "en")))


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_branch_stands_on_the_whole_encoder(tmp_path: Path, profile: str) -> None:
    """Of every profile's network: no array is left out, none has another shape."""
    config = Config(**PROFILES[profile].to_dict() | {"semantic": 0})
    network = FaceFormer(config, len(NAMES))
    save(tmp_path / "last.pt", {"config": config.to_dict(), "average": network.state_dict()})
    branch = Wav2Sem(branch_config(tmp_path / "last.pt", minutes=1.0))
    encoder = {name: value for name, value in network.state_dict().items() if name.startswith("audio_encoder.")}
    found = branch.load_state_dict(encoder, strict=False)
    assert not found.unexpected_keys
    assert not any(name.startswith("audio_encoder.") for name in found.missing_keys)


def test_what_noise_changes_is_learned_not_to_matter(corpus: Corpus) -> None:
    """The teacher hears the same examples without noise, and the same sentence vectors."""
    torch.manual_seed(0)
    config = Config(**TINY.to_dict() | {"semantic": 8, "clean_weight": 2.0, "dense_share": 1.0, "babble_share": 0.7})
    teacher = FaceFormer(config, len(NAMES)).eval()
    torch.nn.init.normal_(teacher.semantic_map.weight)
    teacher.requires_grad_(False)
    network = copy.deepcopy(teacher).requires_grad_(True)
    network.audio_encoder.hear_every(DENSE_STEP)
    losses, filters = LipLoss(lip_geometry(NAMES), 1.0, 1.0), warped_filters(config.bands)
    maker = ExampleMaker(corpus, config, semantics=np.eye(6, 8, dtype=np.float32))
    batch = next(iter(BatchStream(maker, config)))
    assert batch.step == DENSE_STEP and not torch.equal(batch.speech, batch.clean)
    unmasked = replace(batch, mask=torch.ones_like(batch.mask))

    plain = forward_loss(network, losses, batch, filters)
    terms = forward_loss(network, losses, batch, filters, teacher)
    assert terms.keys() - plain.keys() == {"clean_memory", "clean_phones"}
    assert terms["clean_memory"] > 0.01 and terms["clean_phones"] > 1e-4
    assert torch.isclose(terms["total"], sum(value for name, value in terms.items() if name != "total"), rtol=1e-5)
    alike = forward_loss(network, losses, replace(unmasked, speech=batch.clean), filters, teacher)
    assert alike["clean_memory"] < 1e-9 and alike["clean_phones"].abs() < 1e-6

    before = (terms["clean_memory"] + terms["clean_phones"]).item()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(30):
        optimiser.zero_grad()
        terms = forward_loss(network, losses, batch, filters, teacher)
        (terms["clean_memory"] + terms["clean_phones"]).backward()
        optimiser.step()
    assert terms["clean_memory"] + terms["clean_phones"] < 0.5 * before


def test_the_best_network_is_kept() -> None:
    best, layer = Best(), torch.nn.Linear(1, 1)
    for step, (value, figure) in enumerate(((1.0, 0.5), (2.0, 0.8), (3.0, 0.7), (4.0, float("nan")))):
        torch.nn.init.constant_(layer.weight, value)
        best.offer(figure, step, layer)
    assert (best.figure, best.step, best.since) == (0.8, 1, 2)
    assert best.average is not None and best.average["weight"].item() == 2.0


def test_a_deeper_network_begins_as_the_shallow_one(corpus: Corpus, tmp_path: Path) -> None:
    shallow = train(Config(**TINY.to_dict() | {"steps": 2}), corpus, tmp_path).eval()
    deep = build(Config(**TINY.to_dict() | {"layers": 3}), corpus, tmp_path / "last.pt").eval()
    speech = 0.1 * torch.randn(1, 16000)
    assert torch.allclose(shallow.encode(speech)[1], deep.encode(speech)[1], atol=1e-5)
    for one, other in zip(
        deep.parameters(), beginning(deep, len(NAMES), tmp_path / "last.pt").parameters(), strict=True
    ):
        assert torch.equal(one, other)  # export averages with this
    deep.encode(speech)[1].square().sum().backward()
    assert all(layer.attention.out_proj.weight.grad.any() for layer in deep.audio_encoder.encoder.layers)


def test_babble_is_never_the_same_twice() -> None:
    random = np.random.default_rng(3)
    voices = [(random.normal(0, 2000, 5000 * n)).astype(np.int16) for n in range(1, 6)]
    bank = NoiseBank(random, voices, seconds=0.5)
    first, second = bank.babble(random, 8000), bank.babble(random, 8000)
    assert np.mean(first**2) == pytest.approx(1, rel=1e-3) and abs(np.corrcoef(first, second)[0, 1]) < 0.5


def test_music_of_the_corpus_is_heard_beside_made_up_noises() -> None:
    random = np.random.default_rng(0)
    piece = np.sin(np.arange(9000) / 7) * 9000
    bank = NoiseBank(random, [], [piece.astype(np.int16)], seconds=0.5)
    heard = [bank.lively(random, 8000) for _ in range(40)]
    assert all(np.mean(sound**2) == pytest.approx(1, rel=0.2) for sound in heard if sound.any())
    played = [sound for sound in heard if np.abs(np.fft.rfft(sound)).argmax() == round(8000 / 7 / 2 / np.pi)]
    assert 10 < len(played) < 35


def test_laughter_comes_in_calls_and_pauses() -> None:
    for seed in range(6):
        sound = laughter(np.random.default_rng(seed), 160000)
        assert np.isfinite(sound).all() and np.mean(sound**2) == pytest.approx(1, rel=1e-3)
        level = np.convolve(np.abs(sound), np.hanning(800) / 400, "same")[::160]  # 100 Hz
        loud = level > 0.25 * level.max()
        calls = np.count_nonzero(np.diff(loud.astype(int)) == 1)
        assert 8 < calls < 70 and 0.05 < loud.mean() < 0.7
        assert max(len(pause) for pause in np.split(level, np.flatnonzero(loud))) > 40  # 0.4 s
    assert np.array_equal(laughter(np.random.default_rng(1), 50), laughter(np.random.default_rng(1), 50))


def test_the_level_wanders_within_a_sentence_and_never_up() -> None:
    tone = np.sin(np.arange(4 * 16000)).astype(np.float32)
    depths = []
    for seed in range(20):
        found = drift(np.random.default_rng(seed), tone)
        assert found.dtype == np.float32 and found.shape == tone.shape
        decibels = 10 * np.log10(np.square(found).reshape(16, -1).mean(axis=1) / np.square(tone).mean())
        assert decibels.min() > -12.1 and decibels.max() < 0.1
        depths.append(np.ptp(decibels))
    assert max(depths) > 6 and min(depths) < 3


def test_every_degradation_is_sound_and_repeats() -> None:
    speech = np.sin(np.arange(16000) / 20).astype(np.float32) * 0.3
    bank = NoiseBank(np.random.default_rng(0), [(speech * 9000).astype(np.int16)], seconds=1.0)
    for seed in range(30):
        once, again = (degrade(np.random.default_rng(seed), speech, bank, 0.45) for _ in range(2))
        assert once.shape == speech.shape and np.isfinite(once).all() and np.abs(once).max() <= 1
        assert np.array_equal(once, again)


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_babble_is_heard_as_often_as_asked(share: float) -> None:
    class Counting(NoiseBank):
        heard = 0

        def babble(self, random: np.random.Generator, count: int) -> np.ndarray:
            self.heard += 1
            return super().babble(random, count)

    bank = Counting(np.random.default_rng(0), [np.full(1600, 900, np.int16)], seconds=0.1)
    for seed in range(300):
        degrade(np.random.default_rng(seed), np.ones(160, np.float32), bank, share)
    assert bank.heard / 300 == pytest.approx(share, abs=0.08)
