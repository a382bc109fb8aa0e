# SPDX-License-Identifier: GPL-3.0-or-later
"""wav2vec2 as an ONNX graph, node by node: the numbers of transformers' Wav2Vec2Model, in windows if need be.

Baevski et al. 2020 (base model, post-norm); FaceFormer (CVPR 2022), section 3.1, interpolates between the convolutions
and the transformer. The instance normalisation of the first convolution takes its statistics as an input
(`inference.encoder.convolution_statistics`), so that a window is normalised like the whole clip; it is folded into the
convolution, which saves two passes over the largest tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .layout import AudioEncoder

_OPSET = 20  # the first with Gelu
_NORM_EPSILON = 1e-5  # of torch's GroupNorm
Shape = Sequence[int | str]


class Graph:
    """A graph under construction: every method adds nodes and returns the name of what they compute."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> str:
        """An input of the graph; lengths that vary are given by name."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, value: np.ndarray | Sequence[int] | float) -> str:
        """Floats as float32, whole numbers as int64."""
        array = np.asarray(value)
        array = np.ascontiguousarray(array, np.int64 if array.dtype.kind == "i" else np.float32)
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, operation: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Any ONNX operator with one output."""
        name = name or f"n{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [name], **attributes))
        return name

    def linear(self, x: str, weight: np.ndarray, bias: np.ndarray, name: str = "") -> str:
        """A linear layer: x @ weight.T + bias."""
        return self.add("Add", self.add("MatMul", x, self.constant(weight.T)), self.constant(bias), name=name)

    def norm(self, x: str, weight: np.ndarray, bias: np.ndarray, epsilon: float, name: str = "") -> str:
        """Layer norm over the last axis."""
        inputs = (x, self.constant(weight), self.constant(bias))
        return self.add("LayerNormalization", *inputs, axis=-1, epsilon=epsilon, name=name)

    def save(self, path: Path, output: str, shape: Shape) -> None:
        """Write the graph with one output."""
        outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self._nodes, path.stem, self._inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = 9
        onnx.save(model, str(path))


def write_memory_graph(
    path: Path,
    encoder: AudioEncoder,
    feature_map: tuple[np.ndarray, np.ndarray],
    semantic: int = 0,
    fusion: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """model.onnx: speech (1, N), statistics, frame (T,), fraction (T,) and semantic (1, S) to memory (1, T, d).

    Memory frame i is interpolated at convolution frame `frame[i] + fraction[i]`. semantic: size of Wav2Sem's vector, 0
    for none; fusion: the linear map that it passes before it is added.
    """
    graph = Graph()
    features = _convolutions(graph, encoder)
    frame = graph.input("frame", ["frames"], TensorProto.INT64)
    fraction = graph.add("Unsqueeze", graph.input("fraction", ["frames"]), graph.constant([1]))
    left = graph.add("Gather", features, frame, axis=1)
    right = graph.add("Gather", features, graph.add("Add", frame, graph.constant([1])), axis=1)
    step = graph.add("Mul", graph.add("Sub", right, left), fraction)
    hidden = _transformer(graph, encoder, graph.add("Add", left, step, name="interpolated"))
    if semantic:
        sentence = graph.input("semantic", [1, semantic])
        if fusion:
            sentence = graph.linear(sentence, *fusion)
        hidden = graph.add("Add", hidden, graph.add("Unsqueeze", sentence, graph.constant([1])))
    graph.save(path, graph.linear(hidden, *feature_map, name="memory"), [1, "frames", len(feature_map[1])])


def write_sentence_graph(path: Path, encoder: AudioEncoder) -> None:
    """wav2sem.onnx: speech (1, N) and statistics to semantic (1, S), the mean over time (Wav2Sem, CVPR 2025)."""
    graph = Graph()
    hidden = _transformer(graph, encoder, _convolutions(graph, encoder))
    graph.save(
        path,
        graph.add("ReduceMean", hidden, graph.constant([1]), keepdims=0, name="semantic"),
        [1, encoder.hidden],
    )


def _convolutions(graph: Graph, encoder: AudioEncoder) -> str:
    """Speech to convolution features (1, L, C)."""
    x = graph.add("Unsqueeze", graph.input("speech", [1, "samples"]), graph.constant([1]))
    for index, stride in enumerate(encoder.config.strides):
        prefix = f"feature_extractor.conv_layers.{index}."
        kernel = encoder.arrays[prefix + "conv.weight"]
        filters = [graph.constant(kernel)]
        if index == 0:
            filters = _normalised(
                graph, kernel, *(encoder.arrays[f"{prefix}layer_norm.{p}"] for p in ("weight", "bias"))
            )
        x = graph.add("Gelu", graph.add("Conv", x, *filters, strides=[stride]))
    return graph.add("Transpose", x, perm=[0, 2, 1], name="convolved")


def _normalised(graph: Graph, kernel: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> list[str]:
    """Kernel and bias of the first convolution with its instance normalisation inside."""
    channels, _, width = kernel.shape
    statistics = graph.input("statistics", [1 + width, width])
    # Row 0 of the product is each filter's mean, the others' squares add up to its variance.
    product = graph.add("MatMul", statistics, graph.constant(kernel[:, 0].T))
    mean = graph.add("Gather", product, graph.constant([0]), axis=0)
    root = graph.add("Gather", product, graph.constant(np.arange(1, 1 + width)), axis=0)
    variance = graph.add("ReduceSumSquare", root, graph.constant([0]), keepdims=1)
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.constant(_NORM_EPSILON)))
    scale = graph.add("Div", graph.constant(gain[None]), deviation)
    scaled = graph.add("Mul", graph.constant(kernel), graph.add("Reshape", scale, graph.constant([channels, 1, 1])))
    offset = graph.add("Sub", graph.constant(bias[None]), graph.add("Mul", mean, scale))
    return [scaled, graph.add("Reshape", offset, graph.constant([channels]))]


def _transformer(graph: Graph, encoder: AudioEncoder, x: str) -> str:
    """Features (1, T, C) to hidden states (1, T, hidden)."""
    arrays, epsilon = encoder.arrays, encoder.config.epsilon

    def pair(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        return arrays[prefix + ".weight"], arrays[prefix + ".bias"]

    def norm(x: str, prefix: str, name: str = "") -> str:
        return graph.norm(x, *pair(prefix), epsilon, name)

    x = graph.linear(norm(x, "feature_projection.layer_norm"), *pair("feature_projection.projection"))
    x = norm(graph.add("Add", x, _positions(graph, encoder, x)), "encoder.layer_norm")
    for index in range(encoder.layers):
        prefix = f"encoder.layers.{index}."
        x = norm(graph.add("Add", x, _attention(graph, encoder, x, prefix + "attention.")), prefix + "layer_norm")
        wide = graph.add("Gelu", graph.linear(x, *pair(prefix + "feed_forward.intermediate_dense")))
        wide = graph.add("Add", x, graph.linear(wide, *pair(prefix + "feed_forward.output_dense")))
        x = norm(wide, prefix + "final_layer_norm", "hidden" if index == encoder.layers - 1 else "")
    return x


def _positions(graph: Graph, encoder: AudioEncoder, x: str) -> str:
    """The convolutional position embedding of (1, T, hidden)."""
    kernel, bias = (encoder.arrays[f"encoder.pos_conv_embed.conv.{part}"] for part in ("weight", "bias"))
    width = kernel.shape[2]
    # An even kernel makes one frame too many at the end, which the official code drops; not computing it is the same.
    pads = [width // 2, width // 2 - 1 + width % 2]
    x = graph.add("Transpose", x, perm=[0, 2, 1])
    x = graph.add("Conv", x, graph.constant(kernel), graph.constant(bias), pads=pads, group=encoder.groups)
    return graph.add("Transpose", graph.add("Gelu", x), perm=[0, 2, 1])


def _attention(graph: Graph, encoder: AudioEncoder, x: str, prefix: str) -> str:
    """Self-attention of (1, T, hidden) over all frames."""
    heads, size = encoder.config.heads, encoder.hidden // encoder.config.heads
    shape = graph.constant([1, -1, heads, size])

    def project(name: str, scale: float, permutation: list[int]) -> str:
        weight, bias = (encoder.arrays[f"{prefix}{name}.{part}"] for part in ("weight", "bias"))
        y = graph.add("Reshape", graph.linear(x, weight * scale, bias * scale), shape)
        return graph.add("Transpose", y, perm=permutation)

    scores = graph.add("MatMul", project("q_proj", size**-0.5, [0, 2, 1, 3]), project("k_proj", 1.0, [0, 2, 3, 1]))
    attended = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), project("v_proj", 1.0, [0, 2, 1, 3]))
    joined = graph.add(
        "Reshape", graph.add("Transpose", attended, perm=[0, 2, 1, 3]), graph.constant([1, -1, encoder.hidden])
    )
    return graph.linear(joined, encoder.arrays[prefix + "out_proj.weight"], encoder.arrays[prefix + "out_proj.bias"])
