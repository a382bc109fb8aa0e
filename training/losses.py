# SPDX-License-Identifier: GPL-3.0-or-later
"""What training minimises: weights, lips in millimetres, their velocity, closures, and the auxiliary phones."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .config import NO_PHONE
from .geometry import MEASURES, LipGeometry
from .model import Heard, Prediction
from .targets.face import PRESS

_APERTURE = MEASURES.index("aperture")
PRESSED = -1.5  # mm of opening below the neutral face, whose lips are 1.84 mm apart; at rest they are 1.1 mm closer


class LipLoss(nn.Module):
    """Weighted sum of the terms below; all geometric ones are in mm or mm² on a FLAME-size head.

    weights      mean squared error of the blendshape weights, times 30 (so that .1 off costs .3)
    face, lips   mean squared vertex error over the moving face and over the lips
    measures     smooth L1 of aperture, width, protrusion and jaw
    closure      where the target's lips are pressed together (p b m): how far they are open beyond it, squared (a mouth
                 2 mm open on a p is an error people see; 2 mm too wide on an a is not)
    pressed      squared error of how far the lips are pressed together (0..1), times 5: closures are made firm by it
                 (inference/closure.py), and among the other weights it is too small to count
    velocity     the same measures' change per frame (20 ms), smooth L1
    phones       cross entropy, auxiliary
    """

    def __init__(self, geometry: LipGeometry, phone_weight: float, closure_weight: float) -> None:
        super().__init__()
        self.phone_weight, self.closure_weight = phone_weight, closure_weight
        self.register_buffer("measures", torch.tensor(geometry.measures), persistent=False)
        self.register_buffer("lip_factor", torch.tensor(geometry.lip_factor), persistent=False)
        self.register_buffer("face_factor", torch.tensor(geometry.face_factor), persistent=False)
        pressed = [float(name.startswith("mouthPress")) for name in geometry.names]
        self.register_buffer("pressed", torch.tensor(pressed) / (max(1.0, sum(pressed)) * PRESS), persistent=False)
        self.measures: Tensor
        self.pressed: Tensor
        self.lip_factor: Tensor
        self.face_factor: Tensor

    def motion(self, weights: Tensor, target: Tensor, known: Tensor) -> dict[str, Tensor]:
        """Terms for one pass: weights and target (B, T, K), known (B, T)."""
        valid = known.to(weights.dtype)
        count = valid.sum().clamp(min=1)
        error = weights - target
        measure = error @ self.measures
        pairs = valid[:, 1:] * valid[:, :-1]
        velocity = measure[:, 1:] - measure[:, :-1]
        # Where the rules press the lips together; the phone's own frames begin later and end in the release.
        shut = ((target @ self.measures)[..., _APERTURE] < PRESSED).to(weights.dtype) * valid
        open_by = functional.relu(measure[..., _APERTURE])

        def mean(x: Tensor) -> Tensor:
            return (x * valid).sum() / count

        return {
            "weights": 30 * mean(error.square().mean(-1)),
            "face": 0.5 * mean((error @ self.face_factor).square().sum(-1)),
            "lips": 0.3 * mean((error @ self.lip_factor).square().sum(-1)),
            "measures": 0.3
            * mean(functional.smooth_l1_loss(measure, torch.zeros_like(measure), reduction="none").mean(-1)),
            "closure": self.closure_weight * (open_by.square() * shut).sum() / shut.sum().clamp(min=1),
            "pressed": 5 * mean((error @ self.pressed).square()),
            "velocity": 1.0
            * (
                functional.smooth_l1_loss(velocity, torch.zeros_like(velocity), beta=0.3, reduction="none").mean(-1)
                * pairs
            ).sum()
            / pairs.sum().clamp(min=1),
        }

    def forward(self, prediction: Prediction, target: Tensor, phones: Tensor, known: Tensor) -> dict[str, Tensor]:
        """All terms, on the last Jacobi pass; "total" is the one to minimise."""
        terms = self.motion(prediction.weights[-1], target, known)
        terms["phones"] = self.phone_weight * functional.cross_entropy(
            prediction.phones.flatten(0, 1), phones.flatten(), ignore_index=NO_PHONE, label_smoothing=0.05
        )
        terms["total"] = torch.stack(list(terms.values())).sum()
        return terms


def differences(noisy: Heard, clean: Heard) -> dict[str, Tensor]:
    """How differently the same speech is heard with noise and without, the latter by an averaged network.

    A mean teacher (Tarvainen and Valpola 2017) whose examples are clean: it says of every frame, also of those that
    nobody labelled, what would have been heard, and says it without the chance that is in the rules' lips.

    clean_memory  mean squared error of the memory, relative to its variance
    clean_phones  Kullback-Leibler divergence of the phones
    """
    memory, wanted = noisy.memory.float(), clean.memory.float()
    variance = wanted.flatten(0, 1).var(0).mean().clamp(min=1e-4)
    said = functional.log_softmax(noisy.phones.float().flatten(0, 1), -1)
    meant = functional.log_softmax(clean.phones.float().flatten(0, 1), -1)
    return {
        "clean_memory": (memory - wanted).square().mean() / variance,
        "clean_phones": functional.kl_div(said, meant, reduction="batchmean", log_target=True),
    }
