"""A small world that is known exactly: visitors of two segments, six items, slates of three slots.

The log is written by a policy that explores (Plackett-Luce: items are drawn one after another, without replacement, by
their weights), so its propensities are known. What another policy would earn is known too: all 120 slates are
enumerated. Draws are `random.Random`'s, whose stream does not change between Python versions.

A visitor looks at slots from the top, to a depth that does not depend on the items. A click at a slot depends on its
item and, a little, on the item right above it (of the same kind: less likely), so slots interact downwards only: what
RIPS assumes. A click is worth 1 and is followed by a purchase, worth 5, every fourth time.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from headwater.events.frame import FrameWriter
from headwater.events.log import EventLog
from headwater.events.subjects import subject_of
from headwater.events.types import Event, Feedback, Impression, SlateServed
from headwater.learning import Rewards

Policy = Mapping[str, Mapping[str, float]]
"""Segment -> item -> weight."""

START = 1_750_000_000_000
HOUR = 3_600_000
SLOTS = 3
PARTITIONS = 4
REWARDS = Rewards(values={"click": 1.0, "purchase": 5.0}, window_hours=24.0)

CLICK: Policy = {
    "north": {"boots": 0.50, "coat": 0.35, "scarf": 0.25, "shorts": 0.05, "cap": 0.10, "fan": 0.02},
    "south": {"boots": 0.08, "coat": 0.05, "scarf": 0.10, "shorts": 0.45, "cap": 0.30, "fan": 0.25},
}
"""Probability of a click at the top of a slate."""

KIND = {"boots": "worn", "coat": "worn", "scarf": "worn", "shorts": "worn", "cap": "worn", "fan": "tool"}
SAME_KIND = 0.7
LOOKS_AT = (1.0, 0.8, 0.5)
"""Probability that a visitor who looks at all looks down to this slot."""
PURCHASE, CLICK_WORTH, PURCHASE_WORTH = 0.25, 1.0, 5.0
NO_BEACON = 0.1
"""Share of slates whose impression never arrives, whatever came of them."""

LOGGED: Policy = {
    "north": {"boots": 2.0, "coat": 2.0, "scarf": 1.0, "shorts": 1.5, "cap": 1.0, "fan": 0.5},
    "south": {"boots": 1.5, "coat": 1.0, "scarf": 1.0, "shorts": 2.0, "cap": 1.0, "fan": 1.0},
}
WANTED: Policy = {
    "north": {"boots": 4.0, "coat": 2.5, "scarf": 1.5, "shorts": 0.7, "cap": 1.0, "fan": 0.3},
    "south": {"boots": 0.8, "coat": 0.6, "scarf": 1.0, "shorts": 4.0, "cap": 1.5, "fan": 1.2},
}


class TrueValues(NamedTuple):
    """What a policy earns: per slate, and at slot 0 alone."""

    slate: float
    top: float


def segment_of(user: str) -> str:
    """`north-17` is of the segment `north`."""
    return user.partition("-")[0]


def chance(weights: Mapping[str, float], above: Sequence[str], item: str) -> float:
    """Probability that Plackett-Luce puts the item below the items above."""
    return 0.0 if item in above else weights[item] / math.fsum(w for i, w in weights.items() if i not in above)


def click_chance(segment: str, above: Sequence[str], item: str) -> float:
    """Probability of a click by a visitor who looks at the slot."""
    fatigue = SAME_KIND if above and KIND[above[-1]] == KIND[item] else 1.0
    return CLICK[segment][item] * fatigue


def true_values(policy: Policy) -> TrueValues:
    """Exact expectations, half of the slates in each segment."""
    worth = CLICK_WORTH * (1 - PURCHASE) + PURCHASE_WORTH * PURCHASE
    slate_value = top_value = 0.0
    for segment, weights in policy.items():
        for items in itertools.permutations(weights, SLOTS):
            probability = 1.0
            earned = []
            for slot, item in enumerate(items):
                probability *= chance(weights, items[:slot], item)
                earned.append(LOOKS_AT[slot] * click_chance(segment, items[:slot], item) * worth)
            slate_value += probability * sum(earned) / len(policy)
            top_value += probability * earned[0] / len(policy)
    return TrueValues(slate_value, top_value)


def target_probabilities(policy: Policy, rows: Iterator[tuple[str, str, int, str]]) -> list[float]:
    """The policy's probability of each row's item, from (slate, user, slot, item) with slots from the top."""
    above: dict[str, list[str]] = {}
    out = []
    for slate, user, _, item in rows:
        shown = above.setdefault(slate, [])
        out.append(chance(policy[segment_of(user)], shown, item))
        shown.append(item)
    return out


class _Visit(NamedTuple):
    served: SlateServed
    later: list[Event]


def _visits(seed: int, users: int, slates_each: int, policy: Policy) -> Iterator[_Visit]:
    draw = random.Random(seed)
    for number in range(users * slates_each):
        user = f"{('north', 'south')[number % 2]}-{number % users}"
        yield _visit(draw, f"{seed}-{number}", user, START + number * 60_000, policy[segment_of(user)])


def _visit(draw: random.Random, slate: str, user: str, ts: int, weights: Mapping[str, float]) -> _Visit:
    shown: list[str] = []
    rows: list[tuple[str, float, str, float, float, bool]] = []
    cascade = 1.0
    for _ in range(SLOTS):
        left = [item for item in weights if item not in shown]
        item = draw.choices(left, [weights[i] for i in left])[0]
        propensity = chance(weights, shown, item)
        cascade *= propensity
        rows.append((item, weights[item], "explored", propensity, cascade, False))
        shown.append(item)
    served = SlateServed(slate, user, ts, {"user": user, "n": SLOTS}, None, "q1", "s1", [1], [], None, rows)
    depth, later = draw.random(), list[Event]()
    seen = [slot for slot in range(SLOTS) if depth < LOOKS_AT[slot]]
    if draw.random() >= NO_BEACON:
        later.append(Impression(user, slate, ts + 500, seen, f"seen-{slate}"))
    for slot in seen:
        if draw.random() < click_chance(segment_of(user), shown[:slot], shown[slot]):
            later.append(
                Feedback("click", user, shown[slot], ts + 900, None, f"c-{slate}-{slot}", slate=slate, slot=slot)
            )
            if draw.random() < PURCHASE:  # without its slot: found by the item
                later.append(Feedback("purchase", user, shown[slot], ts + HOUR, None, f"p-{slate}-{slot}", slate=slate))
    return _Visit(served, later)


def write_visits(
    log: EventLog,
    seed: int,
    *,
    users: int = 80,
    slates_each: int = 6,
    policy: Policy = LOGGED,
    partitions: int = PARTITIONS,
) -> None:
    """Append a shop's slates, impressions, clicks and purchases, every tenth of these twice, and a last event
    after which all windows are over."""
    writer = FrameWriter(f"exploring-shop-{seed}", 1)
    frames: list[bytes] = []
    draw = random.Random(f"order-{seed}")
    for served, later in _visits(seed, users, slates_each, policy):
        events = [served, *later, *(event for event in later if draw.random() < 0.1)]
        draw.shuffle(events)  # records are written behind the answer: clicks may come first
        for event in events:
            frames.extend(writer.pack(subject_of(event, partitions), [event], START + 400 * 24 * HOUR))
    end = Feedback("view", "north-0", "boots", START + users * slates_each * 60_000 + 48 * HOUR)
    frames.extend(writer.pack(subject_of(end, partitions), [end], START + 400 * 24 * HOUR))
    log.append(frames)
