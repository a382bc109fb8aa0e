# SPDX-License-Identifier: GPL-3.0-or-later
"""Speaker styles by name and blends of them: "broad", or "neutral:0.7, broad:0.3"."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .errors import ModelError


def parse_blend(text: str) -> dict[str, float]:
    """Styles and their weights as written; a style without a number weighs 1. Raises ModelError when one is no number.

    What the numbers add up to does not matter: "a:1, b:1" is half of each.
    """
    blend: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, number = part.rpartition(":")
        try:
            weight = float(number) if colon else 1.0
        except ValueError:
            weight = float("nan")
        name = name.strip() if colon else number
        if not np.isfinite(weight):
            raise ModelError(f"“{part}” is no style with a weight; write for example neutral:0.7, broad:0.3.")
        blend[name] = blend.get(name, 0.0) + weight
    return blend


def style_vector(style: str | Mapping[str, float], styles: tuple[str, ...]) -> np.ndarray:
    """Weights over `styles`, float64 (styles,), that are not negative and sum to 1.

    `style`: a name, a blend as text, or {name: weight}. Raises ModelError for a style that is not among `styles`, and
    for weights that are negative or all zero.
    """
    blend = {style: 1.0} if style in styles else parse_blend(style) if isinstance(style, str) else dict(style)
    unknown = [name for name in blend if name not in styles]
    if unknown:
        raise ModelError(f"The model has no style {', '.join(map(repr, unknown))}; choose among {', '.join(styles)}.")
    if not 0 < sum(blend.values()) < float("inf") or min(blend.values()) < 0:
        raise ModelError("Weights of styles must not be negative, and one of them must be above zero.")
    weights = np.array([blend.get(name, 0.0) for name in styles])
    return weights / weights.sum()
