"""Writes of clients: one event per request on the plain path, frames on the smart one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from headwater.arguments import id_text
from headwater.cluster.ingest import Clock, Ingest
from headwater.errors import DeadlineExceeded, InvalidEvent
from headwater.events.types import ConfigActivated, Event, ItemDelete
from headwater.new_events import feedback, impression, item_patch, item_put, user_put
from headwater.protocol import DeleteItem, Item, PatchItem, Request, Seen, Track, User

_RETRY_MS = 250
MAX_FRAMES = 64
_APART = ("item", "ts", "deadline_ms")

T = TypeVar("T")

_frames = msgspec.msgpack.Decoder(list[bytes])


class Writing:
    """Turns requests into events and waits for their positions."""

    def __init__(self, ingest: Ingest, clock: Clock, partitions: tuple[int, ...], deadline_ms: int) -> None:
        self._ingest = ingest
        self._clock = clock
        self._partitions = partitions
        self._deadline_ms = deadline_ms

    async def track(self, asked: Track) -> dict[str, int]:
        """One event of a user."""
        return positioned(await self.begin_track(asked))

    def begin_track(self, asked: Track) -> asyncio.Future[int]:
        """`track`; the event's position once it is in the log."""
        event = feedback(
            asked.type,
            asked.user,
            asked.item,
            self._time(asked),
            value=asked.value,
            event_id=asked.event_id,
            session=asked.session,
            basket=asked.basket,
            slate=asked.slate,
            slot=asked.slot,
            context=asked.context,
        )
        return self._begin(asked, event)

    async def seen(self, asked: Seen) -> dict[str, int]:
        """The slots of a slate that were really seen."""
        event = impression(asked.slate, asked.user, asked.slots, self._time(asked), asked.event_id)
        return await self._write(asked, event)

    async def put_user(self, asked: User) -> dict[str, int]:
        """Say what is known of a user."""
        event = user_put(asked.user, self._time(asked), asked.labels, asked.comment)
        return await self._write(asked, event)

    async def put_item(self, asked: Item) -> dict[str, int]:
        """Say all that is known of an item."""
        known = {field: getattr(asked, field) for field in Item.__struct_fields__ if field not in _APART}
        event = item_put(asked.item, self._time(asked), **known)
        return await self._write(asked, event)

    async def patch_item(self, asked: PatchItem) -> dict[str, int]:
        """Change some fields of an item."""
        changes = {field: getattr(asked, field) for field in PatchItem.__struct_fields__ if field not in _APART}
        event = item_patch(asked.item, self._time(asked), changes)
        return await self._write(asked, event)

    async def delete_item(self, asked: DeleteItem) -> dict[str, int]:
        """Never show an item again, until it is put anew."""
        return await self._write(asked, ItemDelete(item=id_text("item", asked.item), ts=self._time(asked)))

    async def activate(self, version: str, body: str) -> dict[str, int]:
        """Answer under another query configuration from here on."""
        position = await self._ingest.write(
            [ConfigActivated(ts=self._clock(), version=version, body=body)], self._clock()
        )
        return {"position": position}

    async def frames(self, data: bytes) -> bytes:
        """Frames that a client made; their positions."""
        try:
            frames = _frames.decode(data)
        except msgspec.MsgspecError as err:
            rule = "a MessagePack array of frames"
            raise InvalidEvent(f"frames: {err}; allowed: {rule}", field="frames", value=None, rule=rule) from err
        if not 1 <= len(frames) <= MAX_FRAMES:
            rule = f"1 to {MAX_FRAMES} frames"
            raise InvalidEvent(f"{len(frames)} frames; allowed: {rule}", field="frames", value=len(frames), rule=rule)
        positions = await self._in_time(self._ingest.append(frames, self._partitions), self._deadline_ms)
        return msgspec.msgpack.encode({"positions": positions})

    def _time(self, asked: Any) -> int:
        return self._clock() if asked.ts is None else int(asked.ts)

    async def _write(self, asked: Request, event: Event) -> dict[str, int]:
        return positioned(await self._begin(asked, event))

    def _begin(self, asked: Request, event: Event) -> asyncio.Future[int]:
        milliseconds = asked.deadline_ms or self._deadline_ms
        written = self._ingest.submit(event, self._clock())
        timer = asyncio.get_running_loop().call_later(milliseconds / 1000, _give_up, written, milliseconds)
        written.add_done_callback(lambda _: timer.cancel())
        return written

    @staticmethod
    async def _in_time(write: Coroutine[Any, Any, T], milliseconds: int) -> T:
        try:
            return await asyncio.wait_for(write, milliseconds / 1000)
        except TimeoutError:
            raise _late(milliseconds) from None


def positioned(position: int) -> dict[str, int]:
    """What is answered to a write."""
    return {"position": position}


def _give_up(written: asyncio.Future[int], milliseconds: int) -> None:
    if not written.done():
        written.set_exception(_late(milliseconds))


def _late(milliseconds: int) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the log did not acknowledge within {milliseconds} ms; whether the event was kept is not known: send "
        "it again with the same event_id",
        retry_after_ms=_RETRY_MS,
    )
