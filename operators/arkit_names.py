# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognising ARKit shape-key names however they are spelled. No bpy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# mouthSmile_L, mouthSmile.R, mouthSmile-left, mouthSmile Right …
_SEPARATED_SIDE = re.compile(r"[._\- ](l|r|left|right)$", re.IGNORECASE)
# … and mouthSmileL
_CAMEL_SIDE = re.compile(r"(?<=[a-z])([LR])$")
_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}


@dataclass(frozen=True)
class Channel:
    """One shape key of the mesh and the columns of the model's weights (averaged) that drive it."""

    key: str
    columns: tuple[int, ...]


def canonical(name: str) -> str:
    """The spelling that all variants of an ARKit name share: mouthSmile_L → mouthsmileleft."""
    found = _SEPARATED_SIDE.search(name) or _CAMEL_SIDE.search(name)
    if found:
        name = name[: found.start()] + _SIDES[found.group(1).lower()]
    return re.sub(r"[._\- ]", "", name).lower()


def recognise(keys: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Which of `known` ARKit names are among the mesh's `keys`: name → key; an exact spelling wins."""
    keys = list(keys)
    exact, variants = set(keys), {canonical(key): key for key in reversed(keys)}
    matches = {}
    for name in known:
        key = name if name in exact else variants.get(canonical(name))
        if key is not None:
            matches[name] = key
    return matches


def channels(keys: Iterable[str], names: Sequence[str]) -> tuple[Channel, ...]:
    """The mesh's `keys` that the model's `names` drive.

    A key for both sides at once (Apple's browInnerUp and cheekPuff) takes the mean of left and right.
    """
    keys = list(keys)
    matches = recognise(keys, names)
    found = [Channel(key, (names.index(name),)) for name, key in matches.items()]
    whole = {name.removesuffix("Left") for name in names if name.endswith("Left")}
    for name, key in recognise(keys, sorted(whole)).items():
        sides = tuple(names.index(side) for side in (f"{name}Left", f"{name}Right") if side in names)
        if len(sides) == 2 and name not in names and not any(names[side] in matches for side in sides):
            found.append(Channel(key, sides))
    return tuple(found)
