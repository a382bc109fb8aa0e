# SPDX-License-Identifier: GPL-3.0-or-later
"""The strips of a lip sync, found again after they were moved, renamed, cut or copied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np

from ..inference import AudioError
from ..inference.pieces import Piece, Stretch, laid
from . import ids
from .frames import frame_rate
from .strip_times import ROUNDED, heard_of

_MOVED = 0.01  # scene frames


def laid_now(scene: bpy.types.Scene, pieces: Sequence[Piece], later: float = 0.0) -> tuple[Piece, ...]:
    """`pieces` where their strips are heard now, in frames of an animation that plays `later` frames later.

    A strip that was cut in two gives two pieces, one that was shortened a shorter one.
    Raises AudioError when a strip is gone, lets more of its sound be heard than the network heard, or plays another.
    """
    fps = frame_rate(scene)
    editor = scene.sequence_editor
    sounds = [strip for strip in editor.strips_all if strip.type == "SOUND"] if editor else []
    marked: dict[Any, list[Any]] = {}
    for strip in sounds:
        marked.setdefault(strip.get(ids.PIECE), []).append(strip)
    found: list[Piece] = []
    for mark in dict.fromkeys((piece.mark, piece.strip) for piece in pieces):
        own = [piece for piece in pieces if (piece.mark, piece.strip) == mark]
        distinct = list({(piece.first, piece.count): piece for piece in own}.values())
        piece = own[0]
        # By name only where there are no ids to tell from: the same sound may be another line's, spoken elsewhere.
        candidates = marked.get(piece.mark, []) if piece.mark else []
        candidates = candidates or [
            strip
            for strip in (marked.get(None, []) if piece.mark else sounds)
            if strip.name == piece.strip and _name_of(strip) == piece.sound
        ]
        for strip, stretches in _strips_of(piece, candidates, fps):
            _check(strip, own, stretches, fps)
            for stretch in stretches:
                shifted = Stretch(tuple(frame - later for frame in stretch.frames), stretch.seconds)
                found += [new for piece in distinct if (new := laid(piece, shifted)) is not None]
    return tuple(sorted(found, key=lambda piece: piece.frames[0]))


def are_elsewhere(scene: bpy.types.Scene, pieces: Sequence[Piece]) -> bool:
    """Whether the strips of `pieces` lie in the sequencer of another scene, and none of them in that of `scene`."""
    marks = {piece.mark for piece in pieces if piece.mark}
    return not marks & _marks(scene) and any(marks & _marks(each) for each in bpy.data.scenes)


def moved(before: Sequence[Piece], after: Sequence[Piece]) -> bool:
    """Whether any sound is heard elsewhere than before."""
    if len(before) != len(after):
        return True
    pairs = zip(sorted(before, key=lambda piece: piece.frames[0]), after, strict=True)
    return any(old.first != new.first or _elsewhere(old, new) for old, new in pairs)


def _elsewhere(old: Piece, new: Piece) -> bool:
    """Whether a piece is heard at other frames, or more or less of it."""
    if len(old.frames) != len(new.frames):
        return True
    frames, seconds = np.array(old.frames), np.array(old.seconds)
    if seconds[-1] > old.length - 1e-3 and 0 <= frames[-1] - new.frames[-1] < ROUNDED:
        frames[-1], seconds[-1] = old.frame_at(new.seconds[-1]), new.seconds[-1]  # all of the file, as far as strips go
    return bool(np.abs(frames - new.frames).max() > _MOVED or np.abs(seconds - new.seconds).max() > 1e-3)


def _strips_of(piece: Piece, candidates: list[Any], fps: float) -> list[tuple[Any, tuple[Stretch, ...]]]:
    """Which of `candidates`, all with the piece's id, play it, and when.

    Parts of a strip that was cut play different seconds of the sound; a copy plays the same ones and is left out: the
    strip with the name that was spoken is the original.
    """
    if not candidates:
        elsewhere = next((scene for scene in bpy.data.scenes if piece.mark and piece.mark in _marks(scene)), None)
        if elsewhere is not None:
            where = f"in the sequencer of the scene “{elsewhere.name}”"
            raise AudioError(f"The strip “{piece.strip}” is {where}; re-time there.")
        raise AudioError(
            f"The strip “{piece.strip}” is gone from the sequencer; bring it back, delete its line of the lip sync, or "
            "generate again."
        )
    candidates.sort(key=lambda strip: strip.name != piece.strip)
    heard = [(strip, heard_of(strip, fps, piece.length)) for strip in candidates]
    chosen: list[tuple[Any, tuple[Stretch, ...]]] = []
    for strip, stretches in heard:
        if not stretches:
            continue
        crossed = [there for there, others in chosen if _overlap(stretches, others, fps)]
        if crossed and crossed[0].name != piece.strip:
            raise AudioError(
                f"There are several copies of “{piece.strip}” in the sequencer; delete one, or generate again."
            )
        if not crossed:
            chosen.append((strip, stretches))
    if not chosen:
        raise AudioError(f"Nothing of “{piece.strip}” is heard in its strip; lengthen the strip.")
    return chosen


def _marks(scene: bpy.types.Scene) -> set[Any]:
    """The ids of all strips of a scene."""
    return {strip.get(ids.PIECE) for strip in scene.sequence_editor.strips_all} if scene.sequence_editor else set()


def _check(strip: Any, pieces: Sequence[Piece], stretches: Sequence[Stretch], fps: float) -> None:
    """Raise AudioError if `strip` plays what the network has not heard."""
    if _name_of(strip) != pieces[0].sound:
        raise AudioError(f"The strip “{strip.name}” plays another sound than was spoken; generate again.")
    first, last = min(piece.heard[0] for piece in pieces), max(piece.heard[1] for piece in pieces)
    if stretches[0].seconds[0] < first - 1 / fps or stretches[-1].seconds[-1] > last + 1 / fps:
        raise AudioError(
            f"More of “{strip.name}” is heard now than when it was spoken; trim it as before or generate again."
        )


def _overlap(stretches: Sequence[Stretch], others: Sequence[Stretch], fps: float) -> bool:
    """Whether two strips play the same seconds of a sound, by more than a frame."""
    begin = max(stretches[0].seconds[0], others[0].seconds[0])
    return min(stretches[-1].seconds[-1], others[-1].seconds[-1]) - begin > 1 / fps


def _name_of(strip: Any) -> str:
    """Name of the strip's sound file."""
    if strip.sound is None:
        return ""
    return Path(bpy.path.abspath(strip.sound.filepath, library=strip.sound.library) or strip.sound.name).name
