"""A small shop on disk whose visitors were recommended things while they looked around: every slate is in its log."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from headwater import Engine, Slate
from headwater.config import Config, config_from_table
from headwater.simulate import simulate_shop

MINUTE = 60_000
SCENARIOS: dict[str, Any] = {
    "home": {"exploration": 0.2},
    "wide": {"diversity": 0.5, "sources": {"also_viewed": 1.0, "trending": 0.5, "popular": 0.5}},
}


def shop_config(**query: Any) -> Config:
    """The shop's configuration with two scenarios beside the default one, and `query` over its `[query]`."""
    return config_from_table({"query": {"scenarios": SCENARIOS, **query}})


def visited_shop(place: Path, *, seed: int = 11, events: int = 3000, visits: int = 60) -> list[Slate]:
    """Make the shop in `place`; the slates that were served, in order. A snapshot stands in the middle of them."""
    random = Random(seed)
    simulation = simulate_shop(seed=seed, events=events)
    slates: list[Slate] = []
    with Engine.open(place, config=shop_config(), clock="log") as engine:
        engine.put_items(simulation.items)
        engine.ingest(simulation.events, progress=False)
        items = engine.trending(n=40).item_ids
        for visit in range(visits):
            slates.append(visit_shop(engine, random, items))
            if visit == visits // 2:
                engine.flush()
                engine.snapshot()
        engine.flush()
    return slates


def visit_shop(engine: Engine, random: Random, items: list[str]) -> Slate:
    """A visitor looks at something, gets a slate, and takes something of it."""
    user = f"v{random.randrange(25)}"
    if random.random() < 0.8:
        engine.track("view", user=user, item=random.choice(items), ts=engine.now() + random.randrange(MINUTE))
    scenario = random.choice((None, "home", "wide"))
    what = random.random()
    if what < 0.2:
        slate = engine.rank(user, random.sample(items, 12), 8, scenario=scenario)
    elif what < 0.5:
        exclude = random.sample(items, 3)
        slate = engine.recommend(user, 12, scenario=scenario, exclude=exclude, exploration=0.3, features=what < 0.3)
    else:
        slate = engine.recommend(user, random.randrange(1, 15), scenario=scenario, context={"page": "home"})
    if slate and random.random() < 0.5:
        engine.track("view", user=user, item=slate[0].item, ts=engine.now() + 1000, slate=slate.id, slot=0)
    return slate
