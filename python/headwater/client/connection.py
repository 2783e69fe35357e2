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
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

import msgspec
from nats.errors import Error as NatsError

from headwater.actors.topology import HostSpec, Topology
from headwater.arguments import Id
from headwater.client.denials import Denials
from headwater.client.lanes import Lane
from headwater.client.writes import ClientWrites
from headwater.config import Config, fold_config_from
from headwater.errors import DeadlineExceeded, InvalidEvent, InvalidQuery, NotReady, Unavailable
from headwater.events.direct_client import DirectClient, is_nobody
from headwater.events.nats_options import Hooks, NatsOptions
from headwater.events.nats_options import connect as dial
from headwater.events.subjects import PARTITION, partition_of, stable_hash, subject_of
from headwater.events.types import Event
from headwater.events.validate import check_event
from headwater.protocol import check_namespace, host_subject, plain_subject, raise_refusal
from headwater.scenario import QueryConfig
from headwater.wall_clock import wall_clock

_SLACK_SECONDS = 0.25
"""What an answer may take beyond its deadline before the client gives it up itself."""
_RETRY_MS = 250
_FRAMES_SECONDS = 10.0
_DRAIN_SECONDS = 60.0
_LANES_PER_OWNER = 2
"""While the log stores the frames of one, the owner checks those of the other."""

_encoder = msgspec.msgpack.Encoder()
_anything = msgspec.msgpack.Decoder()


class _Cluster(msgspec.Struct):
    """What `cluster` answers."""

    topology: Topology
    max_future_ms: int


_clusters = msgspec.msgpack.Decoder(_Cluster)


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
        denials = Denials()
        nc = await dial(settings, hooks=Hooks(denied=denials.heard))
        client = Client(nc, namespace, deadline_ms, patience, max_queued, denials)
        try:
            await client.refresh()
        except BaseException:
            await client.close()
            raise
        return client

    return Connecting(make)


class Client(ClientWrites):
    """A connection to a cluster. Made by `connect`; for one event loop, any number of tasks."""

    def __init__(
        self, nc: DirectClient, namespace: str, deadline_ms: int, patience: float, max_queued: int, denials: Denials
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
        tasks = [*self._tasks, *([] if self._refreshing is None else [self._refreshing])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(NatsError):
            await self._nc.close()

    async def flush(self) -> int:
        """Wait until everything that was tracked is acknowledged or refused; the last position acknowledged."""
        await asyncio.gather(*(lane.idle() for lane in self._lanes))
        return self.position

    # --- writes -----------------------------------------------------------------------------------------------------

    async def track_many(self, events: Sequence[Event]) -> int:
        """Many events, each durable on its own; the last position. All are checked before any is sent."""
        if not events:
            raise InvalidEvent("no events; allowed: one or more", field="events", value=0, rule="one or more")
        for event in events:
            self.check(event)
        waiting = [await self._enqueue(event) for event in events]
        return self.noted(max(await asyncio.gather(*waiting)))

    async def write(self, event: Event) -> int:
        """Any event of a client; its position. Raises `InvalidEvent`, `StoreFull`, `Unavailable` (its `kept` says
        whether it may be there)."""
        self.check(event)
        return self.noted(await (await self._enqueue(event)))

    async def append_frames(self, frames: Sequence[bytes]) -> int:
        """Frames of user partitions under numbers of the caller's; the last position. For bulk imports."""
        waiting = []
        for frame in frames:
            await self._room.acquire()
            waiting.append(self._lane(int.from_bytes(frame[6:8], "little")).add_frame(frame))
        return self.noted(max(await asyncio.gather(*waiting)))

    def check(self, event: Event) -> None:
        """Raise `InvalidEvent` for an event that no host would take."""
        assert self._cluster is not None
        check_event(event, wall_clock(), self._cluster.max_future_ms)

    async def _enqueue(self, event: Event) -> asyncio.Future[int]:
        await self._room.acquire()
        subject = subject_of(event, self._topology.partitions)
        return self._lane(subject.partition if subject.kind == PARTITION else 0).add(subject, event)

    def _lane(self, partition: int) -> Lane:
        return self._lanes[partition % len(self._lanes)]  # partitions are dealt like this: a lane has one owner

    def noted(self, position: int) -> int:
        """Remember the last position acknowledged."""
        self.position = max(self.position, position)
        return position

    # --- looking after it ----------------------------------------------------------------------------------------

    @property
    def patience(self) -> float:
        """Seconds for which writes are sent again."""
        return self._patience

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

    async def catalogue_pages(self) -> list[bytes]:
        """Every item that was put and not deleted, in pages (`feed_sync.rows_of`), as one host knows them."""
        host, pages, start = self._topology.answering()[0], [], 0
        subject = host_subject(self._namespace, host.name, "catalogue")
        while True:
            answer = await self._request(subject, _encoder.encode(start), _FRAMES_SECONDS)
            page, following = _anything.decode(answer)
            pages.append(page)
            if following is None:
                return pages
            start = following

    async def config(self) -> Config:
        """The configuration that the hosts were started with: `[generation]` and `[query]`."""
        data = await self._request(plain_subject(self._namespace, "config"), b"\x80", self._deadline_ms / 1000)
        told: dict[str, str] = _anything.decode(data)
        return Config(
            generation=fold_config_from(msgspec.json.decode(told["generation"])),
            query=msgspec.json.decode(told["query"], type=QueryConfig),
        )

    async def reached(self, position: int, deadline_ms: int | None = None) -> list[str]:
        """Wait until every host's state has a position; the names of those that did not tell so in time."""

        async def one(host: HostSpec) -> str | None:
            try:
                await self.ask("reach", host, {"position": position}, deadline_ms, compact=False)
            except (Unavailable, NotReady):
                return host.name
            return None

        hosts = await asyncio.gather(*map(one, self._topology.hosts))
        return [name for name in hosts if name is not None]

    async def drain(self) -> None:
        """Have every host write what is queued and answer nothing more. Raises `Unavailable` if one does not say so."""
        for host in self._topology.hosts:
            await self._request(host_subject(self._namespace, host.name, "drain"), b"\x80", _DRAIN_SECONDS)

    async def dismiss(self) -> None:
        """Have every host that still answers leave."""
        for host in self._topology.hosts:
            with suppress(Unavailable):
                await self._request(host_subject(self._namespace, host.name, "leave"), b"\x80", _FRAMES_SECONDS)

    async def status(self, seconds: float = 0.5) -> list[dict[str, Any]]:
        """What every host tells of itself (within `seconds`), in the topology's order; one that is silent says so."""
        answers = {answer["host"]: answer async for answer in self._everyone("status", seconds)}
        silent = [{"host": h.name, "kind": h.kind, "phase": "silent"} for h in self._topology.hosts]
        return [answers.get(entry["host"], entry) for entry in silent]

    async def stats(self, seconds: float = 2.0) -> list[dict[str, Any]]:
        """Counts and bytes of the parts of every host that answers within `seconds`."""
        return [answer async for answer in self._everyone("stats", seconds)]

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
            answer = _anything.decode(await self.ask("high_water", host, asked, None, compact=False))
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

    def owner_of(self, user: Id) -> HostSpec:
        """The host that owns a user."""
        return self._topology.owner_of_partition(partition_of(str(user), self._topology.partitions))

    def anyone(self, key: str) -> HostSpec:
        """A host for what any of them answers; the same for the same key."""
        answering = self._topology.answering()
        return answering[stable_hash(key) % len(answering)]

    async def _send(self, host: str, data: bytes) -> bytes:
        return await self._request(host_subject(self._namespace, host, "frames"), data, _FRAMES_SECONDS)

    async def ask(
        self, verb: str, host: HostSpec, asked: Mapping[str, Any], deadline_ms: int | None, *, compact: bool = True
    ) -> bytes:
        """See `ClientQuestions.ask`. If the host does not answer, another one may own what was asked for by now: the
        next question knows."""
        wait = self._deadline_ms if deadline_ms is None else deadline_ms
        request = {key: value for key, value in asked.items() if value is not None} | {"deadline_ms": wait}
        if compact:
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
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[bytes, bytes | None]] = loop.create_future()
        timer = loop.call_later(seconds, _late, answer)
        name = ""
        try:
            with self._denials.watched(subject, answer):
                await self._nc.ready_to_ask()
                name = self._nc.ask(subject, data, partial(_answered, answer))
                told, headers = await answer
        except (TimeoutError, NatsError) as err:
            raise DeadlineExceeded(
                f"no answer to {subject} within {seconds:g} s ({str(err) or type(err).__name__})",
                retry_after_ms=_RETRY_MS,
                kept="unknown",
            ) from None
        finally:
            timer.cancel()
            self._nc.forget(name)
        if is_nobody(told, headers):
            raise Unavailable(
                f"nobody answers {subject}: the host is being started again, or there is no such cluster",
                retry_after_ms=_RETRY_MS,
                kept="no",
            )
        raise_refusal(told)
        return told


def _answered(answer: asyncio.Future[tuple[bytes, bytes | None]], data: bytes, headers: bytes | None) -> None:
    if not answer.done():
        answer.set_result((data, headers))


def _late(answer: asyncio.Future[tuple[bytes, bytes | None]]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
