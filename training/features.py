# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-mel features as plain convolutions, so that the same arithmetic runs in PyTorch and inside the ONNX graph."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import SAMPLE_RATE

WINDOW = 400  # samples: 25 ms
STEP = 160  # samples: 10 ms
DFT = 512  # points
BINS = DFT // 2 + 1  # 31.25 Hz apart
LOWEST, HIGHEST = 60.0, 7600.0  # Hz
QUIETEST = 10.0**-6.5  # mean square (-65 dB full scale): quieter clips are not brought up any further
FLOOR = 1e-4  # of the clip's level, per band: hides dither and codec noise
AROUND = (3, 5)  # bands, frames: over which power is averaged before noise is told from speech
LEAST = 0.1  # of a band's power is left where there is nothing but noise
HUSH = 1e-5  # of the clip's level: digital silence is no noise, and must not be divided by


def mel_scale(hertz: np.ndarray | float) -> np.ndarray:
    """Slaney's mel scale (Auditory Toolbox): linear to 1 kHz, logarithmic above."""
    hertz = np.asarray(hertz, np.float64)
    return np.where(hertz < 1000, hertz * 3 / 200, 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4))


def mel_filters(bands: int, warp: float = 1.0) -> np.ndarray:
    """Triangular filters over DFT power, float32 (bands, BINS), each of unit sum.

    `warp` stretches the frequency axis like another vocal tract length (Jaitly and Hinton 2013): above 1, formants
    appear higher.
    """
    frequency = np.arange(BINS) * SAMPLE_RATE / DFT * warp
    edges = np.linspace(mel_scale(LOWEST), mel_scale(HIGHEST), bands + 2)
    mel = mel_scale(frequency)[None]
    rise = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    return (filters / np.maximum(filters.sum(1, keepdims=True), 1e-3)).astype(np.float32)


def without_noise(mel: Tensor, times: float) -> Tensor:
    """Spectral subtraction (Boll 1979) of `times` the noise in (B, bands, T), band energies relative to the clip's.

    The noise of a band is the harmonic mean of its power over the clip, in which its quiet moments count most: in clean
    speech those between the words, 30 dB down, where nothing changes; in a crowd or by a fan, what never ceases.
    """
    margin = (AROUND[0] // 2, AROUND[1] // 2)
    around = functional.avg_pool2d(mel[:, None], AROUND, 1, margin, count_include_pad=False)[:, 0] + HUSH
    noise = around.reciprocal().mean(2, keepdim=True).reciprocal()
    return mel * (1 - times * noise / around).clamp(min=LEAST)


class LogMel(nn.Module):
    """Log-mel energies relative to the clip's own level, one frame every `step` samples (STEP: 100 Hz).

    Level: band energies are divided by the clip's mean square, but never by less than QUIETEST, so quiet speech looks
    like loud speech while digital silence stays at the floor. By a shorter step the same voice seems to speak slower.
    `subtract`: how many times the noise that is always there is taken away, see `without_noise`; 0 leaves it.
    """

    def __init__(self, bands: int, step: int = STEP, subtract: float = 0.0) -> None:
        super().__init__()
        self.step, self.subtract = step, subtract
        time = np.arange(WINDOW) - WINDOW / 2
        window = np.hanning(WINDOW + 1)[:-1] / np.sqrt((np.hanning(WINDOW + 1)[:-1] ** 2).sum())
        angle = 2 * np.pi * np.arange(BINS)[:, None] * time[None] / DFT
        kernel = np.concatenate([np.cos(angle), np.sin(angle)]) * window
        self.register_buffer("dft", torch.tensor(kernel[:, None], dtype=torch.float32), persistent=False)
        self.register_buffer("filters", torch.tensor(mel_filters(bands)), persistent=False)
        self.register_buffer("window", torch.tensor(window, dtype=torch.float32), persistent=False)
        self.dft: Tensor
        self.window: Tensor
        self.filters: Tensor

    def forward(self, speech: Tensor, filters: Tensor | None = None) -> Tensor:
        """(B, N) samples, N a multiple of step -> (B, N/step, bands), about -4…+2; frame i is centred on sample step i.

        `filters` (B, bands, BINS) replaces the mel filters in training (vocal tract length perturbation).
        """
        with torch.autocast(speech.device.type, enabled=False):  # 8 bits of mantissa would bury quiet bands
            return self._log_mel(speech, filters)

    def _log_mel(self, speech: Tensor, filters: Tensor | None) -> Tensor:
        level = speech.square().mean(1, keepdim=True).clamp(min=QUIETEST)
        padded = functional.pad(speech, (WINDOW // 2, WINDOW // 2 - self.step))
        if self.training:  # the same power, a third of a CPU's time; graphs get the convolution
            frames = padded.unfold(1, WINDOW, self.step) * self.window
            power = torch.view_as_real(torch.fft.rfft(frames, DFT)).square().sum(-1).transpose(1, 2)
        else:
            spectrum = functional.conv1d(padded[:, None], self.dft, stride=self.step)
            power = spectrum[:, :BINS].square() + spectrum[:, BINS:].square()
        mel = torch.matmul(self.filters if filters is None else filters, power) / level[:, :, None]
        if self.subtract:
            mel = without_noise(mel, self.subtract)
        return (torch.log(mel + FLOOR) * 0.25).transpose(1, 2)
