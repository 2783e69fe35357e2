"""What raises and lowers a fused score, by which factor exactly; and the features of every candidate."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater import Engine, Slate
from headwater.scenario import Boost, Scenario
from headwater.served_slates import find_record
from reference.cooccurrence import DAY
from reference.random_shops import MINUTE, START, config_with, views

NOW = START + DAY


def knobs(**more: Any) -> Scenario:
    return Scenario(sources={"popular": 1.0}, rrf_k=60.0, touched_factor=1.0, dislike_factor=1.0, **more)


def scored(scenario: Scenario) -> tuple[Engine, Slate]:
    """Five items a to e, the first the most popular and the oldest."""
    engine = Engine.open(":memory:", config=config_with(scenario), threads=1)
    for age, item in enumerate("edcba"):
        engine.put_item(
            item, labels={"brand": "x" if item in "ab" else "y"}, categories=[item, "all"], timestamp=NOW - age * DAY
        )
    for place, item in enumerate("abcde"):
        for n in range(9 - place):
            engine.track("view", user=f"u{n}", item=item, ts=NOW - place * MINUTE)
    return engine, engine.recommend("stranger", 5, scenario="s", now=NOW, record=False)


def check_products(slate: Slate) -> None:
    """Every score is the fused one times all factors, and so is every share."""
    for r in slate:
        product = 1.0
        for _, factor in r.factors:
            product *= factor
        fused = sum(1.0 / (60.0 + part.rank) for part in r.parts)
        assert r.score == pytest.approx(fused * product, rel=1e-12)
        assert sum(part.share for part in r.parts) == pytest.approx(r.score, rel=1e-12)


def test_freshness_raises_by_half_lives() -> None:
    engine, slate = scored(knobs(freshness=2.0, freshness_half_life_days=1.0))
    engine.close()
    check_products(slate)
    assert {r.item: dict(r.factors)["freshness"] for r in slate} == pytest.approx(
        {item: 1 + 2 * 0.5**age for age, item in enumerate("edcba")}
    )
    assert slate.item_ids == list("edcba")


def test_popularity_debias_divides_by_a_power_of_votes() -> None:
    engine, slate = scored(knobs(popularity_debias=0.5))
    engine.close()
    check_products(slate)
    assert {r.item: dict(r.factors)["popularity"] for r in slate} == pytest.approx(
        {item: (1 + votes) ** -0.5 for item, votes in zip("abcde", (9, 8, 7, 6, 5), strict=True)}, rel=0.01
    )
    assert slate.item_ids == list("edcba")


def test_boosts_multiply_and_are_named_by_their_filter() -> None:
    boosts = (
        Boost(filter="brand == 'y'", factor=3.0),
        Boost(filter="'all' in categories", factor=0.5),
        Boost(filter="item in ['d', 'e']", factor=3.0),
        Boost(filter="item == 'a'", factor=0.0),
    )
    engine, slate = scored(knobs(boosts=boosts))
    engine.close()
    check_products(slate)
    assert slate.item_ids == list("decb")
    assert slate[0].factors == [
        ("boost: brand == 'y'", 3.0),
        ("boost: 'all' in categories", 0.5),
        ("boost: item in ['d', 'e']", 3.0),
    ]
    assert slate[3].factors == [("boost: 'all' in categories", 0.5)]


def test_touches_and_dislikes_push_away() -> None:
    engine, _ = scored(msgspec.structs.replace(knobs(), touched_factor=0.25, dislike_factor=0.5))
    with engine:
        engine.put_item("twin", categories=["a", "all"], labels={"brand": "x"}, timestamp=NOW)
        engine.put_item("far", categories=["other"], timestamp=NOW)
        views(engine, "bob", ["twin", "far"], NOW)
        engine.track("view", user="ann", item="b", ts=NOW)
        engine.track("dislike", user="ann", item="a", ts=NOW + MINUTE)
        slate = engine.recommend("ann", 10, scenario="s", now=NOW + 2 * MINUTE, record=False)
        assert "touched before: score x 0.25" in engine.explain(slate, "b").rules
        assert "like a rejected item: score x 0.5" in engine.explain(slate, "twin").rules
    check_products(slate)
    assert "a" not in slate.item_ids
    factors = {r.item: dict(r.factors) for r in slate}
    assert factors["twin"] == {"like a rejected item": pytest.approx(0.5)}, "all the tags of a"
    assert factors["far"] == {}
    assert factors["c"]["like a rejected item"] == pytest.approx(1 - 0.5 / 5)
    assert factors["b"]["touched before"] == 0.25


def test_a_factor_of_nothing_leaves_out() -> None:
    engine, _ = scored(msgspec.structs.replace(knobs(), touched_factor=0.0))
    with engine:
        engine.track("view", user="ann", item="b", ts=NOW)
        assert set(engine.recommend("ann", 10, scenario="s", now=NOW, record=False).item_ids) == set("acde")


def test_features_are_named_stable_and_cover_the_pool() -> None:
    engine, _ = scored(Scenario(sources={"popular": 1.0, "trending": 0.5}, freshness=1.0))
    with engine:
        slates = [
            engine.recommend(user, n, scenario="s", features=True, now=NOW, record=False)
            for user, n in (("ann", 2), ("u0", 3), ("stranger", 5))
        ]
        for slate in slates:
            assert slate.feature_names == slates[0].feature_names
            assert len(slate.candidates) == slate.exploring.pool == 5
            assert {len(row) for row in slate.candidates.values()} == {len(slate.feature_names)}
            for r in slate:
                row = dict(zip(slate.feature_names, slate.candidates[r.item], strict=True))
                assert row["score"] == r.score
                assert {f"rank:{p.source}": 1 / p.rank for p in r.parts}.items() <= row.items()
                assert {f"raw:{p.source}": p.raw for p in r.parts}.items() <= row.items()
                assert row["age_days"] == "edcba".index(r.item)
        assert engine.recommend("ann", 2, scenario="s", now=NOW, record=False).candidates == {}


def test_features_have_the_same_names_when_the_catalogue_fills_in() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": item} for item in "abc"])
        views(engine, "bob", "ab")
        names = [engine.recommend("ann", n, features=True, now=NOW, record=False).feature_names for n in (1, 2, 3, 10)]
        assert names[1:] == names[:-1]


def test_a_slate_whose_features_are_too_many_for_its_record_is_recorded_without() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_items([{"item": f"i{n}"} for n in range(600)])
        slate = engine.recommend("ann", 500, features=True)
        engine.flush()
        record = find_record(slate.id, engine.log)
        assert record is not None
        assert record.extra == {"kind": "recommend"}
        assert len(record.items) == 500
        assert slate.degraded == ["features not recorded: more than 65,536 bytes"]


def test_features_of_the_slots_are_in_the_record() -> None:
    engine, _ = scored(knobs())
    with engine:
        slate = engine.recommend("ann", 3, scenario="s", features=True, now=NOW, context={"page": "home"})
        engine.flush()
        record = find_record(slate.id, engine.log)
        assert record is not None
        assert record.extra is not None
        assert record.extra["feature_names"] == slate.feature_names
        assert record.extra["features"] == [slate.candidates[item] for item in slate.item_ids]
        assert record.extra["context"] == {"page": "home"}
