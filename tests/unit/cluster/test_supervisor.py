"""Whom the supervisor replaces: a silent host, and none that it could not hear because it was stopped itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

from headwater.actors.topology import Topology, deal
from headwater.cluster import supervisor as supervising
from headwater.cluster.beat import Beat
from headwater.cluster.supervisor import Supervisor
from headwater.cluster_limits import ClusterConfig

BEAT = Beat(
    host="",
    kind="session",
    incarnation="1.1",
    topology=1,
    phase="ready",
    pid=1,
    node="elsewhere",
    at=0,
    position=0,
    lag=0,
    partitions=[],
    shards=[],
    memory_bytes=0,
    snapshot_position=0,
    snapshot_age_s=None,
    config=None,
    answered=0,
    refused={},
    degraded=0,
    events_written=0,
    dead_letters=0,
    queries_per_s=0.0,
    events_per_s=0.0,
    pending=0,
    http=None,
)
LIMITS = ClusterConfig(beat_ms=500, silent_ms=5_000)


class Placer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.placed: list[str] = []
        self.killed: list[str] = []

    def place(self, name: str, launch: bytes) -> None:
        self.placed.append(name)

    def alive(self, name: str) -> bool:
        return True

    def remove(self, name: str) -> None:
        raise AssertionError

    def names(self) -> list[str]:
        raise AssertionError

    def kill(self, name: str) -> None:
        self.killed.append(name)


class Rig:
    """A supervisor of two hosts, a clock that is set by hand, and the hosts' heartbeats."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.placer = Placer()
        self.said: list[str] = []
        topology = Topology("n", "0" * 32, 1, 4, 4, deal(4, 4, 1, 1))
        self.names = [host.name for host in topology.hosts]
        self.supervisor = Supervisor(
            SimpleNamespace(is_connected=True),
            topology,
            LIMITS,
            self.placer,
            dict.fromkeys(self.names, b""),
            self.said.append,
            lambda: self.now,
        )

    async def beat(self, *names: str) -> None:
        for name in names:
            data = msgspec.msgpack.encode(msgspec.structs.replace(BEAT, host=name))
            await self.supervisor._hear(SimpleNamespace(data=data))

    async def live(self, seconds: float, *names: str) -> None:
        """Looks at their pace, and heartbeats of some."""
        for _ in range(round(seconds / supervising._LOOK_SECONDS)):
            self.now += supervising._LOOK_SECONDS
            await self.beat(*names)
            await self.supervisor.look()


def test_a_silent_host_is_killed_and_others_are_left() -> None:
    async def main() -> None:
        rig = Rig()
        await rig.live(10, *rig.names)
        assert rig.placer.killed == []
        await rig.live(4.5, rig.names[0])
        assert rig.placer.killed == []
        await rig.live(1, rig.names[0])
        assert rig.placer.killed == rig.names[1:]

    asyncio.run(main())


@pytest.mark.parametrize("away", [6.0, 600.0])
def test_hosts_are_given_time_when_the_supervisor_itself_was_stopped(away: float) -> None:
    async def main() -> None:
        rig = Rig()
        await rig.live(10, *rig.names)
        rig.now += away
        await rig.supervisor.look()  # before what the hosts told meanwhile is read
        assert rig.placer.killed == []
        assert "nobody was looked after" in rig.said[-1]
        await rig.live(4.5, rig.names[0])
        assert rig.placer.killed == []
        await rig.live(1, rig.names[0])  # who stays silent is silent
        assert rig.placer.killed == rig.names[1:]

    asyncio.run(main())


def test_a_host_that_was_placed_before_such_a_stop_has_its_time_to_start() -> None:
    async def main() -> None:
        rig = Rig()
        for name in rig.names:
            await rig.supervisor.place(name)
        await rig.live(5)
        rig.now += 600
        await rig.live(supervising._START_SECONDS - 6)
        assert rig.placer.killed == []
        await rig.live(2)
        assert rig.placer.killed == rig.names

    asyncio.run(main())
