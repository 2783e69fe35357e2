"""Hosts tell their likely share of each source's best: the answer of one engine, asked again if need be."""

from __future__ import annotations

import msgspec
import pytest

from headwater import Engine
from headwater.config import default_config
from headwater.core import stable_hash
from reference.host_cluster import HostCluster

POOL = 50
"""Of so many, one of two hosts tells 40: half, and four standard deviations."""
NOW = 1_795_000_000_000
REQUEST = msgspec.msgpack.encode(
    {"user": None, "items": ["stranger"], "n": 30, "exclude": [], "now": NOW + 1000, "sources": {}, "key": "k"}
)


def ids_of(owner: int, count: int) -> list[str]:
    """Items of one of two hosts."""
    shards = default_config("shop").generation.shards
    every = (f"item {n}" for n in range(100_000))
    return [item for item in every if stable_hash(item) % shards % 2 == owner][:count]


def shop_of(counts: tuple[int, int]) -> tuple[Engine, HostCluster]:
    """A shop where so many items of each host are popular, each more than the next."""
    shop = default_config("shop")
    config = msgspec.structs.replace(shop, query=msgspec.structs.replace(shop.query, pool=POOL))
    engine = Engine.open(":memory:", config=config)
    own = [ids_of(0, counts[0]), ids_of(1, counts[1])]
    turns = [item for n in range(max(counts)) for items in own for item in items[n : n + 1]]
    for place, item in enumerate(turns):
        for n in range(1 + (len(turns) - place) // 8):
            engine.track("view", user=f"u{place} {n}", item=item, ts=NOW + place)
    return engine, HostCluster.of(engine.log, config, 2, 2)


@pytest.mark.parametrize(
    ("counts", "rounds"), [((45, 45), 1), ((20, 20), 1), ((60, 4), 2), ((39, 4), 1)], ids=["even", "few", "odd", "just"]
)
def test_the_answer_is_that_of_all_candidates(counts: tuple[int, int], rounds: int) -> None:
    engine, cluster = shop_of(counts)
    with engine:
        core, session = engine._runtime.core, cluster.sessions[0].core
        sent: bytes | None = session.scatter(REQUEST)
        asked, replied, answer = 0, [], None
        while answer is None:
            assert sent is not None
            asked += 1
            replies = [host.core.candidates(sent) for host in cluster.items]
            replied.append(sum(map(len, replies)))
            answer, sent = session.gather(sent, replies)
        assert asked == rounds
        assert answer == core.recommend(REQUEST)
        if rounds == 2:
            assert replied[1] > replied[0], "what was cut is told when it is asked for"


def test_without_a_host_nobody_is_asked_again_for_its_share() -> None:
    engine, cluster = shop_of((60, 4))
    with engine:
        session = cluster.sessions[0].core
        sent = session.scatter(REQUEST)
        answer, more = session.gather(sent, [cluster.items[0].core.candidates(sent)])
        assert more is None
        assert answer is not None
