# SPDX-License-Identifier: GPL-3.0-or-later
"""Who wants to know when a setting of a head changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import bpy

OVERRIDABLE = {"LIBRARY_OVERRIDABLE"}

on_change: list[Callable[[bpy.types.Object], None]] = []


def changed(group: bpy.types.PropertyGroup, context: bpy.types.Context) -> None:
    """Update callback of every property of a head."""
    for listener in on_change:
        listener(group.id_data)


@contextmanager
def quietly() -> Iterator[None]:
    """Within it setting a property calls nobody: for setting several at once."""
    listeners = on_change[:]
    on_change.clear()
    try:
        yield
    finally:
        on_change[:] = listeners
