# SPDX-License-Identifier: GPL-3.0-or-later
"""Before a head's lip sync is changed, the head gets an Action of its own.

Blender's Duplicate copies the assigned Action, but lets the NLA strips of both objects play the same ones, and so does
a full copy of a scene; a script's copy shares all. Without this a slider of one head would move the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import bpy

Holder = Any  # bpy.types.AnimData or bpy.types.NlaStrip


def holders(data: bpy.types.AnimData) -> Iterator[Holder]:
    """Who may play an Action: the animation data itself, and every strip."""
    yield data
    for track in data.nla_tracks:
        yield from track.strips


def exchange(holder: Holder, action: bpy.types.Action | None, slot: Any | None) -> None:
    """Let `holder` play `slot` of `action`."""
    holder.action = action
    if action is not None and slot is not None:
        holder.action_slot = slot


def make(keys: bpy.types.Key, action: bpy.types.Action, slot: Any, undo: ExitStack) -> bpy.types.Action:
    """`action`, or a copy that `keys` play instead where other shape keys play its `slot` too.

    `undo` learns how to take that back. While a strip is tweaked, nothing can be given another Action: then they share.
    """
    data = keys.animation_data
    if data.use_tweak_mode or not _is_shared(keys, action, slot):
        return action
    copy = action.copy()
    undo.callback(bpy.data.actions.remove, copy)
    undo.callback(_exchange_all, keys, copy, action)  # in strips of that time: these may be made anew meanwhile
    copy.use_fake_user = False
    _exchange_all(keys, action, copy)
    return copy


def _exchange_all(keys: bpy.types.Key, action: bpy.types.Action, other: bpy.types.Action) -> None:
    """Let `keys` play `other` wherever they play `action`, by slots of the same names."""
    for holder in holders(keys.animation_data):
        if holder.action == action:
            used = holder.action_slot
            exchange(holder, other, None if used is None else other.slots.get(used.identifier))


def _is_shared(keys: bpy.types.Key, action: bpy.types.Action, slot: Any) -> bool:
    uses = sum(holder.action == action for holder in holders(keys.animation_data))
    if action.users - action.use_fake_user <= uses:  # quick: asked while a slider is dragged
        return False
    users = bpy.data.user_map(subset={action})[action]
    return any(
        holder.action == action and holder.action_slot == slot
        for user in users
        if isinstance(user, bpy.types.Key) and user != keys and user.animation_data is not None
        for holder in holders(user.animation_data)
    )
