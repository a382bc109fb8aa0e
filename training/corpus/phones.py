# SPDX-License-Identifier: GPL-3.0-or-later
"""One phone set for every source: the 39 ARPABET phones of English and SIL.

Other languages are mapped to the English phone with the nearest *lips*, since lips are all that is learnt from it:
a front rounded vowel ([y], [ø]) goes to UW or UH, not to its English-speaking ear's IY or EH, and a trilled r to L,
which leaves the lips alone as it does; English rounds them for its own.
"""

from __future__ import annotations

import re
import unicodedata

from ..config import PHONES

Phone = tuple[float, float, str]

ARPABET = frozenset(PHONES) - {"SIL"}
VOICELESS_STOPS = frozenset(("P", "T", "K", "CH"))
STOPS = VOICELESS_STOPS | {"B", "D", "G", "JH"}

_FLITE = {
    "AX": "AH", "AXR": "ER", "IX": "IH", "UX": "UW", "DX": "T", "EL": "L", "EM": "M", "EN": "N", "NX": "N", "HV": "HH",
}  # fmt: skip
_SILENT = frozenset(("PAU", "H#", "#", "BRTH", "SIL", "SP", "SPN", "NSN", "SSIL", "XX", "X", ""))

# RHVoice's phone names for its other languages (its languages/*/phonemes.xml): doubled or j-marked letters are palatal
_SLAVIC = {
    "a": "AA", "e": "EH", "i": "IY", "ii": "IY", "o": "AO", "u": "UW", "y": "IH", "an": "AA", "en": "EH", "in": "IY",
    "on": "OW", "un": "UW", "ee": "EH", "oo": "AO", "b": "B", "p": "P", "m": "M", "f": "F", "v": "V", "w": "W",
    "wn": "W", "d": "D", "t": "T", "n": "N", "l": "L", "s": "S", "z": "Z", "r": "L", "rr": "L", "g": "G", "k": "K",
    "gh": "G", "h": "HH", "hh": "HH", "c": "S", "ts": "S", "dz": "Z", "ch": "CH", "sch": "SH", "sh": "SH",
    "zh": "ZH", "tsh": "CH", "dzh": "JH", "dj": "JH", "tj": "CH", "lj": "L", "nj": "N", "j": "Y", "jn": "Y",
}  # fmt: skip

_IPA = {
    "p": "P", "b": "B", "m": "M", "f": "F", "v": "V", "β": "V", "ʋ": "V", "ɸ": "F", "t": "T", "d": "D", "n": "N",
    "ɲ": "N", "ŋ": "NG", "ɴ": "NG", "k": "K", "g": "G", "ɡ": "G", "x": "HH", "χ": "HH", "ɣ": "G", "h": "HH",
    "ɦ": "HH", "ħ": "HH", "ç": "Y", "s": "S", "z": "Z", "ʃ": "SH", "ʒ": "ZH", "ɕ": "SH", "ʑ": "ZH", "ʂ": "SH",
    "ʐ": "ZH", "θ": "TH", "ð": "DH", "l": "L", "ɫ": "L", "ʎ": "L", "ɭ": "L", "r": "L", "ɾ": "D", "ʁ": "K", "ʀ": "K",
    "ɹ": "R", "ɻ": "R", "j": "Y", "w": "W", "ɥ": "W", "ʍ": "W", "c": "K", "ɟ": "G", "i": "IY", "ɪ": "IH", "ɨ": "IH",
    "ᵻ": "IH", "y": "UW", "ʏ": "UH", "e": "EH", "ɛ": "EH", "æ": "AE", "a": "AA", "ɐ": "AH", "ɑ": "AA", "ɒ": "AO",
    "ə": "AH", "ɜ": "ER", "ɚ": "ER", "ɝ": "ER", "ʌ": "AH", "o": "AO", "ɔ": "AO", "ø": "UH", "œ": "UH", "u": "UW",
    "ʊ": "UH", "ɯ": "IH", "ɤ": "AH", "ɘ": "AH", "ɵ": "UH",
}  # fmt: skip
_IPA_PAIRS = {"tʃ": "CH", "dʒ": "JH", "tɕ": "CH", "dʑ": "JH", "ʈʂ": "CH", "tʂ": "CH", "ts": "T S", "dz": "D Z",
              "aɪ": "AY", "aʊ": "AW", "ɔɪ": "OY", "eɪ": "EY", "oʊ": "OW", "əʊ": "OW", "ai": "AY", "au": "AW",
              "ei": "EY", "ou": "OW", "iə": "IH R", "ɔø": "OY", "aɪə": "AY ER"}  # fmt: skip
_SAMPA = {
    "E": "ɛ", "O": "ɔ", "A": "ɑ", "{": "æ", "@": "ə", "6": "ɐ", "I": "ɪ", "U": "ʊ", "V": "ʌ", "Y": "ʏ", "2": "ø",
    "9": "œ", "S": "ʃ", "Z": "ʒ", "N": "ŋ", "T": "θ", "D": "ð", "J": "ɲ", "L": "ʎ", "R": "ʁ", "H": "ɥ", "C": "ç",
    "4": "ɾ",
}  # fmt: skip


def from_arpabet(name: str) -> str:
    """A phone of flite, festival, RHVoice's English or CMUdict (stress digits allowed) as ARPABET or SIL."""
    name = re.sub(r"[\d+]", "", name).upper()
    if name in _SILENT:
        return "SIL"
    name = _FLITE.get(name, name)
    if name not in ARPABET:
        raise ValueError(f"The phone {name!r} is not in the table; add it to training/corpus/phones.py.")
    return name


def from_rhvoice(name: str, language: str) -> str:
    """A phone of an RHVoice label as ARPABET or SIL."""
    if language == "en" or name == "pau":
        return from_arpabet(name)
    bare = name.rstrip("0")
    for form in (bare, bare[:-1] if bare.endswith("j") else bare[1:]):
        if form in _SLAVIC:
            return _SLAVIC[form]
    raise ValueError(f"The phone {name!r} of {language} is not in the table; add it to training/corpus/phones.py.")


def from_ipa(symbols: str) -> list[str]:
    """One or more IPA symbols as a list of ARPABET phones; marks of length, stress and tone are dropped.

    A nasal vowel becomes its oral one. Unknown symbols give nothing, so the result may be empty.
    """
    symbols = symbols.replace("s.", "ʂ").replace("z.", "ʐ")  # espeak's Mandarin
    text = "".join(c for c in unicodedata.normalize("NFD", symbols) if unicodedata.category(c) != "Mn")
    text = "".join(c for c in text if c in _IPA)
    phones: list[str] = []
    i = 0
    while i < len(text):
        for size in (3, 2):
            if text[i : i + size] in _IPA_PAIRS:
                phones += _IPA_PAIRS[text[i : i + size]].split()
                i += size
                break
        else:
            phones.append(_IPA[text[i]])
            i += 1
    return phones


def from_sampa(name: str) -> list[str]:
    """A phone of MBROLA's voices, in SAMPA, as a list of ARPABET phones: as `from_ipa`; aspiration is dropped too."""
    return from_ipa("".join(_SAMPA.get(letter, letter) for letter in name.replace("_h", "")))


def tidy(phones: list[Phone], seconds: float, tolerance: float = 0.02) -> list[Phone]:
    """Phones made gapless from 0 to ``seconds``, neighbouring silences merged.

    Raises ValueError when the labels end more than ``tolerance`` seconds from the end of the audio: labels that run
    away from the sound teach the wrong lips (RHVoice above rate 1 does this).
    """
    if not phones:
        raise ValueError("There are no phones.")
    if abs(phones[-1][1] - seconds) > tolerance:
        raise ValueError(f"The labels end at {phones[-1][1]:.3f} s, the audio at {seconds:.3f} s.")
    tidied: list[Phone] = []
    now = 0.0
    for start, end, name in phones:
        end = min(end, seconds)
        if start > now + 1e-4:
            tidied.append((now, start, "SIL"))
            now = start
        if end - now < 1e-4:
            continue
        tidied.append((now, end, name))
        now = end
    if now < seconds:
        start, _, name = tidied[-1]
        tidied[-1] = (start, seconds, name)
    merged: list[Phone] = []
    for start, end, name in tidied:
        if merged and name == "SIL" == merged[-1][2]:
            merged[-1] = (merged[-1][0], end, "SIL")
        else:
            merged.append((start, end, name))
    return merged


def release_pauses(phones: list[Phone], longest: float = 0.16, kept: float = 0.12) -> list[Phone]:
    """Give the pause that a forced aligner let a stop swallow back to SIL: stops over ``longest`` s keep ``kept`` s."""
    out: list[Phone] = []
    for start, end, name in phones:
        if name in STOPS and end - start > longest:
            if out and out[-1][2] == "SIL":
                out[-1] = (out[-1][0], end - kept, "SIL")
            else:
                out.append((start, end - kept, "SIL"))
            start = end - kept
        out.append((start, end, name))
    return out
