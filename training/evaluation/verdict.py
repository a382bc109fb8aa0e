# SPDX-License-Identifier: GPL-3.0-or-later
"""What a package must hold, beside what it reaches: the first table of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .robustness import KEPT
from .tables import cell

R_AP = {"voca": 0.65, "real": 0.50, "grid": 0.72}  # by group of clips: scans, videos, GRID
LAG, AMPLITUDE = 25.0, (0.8, 1.2)  # ms either way; size of motion against the speaker's
RECALL, PRECISION, RECALL_ABROAD = 0.70, 0.60, 0.70

Row = dict[str, Any]


def _median(values: Sequence[float]) -> float:
    """Of the values that are numbers; NaN where none is, as the lag of lips that never move."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else float("nan")


def _row(what: str, wanted: str, reached: str, holds: bool) -> Row:
    return {"what": what, "wanted": wanted, "reached": reached, "holds": "yes" if holds else "NO"}


def clip_verdicts(rows: Sequence[Row]) -> list[Row]:
    """From the score rows of the package and the baselines: correlation by group, lag, amplitude, closures."""
    own = [row for row in rows if row["predictor"] == "package"]
    found = []
    for group in dict.fromkeys(row["group"] for row in own):
        mean = float(np.mean([row["r_ap"] for row in own if row["group"] == group]))
        if group in R_AP:
            found.append(_row(f"mean r_ap, {group}", f"≥ {R_AP[group]:.2f}", f"{mean:.2f}", mean >= R_AP[group]))
    lag = _median([row["lag"] for row in own])
    found.append(
        _row("median lag (ms)", f"within ±{LAG:.0f}", f"{lag:.0f}" if np.isfinite(lag) else "–", abs(lag) <= LAG)
    )
    size = _median([row["amp"] for row in own])
    holds = AMPLITUDE[0] <= size <= AMPLITUDE[1]
    found.append(_row("median amplitude", "0.8 … 1.2", f"{size:.2f}", holds))
    if events := sum(row["n_close"] for row in own):
        recall = float(np.nansum([row["rec"] * row["n_close"] for row in own])) / events
        known = [row["prec"] for row in own if np.isfinite(row["prec"])]
        precision = float(np.mean(known)) if known else float("nan")
        found.append(_row(
            "closures: recall at mean precision", f"{RECALL:.2f} at {PRECISION:.2f}",
            f"{recall:.2f} at {cell(precision)}", recall >= RECALL and precision >= PRECISION,
        ))  # fmt: skip
    for other in dict.fromkeys(row["predictor"] for row in rows if row["predictor"] != "package"):
        theirs = {row["clip"]: row["r_ap"] for row in rows if row["predictor"] == other}
        worse = [row["clip"] for row in own if row["r_ap"] <= theirs.get(row["clip"], -1)]
        reached = f"not on {', '.join(worse)}" if worse else "on all"
        found.append(_row(f"better than {other} on every clip", "on all", reached, not worse))
    return found


def robustness_verdicts(rows: Sequence[Row]) -> list[Row]:
    """Kept share of r_ap, as the mean over clips and on the worst clip, which is one that keeps no share at all."""
    found = []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        each = {row["clip"]: row["kept"] for row in rows if row["condition"] == condition}
        mean = each.pop("mean")
        worst = min(each, key=lambda clip: np.nan_to_num(each[clip], nan=-np.inf))
        reached = f"{cell(mean)}, worst {cell(each[worst])} ({worst})"
        holds = mean >= KEPT and each[worst] >= KEPT
        found.append(_row(f"kept of r_ap, {condition}", f"≥ {KEPT}", reached, holds))
    return found


def rest_verdicts(rows: Sequence[Row]) -> list[Row]:
    """Lips at rest without speech."""
    moving = [row["sound"] for row in rows if not row["at rest"]]
    return [_row("at rest without speech", "< 1 mm, < 5 mm/s", ", ".join(moving) or "all", not moving)]


def jitter_verdicts(rows: Sequence[Row]) -> list[Row]:
    """No jitter while the speaker is still."""
    shaking = [row["clip"] for row in rows if row["model"] > row["speaker"]]
    reached = f"not on {', '.join(shaking)}" if shaking else "on all"
    return [_row("jerk while the speaker is still", "≤ the speaker's", reached, not shaking)]


def seam_verdicts(row: Row) -> list[Row]:
    """No jump where windows meet."""
    largest, elsewhere = row.get("seam max", 0.0), row["quiet max"]
    reached = f"{largest:.1f} against {elsewhere:.1f} mm per frame"
    return [_row("largest step at window seams", "≤ elsewhere in quiet", reached, largest <= elsewhere)]


def language_verdicts(rows: Sequence[Row]) -> list[Row]:
    """Recall of closures per language, of voices that training never heard; the count allows for the lips' lead."""
    return [
        _row(f"closures in synthetic speech, {row['language']}", f"≥ {RECALL_ABROAD:.2f}", f"{row['firm']:.2f}",
             row["firm"] >= RECALL_ABROAD)
        for row in rows if row["voice"] == "new"
    ]  # fmt: skip
