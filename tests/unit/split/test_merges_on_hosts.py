"""Visitors who turn out to be others, where the two belong to different hosts."""

from __future__ import annotations

import contextlib
import random

import msgspec
import pytest

from headwater import Config, Engine, default_config
from headwater.config import Segments
from headwater.errors import InvalidEvent, MergeConflict
from reference.cooccurrence import DAY
from reference.host_cluster import HostCluster
from reference.random_shops import MINUTE, START

USERS = [f"u{n}" for n in range(12)]


def segmented() -> Config:
    config = default_config("shop")
    generation = msgspec.structs.replace(config.generation, segments=Segments(label="country", values=("fi", "se")))
    return msgspec.structs.replace(config, generation=generation)


def merging_shop(seed: int, config: Config) -> Engine:
    """Users with and without labels who view, buy, are merged, forgotten and come back."""
    draw = random.Random(seed)
    engine = Engine.open(":memory:", config=config, threads=1)
    engine.put_items([{"item": f"i{n}", "categories": [f"c{n % 4}"]} for n in range(20)])
    for step in range(260):
        user, now = draw.choice(USERS), START + step * 7 * MINUTE
        kind = draw.random()
        if kind < 0.08:
            with contextlib.suppress(InvalidEvent):  # merged: what is known is the account's
                engine.put_user(user, labels=draw.choice([{"country": "fi"}, {"country": "no"}, {"age": 3}, {}]))
        elif kind < 0.16:
            with contextlib.suppress(MergeConflict):  # into itself, or someone else's already
                engine.merge(user, draw.choice(USERS))
        elif kind < 0.18:
            engine.forget(user)
        else:
            type = draw.choice(["view", "view", "cart", "purchase", "dislike"])
            engine.track(type, user=user, item=f"i{draw.randrange(20)}", ts=now)
    return engine


@pytest.mark.parametrize("seed", range(4))
def test_hosts_that_fold_merges_keep_what_one_engine_keeps(seed: int) -> None:
    config = segmented()
    with merging_shop(seed, config) as engine:
        for topology in [(1, 1), (5, 3)]:
            cluster = HostCluster.of(engine.log, config, *topology)
            assert cluster.digest() == engine.digest()["whole"]
            for user in USERS:
                request = msgspec.msgpack.encode({"user": user, "n": 8, "now": START + 3 * DAY, "key": "1-1"})
                assert cluster.recommend(request) == engine._runtime.core.recommend(request)


def test_hosts_that_were_restored_between_merges_go_on_alike() -> None:
    config = segmented()
    with merging_shop(9, config) as engine:
        batches = list(engine.log.read())
        positions = [at for batch in batches for at in batch.positions]
        frames = [frame for batch in batches for frame in batch.frames]
        for cut in range(0, len(positions), 17):
            cluster = HostCluster(config, 3, 2)
            cluster.feed(positions[:cut], frames[:cut])
            cluster = cluster.restored()
            cluster.feed(positions[cut:], frames[cut:])
            assert cluster.digest() == engine.digest()["whole"]
