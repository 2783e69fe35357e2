"""A shop that explores: what its log says of another policy, against what is true of it and what obp says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from headwater.events.memory_log import MemoryLog
from headwater.learning import join
from headwater.learning.estimators import Estimate, Interval, ips, rips, sips, snips
from parity.obp_input import digest, exported_table, obp_input, target_of
from reference.exploring_shop import CLICK, LOGGED, REWARDS, WANTED, chance, true_values, write_visits

GOLDEN = json.loads((Path(__file__).parents[2] / "parity" / "golden" / "obp.json").read_text())
ESTIMATORS: dict[str, Callable[..., Estimate]] = {"ips": ips, "snips": snips, "rips": rips, "sips": sips}
SEEDS = range(60)
LEAST, MOST = 51, 60
"""Of 60 intervals at 95 %: fewer than 51 hold the truth in one of 1,300 sets of seeds, if they are right."""


def tables() -> Iterator[pl.DataFrame]:
    for seed in SEEDS:
        log = MemoryLog()
        write_visits(log, seed)
        yield join(log, REWARDS).table


def truth(name: str) -> float:
    values = true_values(WANTED)
    return values.top if name in ("ips", "snips") else values.slate


def test_the_shop_is_a_distribution_over_slates() -> None:
    for segment, weights in LOGGED.items():
        assert set(weights) == set(CLICK[segment])
        for above in ([], ["boots"], ["boots", "fan"]):
            assert sum(chance(weights, above, item) for item in weights) == pytest.approx(1)
    assert true_values(WANTED).slate > 1.15 * true_values(LOGGED).slate, "there is something to find"


def test_intervals_hold_the_true_value_as_often_as_they_say() -> None:
    held: Counter[str] = Counter()
    near: Counter[str] = Counter()
    values: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    errors: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    widths: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    missed_by_ignoring: int = 0
    for table in tables():
        target = target_of(table)
        for name, estimator in ESTIMATORS.items():
            estimate = estimator(table, target, interval=Interval(resamples=500))
            held[name] += estimate.low <= truth(name) <= estimate.high
            near[name] += abs(estimate.value - truth(name)) <= 1.96 * estimate.standard_error
            values[name].append(estimate.value)
            errors[name].append(estimate.standard_error)
            widths[name].append((estimate.high - estimate.low) / (2 * 1.96 * estimate.standard_error))
        as_logged = rips(table, table["propensity"], interval=Interval(resamples=500))
        missed_by_ignoring += not as_logged.low <= truth("rips") <= as_logged.high
    for name in ESTIMATORS:
        assert LEAST <= held[name] <= MOST, (name, held)
        assert LEAST <= near[name] <= MOST, (name, near)
        mean, spread = pl.Series(values[name]).mean(), pl.Series(values[name]).std()
        assert isinstance(mean, float)
        assert isinstance(spread, float)
        assert abs(mean - truth(name)) < 3.3 * spread / len(SEEDS) ** 0.5, "no bias that 60 logs could show"
        assert sum(errors[name]) / len(SEEDS) == pytest.approx(spread, rel=0.35), "errors are as large as they say"
        assert sum(widths[name]) / len(SEEDS) == pytest.approx(1, abs=0.1), "bootstrap and linearised error agree"
    assert missed_by_ignoring > 40, "an estimate that does not ask which policy it is would not pass"


def test_obp_says_the_same_of_the_exported_log(tmp_path: Path) -> None:
    table = exported_table(tmp_path)
    assert digest(obp_input(table)) == GOLDEN["input"], "another log: see tests/parity/make_obp_golden.py"
    target = target_of(table)
    for name, estimator in ESTIMATORS.items():
        assert abs(estimator(table, target).value - GOLDEN["values"][name]) < 1e-9, name
