# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: tables, verdicts, vertex rows, and a whole section on a made-up clip with a toy package."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from soundfile import write

pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from inference import FaceMotion, LipSyncModel, Speech, arkit_basis
from training import evaluate
from training.config import FPS
from training.corpus.clips import Clip
from training.evaluation import verdict
from training.evaluation.homophones import homophone_rows
from training.evaluation.readers import reader_clips, reader_rows
from training.evaluation.tables import cell, columns_of, table
from training.evaluation.vertices import HeldOut, rules_motions, vertex_rows
from training.targets import NAMES, render

PHONES = [(0.0, 0.3, "SIL"), (0.3, 0.5, "AA"), (0.5, 0.6, "P"), (0.6, 0.9, "IY"), (0.9, 1.2, "SIL")]
RATE = 16000


def test_cells_show_what_means_something() -> None:
    values = [0.123, 45.6, 4.1e-5, 0.0, 1.7e-13, float("nan"), True, 7, "x", (0.1, 0.2)]
    assert [cell(v) for v in values[:9]] == ["0.12", "46", "4.1e-05", "0", "0", "–", "yes", "7", "x"]


def test_tables_leave_blank_what_a_row_lacks() -> None:
    rows = [{"a": 1, "b": 2.0}, {"a": 3, "c": "x"}]
    assert columns_of(rows) == ["a", "b", "c"]
    assert table(rows, columns_of(rows)).splitlines()[2:] == ["| 1 | 2.00 |  |", "| 3 |  | x |"]


def clip_row(clip: str, predictor: str, r_ap: float, **changes: float) -> dict[str, object]:
    figures = {"r_ap": r_ap, "lag": 0.0, "amp": 1.0, "n_close": 4, "rec": 0.75, "prec": 0.8, **changes}
    return {"clip": clip, "group": "grid", "predictor": predictor, **figures}


def test_verdicts_on_clips() -> None:
    rows = [clip_row("a", "package", 0.8), clip_row("b", "package", 0.5), clip_row("a", "Rhubarb", 0.5),
            clip_row("b", "Rhubarb", 0.5)]  # fmt: skip
    found = {row["what"]: row for row in verdict.clip_verdicts(rows)}
    assert found["mean r_ap, grid"] | {"what": 0} == {"what": 0, "wanted": "≥ 0.72", "reached": "0.65", "holds": "NO"}
    assert found["median lag (ms)"]["holds"] == found["closures: recall at mean precision"]["holds"] == "yes"
    assert found["better than Rhubarb on every clip"]["reached"] == "not on b"


def test_closures_are_pooled_over_events_and_clips_without_any_do_not_count() -> None:
    rows = [clip_row("a", "package", 0.8, n_close=9, rec=1.0), clip_row("b", "package", 0.8, n_close=1, rec=0.0),
            clip_row("c", "package", 0.8, n_close=0, rec=float("nan"), prec=float("nan"))]  # fmt: skip
    found = {row["what"]: row for row in verdict.clip_verdicts(rows)}
    assert found["closures: recall at mean precision"]["reached"] == "0.90 at 0.80"


def test_one_bad_clip_fails_a_condition() -> None:
    rows = [{"condition": "telephone", "clip": c, "kept": k} for c, k in (("a", 1.0), ("b", 0.8), ("mean", 0.95))]
    (found,) = verdict.robustness_verdicts(rows)
    assert found["holds"] == "NO" and "worst 0.80 (b)" in found["reached"]


def test_vertex_rows_have_the_errors_that_are_known(toy_folder: Path) -> None:
    names, deltas = arkit_basis()
    truth = [motion(render(PHONES, FPS), deltas[[list(names).index(n) for n in NAMES]]) for _ in range(3)]
    sound = np.random.default_rng(0).normal(0, 0.05, int(1.2 * RATE)).astype(np.float32)
    data = HeldOut([Speech(sound)] * 3, [PHONES] * 3, truth)
    rows = {row["motion"]: row for row in vertex_rows(LipSyncModel.load(toy_folder), None, data)}
    itself, neutral = rows["the rules themselves"], rows["neutral face"]
    assert itself["LVE_B mm"] == itself["MVE all mm"] == itself["gap MAE mm"] == 0 and itself["gap r"] > 0.999
    assert rows["another sentence"]["LVE_B mm"] == 0  # all three say the same
    assert neutral["√LVE_A mm"] >= neutral["LVE_B mm"] > 0
    assert rows["mean expression"]["LVE_A m²"] < neutral["LVE_A m²"]
    assert np.isnan(neutral["lag ms"]) and itself["lag ms"] == 0
    assert rows["package"]["LVE_B mm"] > 0 and rows["package"]["frames"] == 3 * 61


def test_a_single_sentence_has_no_other(toy_folder: Path) -> None:
    """It would be its own other, and the row say that the truth of another sentence has no error."""
    names, deltas = arkit_basis()
    truth = [motion(render(PHONES, FPS), deltas[[list(names).index(n) for n in NAMES]])]
    sound = np.random.default_rng(0).normal(0, 0.05, int(1.2 * RATE)).astype(np.float32)
    rows = vertex_rows(LipSyncModel.load(toy_folder), None, HeldOut([Speech(sound)], [PHONES], truth))
    assert [row["motion"] for row in rows] == ["package", "neutral face", "mean expression", "the rules themselves"]
    still = [row["gap r"] for row in rows[1:3]]
    assert still == [0, 0]  # of a gap that does not move but for rounding


class Rules:
    """Answers with the rules' lips of PHONES, whatever is said, at the pace at which it is said."""

    def run(self, speech: Speech, style: str | None) -> FaceMotion:
        names, deltas = arkit_basis()
        factor = 1.2 * RATE / len(speech.samples)
        weights, times = rules_motions([PHONES])[0].weights, np.arange(int(1.2 / factor * FPS)) / FPS * factor
        weights = np.stack([np.interp(times, np.arange(len(weights)) / FPS, column) for column in weights.T], axis=1)
        return motion(weights, deltas[[list(names).index(n) for n in NAMES]])


def test_readers_are_judged_at_every_speed_by_the_rules_at_that_speed(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    sound = random.normal(0, 0.05, int(1.2 * RATE)).astype(np.float32)
    write(tmp_path / "a.wav", sound, RATE)
    about = {"speaker": "a", "language": "en", "text": "", "source": "real:x", "tier": "A", "seconds": 1.2}
    kinds = [("a", "test", PHONES), ("b", "train", PHONES), ("c", "test", None)]
    clips = [Clip(id=name, audio="a.wav", split=split, phones=phones, **about) for name, split, phones in kinds]
    clips.append(replace(clips[0], id="d", source="real:an4"))  # spelt words
    (tmp_path / "clips.jsonl").write_text("".join(clip.line() + "\n" for clip in clips))
    readers = reader_clips(tmp_path, tmp_path)
    assert [clip.name for clip in readers] == ["a"]
    rows = reader_rows(Rules(), readers, [sound])
    heard = {row["heard"]: row for row in rows}
    assert set(heard) == {"as recorded, all", "as recorded", "babble 10 dB", "telephone", "speed 0.8", "speed 1.25"}
    assert all(row["opening r"] > 0.999 and row["error mm"] < 0.1 for row in rows)
    assert all(row["shut"] == pytest.approx(row["shut by the rules"], abs=0.03) and row["shut"] > 0 for row in rows)
    assert all(row["kept"] == pytest.approx(1, abs=0.001) for row in rows[1:])


def motion(weights: np.ndarray, basis: np.ndarray) -> FaceMotion:
    return FaceMotion(FPS, 0.0, tuple(NAMES), weights, basis)


def test_a_report_without_clips_still_says_what_it_can(toy_folder: Path, tmp_path: Path, monkeypatch) -> None:
    """No development clips, and a corpus whose recordings are elsewhere."""
    about = {"speaker": "a", "language": "en", "text": "", "source": "real:x", "tier": "A", "seconds": 1.2}
    clip = Clip(id="a", audio="a.wav", split="test", phones=PHONES, **about)
    (tmp_path / "clips.jsonl").write_text(clip.line() + "\n")
    argv = ["evaluate", str(toy_folder), "--out", str(tmp_path), "--sections", "clips", "closures"]
    argv += ["--eval", str(tmp_path), "--flame", str(tmp_path / "none.npz"), "--cache", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*argv, "--real", str(tmp_path)])
    evaluate.main()
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "Left out: clips" in text and "Left out: closures" in text


@pytest.mark.parametrize("head", [None, b"", b"no head", "decoder.npz"])
def test_a_report_without_a_head_measures_the_rest(head, toy_folder: Path, tmp_path: Path, monkeypatch) -> None:
    flame = tmp_path / "flame.npz"
    if head is not None:
        flame.write_bytes(head if isinstance(head, bytes) else (toy_folder / head).read_bytes())
    argv = ["evaluate", str(toy_folder), "--out", str(tmp_path), "--sections", "rest", "jitter", "seams"]
    monkeypatch.setattr(evaluate, "nonspeech", lambda: {"silence": np.zeros(RATE, np.float32)})
    monkeypatch.setattr(sys, "argv", [*argv, "--flame", str(flame), "--real", str(tmp_path)])
    evaluate.main()
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| silence |" in text and "at rest without speech" in text
    assert "Left out: jitter" in text and "give an .npz with v_template as --flame" in text
    assert "Left out: seams" in text and "give its folder with --real" in text


def test_what_cannot_be_measured_is_null(toy_folder: Path, tmp_path: Path) -> None:
    """A clip without closures has no lag of closures; most programs refuse a file with NaN in it."""
    report = evaluate.Report(LipSyncModel.load(toy_folder), None, Namespace(out=tmp_path, style=None))
    report.data["clips"] = [{"lag": np.float32("nan"), "n_close": np.int64(0), "r": (0.5, np.inf)}]
    report.verdicts.append({"what": "lag", "holds": np.bool_(False), "reached": float("nan")})
    report.save()

    def refuse(name: str) -> None:
        raise ValueError(name)

    data = json.loads((tmp_path / "scores.json").read_text(), parse_constant=refuse)
    assert data["clips"] == [{"lag": None, "n_close": 0, "r": [0.5, None]}]
    assert data["verdicts"] == [{"what": "lag", "holds": False, "reached": None}]


def test_a_report_that_has_no_place(toy_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "report").touch()
    monkeypatch.setattr(sys, "argv", ["evaluate", str(toy_folder), "--out", str(tmp_path / "report")])
    with pytest.raises(SystemExit, match="2"):
        evaluate.main()
    assert "give another folder with --out" in capsys.readouterr().err


def test_a_report_of_one_section(toy_folder: Path, shared: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    """Needs the development clips and the FLAME head of the reference folder."""
    argv = ["evaluate", str(toy_folder), "--out", str(tmp_path), "--sections", "clips", "vertices"]
    argv += ["--eval", str(shared / "eval"), "--flame", str(shared / "flame" / "flame2023open_subset.npz")]
    monkeypatch.setattr(sys, "argv", [*argv, "--cache", str(tmp_path / "none")])
    evaluate.main()
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    data = json.loads((tmp_path / "scores.json").read_text())
    assert "better than linear regression on every clip" in text
    assert "Left out: vertices" in text and "python -m training.corpus" in text
    clips = {row["clip"] for row in data["clips"]}
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in (*clips, "lags"))


def report_of(toy_folder: Path, place: Path, monkeypatch, *argv: str) -> str:
    """The text of a report without development clips."""
    corpus = ["--eval", str(place), "--flame", str(place / "none.npz"), "--cache", str(place), "--real", str(place)]
    monkeypatch.setattr(sys, "argv", ["evaluate", str(toy_folder), "--out", str(place / "report"), *corpus, *argv])
    evaluate.main()
    return (place / "report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["nothing", "folder", "text"])
def test_what_is_no_rhubarb_is_wrong_usage(kind, toy_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    program = tmp_path / "rhubarb"
    if kind == "folder":
        program.mkdir()
    elif kind == "text":
        program.write_text("no program")
    with pytest.raises(SystemExit, match="2"):
        report_of(toy_folder, tmp_path, monkeypatch, "--rhubarb", str(program), "--sections", "clips")
    assert "no program that runs" in capsys.readouterr().err


def test_a_program_that_cannot_start_leaves_its_section_out(toy_folder: Path, tmp_path: Path, monkeypatch) -> None:
    def unable(report: evaluate.Report) -> None:
        raise PermissionError(13, "Permission denied", "rhubarb")

    monkeypatch.setitem(evaluate.SECTIONS, "clips", unable)
    assert "Left out: clips" in report_of(toy_folder, tmp_path, monkeypatch, "--sections", "clips")


def test_a_report_of_no_sentences_is_wrong_usage(toy_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        report_of(toy_folder, tmp_path, monkeypatch, "--clips", "0", "--sections", "vertices")
    assert "--clips is 1 or more" in capsys.readouterr().err


def test_a_baseline_is_looked_at_before_the_work(toy_folder: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        report_of(toy_folder, tmp_path, monkeypatch, "--baseline", str(tmp_path / "none"), "--sections", "rest")
    assert "none" in capsys.readouterr().err and not (tmp_path / "report" / "report.md").exists()


@pytest.mark.parametrize("section", ["vertices", "readers", "closures"])
def test_a_corpus_without_what_a_section_needs_is_told_so(section, toy_folder, tmp_path, monkeypatch) -> None:
    """As one of own recordings: who reads for the test is known of the project's own corpus alone."""
    about = {"speaker": "a", "language": "en", "text": "", "source": "real:x", "tier": "A", "seconds": 1.2}
    (tmp_path / "clips.jsonl").write_text(Clip(id="a", audio="a", split="train", phones=PHONES, **about).line() + "\n")
    monkeypatch.setattr(evaluate, "other_speakers", lambda folder: [])
    text = report_of(toy_folder, tmp_path, monkeypatch, "--sections", section)
    assert f"Left out: {section}" in text and f"in {tmp_path}" in text


@pytest.mark.parametrize("line", ['{"id": "b"}', "[1]", "no clip"])
def test_a_corpus_with_a_damaged_line_leaves_its_sections_out_and_no_others(line, toy_folder, tmp_path, monkeypatch):
    (tmp_path / "clips.jsonl").write_text(line + "\n")
    monkeypatch.setattr(evaluate, "nonspeech", lambda: {"silence": np.zeros(RATE, np.float32)})
    sections = ["vertices", "readers", "closures", "rest"]
    text = report_of(toy_folder, tmp_path, monkeypatch, "--sections", *sections)
    assert all(f"Left out: {section}" in text for section in sections[:3]) and "| silence |" in text
    assert text.count("in clips.jsonl is no clip") == 3


def test_sections_move_the_lips_in_the_style_that_the_report_names(toy_folder, tmp_path, monkeypatch) -> None:
    """All of them that can: the toy moves otherwise when it speaks broadly."""
    about = {"speaker": "a", "language": "en", "text": "", "source": "real:x", "tier": "A", "seconds": 1.2}
    (tmp_path / "clips.jsonl").write_text(
        Clip(id="a", audio="a.wav", split="test", phones=PHONES, **about).line() + "\n"
    )
    write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.05, int(1.2 * RATE)), RATE)
    monkeypatch.setattr(evaluate, "nonspeech", lambda: {"silence": np.zeros(RATE, np.float32)})
    heard = []
    run = LipSyncModel.run
    monkeypatch.setattr(
        LipSyncModel, "run", lambda self, speech, style=None: heard.append(style) or run(self, speech, style)
    )
    spoken = (np.zeros(RATE, np.float32), PHONES)
    monkeypatch.setattr("training.evaluation.languages.speak", lambda voice: [spoken])
    sections = ["rest", "vertices", "closures", "languages"]
    text = report_of(toy_folder, tmp_path, monkeypatch, "--style", "broad", "--sections", *sections)
    assert "Left out" not in text and "Style broad." in text
    assert len(heard) > 4 and set(heard) == {"broad"}


def test_a_package_without_a_memory_of_its_own_is_not_made_to_wait_for_voices(toy_folder, monkeypatch) -> None:
    model = LipSyncModel.load(toy_folder)
    imported = replace(model, package=replace(model.package, encoder_kind="wav2vec2"))
    monkeypatch.setattr("training.evaluation.homophones.speak_pairs", lambda pairs: pytest.fail("spoken for nothing"))
    assert homophone_rows(imported, [("map", "nap")]) == []
