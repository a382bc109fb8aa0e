# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures as JSON. One that cannot be measured, as how near closures come in a clip that has none, is nan here and null
there: JSON knows no such number (RFC 8259, section 6), and most of its readers refuse a file that holds one.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np


def as_json(figures: Any, indent: int | None = None) -> str:
    """JSON text of dicts, lists and tuples of texts and numbers, numpy's among them."""
    return json.dumps(_plain(figures), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
