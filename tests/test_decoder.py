# SPDX-License-Identifier: GPL-3.0-or-later
"""The folded decoder equals the literal loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_decoder import literal_loop
from toy_package import decoder_arrays

from inference import ModelError
from inference.decoder import Decoder


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(1, 40),
    period=st.sampled_from([1, 7, 25, 30]),
    heads=st.sampled_from([1, 2, 4]),
    per_frame=st.sampled_from([1, 2]),
)
def test_equals_literal_loop(seed: int, frames: int, period: int, heads: int, per_frame: int) -> None:
    arrays = decoder_arrays(outputs=12, d=16, styles=3, seed=seed)
    rng = np.random.default_rng(seed)
    memory, style = rng.normal(size=(frames * per_frame, 16)), rng.dirichlet(np.ones(3))
    decoder = Decoder(arrays, period, heads, per_frame, outputs=12, styles=3)
    found = decoder.run(memory, style) @ decoder.output_weight.T + decoder.output_bias
    np.testing.assert_allclose(found, literal_loop(arrays, memory, style, period, heads, per_frame), atol=1e-9)


def test_feedback_matters() -> None:
    """A decoder whose feedback is cut answers differently: the comparison above is not vacuous."""
    arrays = decoder_arrays()
    memory = np.random.default_rng(0).normal(size=(30, 16))
    cut = dict(arrays, **{"vertice_map.weight": 0 * arrays["vertice_map.weight"]})
    found = [Decoder(a, 25, 4, 1, 6, 2).run(memory, np.array([1.0, 0.0])) for a in (arrays, cut)]
    assert np.abs(found[0] - found[1]).max() > 1e-2


def test_tick_may_stop() -> None:
    class Stop(Exception):
        pass

    done = []

    def tick(frames: int) -> None:
        done.append(frames)
        if frames == 400:
            raise Stop

    with pytest.raises(Stop):
        Decoder(decoder_arrays(), 25, 4, 1, 6, 2).run(np.zeros((900, 16)), np.array([1.0, 0.0]), tick)
    assert done == [0, 200, 400]


@pytest.mark.parametrize("name", ["obj_vector.weight", "vertice_map.weight", "transformer_decoder.layers.0.norm2.bias"])
def test_missing_or_misshapen_parameter_is_refused(name: str) -> None:
    arrays = decoder_arrays()
    with pytest.raises(ModelError, match="decoder"):
        Decoder({k: v for k, v in arrays.items() if k != name}, 25, 4, 1, 6, 2)
    with pytest.raises(ModelError, match="decoder"):
        Decoder(dict(arrays, **{name: arrays[name][:-1]}), 25, 4, 1, 6, 2)
