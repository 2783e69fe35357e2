"""Writes that wait until hosts have folded them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.http.cluster_door import Visible


class Hosts:
    """Stands for a client: notes what is asked of hosts, who answer when they are let."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.fails: Exception | None = None

    async def reached(self, position: int) -> list[str]:
        self.asked.append(position)
        self.was_asked.set()
        await self.may_answer.wait()
        if self.fails is not None:
            raise self.fails
        return []


def visible(hosts: Hosts) -> Visible:
    client: Any = hosts
    return Visible(client)


def test_writes_at_the_same_time_share_the_asking() -> None:
    async def play() -> list[int]:
        hosts = Hosts()
        hosts.may_answer.clear()
        waiter = visible(hosts)
        waiting = [asyncio.ensure_future(waiter.wait(position)) for position in (3, 1, 2, 4, 6, 5)]
        await hosts.was_asked.wait()
        hosts.may_answer.set()
        await asyncio.gather(*waiting)
        return hosts.asked

    assert asyncio.run(play()) == [3, 6]


def test_positions_of_a_log_that_an_erasure_made_shorter_are_waited_for_too() -> None:
    async def play() -> list[int]:
        hosts = Hosts()
        waiter = visible(hosts)
        for position in (1000, 901, 902):
            await waiter.wait(position)
        return hosts.asked

    assert asyncio.run(play()) == [1000, 901, 902]


def test_who_waits_is_told_of_a_failure_and_the_next_asks_anew() -> None:
    async def play() -> list[int]:
        hosts = Hosts()
        hosts.fails = PermissionError("reach")
        waiter = visible(hosts)
        with pytest.raises(PermissionError):
            await waiter.wait(7)
        hosts.fails = None
        await waiter.wait(8)
        return hosts.asked

    assert asyncio.run(play()) == [7, 8]
