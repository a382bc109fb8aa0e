# SPDX-License-Identifier: GPL-3.0-or-later
"""FaceFormer's autoregressive decoder in numpy, exact and without its cost.

Fan, Lin, Saito, Wang, Komura: FaceFormer, CVPR 2022, section 3.2 (biased causal and alignment attention, periodic
positions). Three identities make the loop cheap (float64 throughout, so that it equals the literal loop to rounding):

* the fed-back output is linear in the hidden feature, so feedback folds to x[t+1] = A h[t] + c in feature space;
* nothing that was fed in ever changes, so keys and values of past frames are kept;
* with one memory frame per output frame the alignment attention has a single key, and its softmax is 1.

What is affine between two nonlinearities is one matrix: a layer norm is `centred / norm`, its centring belongs to the
matrix before it and its gain to the matrix after it. A frame then costs five products and the attention.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from .errors import ModelError

_LAYER = "transformer_decoder.layers.0."
_TICK_EVERY = 200  # frames between two calls of `tick`
_EPSILON = 1e-5  # of the layer norms
# Frames up to which past keys and values are float64. Reading them all again for every frame is what a long run costs;
# beyond about a minute they are kept in float32, as everything is in the official code.
_EXACT_FRAMES = 2000


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
        inner = np.size(arrays.get(_LAYER + "linear1.bias", ()))
        shapes = _shapes(d, inner, outputs, styles)
        for name, shape in shapes.items():
            if name not in arrays or arrays[name].shape != shape:
                found = arrays[name].shape if name in arrays else "nothing"
                raise ModelError(f"The decoder needs {name} of shape {shape} and holds {found}; get a whole model.")
        get = {
            name.removeprefix(_LAYER): arrays[name].astype(np.float64)
            for name in shapes
            if not name.startswith("vertice_map")
        }
        self.width, self.heads, self.period, self.memory_per_frame = d, heads, period, memory_per_frame
        self.output_weight, self.output_bias = arrays["vertice_map_r.weight"], arrays["vertice_map_r.bias"]
        into = arrays["vertice_map.weight"].astype(np.float64)
        self._feedback = into @ self.output_weight.astype(np.float64)
        self._feedback_bias = into @ self.output_bias.astype(np.float64) + arrays["vertice_map.bias"]
        self._styles = get["obj_vector.weight"]
        self._fold(get)

    def _fold(self, get: dict[str, np.ndarray]) -> None:
        """Merge every run of affine maps into one matrix and one constant."""
        d = self.width
        centre = np.eye(d) - 1.0 / d
        (g1, b1), (g2, b2), (g3, b3) = ((get[f"norm{i}.weight"], get[f"norm{i}.bias"]) for i in (1, 2, 3))
        self._gain, self._bias = g3, b3
        # Fed-in feature x to its centred self, query, key and value.
        qkv, qkv_bias = _in_projection(get, "self_attn.", self.heads)
        spread, spread_bias = np.concatenate([centre, qkv]), np.concatenate([np.zeros(d), qkv_bias])
        self._spread, self._spread_bias = spread, spread_bias
        self._step = spread @ self._feedback * g3
        self._self_out, self._self_out_bias = centre @ get["self_attn.out_proj.weight"], get["self_attn.out_proj.bias"]
        # First norm's output to the second norm's input and the query of the alignment attention.
        self._cross, self._cross_bias = _in_projection(get, "multihead_attn.", self.heads)
        self._align_query, self._align_query_bias = self._cross[:d] * g1, self._cross[:d] @ b1 + self._cross_bias[:d]
        self._align_out, self._align_bias = (
            centre @ get["multihead_attn.out_proj.weight"],
            centre @ (get["multihead_attn.out_proj.bias"] + b1),
        )
        self._after_first = centre * g1
        # Second norm's output through the feed-forward pair.
        self._widen, self._widen_bias = get["linear1.weight"] * g2, get["linear1.weight"] @ b2 + get["linear1.bias"]
        self._narrow = centre @ np.concatenate([np.diag(g2), get["linear2.weight"]], axis=1)
        self._narrow_bias = centre @ (b2 + get["linear2.bias"])

    def run(self, memory: np.ndarray, style: np.ndarray, tick: Callable[[int], None] | None = None) -> np.ndarray:
        """Hidden features of every frame, float64 (T, d); outputs are `hidden @ output_weight.T + output_bias`.

        memory: (T * memory_per_frame, d). style: (styles,) one-hot or convex blend. tick(frames done) is called now and
        then and may raise to stop.
        """
        d, heads = self.width, self.heads
        count = len(memory) // self.memory_per_frame
        align = self._alignment(memory[: count * self.memory_per_frame].astype(np.float64))
        positions = periodic_positions(self.period, d)
        style_vector = self._styles @ style
        own_bias = np.concatenate([self._self_out_bias - self._self_out_bias.mean(), np.zeros(3 * d)])
        constants = (
            (positions + style_vector + self._feedback_bias + self._feedback @ self._bias) @ self._spread.T
            + self._spread_bias
            + own_bias
        )
        now = self._spread @ (style_vector + positions[0]) + self._spread_bias + own_bias
        kind = np.float64 if count <= _EXACT_FRAMES else np.float32
        keys = np.empty((heads, count, d // heads), kind)
        values = np.ones((heads, count, d // heads + 1), kind)  # the last channel sums the weights
        # Read backwards, the bias for every past frame of frame t is one slice of this table.
        bias = np.ascontiguousarray(temporal_bias(count, self.period, heads)[:, None, ::-1], kind)
        normal = np.empty((count, d))
        wide = np.empty(d + len(self._widen))
        for t in range(count):
            if tick and t % _TICK_EVERY == 0:
                tick(t)
            if t:
                now = self._step.dot(normal[t - 1])
                now += constants[t % self.period]
            keys[:, t] = now[2 * d : 3 * d].reshape(heads, -1)
            values[:, t, :-1] = now[3 * d :].reshape(heads, -1)
            scores = now[d : 2 * d].astype(kind, copy=False).reshape(heads, 1, -1) @ keys[:, : t + 1].transpose(0, 2, 1)
            scores += bias[:, :, count - 1 - t :]
            scores -= scores.max(axis=2, keepdims=True)
            attended = np.exp(scores, out=scores) @ values[:, : t + 1]
            x = self._self_out.dot((attended[:, :, :-1] / attended[:, :, -1:]).ravel())
            x += now[:d]
            x = align(t, _normalise(x))
            wide[:d] = _normalise(x)
            np.maximum(self._widen.dot(wide[:d]) + self._widen_bias, 0.0, out=wide[d:])
            x = self._narrow.dot(wide)
            x += self._narrow_bias
            normal[t] = _normalise(x)
        return normal * self._gain + self._bias

    def _alignment(self, memory: np.ndarray) -> Callable[[int, np.ndarray], np.ndarray]:
        """The map of frame t from the first norm's output to the second norm's input, through its own memory frames."""
        d, r = self.width, self.memory_per_frame
        keys = memory @ self._cross[d : 2 * d].T + self._cross_bias[d : 2 * d]
        values = memory @ self._cross[2 * d :].T + self._cross_bias[2 * d :]
        if r == 1:
            attended = values @ self._align_out.T + self._align_bias
            return lambda t, x: self._after_first.dot(x) + attended[t]
        keys, values = (a.reshape(-1, r, self.heads, d // self.heads).swapaxes(1, 2) for a in (keys, values))

        def attend(t: int, x: np.ndarray) -> np.ndarray:
            query = (self._align_query.dot(x) + self._align_query_bias).reshape(self.heads, -1, 1)
            scores = keys[t] @ query
            weights = np.exp(scores - scores.max(axis=1, keepdims=True))
            heard = ((weights / weights.sum(axis=1, keepdims=True)) * values[t]).sum(axis=1).ravel()
            return self._after_first.dot(x) + self._align_out.dot(heard) + self._align_bias

        return attend


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


def _in_projection(get: dict[str, np.ndarray], block: str, heads: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight (3 d, d) and bias (3 d,) of query, key and value; the softmax scale is folded into the query."""
    weight, bias = get[block + "in_proj_weight"].copy(), get[block + "in_proj_bias"].copy()
    d = weight.shape[1]
    scale = (d // heads) ** -0.5
    weight[:d] *= scale
    bias[:d] *= scale
    return weight, bias


def _normalise(centred: np.ndarray) -> np.ndarray:
    """Layer norm of a vector without mean, before gain and bias."""
    return centred * (1.0 / sqrt(centred.dot(centred) / len(centred) + _EPSILON))


def _shapes(d: int, inner: int, outputs: int, styles: int) -> dict[str, tuple[int, ...]]:
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
        _LAYER + "linear1.weight": (inner, d),
        _LAYER + "linear1.bias": (inner,),
        _LAYER + "linear2.weight": (d, inner),
        _LAYER + "linear2.bias": (d,),
        "vertice_map.weight": (d, outputs),
        "vertice_map.bias": (d,),
        "vertice_map_r.weight": (outputs, d),
        "vertice_map_r.bias": (outputs,),
        "obj_vector.weight": (d, styles),
    }
    return shapes
