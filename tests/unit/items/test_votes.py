"""Popularity and trending against floating-point references, on random logs."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Feedback, default_config
from headwater.config import Config
from reference.cooccurrence import DAY
from reference.votes import HOUR, popularity, trending, votes_of

START = 19_000 * DAY
ITEMS = [f"i{n}" for n in range(5)]


def feedback() -> st.SearchStrategy[Feedback]:
    return st.builds(
        Feedback,
        type=st.sampled_from(["view", "purchase", "dislike", "wishlist"]),
        user=st.sampled_from(["ann", "bob", "cem", "dan"]),
        item=st.sampled_from(ITEMS),
        ts=st.integers(0, 6 * 24).map(lambda hour: START + hour * HOUR),
    )


def folded(events: list[Feedback], config: Config) -> Engine:
    engine = Engine.open(":memory:", config=config, threads=1)
    for event in events:
        engine.track_many([event])
    return engine


def no_rapid_rule() -> Config:
    config = default_config("shop")
    return msgspec.structs.replace(
        config, generation=msgspec.structs.replace(config.generation, rapid_repeat_seconds=0.0)
    )


def slack(events: list[Feedback]) -> float:
    """One unit of the fixed point per event and epoch."""
    return (len(events) + 8) / 256


@given(st.lists(feedback(), min_size=1, max_size=60), st.integers(0, 20))
def test_popularity_is_the_decayed_vote_count(events: list[Feedback], days_later: int) -> None:
    config = no_rapid_rule()
    now = START + (6 + days_later) * DAY
    expected = popularity(votes_of(events, config.generation), config.generation, now)
    sources = {name: float(name == "popular") for name in config.query.sources}
    with folded(events, config) as engine:
        slate = engine.recommend("nobody", 100, now=now, sources=sources, record=False)
    found = {r.item: part.raw for r in slate for part in r.parts if part.source == "popular"}
    assert found.keys() == expected.keys()
    for item, votes in found.items():
        assert votes == pytest.approx(expected[item], rel=0.01, abs=slack(events))
    assert {r.item for r in slate if r.source == "catalogue"} == {e.item for e in events} - expected.keys()


@given(st.lists(feedback(), min_size=1, max_size=60))
def test_trending_is_short_against_expected(events: list[Feedback]) -> None:
    config = no_rapid_rule()
    now = max(event.ts for event in events)
    expected = trending(votes_of(events, config.generation), config.generation, now)
    with folded(events, config) as engine:
        slate = engine.trending(n=100, now=now)
    near = slack(events)
    if slate.fallback is not None:
        assert all(score <= near for score in expected.values())
        return
    found = {r.item: r.score for r in slate}
    for item, score in expected.items():
        assert found.get(item, 0.0) == pytest.approx(max(score, 0.0), rel=0.01, abs=near)
    assert found.keys() <= expected.keys()
    assert list(found.values()) == sorted(found.values(), reverse=True)


def test_a_user_votes_once_per_item_and_day() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        for hour in range(20):
            engine.track("view", user="ann", item="fan", ts=START + hour * HOUR)
        for n in range(3):
            engine.track("view", user=f"u{n}", item="liked", ts=START + 19 * HOUR)
        slate = engine.trending(n=2, now=START + 20 * HOUR)
        assert slate.item_ids == ["liked", "fan"]
        engine.track("view", user="ann", item="fan", ts=START + 25 * HOUR)
        votes = engine.recommend(
            "nobody", 5, now=START + 25 * HOUR, sources={s: float(s == "popular") for s in engine.config.query.sources}
        )
        assert {r.item: round(r.parts[0].raw, 1) for r in votes} == {"liked": 3.0, "fan": 2.0}


def test_trending_is_not_popularity() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        for day in range(40):
            for n in range(6):
                engine.track("view", user=f"u{n}", item="evergreen", ts=START + day * DAY)
        now = START + 40 * DAY
        for n in range(6):
            engine.track("view", user=f"v{n}", item="launch", ts=now)
            engine.track("view", user=f"v{n}", item="evergreen", ts=now)
        assert engine.trending(n=2, now=now).item_ids[0] == "launch"
        popular = engine.recommend(
            "x", 2, now=now, sources={s: float(s == "popular") for s in engine.config.query.sources}
        )
        assert popular.item_ids == ["evergreen", "launch"]


def test_trending_of_a_category_is_the_same_formula_over_its_items() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_item("a", categories=["shoes"])
        engine.put_item("b", categories=["hats"])
        for n in range(4):
            engine.track("view", user=f"u{n}", item="a", ts=START)
            engine.track("view", user=f"u{n}", item="b", ts=START)
        engine.track("view", user="u9", item="b", ts=START)
        overall = {r.item: r.score for r in engine.trending(n=5, now=START)}
        shoes = engine.trending("shoes", 5, now=START)
        assert shoes.item_ids == ["a"]
        assert shoes[0].score == overall["a"]
        assert shoes.about == ["shoes"]
