# SPDX-License-Identifier: GPL-3.0-or-later
"""What the synthetic voices say: English sentences, sentences full of lips, and other languages.

English comes from ``sentences.tsv`` and ``minimal_pairs.tsv`` of the speech folder, other languages from Debian's
fortune files where they are installed, or from small grammars of our own.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .real import split_of

_FORTUNES = Path("/usr/share/games/fortunes")
_FORTUNE_FILES = {
    "de": ["de/*.u8"],
    "es": ["es/*.u8"],
    "it": ["it/*.u8", "italia.u8", "formiche.u8", "luke.u8"],
    "ru": ["ru/*.u8"],
    "pt": ["brasil"],
}
_LETTERS = {
    "de": "a-zäöüß", "es": "a-záéíóúüñ", "it": "a-zàèéìòù", "ru": "а-яё", "pt": "a-zàáâãçéêíóôõú",
}  # fmt: skip
SHORTEST, LONGEST = 22, 110  # characters: about 1.5 and 8 s


def read_english(folder: Path) -> list[str]:
    """Sentences of ``sentences.tsv`` (source, sentence); those in capitals are put into lower case."""
    sentences = []
    with (folder / "sentences.tsv").open(encoding="utf-8") as lines:
        for line in lines:
            _, _, text = line.rstrip("\n").partition("\t")
            text = " ".join(re.sub(r"[^A-Za-z',.;:?! -]", " ", text).split())
            if 8 <= len(text) <= LONGEST:
                sentences.append(text.capitalize() if text.isupper() else text)
    return sentences


def bare(text: str) -> str:
    """The words of ``text`` in lower case, with one blank between two: what two spellings of a sentence share."""
    return " ".join(re.findall(r"[^\W_]+", text.lower().replace("'", "")))


def held_out_texts(folder: Path) -> set[str]:
    """What the recordings say that no training hears (``bare``): no voice may teach it. Of three words and more."""
    path = folder / "manifest.csv"
    if not path.exists():
        return set()
    with path.open(encoding="utf-8", newline="") as rows:
        found = {bare(row["transcript"]) for row in csv.DictReader(rows)
                 if split_of(row["speaker"], row["path"]) != "train"}  # fmt: skip
    return {text for text in found if text.count(" ") >= 2}


def read_pairs(folder: Path) -> list[tuple[str, str]]:
    """Near-homophones of ``minimal_pairs.tsv`` that look different."""
    with (folder / "minimal_pairs.tsv").open(encoding="utf-8") as lines:
        fields = [line.split("\t") for line in lines]
    return [(f[0], f[1]) for f in fields]


_CARRIERS = (
    "Did you say {a}, or {b}?",
    "I said {b}, not {a}.",
    "{A}. {B}. {A} and {B}.",
    "The word is {a}, the other is {b}.",
    "Please write {a} again, and then {b}.",
)
_NAMES = [
    "Bob", "Betty", "Molly", "Pam", "Barbara", "Peter", "Tim", "Fiona", "Victor", "Mabel", "Bill", "Emma",
    "Philip", "Eve", "Pepe", "Mama",
]  # fmt: skip
_VERBS = [
    "brought", "moved", "bumped", "swapped", "pushed", "proved", "fixed", "wiped", "moved", "mopped", "shipped",
    "bombed",
]  # fmt: skip
_THINGS = [
    "five big pumpkins", "the brown paper bag", "some warm bread", "my broom", "a beautiful map",
    "the wooden whip", "a purple vase", "four wet umbrellas", "the baby's bib", "a fabulous film", "the lamp",
    "seven maple beams", "the whole problem", "her mobile phone", "a bowl of whipped cream", "the first page",
    "every apple", "both beavers",
]  # fmt: skip
_PLACES = [
    "before breakfast", "from Memphis to Boston", "in the empty room", "above the bumpy ramp", "by the swamp",
    "for Bobby's mum", "to the pub", "without a map", "on Wednesday", "at half past five",
    "from a bamboo boat", "with help from above",
]  # fmt: skip


def lip_sentence(pairs: list[tuple[str, str]], rng: np.random.Generator) -> str:
    """A sentence for the lips: a minimal pair in a carrier, or one full of p, b, m, f, v and w."""
    if rng.random() < 0.5:
        a, b = pairs[int(rng.integers(len(pairs)))]
        carrier = _CARRIERS[int(rng.integers(len(_CARRIERS)))]
        return carrier.format(a=a, b=b, A=a.capitalize(), B=b.capitalize())
    name, verb, thing, place = (str(rng.choice(words)) for words in (_NAMES, _VERBS, _THINGS, _PLACES))
    return f"{name} {verb} {thing} {place}."


# Parts of sentences, one of each: for French, which has no fortune file, and for Mandarin in pinyin, since espeak-ng
# reads few characters.
_GRAMMARS = {
    "fr": (
        "mon petit frère,la boulangère,notre voisine,un vieux pêcheur,le facteur,ma grand-mère,cette jeune femme,"
        "le médecin,le boucher,mon oncle Bertrand,la chanteuse,un moineau,le président,la maîtresse,son ami Philippe,"
        "le petit garçon,les enfants,ce monsieur,l'étudiante,le chien du voisin,personne,tout le monde,elle,Jacqueline",
        "a acheté,a perdu,voudrait vendre,regarde,prépare,a trouvé,nous apporte,oublie toujours,a peint,"
        "cherche partout,aime beaucoup,lave,a mangé,ouvre,admire,promène,tient,a caché,ne veut pas,a dessiné,achètera,"
        "a mis de côté,demande encore,jette,répare",
        "une belle pomme,le pain chaud,un bateau blanc,quelques fleurs bleues,la vieille voiture,du beurre frais,"
        "un oiseau rouge,le manteau de Marie,une lampe,des chaussures neuves,un gros poisson,la soupe aux poireaux,"
        "le journal du jour,un bouquet de muguet,les photos du mariage,son parapluie vert,une bouteille vide,"
        "trois citrons,la clé du garage,un seau d'eau,des gants gris,ce tableau,une tasse de thé,les rideaux,un canard,"
        "deux cents grammes de sucre,la réponse,une histoire étrange,son ordinateur",
        "au marché,devant la maison,avant le dîner,pendant les vacances,sous la pluie,près du pont,dans la chambre,"
        "avec beaucoup de patience,chaque mercredi,pour son anniversaire,sans faire de bruit,depuis hier soir,"
        "au bout de la rue,en plein hiver,dans le jardin,à cinq heures et quart,ce soir,loin d'ici,sur la table,"
        "en silence,tous les dix ans,à côté de l'école",
    ),
    "cmn": (
        "wo3 men5,ta1 de5 peng2 you5,wo3 ma1 ma5,lao3 shi1,na4 ge4 yi1 sheng1,xiao3 ming2,wo3 ba4 ba5,xue2 sheng1 men5,"
        "ni3 de5 mei4 mei5,zhe4 wei4 xian1 sheng5,ta1 gang1 gang1,bian4 min2 dian4 de5 lao3 ban3,hai2 zi5 men5,ni3,"
        "da4 jia1,nai3 nai5,shu1 shu5,lin2 ju1,na4 zhi1 gou3",
        "jin1 tian1,ming2 tian1 shang4 wu3,mei3 ge4 zhou1 mo4,wan3 shang5,qu4 nian2 dong1 tian1,chang2 chang2,"
        "xian4 zai4,ba1 dian3 ban4,zuo2 tian1,yi3 hou4,zao3 shang5",
        "zai4 gong1 yuan2 li3,zai4 jia1,zai4 bei3 jing1,zai4 fan4 dian4,zai4 tu2 shu1 guan3,zai4 huo3 che1 zhan4,"
        "zai4 shang4 hai3,zai4 men2 kou3,zai4 hai3 bian1,zai4 xue2 xiao4,zai4 chu2 fang2",
        "mai3 ping2 guo3,kan4 dian4 ying3,he1 cha2,pao3 bu4,chi1 mian4 bao1,xie3 xin4,mai4 pu2 tao5,ting1 yin1 yue4,"
        "deng3 peng2 you5,zuo4 wan3 fan4,fang4 feng1 zheng5,xue2 ying1 yu3,pai1 zhao4 pian4,mo2 mian4 fen3,tiao4 wu3,"
        "da3 lan2 qiu2,kan4 bao4 zhi3,hua4 hua4,chang4 ge1,he1 ka1 fei1,xi3 yi1 fu5,xiu1 zi4 xing2 che1,kai1 che1,"
        "bao1 jiao3 zi5,shuo1 ming2 bai5,pa2 shan1",
    ),
}  # fmt: skip


def grammar_sentence(language: str, rng: np.random.Generator) -> str:
    """A sentence of a small grammar of our own."""
    text = " ".join(str(rng.choice(words.split(","))) for words in _GRAMMARS[language])
    return text[0].upper() + text[1:] + "."


def read_fortunes(language: str) -> list[str]:
    """Sentences of Debian's fortunes in ``language``, without names of authors, dialogue marks and drawings."""
    return list(dict.fromkeys(_fortune_sentences(language)))


def _fortune_sentences(language: str) -> Iterator[str]:
    allowed = re.compile(rf"[{_LETTERS[language]}\s,.;:!?'-]+", re.IGNORECASE)
    for pattern in _FORTUNE_FILES[language]:
        for path in sorted(_FORTUNES.glob(pattern)):
            for entry in path.read_text("utf-8", "replace").split("\n%"):
                lines = [re.sub(r"\x1b\[\d*m", "", line) for line in entry.splitlines()]
                body = " ".join(line.strip() for line in lines if not re.match(r"\s+-", line))
                for sentence in re.split(r"(?<=[.!?])\s+", body):
                    sentence = sentence.strip(" -")
                    if SHORTEST <= len(sentence) <= LONGEST and allowed.fullmatch(sentence):
                        yield sentence


class Texts:
    """Draws texts; English and fortune sentences come in a fixed shuffled order, so few voices share one."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.pairs, self._held_out = read_pairs(folder), held_out_texts(folder)
        self._queues = {"en": read_english(folder)}
        for language in _FORTUNE_FILES:
            self._queues[language] = read_fortunes(language)
        self._orders = {
            language: np.random.default_rng([seed, 7, k]).permutation(len(queue))
            for k, (language, queue) in enumerate(sorted(self._queues.items()))
        }

    def languages(self) -> set[str]:
        """Languages that have text."""
        return {language for language, queue in self._queues.items() if queue} | set(_GRAMMARS)

    def draw(self, language: str, index: int, rng: np.random.Generator, lips: float = 0.1) -> str:
        """Text number ``index`` in ``language``; in English a share ``lips`` is lip-heavy.

        Short English sentences are joined until they fill a random length; what held-out recordings say is passed over.
        """
        if language in _GRAMMARS:
            return grammar_sentence(language, rng)
        if language == "en" and rng.random() < lips:
            return lip_sentence(self.pairs, rng)
        queue, order = self._queues[language], self._orders[language]
        wanted = rng.uniform(SHORTEST, 85) if language == "en" else 0
        text = ""
        for k in range(3):
            sentence = queue[order[(3 * index + k if language == "en" else index) % len(queue)]]
            if bare(sentence) in self._held_out:
                continue
            text = f"{text} {sentence}".strip()
            if len(text) >= wanted or len(text) > LONGEST - 20:
                break
        return text or lip_sentence(self.pairs, rng)
