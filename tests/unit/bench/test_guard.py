"""The regression guard: everything keeps its bound, and nothing does that takes five times as long."""

from __future__ import annotations

from headwater.bench.guard import run_guard
from headwater.bench.timing import Timed


def test_nothing_is_several_times_slower_than_it_should_be() -> None:
    assert [one for one in run_guard() if not one.kept] == []


def test_work_that_takes_five_times_as_long_is_caught() -> None:
    """Each kind of it. A floor that was disturbed can hide it once, hence three tries."""
    missed: set[str] = set()

    def five_times(work: str, timed: Timed) -> Timed:
        return lambda: sum(timed() for _ in range(5))

    for attempt in range(3):
        kept = {one.work for one in run_guard(slower=five_times, rounds=2, attempts=1) if one.kept}
        missed = kept if attempt == 0 else missed & kept
        if not missed:
            return
    assert missed == set()
