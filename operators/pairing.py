# SPDX-License-Identifier: GPL-3.0-or-later
"""Which head says which strip, guessed from names and order. No bpy."""

from __future__ import annotations

import re
from collections.abc import Sequence


def paired(heads: Sequence[str], speeches: Sequence[str]) -> dict[int, int]:
    """Index of the speech for each head that gets one: by name first, then the rest in order where as many are left.

    A speech belongs to a head if its name holds all words of the head's; of several heads to the one with most.
    """
    pairs: dict[int, int] = {}
    for head in sorted(range(len(heads)), key=lambda i: -len(_words(heads[i]))):
        words = _words(heads[head])
        for speech, name in enumerate(speeches):
            if words and speech not in pairs.values() and words <= _words(name):
                pairs[head] = speech
                break
    unpaired = [head for head in range(len(heads)) if head not in pairs]
    left = [speech for speech in range(len(speeches)) if speech not in pairs.values()]
    if len(unpaired) == len(left):
        pairs |= dict(zip(unpaired, left, strict=True))
    return pairs


def _words(name: str) -> frozenset[str]:
    """Words of `name` in lower case, split at anything but letters and digits, and where capitals begin."""
    return frozenset(re.findall(r"[^\W\d_]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))
