"""Slates of variants are made again from the log and their records, also after the experiment was changed or ended."""

from pathlib import Path
from typing import Any

import pytest

from headwater import Engine
from headwater.active_query import query_version
from headwater.config import Config, config_from_table
from headwater.events.types import SlateServed
from headwater.served_slates import ServedSlates
from headwater.shadow import shadow
from headwater.simulate import simulate_shop
from headwater.slate_replay import replay_slate, replay_slates

EXPERIMENT = {
    "start": 1_700_000_000_000,
    "variants": {
        "as-it-is": {"share": 0.4},
        "wide": {"share": 0.3, "query": {"diversity": 0.6, "exploration": 0.3, "consumed_expiry_days": "never"}},
        "none": {"share": 0.2, "serve": "nothing"},
        "popular": {"share": 0.1, "serve": "popular"},
    },
}


def configured(experiments: dict[str, Any]) -> Config:
    return config_from_table({"query": {"scenarios": {"home": {"exploration": 0.2}}}, "experiments": experiments})


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Slates under an experiment, under another deal of it, and without any."""
    place = tmp_path_factory.mktemp("shop") / "shop"
    simulation = simulate_shop(seed=3, events=1500)
    for round, experiments in enumerate(({"x": EXPERIMENT}, {"x": EXPERIMENT | {"salt": "again"}}, {})):
        with Engine.open(place, config=configured(experiments), clock="log") as engine:
            if round == 0:
                engine.put_items(simulation.items)
                engine.ingest(simulation.events, progress=False)
            for number in range(30):
                user = f"u{number}"
                engine.recommend(user, 8, scenario=(None, "home")[number % 2])
                engine.rank(user, engine.trending(n=6).item_ids, 4)
                engine.session(engine.trending(n=3).item_ids, 5, visitor=f"cookie{number}")
                engine.track("view", user=user, item=simulation.items[number]["item"])
            engine.recommend_many([f"u{number}" for number in range(20)], 5, record=True)
            engine.flush()
    return place


def records(engine: Engine) -> list[SlateServed]:
    return list(ServedSlates(engine.log, engine.config.generation.max_future_ms))


def test_every_slate_is_made_again(shop: Path) -> None:
    with Engine.open(shop, config=configured({}), read_only=True) as engine:
        served = records(engine)
        report = replay_slates(engine.log, engine.config)
        assert (report.slates, report.identical) == (len(served), len(served)) == (330, 330)
        assert engine.verify(slates=True).equal
    variants = {record.variant for record in served}
    assert variants == {None, *(f"x/{name}" for name in EXPERIMENT["variants"])}
    assert all(record.variant == record.request.get("variant") for record in served)
    held_out = next(record for record in served if record.variant == "x/none" and record.extra == {"kind": "session"})
    assert (held_out.items, held_out.user[:6]) == ([], "cookie")
    assert replay_slate(shop, held_out.slate).identical


def test_the_past_is_answered_by_its_variant(shop: Path) -> None:
    with Engine.open(shop, config=configured({}), read_only=True) as engine:
        asked = [r for r in records(engine) if r.variant and (r.extra or {}).get("kind") == "recommend"][:40]
        asked = [record for record in asked if "candidates" not in record.request]
        for record in asked:
            scenario = record.request.get("scenario")
            again = engine.recommend(record.user, record.request["n"], scenario=scenario, as_of=record.slate)
            assert (again.variant, again.item_ids) == (record.variant, [slot[0] for slot in record.items])
    assert len(asked) > 10


def test_another_configuration_is_compared_without_the_variants(shop: Path) -> None:
    with Engine.open(shop, config=configured({}), read_only=True) as engine:
        other = configured({}).query
        report = shadow(engine.log, engine.config, other, query_version(other))
        empty = sum(record.variant is not None and not record.items for record in records(engine))
    assert report.refused == {"nothing was served: a holdout of an experiment": empty}
    assert report.overall.slates == 330 - empty
