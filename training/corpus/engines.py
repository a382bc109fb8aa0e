# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech synthesisers that tell when they say what: flite, festival, RHVoice, SVOX Pico, espeak-ng, MBROLA.

Each function returns speech (N,) float32 at 16 kHz and its phones. They raise OSError or CalledProcessError when the
program is missing (``setup_engines.sh`` installs them) and ValueError when sound and labels do not belong together.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import soxr

from ..config import SAMPLE_RATE
from . import espeak
from .align import align
from .phones import Phone, from_arpabet, from_rhvoice, from_sampa, tidy
from .voices import Voice

Speech = tuple[np.ndarray, list[Phone]]

ROOT = Path(os.environ.get("SPEECH_ROOT", "/opt/speech-root"))
_ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": str(ROOT / "usr/lib/x86_64-linux-gnu")}
_TIMEOUT = 60
MBROLA_VOICES = Path("/usr/share/mbrola")


def synthesise(voice: Voice, text: str, rate: float, pitch: float, liveliness: float) -> Speech:
    """``text`` read by ``voice``; ``rate`` and ``pitch`` relative to its own, ``liveliness`` 0..1 where it is known.

    The labels cover the audio without gaps; ValueError when they end more than 20 ms from its end.
    """
    if voice.engine == "espeak":
        speech, phones = espeak.synthesise(voice.name, text, rate, pitch, liveliness)
    else:
        with TemporaryDirectory() as folder:
            speech, phones = _ENGINES[voice.engine](Path(folder), voice, text, rate, pitch)
    return speech, tidy(phones, len(speech) / SAMPLE_RATE)


def run(command: list[str], folder: Path, text: str | None = None, **environment: str) -> str:
    """What a program prints that reads `text` in `folder`; raises OSError, SubprocessError."""
    done = subprocess.run(
        command,
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        check=True,
        timeout=_TIMEOUT,
        env={**_ENVIRONMENT, **environment},
        cwd=folder,
    )
    return done.stdout


def _read(path: Path) -> np.ndarray:
    samples, rate = soundfile.read(path, dtype="float32")
    return soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32) if rate != SAMPLE_RATE else samples


def _from_ends(ends: list[tuple[float, str]]) -> list[Phone]:
    """Phones from (end s, name) pairs in order; those without length are left out."""
    phones: list[Phone] = []
    start = 0.0
    for end, name in ends:
        if end > start:
            phones.append((start, end, name))
            start = end
    return phones


def _flite(folder: Path, voice: Voice, text: str, rate: float, pitch: float) -> Speech:
    """Flite's ``-psdur`` prints ``phone:end`` for every phone."""
    command = ["flite", "-voice", voice.name, "-psdur", "--setf", f"duration_stretch={1 / rate:.3f}"]
    if voice.name == "kal16":  # the statistical voices make their own pitch
        command += ["--setf", f"int_f0_target_mean={105 * pitch:.1f}"]
    output = run([*command, "-t", text, "speech.wav"], folder)
    marks = (word.rsplit(":", 1) for word in output.split() if ":" in word)
    phones = _from_ends([(float(end), from_arpabet(name)) for name, end in marks])
    speech = _read(folder / "speech.wav")
    if phones and phones[-1][2] == "SIL":  # kal16 writes less silence than it announces
        start, end, _ = phones[-1]
        seconds = len(speech) / SAMPLE_RATE
        if start < seconds:
            phones[-1] = (start, min(end, seconds), "SIL")
    return speech, phones


def _festival(folder: Path, voice: Voice, text: str, rate: float, pitch: float) -> Speech:
    """Festival's Segment relation: ``end colour phone`` per line. Its pitch is left alone."""
    quoted = text.replace("\\", " ").replace('"', " ")
    (folder / "speech.scm").write_text(
        f"({voice.name})\n(Parameter.set 'Duration_Stretch {1 / rate:.3f})\n"
        f'(set! u (utt.synth (Utterance Text "{quoted}")))\n'
        '(utt.save.wave u "speech.wav" \'riff)\n(utt.save.segs u "speech.seg")\n',
        encoding="ascii",
        errors="ignore",
    )
    run(["festival", "-b", "speech.scm"], folder)
    fields = (line.split() for line in (folder / "speech.seg").read_text().splitlines())
    phones = _from_ends([(float(f[0]), from_arpabet(f[2])) for f in fields if len(f) == 3])
    speech = _read(folder / "speech.wav")
    seconds = len(speech) / SAMPLE_RATE
    if phones and 0 < seconds - phones[-1][1] < 0.06:  # the last frame of the diphone synthesiser
        phones.append((phones[-1][1], seconds, "SIL"))
    return speech, phones


def _rhvoice(folder: Path, voice: Voice, text: str, rate: float, pitch: float) -> Speech:
    """RHVoice with ``htslabels.so`` preloaded: HTS labels in 100 ns units, one block per phrase.

    Above rate 1 it speeds the finished sound up, so that its labels run too long: they are scaled to the sound then.
    """
    command = [str(ROOT / "usr/bin/RHVoice-test"), "-q", "max", "-p", voice.name]
    command += ["-r", str(round(100 * rate)), "-t", str(round(100 * pitch)), "-o", "speech.wav"]
    run(command, folder, text, LD_PRELOAD=str(ROOT / "htslabels.so"), HTS_LABELS=str(folder / "labels"))
    ends: list[tuple[float, str]] = []
    phrase_start = last = 0.0
    for line in (folder / "labels").read_text(errors="replace").splitlines():
        if line == "#":
            phrase_start += last
            continue
        _, end, context = line.split(" ", 2)
        last = int(end) / 1e7
        name = re.search(r"-(.+?)\+", context)
        if name is None:
            raise ValueError("RHVoice wrote a label that can't be read.")
        ends.append((phrase_start + last, from_rhvoice(name.group(1), voice.language)))
    speech = _read(folder / "speech.wav")
    if rate > 1 and ends:
        stretch = len(speech) / SAMPLE_RATE / ends[-1][0]
        ends = [(end * stretch, name) for end, name in ends]
    return speech, _from_ends(ends)


def _pico(folder: Path, voice: Voice, text: str, rate: float, pitch: float) -> Speech:
    """SVOX Pico gives no times: forced alignment."""
    plain = re.sub(r"[<>&]", " ", text)
    marked = f'<speed level="{round(100 * rate)}"><pitch level="{round(100 * pitch)}">{plain}</pitch></speed>'
    run([str(ROOT / "usr/bin/pico2wave"), "-l", voice.name, "-w", "speech.wav", marked], folder)
    speech = _read(folder / "speech.wav")
    phones = align(speech, plain, voice.aligner)
    if phones is None:
        raise ValueError("The sentence could not be aligned.")
    # whole frames only: what is missing at the end is silence
    seconds = len(speech) / SAMPLE_RATE
    if 0 < seconds - phones[-1][1] < 0.08:
        phones.append((phones[-1][1], seconds, "SIL"))
    return speech, phones


def _mbrola(folder: Path, voice: Voice, text: str, rate: float, pitch: float) -> Speech:
    """espeak-ng spells the text in the voice's own phones with their lengths, MBROLA speaks exactly these.

    For evaluation alone, since the voices' licence forbids what is sold. Its rate and pitch are left alone.
    """
    spelt = run(["espeak-ng", "-v", f"mb-{voice.name}", "--pho", "-q", text], folder)
    (folder / "text.pho").write_text(spelt, encoding="utf-8")
    run(["mbrola", "-e", str(MBROLA_VOICES / voice.name / voice.name), "text.pho", "speech.wav"], folder)
    return _read(folder / "speech.wav"), pho_phones(spelt)


def pho_phones(spelt: str) -> list[Phone]:
    """Phones in a .pho text: a phone and its length in ms per line, then pitch targets."""
    ends: list[tuple[float, str]] = []
    now = 0.0
    for line in spelt.splitlines():
        if not line.strip() or line.startswith(";"):
            continue
        name, length = line.split()[:2]
        names = from_sampa(name) or ["SIL"]
        for each in names:
            now += float(length) / 1000 / len(names)
            ends.append((now, each))
    return _from_ends(ends)


_ENGINES = {"flite": _flite, "festival": _festival, "rhvoice": _rhvoice, "pico": _pico, "mbrola": _mbrola}
