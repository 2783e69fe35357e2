"""The NATS side of a host: requests in, answers out, within bounds.

Endpoints are those of the NATS micro service protocol, so `nats micro ls` finds them and their statistics. Each host
has subjects of its own; the plain subjects (`hw.<ns>.recommend`) are heard by every host that answers visitors, and
the owner alone answers. There is no queue group with more than one member: a stopped member would swallow its share
of the requests without anybody noticing.

Messages are handed over where they are read (`direct_client`). A handler that can answer at once does so there; for
any other a task is begun. How many are under way is bounded, and what comes beyond that is refused at once. Usual
questions are answered before they get here (`headwater.core.Wire`); the endpoint's door says whether they may be.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

import nats.micro
from nats.errors import Error as NatsError
from nats.micro.request import Request as MicroRequest
from nats.micro.service import EndpointConfig, EndpointStats, Service, ServiceConfig

from headwater.cluster.logs import request_id
from headwater.cluster.metrics import HostMetrics
from headwater.cluster.rate import TokenBucket
from headwater.cluster_limits import ClusterConfig
from headwater.core import Door
from headwater.errors import HeadwaterError, InternalError, InvalidQuery, Overloaded, Unavailable
from headwater.events.direct_client import DirectClient
from headwater.protocol import decode_request, encode, encode_error, encoding_of, host_subject, plain_subject

logger = logging.getLogger(__name__)

Handler = Callable[[Any], Awaitable[object]]
"""Takes a decoded request, returns what `encode` takes. Errors of the tree become refusals."""

RawHandler = Callable[[bytes], Awaitable[bytes]]
"""Takes and returns bytes as they are: between hosts."""

AtOnce = Callable[[bytes], bytes | None]
"""As `RawHandler` without waiting for anything; `None` if that cannot be done now."""


Settle = Callable[[Callable[[], object]], None]
"""Called once, with what gives the answer or raises."""

Begin = Callable[[Any, Settle], bool]
"""As `Handler`, for a request that waits for one thing only, the log or other hosts: begun where it was read, settled
where that is heard of. False if something else has to be waited for; nothing was begun then."""

Claim = Callable[[Any], Awaitable[bool]]
"""Whether this host answers a request that came on the plain path; an error of the tree is answered in its stead."""

RETRY_OVERLOADED_MS = 100
_REQUEST_ID = re.compile(rb"(?i)\r\nHw-Request-Id:\s*([^\r\n]{1,64})")
_REFUSALS_TOLD_PER_SECOND = 20
"""More refusals than these are counted and not logged."""


class Incoming(NamedTuple):
    """One request: where its answer goes ("": nowhere), what it says, its headers as they came."""

    reply: str
    data: bytes
    headers: bytes | None


class Endpoint:
    """Answers requests of one host."""

    def __init__(
        self,
        nc: DirectClient,
        namespace: str,
        host: str,
        limits: ClusterConfig,
        metrics: HostMetrics,
        speaks_for_all: Callable[[], bool],
    ) -> None:
        """`speaks_for_all`: whether this host answers plain requests that nobody can tell the owner of."""
        self._nc = nc
        self.speaks_for_all = speaks_for_all
        self._namespace = namespace
        self._host = host
        self._limits = limits
        self._metrics = metrics
        self._service: Service | None = None
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = 0
        self._subscriptions: dict[str, int] = {}
        self.door = Door(limits.max_pending, limits.max_request_bytes)
        """Closed to questions that are answered without Python while the host refuses anything, and where every request
        counts for a rate."""
        self._stopping: asyncio.Future[None] | None = None
        self._rate = TokenBucket(limits.requests_per_second)
        self._told = TokenBucket(_REFUSALS_TOLD_PER_SECOND)
        self._refusing: Unavailable | None = None

    @property
    def refusing(self) -> Unavailable | None:
        """Why the host answers nothing just now: it recovers, or it drains."""
        return self._refusing

    @refusing.setter
    def refusing(self, why: Unavailable | None) -> None:
        self._refusing = why
        self.door.open = why is None and not self._limits.requests_per_second

    async def start(self, version: str) -> None:
        """Announce the service; endpoints are added afterwards."""
        self._service = await nats.micro.add_service(
            self._nc,
            ServiceConfig(
                name=f"headwater-{self._namespace}",
                version=version,
                description="Headwater recommendation host",
                metadata={"host": self._host, "namespace": self._namespace},
                stats_handler=self._stats,
            ),
        )

    def _stats(self, endpoint: EndpointStats) -> dict[str, Any]:
        subscription = self._subscriptions.get(endpoint.name)
        if subscription is not None:
            endpoint.num_requests += self._nc.wire.taken(subscription)
        return self._metrics.verb_stats(endpoint.name)

    def subscription(self, verb: str) -> int:
        """The subscription of a verb on this host's own subject. Only after `answer`."""
        return self._subscriptions[verb]

    async def answer(
        self,
        verb: str,
        handler: Handler,
        claim: Claim | None = None,
        begin: Begin | None = None,
        *,
        always: bool = False,
    ) -> None:
        """Answer a verb on this host's own subject and, with `claim`, on the plain one. `begin` is tried before
        `handler` on the own subject. `always`: also while the host refuses everything else."""

        def own(message: Incoming) -> None:
            if begin is None:
                self._begin(message, verb, handler, None, always)
            elif self._has_room(message, verb, always):
                self._begin_at_once(message, verb, handler, begin)

        await self._add(verb, verb, host_subject(self._namespace, self._host, verb), own)
        if claim is not None:
            claimed = claim

            def plain(message: Incoming) -> None:
                self._begin(message, verb, handler, claimed, always)

            await self._add(f"plain-{verb}", verb, plain_subject(self._namespace, verb), plain)

    async def answer_raw(
        self, verb: str, handler: RawHandler, at_once: AtOnce | None = None, *, always: bool = False
    ) -> None:
        """Answer a verb of bytes on this host's own subject. `at_once` is tried before `handler`."""

        def own(message: Incoming) -> None:
            if not self._has_room(message, verb, always, raw=True):
                return
            if at_once is None or not self._replied(message, verb, at_once):
                self._spawn(self._reply_raw(message, verb, handler))

        await self._add(verb, verb, host_subject(self._namespace, self._host, verb), own)

    async def _add(self, name: str, verb: str, subject: str, handler: Callable[[Incoming], None]) -> None:
        assert self._service is not None

        async def by_service(message: MicroRequest) -> None:
            handler(Incoming(message._msg.reply, message.data, None))

        await self._service.add_endpoint(
            EndpointConfig(
                name=name, subject=subject, queue_group=self._host, handler=by_service, metadata={"verb": verb}
            )
        )
        added = self._service._endpoints[-1]

        def directly(_: str, reply: str, data: bytes, headers: bytes | None) -> None:
            added._num_requests += 1
            handler(Incoming(reply, data, headers))

        assert added._subscription is not None
        self._subscriptions[name] = added._subscription._id
        self._nc.divert(added._subscription, directly)

    def _begin_at_once(self, message: Incoming, verb: str, handler: Handler, begin: Begin) -> None:
        """Begin a request without a task of its own: one that only waits needs none."""
        if not self._has_begun(message, verb, begin, time.perf_counter()):
            self._spawn(self._reply(message, verb, handler, None, False))
            self._end_begun()

    def take_over(self, message: Incoming, verb: str, age: float, begin: Begin) -> None:
        """Go on with a request that was begun without Python `age` seconds ago: `begin` does, whatever it takes."""
        self._has_begun(message, verb, begin, time.perf_counter() - age)

    def _has_begun(self, message: Incoming, verb: str, begin: Begin, started: float) -> bool:
        token = request_id.set(_id_of(message))
        self._begun += 1
        self._count_others()
        settle = partial(self._settled, message, verb, encoding_of(message.data), started)
        try:
            return begin(decode_request(verb, message.data).request, settle)
        except Exception as err:  # noqa: BLE001 - the answer tells it
            settle(partial(_raise, err))
            return True
        finally:
            request_id.reset(token)

    def _settled(
        self,
        message: Incoming,
        verb: str,
        encoding: str,
        started: float,
        result: Callable[[], object],
    ) -> None:
        try:
            answer = encode(result(), encoding)
        except HeadwaterError as err:
            answer = self._told_off(verb, err, encoding)
        except Exception:  # noqa: BLE001
            answer = self._defect(verb, encoding)
        self._answered(message, verb, started, answer)
        self._end_begun()

    def _end_begun(self) -> None:
        self._begun -= 1
        self._count_others()
        if not self._begun and self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)

    def _refused(self, verb: str, err: HeadwaterError) -> None:
        self._metrics.refused(verb, err.code)
        if isinstance(err, InternalError):  # nobody else tells the operator of it
            logger.error("%s: %s", verb, err.message)

    def _told_off(self, verb: str, err: HeadwaterError, encoding: str) -> bytes:
        self._refused(verb, err)
        if self._told.take(1):
            logger.info("%s refused: %s: %s", verb, err.code, err.message)
        return encode_error(err, encoding)

    def _answered(self, message: Incoming, verb: str, started: float, answer: bytes) -> None:
        self._respond(message, answer)
        self._count(verb, started)

    def _count(self, verb: str, started: float) -> None:
        """Count an answer, once it is on its way."""
        self._loop.call_soon(self._metrics.answered, verb, time.perf_counter() - started)

    def _begin(self, message: Incoming, verb: str, handler: Handler, claim: Claim | None, always: bool) -> None:
        # Of a plain request it is not yet known whose it is: nothing may be refused before that.
        if claim is not None or self._has_room(message, verb, always):
            self._spawn(self._reply(message, verb, handler, claim, always))

    def _has_room(self, message: Incoming, verb: str, always: bool, *, raw: bool = False) -> bool:
        # Bytes between hosts and frames of writers are as large as the server lets them be.
        refusal = self._refusal(0 if raw else len(message.data), always)
        if refusal is None:
            return True
        self._refuse(message, verb, refusal, "msgpack" if raw else encoding_of(message.data))
        return False

    def _refusal(self, size: int, always: bool) -> HeadwaterError | None:
        if size > self._limits.max_request_bytes and not always:
            rule = f"at most {self._limits.max_request_bytes:,} bytes (cluster.max_request_bytes)"
            return InvalidQuery(f"a request of {size:,} bytes; allowed: {rule}", field="request", rule=rule)
        if always:
            return None
        if self.refusing is not None:
            return self.refusing
        if self.pending >= self._limits.max_pending:
            return Overloaded(
                f"host {self._host} has {self.pending} requests under way, its limit; ask again",
                retry_after_ms=RETRY_OVERLOADED_MS,
            )
        if not self._rate.take(1):
            return Overloaded(
                f"host {self._host} takes {self._limits.requests_per_second:,} requests a second; ask again",
                retry_after_ms=self._rate.wait_ms(1),
            )
        return None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        self._count_others()
        task.add_done_callback(self._end_task)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._count_others()

    def _count_others(self) -> None:
        self.door.others = len(self._tasks) + self._begun

    @property
    def pending(self) -> int:
        """Requests under way."""
        return len(self._tasks) + self._begun + self.door.inside

    def _refuse(self, message: Incoming, verb: str, err: HeadwaterError, encoding: str) -> None:
        self._metrics.refused(verb, err.code)
        self._respond(message, encode_error(err, encoding))

    async def _reply(self, message: Incoming, verb: str, handler: Handler, claim: Claim | None, always: bool) -> None:
        started = time.perf_counter()
        request_id.set(_id_of(message))
        encoding: str = encoding_of(message.data)
        try:
            request = decode_request(verb, message.data).request
        except InvalidQuery as err:
            if claim is None or self.speaks_for_all():
                self._refuse(message, verb, err, encoding)
            return
        try:
            if claim is not None:
                if not await claim(request):
                    return
                refusal = self._refusal(len(message.data), always)
                if refusal is not None:
                    raise refusal
            answer = encode(await handler(request), encoding)
        except HeadwaterError as err:
            answer = self._told_off(verb, err, encoding)
        except Exception:  # noqa: BLE001
            answer = self._defect(verb, encoding)
        self._answered(message, verb, started, answer)

    def _defect(self, verb: str, encoding: str) -> bytes:
        """A defect of this program: told apart from refusals, kept with its trace, and no reason to go silent."""
        logger.exception("%s: the answer broke off", verb)
        self._metrics.refused(verb, "error")
        return encode_error(HeadwaterError(f"{verb}: the host failed to answer; see its log"), encoding)

    async def _reply_raw(self, message: Incoming, verb: str, handler: RawHandler) -> None:
        started = time.perf_counter()
        request_id.set(_id_of(message))
        try:
            answer = await handler(message.data)
        except HeadwaterError as err:
            self._refused(verb, err)
            answer = encode_error(err, "msgpack")
        except Exception:  # noqa: BLE001
            answer = self._defect(verb, "msgpack")
        self._respond(message, answer)
        self._count(verb, started)

    def _replied(self, message: Incoming, verb: str, at_once: AtOnce) -> bool:
        """Answer where the request was read, if that can be done now."""
        started = time.perf_counter()
        try:
            answer = at_once(message.data)
        except HeadwaterError as err:
            self._refused(verb, err)
            answer = encode_error(err, "msgpack")
        except Exception:  # noqa: BLE001
            answer = self._defect(verb, "msgpack")
        if answer is None:
            return False
        self._respond(message, answer)
        self._count(verb, started)
        return True

    def _respond(self, message: Incoming, answer: bytes) -> None:
        if not message.reply or self._nc.is_closed:
            return
        try:
            self._nc.send(message.reply, answer)
        except NatsError as err:  # whoever asked is told by their deadline
            if self._told.take(1):
                logger.warning("an answer of %d bytes was not sent: %s", len(answer), err or type(err).__name__)

    async def stop(self) -> None:
        """Take no more requests, and finish those that were begun."""
        if self._service is not None:
            await self._service.stop()
            self._service = None
        if self.door.inside:
            out: asyncio.Future[None] = self._loop.create_future()
            self.door.when_empty(lambda: out.set_result(None))
            await out
        while self._tasks:
            await asyncio.wait(self._tasks)
        if self._begun:
            self._stopping = self._loop.create_future()
            await self._stopping


def _raise(err: Exception) -> object:
    raise err


def _id_of(message: Incoming) -> str:
    """Names a request in the log: what its sender calls it, else where its answer goes to."""
    if message.headers is not None and (given := _REQUEST_ID.search(message.headers)) is not None:
        return given[1].decode("utf-8", "replace")
    return message.reply[-64:]
