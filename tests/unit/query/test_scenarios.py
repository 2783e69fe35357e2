"""Named scenarios, filters with their parameters, and what is refused with which place."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater import Engine, default_config
from headwater.errors import ConfigError, InvalidQuery
from headwater.scenario import Scenario
from reference.cooccurrence import DAY
from reference.random_shops import START, config_with, default_scenario, views

NOW = START + DAY


def test_a_scenario_answers_by_its_name() -> None:
    base = default_scenario()
    home = msgspec.structs.replace(base, filter="price < 3", sources={"popular": 1.0})
    with Engine.open(":memory:", config=config_with(home), threads=1) as engine:
        engine.put_items([{"item": f"i{n}", "labels": {"price": n}} for n in range(6)])
        views(engine, "bob", [f"i{n}" for n in range(6)])
        slate = engine.recommend("ann", 10, scenario="s", now=NOW, record=False)
        assert set(slate.item_ids) == {"i0", "i1", "i2"}
        assert slate.scenario == "s"
        assert {p.source for r in slate for p in r.parts} == {"popular"}
        assert len(engine.recommend("ann", 10, now=NOW, record=False)) == 6
        other = engine.recommend(
            "ann", 10, scenario="s", sources={"popular": 0.0, "trending": 1.0}, now=START, record=False
        )
        assert {p.source for r in other for p in r.parts} <= {"trending", "catalogue"}
        with pytest.raises(InvalidQuery, match=r'no scenario is named "nope"; allowed: s') as caught:
            engine.recommend("ann", scenario="nope")
        assert caught.value.details["field"] == "scenario"
        for answer in (engine.session(["i1"], 9, scenario="s"), engine.rank("ann", ["i5", "i1"], scenario="s")):
            assert set(answer.item_ids) <= {"i0", "i1", "i2"}


@pytest.mark.parametrize(
    ("filter", "at", "said"),
    [
        ("pric < 3", 0, 'did you mean "price"'),
        ("price < 'much'", 8, "is a text"),
        ("price <", 7, "ends where"),
        ("price < 3 and", 13, "ends where"),
        ("brand == 'é' and price ! 3", 23, "!"),
        ("price < 3)", 9, ")"),
    ],
)
def test_a_filter_that_is_wrong_is_refused_with_its_place(filter: str, at: int, said: str) -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_item("a", labels={"price": 3, "brand": "x"})
        ways = [
            lambda: engine.recommend("ann", filter=filter),
            lambda: engine.session(["a"], filter=filter),
            lambda: engine.rank("ann", ["a"], filter=filter),
            lambda: engine.recommend_many(["ann"], filter=filter),
        ]
        for way in ways:
            with pytest.raises(InvalidQuery) as caught:
                way()
            assert (caught.value.details["field"], caught.value.details["at"]) == ("filter", at)
            assert said in caught.value.message


def test_parameters_go_to_the_filters_that_name_them() -> None:
    home = Scenario(filter="price < $most and brand == $maker", sources={"popular": 1.0})
    with Engine.open(":memory:", config=config_with(home), threads=1) as engine:
        engine.put_items(
            [{"item": f"{b}{n}", "labels": {"price": n, "brand": b, "size": n % 2}} for n in range(6) for b in "xy"]
        )

        def ids(filter: str | None, **params: Any) -> set[str]:
            slate = engine.recommend("ann", 20, scenario="s", filter=filter, params=params, now=NOW, record=False)
            return set(slate.item_ids)

        assert ids(None, most=2, maker="x") == {"x0", "x1"}
        assert ids("size == $wanted", most=4, maker="y", wanted=1) == {"y1", "y3"}
        assert ids("price != $most and size == 0", most=3, maker="x") == {"x0", "x2"}
        assert ids("item in $only", most=6, maker="x", only=["x5", "y5", "x0"]) == {"x5", "x0"}
        with pytest.raises(InvalidQuery, match="maker"):
            ids(None, most=2)
        with pytest.raises(InvalidQuery, match="most"):
            ids("size == 0", maker="x")
        for filter in (None, "size == 0"):
            with pytest.raises(InvalidQuery, match="unused"):
                ids(filter, most=2, maker="x", unused=1)


def test_a_parameter_that_one_filter_alone_does_not_use_is_refused() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.put_item("a", labels={"price": 3})
        for filter in (None, "price < 4"):
            with pytest.raises(InvalidQuery, match="limit"):
                engine.recommend("ann", filter=filter, params={"limit": 3})
        with pytest.raises(InvalidQuery, match="params"):
            engine.recommend("ann", filter="price < $x", params={"x": None})  # type: ignore[dict-item]


def test_a_scenario_is_a_scenario() -> None:
    config = default_config("shop")
    query = msgspec.structs.replace(config.query, scenarios={"s": config.query})
    with pytest.raises(ConfigError, match=r"query\.scenarios\.s = 'a QueryConfig'; allowed: a Scenario"):
        Engine.open(":memory:", config=msgspec.structs.replace(config, query=query))


def test_a_filter_of_the_configuration_is_read_when_it_is_opened() -> None:
    with pytest.raises(ConfigError, match="price <"):
        Engine.open(":memory:", config=config_with(Scenario(filter="price <")))
