# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights of ONNX graphs in fewer bits, behind nodes that onnxruntime folds away when it loads; and back again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# What the name of a constant that is stored otherwise ends in: float16; eight bits, their scales, and these unscaled.
_HALF, _BYTE, _SCALE, _WHOLE = "_half", "_byte", "_scale", "_whole"
_LEAST = 4096  # values of a constant that is worth it
_LARGEST_HALF = 60_000.0  # float16 ends a little above
_OUTPUTS = {"MatMul": -1, "Gemm": 0, "Conv": 0}  # axis of a layer's weights; torch writes Gemm's transposed


def shrink(path: Path, bits: int = 16) -> None:
    """Store large float32 constants of the graph at `path` as float16 followed by a cast.

    bits: with 8, weights of layers are whole numbers of eight bits and a scale for each of their outputs instead.
    """
    model = onnx.load(path)
    outputs = {node.input[1]: _OUTPUTS[node.op_type] for node in model.graph.node if node.op_type in _OUTPUTS}
    stored, unfolded = [], []
    for weight in model.graph.initializer:
        array, name = numpy_helper.to_array(weight), weight.name
        if array.dtype != np.float32 or array.size < _LEAST:
            stored.append(weight)
        elif bits == 8 and name in outputs:
            inputs = tuple(axis for axis in range(array.ndim) if axis != outputs[name] % array.ndim)
            scale = np.maximum(np.abs(array).max(axis=inputs, keepdims=True), 1e-12) / 127
            stored.append(numpy_helper.from_array(np.rint(array / scale).astype(np.int8), name + _BYTE))
            stored.append(numpy_helper.from_array(scale, name + _SCALE))
            unfolded.append(helper.make_node("Cast", [name + _BYTE], [name + _WHOLE], to=TensorProto.FLOAT))
            unfolded.append(helper.make_node("Mul", [name + _WHOLE, name + _SCALE], [name]))
        elif np.abs(array).max() < _LARGEST_HALF:
            stored.append(numpy_helper.from_array(array.astype(np.float16), name + _HALF))
            unfolded.append(helper.make_node("Cast", [name + _HALF], [name], to=TensorProto.FLOAT))
        else:
            stored.append(weight)
    nodes = unfolded + list(model.graph.node)
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(stored)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """The constants of a graph by the names that they had before `shrink`, float32."""
    stored = {each.name: numpy_helper.to_array(each).astype(np.float32) for each in graph.initializer}
    arrays = {name.removesuffix(_HALF): array for name, array in stored.items()}
    for name in [name.removesuffix(_BYTE) for name in arrays if name.endswith(_BYTE)]:
        arrays[name] = arrays.pop(name + _BYTE) * arrays.pop(name + _SCALE)
    return arrays
