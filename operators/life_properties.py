# SPDX-License-Identifier: GPL-3.0-or-later
"""Eyes and life of one head: what is added to the lip sync, all off by default. No logic."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.props import FloatProperty, IntProperty, PointerProperty

from .face_changes import OVERRIDABLE, changed

AMOUNTS = ("blinks", "brows", "nod")  # may be animated


def _amount(name: str, most: float, description: str) -> Any:
    return FloatProperty(
        name=name, description=description, default=0.0, min=0.0, max=most, soft_max=min(most, 2.0), step=5,
        precision=2, override=OVERRIDABLE, update=changed,
    )  # fmt: skip


class LipSyncLife(bpy.types.PropertyGroup):
    """Amounts, and what decides about places: rate and seed. `nod_object` is the empty that nods."""

    blinks: _amount("Blinks", 1.0, "How far the lids shut: 0 is off, 1 shuts the eyes. Blinks fall into pauses")
    rate: FloatProperty(
        name="Per Minute",
        description="How many blinks come in a minute; people blink some 17 times at rest and 26 in conversation",
        default=20.0, min=1.0, max=90.0, soft_min=4.0, soft_max=40.0, step=100, precision=0, options=set(),
        override=OVERRIDABLE, update=changed,
    )  # fmt: skip
    brows: _amount("Brows", 3.0, "How far the brows rise on stressed syllables: 0 is off")
    nod: _amount(
        "Nod",
        4.0,
        "How far an empty in the head turns with the speech: 0 is off. The head itself stays as it is: parent it to "
        "the empty, or give your head bone a Child Of constraint that targets the empty, and click its Set Inverse",
    )
    seed: IntProperty(
        name="Seed", description="Another seed, other moments; the same seed, the same result", default=0, min=0,
        options=set(), override=OVERRIDABLE, update=changed,
    )  # fmt: skip
    nod_object: PointerProperty(type=bpy.types.Object, override=OVERRIDABLE)
