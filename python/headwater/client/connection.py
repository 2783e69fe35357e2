"""`connect`: the engine's verbs on a cluster, over NATS, awaitable.

    async with hw.connect("nats://127.0.0.1:4222") as rec:
        position = await rec.track("view", user="bob", item="sku1")
        slate = await rec.recommend("bob", n=10, after=position)

The client knows which host owns whom and asks it directly. It reconnects by itself. Writes are sent again for
`patience` seconds without a second effect; questions are not: whoever asks decides whether a later answer is of use.
Errors are those of `headwater.errors`; what may be asked again says so (`retry_after_ms` among its details).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import msgspec
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from headwater.actors.topology import HostSpec, Topology
from headwater.arguments import Id, Param, categories_of, id_text, labels_of, vectors_of
from headwater.client.lanes import Lane
from headwater.errors import AccessDenied, DeadlineExceeded, InvalidEvent, InvalidQuery, Unavailable
from headwater.events.nats_options import Hooks, NatsOptions
from headwater.events.nats_options import connect as dial
from headwater.events.subjects import PARTITION, partition_of, stable_hash, subject_of
from headwater.events.types import (
    Event,
    Feedback,
    Impression,
    ItemDelete,
    ItemPatch,
    ItemPut,
    Scalar,
    UserPut,
)
from headwater.events.validate import check_event
from headwater.protocol import check_namespace, host_subject, plain_subject, raise_refusal, slate_host
from headwater.slate import ItemView, SessionView, Slate

_SLACK_SECONDS = 0.25
"""What an answer may take beyond its deadline before the client gives it up itself."""
_RETRY_MS = 250
_FRAMES_SECONDS = 10.0
_MANY = 64
_LANES_PER_OWNER = 2
"""While the log stores the frames of one, the owner checks those of the other."""

_encoder = msgspec.msgpack.Encoder()
_slates = msgspec.msgpack.Decoder(Slate)
_items = msgspec.msgpack.Decoder(ItemView)
_views = msgspec.msgpack.Decoder(SessionView)
_anything = msgspec.msgpack.Decoder()


class _Cluster(msgspec.Struct):
    """What `cluster` answers."""

    topology: Topology
    max_future_ms: int


_clusters = msgspec.msgpack.Decoder(_Cluster)


def wall_clock() -> int:
    """UTC milliseconds."""
    return time.time_ns() // 1_000_000


class _Denials:
    """Requests that the server does not permit. It answers them with a word about the connection, not with a reply;
    whoever waits for one is told at once instead of at the deadline."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Task[Any]]] = {}
        self._denied: set[asyncio.Task[Any]] = set()

    def heard(self, verb: str, subject: str) -> None:
        """What the server said of the connection; see `Hooks.denied`."""
        for task in self._waiting.get(subject, ()) if verb == "publish" else ():
            self._denied.add(task)
            task.cancel()

    @contextmanager
    def watched(self, subject: str) -> Iterator[None]:
        """A request to a subject is under way. Raises `AccessDenied` when it is not permitted."""
        task = asyncio.current_task()
        assert task is not None
        waiting = self._waiting.setdefault(subject, set())
        waiting.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._denied:
                raise
            task.uncancel()
            raise AccessDenied(f"these credentials do not permit {subject}", subject=subject) from None
        finally:
            self._denied.discard(task)
            waiting.discard(task)
            if not waiting:
                self._waiting.pop(subject, None)


class Connecting:
    """What `connect` gives: await it, or use it as an asynchronous context manager."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._client: Client | None = None

    def __await__(self) -> Generator[Any, None, Client]:
        client: Client = yield from self._make().__await__()
        return client

    async def __aenter__(self) -> Client:
        self._client = await self._make()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()


def connect(
    url: str = "nats://127.0.0.1:4222",
    *,
    namespace: str = "default",
    options: NatsOptions | None = None,
    deadline_ms: int = 1000,
    patience: float = 30.0,
    max_queued: int = 100_000,
) -> Connecting:
    """Connect to a cluster. `options` (credentials, TLS) take the place of `url`.

    `deadline_ms` is what a question may take unless it says otherwise; `patience` how many seconds writes are sent
    again; `max_queued` how many events may wait for their acknowledgement before `track` itself waits. Raises, when
    awaited, `ConfigError`, `AccessDenied`, `Unavailable`.
    """
    check_namespace(namespace)
    settings = options or NatsOptions(url=url, name="headwater-client")

    async def make() -> Client:
        denials = _Denials()
        nc = await dial(settings, hooks=Hooks(denied=denials.heard))
        client = Client(nc, namespace, deadline_ms, patience, max_queued, denials)
        try:
            await client.refresh()
        except BaseException:
            await client.close()
            raise
        return client

    return Connecting(make)


class Client:
    """A connection to a cluster. Made by `connect`; for one event loop, any number of tasks."""

    def __init__(
        self, nc: Any, namespace: str, deadline_ms: int, patience: float, max_queued: int, denials: _Denials
    ) -> None:
        self._nc = nc
        self._denials = denials
        self._namespace = namespace
        self._deadline_ms = deadline_ms
        self._patience = patience
        self._cluster: _Cluster | None = None
        self._room = asyncio.Semaphore(max_queued)
        self._lanes: list[Lane] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._refreshing: asyncio.Task[None] | None = None
        self.position = 0
        """The last position that was acknowledged to this client."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what was tracked, and disconnect."""
        await self.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(NatsError):
            await self._nc.close()

    async def flush(self) -> int:
        """Wait until everything that was tracked is acknowledged or refused; the last position acknowledged."""
        await asyncio.gather(*(lane.idle() for lane in self._lanes))
        return self.position

    # --- questions -----------------------------------------------------------------------------------------------

    async def recommend(
        self,
        user: Id,
        n: int = 10,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        exclude: Sequence[Id] = (),
        context: Mapping[str, Scalar] | None = None,
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        record: bool | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.recommend`. An answer without an item host's part names it in `degraded`."""
        asked = {
            "user": user, "n": n, "scenario": scenario, "filter": filter, "params": params, "exclude": exclude,
            "context": context, "diversity": diversity, "exploration": exploration, "sources": sources,
            "features": features or None, "now": now, "after": after, "record": record,
        }  # fmt: skip
        return _slates.decode(await self._ask("recommend", self._owner(user), asked, deadline_ms))

    async def session(
        self,
        items: Sequence[Id],
        n: int = 10,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        exclude: Sequence[Id] = (),
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        visitor: Id | None = None,
        record: bool | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.session`."""
        asked = {
            "items": items, "n": n, "scenario": scenario, "filter": filter, "params": params, "exclude": exclude,
            "diversity": diversity, "exploration": exploration, "sources": sources, "features": features or None,
            "now": now, "after": after, "visitor": visitor, "record": record,
        }  # fmt: skip
        host = self._anyone(str(items[-1:])) if visitor is None else self._owner(visitor)
        return _slates.decode(await self._ask("session", host, asked, deadline_ms))

    async def rank(
        self,
        user: Id,
        items: Sequence[Id],
        n: int | None = None,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        context: Mapping[str, Scalar] | None = None,
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        record: bool | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.rank`."""
        asked = {
            "user": user, "items": items, "n": n, "scenario": scenario, "filter": filter, "params": params,
            "context": context, "diversity": diversity, "exploration": exploration, "sources": sources,
            "features": features or None, "now": now, "after": after, "record": record,
        }  # fmt: skip
        return _slates.decode(await self._ask("rank", self._owner(user), asked, deadline_ms))

    async def similar(
        self,
        item: Id,
        n: int = 10,
        *,
        relation: str | None = None,
        metric: str | None = None,
        exclude: Sequence[Id] = (),
        now: int | None = None,
        after: int | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.similar`."""
        asked = {
            "item": item, "n": n, "relation": relation, "metric": metric, "exclude": exclude, "now": now, "after": after
        }  # fmt: skip
        return _slates.decode(await self._ask("similar", self._anyone(str(item)), asked, deadline_ms))

    async def trending(
        self,
        category: str | None = None,
        n: int = 10,
        *,
        now: int | None = None,
        after: int | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.trending`."""
        asked = {"category": category, "n": n, "now": now, "after": after}
        return _slates.decode(await self._ask("trending", self._anyone(category or ""), asked, deadline_ms))

    async def session_of(
        self, user: Id, *, now: int | None = None, after: int | None = None, deadline_ms: int | None = None
    ) -> SessionView:
        """See `Engine.session_of`."""
        asked = {"user": user, "now": now, "after": after}
        return _views.decode(await self._ask("session_of", self._owner(user), asked, deadline_ms))

    async def item(
        self, item: Id, *, now: int | None = None, after: int | None = None, deadline_ms: int | None = None
    ) -> ItemView:
        """See `Engine.item`."""
        asked = {"item": item, "now": now, "after": after}
        return _items.decode(await self._ask("item_of", self._anyone(str(item)), asked, deadline_ms))

    async def explain(self, slate: Slate | str, item: Id, *, deadline_ms: int | None = None) -> dict[str, Any]:
        """Why an item stands in a slate, or why not, as plain data (`Explanation.to_dict`). The host that answered a
        slate remembers its latest 1,000."""
        name = slate if isinstance(slate, str) else slate.id
        host = self._topology.host(slate_host(name) or "") or self._anyone(name)
        asked = {"slate": name, "item": item}
        plain: dict[str, Any] = _anything.decode(await self._ask("explain", host, asked, deadline_ms))
        return plain

    async def recommend_many(self, users: Sequence[Id], n: int = 10, **asked: Any) -> list[Slate]:
        """`recommend` for many users, some at a time; slates in their order."""
        underway = asyncio.Semaphore(_MANY)

        async def one(user: Id) -> Slate:
            async with underway:
                return await self.recommend(user, n, **asked)

        return list(await asyncio.gather(*map(one, users)))

    # --- writes --------------------------------------------------------------------------------------------------

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
        event = Feedback(
            type=type,
            user=id_text("user", user),
            item=id_text("item", item),
            ts=wall_clock() if ts is None else ts,
            value=value,
            event_id=event_id,
            session=None if session is None else id_text("session", session),
            basket=None if basket is None else id_text("basket", basket),
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
        if user is None:
            rule = "the user that the slate was for"
            raise InvalidEvent(f"user = None; allowed: {rule}", field="user", value=None, rule=rule)
        name = slate if isinstance(slate, str) else slate.id
        when = wall_clock() if ts is None else ts
        return await self.write(
            Impression(user=id_text("user", user), slate=name, ts=when, slots=list(slots), event_id=event_id)
        )

    async def track_many(self, events: Sequence[Feedback]) -> int:
        """Many events, each durable on its own; the last position. All are checked before any is sent."""
        if not events:
            raise InvalidEvent("no events; allowed: one or more", field="events", value=0, rule="one or more")
        for event in events:
            self._check(event)
        waiting = [await self._enqueue(event) for event in events]
        return self._noted(max(await asyncio.gather(*waiting)))

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
        put = ItemPut(
            item=id_text("item", item),
            ts=wall_clock(),
            categories=categories_of(categories),
            labels=labels_of(labels),
            is_hidden=is_hidden,
            timestamp=timestamp,
            group_id=group_id,
            embeddings=vectors_of(embeddings),
            comment=comment,
        )
        return await self.write(put)

    async def patch_item(self, item: Id, **changes: Any) -> int:
        """See `Engine.patch_item`."""
        unknown = changes.keys() - set(ItemPatch.__struct_fields__[2:])
        if unknown:
            rule = ", ".join(ItemPatch.__struct_fields__[2:])
            named = ", ".join(sorted(unknown))
            raise InvalidEvent(f"patch_item: unknown {named}; allowed: {rule}", field=named, value=None, rule=rule)
        if "embeddings" in changes:
            changes["embeddings"] = vectors_of(changes["embeddings"])
        return await self.write(ItemPatch(item=id_text("item", item), ts=wall_clock(), **changes))

    async def delete_item(self, item: Id) -> int:
        """See `Engine.delete_item`."""
        return await self.write(ItemDelete(item=id_text("item", item), ts=wall_clock()))

    async def put_user(self, user: Id, *, labels: Mapping[str, Any] | None = None, comment: str | None = None) -> int:
        """See `Engine.put_user`."""
        put = UserPut(user=id_text("user", user), ts=wall_clock(), labels=labels_of(labels), comment=comment)
        return await self.write(put)

    async def forget(self, user: Id) -> int:
        """See `Engine.forget`."""
        name = id_text("user", user)
        answer = _anything.decode(await self._ask("forget", self._owner(name), {"user": name}, None, compact=False))
        return self._noted(int(answer["position"]))

    async def write(self, event: Event) -> int:
        """Any event of a client; its position. Raises `InvalidEvent`, `StoreFull`, `Unavailable` (its `kept` says
        whether it may be there)."""
        self._check(event)
        return self._noted(await (await self._enqueue(event)))

    async def append_frames(self, frames: Sequence[bytes]) -> int:
        """Frames of user partitions under numbers of the caller's; the last position. For bulk imports."""
        waiting = []
        for frame in frames:
            await self._room.acquire()
            waiting.append(self._lane(int.from_bytes(frame[6:8], "little")).add_frame(frame))
        return self._noted(max(await asyncio.gather(*waiting)))

    def _check(self, event: Event) -> None:
        assert self._cluster is not None
        check_event(event, wall_clock(), self._cluster.max_future_ms)

    async def _enqueue(self, event: Event) -> asyncio.Future[int]:
        await self._room.acquire()
        subject = subject_of(event, self._topology.partitions)
        return self._lane(subject.partition if subject.kind == PARTITION else 0).add(subject, event)

    def _lane(self, partition: int) -> Lane:
        return self._lanes[partition % len(self._lanes)]  # partitions are dealt like this: a lane has one owner

    def _noted(self, position: int) -> int:
        self.position = max(self.position, position)
        return position

    # --- looking after it ----------------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology:
        """Who owns what, as last heard."""
        return self._topology

    @property
    def max_future_ms(self) -> int:
        """How far ahead of now an event's time may lie."""
        assert self._cluster is not None
        return self._cluster.max_future_ms

    async def stop_cluster(self) -> dict[str, Any]:
        """Tell `headwater serve` to drain and end the cluster. Raises `Unavailable` if none looks after it."""
        data = await self._request(plain_subject(self._namespace, "stop"), b"{}", _FRAMES_SECONDS)
        plain: dict[str, Any] = msgspec.json.decode(data)
        return plain

    async def status(self, seconds: float = 0.5) -> list[dict[str, Any]]:
        """What every host tells of itself (within `seconds`), in the topology's order; one that is silent says so."""
        answers = {answer["host"]: answer async for answer in self._everyone("status", seconds)}
        silent = [{"host": h.name, "kind": h.kind, "phase": "silent"} for h in self._topology.hosts]
        return [answers.get(entry["host"], entry) for entry in silent]

    async def digest(self, seconds: float = 10.0) -> list[dict[str, Any]]:
        """Digests of all hosts with their positions. Raises `Unavailable` if one does not answer."""
        answers = [answer async for answer in self._everyone("digest", seconds)]
        missing = {host.name for host in self._topology.hosts} - {answer["host"] for answer in answers}
        if missing:
            raise Unavailable(f"no digest from {', '.join(sorted(missing))}", retry_after_ms=_RETRY_MS)
        return answers

    async def high_water(self, producer: int, epoch: int) -> dict[int, int]:
        """Per partition the highest frame number received from a producer; partitions without one are left out."""
        marks: dict[int, int] = {}
        for host in self._topology.answering():
            asked = {"producer": f"{producer:016x}", "epoch": epoch}
            answer = _anything.decode(await self._ask("high_water", host, asked, None, compact=False))
            marks |= {int(partition): mark for partition, mark in answer["marks"].items()}
        return marks

    async def _everyone(self, verb: str, seconds: float) -> AsyncIterator[dict[str, Any]]:
        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox)
        try:
            await self._nc.publish(plain_subject(self._namespace, verb), b"\x80", reply=inbox)
            until = time.monotonic() + seconds
            for _ in self._topology.hosts:
                message = await subscription.next_msg(timeout=max(0.001, until - time.monotonic()))
                with suppress(Unavailable):
                    raise_refusal(message.data)
                    yield _anything.decode(message.data)
        except NatsError:  # nobody more within the time
            return
        finally:
            with suppress(NatsError):
                await subscription.unsubscribe()

    async def refresh(self) -> None:
        """Ask the cluster anew who owns what. Raises `Unavailable`."""
        await asyncio.shield(self._refresh_soon())

    def _refresh_soon(self) -> asyncio.Task[None]:
        if self._refreshing is None:
            self._refreshing = asyncio.ensure_future(self._learn())
            self._refreshing.add_done_callback(self._learned)
        return self._refreshing

    def _learned(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # whoever waits for it is told; nobody has to

    async def _learn(self) -> None:
        data = await self._request(plain_subject(self._namespace, "cluster"), b"\x80", self._deadline_ms / 1000)
        self._cluster = _clusters.decode(data)
        if not self._lanes:
            lanes = _LANES_PER_OWNER * len(self._topology.answering())
            for _ in range(lanes):
                lane = Lane(self._send, self._taker, self.refresh, wall_clock, self._patience, self._room)
                self._lanes.append(lane)
                self._tasks.append(asyncio.ensure_future(lane.run()))

    @property
    def _topology(self) -> Topology:
        assert self._cluster is not None
        return self._cluster.topology

    def _taker(self, partition: int | None) -> str:
        answering = self._topology.answering()
        return answering[0].name if partition is None else self._topology.owner_of_partition(partition).name

    def _owner(self, user: Id) -> HostSpec:
        return self._topology.owner_of_partition(partition_of(str(user), self._topology.partitions))

    def _anyone(self, key: str) -> HostSpec:
        answering = self._topology.answering()
        return answering[stable_hash(key) % len(answering)]

    async def _send(self, host: str, data: bytes) -> bytes:
        return await self._request(host_subject(self._namespace, host, "frames"), data, _FRAMES_SECONDS)

    async def _ask(
        self, verb: str, host: HostSpec, asked: dict[str, Any], deadline_ms: int | None, *, compact: bool = True
    ) -> bytes:
        """Ask a host. If it does not answer, another one may own what was asked for by now: the next question knows."""
        wait = self._deadline_ms if deadline_ms is None else deadline_ms
        request = {key: value for key, value in asked.items() if value is not None} | {"deadline_ms": wait}
        if compact and verb != "explain":
            request["compact"] = True
        try:
            data = _encoder.encode(request)
        except (TypeError, ValueError, OverflowError) as err:
            raise InvalidQuery(f"{verb}: {err}; allowed: plain data", field="request", value=None) from err
        seconds = wait / 1000 + _SLACK_SECONDS
        try:
            return await self._request(host_subject(self._namespace, host.name, verb), data, seconds)
        except Unavailable:
            self._refresh_soon()
            raise

    async def _request(self, subject: str, data: bytes, seconds: float) -> bytes:
        try:
            with self._denials.watched(subject):
                message = await self._nc.request(subject, data, timeout=seconds)
        except NoRespondersError:
            raise Unavailable(
                f"nobody answers {subject}: the host is being started again, or there is no such cluster",
                retry_after_ms=_RETRY_MS,
                kept="no",
            ) from None
        except (TimeoutError, NatsError) as err:
            raise DeadlineExceeded(
                f"no answer to {subject} within {seconds:g} s ({str(err) or type(err).__name__})",
                retry_after_ms=_RETRY_MS,
                kept="unknown",
            ) from None
        raise_refusal(message.data)
        return bytes(message.data)
