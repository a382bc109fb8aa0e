# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a mouth may not move, as data: every cause has a sentence, and where there is a plain remedy, a fix.

The checks look at settings only and evaluate nothing, so that they can be asked at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import bpy

from .playing import Part


@dataclass(frozen=True)
class Cause:
    """One thing that keeps a mouth from moving, or from being seen to move.

    id, subject: what it is and what it concerns ("key_muted", "jawOpen"); together they tell it from others.
    clause: completes "… does not move: …", with the way out. fix: what the button says, "" where there is none.
    mend: does it. changed: the datablock that this changes. playback: the animation is sound, it is only not shown or
    not played now.
    """

    id: str
    subject: str
    clause: str
    fix: str = ""
    mend: Callable[[], None] | None = None
    changed: bpy.types.ID | None = None
    playback: bool = False

    @property
    def sentence(self) -> str:
        """The clause as a sentence of its own."""
        return f"{self.clause[0].upper()}{self.clause[1:]}."


@dataclass(frozen=True)
class Face:
    """What the checks look at: a head and where its lip sync plays.

    layer: a view layer that has the head, None if none has. cache: our Mesh Cache modifier, None if there is none.
    """

    scene: bpy.types.Scene
    layer: bpy.types.ViewLayer | None
    obj: bpy.types.Object
    parts: tuple[Part, ...]
    cache: bpy.types.Modifier | None

    @property
    def keys(self) -> bpy.types.Key | None:
        """Its shape keys."""
        return self.obj.data.shape_keys

    @property
    def names(self) -> tuple[str, ...]:
        """Shape keys that the lip sync animates."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.curves))


Check = Callable[[Face], Iterator[Cause]]


def listed(names: tuple[str, ...] | list[str], most: int = 3) -> str:
    """A few of `names` for a sentence."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
