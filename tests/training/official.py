# SPDX-License-Identifier: GPL-3.0-or-later
"""Random official-looking checkpoints of small sizes, and the authors' computation on them, step by step in PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from reference_decoder import literal_loop
from torch.nn import functional
from toy_package import decoder_arrays
from transformers import Wav2Vec2Config, Wav2Vec2Model

from inference.decoder import periodic_positions

KERNELS, STRIDES = (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2)


@dataclass
class Official:
    """A FaceFormer with random weights: wav2vec2 from transformers, the decoder as arrays by official names."""

    audio: Wav2Vec2Model
    semantic: Wav2Vec2Model | None
    arrays: dict[str, np.ndarray]
    biwi: bool
    fusion: str | None

    @property
    def period(self) -> int:
        return 25 if self.biwi else 30

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Everything under official names, Wav2Sem inside as in the combined files."""
        tensors = {f"audio_encoder.{name}": value for name, value in self.audio.state_dict().items()}
        if self.semantic is not None:
            tensors |= {f"Wav2Bert.{name}": value for name, value in self.semantic_state().items()}
        tensors |= {name: torch.from_numpy(value.copy()) for name, value in self.arrays.items()}
        table = periodic_positions(self.period, self.arrays["obj_vector.weight"].shape[0])
        tensors["PPE.pe"] = torch.from_numpy(np.tile(table, (600 // self.period + 1, 1))[None].astype(np.float32))
        return tensors

    def semantic_state(self) -> dict[str, torch.Tensor]:
        """Wav2Sem's state dict under the authors' names."""
        assert self.semantic is not None
        theirs = {"feature_extractor": "FeatureExtractor", "feature_projection": "FeatureProjection"}
        named = {}
        for name, value in self.semantic.state_dict().items():
            top, _, rest = name.partition(".")
            if top != "masked_spec_embed":
                named[f"{theirs.get(top, 'Encoder')}.{rest}"] = value
        return named

    def outputs(self, samples: np.ndarray, style: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Memory (frames, d) and vertex offsets (T, 3 V), as the official predict() makes them."""
        heard = torch.from_numpy((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)).float()[None]
        with torch.no_grad():
            features = self.audio.feature_extractor(heard)
            length = features.shape[2]
            if self.biwi:
                features = features[:, :, : length - length % 2]
            else:
                frames = int(length / 50.0 * 30)
                features = functional.interpolate(features, size=frames, align_corners=True, mode="linear")
            hidden = self._transform(self.audio, features)
            if self.semantic is not None:
                sentence = self._transform(self.semantic, self.semantic.feature_extractor(heard)).mean(dim=1)
                if self.fusion == "map":
                    weight, bias = (torch.from_numpy(self.arrays[f"bert_feature_map.{p}"]) for p in ("weight", "bias"))
                    sentence = functional.linear(sentence, weight, bias)
                hidden = hidden + sentence[:, None]
            weight, bias = (torch.from_numpy(self.arrays[f"audio_feature_map.{p}"]) for p in ("weight", "bias"))
            memory = functional.linear(hidden, weight, bias)[0].numpy()
        return memory, literal_loop(self.arrays, memory, style, self.period, 4, 2 if self.biwi else 1)

    @staticmethod
    def _transform(network: Wav2Vec2Model, features: torch.Tensor) -> torch.Tensor:
        projected = network.feature_projection(features.transpose(1, 2))[0]
        return network.encoder(projected).last_hidden_state


def random_official(
    seed: int, heads: int = 2, biwi: bool = False, fusion: str | None = None, vertices: int = 21, width: int = 16
) -> Official:
    """Seeded weights at sizes drawn from `seed`."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    hidden = 4 * heads * int(rng.integers(1, 4))

    def network() -> Wav2Vec2Model:
        config = Wav2Vec2Config(
            hidden_size=hidden,
            num_hidden_layers=int(rng.integers(1, 4)),
            num_attention_heads=heads,
            intermediate_size=int(rng.integers(3, 40)),
            conv_dim=(int(rng.integers(2, 12)),) * 7,
            conv_kernel=KERNELS,
            conv_stride=STRIDES,
            num_conv_pos_embeddings=int(rng.choice([7, 16])),
            num_conv_pos_embedding_groups=int(rng.choice([1, heads, 2 * heads])),
        )
        built = Wav2Vec2Model(config).eval()
        for parameter in built.parameters():  # norms of exactly one and zero would hide mistakes
            parameter.data += 0.1 * torch.randn_like(parameter)
        return built

    arrays = decoder_arrays(3 * vertices, width, int(rng.integers(4, 40)), 6 if biwi else 8, seed)
    arrays["vertice_map_r.weight"] *= 0.05
    arrays["vertice_map_r.bias"] *= 0.01
    arrays["audio_feature_map.weight"] = rng.normal(size=(width, hidden)).astype(np.float32) / 4
    arrays["audio_feature_map.bias"] = rng.normal(size=width).astype(np.float32)
    audio = network()
    semantic = network() if fusion else None
    if fusion == "map":
        arrays["bert_feature_map.weight"] = rng.normal(size=(hidden, hidden)).astype(np.float32) / 4
        arrays["bert_feature_map.bias"] = rng.normal(size=hidden).astype(np.float32)
    return Official(audio, semantic, arrays, biwi, fusion)
