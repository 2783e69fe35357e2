"""The load process of a cluster: `python -m headwater.bench.latency.nats_load FD OPTIONS`.

One thread with an event loop, apart from the hosts and the server: each request is published when it is due, whatever
became of the earlier ones, with a reply subject that carries its number. Answers are stamped as they come and looked
into afterwards. Requests are plain JSON to `hw.<ns>.<verb>`, as any client could send them, or with `owners` straight
to the host that owns the user. With `sdk` events are tracked as an application with the Python client does it. The
connection is the Python client's, and the core sends and stamps (`headwater.core.PacedTurn`): every line of Python in
between would take of the cores that are measured.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import numpy as np
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from headwater.bench.latency.alarm import Alarm
from headwater.bench.latency.event_loop import new_event_loop
from headwater.bench.latency.jobs import TARGET, Done, Job, Probe, Ready, serve
from headwater.bench.latency.nats_options import NatsOptions, loopback_address
from headwater.bench.latency.pacing import Pacing, Request
from headwater.bench.latency.population import Pairs, Population
from headwater.bench.latency.records import ANSWERED, DEGRADED, ERROR, REFUSED, TIMED_OUT, Records
from headwater.bench.latency.schedule import VERBS, schedule
from headwater.bench.latency.stream_sample import sampled_stream
from headwater.client import Client as Sdk
from headwater.client import connect
from headwater.core import PacedTurn
from headwater.errors import InvalidQuery, TargetFailed
from headwater.events.direct_client import DirectClient, dial
from headwater.events.subjects import partition_of
from headwater.short_turns import take_short_turns

ECHO, SCATTER = "echo", "no-op scatter"
_FIRST_TIMEOUT_S = 5.0
_SHAPE_PROBES = 30
_PROBE_ANSWERS = 500
_SCATTERED = ("recommend", "similar", "session", "trending")


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""
    retry_after_ms: int | None = None


class _Reply(msgspec.Struct):
    error: _Error | None = None
    degraded: list[Any] | bool | None = None


class _Slate(msgspec.Struct):
    about: list[str] = []
    items: list[dict[str, Any]] = []


_NOBODY = b'{"error":{"message":"nobody answers"}}'
_reply = msgspec.json.Decoder(_Reply)
_slate = msgspec.json.Decoder(_Slate)


class Shape(msgspec.Struct):
    """Sizes of the target's traffic: request and reply between the hosts, how many item hosts, and replies by verb."""

    legs: int
    leg_request: int
    leg_reply: int
    replies: dict[str, int]
    seen: bool
    """Whether the traffic between hosts was seen; otherwise its sizes are those of the options."""


class _Turn(NamedTuple):
    """What is under way."""

    paced: PacedTurn
    tracked: set[int]
    """Requests of the Python client that are not answered."""
    refused: list[tuple[int, bytes]]
    """What those were answered that were not acknowledged."""
    over: asyncio.Event

    @property
    def is_over(self) -> bool:
        """Whether all were answered."""
        return not self.tracked and not self.paced.left


class NatsLoad:
    """A connection to the server, and what is asked over it."""

    def __init__(self, options: NatsOptions, records: Records) -> None:
        self._options = options
        self._records = records
        self._loop = new_event_loop()
        self._turn: _Turn | None = None
        self._probes = itertools.count()
        self._run_id = secrets.token_hex(4)
        self._lost = ""
        self._client: Sdk
        self.ready = self._loop.run_until_complete(self._open())

    def run(self, job: Job) -> Done:
        """One turn on the target or on a floor. Raises `TargetFailed` when the connection is lost."""
        return self._loop.run_until_complete(self._run(job))

    # --- opening -------------------------------------------------------------------------------------------------

    async def _open(self) -> Ready:
        o = self._options
        self._nc, self._other = await self._connect(), await self._connect()
        self._alarm, self._probe_alarm = Alarm(self._loop), Alarm(self._loop)
        self._pacing = await Pacing.open(self._nc, self._records)
        topology = await self._topology()
        hosts = self._hosts = topology.get("hosts", [])
        self._generation = str(topology.get("generation", ""))
        self._partitions = int(topology.get("partitions", 0))
        self._owners: dict[int, str] = {p: host["name"] for host in hosts for p in host["partitions"]}
        answering = [host["name"] for host in hosts if host["partitions"]]
        self._fronts = {name: number for number, name in enumerate(answering)}
        if o.owners and not self._owners:
            raise TargetFailed("the cluster does not say which host owns whom: leave --owners out", reason="topology")
        pairs = await self._pairs()
        if o.sdk:
            self._client = await connect(o.url, namespace=o.namespace)
        self._population = Population(pairs, o.choice, o.exponent, o.strangers)
        self._shape = await self._shape_of(pairs)
        facts: dict[str, Any] = {
            "namespace": o.namespace,
            "hosts": Counter(host["kind"] for host in hosts),
            "sampled_events": len(pairs.users),
            "shape": msgspec.to_builtins(self._shape),
        }
        return Ready(floors=[ECHO, SCATTER] if o.floors else [], facts=facts, generator_apart=True)

    async def _connect(self) -> DirectClient:
        async def on_error(err: Exception) -> None:
            self._lost = self._lost or str(err)

        async def on_closed() -> None:
            self._lost = self._lost or "the server closed the connection"
            if self._turn is not None:
                self._turn.over.set()

        shown = loopback_address(self._options.url).shown
        try:
            return await dial(
                servers=self._options.url,
                allow_reconnect=False,
                connect_timeout=3,
                max_reconnect_attempts=1,  # otherwise a refused first connection is tried for two minutes
                reconnect_time_wait=0,
                error_cb=on_error,
                closed_cb=on_closed,
            )
        except (OSError, NatsError, TimeoutError) as err:
            why = self._lost or str(err) or type(err).__name__
            raise TargetFailed(f"{shown}: no connection to a NATS server: {why}", reason="unreachable") from err

    async def _topology(self) -> dict[str, Any]:
        """Hosts as the cluster names them; empty from a responder that does not know the question."""
        try:
            reply = await self._nc.request(f"hw.{self._options.namespace}.cluster", b"{}", timeout=1)
            found = msgspec.json.decode(reply.data)
        except (NatsError, TimeoutError, msgspec.DecodeError):
            return {}
        topology = found.get("topology") if isinstance(found, dict) else None
        return topology if isinstance(topology, dict) and "hosts" in topology else {}

    async def _pairs(self) -> Pairs:
        if self._options.pairs is not None:
            return msgspec.json.decode(Path(self._options.pairs).read_bytes(), type=Pairs)
        return await sampled_stream(self._nc, self._options.namespace, self._generation)

    async def _shape_of(self, pairs: Pairs) -> Shape:
        """Ask each verb a few times, one after the other, and look at the sizes that go by."""
        o = self._options
        seen: list[Msg] = []

        async def on_message(message: Msg) -> None:
            seen.append(message)

        watch = await self._other.subscribe(f"hw.{o.namespace}.h.>", cb=on_message)
        watch_inboxes = await self._other.subscribe("_INBOX.>", cb=on_message)
        await self._other.flush()
        sizes: dict[str, int] = {}
        legs: tuple[int, int, int] | None = None
        for verb in o.verbs:
            if verb == "track":
                sizes[verb] = 32
                continue
            seen.clear()
            replies = []
            for i in range(_SHAPE_PROBES):
                at = i % len(pairs.users)
                replies.append(await self._first(verb, pairs.users[at], pairs.items[at]))
            sizes[verb] = int(median(map(len, replies)))
            await self._other.flush()
            if legs is None:
                legs = _legs(seen, _SHAPE_PROBES)
        await watch.unsubscribe()
        await watch_inboxes.unsubscribe()
        items = sum(host.get("kind") == "item" for host in self._hosts)
        if legs is None:
            return Shape(items or 2, *o.leg_bytes, sizes, seen=False)
        return Shape(*legs, sizes, seen=True)

    async def _first(self, verb: str, user: str, item: str) -> bytes:
        """A question outside of the load. Raises `InvalidQuery` for one that is refused as wrong, else
        `TargetFailed`."""
        subject = f"hw.{self._options.namespace}.{verb}"
        try:
            reply = await self._nc.request(subject, self._body(verb, user, item), timeout=_FIRST_TIMEOUT_S)
        except NoRespondersError:
            raise TargetFailed(f"nobody answers {subject}: is the cluster up?", reason="no-responders") from None
        except (NatsError, TimeoutError) as err:
            why = self._lost or f"no answer within {_FIRST_TIMEOUT_S:g} s"
            raise TargetFailed(f"{subject}: {why}", reason="silent") from err
        error = _reply.decode(reply.data).error
        if error is not None:
            if error.code.startswith("invalid"):
                raise InvalidQuery(error.message)
            raise TargetFailed(f"{subject}: {error.message} ({error.code})", reason=error.code)
        return reply.data

    # --- load ----------------------------------------------------------------------------------------------------

    async def _run(self, job: Job) -> Done:
        plan = schedule(job.turn)
        users, items = self._population.user(plan.draw), self._population.item(plan.draw)
        verbs = [VERBS[verb] for verb in plan.verb.tolist()]
        bodies = [self._body(*request) for request in zip(verbs, users, items, strict=True)]
        subjects = [self._subject(job.subject, verb, user) for verb, user in zip(verbs, users, strict=True)]
        tracked = dict(self._tracked(job.subject, verbs, users, items))
        plain = [
            Request(number, due, subjects[number], bodies[number])
            for number, due in enumerate(plan.due_ns.tolist())
            if number not in tracked
        ]
        turn = self._turn = self._prepared(plain, set(tracked))
        cpu, started = time.process_time(), time.monotonic_ns() + 20_000_000
        due = (plan.due_ns + started).tolist()
        self._pacing.start(turn.paced, started)
        probing = None
        if job.subject == TARGET and job.probes:
            probing = asyncio.ensure_future(self._probe(job, started))
        await self._track(turn, due, tracked)
        if not turn.is_over and not self._lost:
            patience_s = job.patience_s + max(0, due[-1] - time.monotonic_ns()) / 1e9
            try:
                await asyncio.wait_for(turn.over.wait(), patience_s)
            except TimeoutError:
                self._give_up(turn)
        ended = time.monotonic_ns()
        self._pacing.end()
        probes = [] if probing is None else await probing
        self._turn = None
        used = time.process_time() - cpu
        messages = self._look_into(turn)
        if self._lost:
            raise TargetFailed(f"the connection was lost: {self._lost}", reason="lost")
        return Done(started=started, ended=ended, cpu_s=used, probes=probes, error_messages=messages[:5])

    def _prepared(self, plain: list[Request], tracked: set[int]) -> _Turn:
        over = asyncio.Event()

        def answered() -> None:
            if not tracked:
                over.set()

        return _Turn(self._pacing.turn(plain, answered), tracked, [], over)

    def _tracked(
        self, subject: str, verbs: list[str], users: list[str], items: list[str]
    ) -> Iterator[tuple[int, tuple[str, str]]]:
        """Requests that the Python client makes: their numbers, with user and item."""
        if self._options.sdk and subject == TARGET:
            for number, (verb, user, item) in enumerate(zip(verbs, users, items, strict=True)):
                if verb == "track":
                    yield number, (user, item)

    async def _track(self, turn: _Turn, due: list[int], tracked: dict[int, tuple[str, str]]) -> None:
        """Have the Python client track what it is to track, when it is due."""
        numbers = sorted(tracked)

        def act(place: int) -> bool:
            if self._lost:
                return False
            number = numbers[place]
            self._records.begin(number, 0, time.monotonic_ns())
            user, item = tracked[number]
            acknowledged = asyncio.ensure_future(self._client.track("view", user=user, item=item))
            acknowledged.add_done_callback(partial(self._on_position, turn, number))
            return True

        await self._alarm.each([due[number] for number in numbers], act)

    def _on_position(self, turn: _Turn, number: int, acknowledged: asyncio.Task[int]) -> None:
        ended = time.monotonic_ns()
        err = None if acknowledged.cancelled() else acknowledged.exception()
        if turn is not self._turn or number not in turn.tracked:
            return
        turn.tracked.discard(number)
        self._records.end(number, ended, ANSWERED if err is None else ERROR, 0)
        if err is not None:
            turn.refused.append((number, msgspec.json.encode({"error": {"message": str(err)}})))
        if turn.is_over:
            turn.over.set()

    def _give_up(self, turn: _Turn) -> None:
        now = time.monotonic_ns()
        for number in [*turn.tracked, *turn.paced.waiting()]:
            self._records.end(number, now, TIMED_OUT)

    def _look_into(self, turn: _Turn) -> list[str]:
        """Outcomes of what was answered, after the load: refusals and degraded answers are no plain answers."""
        messages = []
        plain = ((number, _NOBODY if data is None else data) for number, data in turn.paced.take_answers())
        for number, data in itertools.chain(plain, turn.refused):
            if data[:1] != b"{":
                continue  # a floor's
            reply = _reply.decode(data)
            if reply.error is not None:
                self._records.judge(number, REFUSED if reply.error.retry_after_ms is not None else ERROR)
                messages.append(reply.error.message)
            elif reply.degraded:
                self._records.judge(number, DEGRADED)
        return messages

    def _subject(self, subject: str, verb: str, user: str) -> str:
        shape, o = self._shape, self._options
        reply = shape.replies.get(verb, 32)
        if subject == ECHO:
            return f"{o.floors}.echo.{reply}"
        if subject == SCATTER:
            legs = shape.legs if verb in _SCATTERED else 0
            front = f"front.{self._fronts[self._owner(user)]}" if o.owners else "scatter"
            return f"{o.floors}.{front}.{legs}.{reply}.{shape.leg_request}.{shape.leg_reply}"
        if o.owners:
            return f"hw.{o.namespace}.h.{self._owner(user)}.{verb}"
        return f"hw.{o.namespace}.{verb}"

    def _owner(self, user: str) -> str:
        return self._owners[partition_of(user, self._partitions)]

    def _body(self, verb: str, user: str, item: str) -> bytes:
        o = self._options
        scenario: dict[str, Any] = {} if o.scenario is None else {"scenario": o.scenario}
        if o.filter is not None:
            scenario["filter"] = o.filter
        record = {} if o.record is None else {"record": o.record}
        bodies: dict[str, dict[str, Any]] = {
            "recommend": {"user": user, "n": o.n, **scenario, **record},
            "similar": {"item": item, "n": o.n},
            "session": {"items": [item], "n": o.n, **scenario},
            "trending": {"n": o.n},
            "track": {"type": "view", "user": user, "item": item},
        }
        return msgspec.json.encode(bodies[verb])

    # --- freshness -----------------------------------------------------------------------------------------------

    async def _probe(self, job: Job, started: int) -> list[Probe]:
        """Freshness probes beside the load: one connection writes, the other asks until an answer knows of it."""
        probes: list[Probe] = []
        watching: set[asyncio.Task[None]] = set()
        names = self._population.items.names
        for at in np.arange(0.5, job.turn.seconds * job.probes) / job.probes * 1e9 + started:
            await self._probe_alarm.until(int(at))
            number = next(self._probes)
            user, item = f"freshness probe {self._run_id}-{number}", names[number % len(names)]
            try:
                reply = await self._nc.request(
                    self._subject(TARGET, "track", user), self._body("track", user, item), timeout=job.patience_s
                )
            except (NatsError, TimeoutError):
                continue  # not acknowledged: there is nothing to wait for; the load counts such failures
            acknowledged = time.monotonic_ns()
            if _reply.decode(reply.data).error is None:
                task = asyncio.ensure_future(self._watch(user, item, acknowledged, job.patience_s, probes))
                watching.add(task)
                task.add_done_callback(watching.discard)
        if watching:
            await asyncio.wait(watching)
        return probes

    async def _watch(self, user: str, item: str, acknowledged: int, patience_s: float, probes: list[Probe]) -> None:
        question = msgspec.json.encode({"user": user, "n": self._options.n, "record": False, "detail": True})
        subject = self._subject(TARGET, "recommend", user)
        visible = answers = 0
        while not visible and answers < _PROBE_ANSWERS and time.monotonic_ns() < acknowledged + patience_s * 1e9:
            answers += 1
            try:
                reply = await self._other.request(subject, question, timeout=patience_s)
            except (NatsError, TimeoutError):
                break
            if knows(reply.data, item):
                visible = time.monotonic_ns()
        probes.append(Probe(acknowledged, visible, answers))


def knows(data: bytes, item: str) -> bool:
    """Whether an answer was made from a visitor's event on an item: it says so, or gives it as a reason."""
    slate = _slate.decode(data)
    return item in slate.about or any(item in str(entry.get("reason", "")) for entry in slate.items)


def _legs(seen: list[Msg], questions: int) -> tuple[int, int, int] | None:
    """How many hosts each question was passed on to, and the sizes of request and reply, by the messages that went by
    while `questions` were asked one after the other; None if nothing was passed on."""
    passed = [message for message in seen if message.reply and not message.subject.startswith("_INBOX.")]
    # Heartbeats and the like go to nobody in particular; what is asked once in a while is no leg.
    subjects = [s for s, times in Counter(m.subject for m in passed).items() if times >= 0.8 * questions]
    asked = [message for message in passed if message.subject in subjects]
    if not asked:
        return None
    inboxes = {message.reply for message in asked}
    replies = [len(message.data) for message in seen if message.subject in inboxes]
    if not replies:
        return None
    return len(subjects), int(median(len(m.data) for m in asked)), int(median(replies))


def _open() -> tuple[Ready, Callable[[Job], Done]]:
    fd, text = sys.argv[1:]
    load = NatsLoad(msgspec.json.decode(text, type=NatsOptions), Records(int(fd)))
    return load.ready, load.run


if __name__ == "__main__":
    take_short_turns()  # on another machine it would not interrupt those whom it asks
    serve(_open)
