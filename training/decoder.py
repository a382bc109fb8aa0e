# SPDX-License-Identifier: GPL-3.0-or-later
"""FaceFormer's decoder: periodic positions, biased causal self-attention, alignment attention, feedback.

Fan et al., FaceFormer (CVPR 2022), sections 3.2 and 3.3. Parameter names are those of the official state dict, so the
exported decoder.npz is a plain dump. Training runs the autoregression by Jacobi iteration: every pass computes all
frames at once from the previous pass's output, moved on by one frame. Pass n has the first n frames exactly as the
loop would, and because the feedback is contractive, few passes are near the loop everywhere; `loop` is the loop
itself, which inference runs in numpy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def periodic_positions(period: int, size: int) -> Tensor:
    """PPE table (period, size): sine on even, cosine on odd features of (t mod period)."""
    time = torch.arange(period, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, size, 2, dtype=torch.float32) * (-math.log(10000.0) / size))
    table = torch.zeros(period, size)
    table[:, 0::2] = torch.sin(time * rate)
    table[:, 1::2] = torch.cos(time * rate)
    return table


def causal_bias(frames: int, heads: int, period: int) -> Tensor:
    """(heads, frames, frames) added to attention logits: -slope_h · floor((i-j)/period) for j <= i, else -inf."""
    slopes = 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1))
    distance = torch.arange(frames)[:, None] - torch.arange(frames)[None]
    bias = -slopes[:, None, None] * torch.div(distance, period, rounding_mode="floor")
    return bias.masked_fill(distance < 0, float("-inf"))


class FaceDecoder(nn.Module):
    """Memory (B, T, d) and style (B, styles) -> blendshape weights (B, T, K)."""

    def __init__(self, size: int, heads: int, period: int, outputs: int, styles: int) -> None:
        super().__init__()
        self.heads, self.period = heads, period
        layer = nn.TransformerDecoderLayer(size, heads, 2 * size, 0.0, batch_first=True)
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers=1)
        self.vertice_map = nn.Linear(outputs, size)
        self.vertice_map_r = nn.Linear(size, outputs)
        self.obj_vector = nn.Linear(styles, size, bias=False)
        nn.init.zeros_(self.vertice_map_r.weight)  # as FaceFormer: training starts from the constant face
        self.register_buffer("positions", periodic_positions(period, size), persistent=False)
        self.positions: Tensor

    def decode(self, inputs: Tensor, memory: Tensor) -> Tensor:
        """One parallel pass: decoder inputs (B, T, d), before positions, -> weights (B, T, K).

        With one memory frame per output frame the alignment attention has a single key and its softmax is 1, so only
        its value path is left: what nn.TransformerDecoderLayer computes, without a (T, T) matrix of which T matter.
        """
        layer = self.transformer_decoder.layers[0]
        frames = inputs.shape[1]
        times = torch.arange(frames, device=inputs.device) % self.period
        bias = causal_bias(frames, self.heads, self.period).to(inputs).expand(len(inputs), -1, -1, -1)
        x = inputs + self.positions[times]
        x = layer.norm1(x + layer.self_attn(x, x, x, attn_mask=bias.flatten(0, 1), need_weights=False)[0])
        attention, d = layer.multihead_attn, x.shape[-1]
        value = functional.linear(memory, attention.in_proj_weight[2 * d :], attention.in_proj_bias[2 * d :])
        x = layer.norm2(x + attention.out_proj(value))
        x = layer.norm3(x + layer.linear2(functional.relu(layer.linear1(x))))
        return self.vertice_map_r(x)

    def feedback(self, weights: Tensor, style: Tensor) -> Tensor:
        """Inputs of the next pass from weights (B, T, K): the bare style, then the embedded previous frames."""
        vector = self.obj_vector(style)[:, None]
        return torch.cat([vector, self.vertice_map(weights[:, :-1]) + vector], 1)

    def forward(self, memory: Tensor, style: Tensor, passes: int) -> list[Tensor]:
        """Jacobi passes: the weights (B, T, K) after each. Gradients run through the last pass only."""
        weights = self.vertice_map_r.bias.expand(*memory.shape[:2], -1)
        outputs = []
        for number in range(passes):
            with torch.set_grad_enabled(torch.is_grad_enabled() and number == passes - 1):
                weights = self.decode(self.feedback(weights.detach(), style), memory)
            outputs.append(weights)
        return outputs

    @torch.no_grad()
    def loop(self, memory: Tensor, style: Tensor) -> Tensor:
        """The autoregression, frame by frame, as FaceFormer's predict(): weights (B, T, K)."""
        vector = self.obj_vector(style)[:, None]
        inputs = vector
        for frame in range(memory.shape[1]):
            weights = self.decode(inputs, memory[:, : frame + 1])
            inputs = torch.cat([inputs, self.vertice_map(weights[:, -1:]) + vector], 1)
        return weights
