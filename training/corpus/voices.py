# SPDX-License-Identifier: GPL-3.0-or-later
"""The synthetic voices, how often each speaks, and what their makers allow.

Left out on purpose: RHVoice voices that forbid commerce or changes (lyubov, evgeniy, artemiy, arina, mikhail ...) or
ask for share-alike (Leticia-F123), MBROLA (not in sold products), festvox rab and don (need a non-commercial lexicon).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Voice:
    """A voice of an engine. ``share`` is its weight in the corpus; ``language`` is ISO 639-1 (``cmn`` for Mandarin)."""

    engine: str
    name: str
    language: str
    share: float
    split: str = "train"
    aligner: str = "en"  # pico only: "en" or the espeak voice that spells its language

    @property
    def speaker(self) -> str:
        """A name for the speaker, the same in every clip of this voice."""
        return f"{self.engine}-{self.name.replace('/', '.')}"


# espeak-ng's formant voices: one timbre family, but the variants differ in vocal tract, tilt and pitch
_ESPEAK_VARIANTS = [
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt", "klatt2", "klatt3",
    "klatt4", "Andy", "Annie", "Gene", "Lee", "Mario", "belinda", "caleb", "david", "iven", "michael", "pablo",
]  # fmt: skip
_ESPEAK_ACCENTS = ("gmw/en-US", "gmw/en", "gmw/en-GB-scotland", "gmw/en-GB-x-rp")
_ESPEAK_FOREIGN = {
    "gmw/de": "de", "roa/es": "es", "roa/fr": "fr", "roa/it": "it", "zle/ru": "ru",
    "sit/cmn-Latn-pinyin": "cmn", "roa/pt-BR": "pt",
}  # fmt: skip


def _espeak_voices() -> list[Voice]:
    english = [
        Voice("espeak", f"{_ESPEAK_ACCENTS[i % len(_ESPEAK_ACCENTS)]}+{variant}", "en", 11.0 / len(_ESPEAK_VARIANTS))
        for i, variant in enumerate(_ESPEAK_VARIANTS)
    ]
    foreign = [
        Voice("espeak", f"{voice}+{_ESPEAK_VARIANTS[(7 * i + 3 * k) % len(_ESPEAK_VARIANTS)]}", language, 0.4)
        for i, (voice, language) in enumerate(_ESPEAK_FOREIGN.items())
        for k in range(2)
    ]
    return english + foreign


def foreign_voices() -> list[Voice]:
    """Every espeak variant in every language but English, for languages that few other voices speak."""
    share = {"cmn": 0.35, "fr": 0.3}  # nobody else speaks Mandarin, and French has fewest clips otherwise
    return [
        Voice("espeak", f"{voice}+{variant}", language, share.get(language, 0.2))
        for voice, language in _ESPEAK_FOREIGN.items()
        for variant in _ESPEAK_VARIANTS
    ]


# Shares are per cent of the clips. Statistical and unit-selection voices sound most like people and come first.
VOICES: tuple[Voice, ...] = (
    Voice("flite", "awb", "en", 9),
    Voice("flite", "rms", "en", 9),
    Voice("flite", "slt", "en", 8),
    Voice("flite", "kal16", "en", 4),
    Voice("rhvoice", "alan", "en", 10),
    Voice("rhvoice", "clb", "en", 10),
    Voice("rhvoice", "slt", "en", 8),
    Voice("pico", "en-US", "en", 5),
    Voice("pico", "en-GB", "en", 5),
    Voice("rhvoice", "anna", "ru", 0.9),
    Voice("rhvoice", "elena", "ru", 0.9),
    Voice("rhvoice", "irina", "ru", 0.9),
    Voice("pico", "de-DE", "de", 1.1, aligner="gmw/de"),
    Voice("pico", "es-ES", "es", 1.1, aligner="roa/es"),
    Voice("pico", "fr-FR", "fr", 1.1, aligner="roa/fr"),
    Voice("pico", "it-IT", "it", 1.1, aligner="roa/it"),
    *_espeak_voices(),
    # whole voices that no training run hears
    Voice("festival", "voice_ked_diphone", "en", 1.2, "test"),
    Voice("rhvoice", "bdl", "en", 1.2, "test"),
)
