"""Experiments where hosts are asked: the same variant for everybody, the same slates and holdouts, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from headwater import Engine
from headwater.config import config_from_table
from headwater.simulate import simulate_shop
from reference.host_cluster import HostCluster

VARIANTS = {
    "control": {"share": 0.25},
    "wide": {"share": 0.25, "query": {"diversity": 0.5, "exploration": 0.3, "filter": "price < 100"}},
    "none": {"share": 0.25, "serve": "nothing"},
    "popular": {"share": 0.25, "serve": "popular"},
}


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Engine, HostCluster]]:
    generation = {"segments": {"label": "tier", "values": ["vip"]}}
    experiments = {
        "vip": {"variants": VARIANTS, "segments": ["vip"], "scenarios": ["home"]},
        "all": {"variants": VARIANTS, "scenarios": ["(default)"]},
    }
    config = config_from_table(
        {"generation": generation, "query": {"scenarios": {"home": {}}}, "experiments": experiments}
    )
    shop = simulate_shop(seed=5, events=2000)
    with Engine.open(":memory:", config=config, clock="log") as engine:
        engine.put_items(shop.items)
        engine.ingest(shop.events, progress=False)
        for user in range(60):
            engine.put_user(f"u{user}", labels={"tier": ("vip", "other")[user % 2]})
        yield engine, HostCluster.of(engine.log, config, 3, 2)


def test_hosts_deal_and_answer_as_one_engine(hosts: tuple[Engine, HostCluster]) -> None:
    engine, cluster = hosts
    whole, now = engine._runtime.core, engine.now()
    seen = set()
    for user in (f"u{number}" for number in range(60)):
        for scenario in (None, "home"):
            variant = cluster.session_of(user).assign(user, scenario, now)
            assert variant == whole.assign(user, scenario, now)
            assert (variant is None) == (scenario == "home" and int(user[1:]) % 2 == 1)
            seen.add(variant)
            asked = {"user": user, "n": 5, "now": now, "key": "1-1", "scenario": scenario, "variant": variant}
            for more in ({}, {"candidates": engine.trending(n=6).item_ids}, {"sources": {"popular": 9.0}, "why": "x"}):
                request = msgspec.msgpack.encode(asked | more)
                assert cluster.recommend(request) == whole.recommend(request)
    assert seen == {None, *(f"{name}/{variant}" for name in ("all", "vip") for variant in VARIANTS)}
