"""What a gateway asks of the hosts about themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.config import default_config
from headwater.errors import Unavailable
from headwater.events.nats_options import NatsOptions
from headwater.http.cluster_engine import ClusterEngine


class Hosts:
    """Stands for a client: one session host, which answers when it is let; counts what is asked of it."""

    def __init__(self, phase: str = "ready") -> None:
        self.asked: list[str] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._phase = phase
        self.topology = SimpleNamespace(answering=lambda: [SimpleNamespace(name="s0")])

    async def status(self, _: float) -> list[dict[str, Any]]:
        self.asked.append("status")
        await self.may_answer.wait()
        message = "no room in /srv/shop" if self._phase != "ready" else None
        return [{"host": "s0", "kind": "session", "phase": self._phase, "position": 7, "message": message}]

    async def stats(self) -> list[dict[str, Any]]:
        self.asked.append("stats")
        await self.may_answer.wait()
        return [{"host": "s0", "kind": "session", "users": 3, "clock": 9}]


def engine(hosts: Hosts) -> ClusterEngine:
    """Made in an event loop."""
    client: Any = hosts
    return ClusterEngine(client, default_config(), NatsOptions(), "default")


async def at_once(hosts: Hosts, ask: Callable[[], Awaitable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What twenty are told of whom none has an answer when the last asks."""
    begun = 0

    async def one() -> dict[str, Any]:
        nonlocal begun
        begun += 1
        if begun == 20:
            hosts.may_answer.set()  # those who wait hear of it once this one waits too
        return await ask()

    hosts.may_answer.clear()
    return await asyncio.gather(*[one() for _ in range(20)])


def test_anybody_may_ask_whether_it_is_ready_and_hosts_do_not_walk_over_their_users_for_that() -> None:
    hosts = Hosts()

    async def play() -> list[dict[str, Any]]:
        asked = engine(hosts)
        return [await asked.ready(), *await at_once(hosts, asked.ready)]

    assert {told["position"] for told in asyncio.run(play())} == {7}
    assert hosts.asked == ["status", "status"]


def test_it_is_not_ready_while_no_host_that_answers_visitors_is() -> None:
    async def play() -> None:
        await engine(Hosts("recovering")).ready()

    with pytest.raises(Unavailable) as caught:
        asyncio.run(play())
    assert caught.value.message == "no host answers: s0 recovering", "what is wrong is for those with a key"


def test_who_asks_for_status_at_the_same_time_shares_the_counting() -> None:
    hosts = Hosts()

    async def play() -> list[dict[str, Any]]:
        return await at_once(hosts, engine(hosts).status_of)

    assert {(told["users"], told["last_event_ts"]) for told in asyncio.run(play())} == {(3, 9)}
    assert hosts.asked.count("stats") == 1
