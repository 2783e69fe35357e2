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
