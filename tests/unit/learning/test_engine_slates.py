"""What the engine's own exploring slates say of another policy, where the truth is known.

Visitors come once and are strangers to the engine, and what they click counts for nothing there: so every slate is
drawn from the same candidates, and the value of any policy is a sum over them.
"""

from __future__ import annotations

from random import Random

import polars as pl
import pytest

from headwater import Engine
from headwater.config import config_from_table
from headwater.learning import join, rewards_of
from headwater.learning.estimators import Interval, ips, snips

ITEMS = [f"i{n}" for n in range(12)]
CLICKS = {item: (0.05, 0.5, 0.2)[n % 3] for n, item in enumerate(ITEMS)}
"""Chance that a visitor clicks the item where they see it."""
VISITORS = 1500
START = 1_700_000_000_000


def explored(seed: int) -> pl.DataFrame:
    """One row a slot of what strangers were shown and clicked."""
    config = config_from_table({"generation": {"votes": ["view"]}, "query": {"sources": {"popular": 1.0}}})
    random = Random(seed)
    with Engine.open(":memory:", config=config, clock="log") as engine:
        for n, item in enumerate(ITEMS):
            for fan in range(len(ITEMS) - n):
                engine.track("view", user=f"fan{fan}", item=item, ts=START + n)
        now = engine.now()
        for n in range(VISITORS):
            slate = engine.recommend(f"stranger{seed}-{n}", 3, exploration=0.6, now=now)
            engine.seen(slate, range(len(slate)), ts=now)
            for slot, shown in enumerate(slate):
                if random.random() < CLICKS[shown.item]:
                    engine.track("tap", user=slate.user or "", item=shown.item, ts=now, slate=slate.id, slot=slot)
        engine.flush()
        engine.track("view", user="fan0", item=ITEMS[0], ts=now + 2 * 86_400_000)
        rewards = rewards_of(engine.config.generation, {"tap": 1.0})
        return join(engine.log, rewards).table


@pytest.mark.parametrize("seed", [1, 2])
def test_another_policys_value_lies_in_the_interval(seed: int) -> None:
    table = explored(seed)
    wanted = {item: (3.0 if CLICKS[item] > 0.3 else 1.0) for item in ITEMS}
    total = sum(wanted.values())
    truth = sum(wanted[item] / total * CLICKS[item] for item in ITEMS)
    first = table.filter(pl.col("slot") == 0)
    target = first["item"].replace_strict(wanted, return_dtype=pl.Float64).to_numpy() / total
    for estimator in (ips, snips):
        estimate = estimator(first, target, interval=Interval(confidence=0.99, seed=3))
        assert estimate.low <= truth <= estimate.high, (estimator.__name__, estimate, truth)
        assert estimate.high - estimate.low < 0.5, "an interval that says something"
    logged = first["reward"].fill_null(0.0).mean()
    assert isinstance(logged, float)
    assert abs(logged - truth) > 0.02, "the two policies differ, or there was nothing to estimate"
