# SPDX-License-Identifier: GPL-3.0-or-later
"""Cutting long speech into overlapping windows at quiet places, and joining what comes out without a seam."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

LONGEST = 24.0  # seconds of one window unless a package says otherwise: attention grows with its square
OVERLAP = 1.0  # seconds that two windows share


def plan_windows(loudness: np.ndarray, fps: float, longest_seconds: float = LONGEST) -> list[tuple[int, int]]:
    """Frame ranges [first, last) that cover the clip; neighbours share `OVERLAP` seconds around a quiet place.

    loudness: mean square of the speech per frame, (T,). Clips of up to `longest_seconds` are one window.
    """
    count = len(loudness)
    longest_seconds = max(longest_seconds, 4 * OVERLAP)
    if count <= longest_seconds * fps:
        return [(0, count)]
    longest, overlap = int(longest_seconds * fps), int(OVERLAP * fps)
    search = longest // 3
    windows, first = [], 0
    while count - first > longest:
        # Energy of each candidate overlap, by a running sum.
        begin = first + longest - search
        energy = np.cumsum(np.concatenate([[0.0], loudness[begin : first + longest]]))
        quiet = begin + int(np.argmin(energy[overlap:] - energy[:-overlap]))
        windows.append((first, quiet + overlap))
        first = quiet
    windows.append((first, count))
    return windows


def crossfade(windows: list[tuple[int, int]], parts: Iterable[np.ndarray]) -> np.ndarray:
    """Join per-window results (n, K) to (T, K); shared frames pass smoothly from one window to the next."""
    joined: np.ndarray | None = None
    done = 0
    for (first, last), part in zip(windows, parts, strict=True):
        if joined is None:
            joined = np.empty((windows[-1][1], part.shape[1]), part.dtype)
        shared = max(0, done - first)
        ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(shared)[:, None] + 0.5) / max(shared, 1))
        joined[first:done] = (1 - ramp) * joined[first:done] + ramp * part[:shared]
        joined[done:last] = part[shared:]
        done = last
    if joined is None:
        raise ValueError("no windows to join")
    return joined


def frame_loudness(samples: np.ndarray, hop: int) -> np.ndarray:
    """Mean square per frame of `hop` samples; len(samples) must be a multiple of `hop`."""
    frames = samples.reshape(-1, hop)
    return np.einsum("ij,ij->i", frames, frames) / hop
