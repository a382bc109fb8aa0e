# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a head's lip sync, or its nod, is changed, the head gets an Action of its own.

Blender's Duplicate copies the assigned Action, but lets the NLA strips of both objects play the same ones, and so does
a full copy of a scene; a script's copy shares all. Without this a slider of one head would move the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import bpy

from ..inference import MeshError
from .nla_strips import with_inner

Holder = Any  # bpy.types.AnimData or bpy.types.NlaStrip
Owner = Any  # bpy.types.Key or bpy.types.Object

_TWEAKED = "An animation strip that another head plays too is being tweaked; leave tweak mode first."


def holders(data: bpy.types.AnimData | None) -> Iterator[Holder]:
    """Who may play an Action: the animation data itself, and every strip, those in meta strips too."""
    if data is not None:
        yield data
        for track in data.nla_tracks:
            yield from with_inner(track.strips)


def exchange(holder: Holder, action: bpy.types.Action | None, slot: Any | None) -> None:
    """Let `holder` play `slot` of `action`."""
    holder.action = action
    if action is not None and slot is not None:
        holder.action_slot = slot


def make(owner: Owner, action: bpy.types.Action, slot: Any, undo: ExitStack) -> bpy.types.Action:
    """`action`, or a copy that `owner` plays instead where others play its `slot` too.

    `undo` learns how to take that back. Raises MeshError while a strip is tweaked: nothing takes another Action then.
    """
    if not is_shared(owner, action, slot):
        return action
    if owner.animation_data.use_tweak_mode:
        raise MeshError(_TWEAKED)
    copy = action.copy()
    undo.callback(bpy.data.actions.remove, copy)
    undo.callback(exchange_all, owner, copy, action)  # in strips of that time: these may be made anew meanwhile
    copy.use_fake_user = False
    exchange_all(owner, action, copy)
    return copy


def tweaked(owner: Owner) -> str:
    """One sentence when `owner` is in tweak mode and plays what others play too; "" when it is not so."""
    data = owner.animation_data
    if data is None or not data.use_tweak_mode:
        return ""
    shared = any(
        holder.action is not None and is_shared(owner, holder.action, holder.action_slot) for holder in holders(data)
    )
    return _TWEAKED if shared else ""


def exchange_all(owner: Owner, action: bpy.types.Action, other: bpy.types.Action) -> None:
    """Let `owner` play `other` wherever it plays `action`, by slots of the same names."""
    for holder in holders(owner.animation_data):
        if holder.action == action:
            used = holder.action_slot
            exchange(holder, other, None if used is None else other.slots.get(used.identifier))


def is_shared(owner: Owner, action: bpy.types.Action, slot: Any) -> bool:
    """Whether others than `owner` play `slot` of `action`."""
    uses = sum(holder.action == action for holder in holders(owner.animation_data))
    if action.users - action.use_fake_user <= uses:  # quick: asked while a slider is dragged
        return False
    users = bpy.data.user_map(subset={action})[action]
    return any(
        holder.action == action and holder.action_slot == slot
        for user in users
        if user != owner
        for holder in holders(getattr(user, "animation_data", None))
    )
