"""What an item host answers to other hosts: its part of a question, as bytes of the core."""

from __future__ import annotations

import msgspec

from headwater.actors.host_state import HostState
from headwater.cluster.scatter import unpack
from headwater.cluster.slates import known_item
from headwater.errors import NotReady, Recovering

_RETRY_MS = 50

_asked_item = msgspec.msgpack.Decoder(tuple[str, int])


class ItemAnswers:
    """Answers of one item host, each from state at or after the position that was asked for."""

    def __init__(self, state: HostState) -> None:
        self._state = state

    async def candidates(self, data: bytes) -> bytes:
        """Candidates of its own items for a slate."""
        body = await self._reached(data)
        try:
            return await self._state.ask(self._state.core.candidates, body)
        except NotReady as err:  # the configuration is another one here: left out, or asked again
            raise Recovering(err.message, retry_after_ms=_RETRY_MS) from err

    def candidates_now(self, data: bytes) -> bytes | None:
        """As `candidates`, if nothing has to be waited for: neither the position nor whoever holds the state."""
        sent = unpack(data)
        if self._state.busy or sent.after > self._state.position:
            return None
        try:
            return self._state.core.candidates(sent.body)
        except NotReady as err:
            raise Recovering(err.message, retry_after_ms=_RETRY_MS) from err

    async def similar(self, data: bytes) -> bytes:
        """Its own items that are associated with one."""
        return await self._state.ask(self._state.core.similar_candidates, await self._reached(data))

    async def trending(self, data: bytes) -> bytes:
        """Its own items that trend."""
        return await self._state.ask(self._state.core.trending_candidates, await self._reached(data))

    async def item(self, data: bytes) -> bytes:
        """What is known of an item that it owns."""
        name, now = _asked_item.decode(await self._reached(data))
        return known_item(name, self._state.core.item_view(name, now))

    async def _reached(self, data: bytes) -> bytes:
        sent = unpack(data)
        if sent.after > self._state.position:
            await self._state.reach(sent.after, sent.seconds)
        return sent.body
