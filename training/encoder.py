# SPDX-License-Identifier: GPL-3.0-or-later
"""Speech encoder: a front end at 50 Hz and the transformer of transformers' Wav2Vec2 at a small size.

Wav2vec 2.0 (Baevski et al. 2020), pre-norm variant ("stable layer norm"), which trains from scratch without a long
warm-up. The mel front end stands where wav2vec2 has seven convolutions on the raw waveform; `WaveFrontEnd` is that
original, kept for the comparison in the model card.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import Wav2Vec2Config
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2EncoderStableLayerNorm, Wav2Vec2FeatureEncoder

from .config import FPS, HOP, SAMPLE_RATE, Config
from .features import STEP, LogMel

# Plain attention: on a CPU faster than the fused kernel at these lengths, and easy to export.
_ATTENTION: dict[str, Any] = {"attn_implementation": "eager"}


class MelFrontEnd(nn.Module):
    """Log-mel at 100 Hz, then two convolutions, the second with stride 2."""

    def __init__(self, bands: int, hidden: int, subtract: float) -> None:
        super().__init__()
        self.log_mel = LogMel(bands, subtract=subtract)
        self.conv1 = nn.Conv1d(bands, hidden, 5, padding=2)
        self.conv2 = nn.Conv1d(hidden, hidden, 5, stride=2, padding=2)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, speech: Tensor, filters: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, N) samples -> (B, N/320, hidden). `mask` (B, N/160, bands) of 0 and 1 is SpecAugment's (training)."""
        mel = self.log_mel(speech, filters)
        if mask is not None:
            mel = mel * mask
        x = functional.gelu(self.conv1(mel.transpose(1, 2)))
        x = functional.gelu(self.conv2(x))
        return self.norm(x.transpose(1, 2))


class WaveFrontEnd(nn.Module):
    """wav2vec2's seven convolutions on the raw waveform, a quarter as wide."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        width = (64, 128, 128, 128, 128, 128, 128)
        self.convolutions = Wav2Vec2FeatureEncoder(Wav2Vec2Config(conv_dim=width, feat_extract_norm="group"))
        self.norm = nn.LayerNorm(width[-1])
        self.projection = nn.Linear(width[-1], hidden)

    def forward(self, speech: Tensor, filters: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """(B, N) samples -> (B, N/320, hidden); `filters` and `mask` mean nothing here."""
        # The stack sees 400 samples around 200 + 320 i; padding by 200 centres frame i on sample 320 i.
        x = self.convolutions(functional.pad(speech, (200, 200 - HOP + 80)))[:, :, : speech.shape[1] // HOP]
        return self.projection(self.norm(x.transpose(1, 2)))


def transformer(hidden: int, layers: int, heads: int, dropout: float) -> Wav2Vec2EncoderStableLayerNorm:
    """wav2vec2's transformer with its convolutional positions."""
    return Wav2Vec2EncoderStableLayerNorm(
        Wav2Vec2Config(
            **_ATTENTION,
            hidden_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            num_conv_pos_embeddings=31,
            num_conv_pos_embedding_groups=16,
            hidden_dropout=dropout,
            attention_dropout=0.0,
            activation_dropout=dropout,
            layerdrop=0.0,
        )
    )


class SpeechEncoder(nn.Module):
    """Front end and transformer: (B, N) samples -> (B, N/320, hidden), frame i at i/50 s (see `hear_every`)."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        wave = config.front_end == "wave"
        self.front_end = (
            WaveFrontEnd(config.hidden) if wave else MelFrontEnd(config.bands, config.hidden, config.subtract)
        )
        self.encoder = transformer(config.hidden, config.layers, config.heads, config.dropout)

    def hear_every(self, step: int) -> None:
        """Take a log-mel frame every `step` samples instead of STEP, as in training: see `LogMel`.

        Raises ValueError when the front end has no log-mel.
        """
        if isinstance(self.front_end, MelFrontEnd):
            self.front_end.log_mel.step = step
        elif step != STEP:
            raise ValueError("A front end without log-mel hears at the pace of its training alone; leave --step out.")

    @property
    def fps(self) -> float:
        """Frames per second."""
        return SAMPLE_RATE / 2 / self.front_end.log_mel.step if isinstance(self.front_end, MelFrontEnd) else float(FPS)

    def forward(
        self, speech: Tensor, filters: Tensor | None = None, mask: Tensor | None = None, valid: Tensor | None = None
    ) -> Tensor:
        """`valid` (B, N/320) bool is true on frames that are no padding; None means all of them."""
        return self.encoder(self.front_end(speech, filters, mask), attention_mask=valid).last_hidden_state


def masked_mean(x: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over time of (B, T, C), over the frames where `valid` (B, T) holds: (B, C)."""
    if valid is None:
        return x.mean(1)
    weight = valid.to(x.dtype)[:, :, None]
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


class Wav2Sem(nn.Module):
    """Sentence encoder: speech -> one vector F_s for the whole utterance.

    Wav2Sem (CVPR 2025), section 3: an audio encoder of the same kind, pooled over time. Ours stands on an encoder that
    already hears phones (frozen), adds two layers at 25 Hz, pools mean and spread, and ends in a map into the whitened
    space of the text embedding, because it is trained there (training/wav2sem.py).
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.audio_encoder = SpeechEncoder(config)
        self.upper = transformer(config.hidden, 2, config.heads, config.dropout)
        self.projection = nn.Sequential(
            nn.Linear(2 * config.hidden, 2 * config.hidden), nn.GELU(), nn.Linear(2 * config.hidden, config.semantic)
        )

    def listen(self, speech: Tensor, valid: Tensor | None = None) -> Tensor:
        """What the frozen part hears: (B, N) samples -> (B, ceil(N/640), hidden), every second frame."""
        return self.audio_encoder(speech, valid=valid)[:, ::2]

    def understand(self, heard: Tensor, valid: Tensor | None = None) -> Tensor:
        """(B, T/2, hidden) -> (B, semantic); `valid` (B, T/2) is true on frames that are no padding."""
        x = self.upper(heard, attention_mask=valid).last_hidden_state
        mean = masked_mean(x, valid)
        spread = masked_mean((x - mean[:, None]).square(), valid)
        return self.projection(torch.cat([mean, torch.sqrt(spread + 1e-5)], 1))

    def forward(self, speech: Tensor) -> Tensor:
        """(B, N) samples -> (B, semantic)."""
        return self.understand(self.listen(speech))
