"""Filters against a Python set: nothing that was added is ever missed, and little is reported wrongly."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import InvalidArray
from headwater.kernels import (
    BEYOND_HORIZON,
    FRESH,
    REPEAT,
    BloomFilter,
    DedupLedger,
    RotatingBloomFilter,
    hash_event_ids,
    hash_keys,
)

# What a split-block filter of so many bits a key reports wrongly (0.0101, 0.00132: the mean over Poisson-filled blocks
# of (1 - (31/32)^n)^8), and four standard deviations of the draw below.
BOUNDS = {10.5: 0.0110, 16.0: 0.00165}


def numbers(count: int, seed: int = 1) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.random.default_rng(seed).permutation(count * 4)[:count].astype(np.uint64)


@pytest.mark.parametrize("kind", [BloomFilter, RotatingBloomFilter])
@pytest.mark.parametrize("bits", BOUNDS)
def test_no_false_negative_and_few_false_positives(kind: type[BloomFilter], bits: float) -> None:
    keys = numbers(50_000)
    bloom = kind(50_000, bits)
    wrongly = bloom.add_many(keys)
    assert wrongly.dtype == np.bool_
    assert wrongly.mean() < BOUNDS[bits]
    assert bloom.contains_many(keys).all()
    absent = np.arange(10**9, 10**9 + 200_000, dtype=np.uint64)
    assert 0 < bloom.contains_many(absent).mean() < BOUNDS[bits]


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 50), max_size=200))
def test_a_filter_never_calls_a_seen_key_new(keys: list[int]) -> None:
    bloom, seen = BloomFilter(1000), set()
    answers = bloom.add_many(np.array(keys, np.uint64))
    for key, present in zip(keys, answers, strict=True):
        assert present or key not in seen
        seen.add(key)
    assert all(key in bloom for key in keys)


def test_single_keys_and_batches_are_the_same_keys() -> None:
    bloom = BloomFilter(1000)
    assert not bloom.add(7)
    assert not bloom.add("sku")
    assert not bloom.add(b"raw")
    assert bloom.add_many(np.array([7, 8], np.uint64)).tolist() == [True, False]
    assert bloom.contains_many(hash_keys(["sku", "raw", "other"])).tolist() == [True, True, False]
    assert "sku" in bloom
    assert 8 in bloom
    assert "other" not in bloom


def test_generations_keep_the_last_keys_and_let_go_of_the_first() -> None:
    capacity, keys = 1000, numbers(10_000)
    bloom = RotatingBloomFilter(capacity)
    recent: deque[int] = deque(maxlen=capacity)
    for start in range(0, len(keys), 700):
        bloom.add_many(keys[start : start + 700])
        recent.extend(int(key) for key in keys[start : start + 700])
        assert bloom.contains_many(np.array(recent, np.uint64)).all()
    assert bloom.rotations >= 9
    assert bloom.contains_many(keys[:7000]).mean() < 0.01
    assert bloom.nbytes == 2 * BloomFilter(capacity).nbytes


@given(st.lists(st.integers(0, 300), max_size=500), st.integers(1, 100))
def test_a_ledger_within_its_horizon_is_a_set(keys: list[int], batch: int) -> None:
    ledger, seen = DedupLedger(1000), set()
    ids = hash_event_ids([f"e{key}" for key in keys])
    ts = np.zeros(len(keys), np.int64)
    verdicts = [v for i in range(0, len(keys), batch) for v in ledger.admit_many(ids[i : i + batch], ts[i : i + batch])]
    for key, verdict in zip(keys, verdicts, strict=True):
        assert verdict == (REPEAT if key in seen else FRESH)
        seen.add(key)
    assert len(ledger) == len(seen)


def test_a_ledger_sets_aside_what_may_be_a_repeat_from_beyond_its_horizon() -> None:
    ledger = DedupLedger(100)
    verdicts = [ledger.admit(f"e{i}", ts=i) for i in range(350)]
    assert set(verdicts) == {FRESH}
    assert ledger.admit("e349", ts=349) == REPEAT
    assert ledger.admit("e5", ts=5) == BEYOND_HORIZON
    assert ledger.admit("new", ts=1000) == FRESH


def test_memory_an_id_stays_within_what_is_promised() -> None:
    ledger = DedupLedger(10**6)
    ids = np.random.default_rng(1).integers(0, 2**64, (200_000, 2), dtype=np.uint64)
    ledger.admit_many(ids, np.zeros(len(ids), np.int64))
    assert 20 < ledger.nbytes / len(ledger) < 46


@pytest.mark.parametrize(
    "keys",
    [
        [1, 2],
        np.array([1, 2]),
        np.array([1.0, 2.0]),
        np.array([[1, 2]], np.uint64),
        np.arange(10, dtype=np.uint64)[::2],
        np.array([1], ">u8"),
    ],
    ids=["list", "int64", "float", "two-dimensional", "strided", "big-endian"],
)
def test_other_arrays_are_refused(keys: Any) -> None:
    with pytest.raises(InvalidArray) as refused:
        BloomFilter(10).add_many(keys)
    assert refused.value.details["field"] == "keys"


@pytest.mark.parametrize("key", [-1, 2**64, 1.5, None, True])
def test_other_keys_are_refused(key: Any) -> None:
    with pytest.raises(InvalidArray):
        BloomFilter(10).add(key)


@pytest.mark.parametrize(("capacity", "bits"), [(0, 16.0), (-1, 16.0), (10, 0.5), (10, float("nan")), (1.5, 16.0)])
def test_other_sizes_are_refused(capacity: Any, bits: float) -> None:
    with pytest.raises(InvalidArray):
        BloomFilter(capacity, bits)


def test_empty_batches_are_fine() -> None:
    empty = np.empty(0, np.uint64)
    assert BloomFilter(10).add_many(empty).shape == (0,)
    assert RotatingBloomFilter(1).contains_many(empty).shape == (0,)
    assert DedupLedger(1).admit_many(np.empty((0, 2), np.uint64), np.empty(0, np.int64)).shape == (0,)


@pytest.mark.parametrize("kind", [BloomFilter, RotatingBloomFilter])
def test_more_memory_than_there_is_is_refused(kind: type[BloomFilter]) -> None:
    with pytest.raises(InvalidArray, match="do not fit into memory") as caught:
        kind(2**36, 256.0)  # 2 TiB
    assert caught.value.details["field"] == "capacity"


def test_text_without_utf8_is_refused_and_named() -> None:
    half = "a\ud800"
    for field, call in {
        "texts": lambda: hash_keys(["b", half]),
        "ids": lambda: hash_event_ids(["b", half]),
        "event_id": lambda: DedupLedger(4).admit(half, 1),
        "key": lambda: BloomFilter(4).add(half),
    }.items():
        with pytest.raises(InvalidArray, match=rf"{field}: '.*\\ud800'") as caught:
            call()
        assert caught.value.details["field"] == field
