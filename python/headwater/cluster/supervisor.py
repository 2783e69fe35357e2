"""The supervisor: hears every host, starts again who is dead, kills who is silent, and says what it did.

It is on no path of a question or an event: without it the hosts go on, and Ray starts a dead one again by itself. What
it adds is what Ray cannot see: a process that lives and does nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import msgspec

from headwater.actors.topology import Topology
from headwater.cluster.beat import Beat, decode_beat
from headwater.cluster.machine import node_name
from headwater.cluster.placers import Placer, kill_pid
from headwater.cluster_limits import ClusterConfig
from headwater.errors import StoreError, Unavailable
from headwater.protocol import beat_subject

Say = Callable[[str], None]

_LOOK_SECONDS = 0.25
_START_SECONDS = 60.0
"""A host that was placed and told nothing for this long is placed anew."""
_ADOPTED_SECONDS = 10.0
_NAP_SECONDS = 1.0
"""Between two looks: whoever was away for longer was stopped itself, and heard nobody meanwhile."""


class Supervisor:
    """Looks after the hosts of one topology."""

    def __init__(
        self,
        nc: Any,
        topology: Topology,
        limits: ClusterConfig,
        placer: Placer,
        launches: dict[str, bytes],
        say: Say,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock`: seconds, never falling."""
        self._nc = nc
        self._topology = topology
        self._limits = limits
        self._placer = placer
        self._launches = launches
        self._say = say
        self.beats: dict[str, Beat] = {}
        self._heard: dict[str, float] = {}
        self._placed: dict[str, float] = {}
        self._told: dict[str, str | None] = {}
        self._clock = clock
        self._listening_since = self._looked = clock()
        self._changed = asyncio.Event()
        self._all_were_ready = False

    async def start(self) -> None:
        """Listen to heartbeats."""
        await self._nc.subscribe(beat_subject(self._topology.namespace), cb=self._hear)

    async def _hear(self, message: Any) -> None:
        try:
            beat = decode_beat(message.data)
        except msgspec.MsgspecError:
            return
        if beat.topology != self._topology.version:
            return  # a host of an earlier topology that has not ended yet
        before = self.beats.get(beat.host)
        self.beats[beat.host] = beat
        self._heard[beat.host] = self._clock()
        if before is not None and before.incarnation != beat.incarnation:
            self._say(f"{beat.host}: was started again, process {beat.pid}, {beat.phase}")
        elif before is not None and before.phase != beat.phase and self._all_were_ready:
            self._say(f"{beat.host}: {beat.phase} at position {beat.position:,}")
        if beat.message != self._told.get(beat.host):
            self._told[beat.host] = beat.message
            if beat.message is not None:
                self._say(f"{beat.host}: {beat.message}")
        self._changed.set()

    async def place(self, name: str) -> None:
        """Place a host."""
        self._placed[name] = self._clock()
        self._heard.pop(name, None)
        await asyncio.to_thread(self._placer.place, name, self._launches[name])

    def adopt(self, name: str) -> None:
        """Look after a host that is placed already: it may be silent, and is not given as long as a new one."""
        self._placed[name] = self._clock() - _START_SECONDS + _ADOPTED_SECONDS

    async def ready(self, seconds: float) -> None:
        """Wait until every host is ready. Raises `StoreError` when one refuses, `Unavailable` when time is over."""
        until = self._clock() + seconds
        shown: set[str] = set()
        while len(shown) < len(self._topology.hosts):
            for spec in self._topology.hosts:
                beat = self.beats.get(spec.name)
                if beat is not None and beat.phase == "refused":
                    raise StoreError(f"host {spec.name} refuses to start: {beat.message}")
                if beat is not None and beat.phase == "ready" and spec.name not in shown:
                    shown.add(spec.name)
                    owned = _owned(beat)
                    self._say(f"{spec.name}: ready at position {beat.position:,}, {owned}, process {beat.pid}")
            if self._clock() >= until:
                missing = ", ".join(h.name for h in self._topology.hosts if h.name not in shown)
                raise Unavailable(f"not ready within {seconds:g} s: {missing}; see the hosts' logs")
            if len(shown) < len(self._topology.hosts):
                await self.look()
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _LOOK_SECONDS)

        self._all_were_ready = True

    async def run(self) -> None:
        """Look after the hosts until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """One look at every host."""
        try:
            await self._look(self._clock())
        finally:
            self._looked = self._clock()

    async def _look(self, now: float) -> None:
        silent_seconds = self._limits.silent_ms / 1000
        away = now - self._looked
        if away > min(_NAP_SECONDS, silent_seconds / 2):
            # This process was stopped, or its machine: perhaps the hosts were too, and what they told was not read.
            self._say(
                f"nobody was looked after for {away:.1f} s; hosts are given {silent_seconds:g} s more to be heard"
            )
            self._listening_since = now
            self._placed = {name: at + away for name, at in self._placed.items()}
        if not self._nc.is_connected:
            self._listening_since = now  # nobody can be heard: silence says nothing
            return
        if now - self._listening_since < silent_seconds:
            return
        for spec in self._topology.hosts:
            heard = self._heard.get(spec.name)
            if heard is not None and now - heard > silent_seconds:
                await self._replace(spec.name, f"told nothing for {now - heard:.1f} s")
            elif heard is None and now - self._placed.get(spec.name, now) > _START_SECONDS:
                await self._replace(spec.name, "told nothing since it was placed")

    async def _replace(self, name: str, why: str) -> None:
        beat = self.beats.get(name)
        if beat is not None and beat.node == node_name():
            killed = await asyncio.to_thread(kill_pid, beat.pid, beat.at)
            what = f"process {beat.pid} is killed" if killed else f"process {beat.pid} is gone"
        else:
            await asyncio.to_thread(self._placer.kill, name)
            what = "its process is killed"
        again = not await asyncio.to_thread(self._placer.alive, name)
        self._say(f"{name}: {why}; {what}" + (" and a new one started" if again else "; it is started again"))
        if again:
            await self.place(name)
        else:
            self._placed[name] = self._clock()
            self._heard.pop(name, None)


def _owned(beat: Beat) -> str:
    parts = []
    if beat.partitions:
        parts.append(f"{len(beat.partitions)} partitions")
    if beat.shards:
        parts.append(f"{len(beat.shards)} shards")
    return " and ".join(parts)
