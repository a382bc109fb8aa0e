# SPDX-License-Identifier: GPL-3.0-or-later
"""Arrays in a .blend file: what goes in comes out, and nothing else does harm."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference import LipSyncError
from inference.compact import DamagedData, pack, unpack

ARRAYS = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=12),
    st.sampled_from([np.bool_, np.uint8, np.int32, np.uint16, np.float16, np.float32, np.float64, "U5"]).flatmap(
        lambda kind: hnp.arrays(kind, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    ),
    max_size=5,
)
GOOD = pack({"weights": np.arange(600, dtype=np.uint16).reshape(100, 6), "names": np.array(["jawOpen", "mouthClose"])})


@given(ARRAYS, st.integers(0, 9))
def test_what_goes_in_comes_out(arrays: dict[str, np.ndarray], level: int) -> None:
    found = unpack(pack(arrays, level))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable


@given(ARRAYS)
def test_equal_arrays_give_equal_bytes(arrays: dict[str, np.ndarray]) -> None:
    assert pack(arrays) == pack({name: array.copy() for name, array in arrays.items()})


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_bytes_of_others_are_refused(data: bytes) -> None:
    with pytest.raises(DamagedData):
        unpack(data)


@settings(max_examples=500)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255), st.integers(0, len(GOOD)))
def test_damage_is_noticed_or_harmless(place: int, byte: int, end: int) -> None:
    """Any byte changed, or the end cut off: the arrays, or one plain sentence."""
    damaged = bytearray(GOOD)
    damaged[place] = byte
    for data in (bytes(damaged), GOOD[:end]):
        try:
            unpack(data)
        except LipSyncError as error:
            assert "generate it again" in str(error)


def test_objects_are_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        pack({"evil": np.array([{}], dtype=object)})
    data = _zip(b"\x93NUMPY\x01\x00" + _header("'|O'", "(1,)") + pickle.dumps([print]))
    with pytest.raises(DamagedData):
        unpack(data)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(65536, 65536, 65536, 65536)", "(-1, -2)", "(2.5,)", "(3,)"])
def test_a_header_that_lies_about_its_size(shape: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DamagedData):
            unpack(_zip(b"\x93NUMPY\x01\x00" + _header("'<f4'", shape) + bytes(8)))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_text_of_no_length() -> None:
    """A billion empty strings need no byte of content, but memory."""
    with pytest.raises(DamagedData):
        unpack(_zip(b"\x93NUMPY\x01\x00" + _header("'<U0'", "(1000000000000,)")))


def test_what_is_not_compressed_is_as_large_as_it_may_be() -> None:
    """The keys of hours of speech, which nobody compresses: a slider that is dragged waits for them."""
    arrays = {"values": np.arange(1 << 16)}
    assert np.array_equal(unpack(pack(arrays, level=0), limit_bytes=1 << 16)["values"], arrays["values"])


def test_a_bomb_is_not_inflated() -> None:
    """16 MB of zeros in 16 KB, where 1 MB is allowed."""
    data = pack({"zeros": np.zeros(16 << 20, np.uint8)})
    assert len(data) < 1 << 15
    tracemalloc.start()
    try:
        with pytest.raises(DamagedData, match="larger"):
            unpack(data, limit_bytes=1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 1 << 19
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_that_claims_to_be_small(method: int) -> None:
    """64 MB of zeros whose directory says 100 bytes."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        archive.writestr("evil.npy", bytes(64 << 20))
    data = packed.getvalue().replace((64 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedData):
            unpack(data)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("header", [b"{'descr': (", b"{'descr': '<f4", b"\x00\x00", b"__import__('os')"])
def test_headers_that_are_no_dictionary(header: bytes) -> None:
    with pytest.raises(DamagedData):
        unpack(_zip(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header))


def test_a_member_that_is_encrypted_or_no_array() -> None:
    with pytest.raises(DamagedData):
        unpack(_zip(b"no array"))
    data = bytearray(_zip(b"no array"))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags] |= 1
    with pytest.raises(DamagedData):
        unpack(bytes(data))


def test_many_empty_members_are_refused() -> None:
    with pytest.raises(DamagedData, match="larger"):
        unpack(pack({f"a{i}": np.zeros(0) for i in range(300)}))


def _header(kind: str, shape: str) -> bytes:
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return len(text).to_bytes(2, "little") + text


def _zip(content: bytes) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("evil.npy", content)
    return packed.getvalue()
