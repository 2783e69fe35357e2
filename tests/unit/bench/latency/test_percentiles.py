"""Percentiles: right where they are given, refused where they would be luck or hide failures."""

from __future__ import annotations

import pytest
from hdrh.histogram import HdrHistogram

from headwater.bench.latency.percentiles import latencies

MS = 1_000_000


def test_percentiles_are_those_of_the_sorted_values() -> None:
    found = latencies([i * MS for i in range(1, 10_001)])
    assert found.refused == {}
    for name, wanted in {"p50": 5_000, "p90": 9_000, "p99": 9_900, "p99.9": 9_990}.items():
        assert found.ms[name] == pytest.approx(wanted, rel=2e-3)
    assert found.max_ms == pytest.approx(10_000, rel=2e-3)
    assert found.count == 10_000


@pytest.mark.parametrize(
    ("count", "given"),
    [
        (19, []),
        (20, ["p50"]),
        (99, ["p50"]),
        (100, ["p50", "p90"]),
        (999, ["p50", "p90"]),
        (1000, ["p50", "p90", "p99"]),
    ],
)
def test_too_few_samples_are_refused(count: int, given: list[str]) -> None:
    found = latencies([MS] * count)
    assert [name for name, value in found.ms.items() if value is not None] == given
    assert set(found.refused) == set(found.ms) - set(given)
    assert all("needed: measure longer" in why for why in found.refused.values())


def test_failures_count_as_slower_than_every_answer() -> None:
    healthy = latencies([i * MS for i in range(1, 1001)])
    failing = latencies([i * MS for i in range(1, 901)], failed=100)
    # The slowest tenth failed: the percentiles below it are the same, those above it are not given.
    assert failing.ms["p50"] == healthy.ms["p50"]
    assert failing.ms["p90"] == healthy.ms["p90"]
    assert failing.ms["p99"] is None
    assert "100 of 1,000 requests have no answer" in failing.refused["p99"]
    assert failing.max_ms is None


def test_nothing_answered_gives_nothing() -> None:
    found = latencies([], failed=5000)
    assert set(found.ms.values()) == {None}
    assert found.count == 5000
    assert found.mean_ms is None


def test_histograms_of_runs_add_up() -> None:
    runs = [latencies([MS] * 30), latencies([3 * MS] * 10)]
    whole = HdrHistogram.decode(runs[0].histogram)
    whole.add(HdrHistogram.decode(runs[1].histogram))
    assert whole.get_total_count() == 40
    assert whole.get_value_at_percentile(90) == pytest.approx(3 * MS, rel=2e-3)
