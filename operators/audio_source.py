# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the speech comes from: a file, a strip of the sequencer or a sound datablock, as a snapshot without bpy."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy

from ..inference import AudioError, Speech, read_speech
from ..inference.speech import SAMPLE_RATE
from .strip_times import times_of


@dataclass(frozen=True)
class AudioSource:
    """Speech to be read by any thread.

    path: absolute path of the sound file; packed: its content where it lies in the .blend.
    start_frame: scene frame at which the speech begins if it has a place on the timeline already, else None.
    cut: seconds of the file that are heard, (first, last); None is its end.
    sound: name of the Sound datablock to place, "" to load one from `path`.
    """

    path: str
    packed: bytes | None = None
    start_frame: float | None = None
    cut: tuple[float, float | None] = (0.0, None)
    sound: str = ""

    @property
    def name(self) -> str:
        """File name for messages and datablocks."""
        return Path(self.path).name or "speech"

    def read(self) -> Speech:
        """Read and trim the speech; raises AudioError."""
        if self.packed is None:
            return self._trimmed(read_speech(self.path))
        handle, copy = tempfile.mkstemp(suffix=Path(self.path).suffix)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self.packed)
            return self._trimmed(read_speech(copy))
        except AudioError as error:
            raise AudioError(str(error).replace(copy, self.name).replace(Path(copy).name, self.name)) from error
        except OSError as error:
            raise AudioError(f"The packed sound “{self.name}” cannot be unpacked ({error.strerror}).") from error
        finally:
            Path(copy).unlink(missing_ok=True)

    def _trimmed(self, speech: Speech) -> Speech:
        first, last = self.cut
        heard = slice(round(first * SAMPLE_RATE), None if last is None else round(last * SAMPLE_RATE))
        samples = speech.samples[heard]
        if len(samples) == 0:
            raise AudioError(f"Nothing of “{self.name}” is heard in its strip; lengthen the strip.")
        return replace(speech, samples=samples)


def from_file(path: str) -> AudioSource:
    """The sound file at `path`, which may be relative to the .blend (//)."""
    if not path.strip():
        raise AudioError("No speech is chosen; choose a sound file.")
    return AudioSource(str(Path(bpy.path.abspath(path)).expanduser().absolute()))


def from_sound(sound: bpy.types.Sound | None) -> AudioSource:
    """A Sound datablock, packed or not."""
    if sound is None:
        raise AudioError("No speech is chosen; choose a sound.")
    packed = bytes(sound.packed_file.data) if sound.packed_file else None
    path = bpy.path.abspath(sound.filepath, library=sound.library)
    return AudioSource(path or sound.name, packed, sound=sound.name)


def from_strip(strip: Any | None, fps: float) -> AudioSource:
    """A sound strip, heard as it is trimmed, at its place on the timeline; `fps` of its scene (Hz)."""
    if strip is None:
        raise AudioError("No speech is chosen; select a sound strip in the sequencer.")
    if strip.sound is None:
        raise AudioError(f"The strip “{strip.name}” has no sound; choose another one.")
    if len(strip.retiming_keys) > 0:
        raise AudioError(f"The strip “{strip.name}” is retimed; reset its retiming, or render it to a sound file.")
    times = times_of(strip, fps)
    heard_from = max(times.first_sample, times.left)
    cut = (heard_from - times.first_sample) / fps, (times.right - times.first_sample) / fps
    return replace(from_sound(strip.sound), start_frame=heard_from, cut=cut)


def find_strip(scene: bpy.types.Scene, name: str) -> Any | None:
    """The sound strip called `name`, or with no name the active one, or the only one; None if there is none."""
    editor = scene.sequence_editor
    if editor is None:
        return None
    strips = [strip for strip in editor.strips_all if strip.type == "SOUND"]
    if name:
        return next((strip for strip in strips if strip.name == name), None)
    if editor.active_strip in strips:
        return editor.active_strip
    return strips[0] if len(strips) == 1 else None


def from_settings(settings: Any, scene: bpy.types.Scene) -> AudioSource:
    """The source that the user chose; raises AudioError when there is none."""
    if settings.source == "STRIP":
        return from_strip(find_strip(scene, settings.strip), scene.render.fps / scene.render.fps_base)
    if settings.source == "SOUND":
        return from_sound(settings.sound)
    return from_file(settings.audio_path)


def missing_reason(settings: Any, scene: bpy.types.Scene) -> str:
    """Why no speech can be read, as one sentence; empty when it looks as if it can. Cheap enough for poll."""
    if settings.source == "FILE":
        if not settings.audio_path.strip():
            return "No speech is chosen; choose a sound file."
        path = bpy.path.abspath(settings.audio_path)
        return "" if os.path.isfile(path) else f"There is no sound file at “{path}”; choose another one."
    if settings.source == "STRIP":
        chosen = find_strip(scene, settings.strip)
        return "" if chosen else "No speech is chosen; select a sound strip in the sequencer."
    return "" if settings.sound else "No speech is chosen; choose a sound."
