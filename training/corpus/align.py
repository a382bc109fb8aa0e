# SPDX-License-Identifier: GPL-3.0-or-later
"""Forced alignment with pocketsphinx and the American English model inside its wheel; other languages by way of IPA."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import numpy as np
import pocketsphinx

from . import espeak
from .phones import Phone, from_arpabet, from_ipa, release_pauses


@lru_cache(maxsize=2)
def _decoder(beam: float) -> pocketsphinx.Decoder:
    model = Path(pocketsphinx.__file__).parent / "model" / "en-us"
    return pocketsphinx.Decoder(
        hmm=str(model / "en-us"),
        dict=str(model / "cmudict-en-us.dict"),
        lm=None,
        loglevel="FATAL",
        samprate=16000,
        bestpath=False,  # the second pass over the word lattice loses the phone pass in a third of all utterances
        maxhmmpf=-1,
        beam=beam,
        pbeam=beam,
        wbeam=beam**0.75,
    )


def words_of(text: str) -> list[str]:
    """Words of ``text`` in lower case, digits and punctuation dropped."""
    words = re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text.lower())
    return [w.replace("’", "'") for w in words]


def align(speech: np.ndarray, text: str, language: str = "en") -> list[Phone] | None:
    """Phones of ``speech`` (N,) float32 at 16 kHz reading ``text``, on a 10 ms grid; None when it can't be aligned.

    ``language`` is "en" or an espeak voice, whose IPA spelling makes the dictionary. English words missing in
    CMUdict are spelled by espeak's American voice.
    """
    for beam in (1e-80, 1e-120):
        decoder = _decoder(beam)
        names = [_entry(decoder, word, language) for word in words_of(text)]
        phones = _run(decoder, speech, [n for n in names if n])
        if phones:
            return release_pauses(phones)
    return None


def _entry(decoder: pocketsphinx.Decoder, word: str, language: str) -> str:
    """The dictionary entry for ``word``, made on the way; empty when the word has no sound."""
    if language == "en":
        if decoder.lookup_word(word) is not None:
            return word
        voice, entry = "gmw/en-US", "oov" + word
    else:  # an entry's name must be plain letters
        voice, entry = (
            language,
            "xx" + "".join(chr(97 + n // 16) + chr(97 + n % 16) for n in (language + word).encode()),
        )
    if decoder.lookup_word(entry) is None:
        phones = from_ipa(espeak.to_ipa(word, voice))
        if not phones:
            return ""
        decoder.add_word(entry, " ".join(phones), True)
    return entry


def _run(decoder: pocketsphinx.Decoder, speech: np.ndarray, words: list[str]) -> list[Phone] | None:
    if not words:
        return None
    data = (np.clip(speech, -1, 1) * 32767).astype("<i2").tobytes()
    decoder.reinit_feat()  # forget what was aligned before: which clips that was is chance
    try:
        decoder.set_align_text(" ".join(words))
        for second_pass in (False, True):  # words first, then phones inside them
            if second_pass:
                if decoder.hyp() is None:
                    return None
                decoder.set_alignment()
            decoder.start_utt()
            decoder.process_raw(data, full_utt=True)
            decoder.end_utt()
        alignment = decoder.get_alignment()
    except RuntimeError:
        return None
    if alignment is None:
        return None
    return [
        (phone.start / 100, (phone.start + phone.duration) / 100, from_arpabet(phone.name))
        for word in alignment.words()
        for phone in word
    ]
