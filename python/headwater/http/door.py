"""The door between web workers and the one engine: an awaitable `ask(verb, question)` that gives the reply's bytes.

`LocalDoor` calls the engine on threads of its own process. `headwater.http.pipe` carries the same calls over a Unix
socket, so that several worker processes share one engine.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from headwater.http.problems import Refused
from headwater.http.verbs import Form, Service

_SLOW_WAITING = 16


class Door(Protocol):
    """Asks the engine, wherever it is."""

    async def ask(self, verb: str, question: msgspec.Struct, form: Form = "json") -> bytes:
        """The reply's bytes. Raises `Refused`."""
        ...


class LocalDoor:
    """A door to an engine in this process. Questions, writes and slow questions have threads of their own: writers
    wait for the disk together (one sync for all of them), and a question about the past keeps nobody waiting."""

    def __init__(self, service: Service, threads: int = 4, writers: int = 16) -> None:
        self._service = service
        self._quick = ThreadPoolExecutor(threads, "http-question")
        self._writers = ThreadPoolExecutor(writers, "http-write")
        self._slow = ThreadPoolExecutor(1, "http-slow")
        self._slow_waiting = 0

    async def ask(self, verb: str, question: msgspec.Struct, form: Form = "json") -> bytes:
        """The reply's bytes. Raises `Refused`."""
        loop = asyncio.get_running_loop()
        answer = self._service.answer
        entry = self._service.verbs[verb]
        if entry.kind == "write":
            return await loop.run_in_executor(self._writers, answer, verb, question, form)
        if not entry.reads_log and getattr(question, "as_of", None) is None:
            return await loop.run_in_executor(self._quick, answer, verb, question, form)
        if self._slow_waiting >= _SLOW_WAITING:
            raise Refused("overloaded", f"{_SLOW_WAITING} questions that read the log are waiting already")
        self._slow_waiting += 1
        try:
            return await loop.run_in_executor(self._slow, answer, verb, question, form)
        finally:
            self._slow_waiting -= 1

    def close(self) -> None:
        """Wait for what is in progress; nothing new is taken."""
        for pool in (self._quick, self._writers, self._slow):
            pool.shutdown(wait=True)
