"""Recall against exact rows: ties, short rows, and the two ways of counting agree."""

from __future__ import annotations

import msgspec
import pytest

from headwater.bench.logs import fold, frame_log
from headwater.bench.recall_bench import TOP, _compare, _neighbours, _only, exact_of_sessions, recall_of, zipf_relation
from headwater.bench.zipf import ZipfLog
from headwater.config import Config, default_config


def test_an_item_of_equal_score_is_as_good() -> None:
    exact = {f"i{n}": 2.0 for n in range(40)} | {f"t{n}": 1.0 for n in range(30)}
    best = [f"i{n}" for n in range(40)]
    assert recall_of(exact, best + [f"t{n}" for n in range(20, 30)]) == 1.0
    assert recall_of(exact, best) == 40 / TOP
    assert recall_of(exact, [*best[:-1], *(f"t{n}" for n in range(10)), "unknown"]) == 49 / TOP


def test_short_rows_are_measured_by_what_they_have() -> None:
    assert recall_of({"a": 2.0, "b": 1.0}, ["a"]) == 0.5
    assert recall_of({"a": 2.0, "b": 1.0}, ["b", "a"]) == 1.0
    assert recall_of({}, []) == 1.0


def _base() -> Config:
    base = default_config("shop")
    return msgspec.structs.replace(base, generation=msgspec.structs.replace(base.generation, rapid_repeat_seconds=0.0))


def test_sorting_all_pairs_counts_what_the_engine_counts() -> None:
    made = ZipfLog(5_000, 300)
    log = frame_log(made.chunks(), 16)
    assert log.events == made.events
    state = fold(_only(_base(), zipf_relation(), 4096), log, 1)
    exact = exact_of_sessions(made)
    assert len(exact) > 250
    for seed, row in exact.items():
        found = dict(_neighbours(state, seed, "also_viewed", "count", 1000))
        assert found == pytest.approx(row.scores, rel=0.02)


def test_rows_without_bound_lose_nothing_and_small_ones_do() -> None:
    made = ZipfLog(20_000, 2_000)
    log = frame_log(made.chunks(), 16)
    exact = exact_of_sessions(made)
    unbounded, small = (
        _compare("zipf", "also_viewed", "count", c, fold(_only(_base(), zipf_relation(), c), log, 1), exact)
        for c in (4096, 8)
    )
    assert unbounded.recall == 1.0
    assert unbounded.overflowing == 0.0
    assert small.overflowing > 0.3
    assert small.recall_by_events < 0.8
    assert small.recall_overflowing is not None
    assert small.recall_overflowing <= small.recall < 0.9
