"""Votes and what is made of them, in floating point: popularity, trending, tag affinities.

It mirrors the statements in `core_rs/src/neighbourhood/user.rs`, `items/shard.rs` and `sessions/affinity.rs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headwater.config import FoldConfig
from headwater.events.types import Feedback
from reference.cooccurrence import DAY, matches

HOUR = 3_600_000


def votes_of(events: Sequence[Feedback], config: FoldConfig) -> list[Feedback]:
    """One vote per user, item and UTC day; a late event of a day already passed for the item is none."""
    last_day: dict[tuple[str, str], int] = {}
    votes = []
    for event in events:
        if not any(matches(spec, event) for spec in config.votes):
            continue
        key, day = (event.user, event.item), event.ts // DAY
        if day > last_day.get(key, -1):
            votes.append(event)
        last_day[key] = max(day, last_day.get(key, -1))
    return votes


def decayed(times: Sequence[int], half_life_ms: float, now: int) -> float:
    """Sum of 2^((t - now) / half-life)."""
    return sum(math.exp2((ts - now) / half_life_ms) for ts in times)


def popularity(votes: Sequence[Feedback], config: FoldConfig, now: int) -> dict[str, float]:
    """Decayed votes of each item."""
    return {
        item: decayed([v.ts for v in votes if v.item == item], config.popularity_half_life_days * DAY, now)
        for item in {v.item for v in votes}
    }


def trending(votes: Sequence[Feedback], config: FoldConfig, now: int) -> dict[str, float]:
    """(short - expected) / sqrt(expected + prior) of each item."""
    rule = config.trending
    short_life, long_life = rule.short_half_life_hours * HOUR, rule.long_half_life_days * DAY
    scores = {}
    for item in {v.item for v in votes}:
        times = [v.ts for v in votes if v.item == item]
        expected = decayed(times, long_life, now) * short_life / long_life
        scores[item] = (decayed(times, short_life, now) - expected) / math.sqrt(expected + rule.prior)
    return scores


def affinities(
    events: Sequence[Feedback], categories: Mapping[str, Sequence[str]], config: FoldConfig, now: int
) -> dict[str, float]:
    """One user's tags: sum over events of the type's largest weight, decayed."""
    tastes: dict[str, float] = {}
    for event in events:
        weights = [w for spec, w in config.affinity_weights.items() if matches(spec, event)]
        for tag in categories.get(event.item, ()) if weights else ():
            worth = max(weights) * decayed([event.ts], config.affinity_half_life_days * DAY, now)
            tastes[tag] = tastes.get(tag, 0.0) + worth
    return tastes
