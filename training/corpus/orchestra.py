# SPDX-License-Identifier: GPL-3.0-or-later
"""Music of sampled instruments, composed by chance: what no lips should follow.

Tones made of sines teach a network what a synthesiser sounds like, and it opens the mouth for a real flute or guitar.
FluidSynth plays every instrument of General MIDI from a sound font; `setup_engines.sh` installs both.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import mido
import numpy as np
import soundfile
import soxr

from ..config import SAMPLE_RATE

SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
RATE = 44_100  # Hz at which its instruments were recorded
TICKS = 480  # MIDI ticks in a beat
DRUMS = 9  # the channel that General MIDI keeps for them
KICK, SNARE, HAT, OPEN_HAT, TOM = 36, 38, 42, 46, 45
BASSES = range(32, 40)  # General MIDI programs
SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 7, 9))
WHEEL = 8191  # the pitch wheel's end: two semitones

Event = tuple[float, mido.Message]
"""A message and the beat at which it comes."""


@dataclass(frozen=True)
class Song:
    """beats: its length. scale: semitones above `key` (a MIDI note). roots: the degree that each beat's chord is on."""

    beats: int
    key: int
    scale: tuple[int, ...]
    roots: np.ndarray

    def note(self, degree: int) -> int:
        """MIDI note of a degree of the scale; degrees go on into the octaves above and below."""
        octave, step = divmod(int(degree), len(self.scale))
        return int(np.clip(self.key + 12 * octave + self.scale[step], 12, 115))

    def root(self, beat: float) -> int:
        """Degree of the chord at `beat`."""
        return int(self.roots[int(beat) % len(self.roots)])


def play(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """A piece of music (N,) float32 at 16 kHz.

    Raises OSError without FluidSynth or its sound font, and when FluidSynth fails.
    """
    if not SOUND_FONT.exists():
        raise FileNotFoundError("There is no sound font; run training/corpus/setup_engines.sh.")
    with TemporaryDirectory() as name:
        folder = Path(name)
        compose(seconds, rng).save(folder / "piece.mid")
        effects = ["-R", str(rng.integers(2)), "-C", str(rng.integers(2))]  # reverb, chorus
        output = ["-F", "piece.wav", "-r", str(RATE), "-g", "0.4"]
        command = ["fluidsynth", "-ni", "-q", *effects, *output, str(SOUND_FONT), "piece.mid"]
        try:
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
        except (OSError, subprocess.SubprocessError) as problem:
            raise OSError(f"FluidSynth does not play ({problem}); run training/corpus/setup_engines.sh.") from problem
        sound, rate = soundfile.read(folder / "piece.wav", dtype="float32", always_2d=True)
    heard = soxr.resample(sound.mean(1), rate, SAMPLE_RATE)
    count = int(seconds * SAMPLE_RATE)
    return np.pad(heard, (0, max(0, count - len(heard))))[:count].astype(np.float32)


def compose(seconds: float, rng: np.random.Generator) -> mido.MidiFile:
    """Some of chords, bass, a tune, a second voice and drums, over four chords of a key, at any speed."""
    tempo = rng.uniform(50, 190)  # beats a minute
    roots = np.repeat(rng.integers(0, 7, 4), rng.choice([1, 2, 4]))
    scale = SCALES[int(rng.integers(len(SCALES)))]
    song = Song(int(seconds * tempo / 60) + 1, int(rng.integers(55, 67)), scale, roots)
    chances = ((chords, 0.6), (bass, 0.5), (tune, 0.7), (tune, 0.3), (drums, 0.45))
    parts = [part for part, chance in chances if rng.random() < chance] or [tune]
    file = mido.MidiFile(ticks_per_beat=TICKS)
    file.tracks.append(mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo))]))
    for channel, part in enumerate(parts):
        file.tracks.append(_track(part(song, rng), DRUMS if part is drums else channel))
    return file


def chords(song: Song, rng: np.random.Generator) -> list[Event]:
    """Triads, held, strummed or repeated, by any instrument."""
    pulse = float(rng.choice([0.5, 1, 2, 4]))
    strum, length = rng.choice([0.0, 0.04, 0.1]), pulse * rng.uniform(0.3, 1.0)
    low = len(song.scale) * int(rng.integers(-2, 1))
    events: list[Event] = [(0.0, _program(int(rng.integers(128))))]
    for beat in np.arange(0, song.beats, pulse):
        degrees = [song.root(beat) + low + third for third in (0, 2, 4, 6)[: int(rng.integers(2, 5))]]
        for i, degree in enumerate(degrees):
            events += _note(beat + strum * i, length, song.note(degree), int(rng.integers(40, 100)))
    return events


def bass(song: Song, rng: np.random.Generator) -> list[Event]:
    """Roots and fifths, low."""
    pulse = float(rng.choice([0.5, 1, 2]))
    events: list[Event] = [(0.0, _program(int(rng.choice(BASSES)) if rng.random() < 0.8 else int(rng.integers(128))))]
    for beat in np.arange(0, song.beats, pulse):
        degree = song.root(beat) - 2 * len(song.scale) + int(rng.choice([0, 0, 0, 4]))
        events += _note(beat, pulse * rng.uniform(0.4, 1.0), song.note(degree), int(rng.integers(60, 115)))
    return events


def tune(song: Song, rng: np.random.Generator) -> list[Event]:
    """A walk through the scale by any instrument, with rests, vibrato, swells and slides from note to note."""
    degree, beat = int(rng.integers(-7, 10)), 0.0
    lengths = rng.choice([0.25, 0.5, 1.0, 2.0], int(rng.integers(1, 4)))
    slides, tie = rng.random() < 0.4, rng.uniform(0.4, 1.05)
    program = mido.Message("control_change", control=1, value=int(rng.choice([0, 0, 60, 127])))  # modulation: vibrato
    events: list[Event] = [(0.0, _program(int(rng.integers(128)))), (0.0, program)]
    while beat < song.beats:
        length = float(rng.choice(lengths))
        if rng.random() < 0.85:
            degree = int(np.clip(degree + rng.integers(-3, 4), -14, 16))
            events += _note(beat, length * tie, song.note(degree), int(rng.integers(45, 120)))
            if slides:
                events += _slide(beat, length, rng)
            if length >= 1:
                events += _swell(beat, length, rng)
        beat += length
    return events


def drums(song: Song, rng: np.random.Generator) -> list[Event]:
    """A bar of drums, repeated with what each bar leaves out."""
    events: list[Event] = [(0.0, _program(int(rng.choice([0, 8, 16, 24, 25, 32, 40, 48]))))]
    bar = {drum: rng.random(16) < share for drum, share in ((KICK, 0.2), (SNARE, 0.15), (HAT, 0.5), (OPEN_HAT, 0.05))}
    bar[KICK][0] = bar[SNARE][8] = True
    bar[int(rng.integers(TOM, 82))] = rng.random(16) < rng.choice([0, 0.2])  # toms, cymbals, bells, rattles
    for step in range(4 * song.beats):
        for drum, strokes in bar.items():
            if strokes[step % 16] and rng.random() < 0.93:
                events += _note(step / 4, 0.2, drum, int(rng.integers(50, 120)))
    return events


def _program(number: int) -> mido.Message:
    return mido.Message("program_change", program=number)


def _note(beat: float, length: float, note: int, velocity: int) -> list[Event]:
    on = mido.Message("note_on", note=note, velocity=velocity)
    return [(beat, on), (beat + length, mido.Message("note_off", note=note))]


def _slide(beat: float, length: float, rng: np.random.Generator) -> list[Event]:
    """The pitch comes from up to two semitones away within half the note."""
    away = rng.integers(-WHEEL, WHEEL)
    return [
        (beat + length * share / 2, mido.Message("pitchwheel", pitch=int(away * (1 - share))))
        for share in np.linspace(0, 1, 12)
    ]


def _swell(beat: float, length: float, rng: np.random.Generator) -> list[Event]:
    """Expression rises or falls while the note is held."""
    values = np.linspace(rng.integers(30, 128), rng.integers(30, 128), 12).astype(int)
    return [
        (beat + length * i / 12, mido.Message("control_change", control=11, value=int(value)))
        for i, value in enumerate(values)
    ]


def _track(events: list[Event], channel: int) -> mido.MidiTrack:
    """Events in order, each with the ticks since the one before."""
    track, now = mido.MidiTrack(), 0
    for beat, message in sorted(events, key=lambda event: event[0]):
        tick = round(beat * TICKS)
        track.append(message.copy(channel=channel, time=tick - now))
        now = tick
    return track
