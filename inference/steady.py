# SPDX-License-Identifier: GPL-3.0-or-later
"""Lips that keep still: slow movements are smoothed, quick ones are left as they are.

A speaker who pauses keeps the mouth still to a fraction of a millimetre; a network that hears breath and noise wavers.
Smoothing everything would cost the closures, which last four frames. So the smoothing follows the movement, as in the
1 Euro filter (Casiez, Roussel and Vogel, CHI 2012), but both ways in time, so that nothing comes late.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curves import gaussian_smooth


@dataclass(frozen=True)
class Steadiness:
    """How a package's still moments are kept still.

    still, moving: by how much the lip opening may vary (metres) within `around` (seconds) either way and be smoothed
    whole, and from which on it is left alone. smoothing: standard deviation of the Gaussian (seconds).
    """

    still: float
    moving: float
    around: float
    smoothing: float

    def keep_still(self, weights: np.ndarray, opening: np.ndarray, fps: float) -> np.ndarray:
        """Weights (T, K) smoothed where the lip opening (T,), in metres, hardly changes."""
        reach = round(self.around * fps)
        around = np.lib.stride_tricks.sliding_window_view(np.pad(opening, reach, mode="edge"), 2 * reach + 1)
        change = around.max(axis=1) - around.min(axis=1)
        part = np.clip((self.moving - change) / (self.moving - self.still), 0.0, 1.0)
        width = self.smoothing * fps
        part = gaussian_smooth(part[:, None], width)
        steady: np.ndarray = weights + part * (gaussian_smooth(weights, width) - weights)
        return steady
