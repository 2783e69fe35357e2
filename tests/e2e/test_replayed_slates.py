"""A thousand slates served while a RetailRocket log went on are made again from log and records alone, bit for bit."""

from pathlib import Path
from random import Random
from typing import Any

import polars as pl
import pytest

from headwater import Engine, Slate
from headwater.config import config_from_table
from headwater.datasets import load
from headwater.events.types import Feedback
from headwater.served_slates import ServedSlates
from headwater.slate_replay import replay_slate, replay_slates
from headwater.store import directory_config
from headwater.verify import verify_directory

pytestmark = pytest.mark.e2e

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "retailrocket"
SLATES = 1000
IMPORTED = 60_000
BRANDS = ("arno", "birk", "corvo")
QUERY: dict[str, Any] = {
    "freshness": 0.5,
    "popularity_debias": 0.1,
    "scenarios": {
        "explore": {"exploration": 0.3},
        "varied": {"diversity": 0.4, "caps": [{"field": "brand", "max": 4}]},
        "chance": {"exploration": 0.2, "diversity": 0.3, "promote": {"filter": "price < 20", "share": 0.2}},
        "dpp": {"diversity": 0.5, "diversity_method": "dpp"},
    },
}


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    if not DATA.is_dir():
        pytest.skip(f"RetailRocket is not at {DATA.resolve()}")
    return load("retailrocket", DATA).events.head(IMPORTED + 2 * SLATES)


def served(place: Path, events: pl.DataFrame) -> list[Slate]:
    """Import most of the events, then track the rest one by one, asking in between; a snapshot and a second start stand
    between the slates."""
    random = Random(4)
    config = config_from_table({"query": QUERY})
    rest = [Feedback(*row) for row in events[IMPORTED:].select("type", "user", "item", "ts").iter_rows()]
    items = events["item"].unique(maintain_order=True).to_list()
    slates: list[Slate] = []
    with Engine.open(place, config=config, clock="log") as engine:
        put = [
            {"item": item, "categories": [f"c{n % 17}"], "labels": {"price": float(n % 90), "brand": BRANDS[n % 3]}}
            for n, item in enumerate(items)
        ]
        engine.put_items(put)
        engine.ingest(events[:IMPORTED], progress=False)
        for n in range(SLATES // 2):
            slates.append(ask_and_track(engine, random, rest, n, items))
        engine.flush()
        engine.snapshot()
    with Engine.open(place, config=config, clock="log") as engine:
        for n in range(SLATES // 2, SLATES):
            slates.append(ask_and_track(engine, random, rest, n, items))
            if n % 100 == 50:
                engine.patch_item(random.choice(items), labels={"price": 1.0}, is_hidden=n % 200 == 50)
    return slates


def ask_and_track(engine: Engine, random: Random, rest: list[Feedback], n: int, items: list[str]) -> Slate:
    first, second = rest[2 * n : 2 * n + 2]
    engine.track_many([first])
    user = random.choice((first.user, first.user, second.user, "nobody"))
    options: dict[str, Any] = {"scenario": random.choice((None, *QUERY["scenarios"]))}
    if random.random() < 0.3:
        options |= {"filter": "price < max and brand in brands", "params": {"max": 60, "brands": ["arno", "birk"]}}
    if random.random() < 0.3:
        options["exploration"] = random.choice((0.0, 0.1, 0.7))
    if random.random() < 0.1:
        options["features"] = True
    if random.random() < 0.15:
        slate = engine.rank(user, random.sample(items, 30), 10, **options)
    else:
        slate = engine.recommend(user, random.choice((5, 10, 20)), exclude=random.sample(items, 2), **options)
    engine.track_many([second])
    if slate and random.random() < 0.2:
        engine.track("view", user=user, item=slate[0].item, ts=second.ts, slate=slate.id, slot=0)
    return slate


def test_a_thousand_slates_are_made_again(events: pl.DataFrame, tmp_path: Path) -> None:
    place = tmp_path / "shop"
    slates = served(place, events)
    assert all(slate.recorded for slate in slates)
    report = verify_directory(place, directory_config(place), 2, slates=True)
    assert report.slates is not None
    assert [replay.differences for replay in report.slates.different] == []
    assert (report.slates.slates, report.slates.identical) == (SLATES, SLATES)
    assert (report.equal, report.problems) == (True, [])
    # They are worth the trouble: many kinds, explored and not, and no two alike.
    assert sum(slate.exploring.floor > 0 for slate in slates) > SLATES // 5
    assert len({tuple(slate.item_ids) for slate in slates}) > SLATES // 2
    assert {slate.kind for slate in slates} == {"recommend", "rank"}

    # What was recorded is what was answered, and one slate alone comes out as it does among all.
    with Engine.open(place, read_only=True) as engine:
        records = {record.slate: record for record in ServedSlates(engine.log, 86_400_000)}
        from_snapshot = replay_slates(engine.log, engine.config, since=slates[-50].positions[0])
        assert from_snapshot.equal
    for slate in slates:
        answered = [(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in slate]
        assert records[slate.id].items == answered
    for slate in (slates[0], slates[SLATES // 2], slates[-1]):
        assert replay_slate(place, slate.id, threads=1).identical
