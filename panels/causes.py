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
    box = layout.box()
    wrapped(box, context, state.verdict, "CHECKMARK" if not state.causes else "INFO")
    for entry in state.causes:
        row = box.column(align=True)
        wrapped(row, context, entry.sentence, "DOT")
        if entry.fix:
            button = row.operator(ids.FIX, text=entry.fix, icon="TOOL_SETTINGS")
            button.cause, button.subject = entry.cause, entry.subject
