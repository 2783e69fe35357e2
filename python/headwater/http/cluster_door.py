"""The door to a cluster: what a web worker asks goes to the owners over NATS, through the worker's own client.

Nothing is kept here but the connection. A write is answered once every host that answers has folded it, so that the
next question sees it, whichever host that goes to; one that is away begins with it when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from headwater.arguments import query_id
from headwater.client import Client
from headwater.errors import InvalidQuery
from headwater.http import bodies, replies, verbs
from headwater.http.cluster_engine import ClusterEngine, no_audit
from headwater.http.door import LocalDoor
from headwater.http.live import Live
from headwater.http.problems import Refused
from headwater.http.verbs import (
    ById,
    Form,
    PatchItem,
    PutItem,
    PutUser,
    as_problems,
    changes_of,
    encoded,
    events_of,
    fields_of,
)
from headwater.slate import Slate
from headwater.wall_clock import wall_clock

logger = logging.getLogger(__name__)

Handler = Callable[[Client, Any], Awaitable[Any]]


class Visible:
    """Waits until writes are in the state of every host that answers; writes at the same time share the asking.

    What was seen once is not remembered: an erasure makes the log shorter, and positions are given out again.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._asking: asyncio.Task[None] | None = None
        self._asked = 0
        self._next = 0

    async def wait(self, position: int) -> None:
        """Until hosts have a position, or do not say so in time."""
        while self._asking is not None and self._asked < position:
            self._next = max(self._next, position)
            await asyncio.wait([self._asking])
        if self._asking is None:
            self._asked, self._next = max(self._next, position), 0
            self._asking = asyncio.ensure_future(self._ask(self._asked))
        await asyncio.shield(self._asking)

    async def _ask(self, position: int) -> None:
        try:
            if late := await self._client.reached(position):
                logger.info("position %d was written, and not yet seen by %s", position, ", ".join(late))
        finally:
            self._asking = None


class ClusterDoor:
    """A door to a cluster. What has no handler here runs on threads, over `ClusterEngine`."""

    def __init__(self, client: Client, engine: ClusterEngine, live: Live, rest: LocalDoor) -> None:
        self._client = client
        self._engine = engine
        self._live = live
        self._rest = rest
        self._visible = Visible(client)

    async def ask(self, verb: str, question: msgspec.Struct, form: Form = "json") -> bytes:
        """The reply's bytes. Raises `Refused`."""
        handler = _HANDLERS.get(verb)
        if handler is None and verb not in ("status", "ready"):
            return await self._rest.ask(verb, question, form)
        started = time.perf_counter()
        with as_problems(self._live, verb):
            if getattr(question, "as_of", None) is not None:
                raise Refused(
                    "not-on-cluster", "as_of; allowed: `headwater ... --url NATS --as-of`, which reads the log"
                )
            reply: Any
            if handler is None:
                reply = await (self._engine.ready() if verb == "ready" else self._engine.status_of())
            else:
                reply = await handler(self._client, question)
            kind = verbs.VERBS[verb].kind
            if kind == "write":
                await self._visible.wait(reply.position)
        self._live.answered(verb, kind, time.perf_counter() - started, reply)
        return encoded(reply, form)

    async def close(self) -> None:
        """Wait for what is in progress, and disconnect."""
        await asyncio.to_thread(self._rest.close)
        await asyncio.to_thread(self._engine.close)
        await self._client.close()


def _slate(verb: str, *positional: str) -> Handler:
    async def ask(client: Client, body: Any) -> replies.SlateReply:
        first = [getattr(body, name) for name in positional]
        slate: Slate = await getattr(client, verb)(*first, **fields_of(body, "details", "as_of", *positional))
        return replies.slate_reply(slate, body.details)

    return ask


async def _explain(client: Client, body: bodies.ExplainBody) -> replies.ExplainReply:
    if body.audit:
        raise no_audit()
    item = query_id("item", body.item)
    try:
        told = await client.explain(body.slate, item)
    except InvalidQuery as err:
        raise Refused("unknown-slate", err.message, slate=body.slate) from err
    return replies.ExplainReply(text=told.text, **told.to_dict())


async def _track(client: Client, body: bodies.EventBody) -> replies.WrittenReply:
    return replies.WrittenReply(position=await client.track(body.type, **fields_of(body, "type")))


async def _track_many(client: Client, body: bodies.EventsBody) -> replies.WrittenReply:
    events = events_of(body, wall_clock())
    return replies.WrittenReply(position=await client.track_many(events), count=len(events))


async def _seen(client: Client, body: bodies.SeenBody) -> replies.WrittenReply:
    return replies.WrittenReply(position=await client.seen(body.slate, body.slots, **fields_of(body, "slate", "slots")))


async def _put_item(client: Client, named: PutItem) -> replies.WrittenReply:
    return replies.WrittenReply(position=await client.put_item(named.id, **fields_of(named.body)))


async def _put_items(client: Client, body: bodies.ItemsBody) -> replies.WrittenReply:
    position = await client.put_items([fields_of(row) for row in body.items])
    return replies.WrittenReply(position=position, count=len(body.items))


async def _patch_item(client: Client, named: PatchItem) -> replies.WrittenReply:
    return replies.WrittenReply(position=await client.patch_item(named.id, **changes_of(named.body)))


async def _delete_item(client: Client, named: ById) -> replies.WrittenReply:
    return replies.WrittenReply(position=await client.delete_item(named.id))


async def _item(client: Client, named: ById) -> replies.ItemReply:
    name = query_id("item", named.id)
    try:
        view = await client.item(name)
    except InvalidQuery as err:  # the id keeps the rules, so what is wrong is that nothing named it
        raise Refused("unknown-item", err.message, item=name) from err
    return replies.ItemReply(item=name, **view.to_dict())


async def _put_user(client: Client, named: PutUser) -> replies.WrittenReply:
    return replies.WrittenReply(position=await client.put_user(named.id, **fields_of(named.body)))


async def _user(client: Client, named: ById) -> replies.UserReply:
    name = query_id("user", named.id)
    try:
        view = await client.session_of(name)
    except InvalidQuery as err:
        raise Refused("unknown-user", err.message, user=name) from err
    return msgspec.convert(view.to_dict(), replies.UserReply)


async def _forget(client: Client, named: ById) -> replies.WrittenReply:
    return replies.WrittenReply(position=await client.forget(named.id))


async def _merge(client: Client, body: bodies.MergeBody) -> replies.MergeReply:
    report = await client.merge(body.from_user, body.into, event_id=body.event_id)
    return replies.MergeReply(**report.to_dict())


_HANDLERS: dict[str, Handler] = {
    "recommend": _slate("recommend", "user", "n"),
    "session": _slate("session", "items", "n"),
    "rank": _slate("rank", "user", "items", "n"),
    "similar": _slate("similar", "item", "n"),
    "trending": _slate("trending", "category", "n"),
    "explain": _explain,
    "track": _track,
    "track-many": _track_many,
    "seen": _seen,
    "put-item": _put_item,
    "put-items": _put_items,
    "patch-item": _patch_item,
    "delete-item": _delete_item,
    "item": _item,
    "put-user": _put_user,
    "user": _user,
    "merge": _merge,
    "forget": _forget,
}
