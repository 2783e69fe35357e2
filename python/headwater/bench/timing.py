"""Timing that can be compared: subjects take turns, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")
Timed = Callable[[], float]
"""Does the work once; the seconds it took."""


def clocked(work: Callable[[], object], times: int = 1) -> Timed:
    """Time of one of `times` calls in a row: more than one for work that is short beside the clock's own cost."""

    def run() -> float:
        started = time.perf_counter()
        for _ in range(times):
            work()
        return (time.perf_counter() - started) / times

    return run


def clocked_fresh(setup: Callable[[], T], work: Callable[[T], object]) -> Timed:
    """Time of one call on something made anew, without the making."""

    def run() -> float:
        fresh = setup()
        started = time.perf_counter()
        work(fresh)
        return time.perf_counter() - started

    return run


def interleaved(subjects: Mapping[str, Timed], runs: int, warm_up: int = 1, lead: int = 0) -> dict[str, list[float]]:
    """Seconds of every run of every subject: each once, then each again, after `warm_up` rounds that do not count.

    With `lead`, each turn begins with so many calls that do not count: whoever went before has filled the caches with
    its own data, and a service that asks again and again would not find them so.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(warm_up + runs):
        for name, timed in subjects.items():
            for _ in range(lead):
                timed()
            took = timed()
            if turn >= warm_up:
                seconds[name].append(took)
    return seconds
