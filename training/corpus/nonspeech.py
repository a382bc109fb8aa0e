# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound that is not speech, made from nothing: silence, noise, hum, music-like tones, breaths, knocks.

Its label is one SIL: whatever is heard, the lips rest. Every maker takes a number of samples and a random generator and
returns (N,) float32 at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

from ..config import SAMPLE_RATE

Maker = Callable[[int, np.random.Generator], np.ndarray]


def _level(x: np.ndarray, decibels: float) -> np.ndarray:
    """``x`` at a level of ``decibels`` rms below full scale, peaks kept below 1."""
    rms = np.sqrt(np.mean(x**2)) + 1e-12
    x = x * (10 ** (decibels / 20) / rms)
    return (x / max(1.0, float(np.abs(x).max()))).astype(np.float32)


def _band(x: np.ndarray, low: float, high: float) -> np.ndarray:
    return sosfilt(butter(2, [low, high], "bandpass", fs=SAMPLE_RATE, output="sos"), x)


def silence(n: int, rng: np.random.Generator) -> np.ndarray:
    """Digital silence, or the dither of a converter."""
    return (rng.integers(-1, 2, n) * (rng.random() < 0.5) / 32768).astype(np.float32)


def noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose spectrum falls by 0 to 9 dB an octave, wandering slowly in level: rooms, wind, fans, the sea."""
    spectrum = np.fft.rfft(rng.normal(size=n))
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE), 30)
    x = np.fft.irfft(spectrum / frequency ** rng.uniform(0, 1.5), n)
    knots = max(2, n // SAMPLE_RATE)
    swell = np.interp(np.arange(n), np.linspace(0, n, knots), rng.uniform(-8, 0, knots) * rng.random())
    return _level(x * 10 ** (swell / 20), rng.uniform(-70, -18))


def hum(n: int, rng: np.random.Generator) -> np.ndarray:
    """Mains hum: harmonics of 50 or 60 Hz over a little noise."""
    t = np.arange(n) / SAMPLE_RATE
    base = rng.choice([50.0, 60.0]) * (1 + rng.normal(0, 0.002))
    x = sum(rng.random() / k * np.sin(2 * np.pi * (base * k * t + rng.random())) for k in range(1, rng.integers(3, 20)))
    return _level(np.asarray(x) + rng.normal(0, rng.uniform(0, 0.1), n), rng.uniform(-50, -15))


def music(n: int, rng: np.random.Generator) -> np.ndarray:
    """Plucked and held notes of a scale in a beat, with drums or without."""
    x = np.zeros(n)
    beat = int(SAMPLE_RATE * rng.uniform(0.15, 0.5))
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12]) + rng.integers(-5, 6)
    tilt, decay, drums = rng.uniform(0.8, 2.5), rng.uniform(1, 12), rng.random() < 0.5
    for start in range(0, n, beat):
        length = min(n - start, int(beat * rng.uniform(1, 4)))
        t = np.arange(length) / SAMPLE_RATE
        for _ in range(rng.integers(0, 4)):
            pitch = 220 * 2 ** ((rng.choice(scale) + 12 * rng.integers(-1, 3)) / 12)
            wave = sum(np.sin(2 * np.pi * pitch * k * t) / k**tilt for k in range(1, min(9, int(7000 / pitch) + 1)))
            x[start : start + length] += np.asarray(wave) * np.exp(-decay * t) * np.minimum(1, t / 0.005)
        if drums and rng.random() < 0.7:
            x[start : start + length] += rng.normal(0, 1, length) * np.exp(-t * rng.uniform(15, 60))
    return _level(x + 1e-6 * rng.normal(size=n), rng.uniform(-40, -12))


def breaths(n: int, rng: np.random.Generator) -> np.ndarray:
    """Breathing: band-limited noise that rises and falls, in and out through different bands."""
    x = rng.normal(0, 0.003, n)
    start = int(rng.uniform(0, SAMPLE_RATE))
    while start < n:
        length = min(n - start, int(SAMPLE_RATE * rng.uniform(0.25, 1.4)))
        middle = rng.uniform(500, 2500)
        puff = _band(rng.normal(size=length), middle * 0.5, min(7500, middle * 2.2))
        x[start : start + length] += puff * np.sin(np.pi * np.linspace(0, 1, length)) ** rng.uniform(1, 3)
        start += length + int(SAMPLE_RATE * rng.uniform(0.3, 2))
    return _level(x, rng.uniform(-50, -25))


def knocks(n: int, rng: np.random.Generator) -> np.ndarray:
    """Keys, knocks, clicks: damped resonances at irregular times over faint noise."""
    impulses = np.zeros(n)
    count = max(1, int(n / SAMPLE_RATE * rng.uniform(0.5, 8)))
    impulses[rng.integers(0, n, count)] = rng.uniform(0.2, 1, count)
    radius, angle = np.exp(-rng.uniform(60, 900) / SAMPLE_RATE), 2 * np.pi * rng.uniform(150, 5000) / SAMPLE_RATE
    x = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], impulses)
    return _level(x + rng.normal(0, 1e-3, n), rng.uniform(-45, -22))


MAKERS: dict[str, Maker] = {
    "silence": silence, "noise": noise, "hum": hum, "music": music, "breaths": breaths, "knocks": knocks,
}  # fmt: skip
