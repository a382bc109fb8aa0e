# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets: phones in time become the ARKit weights of a speaking mouth.

``render(phones, fps, style, seed, energy)`` is the whole interface; the way there is

1. ``phonetics``: what each phone wants of jaw and lips, in millimetres, with the source of each figure;
2. ``dynamics``: coarticulation, undershoot, inertia and hard closures turn wishes into trajectories;
3. ``face``: trajectories are turned into ARKit weights through the measured geometry of the blendshapes, so that a
   prescribed lip gap is the gap of the mesh.
"""

from .face import NAMES
from .render import STYLES, Style, render

__all__ = ["NAMES", "STYLES", "Style", "render"]
