# SPDX-License-Identifier: GPL-3.0-or-later
"""A toy model package with the real signature: seeded random weights, runs in milliseconds, needs no training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HOP, WIDTH, SEMANTIC = 320, 16, 4
NAMES = ("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmileLeft", "mouthSmileRight")
STYLES = ("neutral", "broad")


def decoder_arrays(
    outputs: int = len(NAMES), d: int = WIDTH, hidden: int = 32, styles: int = len(STYLES), seed: int = 0
) -> dict[str, np.ndarray]:
    """Random decoder parameters by official names; outputs hover around 0.3."""
    rng = np.random.default_rng(seed)
    layer = "transformer_decoder.layers.0."
    shapes: dict[str, tuple[int, ...]] = {
        "vertice_map.weight": (d, outputs), "vertice_map.bias": (d,),
        "vertice_map_r.weight": (outputs, d), "obj_vector.weight": (d, styles),
        layer + "linear1.weight": (hidden, d), layer + "linear1.bias": (hidden,),
        layer + "linear2.weight": (d, hidden), layer + "linear2.bias": (d,),
    }  # fmt: skip
    for block in ("self_attn", "multihead_attn"):
        shapes |= {
            f"{layer}{block}.in_proj_weight": (3 * d, d), f"{layer}{block}.in_proj_bias": (3 * d,),
            f"{layer}{block}.out_proj.weight": (d, d), f"{layer}{block}.out_proj.bias": (d,),
        }  # fmt: skip
    arrays = {name: 0.3 * rng.normal(size=shape) for name, shape in shapes.items()}
    arrays["vertice_map_r.weight"] *= 0.3
    arrays["vertice_map_r.bias"] = np.full(outputs, 0.3)
    for i in (1, 2, 3):
        arrays[f"{layer}norm{i}.weight"], arrays[f"{layer}norm{i}.bias"] = np.ones(d), np.zeros(d)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def make_toy_package(folder: Path, seed: int = 0) -> Path:
    """Write the toy package into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    _save(folder / "wav2sem.onnx", ["speech"], "semantic", {"pool": rng.normal(size=(1, SEMANTIC))}, [
        helper.make_node("Abs", ["speech"], ["level"]),
        helper.make_node("ReduceMean", ["level"], ["mean"], keepdims=1),
        helper.make_node("MatMul", ["mean", "pool"], ["semantic"]),
    ])  # fmt: skip
    weights = {"hear": rng.normal(size=(HOP, WIDTH)), "fuse": rng.normal(size=(SEMANTIC, WIDTH))}
    _save(folder / "model.onnx", ["speech", "semantic"], "memory", weights, [
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([1, -1, HOP], np.int64))),
        helper.make_node("Reshape", ["speech", "shape"], ["frames"]),
        helper.make_node("MatMul", ["frames", "hear"], ["heard"]),
        helper.make_node("MatMul", ["semantic", "fuse"], ["meaning"]),
        helper.make_node("Add", ["heard", "meaning"], ["memory"]),
    ])  # fmt: skip
    np.savez(folder / "decoder.npz", **decoder_arrays(seed=seed))
    write_json(folder)
    return folder


def write_json(folder: Path, **changes: object) -> None:
    """(Re)write model.json with the true hashes and `changes` on top."""
    files = [path for path in folder.iterdir() if path.suffix in (".onnx", ".npz")]
    data = {
        "schema": 1, "id": "toy", "name": "Toy", "version": "1.0.0", "licence": "GPL-3.0-or-later", "attribution": [],
        "sample_rate": 16000, "fps": 50.0, "normalise": "none", "topology": "flame-5023",
        "output": {"kind": "blendshapes", "names": list(NAMES)}, "styles": list(STYLES), "default_style": "neutral",
        "decoder": {"period": 50, "heads": 4, "memory_per_frame": 1}, "lip_vertices": [1, 2],
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    } | changes  # fmt: skip
    (folder / "model.json").write_text(json.dumps(data), encoding="utf-8")


def _save(
    path: Path, inputs: list[str], output: str, weights: dict[str, np.ndarray], nodes: list[onnx.NodeProto]
) -> None:
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None]) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
