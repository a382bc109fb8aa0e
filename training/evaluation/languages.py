# SPDX-License-Identifier: GPL-3.0-or-later
"""Closures in synthetic speech of seven languages: sentences, most voices and an engine, that training never hears.

Every engine that is installed speaks; its own phone times say when p, b, m are. Beside the model stand the rules that
made its training targets, given the true phones: what a perfect student would reach by the same count.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from inference import LipSyncModel, Speech

from ..closures import Tally, lip_gap
from ..config import FPS
from ..corpus import voices as corpus_voices
from ..corpus.engines import synthesise
from ..corpus.phones import Phone
from ..corpus.voices import Voice
from .vertices import rules_motions

LANGUAGES = ("en", "de", "es", "fr", "it", "ru", "cmn")
_SENTENCES = Path(__file__).parent / "sentences.tsv"

VOICES = (
    Voice("rhvoice", "bdl", "en", 1),  # bdl and ked are held out from training
    Voice("festival", "voice_ked_diphone", "en", 1),
    Voice("pico", "en-GB", "en", 1),
    *(Voice("pico", name, name[:2], 1, aligner=f"{family}/{name[:2]}")
      for name, family in (("de-DE", "gmw"), ("es-ES", "roa"), ("fr-FR", "roa"), ("it-IT", "roa"))),
    Voice("rhvoice", "anna", "ru", 1),
    Voice("rhvoice", "irina", "ru", 1),
    *(Voice("espeak", f"{name}+{variant}", name[-2:], 1)  # variants that the corpus leaves out
      for name in ("gmw/de", "roa/es", "roa/fr", "roa/it", "zle/ru") for variant in ("Alicia", "benjamin")),
    *(Voice("mbrola", name, language, 1)  # an engine that training never hears
      for language, names in (("en", ("us1", "us2")), ("de", ("de5", "de6")), ("es", ("es1", "es3")),
                              ("fr", ("fr1", "fr4")), ("it", ("it3", "it4"))) for name in names),
    *(Voice("espeak", f"sit/cmn-Latn-pinyin+{variant}", "cmn", 1) for variant in ("Alicia", "benjamin", "steph")),
)  # fmt: skip
HEARD = {(voice.engine, voice.name) for voice in (*corpus_voices.VOICES, *corpus_voices.foreign_voices())
         if voice.split == "train"}  # fmt: skip


def sentences(language: str) -> list[str]:
    """Six sentences full of p, b, m and three without any, for control; Mandarin in pinyin (espeak-ng reads that)."""
    with _SENTENCES.open(encoding="utf-8", newline="") as lines:
        return [row["sentence"] for row in csv.DictReader(lines, delimiter="\t") if row["language"] == language]


def speak(voice: Voice) -> Iterator[tuple[np.ndarray, list[Phone]]]:
    """The sentences of the voice's language; nothing when its engine is not installed, none that cannot be labelled."""
    for sentence in sentences(voice.language):
        try:
            yield synthesise(voice, sentence, 1.0, 1.0, 0.5)
        except ValueError:
            continue  # sound and labels do not belong together
        except (OSError, subprocess.SubprocessError, soundfile.LibsndfileError):
            return


def language_rows(model: LipSyncModel, style: str | None = None) -> list[dict[str, object]]:
    """Rows of voices, and of each language: "all", and "new", those that training never heard.

    Events, shares closed, the same of the control consonants, and for languages of the rules.
    """
    rows: list[dict[str, object]] = []
    for language in LANGUAGES:
        whole, new, rules = Tally.new(), Tally.new(), Tally.new()
        for voice in (v for v in VOICES if v.language == language):
            own, heard = Tally.new(), (voice.engine, voice.name) in HEARD
            for samples, phones in speak(voice):
                gap = lip_gap(model.run(Speech(samples), style))
                for tally in (own, whole) if heard else (own, whole, new):
                    tally.add(gap, model.package.fps, phones)
                rules.add(lip_gap(*rules_motions([phones])), FPS, phones)
            if own.closed["near"]:
                rows.append({"language": language, "voice": voice.speaker + " (heard)" * heard, **own.row()})
        if new.closed["near"]:
            rows.append({"language": language, "voice": "new", **new.row()})
        if whole.closed["near"]:
            taught = {f"{name} rules": share for name, share in rules.row().items() if name != "events"}
            rows.append({"language": language, "voice": "all", **whole.row(), **taught})
    return rows
