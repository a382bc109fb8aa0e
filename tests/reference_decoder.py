# SPDX-License-Identifier: GPL-3.0-or-later
"""FaceFormer's decoder written as the paper's loop: no cache, no folding, every step re-runs the whole prefix.

The yardstick for inference/decoder.py and the baseline of the benchmarks.
"""

from __future__ import annotations

import numpy as np

_LAYER = "transformer_decoder.layers.0."


def _attention(
    arrays: dict[str, np.ndarray], block: str, query: np.ndarray, memory: np.ndarray, heads: int, mask: np.ndarray
) -> np.ndarray:
    d = query.shape[1]
    weight, bias = arrays[f"{_LAYER}{block}.in_proj_weight"], arrays[f"{_LAYER}{block}.in_proj_bias"]
    q = query @ weight[:d].T + bias[:d]
    k = memory @ weight[d : 2 * d].T + bias[d : 2 * d]
    v = memory @ weight[2 * d :].T + bias[2 * d :]
    result = np.empty_like(q)
    for h in range(heads):
        part = slice(h * d // heads, (h + 1) * d // heads)
        scores = q[:, part] @ k[:, part].T / np.sqrt(d // heads) + mask[h]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        result[:, part] = scores / scores.sum(axis=1, keepdims=True) @ v[:, part]
    return result @ arrays[f"{_LAYER}{block}.out_proj.weight"].T + arrays[f"{_LAYER}{block}.out_proj.bias"]


def _norm(arrays: dict[str, np.ndarray], index: int, x: np.ndarray) -> np.ndarray:
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    return x * arrays[f"{_LAYER}norm{index}.weight"] + arrays[f"{_LAYER}norm{index}.bias"]


def literal_loop(
    arrays: dict[str, np.ndarray], memory: np.ndarray, style: np.ndarray, period: int, heads: int, per_frame: int = 1
) -> np.ndarray:
    """Outputs (T, outputs) for memory (T * per_frame, d), float64."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    memory = memory.astype(np.float64)
    count, d = len(memory) // per_frame, memory.shape[1]
    style_vector = arrays["obj_vector.weight"] @ style
    position = np.zeros((count, d))
    for t in range(count):
        for i in range(0, d, 2):
            angle = (t % period) / 10000.0 ** (i / d)
            position[t, i], position[t, i + 1] = np.float32(np.sin(angle)), np.float32(np.cos(angle))
    causal = np.full((heads, count, count), -np.inf)
    for h in range(heads):
        slope = 2.0 ** (-8.0 * (h + 1) / heads)
        for i in range(count):
            for j in range(i + 1):
                causal[h, i, j] = -slope * ((i - j) // period)
    aligned = np.full((heads, count, count * per_frame), -np.inf)
    for i in range(count):
        aligned[:, i, per_frame * i : per_frame * (i + 1)] = 0.0
    inputs = style_vector[None]
    for t in range(count):
        n = t + 1
        x = inputs + position[:n]
        x = _norm(arrays, 1, x + _attention(arrays, "self_attn", x, x, heads, causal[:, :n, :n]))
        heard = memory[: n * per_frame]
        x = _norm(arrays, 2, x + _attention(arrays, "multihead_attn", x, heard, heads, aligned[:, :n, : n * per_frame]))
        relu = np.maximum(x @ arrays[_LAYER + "linear1.weight"].T + arrays[_LAYER + "linear1.bias"], 0)
        x = _norm(arrays, 3, x + relu @ arrays[_LAYER + "linear2.weight"].T + arrays[_LAYER + "linear2.bias"])
        output = x @ arrays["vertice_map_r.weight"].T + arrays["vertice_map_r.bias"]
        fed_back = output[-1] @ arrays["vertice_map.weight"].T + arrays["vertice_map.bias"] + style_vector
        inputs = np.concatenate([inputs, fed_back[None]])
    return output
