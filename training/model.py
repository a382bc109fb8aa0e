# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole network: speech encoder, FC(F_s) on every frame, FaceFormer's decoder; official parameter names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import FPS, PHONES, SAMPLE_RATE, STYLES, Config
from .decoder import FaceDecoder
from .encoder import SpeechEncoder


@dataclass
class Heard:
    """memory (B, T, d); phones (B, T, classes) logits."""

    memory: Tensor
    phones: Tensor


@dataclass
class Prediction(Heard):
    """weights: blendshapes (B, T, K) after each Jacobi pass."""

    weights: list[Tensor]


class WideContext(nn.Module):
    """What comes within a second, and what was: a ConvNeXt block (Liu et al. 2022) over 2 s.

    The transformer's convolutional positions reach 0.3 s, but lips part for a breath half a second before the first
    word, and pauses look different at their beginning and at their end. Begins as the identity.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.along = nn.Conv1d(hidden, hidden, 2 * FPS + 1, padding=FPS, groups=hidden)
        self.norm = nn.LayerNorm(hidden)
        self.across = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))
        nn.init.zeros_(self.across[-1].weight)
        nn.init.zeros_(self.across[-1].bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, T, hidden) -> (B, T, hidden)."""
        around: Tensor = self._along(features.transpose(1, 2)).transpose(1, 2)
        wide: Tensor = features + self.across(self.norm(around))
        return wide

    def _along(self, features: Tensor) -> Tensor:
        """`along`; in training as a product of spectra, which takes a CPU a fifth of the time. (B, hidden, T)."""
        if not self.training:
            along: Tensor = self.along(features)
            return along
        with torch.autocast(features.device.type, enabled=False):
            kernel, count = self.along.weight[:, 0].float(), features.shape[-1]
            size = count + kernel.shape[-1] - 1
            spectrum = torch.fft.rfft(features.float(), size) * torch.fft.rfft(kernel.flip(-1), size)
            full = torch.fft.irfft(spectrum, size)[..., FPS : FPS + count]
            return full + self.along.bias[:, None]


class FaceFormer(nn.Module):
    """Speech, sentence vector and style -> blendshape weights at 50 Hz."""

    def __init__(self, config: Config, outputs: int) -> None:
        super().__init__()
        self.config = config
        self.audio_encoder = SpeechEncoder(config)
        self.context = WideContext(config.hidden)
        self.audio_feature_map = nn.Linear(config.hidden, config.decoder)
        self.phone_head = nn.Linear(config.hidden, len(PHONES))  # auxiliary: left behind at export
        self.decoder = FaceDecoder(config.decoder, config.decoder_heads, config.period, outputs, len(STYLES))
        if config.semantic:
            # Wav2Sem (CVPR 2025): F_d = FC_2(FC_1(F_s) + F_p); FC_2 is audio_feature_map.
            self.semantic_map = nn.Linear(config.semantic, config.hidden)
            nn.init.zeros_(self.semantic_map.weight)
            nn.init.zeros_(self.semantic_map.bias)

    def encode(
        self, speech: Tensor, semantic: Tensor | None = None, filters: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Speech (B, N) and sentence vector (B, S) -> features (B, T, hidden) and memory (B, T, d)."""
        features = self.audio_encoder(speech, filters, mask)
        return features, self.remember(features, semantic)

    def remember(self, features: Tensor, semantic: Tensor | None = None) -> Tensor:
        """What the encoder heard (B, T, hidden) and sentence vector (B, S) -> memory (B, T, d)."""
        heard = self.context(features)
        if self.config.semantic and semantic is not None:
            heard = heard + self.semantic_map(semantic)[:, None]  # over the time axis, in training as in inference
        memory: Tensor = self.audio_feature_map(heard)
        return memory

    def forward(
        self, speech: Tensor, style: Tensor, semantic: Tensor | None = None, filters: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Prediction:  # fmt: skip
        """One training pass."""
        features, memory = self.encode(speech, semantic, filters, mask)
        phones = self.phone_head(features)
        with torch.autocast(speech.device.type, enabled=False):
            weights = self.decoder(memory.float(), style, self.config.passes)
        return Prediction(memory, phones.float(), weights)


class MemoryGraph(nn.Module):
    """What model.onnx computes: speech (1, N) and, with Wav2Sem, semantic (1, S) -> memory (1, T, d).

    `advance` shows every frame that many milliseconds early, by hearing that much ahead: how far lips lead the sound
    differs from one set of recordings to the next.
    """

    def __init__(self, network: FaceFormer, advance: int = 0) -> None:
        super().__init__()
        self.network, self.ahead = network, advance * SAMPLE_RATE // 1000

    def forward(self, speech: Tensor, semantic: Tensor | None = None) -> Tensor:
        """The decoder's cross-attention sees exactly this."""
        if self.ahead:
            speech = functional.pad(speech[:, self.ahead :], (0, self.ahead))
        return self.network.encode(speech, semantic)[1]


def count_parameters(module: nn.Module) -> int:
    """Trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters())
