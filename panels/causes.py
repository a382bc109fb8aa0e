# SPDX-License-Identifier: GPL-3.0-or-later
"""Drawing the causes of a mouth that does not move, each with its button."""

from __future__ import annotations

from typing import Any

import bpy

from ..operators import ids
from .layout import wrapped


def draw_causes(layout: bpy.types.UILayout, context: bpy.types.Context, state: Any) -> None:
    """The verdict and one line per cause; nothing where nothing was asked."""
    if not state.verdict:
        return
    wrapped(layout, context, state.verdict, "CHECKMARK" if not state.causes else "INFO")
    for entry in state.causes:
        column = layout.column(align=True)
        wrapped(column, context, entry.sentence, "DOT")
        if entry.fix:
            button = column.operator(ids.FIX, text=entry.fix, icon="TOOL_SETTINGS")
            button.cause, button.subject = entry.cause, entry.subject
