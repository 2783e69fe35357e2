"""Requests that the server does not permit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from headwater.errors import AccessDenied


class Denials:
    """Requests that the server does not permit. It answers them with a word about the connection, not with a reply;
    whoever waits for one is told at once instead of at the deadline."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Future[Any]]] = {}

    def heard(self, verb: str, subject: str) -> None:
        """What the server said of the connection; see `Hooks.denied`."""
        for answer in self._waiting.get(subject, ()) if verb == "publish" else ():
            if not answer.done():
                answer.set_exception(AccessDenied(f"these credentials do not permit {subject}", subject=subject))

    @contextmanager
    def watched(self, subject: str, answer: asyncio.Future[Any]) -> Iterator[None]:
        """A request to a subject is under way: its answer raises `AccessDenied` when it is not permitted."""
        waiting = self._waiting.setdefault(subject, set())
        waiting.add(answer)
        try:
            yield
        finally:
            waiting.discard(answer)
            if not waiting:
                self._waiting.pop(subject, None)
