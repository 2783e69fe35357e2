"""Each candidate source alone: what it names, in which order, with which reasons; what stands in for them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater import Config, Engine, Slate, default_config
from headwater.config import Segments
from headwater.scenario import Scenario
from reference.cooccurrence import DAY
from reference.random_shops import MINUTE, START, config_with, views

NOW = START + DAY


def only(engine: Engine, source: str) -> dict[str, float]:
    """Weights that leave one source."""
    return dict.fromkeys(engine.config.query.sources, 0.0) | {source: 1.0}


def asked(engine: Engine, user: str, source: str, n: int = 10, **more: Any) -> Slate:
    return engine.recommend(user, n, sources=only(engine, source), **{"now": NOW, "record": False} | more)


def by(slate: Slate, source: str) -> list[str]:
    """Items that a source named, in order."""
    return [r.item for r in slate if any(part.source == source for part in r.parts)]


def test_repeats_are_what_was_touched_in_this_session_newest_first() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        views(engine, "ann", "xy", START - DAY)
        views(engine, "ann", "abc", NOW)
        slate = asked(engine, "ann", "repeats", now=NOW + 5 * MINUTE)
        assert by(slate, "repeats") == ["c", "b", "a"]
        assert slate[0].reason.startswith("you looked at it in this session (your view, event ")
        assert [r.source for r in slate[3:]] == ["catalogue", "catalogue"]
        came_with = engine.session(["a", "b"], 5, sources=only(engine, "repeats"), now=NOW)
        assert by(came_with, "repeats") == ["b", "a"]
        assert not {"a", "b"} & set(engine.session(["a", "b"], 5, now=NOW).item_ids)


def test_trending_in_tags_is_trending_among_the_visitors_own_tags() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": f"lamp{n}", "categories": ["lamps"]} for n in range(4)])
        engine.put_items([{"item": f"shoe{n}", "categories": ["shoes"]} for n in range(4)])
        for n in range(4):
            for voter in range(6 - n):
                views(engine, f"v{voter}", [f"lamp{n}", f"shoe{n}"], NOW - 5 * MINUTE)
        views(engine, "ann", ["lamp3"], NOW)
        slate = asked(engine, "ann", "trending-in-tags")
        named = by(slate, "trending-in-tags")
        assert [item for item in named if item != "lamp3"] == ["lamp0", "lamp1", "lamp2"]
        assert "trending among what you like" in slate[0].reason
        assert by(asked(engine, "stranger", "trending-in-tags"), "trending-in-tags") == []


def fresh_config(**more: Any) -> Config:
    return config_with(Scenario(sources={"fresh": 1.0}, fresh_days=10.0, fresh_budget=2, **more))


def test_fresh_items_are_young_and_newest_first() -> None:
    ages = {"today": 0, "day": 1, "nine": 9, "ten": 10, "old": 11, "tomorrow": -1}
    with Engine.open(":memory:", config=fresh_config(), threads=1) as engine:
        engine.put_items([{"item": item, "timestamp": NOW - age * DAY} for item, age in ages.items()])
        engine.put_item("hidden", timestamp=NOW, is_hidden=True)
        slate = engine.recommend("ann", 10, scenario="s", now=NOW, record=False)
        assert by(slate, "fresh") == ["today", "day", "nine", "ten"]
        assert [part.raw for r in slate for part in r.parts if part.source == "fresh"] == pytest.approx(
            [1, 1 / 2, 1 / 10, 1 / 11]
        )
        assert slate[0].reason == "new, shown 0 times so far"


def test_fresh_items_stop_at_their_budget_of_recorded_slates() -> None:
    with Engine.open(":memory:", config=fresh_config(), threads=1) as engine:
        engine.put_items([{"item": "a", "timestamp": NOW}, {"item": "b", "timestamp": NOW - DAY}])
        for served in range(2):
            slate = engine.recommend("ann", 1, scenario="s", now=NOW)
            assert slate.item_ids == ["a"]
            assert slate[0].reason == f"new, shown {served} times so far"
            engine.flush()
            assert engine.item("a").served == served + 1
        for _ in range(3):
            unrecorded = engine.recommend("ann", 2, scenario="s", now=NOW, record=False)
            assert by(unrecorded, "fresh") == ["b"], "a has had its two"
        assert engine.item("b").served == 0
        assert unrecorded.item_ids == ["b", "a"], "without the source it is an item like any other"


def test_fresh_items_of_the_visitors_tags_come_first() -> None:
    with Engine.open(":memory:", config=fresh_config(), threads=1) as engine:
        engine.put_item("seen", categories=["lamps"], timestamp=START - 100 * DAY)
        engine.put_items(
            [{"item": f"{c}{n}", "categories": [c], "timestamp": NOW} for c in ("lamps", "shoes") for n in range(3)]
        )
        views(engine, "ann", ["seen"])
        named = by(engine.recommend("ann", 6, scenario="s", now=NOW, record=False), "fresh")
        assert [item[:5] for item in named] == ["lamps"] * 3 + ["shoes"] * 3


def segment_engine() -> Engine:
    config = default_config("shop")
    generation = msgspec.structs.replace(config.generation, segments=Segments(label="country", values=("fi", "se")))
    engine = Engine.open(":memory:", config=msgspec.structs.replace(config, generation=generation), threads=1)
    for country, items in (("fi", "abc"), ("se", "cde"), ("no", "xyz")):
        for n in range(4):
            engine.put_user(f"{country}{n}", labels={"country": country})
        for place, item in enumerate(items):
            for n in range(4 - place):
                engine.track("view", user=f"{country}{n}", item=item, ts=START + place * MINUTE)
    for country in ("fi", "se", "no"):
        engine.put_user(f"{country}-new", labels={"country": country})
    return engine


@pytest.mark.parametrize("source", ["popular-in-segment", "trending-in-segment"])
def test_votes_of_a_segment_are_seen_by_its_users_alone(source: str) -> None:
    with segment_engine() as engine:
        finns, swedes = (asked(engine, f"{c}-new", source, now=START + 5 * MINUTE) for c in ("fi", "se"))
        assert by(finns, source) == ["a", "b", "c"]
        assert by(swedes, source) == ["c", "d", "e"]
        assert "with visitors like you" in finns[0].reason
        if source == "popular-in-segment":
            assert [p.raw for r in finns for p in r.parts if p.source == source] == pytest.approx([4, 3, 2], rel=0.01)
        for nobody in ("no-new", "stranger"):
            assert by(asked(engine, nobody, source), source) == []
        engine.put_user("fi-new", labels={"country": "se"})
        assert by(asked(engine, "fi-new", source, now=START + 5 * MINUTE), source) == ["c", "d", "e"]


def test_rank_keeps_to_the_callers_list() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": item} for item in ["p", "q", "r", "s"]])
        engine.put_item("hidden", is_hidden=True)
        views(engine, "bob", "qr")
        views(engine, "cem", "qr")
        views(engine, "ann", "q", NOW)
        alone = engine.rank("ann", ["s", "p", "q"], sources=only(engine, "list"), now=NOW, record=False)
        assert [(p.source, p.rank) for r in alone for p in r.parts] == [("list", 1), ("list", 2), ("list", 3)]
        assert sorted(alone.item_ids) == ["p", "q", "s"]
        assert alone[0].reason == "place 1 of the list"
        slate = engine.rank("ann", ["s", "p", "r", "s", "ghost", "hidden"], now=NOW, record=False)
        assert slate.item_ids == ["r", "s", "p"], "what nobody knows keeps the caller's order"
        assert slate.n == 5
        assert "only 3 of 5 items can be shown" in (slate.fallback or "")
        assert engine.rank("ann", ["s", "r"], 1, now=NOW, record=False).item_ids == ["r"]


def test_what_no_source_knows_comes_after_the_rest_of_a_list() -> None:
    """However long the list: what some source knows is never behind what none does."""
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": f"u{n}"} for n in range(200)])
        for n in range(60):
            engine.track("view", user=f"v{n % 3}", item=f"k{n}", ts=START + n * MINUTE)
        listed = [f"u{n}" for n in range(200)] + [f"k{n}" for n in range(60)]
        slate = engine.rank("stranger", listed, now=START + 90 * DAY, record=False)
        assert {item[0] for item in slate.item_ids[:60]} == {"k"}
        assert slate.item_ids[60:] == [f"u{n}" for n in range(200)]


def test_a_catalogue_of_three_and_nothing_else() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": item, "timestamp": START + n} for n, item in enumerate("abc")])
        slate = engine.recommend("ann", 10, now=NOW, record=False)
        assert slate.item_ids == ["c", "b", "a"], "the youngest first"
        assert {r.source for r in slate} == {"catalogue"}
        assert slate[0].reason == "in the catalogue; nothing else is known of it"
        assert slate.fallback == (
            "unknown user: trending and popular items; 3 candidates of which nothing but the catalogue is known; "
            "only 3 of 10 items can be shown"
        )


def test_a_filter_that_leaves_items_nobody_voted_for() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": f"i{n}", "labels": {"price": n}} for n in range(6)])
        views(engine, "bob", ["i0", "i1", "i2"])
        slate = engine.recommend("ann", 10, filter="price >= 2", now=NOW, record=False)
        assert slate.item_ids[0] == "i2"
        assert set(slate.item_ids) == {"i2", "i3", "i4", "i5"}
        assert {r.source for r in slate[1:]} == {"catalogue"}
        none = engine.recommend("ann", 10, filter="price > 100", now=NOW, record=False)
        assert none.item_ids == []
        assert "only 0 of 10 items can be shown" in (none.fallback or "")
