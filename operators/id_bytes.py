# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes as ID properties. Written over others, Blender (4.5 to 5.2) cuts them off at their first zero byte."""

from __future__ import annotations

import bpy


def store(block: bpy.types.ID, name: str, data: object) -> None:
    """Give `block` the ID property `name`, whole: bytes, or anything else that an ID property can hold."""
    if name in block:
        del block[name]
    block[name] = data
