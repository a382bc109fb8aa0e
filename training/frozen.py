# SPDX-License-Identifier: GPL-3.0-or-later
"""Train only what comes after the audio encoder: what every clip sounds like to it is computed once.

As Wav2Sem's paper trains its animators on a frozen sentence encoder, so here the speech encoder is frozen too; the wide
context, FC(F_s), `audio_feature_map` and the decoder learn. A thousand steps take a minute on one core, so an ablation
can afford seeds.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from .batches import rest_pose
from .config import FPS, STYLES, Config
from .geometry import lip_geometry
from .losses import LipLoss
from .model import FaceFormer
from .packing import Corpus
from .train import blurred, learning_rate, update_average


@dataclass(frozen=True)
class Heard:
    """Clips of the corpus as the encoder hears them: float16 (frames, hidden) each. rest: the silent face (K,)."""

    clips: np.ndarray
    features: list[np.ndarray]
    rest: np.ndarray

    @staticmethod
    @torch.no_grad()
    def of(network: FaceFormer, corpus: Corpus, clips: np.ndarray) -> Heard:
        """Run the encoder over every clip, without augmentation."""
        network.eval()
        features = [network.audio_encoder(torch.tensor(corpus.clips[i].speech())[None])[0].half().numpy()
                    for i in tqdm(clips, "hearing", mininterval=5)]  # fmt: skip
        return Heard(clips, features, rest_pose())

    def batch(
        self, corpus: Corpus, vectors: np.ndarray | None, random: np.random.Generator, size: int, frames: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Random crops: features (B, T, hidden), weights (B, T, K), which frames are known (B, T), vectors (B, S)."""
        chosen = random.integers(0, len(self.clips), size)
        features = np.zeros((size, frames, self.features[0].shape[1]), np.float32)
        weights = np.tile(self.rest, (size, frames, 1)).astype(np.float32)
        known = np.zeros((size, frames), bool)
        for row, number in enumerate(chosen):
            clip, heard = corpus.clips[self.clips[number]], self.features[number]
            assert clip.weights is not None
            first = int(random.integers(0, max(1, len(heard) - frames + 1)))
            count = min(frames, len(heard) - first)
            features[row, :count] = heard[first : first + count]
            weights[row, :count] = clip.weights[0][first : first + count]
            known[row, :count] = True
        own = None if vectors is None else torch.from_numpy(vectors[self.clips[chosen]].astype(np.float32))
        return torch.from_numpy(features), torch.from_numpy(weights), torch.from_numpy(known), own


def train_after(
    network: FaceFormer, corpus: Corpus, heard: Heard, vectors: np.ndarray | None, config: Config
) -> FaceFormer:
    """Train everything behind the encoder of `network` for config.steps, in place; repeatable by config.seed.

    Returns the averaged parameters. As in `training.train`, vectors are `blurred`.
    """
    torch.manual_seed(config.seed)
    random = np.random.default_rng(config.seed)
    average = copy.deepcopy(network).eval()
    for part in (network.audio_encoder, network.phone_head):
        part.requires_grad_(False)
    learning = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learning, lr=1e-9, weight_decay=0.02, betas=(0.9, 0.98))
    losses = LipLoss(lip_geometry(corpus.names), 0.0, config.closure_weight)
    style = torch.eye(len(STYLES))[:1].expand(config.batch, -1)
    network.train()
    for step in tqdm(range(config.steps), f"seed {config.seed}", mininterval=5):
        optimiser.param_groups[0]["lr"] = learning_rate(step / config.steps, config)
        features, weights, known, vector = heard.batch(corpus, vectors, random, config.batch, int(config.crop * FPS))
        semantic = None if vector is None else blurred(vector)
        prediction = network.decoder(network.remember(features, semantic), style, config.passes)[-1]
        loss = torch.stack(list(losses.motion(prediction, weights, known).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        update_average(average, network, 0.99, step)
    return average
