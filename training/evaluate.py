# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge a model package, ours or imported: `python -m training.evaluate vendored_models/wav2sem_small --out report`.

Writes report.md with its pictures, and scores.json. Every section answers one question and can be asked alone
(`--sections clips rest`); what a section needs and does not find is said in its place.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from inference import EMBEDDED_MODEL, LipSyncError, LipSyncModel
from inference.flame import VERTEX_COUNT

from .closures import recall_by_language
from .corpus.clips import CACHE, REAL_SPEECH
from .evaluation import baselines, plots, verdict
from .evaluation.clips import SCORES, EvalSet
from .evaluation.homophones import homophone_rows, read_pairs
from .evaluation.languages import language_rows
from .evaluation.readers import reader_clips, reader_rows
from .evaluation.rest import jitter, nonspeech, recordings, rest_figures, seams, ten_minutes
from .evaluation.robustness import other_speakers, robustness
from .evaluation.tables import columns_of, table
from .evaluation.vertices import HeldOut, need_corpus, vertex_rows
from .figures import as_json

PUBLISHED = """Figures of the clips' README on a larger set (scans / videos / GRID): FaceFormer's official weights
.81 / .58 / –, VOCA .76 / .49 / –, linear regression .49 / .48 / .62, Rhubarb 1.14 .38 / .17 / .47, audio envelope
.21 / .07 / .26.
"""
COLUMNS = """r_ap, r_sp, r_w: correlation with the speaker of the lip opening, of it in speech alone, of the width.
lag (ms, positive: late): at which the opening follows best, r_lag then. amp, ampw: size of motion against the
speaker's. n_close: closures of the speaker; rec, prec: share of them that is found within 50 ms, and of the
predictor's that are right. A dash: not to be had.
"""
COUNTING = """Share of p, b, m that come under a gap: near, 2.5 mm within 30 ms of the label; firm, 1 mm from 130 ms
before to 20 ms after it; centre, 1.5 mm within 40 ms of its middle. Others: the same of t, d, n, k, g away from
closures and pauses, whose lips are open. Rules: what the rules that made the targets reach with the true phones. New:
voices that training never heard.
"""


class Report:
    """A package being judged: sections add text, verdicts and data."""

    def __init__(self, model: LipSyncModel, baseline: LipSyncModel | None, options: argparse.Namespace) -> None:
        self.model, self.baseline, self.options = model, baseline, options
        self.text: list[str] = []
        self.verdicts: list[dict[str, Any]] = []
        self.data: dict[str, Any] = {}

    @cached_property
    def clips(self) -> EvalSet:
        """The development clips; raises FileNotFoundError when these or the head are not there."""
        return EvalSet.load(self.options.eval, self.options.flame)

    @cached_property
    def recordings(self) -> list[tuple[str, np.ndarray]]:
        """What --nonspeech holds; two sections hear it."""
        folder = self.options.nonspeech
        return list(tqdm(recordings(folder), "reading", leave=False)) if folder else []

    def clip_section(self) -> None:
        """The lips of real speakers: scores, curves, closures, lags."""
        style, out = self.options.style, self.options.out
        regression = baselines.linear_regression(self.clips.clips)
        rows, results = [], []
        for clip in tqdm(self.clips.clips, "clips", leave=False):
            motion = self.model.run(clip.speech, style)
            found = self.clips.curves(motion)
            others = {"linear regression": regression[clip.name]} if regression else {}
            if self.options.rhubarb:
                others["Rhubarb"] = baselines.rhubarb(self.options.rhubarb, self.clips, clip)
            predictors = {"package": found, **others, "envelope": self.clips.envelope(clip)}
            scores = {name: self.clips.score(clip.reference, curves) for name, curves in predictors.items()}
            rows += [{"clip": clip.name, "group": clip.group, "predictor": n, **s} for n, s in scores.items()]
            results.append(plots.Result(clip, motion, found, scores["package"], others))
            plots.plot_clip(self.clips, results[-1], out / f"{clip.name}.png")
        lags = plots.plot_lags(results, out / "lags.png")
        self.verdicts += verdict.clip_verdicts(rows)
        self.data["clips"], self.data["window lags ms"] = rows, lags.tolist()
        worst = sorted(results, key=lambda result: result.scores["r_ap"])[:2]
        lost = [f"Clips that nobody tracked: {', '.join(self.clips.untracked)}."] if self.clips.untracked else []
        self._write("Lips of real speakers", table(rows, ("clip", "predictor", *SCORES)), COLUMNS, *lost, PUBLISHED,
                    f"Worst: {', '.join(result.clip.name for result in worst)}.",
                    _picture("lags.png"), *(_picture(f"{result.clip.name}.png") for result in results))  # fmt: skip

    def robustness_section(self) -> None:
        """The same clips with babble, with what --nonspeech holds, by telephone, slower and faster."""
        background = [sound for _, sound in self.recordings]
        rows = robustness(self.model, self.clips, other_speakers(self.options.real), self.options.style, background)
        plots.plot_robustness(rows, self.options.out / "robustness.png")
        self.verdicts += verdict.robustness_verdicts(rows)
        self.data["robustness"] = rows
        self._write("Worse recordings, other speeds", table(rows, columns_of(rows)), _picture("robustness.png"))

    def rest_section(self) -> None:
        """Nobody speaks."""
        sounds = [*nonspeech().items(), *self.recordings]
        rows = self.data["rest"] = rest_figures(self.model, tqdm(sounds, "sounds", leave=False), self.options.style)
        self.verdicts += verdict.rest_verdicts(rows)
        self._write("Nobody speaks (mm above the neutral face, mm/s)", table(rows, columns_of(rows)))

    def jitter_section(self) -> None:
        """The speaker is still."""
        rows = self.data["jitter"] = jitter(self.model, self.clips, self.options.style)
        self.verdicts += verdict.jitter_verdicts(rows)
        self._write("Jerk while the speaker is still (rms, m/s³, at the video's rate)", table(rows, columns_of(rows)))

    def seam_section(self) -> None:
        """Windows meet."""
        row = self.data["seams"] = seams(self.model, ten_minutes(self.options.real), self.options.style)
        self.verdicts += verdict.seam_verdicts(row)
        self._write("Window seams in ten minutes (step of an inner-lip vertex per frame, mm)",
                    table([row], columns_of([row])))  # fmt: skip

    def vertex_section(self) -> None:
        """Vertex errors against the rules on held-out speech."""
        data = HeldOut.load(self.options.cache, self.options.real, self.options.clips)
        rows = self.data["vertices"] = vertex_rows(self.model, self.baseline, data, self.options.style)
        self._write(
            f"Vertices against the rules on {len(data.truth)} held-out sentences", table(rows, columns_of(rows))
        )

    def reader_section(self) -> None:
        """The lip opening of readers that training never heard, clean and worse recorded."""
        clips = reader_clips(self.options.cache, self.options.real)
        rows = reader_rows(self.model, clips, other_speakers(self.options.real), self.options.style)
        self.data["readers"] = rows
        self._write("Unseen readers against the rules", table(rows, columns_of(rows)))

    def closure_section(self) -> None:
        """Closures of held-out real and synthetic clips."""
        need_corpus(self.options.cache)
        most, style = 2 * self.options.clips, self.options.style
        tallies = recall_by_language(self.model, self.options.cache, self.options.real, most, style)
        if not tallies:
            raise FileNotFoundError(f"There is no held-out clip with its phones in {self.options.cache}.")
        rows = self.data["closures"] = [{"speech": kind, **tally.row()} for kind, tally in tallies.items()]
        self._write("Closures on held-out clips", COUNTING, table(rows, columns_of(rows)))

    def language_section(self) -> None:
        """Closures in sentences of seven languages that were never trained on."""
        rows = self.data["languages"] = language_rows(self.model, self.options.style)
        if not rows:
            raise FileNotFoundError("No speech engine is installed; training/corpus/setup_engines.sh does it.")
        self.verdicts += verdict.language_verdicts(rows)
        self._write("Closures in synthetic speech of seven languages", COUNTING, table(rows, columns_of(rows)))

    def homophone_section(self) -> None:
        """Words that sound alike and look different."""
        pairs = read_pairs(self.options.real.parent / "minimal_pairs.tsv", 16)
        rows = homophone_rows(self.model, pairs, self.options.style)
        if not rows:
            raise FileNotFoundError(
                "This needs a speech engine (training/corpus/setup_engines.sh) and our own encoder."
            )
        self.data["homophones"] = rows
        self._write("Near-homophones", table(rows, columns_of(rows)))

    def _write(self, title: str, *parts: str) -> None:
        self.text.append(f"\n## {title}\n\n" + "\n\n".join(part.strip() for part in parts) + "\n")

    def missing(self, section: str, why: Exception) -> None:
        """Say what a section could not find."""
        self._write(f"Left out: {section}", str(why))

    def save(self) -> str:
        """Write report.md and scores.json; returns the text."""
        package = self.model.package
        head = f"# {package.name} {package.version}\n\nStyle {self.options.style or package.default_style}. "
        head += "Development clips: used for tuning, so expect a little less elsewhere.\n\n"
        text = head + table(self.verdicts, ("what", "wanted", "reached", "holds")) + "".join(self.text)
        (self.options.out / "report.md").write_text(text, encoding="utf-8")
        self.data["verdicts"] = self.verdicts
        (self.options.out / "scores.json").write_text(as_json(self.data, indent=1))
        return text


SECTIONS: dict[str, Callable[[Report], None]] = {
    "clips": Report.clip_section, "robustness": Report.robustness_section, "rest": Report.rest_section,
    "jitter": Report.jitter_section, "seams": Report.seam_section,
    "vertices": Report.vertex_section, "readers": Report.reader_section, "closures": Report.closure_section,
    "languages": Report.language_section,
    "homophones": Report.homophone_section,
}  # fmt: skip


def _picture(name: str) -> str:
    return f"![{name.removesuffix('.png')}]({name})"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path, nargs="?", default=EMBEDDED_MODEL)
    parser.add_argument("--out", type=Path, default=Path("report"))
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--style", help="speaking style or blend (default: the package's own)")
    parser.add_argument("--baseline", type=Path, help="another package in its own style, for vertex errors")
    parser.add_argument("--rhubarb", type=Path, help="Rhubarb Lip Sync's program, to compare with")
    parser.add_argument("--eval", type=Path, default=Path("../shared/eval"), help="folder of the development clips")
    parser.add_argument("--flame", type=Path, default=Path("../shared/flame/flame2023open_subset.npz"))
    parser.add_argument("--cache", type=Path, default=CACHE, help="corpus of training.corpus, for held-out clips")
    parser.add_argument("--real", type=Path, default=REAL_SPEECH, help="folder of real speech")
    parser.add_argument(
        "--nonspeech",
        type=Path,
        help="folder of music and noises: lips rest through them, and follow speech that is 10 dB louder",
    )
    parser.add_argument("--clips", type=int, default=30, help="held-out sentences at most")
    parser.add_argument("--threads", type=int, default=0, help="of the model; 0: one per core")
    options = parser.parse_args()
    if options.clips < 1:
        parser.error("--clips is 1 or more")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"no report can be written to “{options.out}” ({error.strerror}); give another folder with --out")
    if options.rhubarb:
        program = shutil.which(options.rhubarb)
        if program is None:
            parser.error(f"“{options.rhubarb}” is no program that runs; give Rhubarb's own with --rhubarb")
        options.rhubarb = Path(program)
    try:
        model = LipSyncModel.load(options.package, threads=options.threads)
        model.style_vector(options.style)
        baseline = LipSyncModel.load(options.baseline, threads=options.threads) if options.baseline else None
    except LipSyncError as error:
        parser.error(str(error))
    for judged in filter(None, (model, baseline)):
        if (count := judged.basis.shape[1]) != VERTEX_COUNT:
            parser.error(f"the clips are measured on FLAME heads; “{judged.package.name}” moves {count} vertices")
    report = Report(model, baseline, options)
    for name in tqdm(options.sections, "report"):
        try:
            SECTIONS[name](report)
        except (OSError, ImportError, ValueError, LipSyncError, subprocess.SubprocessError) as error:
            report.missing(name, error)
        report.save()
    print(report.save())


if __name__ == "__main__":
    main()
