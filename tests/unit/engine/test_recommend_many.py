"""`recommend_many`: what `recommend` says of each user, as a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from headwater import Config, Engine, Slate, default_config
from headwater.errors import InvalidQuery, StoreClosed
from headwater.scenario import Cap, Pin
from headwater.served_slates import find_record
from headwater.simulate import simulate_shop
from reference.random_shops import default_scenario

START = 1_700_000_000_000

COLUMNS = {
    "user": pl.String,
    "slate": pl.String,
    "slot": pl.Int64,
    "item": pl.String,
    "score": pl.Float64,
    "source": pl.String,
    "propensity": pl.Float64,
    "propensity_cascade": pl.Float64,
    "pinned": pl.Boolean,
    "fallback": pl.String,
    "variant": pl.String,
}


def config() -> Config:
    base = default_scenario()
    home = msgspec.structs.replace(
        base, filter="price < 150", diversity=0.3, caps=(Cap(field="brand", max=3),), pins=(Pin(slot=2, item="bags-3"),)
    )
    exploring = msgspec.structs.replace(home, exploration=0.3)
    default = default_config("shop")
    query = msgspec.structs.replace(default.query, scenarios={"home": home, "exploring": exploring})
    return msgspec.structs.replace(default, query=query)


def filled(engine: Engine) -> list[str]:
    simulation = simulate_shop(seed=4, events=4000)
    engine.put_items(simulation.items)
    engine.ingest(simulation.events, progress=False)
    return [str(user) for user in simulation.events["user"].unique(maintain_order=True)]


@pytest.fixture(scope="module")
def shop() -> tuple[Engine, list[str]]:
    engine = Engine.open(":memory:", config=config(), clock="log", threads=2)
    return engine, filled(engine)


def rows_of(slate: Slate) -> list[tuple[Any, ...]]:
    """The frame's rows of one slate, without its id."""
    return [
        (
            slate.user,
            slot,
            r.item,
            r.score,
            r.source,
            r.propensity,
            r.propensity_cascade,
            r.pinned,
            slate.fallback,
            None,
        )
        for slot, r in enumerate(slate)
    ]


def rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
    return frame.drop("slate").rows()


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"scenario": "home"},
        {"scenario": "home", "exploration": 0.0, "diversity": 0.8},
        {"filter": "price < most", "params": {"most": 60}, "exclude": ["bags-1", "shoes-0"]},
        {"sources": {"popular": 2.0, "session-knn": 0.0}},
        {"filter": "price > 100000"},
    ],
)
def test_many_are_answered_as_one_by_one(shop: tuple[Engine, list[str]], question: dict[str, Any]) -> None:
    engine, users = shop
    asked = ["stranger", *users[:60], users[3]]
    frame = engine.recommend_many(asked, 7, **question)
    assert dict(frame.schema) == COLUMNS
    assert frame["slate"].null_count() == len(frame)
    single = [engine.recommend(user, 7, record=False, **question) for user in asked]
    assert rows(frame) == [row for slate in single for row in rows_of(slate)]


def test_users_keep_their_order_over_portions(shop: tuple[Engine, list[str]]) -> None:
    engine, users = shop
    asked = [users[(n * 7) % len(users)] if n % 5 else f"unknown-{n}" for n in range(2300)]
    frame = engine.recommend_many(asked, 2)
    assert frame["user"].to_list() == [user for user in asked for _ in range(2)]
    assert frame["slot"].to_list() == [0, 1] * len(asked)
    unknown = frame.filter(pl.col("user").str.starts_with("unknown-"))
    assert unknown["fallback"].unique().to_list() == ["unknown user: trending and popular items"]
    assert unknown.group_by("slot").agg(pl.col("item").n_unique())["item"].to_list() == [1, 1]


def test_without_a_record_two_explored_answers_differ(shop: tuple[Engine, list[str]]) -> None:
    engine, users = shop
    first, second = (engine.recommend_many(users[:50], 8, scenario="exploring") for _ in range(2))
    assert not first["item"].equals(second["item"])
    assert first["propensity"].min() < 1  # type: ignore[operator]
    assert first.filter(pl.col("pinned"))["item"].unique().to_list() == ["bags-3"]


def test_records_of_many_are_written_and_made_again(tmp_path: Path) -> None:
    with Engine.open(tmp_path, config=config(), clock="log") as engine:
        users = filled(engine)[:40]
        frame = engine.recommend_many([*users, "stranger"], 6, scenario="exploring", record=True)
        engine.flush()
        assert frame["slate"].n_unique() == len(users) + 1
        engine.track("view", user=users[0], item=frame["item"][0], ts=engine.now() + 1)
    with Engine.open(tmp_path, config=config(), clock="log") as engine:
        slates = frame.partition_by("slate", maintain_order=True)
        for part in slates[::8]:
            again = engine.recommend(part["user"][0], 6, scenario="exploring", as_of=part["slate"][0])
            assert rows_of(again) == rows(part), "drawn by the slate's id, one by one as in one go"
        for part in slates:
            record = find_record(part["slate"][0], engine.log)
            assert record is not None
            assert record.user == part["user"][0]
            assert [tuple(row) for row in record.items] == part.drop(
                "user", "slate", "slot", "fallback", "variant"
            ).rows()
            assert record.request["scenario"] == "exploring"
        explanation = engine.explain(slates[0]["slate"][0], slates[0]["item"][0])
        assert explanation.slot == 0
        assert explanation.reasons


def test_records_of_many_are_like_those_of_one(tmp_path: Path) -> None:
    """An explored slate's record says how it was explored, however it was asked for."""
    with Engine.open(tmp_path, config=config(), clock="log") as engine:
        user = filled(engine)[0]
        one = engine.recommend(user, 6, scenario="exploring").id
        many = engine.recommend_many([user], 6, scenario="exploring", record=True)["slate"][0]
        engine.flush()
        records = [find_record(slate, engine.log) for slate in (one, many)]
        kept = []
        for record in records:
            assert record is not None
            assert record.extra is not None
            kept.append((record.extra.keys(), record.request, record.config_version, record.positions, record.ts))
        assert kept[0] == kept[1]


def test_users_without_any_slot_have_no_row(shop: tuple[Engine, list[str]]) -> None:
    engine, users = shop
    assert len(engine.recommend_many(users[:3], 4, filter="price > 100000")) == 0
    empty = engine.recommend_many([], 4)
    assert dict(empty.schema) == COLUMNS
    assert len(empty) == 0


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ({"users": "ann"}, "users"),
        ({"users": None}, "users"),
        ({"users": [1.5]}, "users"),
        ({"users": [""]}, "users"),
        ({"n": 0}, "n"),
        ({"n": 1001}, "n"),
        ({"scenario": "nope"}, "scenario"),
        ({"filter": "price <"}, "filter"),
        ({"params": {"x": 1}}, "params"),
        ({"exploration": 2}, "exploration"),
        ({"diversity": -0.1}, "diversity"),
        ({"sources": {"nonsense": 1.0}}, "sources"),
        ({"exclude": "abc"}, "exclude"),
        ({"now": -1}, "now"),
        ({"after": -1}, "after"),
    ],
)
def test_wrong_arguments_are_named(shop: tuple[Engine, list[str]], question: dict[str, Any], field: str) -> None:
    engine, _ = shop
    with pytest.raises(InvalidQuery) as caught:
        engine.recommend_many(**({"users": ["ann"]} | question))
    assert caught.value.details["field"] == field


def test_ids_may_be_integers(shop: tuple[Engine, list[str]]) -> None:
    frame = shop[0].recommend_many([7, "7"], 2)
    assert frame["user"].to_list() == ["7"] * 4


def test_a_closed_engine_says_so() -> None:
    engine = Engine.open(":memory:")
    engine.close()
    with pytest.raises(StoreClosed):
        engine.recommend_many(["ann"])


def test_slates_of_a_time_that_no_event_may_have_cannot_be_recorded(tmp_path: Path) -> None:
    with Engine.open(tmp_path) as engine:
        engine.track("view", user="ann", item="a")
        late = engine.now() + 25 * 3_600_000
        with pytest.raises(InvalidQuery, match="with record=True not after") as caught:
            engine.recommend_many(["ann"], now=late, record=True)
        assert caught.value.details["field"] == "now"
        assert len(engine.recommend_many(["ann"], now=late)) == 1


def test_users_who_share_a_scan_get_what_each_would_alone() -> None:
    """Enough vectors that one scan serves sixteen users: what each may see differs, what each finds is its own."""
    draws = np.random.default_rng(3)
    count = 20_000
    vectors = draws.standard_normal((count, 4), np.float32)
    base = default_scenario()
    scenario = msgspec.structs.replace(base, sources=base.sources | {"vector:text": 1.0}, diversity=0.3)
    default = default_config("shop")
    query = msgspec.structs.replace(default.query, scenarios={"near": scenario})
    with Engine.open(":memory:", config=msgspec.structs.replace(default, query=query), clock="log") as engine:
        puts = ({"item": f"i{n}", "embeddings": {"text": vector.tobytes()}} for n, vector in enumerate(vectors))
        engine.put_items(list(puts))
        users = [f"u{n}" for n in range(40)]
        for n, user in enumerate(users):
            for step, item in enumerate(draws.integers(0, count, 3).tolist()):
                kind = ("view", "purchase", "dislike")[step]
                engine.track(kind, user=user, item=f"i{item}", ts=START + n * 1000 + step)
        frame = engine.recommend_many([*users, "nobody"], 10, scenario="near", filter="item != 'i7'")
        alone = [
            engine.recommend(u, 10, scenario="near", filter="item != 'i7'", record=False) for u in [*users, "nobody"]
        ]
        assert rows(frame) == [row for slate in alone for row in rows_of(slate)]
        assert "vector:text" in frame["source"].to_list()
