# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading speech: every format and rate, and files from strangers."""

from __future__ import annotations

import os
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference import AudioError, RuntimeMissing, read_speech, speech
from inference.mp3 import count_samples
from inference.speech import SAMPLE_RATE, sound_duration


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


@pytest.mark.parametrize("library", ["soundfile", "soxr"])
def test_library_that_cannot_be_loaded(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another extension brings one for another Blender, or Windows lacks what it needs."""
    soundfile.write(tmp_path / "a.wav", tone(44100), 44100)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(RuntimeMissing, match=f"library {library} cannot be loaded"):
        read_speech(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus", "mp3", "aiff"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone.{suffix}"
    if suffix == "opus":
        soundfile.write(path, tone(48000), 48000, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, tone(48000), 48000)
    speech = read_speech(path, start=2.5)
    assert speech.start == 2.5
    assert speech.duration == pytest.approx(1.0, abs=0.08)  # MP3 pads
    spectrum = np.abs(np.fft.rfft(speech.samples[:16000] * np.hanning(min(16000, len(speech.samples)))))
    assert abs(int(spectrum.argmax()) * SAMPLE_RATE / 16000 - 440) < 3


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (11025, 2), (44100, 2), (96000, 6), (192000, 8)])
def test_any_rate_and_channel_count(tmp_path: Path, rate: int, channels: int) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate, 0.7, channels), rate)
    speech = read_speech(path)
    assert len(speech.samples) == pytest.approx(0.7 * SAMPLE_RATE, abs=2)
    assert speech.samples.dtype == np.float32
    middle = speech.samples[2000:-2000]
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(speech.samples)) / SAMPLE_RATE)[2000:-2000]
    assert np.abs(middle - expected).max() < 0.02


def test_blocks_join_seamlessly(tmp_path: Path) -> None:
    """Longer than several blocks, resampled: the same as resampling in one go."""
    import soxr

    path = tmp_path / "long.wav"
    sound = np.random.default_rng(0).normal(size=44100 * 5).astype(np.float32) * 0.1
    soundfile.write(path, sound, 44100, subtype="FLOAT")
    np.testing.assert_allclose(read_speech(path).samples, soxr.resample(sound, 44100, 16000), atol=1e-4)


def test_integer_scaled_floats_are_brought_to_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "loud.wav"
    soundfile.write(path, tone(16000) * 20000, 16000, subtype="FLOAT")
    assert np.abs(read_speech(path).samples).max() == pytest.approx(1.0)


def write_bad(kind: str, path: Path) -> None:
    good = tone(16000, 1.0)
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("This is a letter and no sound.\n" * 40)
    elif kind == "no samples":
        soundfile.write(path, good[:0], 16000, format="WAV")
    elif kind == "10 ms":
        soundfile.write(path, good[:160], 16000, format="WAV")
    elif kind in ("nan", "infinite"):
        good[8000] = np.nan if kind == "nan" else np.inf
        soundfile.write(path, good, 16000, format="WAV", subtype="FLOAT")
    elif kind == "huge":
        soundfile.write(path, np.sign(tone(44100, 1.0)) * np.float32(3.4e38), 44100, format="WAV", subtype="FLOAT")
    elif kind == "endless flac":  # a stream's header need not say how long it is
        soundfile.write(path, good, 16000, format="FLAC")
        raw = bytearray(path.read_bytes())
        raw[21] &= 0xF0
        raw[22:26] = bytes(4)
        path.write_bytes(raw)
    elif kind == "half an mp3":
        soundfile.write(path, good, 16000, format="MP3")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "truncated flac":
        noise = 0.1 * np.random.default_rng(0).normal(size=(64000, 1))
        soundfile.write(path, noise, 16000, format="FLAC")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    "kind",
    [
        "missing", "empty", "text", "no samples", "10 ms", "nan", "infinite", "huge", "truncated flac", "endless flac",
        "half an mp3", "folder",
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_sentence(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "speech.wav"
    write_bad(kind, path)
    with pytest.raises(AudioError) as caught:
        read_speech(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "speech.wav").write_bytes(b"none")  # libsndfile says of both that it is no sound
    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(AudioError, match=r"cannot be read \(.*Permission denied"):
        read_speech(tmp_path / "speech.wav")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ALAW"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "AIFF", "AU", "W64"])
def test_copies_that_break_off(tmp_path: Path, kind: str, subtype: str) -> None:
    """Where libsndfile reads what is there and says nothing."""
    path = tmp_path / "speech"
    soundfile.write(path, tone(16000, 1.0), 16000, format=kind, subtype=subtype)
    raw = path.read_bytes()
    assert read_speech(path).duration == 1.0
    for part in (0.4, 0.98):
        path.write_bytes(raw[: int(part * len(raw))])
        for content in (None, path.read_bytes()):
            with pytest.raises(AudioError, match=r"“speech” breaks off after [01]\.\d s; export the speech again"):
                read_speech(path, content=content)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_files_that_break_off(tmp_path: Path, subtype: str) -> None:
    """A whole page may be the last without calling itself that, as where a stream was recorded; half of one may not."""
    path = tmp_path / "speech"
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * 16000)
    soundfile.write(path, noise, 16000, format="OGG", subtype=subtype)
    raw = path.read_bytes()
    last = raw.rfind(b"OggS")
    assert raw.count(b"OggS") > 3 and read_speech(path).duration == pytest.approx(10, abs=0.01)
    for whole in (raw[:last], raw + bytes(100), raw + bytes(70000)):
        assert 7 < read_speech(path, content=whole).duration <= 10.01
    for size in (len(raw) - 1, last + 28, last + 10, len(raw) // 2):
        path.write_bytes(raw[:size])
        for content in (None, path.read_bytes()):
            with pytest.raises(AudioError, match=r"“speech” breaks off after \d+\.\d s; export the speech again"):
                read_speech(path, content=content)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0xFFFFFFF0, 0x7FFFFFFF - 36, 0x7FFFF000, 0x80000000, 32001, 32044])
def test_streams_and_careless_writers_are_whole(tmp_path: Path, length: int) -> None:
    """A program that writes to a pipe cannot go back to say how long it became; others count what isn't there."""
    path = tmp_path / "speech.wav"
    soundfile.write(path, tone(16000, 1.0), 16000)
    raw = path.read_bytes()
    assert raw[36:40] == b"data" and len(raw) == 32044
    path.write_bytes(raw[:40] + length.to_bytes(4, "little") + raw[44:])
    assert read_speech(path).duration == 1.0


def test_streamed_aiff_is_whole(tmp_path: Path) -> None:
    """Sox writes the first length to a pipe, ffmpeg the second."""
    path = tmp_path / "speech.aiff"
    soundfile.write(path, tone(16000, 1.0), 16000)
    raw = path.read_bytes()
    place = raw.index(b"SSND") + 4
    for length in (0x7F000008, 0):
        path.write_bytes(raw[:place] + length.to_bytes(4, "big") + raw[place + 4 :])
        assert read_speech(path).duration == 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(16000), 16000)
    path = tmp_path / os.fsdecode(b"R\xe9plique.wav")
    (tmp_path / "a.wav").rename(path)
    assert read_speech(path).duration == sound_duration(path) == 1.0


def test_sound_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "line.raw").write_bytes(bytes(32000))
    for read in (read_speech, sound_duration):
        with pytest.raises(AudioError, match=r"“line\.raw” does not say what sound it holds; export it as WAV"):
            read(tmp_path / "line.raw")


def mp3(path: Path, mode: str, header: bool, level: float = 0.5) -> bytes:
    """Loud, then next to nothing, as talk and pauses: frames of many sizes."""
    sound = 0.3 * np.random.default_rng(0).normal(size=6 * 16000) * np.repeat([1.0, 1e-4], 3 * 16000)
    with soundfile.SoundFile(path, "w", 16000, 1, format="MP3", bitrate_mode=mode, compression_level=level) as file:
        file.write(sound)
    raw = path.read_bytes()
    return raw if header else raw[raw.find(b"\xff\xf3", 1) :]  # MPEG 2, Layer III, without checksum


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("header", [True, False])
def test_an_mp3_is_heard_to_its_end_or_refused(tmp_path: Path, mode: str, header: bool) -> None:
    """Without a header libsndfile guesses the length, and would stop where it guesses."""
    path = tmp_path / "talk.mp3"
    path.write_bytes(mp3(path, mode, header))
    samples, told = count_samples(BytesIO(path.read_bytes()))
    assert told == header and samples / 16000 == pytest.approx(6, abs=0.15)
    try:
        assert read_speech(path).duration == pytest.approx(6, abs=0.15)
    except AudioError as error:
        assert mode != "CONSTANT" and not header and "does not say how long it is" in str(error)


def test_an_mp3_that_is_longer_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.mp3"
    path.write_bytes(mp3(path, "VARIABLE", True) * 2)
    with pytest.raises(AudioError, match="does not say how long it is"):
        read_speech(path)


def test_an_mp3_that_is_exported_anew_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever writes it cuts it off first: a process that had mapped it would die."""
    path = tmp_path / "talk.mp3"
    mp3(path, "VARIABLE", True)
    count = speech.count_samples
    monkeypatch.setattr(speech, "count_samples", lambda data: (os.truncate(path, 0), count(data))[1])
    with pytest.raises(AudioError, match="breaks off"):
        read_speech(path)


def test_a_whole_mp3_that_libsndfile_takes_for_longer_is_read(tmp_path: Path) -> None:
    """It guesses by the first frames: here those of a pause."""
    path = tmp_path / "late.mp3"
    raw = mp3(path, "VARIABLE", False, 0.3)
    frames = [b"\xff\xf3" + frame for frame in raw.split(b"\xff\xf3")[1:]]
    path.write_bytes(b"".join(frames[len(frames) * 6 // 10 :] + frames[: len(frames) * 6 // 10]))
    with soundfile.SoundFile(path) as file:
        assert file.frames > 1.2 * count_samples(BytesIO(path.read_bytes()))[0]
    assert read_speech(path).duration == pytest.approx(6, abs=0.3)


@settings(max_examples=200)
@given(junk=st.binary(max_size=400), tag=st.booleans())
def test_counting_an_mp3_ends_whatever_it_holds(junk: bytes, tag: bool) -> None:
    samples, _ = count_samples(BytesIO((b"ID3\x04\x00\x10" if tag else b"\xff\xf3") + junk))
    assert 0 <= samples <= 1152 * len(junk)


def test_mp3_may_lack_its_last_frame(tmp_path: Path) -> None:
    """The header tells how many frames there were; players don't mind when the last one is missing."""
    soundfile.write(tmp_path / "a.mp3", tone(16000, 3.0), 16000)
    raw = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(raw[:-50])
    assert 2.9 < read_speech(tmp_path / "a.mp3").duration < 3.0


@pytest.mark.parametrize("other", [-1.0, 0.0, 1.0])
def test_channels_that_cancel_out(tmp_path: Path, other: float) -> None:
    """One microphone's wires swapped: the mean of the channels would be silence."""
    sound = tone(44100, 1.0)
    soundfile.write(tmp_path / "a.wav", np.concatenate([sound, other * sound], axis=1), 44100)
    heard = read_speech(tmp_path / "a.wav").samples
    power = np.square(heard[1000:-1000]).mean() / np.square(sound).mean()
    assert power == pytest.approx(0.25 if other == 0 else 1.0, rel=0.02)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_crash(tmp_path: Path, data: st.DataObject) -> None:
    """Flip and cut bytes of real files: samples that are finite, or AudioError."""
    suffix = data.draw(st.sampled_from(["wav", "flac", "ogg", "aiff", "mp3"]))
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(16000, 0.3), 16000)
    raw = bytearray(path.read_bytes())
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=8)):
        raw[place] = value
    path.write_bytes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    try:
        speech = read_speech(path)
    except AudioError:
        return
    assert np.isfinite(speech.samples).all() and np.abs(speech.samples).max() <= 1.0
