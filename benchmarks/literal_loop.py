# SPDX-License-Identifier: GPL-3.0-or-later
"""FaceFormer's prediction as published, in PyTorch: torch's decoder layer run on the whole prefix for every frame.

The baseline of `benchmarks.official`: no cache, masks as tensors, every vertex formed at every step (FaceFormer,
CVPR 2022, section 3.2; tests/reference_decoder.py is the same in numpy and float64, for exactness).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from inference.decoder import periodic_positions, temporal_bias


class LiteralLoop:
    """The decoder of a package's arrays (official names) on its memory; float32, every core."""

    def __init__(self, arrays: dict[str, np.ndarray], period: int, heads: int, memory_per_frame: int) -> None:
        weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
        width, inner = arrays["obj_vector.weight"].shape[0], len(arrays["transformer_decoder.layers.0.linear1.bias"])
        layer = nn.TransformerDecoderLayer(width, heads, inner, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 1).eval()
        self.decoder.load_state_dict(
            {
                n.removeprefix("transformer_decoder."): w
                for n, w in weights.items()
                if n.startswith("transformer_decoder.")
            }
        )
        self.into = weights["vertice_map.weight"], weights["vertice_map.bias"]
        self.out = weights["vertice_map_r.weight"], weights["vertice_map_r.bias"]
        self.styles = weights["obj_vector.weight"]
        self.period, self.heads, self.per_frame = period, heads, memory_per_frame

    @torch.no_grad()
    def run(self, memory: np.ndarray, style: np.ndarray) -> np.ndarray:
        """Vertex offsets (T, 3 V) for memory (T * memory_per_frame, d) and style (styles,)."""
        heard = torch.from_numpy(memory)[None]
        count = len(memory) // self.per_frame
        position = torch.from_numpy(periodic_positions(self.period, memory.shape[1])).float()
        position = position.repeat(count // self.period + 1, 1)
        causal = self._causal(count)
        aligned = torch.ones(count, count, dtype=torch.bool).fill_diagonal_(False).repeat_interleave(self.per_frame, 1)
        style_vector = self.styles @ torch.from_numpy(style).float()
        inputs = style_vector[None, None]
        for n in range(1, count + 1):
            x = inputs + position[:n]
            hidden = self.decoder(x, heard, tgt_mask=causal[:, :n, :n], memory_mask=aligned[:n, : len(memory)])
            offsets = nn.functional.linear(hidden, *self.out)
            fed_back = nn.functional.linear(offsets[:, -1:], *self.into) + style_vector
            inputs = torch.cat([inputs, fed_back], 1)
        return offsets[0].numpy()

    def _causal(self, count: int) -> torch.Tensor:
        bias = torch.from_numpy(temporal_bias(count, self.period, self.heads)).float()
        distance = torch.arange(count)[:, None] - torch.arange(count)
        return bias[:, distance.clamp(min=0)].masked_fill(distance < 0, float("-inf"))
