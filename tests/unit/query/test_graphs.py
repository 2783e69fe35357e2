"""Large embeddings are answered from a graph: nearly what a scan finds, never what a filter forbids, and told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from headwater import Engine, Slate
from headwater.config import Config, default_config
from headwater.scenario import Scenario
from headwater.slate_replay import replay_slates

ITEMS, DIM, CENTRES = 24_000, 8, 200
START = 1_750_000_000_000


def config(above: int) -> Config:
    config = default_config("shop")
    near = Scenario(sources={"vector:text": 1.0}, pool=8, seeds=4)
    query = msgspec.structs.replace(config.query, scenarios={"near": near})
    engine = msgspec.structs.replace(config.engine, graph_above=above)
    return msgspec.structs.replace(config, query=query, engine=engine)


def vectors(seed: int, count: int) -> Any:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((CENTRES, DIM))
    return centres[random.integers(0, CENTRES, count)] + 0.3 * random.standard_normal((count, DIM))


def fill(engine: Engine) -> None:
    found = vectors(1, ITEMS)
    engine.put_items(
        {"item": f"i{n}", "labels": {"third": n % 3}, "embeddings": {"text": row}}
        for n, row in enumerate(found.tolist())
    )
    for n in range(40):
        for k in range(3):
            engine.track("view", user=f"u{n}", item=f"i{n * 97 + k * 13}", ts=START + k * 1000)


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine, Path]]:
    place = tmp_path_factory.mktemp("graphs") / "shop"
    with (
        Engine.open(place, config=config(2000), clock="log") as walking,
        Engine.open(":memory:", config=config(0), clock="log") as scanning,
    ):
        for engine in (walking, scanning):
            fill(engine)
        assert walking.grow_graphs() == 1
        assert scanning.grow_graphs() == 0
        yield walking, scanning, place


def ask(engine: Engine, user: str, **more: Any) -> Slate:
    return engine.recommend(user, 8, scenario="near", now=START + 60_000, **({"record": False} | more))


def told(slate: Slate) -> bool:
    return list(slate.approximate) == ["vector:text"] and any("from a graph" in note for note in slate.notes)


def test_nearly_what_a_scan_finds_with_its_scores(shops: tuple[Engine, Engine, Path]) -> None:
    walking, scanning, _ = shops
    same = asked = 0
    for n in range(40):
        walked, scanned = ask(walking, f"u{n}"), ask(scanning, f"u{n}")
        assert told(walked)
        assert not told(scanned)
        raw = {r.item: r.parts[0].raw for r in scanned}
        for r in walked:
            asked += 1
            if r.item in raw:
                same += 1
                assert r.parts[0].raw == raw[r.item]
    assert same > 0.95 * asked
    assert walking.status()["graphs"][0]["items"] == ITEMS
    assert walking.digest()["whole"] == scanning.digest()["whole"]


def test_a_filter_is_never_broken_and_a_strict_one_is_scanned(shops: tuple[Engine, Engine, Path]) -> None:
    walking, scanning, _ = shops
    walked = 0
    for n in range(20):
        slate = ask(walking, f"u{n}", filter="third == 1")
        assert len(slate) == 8
        assert all(int(item[1:]) % 3 == 1 for item in slate.item_ids)
        walked += told(slate)
    assert walked > 0
    listed = [f"i{n}" for n in range(0, 2700, 3)]
    for slate, scanned in (
        # Some 370 items.
        [ask(engine, "u1", filter="third == 1 and item < 'i11'") for engine in shops[:2]],
        [engine.rank("u1", listed, 8, scenario="near", record=False) for engine in shops[:2]],
    ):
        assert not told(slate)
        assert len(slate) == 8
        assert [(r.item, r.score) for r in slate] == [(r.item, r.score) for r in scanned]
    assert walking.recommend_many(["u1", "u2"], 8, scenario="near", now=START + 60_000)["item"].to_list() == (
        scanning.recommend_many(["u1", "u2"], 8, scenario="near", now=START + 60_000)["item"].to_list()
    )


def test_logged_slates_are_made_again_from_what_their_records_hold(shops: tuple[Engine, Engine, Path]) -> None:
    walking, _, place = shops
    served = [ask(walking, f"u{n}", record=True, exploration=0.3 * (n % 2)) for n in range(12)]
    walking.flush()
    assert all(told(slate) and slate.recorded for slate in served)
    report = replay_slates(walking.log, walking.config)
    assert (report.slates, report.identical, report.approximate) == (12, 12, 12)
    with Engine.open(place, read_only=True, clock="log") as other:
        slate = served[3]
        explained = other.explain(slate.id, slate[0].item)
        assert any("from a graph" in rule for rule in explained.rules)
        assert explained.score == slate[0].score
        # The same question is given the same slate again; another one is scanned.
        again = ask(other, "u3", as_of=slate.id, record=None, exploration=0.3)
        assert [(r.item, r.score, r.propensity) for r in again] == [(r.item, r.score, r.propensity) for r in slate]
        assert not told(ask(other, "u4", as_of=slate.id, record=None))


def test_what_is_put_is_found_at_once_and_once_it_is_linked(shops: tuple[Engine, Engine, Path]) -> None:
    walking, scanning, _ = shops
    for engine in (walking, scanning):
        view = ask(scanning, "u7")[0].item
        mean = next(row for n, row in enumerate(vectors(1, ITEMS).tolist()) if f"i{n}" == view)
        engine.put_item("new", embeddings={"text": [4 * x for x in mean]}, labels={"third": 0})
        engine.put_item("i5", embeddings={"text": [3 * x for x in mean]}, labels={"third": 2})
    first = ask(walking, "u7").item_ids[:2]
    assert first == ask(scanning, "u7").item_ids[:2] == ["new", "i5"]
    walking.grow_graphs()
    slate = ask(walking, "u7")
    assert told(slate)
    assert slate.item_ids[:2] == first
    walking.delete_item("new")
    assert "new" not in ask(walking, "u7").item_ids


def test_a_closed_engine_lets_go_of_a_graph_that_grows(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "shop", config=config(100)) as engine:
        engine.put_items(
            {"item": f"i{n}", "embeddings": {"text": row}} for n, row in enumerate(vectors(2, 3000).tolist())
        )
    with Engine.open(tmp_path / "shop", config=config(100)) as engine:
        assert engine.grow_graphs() == 1
