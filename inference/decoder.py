# SPDX-License-Identifier: GPL-3.0-or-later
"""FaceFormer's autoregressive decoder in numpy, exact and without its cost.

Fan, Lin, Saito, Wang, Komura: FaceFormer, CVPR 2022, section 3.2 (biased causal and alignment attention, periodic
positions). Three identities make the loop cheap (float64 throughout, so that it equals the literal loop to rounding):

* the fed-back output is linear in the hidden feature, so feedback folds to x[t+1] = A h[t] + c in feature space;
* nothing that was fed in ever changes, so keys and values of past frames are kept;
* with one memory frame per output frame the alignment attention has a single key, and its softmax is 1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .errors import ModelError

_LAYER = "transformer_decoder.layers.0."
_CHECK_EVERY = 200  # frames between two looks at `cancelled`


class Decoder:
    """One FaceFormer decoder layer with its feedback, for memory of shape (T * memory_per_frame, d).

    arrays: parameters by official state-dict names. period: frames per position period and bias step.
    heads: attention heads. Raises ModelError when shapes do not fit together.
    """

    def __init__(
        self,
        arrays: dict[str, np.ndarray],
        period: int,
        heads: int,
        memory_per_frame: int,
        outputs: int,
        styles: int,
    ) -> None:
        d = arrays["obj_vector.weight"].shape[0] if arrays.get("obj_vector.weight", np.empty(0)).ndim == 2 else 0
        if d < 1 or d % heads or d % 2:
            raise ModelError(f"The decoder's width {d} does not fit {heads} attention heads; get a whole model.")
        hidden = len(arrays.get(_LAYER + "linear1.bias", ()))
        shapes = _shapes(d, hidden, outputs, styles)
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape:
                found = arrays[name].shape if name in arrays else "nothing"
                raise ModelError(f"The decoder needs {name} of shape {shape} and holds {found}; get a whole model.")
        get = {name: arrays[name].astype(np.float64) for name in shapes if not name.startswith("vertice_map")}
        self.width, self.heads, self.period, self.memory_per_frame = d, heads, period, memory_per_frame
        self.output_weight, self.output_bias = arrays["vertice_map_r.weight"], arrays["vertice_map_r.bias"]
        into = arrays["vertice_map.weight"].astype(np.float64)
        self._feedback = into @ self.output_weight.astype(np.float64)
        self._feedback_bias = into @ self.output_bias.astype(np.float64) + arrays["vertice_map.bias"]
        self._styles = get["obj_vector.weight"]
        self._self = _Attention(get, _LAYER + "self_attn.", heads)
        self._cross = _Attention(get, _LAYER + "multihead_attn.", heads)
        self._ffn = [get[_LAYER + n] for n in ("linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias")]
        self._norms = [(get[f"{_LAYER}norm{i}.weight"], get[f"{_LAYER}norm{i}.bias"]) for i in (1, 2, 3)]

    def run(self, memory: np.ndarray, style: np.ndarray, cancelled: Callable[[], bool] | None = None) -> np.ndarray:
        """Hidden features of every frame, float64 (T, d); outputs are `hidden @ output_weight.T + output_bias`.

        memory: (T * memory_per_frame, d). style: (styles,) one-hot or convex blend. Stops early, with the frames
        that are done, when `cancelled()` is true.
        """
        count = len(memory) // self.memory_per_frame
        hidden = np.empty((count, self.width))
        align = self._alignment(memory[: count * self.memory_per_frame].astype(np.float64))
        keys = np.empty((self.heads, count, self.width // self.heads))
        values = np.empty_like(keys)
        positions = periodic_positions(self.period, self.width)
        # Read backwards, the bias for every past frame of frame t is one slice of this table.
        bias = temporal_bias(count, self.period, self.heads)[:, ::-1]
        style_vector = self._styles @ style
        constant = self._feedback_bias + style_vector
        x = style_vector
        for t in range(count):
            if cancelled and t % _CHECK_EVERY == 0 and cancelled():
                return hidden[:t]
            x = x + positions[t % self.period]
            query, keys[:, t], values[:, t] = self._self.project(x)
            scores = (keys[:, : t + 1] @ query[:, :, None])[:, :, 0] + bias[:, count - 1 - t :]
            x = _layer_norm(x + self._self.out(_softmax(scores), values[:, : t + 1]), *self._norms[0])
            x = _layer_norm(x + align(t, x), *self._norms[1])
            w1, b1, w2, b2 = self._ffn
            hidden[t] = _layer_norm(x + w2 @ np.maximum(w1 @ x + b1, 0.0) + b2, *self._norms[2])
            x = self._feedback @ hidden[t] + constant
        return hidden

    def _alignment(self, memory: np.ndarray) -> Callable[[int, np.ndarray], np.ndarray]:
        """The cross-attention of frame t to its own memory frames, as a function of t and the query feature."""
        _, keys, values = self._cross.project(memory)
        if self.memory_per_frame == 1:
            attended = self._cross.merge(values)
            return lambda t, x: attended[t]
        r = self.memory_per_frame

        def attend(t: int, x: np.ndarray) -> np.ndarray:
            own = slice(r * t, r * t + r)
            scores = (keys[:, own] @ self._cross.project_query(x)[:, :, None])[:, :, 0]
            return self._cross.out(_softmax(scores), values[:, own])

        return attend


class _Attention:
    """Projections of one multi-head attention; the softmax scale is folded into the query."""

    def __init__(self, get: dict[str, np.ndarray], prefix: str, heads: int) -> None:
        self.heads = heads
        self.weight, self.bias = get[prefix + "in_proj_weight"].copy(), get[prefix + "in_proj_bias"].copy()
        self.width = self.weight.shape[1]
        scale = (self.width // heads) ** -0.5
        self.weight[: self.width] *= scale
        self.bias[: self.width] *= scale
        self.out_weight, self.out_bias = get[prefix + "out_proj.weight"], get[prefix + "out_proj.bias"]

    def _split(self, x: np.ndarray) -> np.ndarray:
        """(..., d) to (heads, ..., d / heads)."""
        return np.moveaxis(x.reshape(*x.shape[:-1], self.heads, -1), -2, 0)

    def project(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Query, key and value of `x` (..., d), each (heads, ..., d / heads)."""
        q, k, v = np.split(x @ self.weight.T + self.bias, 3, axis=-1)
        return self._split(q), self._split(k), self._split(v)

    def project_query(self, x: np.ndarray) -> np.ndarray:
        return self._split(self.weight[: self.width] @ x + self.bias[: self.width])

    def merge(self, values: np.ndarray) -> np.ndarray:
        """Output projection of per-head values (heads, n, d / heads) to (n, d)."""
        return np.moveaxis(values, 0, 1).reshape(values.shape[1], -1) @ self.out_weight.T + self.out_bias

    def out(self, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Attention output (d,) for weights (heads, n) over values (heads, n, d / heads)."""
        return self.out_weight @ (weights[:, None, :] @ values).reshape(-1) + self.out_bias


def periodic_positions(period: int, width: int) -> np.ndarray:
    """The sinusoidal table of one period, (period, width): sine on even, cosine on odd channels (section 3.2)."""
    angle = np.arange(period)[:, None] * np.exp(np.arange(0, width, 2) * (-np.log(10000.0) / width))
    table = np.empty((period, width))
    table[:, 0::2], table[:, 1::2] = np.sin(angle), np.cos(angle)
    # The official buffer is float32; the same rounding keeps parity.
    return table.astype(np.float32).astype(np.float64)


def temporal_bias(count: int, period: int, heads: int) -> np.ndarray:
    """ALiBi bias by distance in whole periods, (heads, count): -slope * floor(distance / period).

    Slopes 2^(-8 h / heads), h = 1…heads (Press et al., Train Short, Test Long, ICLR 2022), heads a power of two.
    """
    slopes = 2.0 ** (-8.0 * np.arange(1, heads + 1) / heads)
    return -slopes[:, None] * (np.arange(count) // period)


def _softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


def _layer_norm(x: np.ndarray, gain: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean()
    return centred / np.sqrt(centred @ centred / len(x) + 1e-5) * gain + bias


def _shapes(d: int, hidden: int, outputs: int, styles: int) -> dict[str, tuple[int, ...]]:
    """Every parameter and its shape."""
    attention = {
        "in_proj_weight": (3 * d, d), "in_proj_bias": (3 * d,), "out_proj.weight": (d, d), "out_proj.bias": (d,),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        f"{_LAYER}{block}.{name}": shape
        for block in ("self_attn", "multihead_attn")
        for name, shape in attention.items()
    }
    shapes |= {f"{_LAYER}norm{i}.{part}": (d,) for i in (1, 2, 3) for part in ("weight", "bias")}
    shapes |= {
        _LAYER + "linear1.weight": (hidden, d),
        _LAYER + "linear1.bias": (hidden,),
        _LAYER + "linear2.weight": (d, hidden),
        _LAYER + "linear2.bias": (d,),
        "vertice_map.weight": (d, outputs),
        "vertice_map.bias": (d,),
        "vertice_map_r.weight": (outputs, d),
        "vertice_map_r.bias": (outputs,),
        "obj_vector.weight": (d, styles),
    }
    return shapes
