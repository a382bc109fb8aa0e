# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panels of the tab share: their place, and text that wraps."""

from __future__ import annotations

import textwrap

import bpy


class LipSyncPanel:
    """Mixin: sidebar of the 3D viewport, tab Lip Sync."""

    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "Lip Sync"


def wrapped(layout: bpy.types.UILayout, context: bpy.types.Context, text: str, icon: str = "NONE") -> None:
    """Draw `text` as several labels, as wide as the sidebar allows; labels do not wrap by themselves."""
    scale = context.preferences.system.ui_scale
    width = max(16, int((context.region.width / scale - 60) / 6.3))
    column = layout.column(align=True)
    column.scale_y = 0.85
    for number, line in enumerate(textwrap.wrap(text, width)):
        column.label(text=line, icon=icon if number == 0 else ("BLANK1" if icon != "NONE" else "NONE"))
