# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry in File ▸ Export."""

from __future__ import annotations

import bpy

from ..operators import ids


def _draw(menu: bpy.types.Menu, context: bpy.types.Context) -> None:
    menu.layout.operator(ids.EXPORT_HEAD, text="Lip-Synced Head (.glb, .fbx, .usdc, .abc)")


def register() -> None:
    """Add the entry."""
    bpy.types.TOPBAR_MT_file_export.append(_draw)


def unregister() -> None:
    """Take it away."""
    bpy.types.TOPBAR_MT_file_export.remove(_draw)
