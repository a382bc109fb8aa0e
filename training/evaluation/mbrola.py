# SPDX-License-Identifier: GPL-3.0-or-later
"""MBROLA's voices, an engine that training never hears: their licence forbids what is sold, not listening.

espeak-ng spells the text in the voice's own phones with their lengths, MBROLA speaks exactly these.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import soxr

from ..config import SAMPLE_RATE
from ..corpus.phones import Phone, from_ipa, tidy

VOICES = Path("/usr/share/mbrola")
_SAMPA = {
    "E": "ɛ", "O": "ɔ", "A": "ɑ", "{": "æ", "@": "ə", "6": "ɐ", "I": "ɪ", "U": "ʊ", "V": "ʌ", "Y": "ʏ", "2": "ø",
    "9": "œ", "S": "ʃ", "Z": "ʒ", "N": "ŋ", "T": "θ", "D": "ð", "J": "ɲ", "L": "ʎ", "R": "ʁ", "H": "ɥ", "C": "ç",
    "4": "ɾ",
}  # fmt: skip


def synthesise(voice: str, text: str) -> tuple[np.ndarray, list[Phone]]:
    """`text` read by a voice such as "de5": samples (N,) float32 at 16 kHz, and its phones.

    Raises OSError or CalledProcessError when a program or the voice is missing, ValueError when sound and phones do
    not belong together.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        spelling = ["espeak-ng", "-v", f"mb-{voice}", "--pho", "-q", text]
        spelt = subprocess.run(spelling, check=True, capture_output=True, text=True, timeout=60).stdout
        (folder / "text.pho").write_text(spelt, encoding="utf-8")
        command = ["mbrola", "-e", str(VOICES / voice / voice), "text.pho", "speech.wav"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
        sound, rate = soundfile.read(folder / "speech.wav", dtype="float32")
    speech = soxr.resample(sound, rate, SAMPLE_RATE).astype(np.float32)
    return speech, tidy(phones_of(spelt), len(speech) / SAMPLE_RATE)


def phones_of(spelt: str) -> list[Phone]:
    """Phones in a .pho text: a phone and its length in ms per line, then pitch targets."""
    phones: list[Phone] = []
    now = 0.0
    for line in spelt.splitlines():
        if not line.strip() or line.startswith(";"):
            continue
        name, length = line.split()[:2]
        names = from_ipa("".join(_SAMPA.get(letter, letter) for letter in name.replace("_h", ""))) or ["SIL"]
        for each in names:
            end = now + float(length) / 1000 / len(names)
            phones.append((now, end, each))
            now = end
    return phones
