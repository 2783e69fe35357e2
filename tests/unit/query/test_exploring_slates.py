"""Exploration through the engine: how often, with which probability, and the same again.

Slate ids count up from the engine's start, and a slate is drawn by its id: every run draws the same slates.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from headwater import Config, Engine, Slate, default_config
from headwater.errors import InvalidQuery
from headwater.events.types import SlateServed
from headwater.scenario import Cap, Pin, Scenario
from headwater.served_slates import find_record
from headwater.simulate import simulate_shop
from reference.cooccurrence import DAY
from reference.random_shops import config_with, default_scenario

START = 19_000 * DAY
POPULAR = {"popular": 1.0}


@pytest.fixture(scope="module")
def shop() -> Engine:
    simulation = simulate_shop(seed=3, events=6000)
    base = default_scenario()
    capped = msgspec.structs.replace(base, caps=(Cap(field="brand", max=3),), pins=(Pin(slot=1, item="shoes-0"),))
    diverse = msgspec.structs.replace(base, diversity=0.4)
    dpp = msgspec.structs.replace(base, diversity=0.4, diversity_method="dpp")
    scenarios: dict[str, Scenario] = {"plain": base, "ruled": capped, "mmr": diverse, "dpp": dpp}
    config = default_config("shop")
    query = msgspec.structs.replace(config.query, scenarios=scenarios)
    config = msgspec.structs.replace(config, query=query)
    engine = Engine.open(":memory:", config=config, clock="log", threads=1)
    engine.put_items(simulation.items)
    engine.ingest(simulation.events, progress=False)
    return engine


def four(scenario: Scenario) -> Engine:
    """Four items: a is the most popular, d the least. a and b are of one brand."""
    engine = Engine.open(":memory:", config=config_with(scenario), threads=1)
    engine.put_items([{"item": item, "labels": {"brand": "x" if item in "ab" else item}} for item in "abcd"])
    for place, item in enumerate("abcd"):
        for n in range(5 - place):
            engine.track("view", user=f"u{n}", item=item, ts=START + place * 60_000)
    return engine


@pytest.mark.parametrize("scenario", ["plain", "ruled", "mmr", "dpp"])
def test_without_exploration_every_slate_is_the_same_and_certain(shop: Engine, scenario: str) -> None:
    first = shop.recommend("u0", 12, scenario=scenario, exploration=0.0, record=False)
    again = shop.recommend("u0", 12, scenario=scenario, record=False)
    assert first.id != again.id
    assert first.items == again.items
    assert all((r.propensity, r.propensity_cascade, r.greedy) == (1.0, 1.0, True) for r in first)
    assert (first.exploring.temperature, first.exploring.floor) == (0.0, 0.0)
    assert first.exploring.pool >= 12


@pytest.mark.parametrize("scenario", ["plain", "ruled", "mmr", "dpp"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_the_share_of_differing_slots_is_the_one_asked_for(shop: Engine, scenario: str, share: float) -> None:
    """In expectation; slots of a slate hang together, so the interval is that of whole slates."""
    n = 8
    users = [f"u{k}" for k in range(4)]
    best = {u: shop.recommend(u, n, scenario=scenario, record=False).item_ids for u in users}
    free = n - (scenario == "ruled")  # the pin's slot never differs
    shares = []
    for _ in range(300):
        for user in users:
            slate = shop.recommend(user, n, scenario=scenario, exploration=share, record=False)
            assert len(slate) == n
            differing = [shown.item != item for shown, item in zip(slate, best[user], strict=True)]
            assert [not d for d in differing] == [shown.greedy for shown in slate]
            shares.append(sum(differing) / free)
    mean = sum(shares) / len(shares)
    error = (sum((x - mean) ** 2 for x in shares) / len(shares) / (len(shares) - 1)) ** 0.5
    assert abs(mean - share) < 3.3 * error, f"{mean} +- {error}"
    assert error < 0.02


@pytest.mark.parametrize("scenario", ["plain", "ruled", "mmr", "dpp"])
def test_propensities_multiply_to_the_cascade_and_keep_the_floor(shop: Engine, scenario: str) -> None:
    explored = 0
    for _ in range(100):
        slate = shop.recommend("u1", 10, scenario=scenario, exploration=0.3, record=False)
        cascade = 1.0
        assert slate.exploring.temperature > 0
        assert 0 < slate.exploring.floor < 1 / slate.exploring.pool
        for shown in slate:
            cascade *= shown.propensity
            assert shown.propensity_cascade == cascade
            assert shown.propensity >= slate.exploring.floor
            assert shown.propensity < 1 or shown.pinned
            explored += not shown.greedy
    assert explored > 100


def enumerated(engine: Engine, n: int, share: float, slates: int) -> tuple[Counter[tuple[str, ...]], dict[str, float]]:
    """How often each slate came, and the probability that it said it had, by its items."""
    counts: Counter[tuple[str, ...]] = Counter()
    said: dict[str, float] = {}
    for _ in range(slates):
        slate = engine.recommend("ann", n, scenario="s", exploration=share, now=START + DAY, record=False)
        counts[tuple(slate.item_ids)] += 1
        cascade = slate[-1].propensity_cascade
        assert said.setdefault("".join(slate.item_ids), cascade) == cascade
        for slot in range(1, n):  # equal beginnings have equal probabilities
            head = "".join(slate.item_ids[:slot])
            assert said.setdefault(head, slate[slot - 1].propensity_cascade) == slate[slot - 1].propensity_cascade
    return counts, said


def worst_chi_square(freedom: int) -> float:
    """What chi-square exceeds once in 10,000 times (Wilson and Hilferty's approximation)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + 3.719 * math.sqrt(spread)) ** 3


CASES = {
    "plain": (Scenario(sources=POPULAR), 2, 12),
    "three slots": (Scenario(sources=POPULAR), 3, 24),
    "capped": (Scenario(sources=POPULAR, caps=(Cap(field="brand", max=1),)), 2, 10),
    "pinned": (Scenario(sources=POPULAR, pins=(Pin(slot=1, item="c"),)), 3, 6),
    "diverse": (Scenario(sources=POPULAR, diversity=0.3), 2, 12),
}


@pytest.mark.parametrize("case", CASES)
def test_sampled_slates_come_as_often_as_they_say(case: str) -> None:
    scenario, n, possible = CASES[case]
    slates = 3000
    with four(msgspec.structs.replace(scenario, exploration_uniform=0.5)) as engine:
        counts, said = enumerated(engine, n, 0.6, slates)
    assert len(counts) == possible, "every slate that the rules allow"
    assert sum(said["".join(items)] for items in counts) == pytest.approx(1, abs=1e-12)
    expected = {items: slates * said["".join(items)] for items in counts}
    assert min(expected.values()) >= 5
    statistic = sum((counts[items] - e) ** 2 / e for items, e in expected.items())
    assert statistic < worst_chi_square(possible - 1)
    for head in {items[:1] for items in counts}:
        whole = sum(said["".join(items)] for items in counts if items[:1] == head)
        assert whole == pytest.approx(said[head[0]], abs=1e-12)


def test_a_share_of_one_leaves_hardly_a_slot() -> None:
    with four(Scenario(sources=POPULAR)) as engine:
        counts, _ = enumerated(engine, 2, 1.0, 500)
        same = sum(count for items, count in counts.items() if items[0] == "a" or items[1] == "b")
        assert same < 150


def test_the_scenario_explores_and_a_request_may_say_otherwise() -> None:
    with four(Scenario(sources=POPULAR, exploration=0.5)) as engine:
        drawn = {tuple(engine.recommend("ann", 3, scenario="s", now=START, record=False).item_ids) for _ in range(50)}
        assert len(drawn) > 3
        fixed = {
            tuple(engine.recommend("ann", 3, scenario="s", exploration=0, now=START, record=False).item_ids)
            for _ in range(50)
        }
        assert fixed == {("a", "b", "c")}
        with pytest.raises(InvalidQuery, match=r"exploration = 1\.5; allowed: 0 to 1"):
            engine.recommend("ann", exploration=1.5)


def test_a_softmax_without_an_even_share_has_no_floor_and_is_recorded_all_the_same() -> None:
    with four(Scenario(sources=POPULAR, exploration=0.5, exploration_uniform=0.0)) as engine:
        slates = [engine.recommend("ann", 2, scenario="s", now=START) for _ in range(50)]
        engine.flush()
        assert len({tuple(slate.item_ids) for slate in slates}) > 2
        for slate in slates[:5]:
            assert slate.exploring.temperature > 0
            record = find_record(slate.id, engine.log)
            assert record is not None
            assert record.extra is not None
            assert record.extra["temperature"] == slate.exploring.temperature
            assert f"probability {slate[0].propensity:.4g} given" in engine.explain(slate, slate.item_ids[0]).text


def exploring_shop() -> Config:
    base = default_scenario()
    scenario = msgspec.structs.replace(base, diversity=0.3, exploration=0.4, caps=(Cap(field="brand", max=4),))
    config = default_config("shop")
    query = msgspec.structs.replace(config.query, scenarios={"home": scenario})
    return msgspec.structs.replace(config, query=query)


def test_a_slate_made_again_from_the_log_has_the_same_propensities(tmp_path: Path) -> None:
    config, simulation = exploring_shop(), simulate_shop(seed=5, events=2000)
    asked = list(itertools.islice(simulation.events["user"].unique(maintain_order=True), 12))
    with Engine.open(tmp_path, config=config, clock="log") as engine:
        engine.put_items(simulation.items)
        engine.ingest(simulation.events, progress=False)
        slates = []
        for n, user in enumerate(asked):
            slates.append(engine.recommend(user, 8, scenario="home"))
            engine.track("view", user=user, item=slates[-1].item_ids[0], ts=engine.now() + n)
        engine.flush()
    with Engine.open(tmp_path, config=config, clock="log") as engine:
        for slate in slates:
            again = engine.recommend(str(slate.user), 8, scenario="home", as_of=slate.id)
            assert again.items == slate.items
            assert again.exploring == slate.exploring
            record = find_record(slate.id, engine.log)
            assert record is not None
            assert_recorded(record, slate)
            shown = next(r for r in slate)
            assert f"probability {shown.propensity:.4g} given" in engine.explain(slate.id, shown.item).text


def assert_recorded(record: SlateServed, slate: Slate) -> None:
    """The record says of every slot what the slate said."""
    assert [tuple(row) for row in record.items] == [
        (r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in slate
    ]
    assert record.extra is not None
    assert (record.extra["temperature"], record.extra["floor"]) == (slate.exploring.temperature, slate.exploring.floor)
    assert record.request["scenario"] == "home"


def test_propensities_are_exact_where_the_catalogue_fills_in() -> None:
    """Whether the catalogue fills a pool may not hang on what was drawn: then it would be part of the probability."""
    scenario = Scenario(sources=POPULAR, caps=(Cap(field="categories", max=1),), exploration_uniform=0.5)
    categories = {"a": ["x", "y"], "b": ["x"], "c": ["y"], "d": ["z"], "e": ["z"]}
    with Engine.open(":memory:", config=config_with(scenario), threads=1) as engine:
        engine.put_items([{"item": item, "categories": of} for item, of in categories.items()])
        for place, item in enumerate("abc"):
            for n in range(5 - place):
                engine.track("view", user=f"u{n}", item=item, ts=START + place * 60_000)
        counts, said = enumerated(engine, 2, 0.6, 3000)
    assert sum(said["".join(items)] for items in counts) == pytest.approx(1, abs=1e-9)
    statistic = sum(
        (counts[items] - 3000 * said["".join(items)]) ** 2 / (3000 * said["".join(items)]) for items in counts
    )
    assert statistic < worst_chi_square(len(counts) - 1)
