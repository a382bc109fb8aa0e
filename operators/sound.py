# SPDX-License-Identifier: GPL-3.0-or-later
"""Putting the speech where it is heard: a strip in the sequencer of the scene that is animated."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import bpy

from ..inference import AudioError
from ..inference.pieces import Piece
from . import ids
from .audio_source import AudioSource, Recording, from_strips, other_sequencer
from .frames import frame_rate
from .retiming import is_retimed
from .strip_times import ROUNDED, is_muted, span_of, times_of


def as_heard(scene: bpy.types.Scene, source: AudioSource, start_frame: float) -> AudioSource:
    """`source`; or where strips play it from `start_frame` on, but trimmed, retimed or in parts, what these let be
    heard.

    Otherwise lips would go on where nothing is heard, and speech be heard at two speeds at once. Raises AudioError.
    """
    editor = scene.sequence_editor
    if source.placed or editor is None:
        return source
    fps, recording = frame_rate(scene), source.recordings[0]
    parts: list[Any] = []
    for strip in sorted(editor.strips_all, key=span_of):
        if _plays(strip, recording, start_frame, fps) and not (parts and span_of(strip)[0] < span_of(parts[-1])[1]):
            parts.append(strip)
    if not parts:
        return source
    heard = from_strips(parts, fps)
    begin, end = heard.recordings[0].stretches[0], heard.recordings[-1].stretches[-1]
    last = start_frame + heard.recordings[0].length * fps
    retimed = any(map(is_retimed, parts))
    whole = len(parts) == 1 and begin.frames[0] < start_frame + ROUNDED and end.frames[-1] > last - ROUNDED
    if whole and not retimed:
        return source
    how = "retimed" if retimed else "trimmed"
    return replace(heard, note=f"“{source.name}” is {how} in the sequencer; the lips move while it is heard.")


def place(scene: bpy.types.Scene, source: AudioSource, pieces: tuple[Piece, ...], undo: ExitStack) -> tuple[Piece, ...]:
    """Make `source` heard where its `pieces` are, unless it is there already; raises AudioError.

    Its strips get an id (`ids.PIECE`) that outlasts renaming and moving; returns the pieces with names and ids.
    """
    if not source.placed:
        strip = _placed(scene, source.recordings[0], pieces[0].frames, undo)
        pieces = tuple(replace(piece, strip=strip.name) for piece in pieces)
    editor = scene.sequence_editor
    marks = {piece.strip: _marked(editor, piece.strip, undo) for piece in pieces} if editor else {}
    return tuple(replace(piece, mark=marks.get(piece.strip, "")) for piece in pieces)


def _marked(editor: Any, name: str, undo: ExitStack) -> str:
    """The id of the strip called `name`, a new one if another strip, a copy of it, has the same; "" if it is gone."""
    strips = list(editor.strips_all)
    strip = next((strip for strip in strips if strip.name == name), None)
    if strip is None:
        return ""
    mark = strip.get(ids.PIECE)
    if not isinstance(mark, str) or any(other.get(ids.PIECE) == mark for other in strips if other != strip):
        if mark is None:
            undo.callback(strip.pop, ids.PIECE, None)
        else:
            undo.callback(strip.__setitem__, ids.PIECE, mark)
        strip[ids.PIECE] = mark = uuid4().hex
    return mark


def _placed(scene: bpy.types.Scene, source: Recording, frames: Sequence[float], undo: ExitStack) -> Any:
    """The strip that makes all of `source` heard, from the first to the last of `frames`.

    A strip lies on whole frames; what is left over goes into its sound offset (seconds).
    """
    if scene.sequence_editor is None:
        undo.callback(scene.sequence_editor_clear)
        scene.sequence_editor_create()
    fps, start_frame = frame_rate(scene), frames[0]
    editor = scene.sequence_editor
    for there in editor.strips_all:
        left, right = span_of(there)
        untrimmed = left < start_frame + ROUNDED and right > frames[-1] - ROUNDED
        if untrimmed and not is_retimed(there) and _plays(there, source, start_frame, fps):
            return there
    whole = math.floor(start_frame + 1e-6)
    strip, new_sound = _new_strip(editor, source, whole)
    if new_sound is not None:
        undo.callback(_remove_unused_sound, new_sound.session_uid)
    undo.callback(editor.strips.remove, strip)
    strip.sound_offset = (start_frame - whole) / fps
    strip.channel = _free_channel(editor, strip)
    return strip


def others(scene: bpy.types.Scene, source: AudioSource, pieces: tuple[Piece, ...]) -> list[Any]:
    """Strips that let the speech of a `source` without a place of its own be heard beside its `pieces`, too."""
    editor = scene.sequence_editor
    if source.placed or editor is None:
        return []
    ours = {piece.strip for piece in pieces}
    sounds = {strip.sound for strip in editor.strips_all if strip.name in ours and strip.type == "SOUND"}
    return [
        strip
        for strip in editor.strips_all
        if strip.type == "SOUND" and strip.sound in sounds and strip.name not in ours and not is_muted(strip)
    ]


def elsewhere(scene: bpy.types.Scene) -> str:
    """One sentence where the user's sequencer shows another scene than `scene`, or ""."""
    shown = other_sequencer(scene)
    if shown is None:
        return ""
    return f"The sound is in the sequencer of the scene “{scene.name}”; yours shows “{shown.name}”."


def play_in_sync(scene: bpy.types.Scene, last_frame: float, undo: ExitStack) -> None:
    """Play back by the sound's clock, hear it when scrubbing, and make the scene last to `last_frame`."""
    wanted = {
        "sync_mode": "AUDIO_SYNC",
        "use_audio_scrub": True,
        "frame_end": max(scene.frame_end, math.ceil(last_frame)),
    }
    for name, value in wanted.items():
        undo.callback(setattr, scene, name, getattr(scene, name))
        setattr(scene, name, value)


def _new_strip(editor: Any, source: Recording, frame: int) -> tuple[Any, bpy.types.Sound | None]:
    """A strip with the source's sound, and the Sound datablock if one had to be made."""
    channel = max((strip.channel for strip in editor.strips_all), default=0) + 1
    before = {sound.session_uid for sound in bpy.data.sounds}
    wanted = _sound(source.sound) or _loaded(source.path)
    try:
        with _file_of(source if wanted else replace(source, packed=None)) as path:
            strip = editor.strips.new_sound(name=source.name, filepath=path, channel=channel, frame_start=frame)
    except (RuntimeError, OSError) as error:
        raise AudioError(f"“{source.name}” cannot be put into the sequencer: {error}") from error
    made = strip.sound if strip.sound.session_uid not in before else None
    if wanted is not None and strip.sound != wanted:
        strip.sound = wanted
        if made is not None and made.users == 0:
            bpy.data.sounds.remove(made)
        made = None
    return strip, made


@contextmanager
def _file_of(source: Recording) -> Iterator[str]:
    """A file that sounds as `source` does: a new strip is as long as its file, and a packed sound's may be gone."""
    if source.packed is None:
        yield _shown_path(source.path)
        return
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows removes no file that Blender still reads
        path = Path(folder, "speech")
        path.write_bytes(source.packed)
        yield str(path)


def _plays(strip: Any, source: Recording, frame: float, fps: float) -> bool:
    """Whether `strip` is heard and plays `source`, or a part of it, as if that began at `frame`."""
    if strip.type != "SOUND" or strip.sound is None or is_muted(strip):
        return False
    same = strip.sound.session_uid == source.sound or _same_file(strip.sound, source.path)
    return same and abs(times_of(strip, fps).first_sample - frame) < 0.01


def _same_file(sound: bpy.types.Sound, path: str) -> bool:
    own = bpy.path.abspath(sound.filepath, library=sound.library)
    return os.path.normcase(os.path.normpath(own)) == os.path.normcase(os.path.normpath(path))


def _sound(uid: int) -> bpy.types.Sound | None:
    """The sound with this session id: names may be those of linked sounds, too."""
    return next((sound for sound in bpy.data.sounds if sound.session_uid == uid), None)


def _loaded(path: str) -> bpy.types.Sound | None:
    return next((sound for sound in bpy.data.sounds if not sound.library and _same_file(sound, path)), None)


def _shown_path(path: str) -> str:
    """Relative to the .blend where the user wants paths so and the file has a place."""
    if bpy.data.filepath and bpy.context.preferences.filepaths.use_relative_paths:
        try:
            return bpy.path.relpath(path)
        except ValueError:  # another drive of Windows
            return path
    return path


def _free_channel(editor: Any, strip: Any) -> int:
    """Lowest channel with room for `strip`, one that is heard where there is any."""
    left, right = span_of(strip)
    spans = [(other.channel, *span_of(other)) for other in editor.strips if other != strip]
    taken = {channel for channel, start, end in spans if start < right and end > left}
    free = [channel for channel in range(1, len(taken) + len(editor.channels) + 2) if channel not in taken]
    heard = [channel for channel in free if channel < len(editor.channels) and not editor.channels[channel].mute]
    return (heard or free)[0]


def _remove_unused_sound(uid: int) -> None:
    sound = _sound(uid)
    if sound is not None and sound.users == 0:
        bpy.data.sounds.remove(sound)
