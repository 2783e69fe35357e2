"""Experiments where hosts answer: the session host deals, holdouts get what one engine gives them."""

from __future__ import annotations

import msgspec
import pytest

from headwater import Engine
from headwater.config import config_from_table
from reference.host_cluster import HostCluster
from reference.random_shops import START, views

USERS = [f"u{n}" for n in range(24)]
VARIANTS = {
    "plain": {"share": 0.25},
    "diverse": {"share": 0.25, "query": {"diversity": 0.6, "exploration": 0.3}},
    "popular": {"share": 0.25, "serve": "popular"},
    "nothing": {"share": 0.25, "serve": "nothing"},
}


def test_every_variant_answers_as_in_one_engine() -> None:
    config = config_from_table({"experiments": {"e": {"variants": VARIANTS}}})
    with Engine.open(":memory:", config=config, threads=1) as engine:
        engine.put_items([{"item": f"i{n}", "categories": [f"c{n % 3}"]} for n in range(15)])
        for n, user in enumerate(USERS):
            views(engine, user, [f"i{(n * 7 + k * k) % 18}" for k in range(5)])
        core, cluster = engine._runtime.core, HostCluster.of(engine.log, config, 3, 2)
        dealt = set()
        for user in USERS:
            variant = core.assign(user, None, START)
            dealt.add(variant)
            owner = cluster.session_of(user)
            assert owner.assign(user, None, START) == variant
            for other in (*cluster.sessions, *cluster.items):
                if other.core is not owner:
                    # Who does not know the visitor must not deal by what it does not know.
                    with pytest.raises(RuntimeError, match="was asked"):
                        other.core.assign(user, None, START)
                    with pytest.raises(RuntimeError, match="was asked"):
                        other.core.variant_of(user, "e", START)
            for more in ({}, {"candidates": ["i3", "i16", "i1"]}, {"why": "i3", "sources": {"trending": 2.0}}):
                fields = {"user": user, "n": 6, "now": START, "key": "1-1", "variant": variant} | more
                request = msgspec.msgpack.encode(fields)
                assert cluster.recommend(request) == core.recommend(request)
        assert dealt == {f"e/{name}" for name in VARIANTS}
