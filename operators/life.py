# SPDX-License-Identifier: GPL-3.0-or-later
"""What the panel says about eyes and life. What happens is in `refine`: one turn of a slider shapes everything anew."""

from __future__ import annotations

import bpy

from ..inference import LipSyncError
from ..inference.flame import VERTEX_COUNT
from . import life_keys, life_shaping, nod, refine, stored_result
from .face_properties import face_of


def disabled_reason(obj: bpy.types.Object | None) -> str:
    """Why the sliders do nothing, as one sentence; empty when they do. Cheap enough for a panel."""
    reason = refine.disabled_reason(obj)
    if reason or obj is None:
        return reason
    for bake in refine.bakes_of(obj):
        if stored_result.is_stored(bake.action):
            try:
                if life_shaping.can_live(stored_result.read(bake.action)[0]):
                    return ""
            except LipSyncError as error:
                return str(error)
    return f"The lip sync of “{obj.name}” does not know how loud its speech is; generate it again for blinks and nods."


def remarks(obj: bpy.types.Object) -> list[str]:
    """What the sliders leave alone or cannot reach, one sentence each."""
    settings = face_of(obj).life
    found = []
    left = life_keys.left_alone(obj)
    if left and (settings.blinks or settings.brows):
        found.append(f"Left to your own drivers or keys: {', '.join(left)}.")
    missing = [
        words
        for words, amount, part in (("blink", settings.blinks, "Blink"), ("raise its brows", settings.brows, "brow"))
        if amount and not any(part in shape for shape in life_keys.served(obj))
    ]
    if missing and len(obj.data.vertices) != VERTEX_COUNT:
        found.append(f"“{obj.name}” has no shape keys to {' or '.join(missing)}; add some with ARKit names.")
    empty = nod.object_of(obj)
    if settings.nod and empty is not None and nod.users_own(empty):
        found.append(f"“{empty.name}” plays an action of your own and is left to it.")
    return found
