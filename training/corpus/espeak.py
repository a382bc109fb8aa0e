# SPDX-License-Identifier: GPL-3.0-or-later
"""espeak-ng through its C interface: sound, phoneme times, and phonetic spelling of any language it knows.

espeak-ng is a GPL program used as a tool. Its voiceless stops begin at the burst: the silent closure before it,
which is when lips are shut for [p], sits in the previous phone and is moved to the stop here.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import soxr

from ..config import SAMPLE_RATE
from .phones import VOICELESS_STOPS, Phone, from_ipa

_SYNCHRONOUS, _PHONEME_EVENTS, _IPA_EVENTS = 2, 1, 2
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8, _PHONEME_EVENT, _LIST_END = 1, 7, 0
_SHORTEST_PAUSE = 0.06  # s


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


class _Espeak:
    """The library with its one global state: a callback that collects samples and phoneme events."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL("libespeak-ng.so.1")
        self.sample_rate = self.library.espeak_Initialize(_SYNCHRONOUS, 500, None, _PHONEME_EVENTS | _IPA_EVENTS)
        if self.sample_rate <= 0:
            raise OSError("espeak-ng did not start; run training/corpus/setup_engines.sh.")
        self.blocks: list[np.ndarray] = []
        self.events: list[tuple[int, str]] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._callback = kind(self._collect)  # kept alive: the library holds only a pointer
        self.library.espeak_SetSynthCallback(self._callback)
        self.library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def _collect(self, samples, count, events) -> int:  # type: ignore[no-untyped-def]
        if count > 0 and samples:
            self.blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != _LIST_END:
            if events[i].type == _PHONEME_EVENT:
                self.events.append((events[i].sample, events[i].id.string.decode("utf-8", "ignore")))
            i += 1
        return 0

    def set_voice(self, voice: str) -> None:
        if self.library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice!r}; 'espeak-ng --voices' lists them.")

    def speak(self, voice: str, text: str, settings: dict[int, int]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Samples (N,) float32 and phonemes with their first samples; the next text is spoken a little differently."""
        self.set_voice(voice)
        for parameter, value in settings.items():
            self.library.espeak_SetParameter(parameter, value, 0)
        data = text.encode()
        self.library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
        self.library.espeak_Synchronize()
        if not self.blocks:
            raise ValueError("espeak-ng made no sound.")
        return np.concatenate(self.blocks).astype(np.float32) / 32768, self.events


def _in_a_fork(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a copy of this process.

    What espeak-ng says depends by fractions of a millisecond on what it said before: a copy that has never spoken says
    the same every time, whatever was made before, and takes nobody along when it crashes.
    """
    context = get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    child = context.Process(target=_answer, args=(sending, function, arguments))
    child.start()
    sending.close()
    try:
        answer = receiving.recv()
    except EOFError as error:
        raise ValueError("espeak-ng crashed on this text.") from error
    finally:
        child.join()
    if isinstance(answer, Exception):
        raise answer
    return answer


def _answer(sending: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    try:
        sending.send(function(*arguments))
    except ValueError as error:
        sending.send(error)


@lru_cache(maxsize=1)
def _espeak() -> _Espeak:
    return _Espeak()


def synthesise(voice: str, text: str, rate: float, pitch: float, liveliness: float) -> tuple[np.ndarray, list[Phone]]:
    """Speech (N,) float32 at 16 kHz and its phones.

    ``voice`` is espeak's, e.g. ``gmw/en-US+f3``; ``rate`` and ``pitch`` are relative to the voice's own, ``liveliness``
    0..1 is the pitch range.
    """
    engine = _espeak()
    settings = {_RATE: int(165 * rate), _PITCH: int(np.clip(50 * pitch, 0, 99)), _RANGE: int(100 * liveliness)}
    samples, events = _in_a_fork(engine.speak, voice, text, settings)
    marks = [(position / engine.sample_rate, name) for position, name in events]
    marks.append((len(samples) / engine.sample_rate, ""))
    if any("(" in name for _, name in marks):
        raise ValueError("espeak-ng fell back on another language for a part of the text.")
    phones: list[Phone] = []
    for (start, symbols), (end, _) in itertools.pairwise(marks):
        names = from_ipa(symbols)
        if not names:  # a pause; or, when short, a glide or a tone that belongs to the phone before
            pause = not symbols.strip("_ ") and (end - start > _SHORTEST_PAUSE or end == marks[-1][0])
            names = ["SIL"] if pause or not phones else [phones[-1][2]]
        step = (end - start) / len(names)
        phones += [(start + k * step, start + (k + 1) * step, name) for k, name in enumerate(names)]
    phones = _join_repeats([p for p in phones if p[1] > p[0]])
    speech = soxr.resample(samples, engine.sample_rate, SAMPLE_RATE).astype(np.float32)
    return speech, move_closures(speech, phones)


def _join_repeats(phones: list[Phone]) -> list[Phone]:
    """A tone mark repeats its vowel: one phone again."""
    out: list[Phone] = []
    for start, end, name in phones:
        if out and out[-1][2] == name and end - out[-1][0] < 0.3:
            out[-1] = (out[-1][0], end, name)
        else:
            out.append((start, end, name))
    return out


def move_closures(speech: np.ndarray, phones: list[Phone], longest: float = 0.08) -> list[Phone]:
    """Start each voiceless stop at its closure: the quiet stretch, at most ``longest`` s, before its burst."""
    energy = np.convolve(speech**2, np.ones(80) / 80, "same")
    quiet = energy < energy.max() * 1e-4
    out = list(phones)
    for i in range(1, len(out)):
        start, end, name = out[i]
        before, _, previous = out[i - 1]
        if name not in VOICELESS_STOPS:
            continue
        if previous == "SIL":
            onset = max(start - 0.06, before + 0.03)
        else:
            burst = int(start * SAMPLE_RATE) - 60  # 4 ms: the burst itself raises the smoothed energy
            first = max(int((before + 0.02) * SAMPLE_RATE), burst - int(longest * SAMPLE_RATE))
            loud = np.flatnonzero(~quiet[first:burst]) if burst > first else np.array([0])
            onset = (first + (int(loud[-1]) + 1 if len(loud) else 0)) / SAMPLE_RATE
            if burst / SAMPLE_RATE - onset < 0.01:
                continue
        if onset < start:
            out[i - 1] = (before, onset, previous)
            out[i] = (onset, end, name)
    return out


def to_ipa(word: str, voice: str) -> str:
    """The IPA spelling espeak gives ``word`` in the language of ``voice``."""
    engine = _espeak()
    engine.set_voice(voice)
    text = ctypes.c_char_p(word.encode())
    spelled = engine.library.espeak_TextToPhonemes(ctypes.byref(text), _UTF8, 2)
    return spelled.decode("utf-8", "ignore") if spelled else ""
