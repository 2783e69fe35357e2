"""Merged users on a cluster: whichever id they come with, the host of their account answers, and hosts merge as one
engine does: nothing is left behind, and their digests are those of an embedded replay."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from cluster_rig import wait_for
from headwater import Engine
from headwater.client import SyncClient
from headwater.cluster.permissions import permissions
from headwater.config import Config, config_from_table
from headwater.core import all_merged
from headwater.errors import InvalidEvent, InvalidQuery, MergeConflict
from headwater.events.nats_server import NatsServer
from headwater.events.subjects import partition_of
from headwater.events.types import Event, Feedback, UserMerge
from host_rig import Hosts, hosts
from nats_server import nats_server  # noqa: F401 - a fixture

pytestmark = pytest.mark.e2e

PARTITIONS = 8
START = 1_700_000_000_000


def config() -> Config:
    return config_from_table({"generation": {"partitions": PARTITIONS, "shards": 4}, "cluster": {"deadline_ms": 5000}})


def on(host: int, prefix: str) -> str:
    """An id that one of two session hosts owns."""
    return next(f"{prefix}{n}" for n in range(100) if partition_of(f"{prefix}{n}", PARTITIONS) % 2 == host)


def settled(running: Hosts) -> None:
    """Wait until nothing is left with a merged user."""

    def look() -> bool:
        return not any(left for host in running.hosts.values() for _, _, left in all_merged(host.state.core))

    wait_for("merged users are settled", look)


def shop(client: SyncClient | Engine, seed: int) -> None:
    """Visitors who look around, turn out to be accounts, come back under the old id, are forgotten and merge again."""
    draw = random.Random(seed)
    people = [f"p{n}" for n in range(12)]
    for n in range(6):
        client.put_item(f"i{n}", categories=[f"c{n % 2}"])
    ts = START
    for _ in range(120):
        ts += draw.randrange(1, 900) * 1000
        user, kind = draw.choice(people), draw.random()
        if kind < 0.06:
            with suppress(InvalidEvent):
                client.put_user(user, labels={"country": draw.choice(["nl", "de"])})
        elif kind < 0.09:
            client.forget(user)
        elif kind < 0.2:
            with suppress(MergeConflict):
                client.merge(user, draw.choice(people))
        else:
            client.track(draw.choice(["view", "cart", "purchase"]), user=user, item=f"i{draw.randrange(6)}", ts=ts)


@pytest.mark.parametrize(("sessions", "items"), [(1, 0), (2, 1), (4, 2)])
def test_hosts_merge_as_one_engine_does(nats_server: NatsServer, sessions: int, items: int) -> None:  # noqa: F811
    with hosts(nats_server, config(), sessions, items) as running, running.client(deadline_ms=5000) as client:
        shop(client, 7)
        settled(running)
        position, digest = running.whole_digest()
        core = running.replayed(position + 1)
        assert core.position == position
        assert core.digest()["whole"] == digest
        with Engine.open(":memory:", config=config()) as engine:
            shop(engine, 7)
            for n in range(12):
                assert known(client, f"p{n}") == known(engine, f"p{n}")


def known(client: SyncClient | Engine, user: str) -> object:
    """What does not depend on positions: who they are, and what they did."""
    try:
        view = client.session_of(user, now=START + 10_000_000)
    except InvalidQuery:
        return None
    state = view.state
    return view.user, state.events, state.purchases, sorted(state.consumed), sorted(touch.item for touch in state.items)


def test_what_a_merged_user_does_or_asks_their_account_does(nats_server: NatsServer) -> None:  # noqa: F811
    visitor, account = on(0, "visitor"), on(1, "account")
    with hosts(nats_server, config(), 2, 1) as running, running.client() as client:
        client.put_item("i1")
        client.track("view", user=visitor, item="i1", event_id="e1")
        report = client.merge(visitor, account)
        assert (report.into_user, report.moved, report.repeated) == (account, True, False)
        assert client.recommend(visitor, 1, after=report.position).user == account
        assert client.session(["i1"], 1, visitor=visitor).user == account
        client.track("view", user=visitor, item="i1", event_id="e1")  # a retry of what came before the merge
        view = client.session_of(visitor, after=client.track("view", user=visitor, item="i1", event_id="e2"))
        assert (view.user, view.state.events) == (account, 2), "what came under the old id is the account's at once"
        again = client.merge(visitor, account)
        assert (again.repeated, again.into_user) == (True, account)
        with pytest.raises(InvalidEvent, match="merged into"):
            client.put_user(visitor, labels={"country": "nl"})
        with pytest.raises(MergeConflict, match="itself"):
            client.merge(account, visitor)
        client.forget(visitor)
        for user in (visitor, account):
            with pytest.raises(InvalidQuery):
                client.session_of(user, after=client.position)
        with pytest.raises(MergeConflict, match="forgotten"):
            client.merge("somebody", account)


def test_what_a_writer_left_half_merged_is_settled_without_being_asked(nats_server: NatsServer) -> None:  # noqa: F811
    visitor, account = on(0, "visitor"), on(1, "account")
    with hosts(nats_server, config(), 2, 0 + 1) as running, running.client() as client:
        client.track_many([Feedback(type="view", user=visitor, item=f"i{n}", ts=START + n) for n in range(5)])
        client.write(UserMerge(from_user=visitor, into_user=account, ts=START))
        settled(running)
        view = wait_for("carried", lambda: client.session_of(account))
        assert view.state.events == 5


def test_what_is_under_way_is_in_the_log_before_the_person_is_forgotten(nats_server: NatsServer) -> None:  # noqa: F811
    """Else it would come after the forgetting, and the id would stand for the account again."""
    visitor, account = on(0, "visitor"), on(1, "account")
    with hosts(nats_server, config(), 2, 1) as running, running.client() as client:
        merges = running.hosts["s0"]._accounts.settle.__self__  # type: ignore[union-attr]
        client.track("view", user=visitor, item="i1")
        client.merge(visitor, account)
        write, written, opened = merges._ingest.write_apart, threading.Event(), asyncio.Event()

        async def held_up(events: Sequence[Event], now: int) -> int:
            written.set()
            await opened.wait()
            return int(await write(events, now))

        merges._ingest.write_apart = held_up
        client.track("view", user=visitor, item="i2")
        assert written.wait(30), "what came under the old id is carried"
        with ThreadPoolExecutor(1) as asker:
            forgetting = asker.submit(client.forget, account)
            wait_for("said to the visitor's owner", lambda: visitor in merges._held_back)
            assert not forgetting.done()
            running.wait(_set(opened))
            forgetting.result(30)
        settled(running)
        for user in (visitor, account):
            with pytest.raises(InvalidQuery):
                client.session_of(user, after=client.position)
        client.track("view", user=visitor, item="i3")
        view = client.session_of(visitor, after=client.position)
        assert (view.user, view.state.events) == (visitor, 1), "the id is free again"
        assert client.merge(visitor, on(1, "other")).moved, "and is held back no longer"


async def _set(event: asyncio.Event) -> None:
    event.set()


def test_plain_requests_merge_too(nats_server: NatsServer) -> None:  # noqa: F811
    visitor, account = on(1, "visitor"), on(0, "account")
    with hosts(nats_server, config(), 2, 1) as running, running.client() as client:
        client.track("view", user=visitor, item="i1")
        answer = running.wait(
            running.hosts["s0"]._nc.request(
                f"hw.{running.namespace}.merge", f'{{"from": "{visitor}", "into": "{account}"}}'.encode(), timeout=5
            )
        )
        assert b'"moved":true' in answer.data
        assert client.session_of(account, after=client.position).state.events == 1


def test_a_merged_visitor_has_the_variant_of_their_account(nats_server: NatsServer) -> None:  # noqa: F811
    table = {
        "generation": {"partitions": PARTITIONS, "shards": 4},
        "experiments": {"e": {"variants": {"a": {"share": 0.5}, "b": {"share": 0.5}}}},
    }
    users = [on(n % 2, f"person{n}-") for n in range(8)]
    made = config_from_table(table)
    with hosts(nats_server, made, 2, 1) as running, running.client() as client:
        with Engine.open(":memory:", config=made) as engine:
            expected = [engine.variant_of(user, "e", now=START) for user in users]
        assert [client.variant_of(user, "e", now=START) for user in users] == expected
        other = next(user for user, variant in zip(users, expected, strict=True) if variant != expected[0])
        client.merge(users[0], other)
        assert client.variant_of(users[0], "e", now=START) != expected[0]
        with pytest.raises(InvalidQuery):
            client.variant_of(users[0], "never", now=START)


def test_hosts_may_ask_each_other_for_the_account() -> None:
    allowed = permissions("default", "0" * 32, "host").publish
    for verb in ("recommend", "rank", "session", "session_of", "track", "seen", "forget", "identities", "forgotten"):
        assert f"hw.default.h.*.{verb}" in allowed
