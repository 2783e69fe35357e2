"""Bloom filters and the dedup path, beside rbloom and Python's set."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.bench.machine import lines_per_s
from headwater.bench.peers import peer
from headwater.bench.row import Row, Target, make_row
from headwater.bench.scale import Scale
from headwater.bench.timing import Timed, clocked_fresh, interleaved
from headwater.errors import HeadwaterError
from headwater.kernels import FRESH, REPEAT, BloomFilter, DedupLedger

_BITS = 16.0
_FALSE_POSITIVES = 0.0013  # of a split-block filter of 16 bits a key; rbloom is built for the same rate


def rows(scale: Scale) -> list[Row]:
    """Test-and-insert of a filter that fits a cache and of one that does not, and the dedup path."""
    return [_bloom("in cache", scale.bloom_small), _bloom("large", scale.bloom_large), _dedup(scale.dedup)]


def _bloom(what: str, count: int) -> Row:
    keys = _keys(count)
    numbers = keys.tolist()
    _check_bloom(keys)
    subjects: dict[str, Timed] = {
        "ours": clocked_fresh(lambda: BloomFilter(count, _BITS), lambda bloom: bloom.add_many(keys)),
        "set": clocked_fresh(set, lambda seen: _test_and_add(seen, numbers)),
    }
    rbloom = peer("rbloom")
    if rbloom is not None:
        subjects["rbloom update"] = clocked_fresh(
            lambda: rbloom.Bloom(count, _FALSE_POSITIVES), lambda bloom: bloom.update(numbers)
        )
        subjects["rbloom in + add"] = clocked_fresh(
            lambda: rbloom.Bloom(count, _FALSE_POSITIVES), lambda bloom: _test_and_add(bloom, numbers)
        )
    seconds = interleaved(subjects, runs=9 if count < 1_000_000 else 3)
    size = BloomFilter(count, _BITS).nbytes
    return make_row(
        "bloom test-and-insert",
        f"{what}: {count:,} keys, {size / 1e6:.1f} MB",
        seconds,
        units=count,
        per="key",
        limit_us=1e6 / lines_per_s(size),
        limit="random cache lines of the filter's size",
        target=Target(at_most_us=1 / 50, shown=">= 50 M keys/s"),
        note="rbloom's update inserts without testing; it and set take Python ints, ours a uint64 array",
        absent=() if rbloom is not None else ("rbloom",),
        facts={"M_per_s": count / float(np.median(seconds["ours"])) / 1e6, "bytes_per_key": size / count},
    )


def _test_and_add(held: Any, numbers: list[int]) -> list[bool]:
    add = held.add
    return [number in held or bool(add(number)) for number in numbers]


def _keys(count: int) -> NDArray[np.uint64]:
    return np.random.default_rng(7).integers(0, 2**62, count, dtype=np.uint64)


def _check_bloom(keys: NDArray[np.uint64]) -> None:
    """No false negative, and no more false positives than promised, for ours and for rbloom."""
    absent = np.arange(2**63, 2**63 + 100_000, dtype=np.uint64)
    ours = BloomFilter(len(keys), _BITS)
    ours.add_many(keys)
    rates = {"ours": (ours.contains_many(keys).mean(), ours.contains_many(absent).mean())}
    rbloom = peer("rbloom")
    if rbloom is not None:
        theirs = rbloom.Bloom(len(keys), _FALSE_POSITIVES)
        theirs.update(keys.tolist())
        sample = keys[:100_000].tolist()
        found, wrong = sum(k in theirs for k in sample), sum(k in theirs for k in absent.tolist())
        rates["rbloom"] = (found / len(sample), wrong / len(absent))
    for name, (found_rate, wrong_rate) in rates.items():
        if found_rate != 1 or wrong_rate > 2 * _FALSE_POSITIVES:
            raise HeadwaterError(f"{name}: finds {found_rate:.4%} of what was added, {wrong_rate:.4%} of the rest")


def _dedup(count: int) -> Row:
    ids = np.random.default_rng(8).integers(0, 2**64, (count, 2), dtype=np.uint64)
    ts = np.zeros(count, np.int64)
    _check_dedup(ids[:50_000], ts[:50_000])
    numbers = ids[:, 0].tolist()
    held: list[DedupLedger] = []

    def keep(ledger: DedupLedger) -> None:
        ledger.admit_many(ids, ts)
        held[:] = [ledger]

    seconds = interleaved(
        {
            "ours": clocked_fresh(lambda: DedupLedger(count), keep),
            "set": clocked_fresh(set, lambda seen: _test_and_add(seen, numbers)),
        },
        runs=3,
    )
    ledger = held[0]
    repeats = interleaved({"ours": clocked_fresh(lambda: None, lambda _: ledger.admit_many(ids, ts))}, runs=3)
    return make_row(
        "dedup path",
        f"{count:,} fresh ids from empty, {ledger.nbytes / 1e6:,.0f} MB",
        seconds,
        units=count,
        per="event",
        limit_us=2e6 / lines_per_s(ledger.nbytes),
        limit="two random cache lines of the ledger's size an event",
        target=Target(at_most_us=1 / 10, shown=">= 10 M events/s"),
        note="growing included; the set holds 64-bit Python ints, the ledger 128-bit ids exactly",
        facts={
            "M_per_s": count / float(np.median(seconds["ours"])) / 1e6,
            "repeats_M_per_s": count / float(np.median(repeats["ours"])) / 1e6,
            "bytes_per_id": ledger.nbytes / len(ledger),
        },
    )


def _check_dedup(ids: NDArray[np.uint64], ts: NDArray[np.int64]) -> None:
    ledger = DedupLedger(len(ids))
    first, again = ledger.admit_many(ids, ts), ledger.admit_many(ids, ts)
    if not ((first == FRESH).all() and (again == REPEAT).all()):
        raise HeadwaterError("the ledger does not tell fresh ids from repeats")
