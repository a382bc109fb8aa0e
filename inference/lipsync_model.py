# SPDX-License-Identifier: GPL-3.0-or-later
"""From speech to FaceMotion: Wav2Sem's sentence vector, the audio encoder, FaceFormer's decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .decoder import Decoder
from .encoder import AudioEncoder, Heard
from .errors import AudioError, Cancelled, ModelError
from .flame import arkit_basis
from .model_package import ModelPackage
from .motion import FaceMotion
from .speech import SAMPLE_RATE, Speech
from .styles import style_vector
from .windows import crossfade, plan_windows

EMBEDDED_MODEL = Path(__file__).resolve().parent.parent / "vendored_models" / "wav2sem_small"
_FARTHEST = 1e6  # metres, or whatever else a stranger's mesh is in: what goes further overflows where it is squared
_LISTENING = 0.8  # share of the time that the encoder takes

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class LipSyncModel:
    """A loaded model package. Make one with `load`, keep it: loading takes longer than a sentence."""

    package: ModelPackage
    encoder: AudioEncoder
    decoder: Decoder
    basis: np.ndarray
    names: tuple[str, ...]

    @staticmethod
    def load(
        package: ModelPackage | str | Path = EMBEDDED_MODEL, provider: str = "CPU", threads: int = 0
    ) -> LipSyncModel:
        """Load graphs and decoder; provider is "AUTO" or a key of `session.PROVIDERS`, 0 threads means one per core.

        A provider that does not work falls back to the CPU; `encoder.note` then says so in one sentence. Raises
        ModelError when the package is damaged, RuntimeMissing when onnxruntime cannot be loaded.
        """
        if not isinstance(package, ModelPackage):
            package = ModelPackage.read(package)
        blendshapes = package.output_kind == "blendshapes"
        decoder = Decoder(
            package.decoder_arrays(),
            package.period,
            package.heads,
            package.memory_per_frame,
            outputs=len(package.output_names) if blendshapes else 3 * package.vertices,
            styles=len(package.styles),
        )
        names, basis = _blendshapes(package) if blendshapes else _vertex_basis(decoder, package.vertices)
        model = LipSyncModel(package, AudioEncoder(package, decoder.width, provider, threads), decoder, basis, names)
        if model.encoder.graph.provider != "CPU":
            model.run(Speech(np.zeros(SAMPLE_RATE, np.float32)))  # a device compiles, or fails, with its first input
        return model

    def style_vector(self, style: str | Mapping[str, float] | None = None) -> np.ndarray:
        """Weights over the package's styles, (styles,); None is its default style. Raises ModelError."""
        return style_vector(self.package.default_style if style in (None, "") else style, self.package.styles)

    def run(
        self,
        speech: Speech,
        style: str | Mapping[str, float] | None = None,
        progress: Progress | None = None,
        cancelled: Callable[[], bool] | None = None,
        longest: float | None = None,
    ) -> FaceMotion:
        """The face motion of `speech`, one frame per 1/fps seconds from its first sample on.

        style: a name, a blend such as "neutral:0.7, broad:0.3", or {name: weight}; by default the package's.
        progress(fraction, stage) is called from this thread. longest: seconds that the decoder runs on before it
        starts afresh at a pause; by default the package's, `math.inf` for never. Raises Cancelled soon after
        `cancelled()` turns true; ModelError when the model makes no numbers, or moves no face can; AudioError when
        the samples are none that a model can hear.
        """
        samples = np.asarray(speech.samples)
        if samples.dtype != np.float32 or samples.ndim != 1 or not len(samples):
            raise AudioError(
                f"Speech is float32 samples (N,) at {SAMPLE_RATE} Hz, as read_speech makes them of any file."
            )
        if not np.isfinite(samples.sum(dtype=np.float64)):
            raise AudioError("The speech holds samples that are not numbers; export it again.")

        def tick(fraction: float, stage: str) -> None:
            if cancelled and cancelled():
                raise Cancelled
            if progress:
                progress(fraction, stage)

        blend = self.style_vector(style)
        heard = self.encoder.listen(
            speech, lambda part: tick(_LISTENING * part, "Listening to the speech"), cancelled=cancelled
        )
        hidden = self._decode(
            heard,
            blend,
            self.package.decoder_longest if longest is None else longest,
            lambda part: tick(_LISTENING + (1 - _LISTENING) * part, "Moving the lips"),
        )
        weights = self._weights(hidden, blend)
        self._check(weights)
        if progress:
            progress(1.0, "Done")
        return FaceMotion(self.package.fps, speech.start, self.names, weights, self.basis, self.package.output_kind)

    def _decode(self, heard: Heard, blend: np.ndarray, longest: float, tick: Callable[[float], None]) -> np.ndarray:
        """Hidden features (T, d) of the whole clip, decoded in stretches of at most `longest` seconds."""
        count, per_frame = len(heard.loudness), self.package.memory_per_frame
        stretches = plan_windows(heard.loudness, self.package.fps, longest)

        def decode(first: int, last: int) -> np.ndarray:
            memory = heard.memory[first * per_frame : last * per_frame]
            return self.decoder.run(memory, blend, lambda done: tick((first + done) / count))

        return crossfade(stretches, (decode(first, last) for first, last in stretches))

    def _weights(self, hidden: np.ndarray, blend: np.ndarray) -> np.ndarray:
        """Weights over the basis, float32 (T, K), of lips in the style `blend` (styles,)."""
        if self.package.output_kind == "vertices":
            with np.errstate(over="ignore"):  # infinity is told by `run`
                return np.append(hidden, np.ones((len(hidden), 1)), axis=1).astype(np.float32)
        output = hidden @ self.decoder.output_weight.T + self.decoder.output_bias
        return self.finish(output.clip(0.0, 1.0).astype(np.float32), blend)

    def _check(self, weights: np.ndarray) -> None:
        """Raises ModelError for weights (T, K) that are no numbers, or that take a vertex out of the world."""
        if not np.isfinite(weights).all():
            raise ModelError(f"The model “{self.package.name}” moves by values that are no numbers; get a whole model.")
        each = np.maximum(self.basis.max(axis=(1, 2)), -self.basis.min(axis=(1, 2))).astype(np.float64)
        if np.abs(weights).max(axis=0).astype(np.float64) @ each > _FARTHEST:
            raise ModelError(f"The model “{self.package.name}” moves further than any face can; get a whole model.")

    def finish(self, weights: np.ndarray, blend: np.ndarray) -> np.ndarray:
        """Blendshape weights (T, K) as the package wants them: still mouths kept still, closures made firm.

        blend (styles,): the style that they are in, as `style_vector` makes it.
        """
        closure, steadiness = self.package.closure, self.package.steadiness
        if not closure:
            return weights
        if steadiness:
            weights = steadiness.keep_still(weights, closure.gap(weights, self.basis), self.package.fps)
        closure = closure.in_style(dict(zip(self.package.styles, blend.tolist(), strict=True)))
        return closure.firm(weights, self.names, self.basis, self.package.fps)


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
