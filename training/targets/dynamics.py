# SPDX-License-Identifier: GPL-3.0-or-later
"""From wishes to movement: coarticulation, undershoot, inertia, and the closures that no speaker leaves out.

The method is Cohen and Massaro's (1993): each segment holds a dominance over each articulator that decays before and
after it, and the movement is the dominance-weighted mean of the targets,
    F(t) = sum_s D_s(t) T_s / sum_s D_s(t),   D_s(t) = alpha_s exp(-distance(t, s) / tau).
Two things are added. Vowels shorter than usual weigh less, which is undershoot (Lindblom 1963). And bilabials and
labiodentals are not blended but imposed: a closure is a constraint, not a wish (JALI 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..corpus.phones import Phone
from .phonetics import BILABIALS, DIPHTHONGS, LABIODENTALS, PAUSES, TARGETS, VOWELS

RATE = 100.0  # Hz, internal


@dataclass(frozen=True)
class Dynamics:
    """The few global parameters, in seconds unless said otherwise.

    Tuned together by hand and coordinate search on the development clips (``python -m training.oracle``), which are
    real faces and no training data; where phonetics gives a range, inside it.
    """

    # Lips before sound. Six GRID speakers and a broadcast speaker agree on 85 ms against forced alignment; Schwartz and
    # Savariaux (2014) find -40 to +200 ms.
    lead: float = 0.085
    # Decay of dominance before a segment (anticipation) and after it (carry-over). The gap between the lips is held
    # briefly; rounding reaches furthest, to 150 ms before (JALI; Cohen and Massaro).
    jaw_before: float = 0.06
    jaw_after: float = 0.06
    gap_before: float = 0.03
    gap_after: float = 0.03
    shape_before: float = 0.15
    shape_after: float = 0.11
    # Inertia: standard deviation of the Gaussian that stands for a critically damped articulator without its delay. The
    # jaw is heavier than the lips.
    jaw_inertia: float = 0.030
    gap_inertia: float = 0.012
    shape_inertia: float = 0.030
    # Undershoot (Lindblom 1963): the pull of a vowel grows with its length up to the usual one (median of stressed
    # vowels in aligned English); ``undershoot`` is what is left of it at no length.
    usual_vowel: float = 0.12
    undershoot: float = 0.7
    # Closures: time to shut or to open the lips (the development clips do it in one or two frames of 40 ms), shortest
    # time shut (long enough to be seen at 24 fps), and how much earlier a closure begins unheard after a pause.
    flank: float = 0.05
    hold: float = 0.07
    early_closure: float = 0.08
    # Pauses: the mouth stays a moment as it was, rests at least a while, and parts again to draw breath: in the
    # broadcast for nearly all of the pause, and half a second before the first word of a GRID sentence (``onset``).
    linger: float = 0.03
    settle: float = 0.25
    prepare: float = 0.80
    onset: float = 0.45
    rest_before: float = 0.07
    rest_after: float = 0.10


@dataclass(frozen=True)
class Movement:
    """Trajectories (T,) at ``RATE``: ``jaw`` and ``gap`` in mm, the others 0..1. ``shut`` and ``tuck`` are how far the
    closure of bilabials and of labiodentals has gone.
    """

    jaw: np.ndarray
    gap: np.ndarray
    round: np.ndarray
    funnel: np.ndarray
    spread: np.ndarray
    shut: np.ndarray
    tuck: np.ndarray
    speech: np.ndarray


def segments_of(phones: list[Phone], how: Dynamics) -> list[Phone]:
    """Phones as segments with one target each; unknown names raise KeyError.

    Diphthongs become two vowels. A pause becomes rest and, before speech goes on, the posture of drawing breath
    ("PREP", before the first word "ONSET"); a pause too short for both leaves the mouth alone and is left out.
    """
    out: list[Phone] = []
    for i, (start, end, name) in enumerate(phones):
        if name in DIPHTHONGS:
            first, second, share = DIPHTHONGS[name]
            middle = start + share * (end - start)
            out += [(start, middle, first), (middle, end, second)]
        elif name == "SIL":
            from_, to = start + (how.linger if i > 0 else 0.0), end
            if i < len(phones) - 1:
                to = max(end - how.prepare, from_ + how.settle) if i > 0 else end - how.onset
                if i > 0 and end - to < how.hold:
                    continue
                out.append((max(start, to), end, "PREP" if i > 0 else "ONSET"))
            if to > from_:
                out.insert(len(out) - (i < len(phones) - 1), (from_, to, "SIL"))
        else:
            TARGETS[name]  # a typing error should not become a silence
            out.append((start, end, name))
    return out


def move(phones: list[Phone], how: Dynamics, openness: np.ndarray, pace: float = 1.0) -> Movement:
    """The movement for ``phones`` (start s, end s, ARPABET), from 0 to the last end.

    ``openness`` (T,) multiplies jaw and gap of vowels (style, loudness); ``pace`` above 1 makes articulators quicker.
    """
    count = len(openness)
    times = np.arange(count) / RATE + how.lead
    channels = ("jaw", "gap", "round", "funnel", "spread", "speech")
    totals = {c: np.zeros(count) for c in channels}
    weights = {c: np.full(count, 1e-9) for c in channels}
    segments = segments_of(phones, how)
    reach = round(0.8 * RATE)
    for start, end, name in segments:
        target = TARGETS[name]
        silent = name in PAUSES
        pull = 1.0
        if name in VOWELS:
            pull = how.undershoot + (1 - how.undershoot) * min(1.0, (end - start) / how.usual_vowel)
        first = max(0, int((start - how.lead) * RATE) - reach)
        last = min(count, int((end - how.lead) * RATE) + reach)
        if last <= first:
            continue
        t = times[first:last]
        ahead, behind = np.maximum(0, start - t), np.maximum(0, t - end)
        gain = 1.0 if silent else openness[first:last]
        wishes = (
            ("jaw", target.jaw * gain, target.jaw_weight, how.jaw_before, how.jaw_after),
            ("gap", target.gap * gain, target.gap_weight, how.gap_before, how.gap_after),
            ("round", target.round, target.shape_weight, how.shape_before, how.shape_after),
            ("funnel", target.funnel, target.shape_weight, how.shape_before, how.shape_after),
            ("spread", target.spread, target.shape_weight, how.shape_before, how.shape_after),
            ("speech", 0.0 if silent else 1.0, 1.0, how.rest_before, how.rest_after),
        )
        for channel, value, weight, before, after in wishes:
            if silent:
                before, after = how.rest_before, how.rest_after
            dominance = weight * pull * np.exp(-(ahead / before + behind / after) * pace)
            totals[channel][first:last] += dominance * value
            weights[channel][first:last] += dominance
    inertia = {"jaw": how.jaw_inertia, "gap": how.gap_inertia, "speech": how.gap_inertia}
    flow = {
        c: gaussian_filter1d(totals[c] / weights[c], inertia.get(c, how.shape_inertia) * RATE / pace, mode="nearest")
        for c in channels
    }
    shut, tuck = _closures(segments, how, times)
    return Movement(shut=shut, tuck=tuck, **flow)


def _closures(segments: list[Phone], how: Dynamics, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far lips are shut (p b m) and tucked (f v): 1 from closure to release, smooth flanks outside."""
    shut, tuck = np.zeros(len(times)), np.zeros(len(times))
    previous = "SIL"
    for start, end, name in segments:
        if name in BILABIALS or name in LABIODENTALS:
            release = end
            if previous in PAUSES and name in BILABIALS:
                start -= how.early_closure
            short = how.hold - (release - start)
            if short > 0:
                start, release = start - short / 2, release + short / 2
            outside = np.maximum(0, np.maximum(start - times, times - release)) / how.flank
            gate = 0.5 + 0.5 * np.cos(np.pi * np.minimum(1, outside))
            if name in BILABIALS:
                np.maximum(shut, gate, out=shut)
            else:
                np.maximum(tuck, gate, out=tuck)
        previous = name
    return shut, tuck
