"""What a host knows of the others: who lives, and who speaks for one that does not.

Hosts hear each other's heartbeats. The deputy of an owner (the next answering host in the topology that lives) answers
plain requests of its users with a typed refusal when the owner is gone. Where the last sign of life is older than a
moment it first asks the owner; the NATS server knows at once that a dead process no longer listens.
"""

from __future__ import annotations

import asyncio
import time

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from headwater.actors.topology import HostSpec, Topology
from headwater.errors import Unavailable
from headwater.protocol import host_subject, raise_refusal

_FRESH_SECONDS = 0.05
_PROBE_SECONDS = 0.2
_RETRY_MS = 250


class Peers:
    """Signs of life of the other hosts."""

    def __init__(self, nc: Client, topology: Topology, me: str, silent_seconds: float) -> None:
        """Hosts that told nothing for `silent_seconds` are taken for dead."""
        self._nc = nc
        self._silent_seconds = silent_seconds
        self.topology = topology
        self._me = me
        self._signs: dict[str, float] = {}
        self._probes: dict[str, asyncio.Task[bool]] = {}
        self._gone: set[str] = set()

    def heard(self, host: str) -> None:
        """A sign of life of a host."""
        self._signs[host] = time.monotonic()
        self._gone.discard(host)

    def lives(self, host: str) -> bool:
        """Whether a host gave a sign of life lately and was not found dead since."""
        if host == self._me:
            return True
        silent = time.monotonic() - self._signs.get(host, -1e9)
        return host not in self._gone and silent < self._silent_seconds

    def deputy(self, owner: HostSpec) -> str | None:
        """Who speaks for an owner that does not answer: the next answering host that lives."""
        ring = [host.name for host in self.topology.answering()]
        at = ring.index(owner.name)
        return next((name for name in ring[at + 1 :] + ring[:at] if self.lives(name)), None)

    def speaks_for_all(self) -> bool:
        """Whether this host answers what nobody owns: the first answering host that lives."""
        return self._me == next((h.name for h in self.topology.answering() if self.lives(h.name)), None)

    async def probe(self, host: str) -> bool:
        """Whether a host lives, by its last sign of life or by asking it."""
        if time.monotonic() - self._signs.get(host, -1.0) < _FRESH_SECONDS:
            return True
        task = self._probes.get(host)
        if task is None:
            task = asyncio.ensure_future(self._ask(host))
            self._probes[host] = task
            task.add_done_callback(lambda _: self._probes.pop(host, None))
        return await asyncio.shield(task)

    async def ask(self, host: str, verb: str, data: bytes, seconds: float) -> bytes:
        """A question to another host, on its own subject. Raises what it refuses with, or `Unavailable`."""
        try:
            message = await self._nc.request(host_subject(self.topology.namespace, host, verb), data, timeout=seconds)
        except (NatsError, TimeoutError) as err:
            raise Unavailable(f"host {host} does not answer; ask again", retry_after_ms=_RETRY_MS) from err
        raise_refusal(message.data)
        return bytes(message.data)

    async def _ask(self, host: str) -> bool:
        try:
            await self._nc.request(host_subject(self.topology.namespace, host, "live"), b"", timeout=_PROBE_SECONDS)
        except (NoRespondersError, NatsTimeout):
            self._gone.add(host)
            return False
        except NatsError:  # this host's own connection
            return self.lives(host)
        self.heard(host)
        return True
