# SPDX-License-Identifier: GPL-3.0-or-later
"""Markdown tables of rows of figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def table(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """A Markdown table; what a row does not have stays empty, what is no number becomes a dash."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(column, "")) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def columns_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """All keys of the rows, in the order in which they first come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def cell(value: Any) -> str:
    """A figure with as many digits as mean something."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if not np.isfinite(size):
        return "–"
    return f"{value:.0f}" if size >= 20 or size < 1e-12 else f"{value:.2f}" if size >= 0.01 else f"{value:.1e}"
