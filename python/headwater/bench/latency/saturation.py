"""The highest rate that a target keeps up with, and what it does beyond it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from headwater.bench.latency.records import TurnRows, succeeded
from headwater.bench.latency.schedule import MOST_ARRIVALS

_BACKLOG_SHARE, _GROWTH = 0.01, 3.0
_FAILED_SHARE = 0.01
_LAST = 0.2
_PRECISION = 1.1
_MOST_STEPS = 24
_LEAST_REQUESTS = 30
"""Of a turn: with fewer nothing is to be seen, and the search ends without a rate."""


class Tried(msgspec.Struct, kw_only=True):
    """One rate that was tried: whether the target kept up, what it answered a second, how long (median) those took that
    were due in the last fifth, and whether it was the generator that did not keep up."""

    rate: float
    kept_up: bool
    answered_per_s: float
    last_ms: float | None
    failed: int
    generator: bool


class Saturation(msgspec.Struct, kw_only=True):
    """The highest rate that was kept up with, to within 10 %. `by_generator`: the generator gave out first, and the
    target may do more."""

    rate: float
    by_generator: bool
    tried: list[Tried]


def find_saturation(start: float, turn_at: Callable[[float], Tried], longest_s: float) -> Saturation:
    """Double the rate from `start` (or halve it) until one is kept up with and the next is not, then close in, and see
    whether the rate found is kept up with again.

    `turn_at` puts one turn of load, of `longest_s` seconds, on the target.
    """
    tried: list[Tried] = []

    def keeps_up(rate: float) -> bool:
        tried.append(turn_at(rate))
        return tried[-1].kept_up

    most, least = MOST_ARRIVALS / 2 / longest_s, _LEAST_REQUESTS / longest_s
    low, high = 0.0, start
    while high < most and len(tried) < _MOST_STEPS and keeps_up(high):
        low, high = high, high * 2
    if not low:
        low = high / 2
        while len(tried) < _MOST_STEPS and low >= least and not keeps_up(low):
            low, high = low / 2, low
    while low >= least and high / low > _PRECISION and len(tried) < _MOST_STEPS:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if keeps_up(middle) else (low, middle)
    # Once more: one lucky turn is no rate that is kept up with.
    while len(tried) < _MOST_STEPS and low >= least and not keeps_up(low):
        low /= _PRECISION
    kept = tried[-1].rate if tried[-1].kept_up else 0.0
    beyond = min((t for t in tried if not t.kept_up and t.rate > kept), key=lambda t: t.rate, default=None)
    return Saturation(rate=round(kept, 1), by_generator=beyond is not None and beyond.generator, tried=tried)


def judged(rate: float, turn: TurnRows, generator: bool) -> Tried:
    """Whether a turn was kept up with.

    Not if more than 1 % failed, or if those due in the last fifth took (median) three times as long as those of the
    first fifth and more than 1 % of the turn's time: a backlog that grows through the turn is longest there.
    """
    good = succeeded(turn.rows)
    took = turn.rows["ended"] - turn.started - turn.due_ns
    late_ones = good & (turn.due_ns >= (1 - _LAST) * turn.seconds * 1e9)
    early_ones = good & (turn.due_ns < _LAST * turn.seconds * 1e9)
    last = float(np.median(took[late_ones])) if late_ones.any() else None
    first = float(np.median(took[early_ones])) if early_ones.any() else 0.0
    failed = int(np.sum(~good))
    backlog = last is None or last > max(_GROWTH * first, _BACKLOG_SHARE * turn.seconds * 1e9)
    return Tried(
        rate=round(rate, 2),
        kept_up=not backlog and failed <= _FAILED_SHARE * len(turn.rows),
        answered_per_s=round(int(np.sum(good)) / turn.span_s, 1),
        last_ms=None if last is None else round(last / 1e6, 3),
        failed=failed,
        generator=generator,
    )
