# SPDX-License-Identifier: GPL-3.0-or-later
"""From speech to FaceMotion: Wav2Sem's sentence vector, the audio encoder, FaceFormer's decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .decoder import Decoder
from .errors import Cancelled, ModelError
from .flame import arkit_basis
from .model_package import TOPOLOGIES, ModelPackage
from .motion import FaceMotion
from .session import create_session
from .speech import SAMPLE_RATE, Speech
from .windows import crossfade, frame_loudness, plan_windows

EMBEDDED_MODEL = Path(__file__).resolve().parent.parent / "vendored_models" / "wav2sem_small"

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class LipSyncModel:
    """A loaded model package. Make one with `load`, keep it: loading takes longer than a sentence."""

    package: ModelPackage
    encoder: Any
    wav2sem: Any | None
    decoder: Decoder
    basis: np.ndarray
    names: tuple[str, ...]

    @staticmethod
    def load(
        package: ModelPackage | str | Path = EMBEDDED_MODEL, provider: str = "CPU", threads: int = 0
    ) -> LipSyncModel:
        """Load graphs and decoder; provider is a key of `session.PROVIDERS`, 0 threads means one per core.

        Raises ModelError when the package is damaged, RuntimeMissing when onnxruntime cannot be loaded.
        """
        if not isinstance(package, ModelPackage):
            package = ModelPackage.read(package)
        vertices = TOPOLOGIES[package.topology]
        blendshapes = package.output_kind == "blendshapes"
        decoder = Decoder(
            package.decoder_arrays(),
            package.period,
            package.heads,
            package.memory_per_frame,
            outputs=len(package.output_names) if blendshapes else 3 * vertices,
            styles=len(package.styles),
        )
        names, basis = _blendshapes(package) if blendshapes else _vertex_basis(decoder, vertices)
        encoder = create_session(package.folder / "model.onnx", provider, threads)
        has_wav2sem = "wav2sem.onnx" in package.files
        wav2sem = create_session(package.folder / "wav2sem.onnx", provider, threads) if has_wav2sem else None
        inputs = {node.name for node in encoder.get_inputs()}
        if inputs != ({"speech", "semantic"} if has_wav2sem else {"speech"}):
            raise ModelError(f"The model “{package.name}” has a graph with unknown inputs; get a whole model.")
        return LipSyncModel(package, encoder, wav2sem, decoder, basis, names)

    def style_vector(self, style: str | Mapping[str, float] | None = None) -> np.ndarray:
        """One-hot or convex blend over the package's styles, (styles,); None is the default style.

        Raises ModelError for a style the model does not have.
        """
        blend = {style or self.package.default_style: 1.0} if style is None or isinstance(style, str) else dict(style)
        unknown = [name for name in blend if name not in self.package.styles]
        if unknown or sum(blend.values()) <= 0 or min(blend.values()) < 0:
            raise ModelError(
                f"The model has no style {', '.join(map(repr, unknown)) or 'of no weight'}; "
                f"choose among {', '.join(self.package.styles)}."
            )
        weights = np.array([blend.get(name, 0.0) for name in self.package.styles])
        return weights / weights.sum()

    def run(
        self,
        speech: Speech,
        style: str | Mapping[str, float] | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> FaceMotion:
        """The face motion of `speech`, one frame per 1/fps seconds from its first sample on.

        style: a name or {name: weight}. progress(fraction, stage) is called from this thread. Raises Cancelled soon
        after `cancelled()` turns true: within one window (24 s) of speech.
        """
        hop = round(SAMPLE_RATE / self.package.fps)
        samples = speech.unit_variance() if self.package.normalise == "unit-variance" else speech.samples
        samples = np.pad(samples, (0, -len(samples) % hop))
        windows = plan_windows(frame_loudness(samples, hop), self.package.fps)
        blend = self.style_vector(style)

        def parts() -> Iterator[np.ndarray]:
            for index, (first, last) in enumerate(windows):
                for step, stage in enumerate(("Listening to the speech", "Moving the lips")):
                    if cancelled and cancelled():
                        raise Cancelled("Cancelled; nothing was changed.")
                    if progress:
                        progress((index + 0.8 * step) / len(windows), stage)
                    if step == 0:
                        memory = self._encode(samples[first * hop : last * hop])
                hidden = self.decoder.run(memory, blend, cancelled)
                if len(hidden) < last - first:
                    raise Cancelled("Cancelled; nothing was changed.")
                yield self._weights(hidden)

        weights = crossfade(windows, parts())
        if progress:
            progress(1.0, "Done")
        return FaceMotion(self.package.fps, speech.start, self.names, weights, self.basis, self.package.output_kind)

    def _encode(self, samples: np.ndarray) -> np.ndarray:
        """Audio memory of one window, (T, d)."""
        inputs = {"speech": samples[None]}
        try:
            if self.wav2sem is not None:
                inputs["semantic"] = self.wav2sem.run(["semantic"], inputs)[0]
            memory = self.encoder.run(["memory"], inputs)[0]
        except Exception as error:
            raise ModelError(f"The model “{self.package.name}” failed while listening ({error}).") from error
        return memory[0]

    def _weights(self, hidden: np.ndarray) -> np.ndarray:
        """Weights over the basis, float32 (T, K)."""
        if self.package.output_kind == "vertices":
            return np.append(hidden, np.ones((len(hidden), 1)), axis=1).astype(np.float32)
        output = hidden @ self.decoder.output_weight.T + self.decoder.output_bias
        return output.clip(0.0, 1.0).astype(np.float32)


def _blendshapes(package: ModelPackage) -> tuple[tuple[str, ...], np.ndarray]:
    names, deltas = arkit_basis()
    unknown = [name for name in package.output_names if name not in names]
    if unknown:
        raise ModelError(f"The model “{package.name}” drives {unknown[0]}, which is no known blendshape.")
    return package.output_names, deltas[[names.index(name) for name in package.output_names]]


def _vertex_basis(decoder: Decoder, vertices: int) -> tuple[tuple[str, ...], np.ndarray]:
    """The last layer is linear: its columns and its bias are a basis of all motion the model can make."""
    columns = np.concatenate([decoder.output_weight.T, decoder.output_bias[None]])
    names = (*(f"feature_{i:03d}" for i in range(decoder.width)), "constant")
    return names, columns.reshape(-1, vertices, 3)
