# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech as the models hear it: mono, 16 kHz, float32, read in blocks so that memory stays bounded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from .errors import AudioError, RuntimeMissing
from .mp3 import count_samples

SAMPLE_RATE = 16_000  # Hz
SHORTEST = 0.1  # seconds: less holds no syllable
LONGEST = 4 * 3600.0  # seconds: 0.9 GB of samples
READABLE_RATES = (1_000, 768_000)  # Hz
_BLOCK = 1 << 16  # sample frames
_MP3_PADDING = 5 * 1152  # sample frames that MP3s hold beside the sound: the header's own, and silence at both ends
_MP3_LACKS = 2 * 1152  # sample frames, two of MP3's own: a header may promise a little more than the file holds
_BREAKS_OFF = "“{}” breaks off after {:.1f} s; export the speech again."
_NOT_SAID = "“{}” does not say how long it is; export the speech again."
_LARGEST = 1e30  # sample: larger ones overflow where they are resampled
_CANCELLED = 0.01  # of the loudest channel's power
_UNKNOWN = (1 << 63) - 1  # frames that libsndfile reports where a header leaves the number open, as streamed FLAC may
# What libsndfile notes where fewer bytes lie in a WAV, AIFF, AU, SVX, W64 or RF64 than its header says: it reads these.
_CUT_SHORT = re.compile(r"^ *(?:data|SSND|Data Size|BODY|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes: the longest page of an Ogg file
_LACKS = 128  # bytes: some programs count pad bytes, or the header itself
# Lengths that programs write which stream, and cannot go back to the header when they know it.
_STREAMED = (range(0x7F00_0000, 0x8000_1000), range(0xFFFF_FF00, 1 << 64))


@dataclass(frozen=True)
class Speech:
    """Mono speech at `SAMPLE_RATE`.

    samples: float32, shape (N,), full scale is ±1.
    start: seconds on the timeline at which sample 0 is heard.
    """

    samples: np.ndarray
    start: float = 0.0

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE

    def unit_variance(self) -> np.ndarray:
        """Samples with zero mean and unit variance over the whole clip, as wav2vec2's processor makes them.

        FaceFormer, section 3.1; population variance, 1e-7 added (transformers' Wav2Vec2FeatureExtractor).
        """
        samples = self.samples - np.float32(self.samples.mean(dtype=np.float64))
        blocks = range(0, len(samples), _BLOCK)
        power = sum(np.square(samples[i : i + _BLOCK], dtype=np.float64).sum() for i in blocks) / len(samples)
        samples /= np.float32(np.sqrt(power + 1e-7))
        return samples


def read_speech(path: str | Path, start: float = 0.0, content: bytes | None = None) -> Speech:
    """Read any sound file that libsndfile knows (WAV, FLAC, OGG, Opus, MP3, AIFF …) as `Speech`.

    Any sample rate and channel count: channels are averaged (where they cancel out, as when one microphone's wires were
    swapped, the loudest is taken instead), then resampled with soxr. `start` is in seconds. With the file's `content`
    nothing is read from disk; `path` then only names it in messages. Raises AudioError when the file is missing, is no
    sound, is damaged, too short or too long, and RuntimeMissing when the sound libraries cannot be loaded.
    """
    path = Path(path)
    with _opened(path, content) as file:
        samples = _read_blocks(file, path.name, _declared(file, path, content))
        if file.format == "OGG" and _ends_within_page(_tail(path, content, _OGG_PAGE)):
            raise AudioError(_BREAKS_OFF.format(path.name, len(samples) / SAMPLE_RATE))
    return Speech(_checked(samples, path.name), start)


def sound_duration(path: str | Path, content: bytes | None = None) -> float:
    """Seconds that a sound file lasts by its header; arguments and errors as of `read_speech`."""
    with _opened(Path(path), content) as file:
        return float(file.frames / file.samplerate)


@contextmanager
def _opened(path: Path, content: bytes | None) -> Iterator[Any]:
    """The sound file, open; what goes wrong while it is read is raised as one sentence, too."""
    soundfile = _library("soundfile")
    try:
        if content is None:
            if path.is_dir():
                raise AudioError(f"“{path}” is a folder; choose a sound file in it.")
            if not path.is_file():
                raise AudioError(f"There is no sound file at “{path}”; choose another one.")
            path.open("rb").close()  # of one that may not be read libsndfile says that it is no sound
        if (path.stat().st_size if content is None else len(content)) == 0:
            raise AudioError(f"“{path.name}” is an empty file; export the speech again.")
        # soundfile itself cannot encode a POSIX name that is no UTF-8.
        place = os.fsencode(path) if os.name == "posix" else str(path)
        with soundfile.SoundFile(place if content is None else BytesIO(content)) as file:
            if file.frames == _UNKNOWN:  # nor can its end be found: soundfile seeks there after reading, and fails
                raise AudioError(_NOT_SAID.format(path.name))
            yield file
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"“{path.name}” is damaged or not a sound file; export the speech as WAV, FLAC, OGG or MP3."
        ) from error
    except TypeError as error:  # by its name it has no header
        raise AudioError(
            f"“{path.name}” does not say what sound it holds; export it as WAV, FLAC, OGG or MP3."
        ) from error
    except (OSError, ValueError) as error:
        raise AudioError(f"“{path}” cannot be read ({error}); choose another sound file.") from error


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except (ImportError, OSError) as error:
        raise RuntimeMissing(
            f"The sound library {name} cannot be loaded ({error}); reinstall the extension."
        ) from error


def _declared(file: Any, path: Path, content: bytes | None) -> int:
    """How many sample frames a file should hold; raises AudioError when libsndfile would not read them all."""
    if file.format != "MP3":
        return int(file.frames)
    with path.open("rb") if content is None else BytesIO(content) as opened:
        held, told = count_samples(opened)
    if held > file.frames + _MP3_PADDING:
        raise AudioError(_NOT_SAID.format(path.name))
    return held if held and not told else int(file.frames)


def _read_blocks(file: Any, name: str, declared: int, channel: int | None = None) -> np.ndarray:
    """One channel, or all mixed down, resampled block by block; raises AudioError for what no block may hold."""
    soxr = _library("soxr")
    rate = file.samplerate
    if not READABLE_RATES[0] <= rate <= READABLE_RATES[1]:
        raise AudioError(f"“{name}” claims {rate} samples per second; export it at 16 to 192 kHz.")
    if declared / rate > LONGEST:
        raise AudioError(
            f"“{name}” lasts {declared / rate / 3600:.1f} hours; cut it into pieces of under {LONGEST / 3600:.0f}."
        )
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32") if rate != SAMPLE_RATE else None
    pieces, count, power, mixed_power = [], 0, np.zeros(file.channels), 0.0
    block = max(1, _BLOCK // file.channels)
    while len(frames := file.read(block, dtype="float32", always_2d=True)):
        if not np.abs(frames).max() < _LARGEST:  # nor when one is NaN
            raise AudioError(f"“{name}” holds samples that are not numbers or far too large; export the speech again.")
        mono = frames.mean(axis=1, dtype=np.float32) if channel is None else np.ascontiguousarray(frames[:, channel])
        power += np.square(frames, dtype=np.float64).sum(axis=0)
        mixed_power += np.square(mono, dtype=np.float64).sum()
        count += len(mono)
        if count / rate > LONGEST:
            raise AudioError(f"“{name}” is longer than {LONGEST / 3600:.0f} hours; cut it into pieces.")
        pieces.append(resampler.resample_chunk(mono) if resampler else mono)
    lacking = declared - count > (max(0.01 * declared, _MP3_LACKS) if file.format == "MP3" else 0)
    if lacking or _cut_short(file.extra_info):
        raise AudioError(_BREAKS_OFF.format(name, count / rate))
    if channel is None and mixed_power < _CANCELLED * power.max():
        file.seek(0)
        return _read_blocks(file, name, declared, int(power.argmax()))
    if resampler:
        pieces.append(resampler.resample_chunk(np.empty(0, np.float32), last=True))
    return np.concatenate(pieces) if pieces else np.empty(0, np.float32)


def _cut_short(notes: str) -> bool:
    """Whether the file ends before the sound does, by what libsndfile noted about its header."""
    lengths = (map(int, found) for found in _CUT_SHORT.findall(notes))
    return any(said - there > _LACKS and not any(said in streamed for streamed in _STREAMED) for said, there in lengths)


def _tail(path: Path, content: bytes | None, count: int) -> bytes:
    """The last `count` bytes of a file, or of its `content`."""
    if content is not None:
        return content[-count:]
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        return file.read()


def _ends_within_page(tail: bytes) -> bool:
    """Whether an Ogg file ends before its last page does (RFC 3533, section 6), which libsndfile leaves out unsaid.

    A file without a page that calls itself the last is whole: recordings of a stream end so.
    """
    begins = tail.rfind(b"OggS")
    header = tail[begins : begins + 27]
    if begins < 0 or len(header) < 27:
        return begins >= 0
    table = tail[begins + 27 :][: header[26]]
    return len(table) < header[26] or len(tail) < begins + 27 + len(table) + sum(table)


def _checked(samples: np.ndarray, name: str) -> np.ndarray:
    """`samples` within full scale; raises AudioError when too few are there."""
    if len(samples) == 0:
        raise AudioError(f"“{name}” has no sound in it; export the speech again.")
    if len(samples) < SHORTEST * SAMPLE_RATE:
        raise AudioError(
            f"“{name}” lasts only {len(samples) * 1000 // SAMPLE_RATE} ms; choose at least {SHORTEST:g} s of speech."
        )
    peak = float(np.abs(samples).max())
    # Float files may use any scale, the range of 16-bit integers for one.
    return samples / np.float32(peak) if peak > 1.0 else samples
