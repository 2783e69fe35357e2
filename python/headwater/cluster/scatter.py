"""One request to every item host, within a deadline. Who is late or gone is left out and named.

0 u16 layout   2 i64 after (0: none)   10 u32 deadline, ms   14 the message
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from typing import NamedTuple

from nats.errors import Error as NatsError

from headwater.actors.topology import HostSpec, Topology
from headwater.errors import HeadwaterError, NotReady, OtherVersion, Unavailable
from headwater.events.direct_client import DirectClient, is_nobody
from headwater.protocol import host_subject, raise_refusal

LAYOUT = 3
"""Of what item hosts are asked: this head, and the core's messages behind it and in answer to it
(`core_rs/src/query/hosts/message.rs`). One more with every change of them. An item host answers only who speaks its
own, so that its answers are understood, too."""

_HEAD = struct.Struct("<HqI")
_OWN = LAYOUT.to_bytes(2, "little")
_RETRY_MS = 250


class Sent(NamedTuple):
    """What an item host is sent."""

    after: int
    seconds: float
    body: bytes


class Gathered(NamedTuple):
    """A reply or None by host, in the topology's order, and why some are missing."""

    by_host: list[bytes | None]
    left_out: dict[str, str]

    @property
    def replies(self) -> list[bytes]:
        """Of the hosts that answered, in order."""
        return [reply for reply in self.by_host if reply is not None]


def pack(after: int | None, seconds: float, body: bytes) -> bytes:
    """The bytes of a request to an item host."""
    return _HEAD.pack(LAYOUT, after or 0, max(1, int(seconds * 1000))) + body


def unpack(data: bytes) -> Sent:
    """What `pack` made. Raises `OtherVersion` if it was another version's."""
    if len(data) < _HEAD.size or data[:2] != _OWN:
        raise _other_version(int.from_bytes(data[:2], "little"))
    _, after, milliseconds = _HEAD.unpack_from(data)
    return Sent(after, milliseconds / 1000, data[_HEAD.size :])


def _other_version(layout: int) -> OtherVersion:
    own = f"layout {LAYOUT} (headwater {version('headwater')})"
    return OtherVersion(
        f"this host speaks {own} to other hosts, it was asked in layout {layout}: all hosts of a cluster run the same "
        "version; install it everywhere, then `headwater stop` and `headwater serve`",
        layout=layout,
    )


Outcomes = list[bytes | HeadwaterError]
"""A reply, or why there is none, by host."""


class _Gather:
    """Answers to one scatter, as they come."""

    __slots__ = ("_after", "_answers", "_missing", "_nc", "_told", "names", "timer")

    def __init__(
        self, nc: DirectClient, hosts: int, after: int | None, until: float, told: Callable[[Outcomes], None]
    ) -> None:
        self._nc = nc
        self._answers: list[tuple[bytes, bytes | None] | None] = [None] * hosts
        self._missing = hosts
        self._after = after
        self._told: Callable[[Outcomes], None] | None = told
        self.names: list[str] = []
        self.timer = asyncio.get_running_loop().call_later(max(0.0, until - time.monotonic()), self.over)

    def heard(self, at: int, data: bytes, headers: bytes | None) -> None:
        """An answer to the request to host number `at`."""
        self._answers[at] = data, headers
        self._missing -= 1
        if not self._missing:
            self.over()

    def over(self) -> None:
        """Nobody more is waited for."""
        if self._told is not None:
            told = self._told
            self.forget()
            told(outcomes_of(self._answers, self._after))

    def forget(self) -> None:
        """Nobody waits any more."""
        self._told = None
        self.timer.cancel()
        if self._missing:
            for name in self.names:
                self._nc.forget(name)


class Scatter:
    """Asks item hosts. All requests of a scatter share one timer and are one write."""

    def __init__(self, nc: DirectClient, topology: Topology) -> None:
        self._nc = nc
        self._namespace = topology.namespace
        self.hosts = topology.item_hosts()
        self._subjects: dict[tuple[str, str], str] = {}

    def begin(self, verb: str, body: bytes, until: float, told: Callable[[Outcomes], None]) -> None:
        """Ask every item host; `told` is called once: where the last answer is read, or at the time `until`."""
        self._begin(self.hosts, verb, None, body, until, told)

    async def ask_all(self, verb: str, after: int | None, body: bytes, until: float) -> Gathered:
        """Ask every item host; answers until the monotonic time `until`. Raises as `sorted_out`."""
        return self.sorted_out(await self._ask(self.hosts, verb, after, body, until))

    def sorted_out(self, outcomes: Outcomes) -> Gathered:
        """The replies of all item hosts.

        Raises what a host refuses with, if that concerns the question (`InvalidQuery`, `NotReady`) or how it was asked
        (`OtherVersion`, told with the host's name), and `Unavailable` when no host answers.
        """
        by_host: list[bytes | None] = []
        left_out: dict[str, str] = {}
        for host, outcome in zip(self.hosts, outcomes, strict=True):
            if isinstance(outcome, bytes):
                by_host.append(outcome)
            elif isinstance(outcome, Unavailable):
                by_host.append(None)
                left_out[host.name] = outcome.message
            elif isinstance(outcome, OtherVersion):
                raise OtherVersion(f"{host.name}: {outcome.message}", **outcome.details)
            else:
                raise outcome
        if len(left_out) == len(by_host):
            told = "; ".join(f"{name}: {why}" for name, why in left_out.items())
            raise Unavailable(f"no item host answers ({told}); ask again", retry_after_ms=_RETRY_MS)
        return Gathered(by_host, left_out)

    async def ask(self, host: HostSpec, verb: str, after: int | None, body: bytes, until: float) -> bytes:
        """Ask one item host. Raises what it refuses with, or `Unavailable`."""
        (outcome,) = await self._ask((host,), verb, after, body, until)
        if isinstance(outcome, HeadwaterError):
            raise outcome
        return outcome

    async def _ask(
        self, hosts: Sequence[HostSpec], verb: str, after: int | None, body: bytes, until: float
    ) -> Outcomes:
        done: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        gather = self._begin(hosts, verb, after, body, until, partial(_settle, done))
        try:
            return await done
        finally:
            gather.forget()

    def _begin(
        self,
        hosts: Sequence[HostSpec],
        verb: str,
        after: int | None,
        body: bytes,
        until: float,
        told: Callable[[Outcomes], None],
    ) -> _Gather:
        gather = _Gather(self._nc, len(hosts), after, until, told)
        seconds = until - time.monotonic()
        if seconds <= 0:
            return gather
        message = pack(after, seconds, body)
        try:
            for at, host in enumerate(hosts):
                subject = self._subjects.get((host.name, verb)) or self._subject(host.name, verb)
                gather.names.append(self._nc.ask(subject, message, partial(gather.heard, at)))
        except NatsError:  # the connection: who was not asked is as good as late
            asyncio.get_running_loop().call_soon(gather.over)
        return gather

    def subjects(self, verb: str) -> list[str]:
        """Where each item host is asked."""
        return [host_subject(self._namespace, host.name, verb) for host in self.hosts]

    def _subject(self, host: str, verb: str) -> str:
        subject = self._subjects[host, verb] = host_subject(self._namespace, host, verb)
        return subject


def _settle(done: asyncio.Future[Outcomes], outcomes: Outcomes) -> None:
    if not done.done():
        done.set_result(outcomes)


def outcomes_of(answers: Sequence[tuple[bytes, bytes | None] | None], after: int | None) -> Outcomes:
    """What hosts told, each its bytes and headers, `None` where one told nothing."""
    return [_outcome(answer, after) for answer in answers]


def _outcome(answer: tuple[bytes, bytes | None] | None, after: int | None) -> bytes | HeadwaterError:
    if answer is None:
        return Unavailable("late", retry_after_ms=_RETRY_MS)
    data, headers = answer
    if is_nobody(data, headers):
        return Unavailable("gone", retry_after_ms=_RETRY_MS)
    try:
        raise_refusal(data)
    except NotReady as err:
        return err if after else Unavailable(err.message, retry_after_ms=_RETRY_MS)
    except HeadwaterError as err:
        return err
    return data
