"""Consumed items are never shown before their time is over, however many they are."""

import msgspec
import pytest

from headwater import Engine
from headwater.config import Config, default_config
from headwater.events.types import Feedback
from headwater.scenario import Scenario

START = 1_750_000_000_000
DAY = 86_400_000
ITEMS = [f"i{n:04}" for n in range(1300)]


def shop(**query: object) -> Config:
    config = default_config("shop")
    query = {"touched_factor": 1.0, "slate_pool": 1000, "pool": 1000, **query}
    return msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, **query))


def bought(engine: Engine, items: list[str], start: int = START, step: int = 60_000) -> int:
    events = [Feedback("purchase", "ann", item, start + n * step) for n, item in enumerate(items)]
    engine.track_many(events)
    return events[-1].ts


@pytest.mark.parametrize("expiry", [30.0, None])
def test_a_thousand_consumed_items_are_not_shown(expiry: float | None) -> None:
    with Engine.open(":memory:", config=shop(consumed_expiry_days=expiry)) as engine:
        engine.put_items([{"item": item} for item in ITEMS])
        for n in range(40):  # others make all of them known to the sources
            engine.track_many([Feedback("view", f"u{n}", item, START) for item in ITEMS[n::40]])
        now = bought(engine, ITEMS[:1000])
        gone = set(ITEMS[:1000])
        for slate in (
            engine.recommend("ann", 300, now=now, record=False),
            engine.rank("ann", ITEMS[::2], now=now, record=False),
            engine.recommend("ann", 1000, scenario=None, now=now, exploration=0.0, record=False),
        ):
            assert not gone & set(slate.item_ids)
            # A filter that remembers a thousand takes a few for what it remembers.
            assert len(slate) > 0.8 * min(slate.n, 150 if slate.kind == "rank" else 300)
            assert slate.notes == []
        assert "consumed" in engine.explain(slate, ITEMS[0]).text
        frame = engine.recommend_many(["ann", "bob"], 300, now=now)
        assert not gone & set(frame.filter(frame["user"] == "ann")["item"])


def test_they_come_back_once_their_time_and_their_generation_are_over() -> None:
    with Engine.open(":memory:", config=shop(consumed_expiry_days=30.0)) as engine:
        engine.put_items([{"item": item} for item in ITEMS[:400]])
        now = bought(engine, ITEMS[:400])
        listed = {"record": False}
        assert engine.rank("ann", ITEMS[:400], now=now + 29 * DAY, **listed).item_ids == []
        # The exact ones at their time, the others once nothing in the filter's generation can be younger.
        back = engine.rank("ann", ITEMS[:400], now=now + 31 * DAY, **listed)
        assert len(set(back.item_ids) & set(ITEMS[272:400])) > 120
        generation = int(engine.config.generation.seen_generation_days * DAY)
        end = (now // generation + 1) * generation
        assert len(engine.rank("ann", ITEMS[:400], now=end + 30 * DAY, **listed)) == 400


def test_an_item_of_its_own_expiry_keeps_it_beyond_the_exact_list() -> None:
    config = shop(consumed_expiry_days=1.0, consumed_expiry_label="back_after")
    with Engine.open(":memory:", config=config) as engine:
        puts = [{"item": item, "labels": {"back_after": 3000}} for item in ITEMS[:20]]
        engine.put_items([*puts, *({"item": item} for item in ITEMS[20:300])])
        now = bought(engine, ITEMS[:300])
        shown = engine.rank("ann", ITEMS[:300], now=now + 400 * DAY, record=False)
        assert set(shown.item_ids) == set(ITEMS[20:300])


def test_what_may_be_forgotten_is_told() -> None:
    config = shop(consumed_expiry_days=None)
    items = [f"i{n}" for n in range(2400)]
    with Engine.open(":memory:", config=config) as engine:
        engine.put_items([{"item": item} for item in items])
        now = bought(engine, items, step=1000)
        slate = engine.rank("ann", items[-1000:], now=now, record=False)
        assert slate.item_ids == []
        assert any("consumed more than 1152" in note for note in slate.notes), slate.notes
        engine.track_many([Feedback("hide", "bob", item, now) for item in items[:130]])
        slate = engine.rank("bob", items[:200], now=now, record=False)
        assert not set(slate.item_ids) & set(items[2:130])
        assert any("rejected" in note for note in slate.notes), slate.notes


def test_scenarios_that_show_consumed_items_do_so() -> None:
    scenario = Scenario(exclude_consumed=False, sources={"popular": 1.0}, touched_factor=1.0)
    config = default_config("shop")
    config = msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, scenarios={"again": scenario}))
    with Engine.open(":memory:", config=config) as engine:
        engine.put_items([{"item": item} for item in ITEMS[:200]])
        now = bought(engine, ITEMS[:200])
        assert len(engine.rank("ann", ITEMS[:200], scenario="again", now=now, record=False)) == 200
