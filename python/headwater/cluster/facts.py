"""What a host tells of its state to clients that look after it or write in bulk."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import msgspec

from headwater.actors.host_state import HostState
from headwater.actors.topology import HostSpec
from headwater.arguments import position_of
from headwater.config import Config
from headwater.core import catalogue_page, query_json
from headwater.errors import NotReady
from headwater.protocol import HighWater, Reach

_CATCH_UP_SECONDS = 2.0
_CATALOGUE_PAGE = 256
"""Items of one answer: it must pass through the server, whatever their labels hold."""


class Facts:
    """Answers `config`, `stats`, `reach`, `high_water` and pages of the catalogue."""

    def __init__(self, state: HostState, config: Config, check_begun: Callable[[], None]) -> None:
        """`check_begun` raises `Recovering` while there is no state."""
        self._state = state
        self._config = config
        self._check_begun = check_begun

    @property
    def _spec(self) -> HostSpec:
        return self._state.spec

    async def config(self, _: object) -> dict[str, Any]:
        """The configuration as the log and an activation hold it."""
        config = self._config
        return {
            "generation": msgspec.json.encode(config.generation).decode(),
            "query": query_json(config.query).decode(),
        }

    async def stats(self, _: object) -> dict[str, Any]:
        """Counts and bytes of the parts that this host holds. O(users), beside the answers."""
        self._check_begun()
        counted = await asyncio.get_running_loop().run_in_executor(None, self._state.core.stats)
        return {"host": self._spec.name, "kind": self._spec.kind, "clock": self._state.core.clock, **counted}

    async def reach(self, asked: Reach) -> dict[str, Any]:
        """Answers once the state has a position. Raises `NotReady`."""
        seconds = (asked.deadline_ms or self._config.cluster.deadline_ms) / 1000
        await self._state.reach(position_of("position", asked.position), seconds)
        return {"host": self._spec.name, "position": self._state.position}

    async def high_water(self, asked: HighWater) -> dict[str, Any]:
        """How far a producer's frames were received, by partition."""
        self._check_begun()
        producer = int(asked.producer, 16)
        found = {p: self._state.core.high_water(p, producer, asked.epoch) for p in self._spec.partitions}
        return {"host": self._spec.name, "marks": {str(p): mark for p, mark in found.items() if mark is not None}}

    async def catalogue(self, data: bytes) -> bytes:
        """A page of the catalogue from a number on, as of all that was acknowledged when the first was asked for, and
        where the next one begins."""
        start = msgspec.msgpack.decode(data, type=int)
        if start == 0:
            await self.catch_up()
        return msgspec.msgpack.encode(catalogue_page(self._state.core, start, _CATALOGUE_PAGE))

    async def catch_up(self) -> None:
        """Reach what the log holds now, if that takes no longer than a moment."""
        with contextlib.suppress(NotReady):  # the answer says which position it is about
            await self._state.reach(await self._state.learn_end(), _CATCH_UP_SECONDS)
