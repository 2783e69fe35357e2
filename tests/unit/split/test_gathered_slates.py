"""A question scattered to item hosts and gathered: the answer of one engine, bit for bit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import Config, Engine, Feedback
from headwater.scenario import Scenario
from reference.cooccurrence import DAY
from reference.host_cluster import HostCluster
from reference.random_shops import FILTERS, ITEMS, START, USERS, Filter, Rules, Shop, config_with, rules, shops

TOPOLOGIES = st.sampled_from([(1, 1), (2, 2), (1, 4), (4, 3), (3, 4)])
SOURCES = [
    *("also_viewed", "also_bought", "bought_after_view", "bought_together", "session-knn", "repeats", "tag-affinity"),
    *("trending", "trending-in-tags", "popular", "fresh", "trending-in-segment", "popular-in-segment"),
]
WEIGHTS = st.dictionaries(st.sampled_from(SOURCES), st.sampled_from([0.0, 0.3, 1.0]), max_size=6)
SHARES = st.one_of(st.none(), st.sampled_from([0.0, 0.3, 1.0]))
NAMED = st.lists(st.sampled_from([*ITEMS, "n0", "ghost"]), max_size=5)


def encoded(request: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(request)


def decoded(answer: bytes) -> list[Any]:
    fields: list[Any] = msgspec.msgpack.decode(answer)
    return fields


@st.composite
def requests(draw: st.DrawFn, now: int) -> dict[str, Any]:
    """`recommend`, `session` or `rank` with anything that may be asked."""
    filter: Filter | None = draw(st.one_of(st.none(), FILTERS))
    request: dict[str, Any] = {
        "user": draw(st.sampled_from([*USERS, "stranger"])),
        "n": draw(st.sampled_from([1, 3, 10, 40])),
        "now": now + draw(st.sampled_from([0, 3 * DAY])),
        "scenario": draw(st.sampled_from(["s", None])),
        "filter": filter and filter.text,
        "params": filter.params if filter else {},
        "exclude": draw(NAMED),
        "diversity": draw(SHARES),
        "exploration": draw(SHARES),
        "sources": draw(WEIGHTS),
        "key": draw(st.sampled_from(["1-1", "1-2"])),
        "features": draw(st.booleans()),
        "all_reasons": draw(st.booleans()),
        "brief": draw(st.booleans()),
        "why": draw(st.one_of(st.none(), st.sampled_from([*ITEMS, "n0", "ghost"]))),
    }
    kind = draw(st.sampled_from(["recommend", "recommend", "session", "rank"]))
    if kind == "session":
        request |= {"user": None, "items": draw(NAMED)}
    elif kind == "rank":
        request["candidates"] = list(dict.fromkeys(draw(NAMED)))
    return request


def small_pools(config: Config) -> Config:
    """A default scenario that cuts its lists short, so that who is cut must be decided alike."""
    return msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, pool=3, slate_pool=8))


@settings(max_examples=150)
@given(shop=shops(), rules=rules(), topology=TOPOLOGIES, data=st.data())
def test_hosts_answer_as_one_engine(shop: Shop, rules: Rules, topology: tuple[int, int], data: st.DataObject) -> None:
    config = small_pools(config_with(rules.scenario))
    with shop.open(config) as engine:
        core = engine._runtime.core
        cluster = HostCluster.of(engine.log, config, *topology)
        assert cluster.digest() == engine.digest()["whole"]
        now = max([START, *(event.ts for event in shop.events)])
        for _ in range(6):
            request = encoded(data.draw(requests(now)))
            assert cluster.recommend(request) == core.recommend(request)
