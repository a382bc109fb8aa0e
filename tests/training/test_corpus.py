# SPDX-License-Identifier: GPL-3.0-or-later
"""The corpus: phones of every source in one set, labels that fit the sound, licences and speakers kept apart."""

import io
import itertools
import json
import shutil
from ctypes.util import find_library

import mido
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from training.config import SAMPLE_RATE
from training.corpus import build, espeak, nonspeech, orchestra, real, texts
from training.corpus.__main__ import main
from training.corpus.clips import Clip, drop_partial_line, read_clips
from training.corpus.phones import ARPABET, from_arpabet, from_ipa, from_rhvoice, release_pauses, tidy
from training.corpus.voices import VOICES


@pytest.mark.parametrize(
    ("name", "phone"), [("ax", "AH"), ("AH0", "AH"), ("pau", "SIL"), ("+NSN+", "SIL"), ("dx", "T")]
)
def test_english_names(name, phone):
    assert from_arpabet(name) == phone


def test_unknown_names_are_errors():
    with pytest.raises(ValueError, match="table"):
        from_arpabet("QQ")
    with pytest.raises(ValueError, match="table"):
        from_rhvoice("qqq", "ru")


@pytest.mark.parametrize(
    ("name", "phone"), [("bb", "B"), ("pp", "P"), ("mm", "M"), ("u0", "UW"), ("pau", "SIL"), ("mj", "M")]
)
def test_palatal_letters_keep_their_lips(name, phone):
    assert from_rhvoice(name, "ru") == phone


@pytest.mark.parametrize(
    ("ipa", "phones"),
    [("ˈtʃ", ["CH"]), ("oʊ", ["OW"]), ("y", ["UW"]), ("ɔ̃", ["AO"]), ("pʰ", ["P"]), ("ts", ["T", "S"]),
     ("˥", []), ("", [])],
)  # fmt: skip
def test_ipa(ipa, phones):
    assert from_ipa(ipa) == phones


@given(st.text(alphabet="pbmtʃdʒaeiouyøəɪʊsʂz.hːˈ˥0123 ()", max_size=12))
def test_ipa_gives_known_phones_only(text):
    assert set(from_ipa(text)) <= ARPABET


@given(st.lists(st.tuples(st.floats(0, 0.3), st.floats(0.001, 0.4), st.sampled_from(["B", "AA", "SIL"])), min_size=1))
def test_tidy_leaves_no_gap(steps):
    phones, now = [], 0.0
    for gap, length, name in steps:
        phones.append((now + gap, now + gap + length, name))
        now += gap + length
    tidied = tidy(phones, now)
    assert tidied[0][0] == 0
    assert tidied[-1][1] == pytest.approx(now)
    assert all(a[1] == b[0] for a, b in itertools.pairwise(tidied))
    assert not any(a[2] == b[2] == "SIL" for a, b in itertools.pairwise(tidied))


def test_tidy_refuses_labels_that_run_away_from_the_sound():
    with pytest.raises(ValueError, match="labels end"):
        tidy([(0.0, 1.2, "AA")], 1.0)
    with pytest.raises(ValueError, match="no phones"):
        tidy([], 1.0)


def test_a_stop_gives_the_swallowed_pause_back():
    assert release_pauses([(0.0, 0.1, "AA"), (0.1, 0.6, "P")]) == [
        (0.0, 0.1, "AA"),
        (0.1, 0.48, "SIL"),
        (0.48, 0.6, "P"),
    ]
    assert release_pauses([(0.0, 0.15, "P")]) == [(0.0, 0.15, "P")]


def test_a_stop_begins_at_its_closure():
    speech = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    speech[int(0.44 * SAMPLE_RATE) : int(0.5 * SAMPLE_RATE)] = 0
    moved = espeak.move_closures(speech, [(0.0, 0.5, "AA"), (0.5, 1.0, "P")])
    assert moved[1][0] == pytest.approx(0.44, abs=0.01)
    assert moved[0][1] == moved[1][0]
    voiced = [(0.0, 0.5, "AA"), (0.5, 1.0, "B")]
    assert espeak.move_closures(speech, voiced) == voiced


def test_listing_survives_an_interrupted_line(tmp_path):
    clip = Clip("a", "a.flac", "s", "en", "Grüße", "x", "P", "train", 1.0, [(0.0, 1.0, "SIL")])
    listing = tmp_path / "clips.jsonl"
    listing.write_text(clip.line() + "\n" + clip.line()[:20], encoding="utf-8")
    assert list(read_clips(tmp_path)) == [clip]
    drop_partial_line(listing)
    assert listing.read_text(encoding="utf-8") == clip.line() + "\n"


def test_a_trill_leaves_the_lips_alone():
    """English rounds the lips for its own r; Spanish, Italian and Russian do not."""
    assert from_ipa("r") == ["L"] and from_ipa("ɹ") == ["R"] and from_arpabet("R") == "R"
    assert from_rhvoice("r", "ru") == from_rhvoice("rr", "ru") == "L" and from_rhvoice("r", "en") == "R"


def test_labels_of_other_languages_in_english_phones_have_their_own_lips(tmp_path):
    rows = ["path,transcript,language,speaker,licence,source,seconds,tier,aligned"]
    rows += [f"asterisk/{language}.opus,oro,{language},{language},x,x,0.5,A,1" for language in ("it", "en")]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    labels = "\t0:0.1:OW 0.1:0.2:R 0.2:0.3:EY 0.3:0.5:AW\n"
    (tmp_path / "alignments.tsv").write_text("".join(f"asterisk/{language}.opus{labels}" for language in ("it", "en")))
    italian, english = ([name for *_, name in clip.phones] for clip in real.read_real(tmp_path))
    assert italian == ["AO", "L", "EH", "AW"] and english == ["OW", "R", "EY", "AW"]


def test_real_speech_keeps_tiers_and_speakers_apart(tmp_path):
    rows = [
        "path,transcript,language,speaker,licence,source,seconds,tier,aligned",
        "librispeech/a.opus,HI,en,ls533,CC-BY-4.0,x,0.5,A,1",
        "an4/b.opus,HI,en,an4_fash,BSD,x,0.5,A,1",
        "asterisk_en/c.opus,HI,en,ast,CC-BY-SA,x,0.5,S,1",
        "picovoice/d.opus,HI,en,unknown,Apache,x,0.5,B,0",
        "an4/e.opus,HI,en,an4_x,BSD,x,9.0,A,1",
    ]
    (tmp_path / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    labels = "\t0.00:0.10:SIL 0.10:0.48:AY"
    (tmp_path / "alignments.tsv").write_text(
        "".join(f"{n}{labels}\n" for n in ("librispeech/a.opus", "an4/b.opus", "asterisk_en/c.opus", "an4/e.opus"))
    )
    clips = {c.audio: c for c in real.read_real(tmp_path)}
    assert set(clips) == {"librispeech/a.opus", "an4/b.opus", "picovoice/d.opus"}  # e: labels end long before the sound
    assert clips["librispeech/a.opus"].split == "test"
    assert clips["an4/b.opus"].split == "dev"
    assert clips["picovoice/d.opus"].phones is None
    assert clips["an4/b.opus"].phones == [(0.0, 0.1, "SIL"), (0.1, 0.5, "AY")]


def test_a_malformed_alignment_is_an_error():
    with pytest.raises(ValueError, match="unpack"):
        real.parse_alignment("0.1:AA")


@pytest.mark.parametrize("kind", sorted(nonspeech.MAKERS))
def test_nonspeech_is_sound_and_repeats(kind):
    for seed in range(5):
        a, b = (nonspeech.MAKERS[kind](SAMPLE_RATE, np.random.default_rng(seed)) for _ in range(2))
        assert a.dtype == np.float32
        assert a.shape == (SAMPLE_RATE,)
        assert np.isfinite(a).all()
        assert np.abs(a).max() <= 1
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", range(12))
def test_every_piece_is_one_that_midi_can_write(seed):
    piece = orchestra.compose(10.0, np.random.default_rng(seed))
    file = io.BytesIO()
    piece.save(file=file)
    file.seek(0)
    read = mido.MidiFile(file=file)
    assert 8 < read.length < 16
    notes = [message for message in read if message.type == "note_on"]
    assert len(notes) > 3
    again = io.BytesIO()
    orchestra.compose(10.0, np.random.default_rng(seed)).save(file=again)
    assert again.getvalue() == file.getvalue()


@pytest.mark.skipif(
    not (shutil.which("fluidsynth") and orchestra.SOUND_FONT.exists()),
    reason="FluidSynth or its sound font is not installed; see training/corpus/setup_engines.sh",
)
def test_an_orchestra_plays_the_same_again():
    once, again = (orchestra.play(3.0, np.random.default_rng(5)) for _ in range(2))
    assert once.shape == (3 * SAMPLE_RATE,)
    assert 0.001 < np.sqrt(np.mean(once**2)) < 0.5
    np.testing.assert_array_equal(once, again)


def test_without_a_sound_font_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(orchestra, "SOUND_FONT", tmp_path / "none.sf2")
    with pytest.raises(FileNotFoundError, match=r"setup_engines\.sh"):
        orchestra.play(1.0, np.random.default_rng(0))


def test_without_fluidsynth_it_says_what_to_do(monkeypatch, tmp_path):
    (tmp_path / "font.sf2").write_bytes(b"")
    monkeypatch.setattr(orchestra, "SOUND_FONT", tmp_path / "font.sf2")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"FluidSynth does not play.*setup_engines\.sh"):
        orchestra.play(1.0, np.random.default_rng(0))


def test_grammars_and_lip_sentences():
    rng = np.random.default_rng(0)
    assert len({texts.grammar_sentence("fr", rng) for _ in range(50)}) > 45
    said = " ".join(texts.lip_sentence([("map", "nap")], rng) for _ in range(50)).lower()
    assert "map" in said
    assert sum(said.count(c) for c in "pbmfvw") > 0.12 * len(said)


def test_what_held_out_recordings_say_is_synthesised_for_no_training(tmp_path):
    said = ["The map is old.", "A boat came by.", "Five men left home."]
    (tmp_path / "sentences.tsv").write_text("".join(f"x\t{text.upper()}\n" for text in said))
    (tmp_path / "minimal_pairs.tsv").write_text("map\tnap\tM\tN\tinitial\t1\n")

    def drawn():
        source = texts.Texts(tmp_path, 0)
        return [source.draw("en", index, np.random.default_rng(index), lips=0.0).lower() for index in range(30)]

    before = drawn()
    assert all(any(text.lower()[:-1] in one for one in before) for text in said)
    held = [("librispeech/a.opus", "THE MAP IS OLD", "ls237"), ("librispeech/b.opus", "A BOAT CAME BY", "ls1")]
    rows = [f"{path},{text},en,{speaker},x,x,1,A,1\n" for path, text, speaker in held]
    header = "path,transcript,language,speaker,licence,source,seconds,tier,aligned\n"
    (tmp_path / "manifest.csv").write_text(header + "".join(rows))
    assert real.split_of("ls1", "librispeech/b.opus") == "train"
    after = drawn()
    assert not any("the map is old" in text for text in after) and any("a boat came by" in text for text in after)
    assert all(after) and [a for a, b in zip(after, before, strict=True) if "the map is old" not in b] == [
        b for b in before if "the map is old" not in b
    ]  # every other sentence stays: a corpus that has begun can go on


def test_no_voice_is_both_heard_and_tested():
    heard = {v.speaker for v in VOICES if v.split == "train"}
    tested = {v.speaker for v in VOICES if v.split == "test"}
    assert tested
    assert not heard & tested


@pytest.mark.skipif(
    shutil.which("flite") is None, reason="flite is not installed; see training/corpus/setup_engines.sh"
)
def test_a_tiny_corpus_resumes_and_repeats(tmp_path, monkeypatch):
    folder = tmp_path / "speech"
    folder.mkdir()
    (folder / "manifest.csv").write_text("path,transcript,language,speaker,licence,source,seconds,tier,aligned\n")
    (folder / "alignments.tsv").write_text("")
    (folder / "sentences.tsv").write_text("".join(f"x\tBob moved map number {n} by boat.\n" for n in ("one", "two")))
    (folder / "minimal_pairs.tsv").write_text("map\tnap\tM\tN\tinitial\t1\n")
    engines = {"flite", "espeak"} if find_library("espeak-ng") else {"flite"}
    monkeypatch.setattr(build, "VOICES", [v for v in VOICES if v.engine in engines and v.name != "kal16"])

    def make(cache, hours):
        build.build(cache, folder, build.Profile(hours, 0.0, 0.2, 0.0, None), seed=3)
        return list(read_clips(cache))

    half, whole = make(tmp_path / "a", 0.002), make(tmp_path / "a", 0.004)
    assert len(half) < len(whole)
    assert whole == make(tmp_path / "b", 0.004)
    for clip in whole:
        sound, rate = soundfile.read(tmp_path / "a" / clip.audio)
        assert rate == SAMPLE_RATE
        assert len(sound) / rate == pytest.approx(clip.seconds, abs=1e-4)
        assert clip.phones[-1][1] == pytest.approx(clip.seconds, abs=1e-3)
    assert {p for c in whole for _, _, p in c.phones} <= ARPABET | {"SIL"}
    assert all(json.loads(c.line())["tier"] == "P" for c in whole)


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["--speech", str(tmp_path), "--cache", str(tmp_path / "cache")]) == 1
    assert "manifest.csv" in capsys.readouterr().err


def test_a_corpus_that_cannot_be_written_is_told_in_a_sentence(tmp_path, capsys):
    (tmp_path / "manifest.csv").touch()
    (tmp_path / "file").touch()
    assert main(["--speech", str(tmp_path), "--cache", str(tmp_path / "file")]) == 1
    assert f"“{tmp_path / 'file'}” cannot be used (File exists); give another --cache" in capsys.readouterr().err


def test_a_disk_that_fills_up_is_told_in_a_sentence(tmp_path, capsys, monkeypatch):
    (tmp_path / "manifest.csv").touch()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.corpus.__main__.build", full)
    assert main(["--speech", str(tmp_path), "--cache", str(tmp_path / "cache")]) == 1
    assert f"“{tmp_path / 'cache'}” cannot be used (No space left on device); give" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["0:0.3:QQ", "0:0.3", "zero:0.3:AA"])
def test_an_alignment_that_cannot_be_read_is_told_in_a_sentence(line, tmp_path, capsys):
    header = "path,transcript,language,speaker,licence,source,seconds,tier,aligned\n"
    (tmp_path / "manifest.csv").write_text(header + "real/a.flac,a,en,a,x,x,0.3,A,yes\n")
    (tmp_path / "alignments.tsv").write_text(f"real/a.flac\t{line}\n")
    assert main(["--cache", str(tmp_path / "cache"), "--speech", str(tmp_path)]) == 1
    assert f"“{line}” in alignments.tsv" in capsys.readouterr().err


@pytest.mark.skipif(
    shutil.which("flite") is None, reason="flite is not installed; see training/corpus/setup_engines.sh"
)
def test_alignment_agrees_with_the_synthesiser():
    from training.corpus.align import align
    from training.corpus.engines import synthesise

    voice = next(v for v in VOICES if v.name == "slt" and v.engine == "flite")
    speech, exact = synthesise(voice, "Peter bought a big map of Boston.", 1.0, 1.0, 0.5)
    aligned = align(speech, "Peter bought a big map of Boston.")
    assert aligned is not None

    def closures(phones):
        return np.array([start for start, _, name in phones if name in ("P", "B", "M")])

    np.testing.assert_allclose(closures(aligned), closures(exact), atol=0.05)
    assert align(speech, "...") is None


def test_a_manifest_without_a_column_is_told_in_a_sentence(tmp_path, capsys):
    (tmp_path / "manifest.csv").write_text("path,transcript,language,speaker,seconds\n")
    (tmp_path / "alignments.tsv").touch()
    assert main(["--cache", str(tmp_path / "cache"), "--speech", str(tmp_path)]) == 1
    assert "no column tier" in capsys.readouterr().err


CLIP = Clip("a", "a.flac", "a", "en", "a b c", "real:x", "A", "test", 1.0, [(0.0, 0.4, "SIL"), (0.4, 1.0, "P")])


@pytest.mark.parametrize(
    "damage",
    [
        '{"id": 3', "[1, 2]", {"phones": [[0, 1, "QQ"]]}, {"phones": [[0, float("nan"), "AA"]]},
        {"phones": [[0, 1e9, "AA"]]}, {"phones": [[0.5, 0.4, "AA"]]}, {"phones": [[0, 0.5, "AA"], [0.2, 0.6, "P"]]},
        {"phones": [["0", "1", "AA"]]}, {"phones": "AA"}, {"phones": 3}, {"audio": 3}, {"language": None},
        {"source": None}, {"colour": 1}, {"seconds": "1"}, {"seconds": float("inf")}, "split", "phones",
    ],
)  # fmt: skip
def test_a_line_that_is_no_clip_is_told_in_a_sentence(damage, tmp_path):
    """`damage`: the whole line, a field to be left out, or fields to be set."""
    fields = json.loads(CLIP.line())
    if isinstance(damage, dict):
        line = json.dumps(fields | damage)
    else:
        line = json.dumps({k: v for k, v in fields.items() if k != damage}) if damage in fields else damage
    (tmp_path / "clips.jsonl").write_text(f"{CLIP.line()}\n{line}\n")
    with pytest.raises(ValueError, match=r"in clips\.jsonl is no clip .* take the line out"):
        list(read_clips(tmp_path))


def test_clips_are_read_as_they_were_written(tmp_path):
    silent = Clip("b", "b.flac", "b", "fr", "", "real:x", "B", "train", 0.5, None)
    (tmp_path / "clips.jsonl").write_text(f"{CLIP.line()}\n{silent.line()}\n")
    assert list(read_clips(tmp_path)) == [CLIP, silent]
