# SPDX-License-Identifier: GPL-3.0-or-later
"""The renderer: phones, style, loudness and a seed in, ARKit weights at any frame rate out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from ..corpus.phones import Phone
from .dynamics import RATE, Dynamics, move
from .face import weights_of

DYNAMICS = Dynamics()
LOUDNESS = 0.012  # share of opening per dB: louder vowels are more open (Schulman 1989: shouted about twice)


@dataclass(frozen=True)
class Style:
    """A way of speaking: factors on opening (jaw and gap), on lip shapes, and on the quickness of articulators."""

    opening: float
    lips: float
    pace: float


STYLES: dict[str, Style] = {
    "neutral": Style(1.2, 1.0, 1.0),
    "broad": Style(1.35, 1.3, 1.1),
    "mumbled": Style(0.5, 0.6, 0.8),
    "whispered": Style(0.85, 1.15, 0.95),
}


def render(
    phones: list[Phone],
    fps: float,
    style: str | Style = "neutral",
    seed: int = 0,
    energy: np.ndarray | None = None,
    dynamics: Dynamics = DYNAMICS,
) -> np.ndarray:
    """ARKit weights (T,K) float32 for ``phones`` (start s, end s, ARPABET or SIL), names in ``NAMES``.

    Frame i shows the face at time i/fps; T covers the last phone's end. ``energy`` is the loudness every 10 ms in dB
    relative to the clip's speech level; None means even loudness. Seed 0 renders the mean face; any other draws a
    speaker: how far jaw and lips go, a lopsided mouth, a slow wander. Raises ValueError for an unknown style,
    KeyError for an unknown phone.
    """
    if isinstance(style, str):
        if style not in STYLES:
            raise ValueError(f"There is no style {style!r}; choose one of {', '.join(STYLES)}.")
        style = STYLES[style]
    end = phones[-1][1] if phones else 0.0
    count = int(np.ceil(end * RATE)) + 1
    rng = np.random.default_rng(seed)
    vary = 0.0 if seed == 0 else 1.0
    opening = style.opening * np.exp(vary * rng.normal(0, 0.10))
    lips = style.lips * np.exp(vary * rng.normal(0, 0.10))
    asymmetry = vary * rng.normal(0, 0.15, 4).clip(-0.4, 0.4)
    wander = vary * 0.06 * gaussian_filter1d(rng.normal(size=count), 40, mode="wrap") * np.sqrt(2 * np.sqrt(np.pi) * 40)
    openness = opening * np.exp(wander) * _loudness(energy, count)
    movement = move(phones, dynamics, openness, style.pace)
    weights = weights_of(movement, lips, asymmetry)
    times = np.arange(int(np.floor(end * fps + 1e-6)) + 1) / fps
    return _at_times(weights, times)


def _loudness(energy: np.ndarray | None, count: int) -> np.ndarray:
    """Factors (count,) on opening from loudness in dB every 10 ms, smoothed over a syllable."""
    if energy is None or len(energy) == 0:
        return np.ones(count)
    level = np.interp(np.arange(count) / RATE, np.arange(len(energy)) * 0.01, np.clip(energy, -12, 9))
    return 1 + LOUDNESS * gaussian_filter1d(level, 0.06 * RATE, mode="nearest")


def _at_times(weights: np.ndarray, times: np.ndarray) -> np.ndarray:
    """``weights`` at ``RATE``, interpolated linearly at ``times`` (s)."""
    position = np.clip(times * RATE, 0, len(weights) - 1)
    low = np.minimum(position.astype(int), len(weights) - 2) if len(weights) > 1 else np.zeros(len(times), int)
    part = (position - low)[:, None].astype(np.float32)
    high = np.minimum(low + 1, len(weights) - 1)
    return weights[low] * (1 - part) + weights[high] * part
