"""Requests over a connection to NATS, sent when they are due and stamped when they are answered: by the core, so that
next to nothing of the cores that are measured is taken for it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headwater.bench.latency.records import Records
from headwater.core import PacedTurn, Timer
from headwater.events.direct_client import DirectClient


class Request(NamedTuple):
    """`number`: its row, and what its answer is told by; `due`: ns after the start."""

    number: int
    due: int
    subject: str
    body: bytes


class Pacing:
    """One turn at a time. Made by `open`."""

    def __init__(self, nc: DirectClient, inbox: str, answers: int, records: Records) -> None:
        self._nc = nc
        self._inbox = inbox
        self._answers = answers
        self._records = records
        self._timer = Timer()
        self._turns = itertools.count(1)

    @classmethod
    async def open(cls, nc: DirectClient, records: Records) -> Pacing:
        """Listen for answers. Times go to `records`."""
        inbox = nc.new_inbox()
        # Between turns come answers to what was given up.
        subscription = await nc.hear(f"{inbox}.*.*", lambda *_: None)
        return cls(nc, inbox, subscription._id, records)

    def turn(self, requests: Sequence[Request], over: Callable[[], object]) -> PacedTurn:
        """A turn that sends each of these when it is due, in their order; `over` is called when all are answered. Some
        microseconds a request."""
        return PacedTurn(
            wire=self._nc.wire,
            timer=self._timer,
            put=self._nc.put,
            over=over,
            rows=self._records.fd,
            prefix=f"{self._inbox}.{next(self._turns)}.",
            numbers=[request.number for request in requests],
            due=[request.due for request in requests],
            subjects=[request.subject for request in requests],
            bodies=[request.body for request in requests],
        )

    def start(self, turn: PacedTurn, at_ns: int) -> None:
        """Begin at a time of the monotonic clock."""
        asyncio.get_running_loop().add_reader(self._timer.number, turn.ring)
        turn.start(at_ns, self._answers)

    def end(self) -> None:
        """Send nothing more of the turn, and hear nothing."""
        asyncio.get_running_loop().remove_reader(self._timer.number)
        self._nc.wire.leave(self._answers)
