"""The writes of a client: the writing verbs of `headwater.Engine`, awaitable."""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headwater.arguments import Id, id_text
from headwater.client.questions import ClientQuestions
from headwater.errors import NotReady, Unavailable
from headwater.events.types import Event, ItemDelete
from headwater.merging import MergeReport
from headwater.new_events import feedback, impression, item_patch, item_put, item_row, user_put
from headwater.slate import Slate
from headwater.wall_clock import wall_clock


class ClientWrites(ClientQuestions):
    """What a client writes. Durable when it returns, folded a moment later: pass the position as `after` to see it."""

    @property
    @abstractmethod
    def patience(self) -> float:
        """Seconds for which writes are sent again."""

    @abstractmethod
    async def write(self, event: Event) -> int:
        """Any event of a client; its position."""

    @abstractmethod
    async def track_many(self, events: Sequence[Event]) -> int:
        """Many events, each durable on its own; the last position. All are checked before any is sent."""

    @abstractmethod
    def noted(self, position: int) -> int:
        """Remember the last position acknowledged."""

    async def tell(self, verb: str, user: str, asked: Mapping[str, Any], deadline_ms: int | None) -> dict[str, Any]:
        """Have a user's owner write something that means the same when it is said twice; said again while nobody
        answers."""
        until = time.monotonic() + self.patience
        while True:
            try:
                data = await self.ask(verb, self.owner_of(user), asked, deadline_ms, compact=False)
                answer: dict[str, Any] = msgspec.msgpack.decode(data)
                self.noted(int(answer["position"]))
                return answer
            except (Unavailable, NotReady) as err:
                wait = max(0.02, float(err.details.get("retry_after_ms") or 0) / 1000)
                if time.monotonic() + wait >= until:
                    raise
                await asyncio.sleep(wait)

    async def track(
        self,
        type: str,
        *,
        user: Id,
        item: Id,
        ts: int | None = None,
        value: float | None = None,
        event_id: str | None = None,
        session: Id | None = None,
        basket: Id | None = None,
        slate: str | None = None,
        slot: int | None = None,
        context: dict[str, Any] | None = None,
    ) -> int:
        """See `Engine.track`: durable when it returns, folded a moment later; pass the position as `after` to see it.

        Many may be under way at once (`asyncio.gather`, `track_many`): they share frames.
        """
        event = feedback(
            type,
            user,
            item,
            wall_clock() if ts is None else ts,
            value=value,
            event_id=event_id,
            session=session,
            basket=basket,
            slate=slate,
            slot=slot,
            context=context,
        )
        return await self.write(event)

    async def seen(
        self,
        slate: Slate | str,
        slots: Sequence[int],
        *,
        user: Id | None = None,
        ts: int | None = None,
        event_id: str | None = None,
    ) -> int:
        """See `Engine.seen`."""
        if user is None and not isinstance(slate, str):
            user = slate.user
        name, when = slate if isinstance(slate, str) else slate.id, wall_clock() if ts is None else ts
        return await self.write(impression(name, user, slots, when, event_id))

    async def put_item(
        self,
        item: Id,
        *,
        categories: Sequence[str] = (),
        labels: Mapping[str, Any] | None = None,
        is_hidden: bool = False,
        timestamp: int | None = None,
        group_id: str | None = None,
        embeddings: Mapping[str, Sequence[float]] | None = None,
        comment: str | None = None,
    ) -> int:
        """See `Engine.put_item`."""
        put = item_put(
            item,
            wall_clock(),
            categories=categories,
            labels=labels,
            is_hidden=is_hidden,
            timestamp=timestamp,
            group_id=group_id,
            embeddings=embeddings,
            comment=comment,
        )
        return await self.write(put)

    async def put_items(self, items: Sequence[Mapping[str, Any]]) -> int:
        """Put many items: mappings with the arguments of `put_item`; the last position. All are checked before."""
        ts = wall_clock()
        return await self.track_many([item_row(row, ts) for row in items])

    async def patch_item(self, item: Id, **changes: Any) -> int:
        """See `Engine.patch_item`."""
        return await self.write(item_patch(item, wall_clock(), changes))

    async def delete_item(self, item: Id) -> int:
        """See `Engine.delete_item`."""
        return await self.write(ItemDelete(item=id_text("item", item), ts=wall_clock()))

    async def put_user(
        self,
        user: Id,
        *,
        labels: Mapping[str, Any] | None = None,
        comment: str | None = None,
        deadline_ms: int | None = None,
    ) -> int:
        """See `Engine.put_user`."""
        put = user_put(user, wall_clock(), labels, comment)
        asked = {"user": put.user, "ts": put.ts, "labels": put.labels, "comment": put.comment}
        return int((await self.tell("user", put.user, asked, deadline_ms))["position"])

    async def forget(self, user: Id, *, deadline_ms: int | None = None) -> int:
        """See `Engine.forget`."""
        name = id_text("user", user)
        return int((await self.tell("forget", name, {"user": name}, deadline_ms))["position"])

    async def forget_person(self, user: Id) -> list[str]:
        """`forget`; the ids that were forgotten, the account first."""
        name = id_text("user", user)
        ids: list[str] = (await self.tell("forget", name, {"user": name}, None))["users"]
        return ids

    async def merge(
        self, from_: Id, into: Id, *, event_id: str | None = None, deadline_ms: int | None = None
    ) -> MergeReport:
        """See `Engine.merge`."""
        visitor, account = id_text("from_", from_), id_text("into", into)
        asked = {"from": visitor, "into": account, "event_id": event_id}
        return msgspec.convert(await self.tell("merge", visitor, asked, deadline_ms), MergeReport)
