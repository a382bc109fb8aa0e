# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain jumper with a round collar, lofted around the neck, so that the picture has no cut edge."""

from __future__ import annotations

import numpy as np

from .flame import Flame
from .part import Part, Points, grid_faces, still

COLUMNS = 96
CLOTH = (0.045, 0.060, 0.085)
# height at the side (m, FLAME y), half width, half depth, centre z, dip of the front (m), squareness
PROFILE = ((-0.172, 0.066, 0.064, -0.050, 0.020, 2.0), (-0.150, 0.063, 0.062, -0.050, 0.020, 2.0),
           (-0.140, 0.0640, 0.063, -0.050, 0.020, 2.0), (-0.1365, 0.0665, 0.0655, -0.050, 0.020, 2.0),
           (-0.1375, 0.0690, 0.0685, -0.050, 0.020, 2.0), (-0.142, 0.0712, 0.0715, -0.050, 0.020, 2.0),
           (-0.148, 0.0735, 0.0745, -0.050, 0.020, 2.0), (-0.1535, 0.076, 0.077, -0.050, 0.020, 2.0),
           (-0.1575, 0.081, 0.080, -0.050, 0.020, 2.0), (-0.163, 0.095, 0.085, -0.050, 0.020, 2.0),
           (-0.170, 0.115, 0.092, -0.050, 0.022, 2.1), (-0.178, 0.138, 0.099, -0.050, 0.024, 2.2),
           (-0.189, 0.160, 0.105, -0.050, 0.025, 2.3), (-0.206, 0.178, 0.110, -0.050, 0.024, 2.4),
           (-0.235, 0.190, 0.115, -0.050, 0.020, 2.4), (-0.280, 0.196, 0.120, -0.050, 0.010, 2.4),
           (-0.340, 0.198, 0.122, -0.050, 0.000, 2.4))


def build_jumper(flame: Flame) -> Part:
    """The jumper as one loft; it stands still."""
    angle = np.linspace(0, 2 * np.pi, COLUMNS, False)
    rings: list[Points] = []
    for height, wide, deep, back, dip, square in PROFILE:
        c, s = np.cos(angle), np.sin(angle)
        radius = (np.abs(c) ** square + np.abs(s) ** square) ** (-1 / square)
        forward = (s + 1) / 2
        rings.append(np.stack([wide * radius * c, height - dip * forward + 0.004 * (1 - forward),
                               back + deep * radius * s], 1))
    points = np.concatenate(rings)
    return still(points, grid_faces(len(rings), COLUMNS, close_columns=True), "cloth", CLOTH)
