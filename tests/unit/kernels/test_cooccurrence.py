"""Co-occurrence counts against plain Python: exact while rows are wide enough, bounded beyond."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import InvalidArray
from headwater.kernels import CooccurrenceCounts
from headwater.kernels.cooccurrence import METRICS

Units = Sequence[Sequence[int]]


def csr(units: Units) -> tuple[Any, Any]:
    offsets = np.concatenate([[0], np.cumsum([len(unit) for unit in units])]).astype(np.int64)
    return offsets, np.array([item for unit in units for item in unit], np.uint32)


def counted(units: Units, **bounds: int) -> CooccurrenceCounts:
    counts = CooccurrenceCounts(**bounds)
    counts.add_units(*csr(units))
    return counts


@dataclass
class Reference:
    """Exact counts."""

    window: int
    unit_cap: int = 256
    pair: Counter[tuple[int, int]] = field(default_factory=Counter)
    units: Counter[int] = field(default_factory=Counter)

    def add(self, units: Units) -> Reference:
        for unit in units:
            seen: list[int] = []
            for item in unit:
                if item in seen:
                    continue
                if len(seen) == self.unit_cap:
                    seen = []
                for other in seen[-self.window :]:
                    self.pair[item, other] += 1
                    self.pair[other, item] += 1
                self.units[item] += 1
                seen.append(item)
        return self

    def score(self, i: int, j: int, metric: str, shrinkage: float) -> float:
        c, total = self.pair[i, j], self.pair.total()
        if c == 0:
            return 0.0
        out = sum(n for (a, _), n in self.pair.items() if a == i)
        into = sum(n for (_, b), n in self.pair.items() if b == j)
        table = np.array([[c, out - c], [into - c, total - out - into + c]])
        units_i, units_j = max(self.units[i], c), max(self.units[j], c)
        if metric == "cosine":
            value = c / math.sqrt(units_i * units_j)
        elif metric == "jaccard":
            value = c / (units_i + units_j - c)
        elif metric == "conditional":
            value = c / units_i
        elif metric == "lift":
            value = c * total / (out * into)
        elif metric == "pmi":
            value = math.log(c * total / (out * into))
        elif metric == "phi":
            spread = math.sqrt(out * into * (total - out) * (total - into))
            value = (total * c - out * into) / spread if spread > 0 else 0.0
        else:
            expected = np.outer(table.sum(1), table.sum(0)) / total
            some = table > 0
            value = 2 * float((table[some] * np.log(table[some] / expected[some])).sum())
            value = max(value, 0.0) * (1 if c * total >= out * into else -1)
        return value * c / (c + shrinkage)

    def top(self, seeds: Sequence[int], weights: Sequence[float], metric: str, shrinkage: float) -> dict[int, float]:
        sums: dict[int, float] = {}
        for seed, weight in zip(seeds, weights, strict=True):
            for i, j in self.pair:
                if i == seed and j not in seeds:
                    sums[j] = sums.get(j, 0.0) + weight * self.score(i, j, metric, shrinkage)
        return sums


ITEMS = st.integers(0, 25)
UNITS = st.lists(st.lists(ITEMS, max_size=12), max_size=25)


@pytest.mark.parametrize("metric", METRICS)
@given(UNITS, st.lists(ITEMS, max_size=4), st.integers(1, 5), st.integers(2, 8), st.sampled_from([0.0, 3.0]))
def test_wide_rows_give_the_exact_measures(
    metric: Any, units: list[list[int]], seeds: list[int], window: int, unit_cap: int, shrinkage: float
) -> None:
    reference = Reference(window, unit_cap).add(units)
    counts = counted(units, capacity=64, window=window, unit_cap=unit_cap)
    weights = [1.0 + 0.5 * place for place in range(len(seeds))]
    items, scores = counts.top(
        np.array(seeds, np.uint32), 100, metric=metric, shrinkage=shrinkage, weights=np.array(weights)
    )
    expected = reference.top(seeds, weights, metric, shrinkage)
    found = dict(zip(items.tolist(), scores.tolist(), strict=True))
    for item in expected.keys() | found.keys():
        assert found.get(item, 0.0) == pytest.approx(max(expected.get(item, 0.0), 0.0), rel=1e-9, abs=1e-9)
    assert counts.pairs == len(reference.pair)
    assert counts.units == len(units)


def test_the_best_are_in_order_with_ties_by_number() -> None:
    rng = np.random.default_rng(3)
    units = [rng.integers(0, 900, rng.integers(2, 9)).tolist() for _ in range(6000)]
    counts = counted(units, capacity=500, window=12)
    seeds = np.array([5, 17, 300], np.uint32)
    items, scores = counts.top(seeds, 1000, metric="conditional")
    order = sorted(zip(scores.tolist(), items.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
    assert [item for _, item in order] == items.tolist()
    assert len(items) > len(set(scores.tolist())) > 10
    assert not set(items.tolist()) & {5, 17, 300}
    for k in (0, 1, 10, 31, 200):
        fewer, sums = counts.top(seeds, k, metric="conditional")
        assert fewer.tolist() == items[:k].tolist()
        assert sums.tolist() == scores[:k].tolist()
        assert (fewer.dtype, sums.dtype) == (np.uint32, np.float64)


def test_many_calls_count_like_one() -> None:
    rng = np.random.default_rng(4)
    units = [rng.integers(0, 300, 10).tolist() for _ in range(2000)]
    whole, parts = counted(units), CooccurrenceCounts()
    for start in range(0, len(units), 170):
        parts.add_units(*csr(units[start : start + 170]))
    for seed in range(0, 300, 30):
        asked = np.array([seed], np.uint32)
        assert [a.tolist() for a in whole.top(asked, 50)] == [a.tolist() for a in parts.top(asked, 50)]


def test_full_rows_never_count_too_much_and_keep_the_frequent() -> None:
    rng = np.random.default_rng(5)
    # Item 0 meets ten frequent neighbours and 2,000 others; its row holds 32.
    others = rng.permutation(np.repeat(np.concatenate([np.tile(np.arange(1, 11), 150), np.arange(11, 2011)]), 2))
    units = [[0, int(other)] for other in others]
    counts, reference = counted(units, capacity=32), Reference(12).add(units)
    items, scores = counts.top(np.array([0], np.uint32), 100, metric="conditional")
    assert len(items) <= 32
    assert set(range(1, 11)) <= set(items[:10].tolist())
    for item, score in zip(items.tolist(), scores.tolist(), strict=True):
        assert score <= reference.score(0, item, "conditional", 0.0) + 1e-12


def test_strangers_and_emptiness_are_no_answer() -> None:
    counts = CooccurrenceCounts()
    asked = np.array([3, 2**32 - 1], np.uint32)
    assert [len(a) for a in counts.top(asked, 10)] == [0, 0]
    counts.add_units(np.array([0], np.int64), np.empty(0, np.uint32))
    counts.add_units(*csr([[], [7], [1, 1]]))
    assert (counts.units, counts.pairs) == (3, 0)
    assert [len(a) for a in counts.top(asked, 10)] == [0, 0]
    counts.add_units(*csr([[1, 2]]))
    assert [a.tolist() for a in counts.top(np.array([1, 99], np.uint32), 10**9)] == [[2], [1 / math.sqrt(2)]]
    assert counts.top(np.empty(0, np.uint32), 5)[0].shape == (0,)
    assert counts.nbytes > 0


GOOD = np.array([0, 2], np.int64), np.array([1, 2], np.uint32)


@pytest.mark.parametrize(
    ("offsets", "items", "field"),
    [
        ([0, 2], GOOD[1], "offsets"),
        (GOOD[0].astype(np.int32), GOOD[1], "offsets"),
        (np.array([[0, 2]]), GOOD[1], "offsets"),
        (np.arange(0, 4, dtype=np.int64)[::2], GOOD[1], "offsets"),
        (np.array([], np.int64), GOOD[1], "offsets"),
        (np.array([0, 1], np.int64), GOOD[1], "offsets"),
        (np.array([1, 2], np.int64), GOOD[1], "offsets"),
        (np.array([0, 3], np.int64), GOOD[1], "offsets"),
        (np.array([0, 5, 2], np.int64), GOOD[1], "offsets"),
        (np.array([0, -1, 2], np.int64), GOOD[1], "offsets"),
        (GOOD[0], np.array([1, 2]), "items"),
        (GOOD[0], np.array([1, 100], np.uint32), "items"),
        (GOOD[0], np.array([1, 2**32 - 1], np.uint32), "items"),
    ],
)
def test_other_units_are_refused_whole(offsets: Any, items: Any, field: str) -> None:
    counts = CooccurrenceCounts(max_items=100)
    with pytest.raises(InvalidArray) as refused:
        counts.add_units(offsets, items)
    assert refused.value.details["field"] == field
    assert (counts.units, counts.pairs) == (0, 0)


@pytest.mark.parametrize(("kernel", "add"), [("CooccurrenceCounts", "add_units"), ("SessionIndex", "add_sessions")])
def test_items_whose_tables_do_not_fit_into_memory_are_refused_whole(kernel: str, add: str) -> None:
    # In a process of its own, which may have 4 GB: the tables would take 70 GB and more.
    script = f"""
import resource
import numpy as np
from headwater.errors import InvalidArray
from headwater.kernels import {kernel}

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
kernel = {kernel}(max_items=2**31 - 1)
kernel.{add}(np.array([0, 2]), np.array([1, 2], np.uint32))
before = repr(kernel)
try:
    kernel.{add}(np.array([0, 2]), np.array([1, 2**31 - 2], np.uint32))
except InvalidArray as refused:
    assert refused.details["field"] == "items", refused.details
    assert repr(kernel) == before, repr(kernel)
    print(refused)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("items: item 2147483646 needs ")


def test_wrong_offsets_are_told_as_numbers() -> None:
    counts = CooccurrenceCounts()
    with pytest.raises(InvalidArray, match=r"^offsets: from 0 to 3; allowed: from 0 to the number of items, 2$"):
        counts.add_units(np.array([0, 3]), GOOD[1])
    with pytest.raises(InvalidArray, match="from nothing to nothing"):
        counts.add_units(np.array([], np.int64), GOOD[1])


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"seeds": [1]}, "seeds"),
        ({"seeds": np.array([1])}, "seeds"),
        ({"k": -1}, "k"),
        ({"k": 1.5}, "k"),
        ({"metric": "count"}, "metric"),
        ({"metric": None}, "metric"),
        ({"shrinkage": float("nan")}, "shrinkage"),
        ({"shrinkage": -1.0}, "shrinkage"),
        ({"weights": np.array([1.0, 2.0])}, "weights"),
        ({"weights": np.array([1.0], np.float32)}, "weights"),
        ({"weights": np.array([np.nan])}, "weights"),
        ({"weights": np.array([np.inf])}, "weights"),
    ],
)
def test_other_questions_are_refused(arguments: dict[str, Any], field: str) -> None:
    counts = counted([[1, 2]])
    with pytest.raises(InvalidArray) as refused:
        counts.top(**({"seeds": np.array([1], np.uint32), "k": 5} | arguments))
    assert refused.value.details["field"] == field


@pytest.mark.parametrize("bounds", [{"capacity": 0}, {"window": 0}, {"unit_cap": 0}, {"max_items": 2**31}])
def test_other_bounds_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(InvalidArray):
        CooccurrenceCounts(**bounds)
