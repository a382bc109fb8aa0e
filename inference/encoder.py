# SPDX-License-Identifier: GPL-3.0-or-later
"""From speech to the decoder's memory: the audio encoder of a model package, in windows, as one seamless sequence.

Two kinds of graphs. "frames": one memory frame per `hop` samples, everything inside. "wav2vec2" (official weights):
convolutions without padding, features interpolated to the model's rate, and two normalisations over the whole clip,
which the host computes once so that windows do not change them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from .errors import AudioError, ModelError
from .model_package import ModelPackage
from .session import Session
from .speech import SAMPLE_RATE, Speech
from .windows import crossfade, frame_loudness, plan_windows

# Seconds that a window hears beyond either end: the positional convolution reaches 64 frames, 2.1 s at 30 fps, and
# would meet silence there.
_CONTEXT = 3.0
_MEANING = 0.5  # share of the time that a sentence vector of the whole clip takes: its network is as large
_BLOCK = 1 << 18  # samples whose convolution input is laid out at once


@dataclass(frozen=True)
class Heard:
    """What the decoder hears.

    memory: float32, (T * memory_per_frame, d). loudness: mean square of the speech per frame, (T,).
    """

    memory: np.ndarray
    loudness: np.ndarray


class AudioEncoder:
    """The graphs of a package, whose memory frames are `width` numbers. Raises ModelError, RuntimeMissing.

    provider and threads as in `session.Session`.
    """

    def __init__(self, package: ModelPackage, width: int, provider: str = "CPU", threads: int = 0) -> None:
        self.package, self.width = package, width
        self.graph = Session(package.folder / "model.onnx", provider, threads)
        has_wav2sem = "wav2sem.onnx" in package.files
        self.wav2sem = Session(package.folder / "wav2sem.onnx", provider, threads) if has_wav2sem else None
        expected = {"speech"} | ({"semantic"} if has_wav2sem else set())
        if package.encoder_kind == "wav2vec2":
            expected |= {"statistics", "frame", "fraction"}
        if self.graph.inputs != expected:
            raise ModelError(f"The model “{package.name}” has a graph with unknown inputs; get a whole model.")

    @property
    def note(self) -> str | None:
        """Why the model does not run where it was asked to, in one sentence, or None."""
        return self.graph.note or (self.wav2sem.note if self.wav2sem else None)

    def listen(
        self,
        speech: Speech,
        tick: Callable[[float], None],
        longest: float | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Heard:
        """Memory of the whole clip. tick(fraction done) is called before every window and may raise to stop.

        longest: seconds of speech that go through the network at once; by default the package's. Raises Cancelled, also
        within a window, when `cancelled()` turns true.
        """
        for graph in filter(None, (self.graph, self.wav2sem)):
            graph.cancelled = cancelled
        clip = self._clip(speech)
        rate = self.package.fps * self.package.memory_per_frame
        windows = plan_windows(clip.loudness, rate, longest or self.package.encoder_longest)
        sentence = clip.sentence(windows, lambda part: tick(_MEANING * part))
        begun = 0.0 if sentence is None else _MEANING

        def parts() -> Iterator[np.ndarray]:
            for first, last in windows:
                tick(begun + (1 - begun) * first / windows[-1][1])
                yield clip.memory(first, last, sentence)

        per_frame = self.package.memory_per_frame
        return Heard(crossfade(windows, parts()), clip.loudness.reshape(-1, per_frame).mean(axis=1))

    def loudness(self, speech: Speech) -> np.ndarray:
        """Mean square of the speech per memory frame, by which windows are planned."""
        return self._clip(speech).loudness

    def _clip(self, speech: Speech) -> _Wav2Vec2Clip | _FramesClip:
        samples = speech.unit_variance() if self.package.normalise == "unit-variance" else speech.samples
        return (_Wav2Vec2Clip if self.package.encoder_kind == "wav2vec2" else _FramesClip)(self, samples)

    def memory(self, inputs: dict[str, np.ndarray], count: int) -> np.ndarray:
        """What the graph makes of `inputs`: (count, width), finite numbers; raises ModelError."""
        memory, wanted = self.graph.run("memory", inputs), (1, count, self.width)
        if memory.shape != wanted:
            raise ModelError(
                f"The model “{self.package.name}” hears {memory.shape} where its decoder needs {wanted}; "
                "get a whole model."
            )
        if not np.isfinite(memory).all():
            device = self.graph.provider
            way_out = "get a whole model" if device == "CPU" else f"run it on the CPU instead of {device}"
            raise ModelError(f"The model “{self.package.name}” hears values that are no numbers; {way_out}.")
        return memory[0]


class _FramesClip:
    """Graphs that take a multiple of `hop` samples and answer with as many frames; one sentence vector a window."""

    def __init__(self, encoder: AudioEncoder, samples: np.ndarray) -> None:
        self._encoder = encoder
        self._hop = round(SAMPLE_RATE / encoder.package.fps / encoder.package.memory_per_frame)
        self._samples = np.pad(samples, (0, -len(samples) % (self._hop * encoder.package.memory_per_frame)))
        self.loudness = frame_loudness(self._samples, self._hop)

    def sentence(self, windows: list[tuple[int, int]], tick: Callable[[float], None]) -> None:
        """No whole-clip vector: the model was trained on sentences."""

    def memory(self, first: int, last: int, sentence: np.ndarray | None) -> np.ndarray:
        inputs = {"speech": self._samples[None, first * self._hop : last * self._hop]}
        if self._encoder.wav2sem is not None:
            inputs["semantic"] = self._encoder.wav2sem.run("semantic", inputs)
        return self._encoder.memory(inputs, last - first)


class _Wav2Vec2Clip:
    """wav2vec2's framing: L = floor((N - 400) / 320) + 1 frames, interpolated to T (FaceFormer, section 3.1).

    T = int(L / 50 * fps), as the official code truncates it; with two memory frames per output frame (BIWI) nothing is
    interpolated, and an odd last frame is dropped.
    """

    def __init__(self, encoder: AudioEncoder, samples: np.ndarray) -> None:
        package = encoder.package
        self._encoder, self._samples = encoder, samples
        self._hop = prod(package.strides)
        self._field = receptive_field(package.kernels, package.strides)
        heard = (len(samples) - self._field) // self._hop + 1
        if package.memory_per_frame == 1:
            count = int(heard / (SAMPLE_RATE / self._hop) * package.fps)
            # In float32 as torch does it: 1e-4 of a frame at 25 s, which shows in the features.
            position = np.arange(count, dtype=np.float32) * (np.float32(heard - 1) / np.float32(max(count - 1, 1)))
        else:
            count = heard - heard % package.memory_per_frame
            position = np.arange(count, dtype=np.float32)
        if heard < 2 or count < 1:
            raise AudioError("The speech is too short for this model; choose at least 0.1 s of speech.")
        self._context = int(_CONTEXT * package.fps * package.memory_per_frame)
        self._frame = np.minimum(position.astype(np.int64), heard - 2)
        self._fraction = position - self._frame.astype(np.float32)
        self._statistics = convolution_statistics(samples, package.kernels[0], package.strides[0])
        self.loudness = frame_loudness(samples[: heard * self._hop], self._hop)[self._frame]

    def sentence(self, windows: list[tuple[int, int]], tick: Callable[[float], None]) -> np.ndarray | None:
        """F_s of the whole clip, (1, S): the mean over all frames, gathered window by window."""
        if self._encoder.wav2sem is None:
            return None
        total, weight = np.zeros(()), 0
        for first, last in windows:
            tick(first / windows[-1][1])
            speech, _ = self._speech(first, last)
            frames = (speech.shape[1] - self._field) // self._hop + 1
            inputs = {"speech": speech, "statistics": self._statistics}
            vector = self._encoder.wav2sem.run("semantic", inputs)
            if weight and vector.shape != total.shape:
                raise ModelError("“wav2sem.onnx” answers with vectors of several sizes; get a whole model.")
            total = total + frames * vector.astype(np.float64)
            weight += frames
        return (total / weight).astype(np.float32)

    def memory(self, first: int, last: int, sentence: np.ndarray | None) -> np.ndarray:
        begin, end = max(first - self._context, 0), min(last + self._context, len(self._frame))
        speech, start = self._speech(begin, end)
        inputs = {
            "speech": speech,
            "statistics": self._statistics,
            "frame": self._frame[begin:end] - start,
            "fraction": self._fraction[begin:end],
        }
        if sentence is not None:
            inputs["semantic"] = sentence
        return self._encoder.memory(inputs, end - begin)[first - begin : last - begin]

    def _speech(self, first: int, last: int) -> tuple[np.ndarray, int]:
        """The samples (1, n) under memory frames first…last-1, and the convolution frame that they begin with."""
        begin, end = int(self._frame[first]), int(self._frame[last - 1]) + 1
        if last == len(self._frame):  # the clip's last frames may lie beyond the last position
            end = (len(self._samples) - self._field) // self._hop
        return self._samples[None, begin * self._hop : end * self._hop + self._field], begin


def receptive_field(kernels: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Samples under one frame of a stack of convolutions: 400 for wav2vec2."""
    field = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        field = (field - 1) * stride + kernel
    return field


def convolution_statistics(samples: np.ndarray, kernel: int, stride: int) -> np.ndarray:
    """What a convolution without padding over the whole clip needs for its normalisation: float32 (1 + kernel, kernel).

    wav2vec2 normalises every channel of its first convolution over time. The output of filter w has the mean m·w and
    the variance |S w|², where m (row 0) is the mean input patch and S (the other rows) a square root of the patches'
    covariance: two small arrays stand for any number of channels, and the clip need not be at hand as a whole.
    """
    count = (len(samples) - kernel) // stride + 1
    patches = np.lib.stride_tricks.sliding_window_view(samples, kernel)[::stride]
    total, gram = np.zeros(kernel), np.zeros((kernel, kernel))
    for first in range(0, count, _BLOCK // stride):
        block = patches[first : first + _BLOCK // stride].astype(np.float64)
        total += block.sum(axis=0)
        gram += block.T @ block
    mean = total / count
    values, vectors = np.linalg.eigh(gram / count - np.outer(mean, mean))
    root = np.sqrt(values.clip(0.0))[:, None] * vectors.T
    return np.concatenate([mean[None], root]).astype(np.float32)
