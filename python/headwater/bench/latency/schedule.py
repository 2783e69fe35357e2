"""When each request is to be sent, and which: fixed before the first one goes out, equal for equal seeds.

The load is *open loop*: requests are due at times that do not depend on how earlier ones went, as with visitors who
know nothing of each other. A latency counts from the due time, so that a target which stalls pays for every request
that was due meanwhile (a closed loop would simply ask less: "coordinated omission").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.errors import InvalidInput

Arrivals = Literal["poisson", "constant"]

VERBS = ("recommend", "similar", "session", "trending", "track")
DEFAULT_MIX = {"recommend": 0.7, "similar": 0.1, "track": 0.2}
READING_MIX = {"recommend": 0.875, "similar": 0.125}
"""Of a target that is no copy: what it is told there stays."""
MOST_ARRIVALS = 4_000_000
"""Requests of one turn at most: what the records have room for."""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of load: `rate` requests a second for `seconds`, of verbs by their weights in `mix`."""

    rate: float
    seconds: float
    seed: int
    mix: dict[str, float]
    arrivals: Arrivals = "poisson"

    def key(self) -> tuple[int, int, int]:
        """What the turn's random numbers are seeded with."""
        return self.seed, round(self.rate * 1000), round(self.seconds * 1000)


class Schedule(NamedTuple):
    """Due times in nanoseconds after the start, ascending; per request its verb (of `VERBS`) and a number in [0, 1)
    that says who asks for what."""

    due_ns: NDArray[np.int64]
    verb: NDArray[np.uint8]
    draw: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.due_ns)


def schedule(turn: Turn) -> Schedule:
    """The requests of a turn. Poisson: independent exponential gaps, as many requests as fall into the time; constant:
    one every 1/rate. Raises `InvalidInput` for more than there is room for."""
    expected = turn.rate * turn.seconds
    if expected > MOST_ARRIVALS / 2:
        raise InvalidInput(
            f"{turn.rate:,.0f} requests/s for {turn.seconds:g} s: a turn may have {MOST_ARRIVALS // 2:,} at most; "
            "lower the rate or the duration, or take more turns",
            field="rate",
        )
    random = np.random.default_rng(turn.key())
    if turn.arrivals == "constant":
        due = np.arange(int(expected)) / turn.rate
    else:
        # Enough gaps to pass the end in all but astronomically rare draws; what lies beyond is cut off.
        gaps = random.exponential(1 / turn.rate, int(expected + 10 * expected**0.5 + 20))
        due = np.cumsum(gaps)
        due = due[due < turn.seconds]
    names = list(turn.mix)
    weights = np.array([turn.mix[name] for name in names])
    picked = np.searchsorted(np.cumsum(weights / weights.sum()), random.random(len(due)), side="right")
    numbers = np.array([VERBS.index(name) for name in names], np.uint8)
    verb = numbers[np.minimum(picked, len(names) - 1)]
    return Schedule((due * 1e9).astype(np.int64), verb, random.random(len(due)))


def mix_of(text: str | None, default: Mapping[str, float]) -> dict[str, float]:
    """`recommend=0.7,track=0.3` as a mapping whose weights sum to 1. Raises `InvalidInput`."""
    if text is None:
        return dict(default)
    rule = f"verb=weight, separated by commas; verbs: {', '.join(VERBS)}; weights above 0, in all above 0"
    mix: dict[str, float] = {}
    for part in text.split(","):
        verb, _, weight = part.strip().partition("=")
        try:
            value = float(weight)
        except ValueError:
            value = -1.0
        if verb not in VERBS or verb in mix or not 0 <= value < float("inf"):
            raise InvalidInput(f"mix: {part.strip()!r:.60}; allowed: {rule}", field="mix", value=part[:60], rule=rule)
        if value:
            mix[verb] = value
    total = sum(mix.values())
    if not total:
        raise InvalidInput(f"mix = {text!r:.60}; allowed: {rule}", field="mix", value=text[:60], rule=rule)
    return {verb: weight / total for verb, weight in mix.items()}


def rates_of(text: str) -> list[float]:
    """`200,500` as numbers, ascending. Raises `InvalidInput`."""
    rule = "requests a second, 0.1 to 1,000,000, separated by commas, each once"
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or len(set(rates)) < len(rates) or not all(0.1 <= rate <= 1e6 for rate in rates):
        raise InvalidInput(f"rate = {text!r:.60}; allowed: {rule}", field="rate", value=text[:60], rule=rule)
    return sorted(rates)
