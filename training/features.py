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


class LogMel(nn.Module):
    """Log-mel energies relative to the clip's own level, one frame every `step` samples (STEP: 100 Hz).

    Level: band energies are divided by the clip's mean square, but never by less than QUIETEST, so quiet speech looks
    like loud speech while digital silence stays at the floor. By a shorter step the same voice seems to speak slower.
    """

    def __init__(self, bands: int, step: int = STEP) -> None:
        super().__init__()
        self.step = step
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
        mel = torch.matmul(self.filters if filters is None else filters, power)
        return (torch.log(mel / level[:, :, None] + FLOOR) * 0.25).transpose(1, 2)
