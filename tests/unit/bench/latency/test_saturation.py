"""The highest rate that is kept up with is found, by simulated queues whose capacity is known."""

from __future__ import annotations

import numpy as np
import pytest

from headwater.bench.latency.records import ANSWERED, NOT_SENT, Records, TurnRows
from headwater.bench.latency.saturation import Tried, find_saturation, judged
from headwater.bench.latency.schedule import Turn, schedule

SECONDS = 3.0


def served(rate: float, capacity: float, lost: float = 0.0) -> TurnRows:
    """A turn of one server that answers first come, first served, each in 1/capacity."""
    plan = schedule(Turn(rate=rate, seconds=SECONDS, seed=1, mix={"recommend": 1.0}))
    records = Records.create()
    rows = records.take(len(plan))
    records.close()
    free = 0
    for i, due in enumerate(plan.due_ns.tolist()):
        free = max(free, due) + int(1e9 / capacity)
        rows[i] = (0, due, free, 1, ANSWERED)
    rows["outcome"][: int(lost * len(rows))] = NOT_SENT
    return TurnRows(0, int(rows["ended"].max()), SECONDS, 0.0, plan.due_ns, plan.verb, rows)


@pytest.mark.parametrize("capacity", [37.0, 900.0, 2500.0])
@pytest.mark.parametrize("start", [50.0, 1000.0])
def test_the_capacity_is_found(capacity: float, start: float) -> None:
    found = find_saturation(start, lambda rate: judged(rate, served(rate, capacity), False), SECONDS)
    assert 0.7 * capacity < found.rate < 1.05 * capacity
    assert not found.by_generator
    assert len(found.tried) < 24


def test_failures_are_not_keeping_up() -> None:
    assert judged(10, served(100, 1000), False).kept_up
    assert not judged(10, served(100, 1000, lost=0.05), False).kept_up


def test_a_generator_that_gives_out_is_named() -> None:
    def turn_at(rate: float) -> Tried:
        return judged(rate, served(rate, 500), generator=rate > 500)

    assert find_saturation(100, turn_at, SECONDS).by_generator


def test_a_target_that_never_keeps_up_has_no_rate() -> None:
    found = find_saturation(100, lambda rate: judged(rate, served(rate, 1000, lost=0.5), False), SECONDS)
    assert found.rate == 0
    assert np.all([not tried.kept_up for tried in found.tried])
