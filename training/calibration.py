# SPDX-License-Identifier: GPL-3.0-or-later
"""How much a network holds back where it is unsure, and what its package does about that.

A network that minimises squared error answers doubt with half a motion; one that was trained for less time doubts more.
How far it falls short of the rules is measured on the clips that training watches, and what `amplify` and the firm
closures (inference/closure.py) make good follows from it. The constants were chosen with released models, on the
development clips and on voices that training never heard: 0.5.0's gain, and thresholds by which 0.11.0, whose narrow
gaps are made narrower, shuts the lips on p, b, m as often as 0.10.0 did, and on other consonants less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .geometry import MEASURES, lip_geometry
from .losses import PRESSED
from .model import FaceFormer
from .packing import Corpus
from .train import development_clips, predict

SPREAD = 0.975  # standard deviation of the opening that is wanted, as a part of the rules'
BEGINS, CERTAIN = 0.19, 0.48  # thresholds of closures as parts of what the network says in most of them
GAINS = (1.0, 1.6)  # beyond that a network has learned too little for a gain to mend
LEAST = 0.02  # weight of mouthPress in closures that thresholds are made from; a network that says less finds none
_MOST = 0.25  # quantile of the frames that are pressed: the other three quarters say more


@dataclass(frozen=True)
class Calibration:
    """gain: of all motion around the resting face. begins, certain: of the firm closures, weights of mouthPress."""

    gain: float = 1.0
    begins: float = 0.02
    certain: float = 0.05

    def with_gain(self, gain: float) -> Calibration:
        """The same with another gain, which the thresholds follow: they are of weights that it has enlarged."""
        more = gain / self.gain
        return Calibration(gain, round(self.begins * more, 4), round(self.certain * more, 4))


@torch.no_grad()
def calibrate(network: FaceFormer, corpus: Corpus, semantics: np.ndarray | None) -> Calibration:
    """For a network as it was trained, by the clips of `corpus` that training watches, in the neutral style.

    Raises ValueError when there are none, or none with a closure.
    """
    network.eval()
    opening = lip_geometry(corpus.names).measures[:, MEASURES.index("aperture")]
    pressing = [column for column, name in enumerate(corpus.names) if name.startswith("mouthPress")]
    found, wanted = [], []
    for index in (index for clips in development_clips(corpus, 40).values() for index in clips):
        clip = corpus.clips[index]
        weights = predict(network, clip, None if semantics is None else semantics[index]).weights[-1][0]
        found.append(weights.clamp(0, 1).numpy())
        wanted.append(np.array(clip.weights[0], np.float32))
    if not found or not (np.concatenate(wanted) @ opening < PRESSED).any():
        raise ValueError("The corpus has no development clips with closures to calibrate by; gain and thresholds stay.")
    said, ruled = np.concatenate(found), np.concatenate(wanted)
    gain = float(np.clip(SPREAD * (ruled @ opening).std() / max((said @ opening).std(), 1e-6), *GAINS))
    shut = said[ruled @ opening < PRESSED][:, pressing].mean(axis=1)
    pressed = max(LEAST, gain * float(np.quantile(shut, _MOST)))
    return Calibration(round(gain, 3), round(BEGINS * pressed, 4), round(CERTAIN * pressed, 4))
