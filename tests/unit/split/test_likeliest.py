"""Slates that nothing but scores decides, of more items than are looked up for them: the answer of one engine."""

from __future__ import annotations

import random

import msgspec
import pytest

from headwater import Engine, Feedback
from headwater.core import Core
from headwater.scenario import Scenario
from reference.host_cluster import HostCluster
from reference.random_shops import CATEGORIES, MINUTE, START, config_with

ITEMS = [f"item {n % 7}-{n}" for n in range(150)]
USERS = [f"u{n}" for n in range(40)]
SOURCES = {"also_viewed": 1.0, "session-knn": 1.0, "tag-affinity": 0.3, "trending": 0.2, "popular": 0.1}
SCENARIOS = {
    "shipped": Scenario(sources=SOURCES),
    "touched items nearly gone": Scenario(sources=SOURCES, touched_factor=0.01),
    "touched items as any other": Scenario(sources=SOURCES, touched_factor=1.0),
    "what is like a rejected one": Scenario(sources=SOURCES, touched_factor=0.7, dislike_factor=0.1),
    "short lists": Scenario(sources=SOURCES, pool=12, slate_pool=20),
    "one source, equal scores": Scenario(sources={"popular": 1.0}, touched_factor=0.3),
    "raised and gone": Scenario(sources=SOURCES, touched_factor=0.0, freshness=2.0),
}


def shop_of(scenario: Scenario) -> tuple[Engine, HostCluster]:
    """Every user did something with up to 60 items, and with some of them often."""
    config = config_with(scenario)
    engine = Engine.open(":memory:", config=config, threads=1)
    chance = random.Random(7)
    engine.put_items([{"item": item, "categories": chance.sample(CATEGORIES, 1)} for item in ITEMS])
    events = []
    for place, user in enumerate(USERS):
        for at, item in enumerate(chance.choices(ITEMS, k=1 + 3 * place // 2)):
            type = chance.choice(["view", "view", "view", "cart", "dislike"])
            events.append(Feedback(type=type, user=user, item=item, ts=START + (60 * place + at) * MINUTE))
    engine.track_many(events)
    return engine, HostCluster.of(engine.log, config, 2, 3)


@pytest.mark.parametrize("name", SCENARIOS)
def test_hosts_answer_as_one_engine(name: str) -> None:
    engine, cluster = shop_of(SCENARIOS[name])
    with engine:
        core = engine._runtime.core
        for user in [*USERS, "stranger"]:
            for n in (1, 4, 10, 60):
                request = asked(user, n)
                assert cluster.recommend(request) == core.recommend(request)


def test_an_item_that_the_session_host_never_heard_of_is_in_the_slate() -> None:
    engine, cluster = shop_of(SCENARIOS["shipped"])
    with engine:
        last = cluster.items[0].core.position
        events = [Feedback(type="cart", user=user, item="new", ts=START + 9000 * MINUTE) for user in USERS]
        engine.track_many(events)
        for batch in engine.log.read(last + 1):
            for host in cluster.items:
                host.feed(batch.positions, batch.frames)
        session: Core = cluster.session_of("stranger")
        before = session.knows_item("new")
        answer = msgspec.msgpack.decode(cluster.recommend(asked("stranger", 5)))
        assert not before
        assert "new" in [item[0] for item in answer[0]]


def asked(user: str, n: int) -> bytes:
    return msgspec.msgpack.encode(
        {"user": user, "items": [], "n": n, "exclude": [], "now": START + 9001 * MINUTE, "sources": {}, "key": "k"}
    )
