# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the speech comes from: a file, strips of the sequencer or a sound datablock, as a snapshot without bpy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..inference import AudioError, Speech, read_speech
from ..inference.pieces import Stretch
from ..inference.speech import SAMPLE_RATE, sound_duration
from ..inference.takes import Take
from .frames import frame_rate
from .strip_times import heard_of, span_of


@dataclass(frozen=True)
class Recording:
    """One sound file, and where it is heard.

    path: absolute path of the sound file; packed: its content where it lies in the .blend.
    sound: Blender's session id of the Sound datablock to place, 0 to load one from `path`; a linked sound may have the
    name of another.
    strip: name of the strip that is heard, "" where there is none yet; stretches: when that is, by its scene;
    length: seconds that its file lasts.
    """

    path: str
    packed: bytes | None = None
    sound: int = 0
    strip: str = ""
    stretches: tuple[Stretch, ...] = ()
    length: float = 0.0

    @property
    def name(self) -> str:
        """File name for messages and datablocks."""
        return Path(self.path).name or "speech"

    def read(self) -> Speech:
        """All of the file; raises AudioError."""
        return read_speech(self.path if self.packed is None else self.name, content=self.packed)


@dataclass(frozen=True)
class AudioSource:
    """Speech to be read by any thread: one recording or more, in order of time if they have a place already.

    note: what the user should know of it, one sentence, or "".
    """

    recordings: tuple[Recording, ...]
    note: str = ""

    @property
    def name(self) -> str:
        """What is spoken, for messages and datablocks."""
        first, *more = (recording.name for recording in self.recordings)
        return f"{first} and {len(more)} more" if more else first

    @property
    def placed(self) -> bool:
        """Whether it lies on the timeline already."""
        return bool(self.recordings[0].stretches)

    @property
    def start_frame(self) -> float | None:
        """Scene frame at which the speech begins if it has a place on the timeline, else None."""
        return self.recordings[0].stretches[0].frames[0] if self.placed else None

    def takes(self, start_frame: float, fps: float) -> list[Take]:
        """Read everything; what has no place begins at `start_frame` of a scene of `fps` (Hz). Raises AudioError."""
        files: dict[tuple[str, bytes | None], Speech] = {}
        takes = []
        for recording in self.recordings:
            key = recording.path, recording.packed  # packed sounds may come from one path, and be different
            if key not in files:
                files[key] = recording.read()
            takes.append(_take(recording, files[key], start_frame, fps))
        return takes


def _take(recording: Recording, speech: Speech, start_frame: float, fps: float) -> Take:
    """What is heard of `speech`."""
    stretches = recording.stretches or (
        Stretch((start_frame, start_frame + speech.duration * fps), (0.0, speech.duration)),
    )
    first = round(stretches[0].seconds[0] * SAMPLE_RATE)
    samples = speech.samples[first : round(stretches[-1].seconds[-1] * SAMPLE_RATE)]
    if len(samples) == 0:
        raise _unheard(recording.strip or recording.name)
    return Take(
        samples,
        stretches[0].seconds[0],
        stretches,
        recording.strip,
        recording.name,
        recording.length or speech.duration,
    )


def from_file(path: str) -> AudioSource:
    """The sound file at `path`, which may be relative to the .blend (//)."""
    if not path.strip():
        raise AudioError("No speech is chosen; choose a sound file.")
    place = str(Path(_absolute(path)).absolute())
    try:
        place.encode()
    except UnicodeEncodeError as error:  # a disk may hold such a name, and Blender's sequencer cannot
        shown = place.encode("utf-8", "replace").decode()
        raise AudioError(f"“{shown}” has characters that Blender cannot spell; rename it.") from error
    return AudioSource((Recording(place),))


def _absolute(path: str) -> str:
    """`path` in full; in files from Windows it may have backslashes, which Blender mends in its own settings alone."""
    if path.startswith("//"):
        path = path.replace("\\", "/")
    return os.path.expanduser(bpy.path.abspath(path))


def from_sound(sound: bpy.types.Sound | None) -> AudioSource:
    """A Sound datablock, packed or not."""
    if sound is None:
        raise AudioError("No speech is chosen; choose a sound.")
    return AudioSource((_of_sound(sound),))


def from_strips(strips: Sequence[Any], fps: float) -> AudioSource:
    """Sound strips, each heard as it is trimmed and retimed, at its place on the timeline; `fps` of the scene (Hz).

    Only where a sound lies counts: volume, mute and fades are ignored, so that a strip may speak that nobody hears.
    """
    if not strips:
        raise AudioError("No speech is chosen; select a sound strip in the sequencer.")
    recordings = [_of_strip(strip, fps) for strip in strips]
    heard = [recording for recording in recordings if recording.stretches]
    if not heard:
        raise _unheard(strips[0].name)
    return AudioSource(tuple(sorted(heard, key=lambda recording: recording.stretches[0].frames[0])))


def _of_sound(sound: bpy.types.Sound) -> Recording:
    packed = bytes(sound.packed_file.data) if sound.packed_file else None
    path = bpy.path.abspath(sound.filepath, library=sound.library)
    return Recording(path or sound.name, packed, sound.session_uid)


def _of_strip(strip: Any, fps: float) -> Recording:
    if strip.sound is None:
        raise AudioError(f"The strip “{strip.name}” has no sound; choose another one.")
    file = _of_sound(strip.sound)
    length = sound_duration(file.path if file.packed is None else file.name, file.packed)
    return Recording(file.path, file.packed, file.sound, strip.name, heard_of(strip, fps, length), length)


def _unheard(name: str) -> AudioError:
    return AudioError(f"Nothing of “{name}” is heard in its strip; lengthen the strip.")


def find_strips(scene: bpy.types.Scene, name: str) -> list[Any]:
    """The sound strips that speak: the one called `name`; with no name all that are selected, in order of time.

    With none selected the active one, or the only one; empty if there is none. A selected meta strip stands for the
    sounds in it; while one is open for editing, only what is in it counts.
    """
    editor = scene.sequence_editor
    if editor is None:
        return []
    sounds = [strip for strip in editor.strips_all if strip.type == "SOUND"]
    if name:
        return [strip for strip in sounds if strip.name == name]
    shown = editor.meta_stack[-1].strips if len(editor.meta_stack) else editor.strips
    selected = [sound for strip in shown if strip.select for sound in _sounds_in(strip)]
    if selected:
        return sorted(selected, key=lambda strip: span_of(strip)[0])
    if editor.active_strip in sounds:
        return [editor.active_strip]
    return sounds if len(sounds) == 1 else []


def other_sequencer(scene: bpy.types.Scene) -> bpy.types.Scene | None:
    """The scene that the user's sequencer shows where that is not `scene`, which is possible since Blender 5.0."""
    shown = getattr(bpy.context, "sequencer_scene", None)
    return None if shown == scene else shown


def _sounds_in(strip: Any) -> list[Any]:
    """`strip` if it is a sound, or the sounds in it if it is a meta strip."""
    if strip.type == "META":
        return [sound for inner in strip.strips for sound in _sounds_in(inner)]
    return [strip] if strip.type == "SOUND" else []


def from_settings(settings: Any, scene: bpy.types.Scene) -> AudioSource:
    """The source that the user chose; raises AudioError when there is none."""
    if settings.source == "STRIP":
        strips = find_strips(scene, settings.strip)
        if not strips:
            raise AudioError(missing_reason(settings, scene))
        return from_strips(strips, frame_rate(scene))
    if settings.source == "SOUND":
        return from_sound(settings.sound)
    return from_file(settings.audio_path)


def missing_reason(settings: Any, scene: bpy.types.Scene) -> str:
    """Why no speech can be read, as one sentence; empty when it looks as if it can. Cheap enough for poll."""
    if settings.source == "FILE":
        if not settings.audio_path.strip():
            return "No speech is chosen; choose a sound file."
        path = _absolute(settings.audio_path)
        return "" if os.path.isfile(path) else f"There is no sound file at “{path}”; choose another one."
    if settings.source == "STRIP":
        if find_strips(scene, settings.strip):
            return ""
        if settings.strip:
            return (
                f"There is no sound strip “{settings.strip}” in the sequencer; choose another one, or clear the field."
            )
        shown = other_sequencer(scene)
        where = f" that shows the scene “{scene.name}”; yours shows “{shown.name}”" if shown else ""
        return f"No speech is chosen; select a sound strip in the sequencer{where}."
    return "" if settings.sound else "No speech is chosen; choose a sound."
