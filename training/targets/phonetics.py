# SPDX-License-Identifier: GPL-3.0-or-later
"""What each ARPABET phone wants of the mouth, and how firmly.

Sources
    [KLL] Keating, Lindblom, Lubker, Kreiman 1994, "Variability in jaw height for segments in English and Swedish",
          J. Phonetics 22: the jaw is highest and least variable in s, then t d f; lower in b k l; lowest in h and open
          vowels.
    [CM]  Cohen, Massaro 1993, "Modeling coarticulation in synthetic visual speech": a dominance per segment and
          articulator; rounding has long, tongue consonants have short or no dominance over the lips.
    [JALI] Edwards, Landreth, Fiume, Singh 2016, "JALI", ACM TOG 35(4): bilabials close, labiodentals touch,
          sibilants bring the teeth together; lip-heavy sounds (UW OW OY W SH ZH CH JH) start early and end late;
          tongue-only sounds (L N T D G K NG) leave the lips alone.
    [FB]  Fromkin 1964 and Abry, Boe 1986 on lip shapes: lip area ordered u < y < o < i < e < a; width least for w
          and u, largest for i; protrusion of sh like that of rounded vowels but with parted lips.
    [GRID] level of the lip gaps (vowels 7-15 mm on a head 89 mm wide at the outer eye corners, alveolars about 8, u at
           its narrowest 1.3-2.9, at rest 0-0.5) read off the curves of six GRID speakers and one broadcast speaker used
           for development.

Orders are from the literature, the figures in millimetres are this project's.
"""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """Wishes of one phone. A weight is the strength of the wish against the neighbours' (Cohen and Massaro's alpha).

    ``jaw`` is the share of jawOpen in mm of lip gap, ``gap`` the gap between the inner lips (mm), ``round`` 0 spread to
    1 fully rounded, ``funnel`` parted protruded lips 0..1, ``spread`` drawn corners 0..1.
    """

    jaw: float
    jaw_weight: float
    gap: float
    gap_weight: float
    round: float = 0.0
    funnel: float = 0.0
    spread: float = 0.0
    shape_weight: float = 0.3


TARGETS: dict[str, Target] = {
    # vowels: lip area and jaw by height [KLL, FB]; a stressed open vowel is about 14 mm [GRID]
    "AA": Target(11.0, 1.0, 16.0, 1.0, 0.05, 0.0, 0.00, 0.5),
    "AE": Target(10.0, 1.0, 14.0, 1.0, 0.00, 0.0, 0.30, 0.6),
    "AH": Target(6.5, 0.6, 9.5, 0.7, 0.05, 0.0, 0.05, 0.3),
    "AO": Target(8.5, 0.9, 11.0, 0.9, 0.60, 0.25, 0.00, 0.9),
    "EH": Target(8.0, 0.8, 13.0, 0.9, 0.00, 0.0, 0.25, 0.5),
    "ER": Target(4.5, 0.7, 8.0, 0.8, 0.65, 0.25, 0.00, 0.9),
    "IH": Target(5.0, 0.7, 9.5, 0.8, 0.00, 0.0, 0.30, 0.5),
    "IY": Target(4.5, 0.8, 8.0, 0.9, 0.00, 0.0, 0.60, 0.9),
    "UH": Target(4.5, 0.7, 7.0, 0.9, 0.60, 0.20, 0.00, 0.9),
    "UW": Target(2.8, 0.8, 2.5, 1.6, 0.90, 0.25, 0.00, 1.3),
    # lips shut, which is imposed and not wished for; the jaw follows its neighbours, since it is free in b [KLL]
    "P": Target(3.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05),
    "B": Target(3.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05),
    "M": Target(3.5, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.05),
    # lower lip at the teeth, imposed likewise, jaw high [KLL]
    "F": Target(3.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.15, 0.2),
    "V": Target(3.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.15, 0.2),
    # tongue sounds: jaw high, hardly a demand on the lips [KLL, JALI]
    "TH": Target(4.5, 0.8, 7.0, 0.3, 0.0, 0.0, 0.10, 0.10),
    "DH": Target(4.5, 0.6, 7.0, 0.25, 0.0, 0.0, 0.10, 0.10),
    "T": Target(4.2, 0.9, 7.0, 0.25, 0.0, 0.0, 0.10, 0.06),
    "D": Target(4.4, 0.9, 7.0, 0.25, 0.0, 0.0, 0.10, 0.06),
    "N": Target(4.6, 0.7, 7.0, 0.25, 0.0, 0.0, 0.10, 0.06),
    "L": Target(5.5, 0.5, 9.0, 0.3, 0.0, 0.0, 0.10, 0.06),
    "S": Target(3.0, 1.8, 8.0, 0.6, 0.0, 0.0, 0.30, 0.15),
    "Z": Target(3.2, 1.6, 8.0, 0.6, 0.0, 0.0, 0.30, 0.15),
    "K": Target(5.0, 0.3, 9.0, 0.2, 0.0, 0.0, 0.05, 0.04),
    "G": Target(5.0, 0.3, 9.0, 0.2, 0.0, 0.0, 0.05, 0.04),
    "NG": Target(5.0, 0.3, 9.0, 0.2, 0.0, 0.0, 0.05, 0.04),
    "HH": Target(7.0, 0.05, 9.5, 0.05, 0.0, 0.0, 0.0, 0.02),
    "Y": Target(3.0, 0.5, 7.5, 0.5, 0.0, 0.0, 0.50, 0.6),
    # rounded consonants: early and late [JALI, FB]
    "SH": Target(3.0, 1.8, 7.0, 1.0, 0.45, 0.40, 0.0, 1.2),
    "ZH": Target(3.0, 1.8, 7.0, 1.0, 0.45, 0.40, 0.0, 1.2),
    "CH": Target(3.0, 1.6, 7.0, 0.9, 0.45, 0.35, 0.0, 1.1),
    "JH": Target(3.0, 1.6, 7.0, 0.9, 0.45, 0.35, 0.0, 1.1),
    "R": Target(3.5, 0.5, 3.5, 0.9, 0.70, 0.25, 0.0, 1.0),
    "W": Target(2.2, 0.9, 1.0, 2.0, 1.00, 0.15, 0.0, 1.8),
    # rest: lips just apart, jaw just down
    "SIL": Target(0.5, 1.0, 0.4, 1.2, 0.0, 0.0, 0.0, 0.4),
    # drawing breath before a phrase parts the lips [GRID: 5-12 mm half a second before the first word, 8 mm in pauses
    # of the broadcast; here a little less, since not all do it]
    "PREP": Target(2.0, 0.6, 5.5, 0.6, 0.0, 0.0, 0.0, 0.1),
    "ONSET": Target(2.0, 0.6, 7.0, 0.6, 0.0, 0.0, 0.0, 0.1),
}

# diphthongs: first vowel, second vowel, the first one's share of the time
DIPHTHONGS: dict[str, tuple[str, str, float]] = {
    "AY": ("AA", "IH", 0.60),
    "AW": ("AA", "UH", 0.60),
    "OY": ("AO", "IH", 0.55),
    "EY": ("EH", "IY", 0.65),
    "OW": ("AO", "UW", 0.50),
}

PAUSES = frozenset(("SIL", "PREP", "ONSET"))
BILABIALS = frozenset("PBM")
LABIODENTALS = frozenset("FV")
VOWELS = frozenset(p for p in TARGETS if p[0] in "AEIOU") - PAUSES
