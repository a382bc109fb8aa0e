# SPDX-License-Identifier: GPL-3.0-or-later
"""Every number that shapes the network and its training, and the three profiles that use them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from inference.speech import SAMPLE_RATE

FPS = 50  # Hz: network frames, one every 320 samples
HOP = SAMPLE_RATE // FPS

PHONES = (
    "SIL", "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH", "IH", "IY",
    "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
"""ARPABET without stress, silence first: the classes of the auxiliary phone head."""

DENSE_STEP = 136
"""Samples from one log-mel frame to the next where lips are to be moved; see `features.LogMel`."""

NO_PHONE = -100
"""Label of frames whose phone nobody knows; cross entropy leaves them out."""

STYLES = ("neutral", "broad", "mumbled", "whispered")


@dataclass(frozen=True)
class Config:
    """Sizes are in features unless a unit is named."""

    # network
    front_end: str = "mel"  # "mel": log-mel; "wave": wav2vec2's convolutions on the raw waveform
    bands: int = 64
    subtract: float = 0.5  # times the noise is taken from what the log-mel front end hears; 0: never
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    dropout: float = 0.0
    semantic: int = 128  # size of the sentence vector; 0 leaves the Wav2Sem branch out
    decoder: int = 128  # FaceFormer's feature_dim
    decoder_heads: int = 4
    period: int = 50  # frames: period of positions and of the causal bias
    passes: int = 3  # Jacobi passes of the feedback loop
    # training
    seed: int = 1
    crop: float = 4.0  # seconds of one example
    batch: int = 8
    phone_weight: float = 1.0  # of the auxiliary phone loss
    closure_weight: float = 1.0  # of lips left open on p b m, per mm²
    clean_weight: float = 0.0  # of what noise changes in what is heard: see `losses.differences`; 0 never asks
    minutes: float = 40.0  # wall clock; the learning rate's schedule follows it unless `steps` is given
    steps: int = 0  # optimiser steps: with these and a seed a run is repeatable; 0 trains by the clock
    rate: float = 8e-4  # highest learning rate, Muon's and AdamW's
    warm_up: float = 0.04  # fraction of the run
    ema: float = 0.999
    real_share: float = 0.45  # fraction of examples with speech that start with real speech
    nonspeech_share: float = 0.09  # fraction of examples without any speech: lips at rest
    babble_share: float = 0.45  # fraction of examples with speech that have other people's voices below it
    foreign_weight: float = 1.5  # how much more often a clip in another language than English is drawn than its length
    dense_share: float = 0.0  # fraction of batches that are heard at DENSE_STEP, as lips are moved later
    long_share: float = 0.2  # fraction of batches with crops three times as long, batch a third

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for checkpoints and reports."""
        return asdict(self)


PROFILES: dict[str, Config] = {
    "small": Config(hidden=64, layers=2, decoder=32, semantic=0, minutes=2.0, batch=8, rate=2e-3),
    "cpu": Config(),
    "full": Config(hidden=384, layers=8, heads=6, batch=96, minutes=120.0, rate=5e-4, ema=0.9995),
}


def profile(name: str, **changes: Any) -> Config:
    """Profile `name` with some fields replaced; None leaves a field as it is. Raises KeyError for unknown names."""
    return replace(PROFILES[name], **{key: value for key, value in changes.items() if value is not None})
