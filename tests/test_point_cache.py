# SPDX-License-Identifier: GPL-3.0-or-later
"""PC2 files: what is written is read back, appears whole or not at all, and a stranger's file is never trusted."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import CacheError, Cancelled, PointCache, write_cache


def blocks(samples: int, vertices: int) -> list[np.ndarray]:
    positions = np.random.default_rng(0).normal(size=(samples, vertices, 3))
    return np.array_split(positions, 3)


def test_round_trip(tmp_path: Path) -> None:
    parts = blocks(10, 7)
    path = write_cache(tmp_path / "new" / "folder", "Head", 12.0, 10, 7, parts)
    assert path == tmp_path / "new" / "folder" / "Head-1.pc2"
    cache = PointCache.open(path)
    assert (cache.vertices, cache.samples, cache.start) == (7, 10, 12.0)
    whole = np.concatenate(parts).astype(np.float32)
    for i in range(10):
        np.testing.assert_array_equal(cache.read(i), whole[i])
    for i in (-1, 10):
        with pytest.raises(IndexError):
            cache.read(i)


def test_layout_is_the_published_one(tmp_path: Path) -> None:
    path = write_cache(tmp_path, "a", 5.0, 1, 1, [np.array([[[1.0, 2.0, 3.0]]])])
    assert path.read_bytes() == b"POINTCACHE2\0" + struct.pack("<iiffi3f", 1, 1, 5.0, 1.0, 1, 1.0, 2.0, 3.0)


def test_earlier_caches_stay(tmp_path: Path) -> None:
    first = write_cache(tmp_path, "Head", 1.0, 1, 2, [np.zeros((1, 2, 3))])
    before = first.read_bytes()
    (tmp_path / "Head-2.pc2").write_text("somebody's own")
    third = write_cache(tmp_path, "Head", 1.0, 1, 2, [np.ones((1, 2, 3))])
    assert third.name == "Head-3.pc2" and first.read_bytes() == before
    assert (tmp_path / "Head-2.pc2").read_text() == "somebody's own"


def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    names = [write_cache(tmp_path, "Head", 1.0, 1, 2, [np.zeros((1, 2, 3))]).name for _ in range(2)]
    assert names == ["Head-1.pc2", "Head-2.pc2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("error", [Cancelled, ValueError, KeyboardInterrupt])
def test_nothing_is_left_when_it_is_stopped(tmp_path: Path, error: type[BaseException]) -> None:
    def stopped() -> Iterator[np.ndarray]:
        yield np.zeros((4, 5, 3))
        raise error

    with pytest.raises(error):
        write_cache(tmp_path / "lip_sync", "Head", 1.0, 8, 5, stopped())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given_samples", [1, 3])
def test_too_few_or_too_many_samples_are_no_cache(tmp_path: Path, given_samples: int) -> None:
    with pytest.raises(ValueError, match="not 2 samples"):
        write_cache(tmp_path, "Head", 1.0, 2, 5, [np.zeros((given_samples, 5, 3))])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="cannot be written"):
        write_cache(tmp_path / "file" / "folder", "Head", 1.0, 1, 2, [np.zeros((1, 2, 3))])


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Blocks are taken one after the other, not gathered."""
    alive = 0

    class Block(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[np.ndarray]:
        nonlocal alive
        for _ in range(20):
            alive += 1
            assert alive <= 3
            yield np.zeros((2, 5, 3), "<f4").view(Block)

    assert PointCache.open(write_cache(tmp_path, "Head", 1.0, 40, 5, stream())).samples == 40


def test_what_a_killed_writer_left_is_removed_a_day_later(tmp_path: Path) -> None:
    names = [
        f".Head [1].{'0a' * 16}",
        f".Head [1].{'0b' * 16}",
        f".Head 1.{'0a' * 16}",
        ".Head [1].notes",
        "Head [1]-1.pc2",
    ]
    for name in names:
        (tmp_path / name).touch()
    for name in set(names) - {names[1]}:  # that one is being written to
        os.utime(tmp_path / name, (0, time.time() - 100_000))
    path = write_cache(tmp_path, "Head [1]", 1.0, 1, 2, [np.zeros((1, 2, 3))])
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([*names[1:], path.name])


@settings(max_examples=200)
@given(content=st.binary(max_size=200))
def test_a_strangers_file(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "strange.pc2"
    path.write_bytes(content)
    with pytest.raises(CacheError):
        PointCache.open(path)


@settings(max_examples=300)
@given(
    version=st.sampled_from([1, 0, 2, -1]),
    vertices=st.one_of(st.integers(-2, 4), st.integers(-(2**31), 2**31 - 1)),
    start=st.floats(width=32),
    step=st.sampled_from([1.0, 0.0, -1.0, float("nan")]),
    samples=st.one_of(st.integers(-2, 4), st.integers(-(2**31), 2**31 - 1)),
    extra=st.integers(0, 200),
)
def test_a_header_is_believed_only_if_the_file_agrees(
    version: int,
    vertices: int,
    start: float,
    step: float,
    samples: int,
    extra: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "header.pc2"
    head = b"POINTCACHE2\0" + struct.pack("<iiffi", version, vertices, start, step, samples)
    path.write_bytes(head + bytes(extra))
    sound = version == 1 and vertices > 0 and samples > 0 and step == 1 and np.isfinite(start)
    if sound and extra == 12 * vertices * samples:
        cache = PointCache.open(path)
        assert [cache.read(i).shape for i in range(samples)] == [(vertices, 3)] * samples
    else:
        with pytest.raises(CacheError):
            PointCache.open(path)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    cache = PointCache.open(write_cache(tmp_path, "Head", 1.0, 1, 2, [np.zeros((1, 2, 3))]))
    cache.path.write_bytes(cache.path.read_bytes()[:-4])
    with pytest.raises(CacheError, match="no whole"):
        cache.read(0)
    cache.path.unlink()
    with pytest.raises(CacheError, match="cannot be read"):
        cache.read(0)
