"""Merged users on hosts: no host reads both partitions, and together they hold what one engine holds."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from headwater import Engine
from headwater.config import config_from_table
from headwater.errors import InvalidEvent, MergeConflict
from headwater.events.log import EventLog
from reference.host_cluster import HostCluster

START = 1_700_000_000_000
CONFIG = config_from_table(
    {
        "generation": {
            "partitions": 6,
            "shards": 3,
            "segments": {"label": "country", "values": ["nl", "de"]},
        }
    }
)


def log_of_merges(seed: int) -> tuple[Engine, EventLog]:
    """Visitors with and without labels, who turn out to be accounts, come back, are forgotten and merge again."""
    draw = random.Random(seed)
    engine = Engine.open(":memory:", config=CONFIG, clock="log")
    people = [f"p{n}" for n in range(14)]
    for n in range(8):
        engine.put_item(f"i{n}", categories=[f"c{n % 3}"])
    ts = START
    for _ in range(160):
        ts += draw.randrange(1, 900) * 1000
        user, kind = draw.choice(people), draw.random()
        if kind < 0.08:
            # A merged user has the labels of the account, and nobody merges in a circle or into somebody forgotten.
            with suppress(InvalidEvent):
                engine.put_user(user, labels={"country": draw.choice(["nl", "de", "fr"])})
        elif kind < 0.12:
            engine.forget(user)
        elif kind < 0.22:
            with suppress(InvalidEvent, MergeConflict):
                engine.merge(user, draw.choice(people))
        else:
            event_id = f"e{draw.randrange(60)}" if draw.random() < 0.3 else None
            engine.track(
                draw.choice(["view", "cart", "purchase"]),
                user=user,
                item=f"i{draw.randrange(8)}",
                ts=ts,
                event_id=event_id,
            )
    return engine, engine._runtime.log


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("sessions", "items"), [(1, 1), (3, 2)])
def test_hosts_hold_what_one_engine_holds(seed: int, sessions: int, items: int) -> None:
    engine, log = log_of_merges(seed)
    whole = engine.digest()["whole"]
    assert engine._runtime.core.stats()["users"] > 0
    assert HostCluster.of(log, CONFIG, sessions, items).digest() == whole

    batches = list(log.read())
    positions = [position for batch in batches for position in batch.positions]
    frames = [frame for batch in batches for frame in batch.frames]
    cut = len(frames) * (seed + 1) // 9
    cluster = HostCluster(CONFIG, sessions, items)
    cluster.feed(positions[:cut], frames[:cut])
    cluster = cluster.restored()
    cluster.feed(positions[cut:], frames[cut:])
    assert cluster.digest() == whole
