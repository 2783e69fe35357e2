"""The door between web workers and the one engine: an awaitable `ask(verb, question)` that gives the reply's bytes.

`LocalDoor` calls the engine on threads of its own process. `headwater.http.pipe` carries the same calls over a Unix
socket, so that several worker processes share one engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

import msgspec

from headwater.http.problems import Refused
from headwater.http.verbs import Form, Service

logger = logging.getLogger(__name__)

_SLOW_WAITING = 16
Call = tuple[Callable[[], bytes], asyncio.AbstractEventLoop, "asyncio.Future[bytes]"]


class Door(Protocol):
    """Asks the engine, wherever it is."""

    async def ask(self, verb: str, question: msgspec.Struct, form: Form = "json") -> bytes:
        """The reply's bytes. Raises `Refused`."""
        ...


class _Threads:
    """Threads that run one call each and tell the event loop. What `run_in_executor` does with less between: a call is
    handed over by one queue and comes back by one wake-up of the loop."""

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._threads = [Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    async def run(self, call: Callable[[], bytes]) -> bytes:
        """The result of a call, or what it raises."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes] = loop.create_future()
        self._calls.put((call, loop, waiting))
        return await waiting

    def _work(self) -> None:
        while (taken := self._calls.get()) is not None:
            call, loop, waiting = taken
            result: bytes | BaseException
            try:
                result = call()
            except BaseException as err:  # noqa: BLE001 - it is the caller's
                result = err
            try:
                loop.call_soon_threadsafe(_tell, waiting, result)
            except RuntimeError:  # the loop was closed: the server stopped and nobody waits
                logger.info("an answer came after the server had stopped")

    def close(self) -> None:
        """Wait for the calls that were made."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()


def _tell(waiting: asyncio.Future[bytes], result: bytes | BaseException) -> None:
    if waiting.done():  # the caller went away
        return
    if isinstance(result, BaseException):
        waiting.set_exception(result)
    else:
        waiting.set_result(result)


class LocalDoor:
    """A door to an engine in this process. Questions, writes and slow questions have threads of their own: writers
    wait for the disk together (one sync for all of them), and a question about the past keeps nobody waiting."""

    def __init__(self, service: Service, threads: int = 4, writers: int = 16) -> None:
        self._service = service
        self._quick = _Threads(threads, "http-question")
        self._writers = _Threads(writers, "http-write")
        self._slow = _Threads(1, "http-slow")
        self._slow_waiting = 0

    async def ask(self, verb: str, question: msgspec.Struct, form: Form = "json") -> bytes:
        """The reply's bytes. Raises `Refused`."""
        call = partial(self._service.answer, verb, question, form)
        entry = self._service.verbs[verb]
        if entry.kind == "write":
            return await self._writers.run(call)
        if not entry.reads_log and getattr(question, "as_of", None) is None:
            return await self._quick.run(call)
        if self._slow_waiting >= _SLOW_WAITING:
            raise Refused("overloaded", f"{_SLOW_WAITING} questions that read the log are waiting already")
        self._slow_waiting += 1
        try:
            return await self._slow.run(call)
        finally:
            self._slow_waiting -= 1

    def close(self) -> None:
        """Wait for what is in progress; nothing new is taken."""
        for threads in (self._quick, self._writers, self._slow):
            threads.close()
