# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the rules alone go: ``python -m training.oracle --eval ../shared/eval``.

Real speakers whose words are known are aligned phone by phone, the rules draw their lips, and the scorer beside the
clips compares them with the lips in the video. No network takes part, so this is about what a network that hears
every phone can reach. The global parameters of ``targets.dynamics`` were tuned on these clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from inference import LipSyncError, read_speech

from .corpus.align import align
from .corpus.phones import Phone, tidy
from .evaluation.clips import SCORES, load_scorer
from .geometry import EYES, NEUTRAL_GAP, lip_geometry
from .targets import NAMES, STYLES, render

# GRID's file names spell its six-word commands; the address of 15 June 2010 is in the public domain.
WORDS = {
    "grid_bbaf2n": "bin blue at f two now",
    "grid_brbk7n": "bin red by k seven now",
    "grid_lbax4n": "lay blue at x four now",
    "grid_lbbc2a": "lay blue by c two again",
    "grid_pwij3p": "place white in j three please",
    "grid_sbwe5n": "set blue with e five now",
    "obama": "to speak with you about the battle we're waging against an oil spill that is assaulting our shores and "
    "our citizens on april twentieth an explosion ripped through be pea deepwater horizon drilling rig about forty "
    "miles off the coast of louisiana eleven workers lost their lives seventeen others",
}
NEUTRAL_WIDTH = 52.47  # mm on the FLAME template


def phones_of(speech: np.ndarray, text: str) -> list[Phone]:
    """Phones of ``speech`` (N,) at 16 kHz, up to its end. Raises ValueError when it can't be aligned."""
    phones = align(0.8 * speech / max(1e-6, float(np.abs(speech).max())), text)
    if phones is None:
        raise ValueError("The clip does not fit its text.")
    end = len(speech) / 16000
    return tidy([*phones, (phones[-1][1], end, "SIL")] if phones[-1][1] < end else phones, end)


def main() -> None:
    """Print one row of figures per clip and the means."""
    parser = argparse.ArgumentParser(prog="python -m training.oracle", description=__doc__.split("\n")[0])
    parser.add_argument("--eval", type=Path, default=Path("../shared/eval"), help="folder of the development clips")
    parser.add_argument("--fps", type=float, default=50.0)
    parser.add_argument("--style", choices=STYLES, default="neutral")
    options = parser.parse_args()
    if not 1 <= options.fps <= 1000:
        parser.error("--fps lies between 1 and 1000")
    try:
        scorer = load_scorer(options.eval)
        speeches = {clip: read_speech(options.eval / "audio" / f"{clip}.flac") for clip in WORDS}
    except (FileNotFoundError, LipSyncError) as error:
        parser.error(str(error))
    measures = lip_geometry(NAMES).measures
    print(f"{'clip':14s}" + "".join(f"{c:>8s}" for c in SCORES))
    rows = []
    for clip, text in WORDS.items():
        weights = render(phones_of(speeches[clip].samples, text), options.fps, options.style)
        curves = {
            "t": np.arange(len(weights)) / options.fps,
            "aperture": (NEUTRAL_GAP + weights @ measures[:, 0]) / EYES,
            "width": (NEUTRAL_WIDTH + weights @ measures[:, 1]) / EYES,
            "absolute": True,
        }
        scores = scorer.score_curve(scorer.load_ref(clip, str(options.eval)), curves)
        rows.append([scores[c] for c in SCORES])
        print(f"{clip:14s}" + "".join(f"{value:8.2f}" for value in rows[-1]))
    print(f"{'mean':14s}" + "".join(f"{value:8.2f}" for value in np.nanmean(rows, axis=0)))


if __name__ == "__main__":
    main()
