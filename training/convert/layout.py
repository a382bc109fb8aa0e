# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a checkpoint: names and shapes of FaceFormer, its wav2vec2 encoder, and Wav2Sem.

FaceFormer (CVPR 2022, arXiv 2112.05329) and Wav2Sem (CVPR 2025, arXiv 2505.23290). Sizes come from shapes; what shapes
cannot tell (attention heads, strides, norm epsilon) from a wav2vec2 config.json, by default the base model's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inference.decoder import periodic_positions

from . import ConvertError

Arrays = dict[str, np.ndarray]

_WAV2SEM_NAMES = (
    ("FeatureExtractor.", "feature_extractor."),
    ("FeatureProjection.", "feature_projection."),
    ("Encoder.", "encoder."),
)
_POSITIONS = "encoder.pos_conv_embed.conv."
_LONGEST_PERIOD = 1000
BIWI_OUTPUTS = 3 * 23370
VOCASET_OUTPUTS = 3 * 5023


@dataclass(frozen=True)
class AudioConfig:
    """The part of a wav2vec2 config.json that shapes do not show."""

    heads: int = 12
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    epsilon: float = 1e-5

    @staticmethod
    def read(path: Path) -> AudioConfig:
        """Read config.json; raises ConvertError when it is none, or of a model that is built differently."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            base = AudioConfig()
            if data.get("do_stable_layer_norm", False) or data.get("feat_extract_norm", "group") != "group":
                raise ConvertError(
                    f"“{path}” is of a large wav2vec2; FaceFormer and Wav2Sem are built on the base one."
                )
            heads = int(data.get("num_attention_heads", base.heads))
            if heads < 1:
                raise ValueError(f"{heads} attention heads")
            return AudioConfig(
                heads,
                tuple(int(stride) for stride in data.get("conv_stride", base.strides)),
                float(data.get("layer_norm_eps", base.epsilon)),
            )
        except (OSError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ConvertError(f"“{path}” is no wav2vec2 config.json ({error}).") from error


@dataclass(frozen=True)
class AudioEncoder:
    """A wav2vec2-shaped network: parameters by transformers' names, the positional convolution's kernel whole."""

    arrays: Arrays
    config: AudioConfig
    kernels: tuple[int, ...]
    layers: int
    hidden: int
    groups: int


@dataclass(frozen=True)
class FaceFormer:
    """A whole checkpoint, checked. `fusion` is (weight, bias) of the linear map before F_s is added, or None."""

    encoder: AudioEncoder
    feature_map: tuple[np.ndarray, np.ndarray]
    decoder: Arrays
    width: int
    outputs: int
    styles: int
    period: int
    biwi: bool
    wav2sem: AudioEncoder | None = None
    fusion: tuple[np.ndarray, np.ndarray] | None = None


def audio_encoder(arrays: Arrays, config: AudioConfig, whose: str) -> AudioEncoder:
    """Check the wav2vec2 network in `arrays` (transformers' names); raises ConvertError, `whose` it is."""
    take = _taker(arrays, whose)
    kept: Arrays = {}

    def want(name: str, *shape: int | None) -> np.ndarray:
        kept[name] = take(name, *shape)
        return kept[name]

    kernels = []
    channels = 1
    for index in range(_count(arrays, r"feature_extractor\.conv_layers\.(\d+)\.")):
        weight = want(f"feature_extractor.conv_layers.{index}.conv.weight", None, channels, None)
        channels = weight.shape[0]
        kernels.append(weight.shape[2])
    if not kernels or len(kernels) != len(config.strides):
        raise ConvertError(
            f"{whose} has {len(kernels)} convolutions and the audio config {len(config.strides)}; give its own "
            "config.json with --audio-config."
        )
    if "feature_extractor.conv_layers.1.layer_norm.weight" in arrays:
        raise ConvertError(f"{whose} normalises every convolution, which FaceFormer's and Wav2Sem's encoders do not.")
    for part in ("weight", "bias"):
        want(f"feature_extractor.conv_layers.0.layer_norm.{part}", kept[_conv(0)].shape[0])
        want(f"feature_projection.layer_norm.{part}", channels)
    hidden = want("feature_projection.projection.weight", None, channels).shape[0]
    want("feature_projection.projection.bias", hidden)
    if hidden % config.heads:
        raise ConvertError(
            f"{whose} is {hidden} wide, which {config.heads} attention heads do not divide; give its config.json with "
            "--audio-config."
        )
    kept[_POSITIONS + "weight"] = _positional_kernel(arrays, hidden, whose)
    want(_POSITIONS + "bias", hidden)
    inner = kept[_POSITIONS + "weight"].shape[1]
    layers = _count(arrays, r"encoder\.layers\.(\d+)\.")
    if layers < 1:
        raise ConvertError(f"{whose} has no transformer layers.")
    for part in ("weight", "bias"):
        want(f"encoder.layer_norm.{part}", hidden)
    for index in range(layers):
        prefix = f"encoder.layers.{index}."
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            want(f"{prefix}attention.{name}.weight", hidden, hidden)
            want(f"{prefix}attention.{name}.bias", hidden)
        for name in ("layer_norm", "final_layer_norm"):
            want(f"{prefix}{name}.weight", hidden)
            want(f"{prefix}{name}.bias", hidden)
        wide = want(f"{prefix}feed_forward.intermediate_dense.weight", None, hidden).shape[0]
        want(f"{prefix}feed_forward.intermediate_dense.bias", wide)
        want(f"{prefix}feed_forward.output_dense.weight", hidden, wide)
        want(f"{prefix}feed_forward.output_dense.bias", hidden)
    return AudioEncoder(kept, config, tuple(kernels), layers, hidden, hidden // inner)


def wav2sem_encoder(arrays: Arrays, config: AudioConfig) -> AudioEncoder:
    """Wav2Sem's network from a state dict with the authors' names (transformers' are taken as well)."""
    named = {}
    for name, array in arrays.items():
        for theirs, ours in _WAV2SEM_NAMES:
            name = ours + name[len(theirs) :] if name.startswith(theirs) else name
        named[name] = array
    return audio_encoder(named, config, "The Wav2Sem encoder")


def face_former(
    arrays: Arrays,
    config: AudioConfig,
    wav2vec2: Arrays | None = None,
    wav2sem: Arrays | None = None,
    fusion: str | None = None,
    dataset: str | None = None,
) -> FaceFormer:
    """Recognise and check a FaceFormer state dict; raises ConvertError for what does not fit together.

    wav2vec2: state dict for a checkpoint without an audio encoder. wav2sem: that of the semantic encoder, when it is
    not in the checkpoint under `Wav2Bert.`. fusion: "add" or "map" (`bert_feature_map`); by default the map where the
    checkpoint has one. dataset: "vocaset" or "biwi"; by default what sizes and period say.
    """
    take = _taker(arrays, "The FaceFormer checkpoint")
    if "obj_vector.weight" not in arrays or "vertice_map_r.weight" not in arrays:
        raise ConvertError("The checkpoint given with --faceformer is not of FaceFormer: it has no vertice_map_r.")
    outputs, width = take("vertice_map_r.weight", None, None).shape
    styles = take("obj_vector.weight", width, None).shape[1]
    if outputs % 3 or width % 4 or width < 4:
        raise ConvertError(f"The FaceFormer checkpoint has {outputs} outputs of {width} features, which is no mesh.")
    layer = "transformer_decoder.layers.0."
    inner = take(layer + "linear1.weight", None, width).shape[0]
    shapes: dict[str, tuple[int, ...]] = {
        "obj_vector.weight": (width, styles), "vertice_map_r.weight": (outputs, width),
        "vertice_map_r.bias": (outputs,), "vertice_map.weight": (width, outputs), "vertice_map.bias": (width,),
        layer + "linear1.weight": (inner, width), layer + "linear1.bias": (inner,),
        layer + "linear2.weight": (width, inner), layer + "linear2.bias": (width,),
    }  # fmt: skip
    for block in ("self_attn", "multihead_attn"):
        shapes |= {
            f"{layer}{block}.in_proj_weight": (3 * width, width), f"{layer}{block}.in_proj_bias": (3 * width,),
            f"{layer}{block}.out_proj.weight": (width, width), f"{layer}{block}.out_proj.bias": (width,),
        }  # fmt: skip
    shapes |= {f"{layer}norm{i}.{part}": (width,) for i in (1, 2, 3) for part in ("weight", "bias")}
    decoder = {name: take(name, *shape) for name, shape in shapes.items()}
    if any(name.startswith("transformer_decoder.layers.1.") for name in arrays):
        raise ConvertError("The FaceFormer checkpoint has more than one decoder layer, which FaceFormer has not.")

    period = _period(arrays, width)
    biwi = {"vocaset": False, "biwi": True}.get(dataset or "", _is_biwi(outputs, period))
    audio = _below(arrays, "audio_encoder.") or wav2vec2
    if audio is None:
        raise ConvertError("The FaceFormer checkpoint has no audio encoder; give the wav2vec2 folder with --wav2vec2.")
    encoder = audio_encoder(audio, config, "The audio encoder")
    feature_map = (take("audio_feature_map.weight", width, encoder.hidden), take("audio_feature_map.bias", width))

    inside = _below(arrays, "Wav2Bert.")
    semantic = wav2sem if wav2sem is not None else inside
    if not semantic:
        if fusion:
            raise ConvertError("--fusion says how Wav2Sem is added, but there is no Wav2Sem; give it with --wav2sem.")
        return FaceFormer(encoder, feature_map, decoder, width, outputs, styles, period, biwi)
    sentence = wav2sem_encoder(semantic, config)
    linear = None
    if fusion == "map" or (fusion is None and "bert_feature_map.weight" in arrays):
        linear = (
            take("bert_feature_map.weight", encoder.hidden, sentence.hidden),
            take("bert_feature_map.bias", encoder.hidden),
        )
    elif sentence.hidden != encoder.hidden:
        raise ConvertError(
            f"Wav2Sem's vector has {sentence.hidden} values and the audio features {encoder.hidden}; "
            "they cannot be added."
        )
    if (sentence.kernels, sentence.config.strides) != (encoder.kernels, encoder.config.strides):
        raise ConvertError("Wav2Sem and the audio encoder hear with different convolutions; they are not of one model.")
    return FaceFormer(encoder, feature_map, decoder, width, outputs, styles, period, biwi, sentence, linear)


def hugging_face(arrays: Arrays) -> Arrays:
    """The bare network of a wav2vec2 folder: a CTC model's `wav2vec2.` prefix is stripped."""
    return _below(arrays, "wav2vec2.") or arrays


def _is_biwi(outputs: int, period: int) -> bool:
    return outputs == BIWI_OUTPUTS or (outputs != VOCASET_OUTPUTS and period == 25)


def _conv(index: int) -> str:
    return f"feature_extractor.conv_layers.{index}.conv.weight"


def _below(arrays: Arrays, prefix: str) -> Arrays:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}


def _count(arrays: Arrays, pattern: str) -> int:
    """How many numbered parts the names know; missing ones between are found when they are taken."""
    found = [int(match[1]) for name in arrays if (match := re.match(pattern, name))]
    return min(max(found, default=-1) + 1, 1000)


def _taker(arrays: Arrays, whose: str) -> Callable[..., np.ndarray]:
    """A look-up that checks shapes; None stands for any length above zero."""

    def take(name: str, *shape: int | None) -> np.ndarray:
        if name not in arrays:
            raise ConvertError(f"{whose} lacks {name}; it is not whole or of another model.")
        array = arrays[name]
        fits = array.ndim == len(shape) and all(n in (None, array.shape[i]) for i, n in enumerate(shape))
        if not fits or array.size < 1:
            wanted = " × ".join("any" if m is None else str(m) for m in shape)
            found = " × ".join(map(str, array.shape))
            raise ConvertError(f"{whose} has {name} of {found} values where {wanted} are needed.")
        return array

    return take


def _positional_kernel(arrays: Arrays, hidden: int, whose: str) -> np.ndarray:
    """The positional convolution's kernel (hidden, hidden / groups, width) with its weight norm folded in.

    Gain and direction come under torch's old names, its new ones in either order, or folded already.
    """
    new = "parametrizations.weight.original"
    if _POSITIONS + "weight" in arrays:
        kernel = arrays[_POSITIONS + "weight"].astype(np.float64)
    else:
        for names in (("weight_g", "weight_v"), (new + "0", new + "1"), (new + "1", new + "0")):
            gain, direction = (arrays.get(_POSITIONS + name, np.empty(0)).astype(np.float64) for name in names)
            if direction.ndim == 3 and gain.shape == (1, 1, direction.shape[2]):
                break
        else:
            raise ConvertError(f"{whose} lacks the weights of its positional convolution, or their shapes do not fit.")
        kernel = direction * gain / np.sqrt(np.square(direction).sum(axis=(0, 1), keepdims=True)).clip(1e-30)
    if kernel.ndim != 3 or kernel.shape[0] != hidden or kernel.shape[1] < 1 or hidden % kernel.shape[1]:
        raise ConvertError(f"{whose} has a positional convolution that does not fit its {hidden} features.")
    return kernel.astype(np.float32)


def _period(arrays: Arrays, width: int) -> int:
    """Frames after which positions repeat, read from the stored table, which must be the paper's.

    Without a table it is 25 for BIWI's mesh and VOCASET's 30 for any other.
    """
    if "PPE.pe" not in arrays:
        return 25 if arrays["vertice_map_r.weight"].shape[0] == BIWI_OUTPUTS else 30
    table = arrays["PPE.pe"]
    table = table.reshape(-1, width) if table.size and table.size % width == 0 else np.full((1, width), np.nan)
    for period in range(1, _LONGEST_PERIOD + 1):
        if len(table) % period == 0:
            ours = np.tile(periodic_positions(period, width), (len(table) // period, 1))
            if np.abs(ours - table).max() < 5e-3:  # bf16 checkpoints round the table to 0.004
                return period
    raise ConvertError(
        "The FaceFormer checkpoint's position table PPE.pe is not the one its code makes; it is damaged."
    )
