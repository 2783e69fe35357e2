"""The latest slates that were answered, so that they can be explained and asked of again without the log."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol

import msgspec

from headwater.slate import Slate

KEPT = 1000
"""So many of each kind."""


class Answered(msgspec.Struct, frozen=True):
    """A slate and the request that it answered; no request for one that is neither remembered nor recorded. `key` is
    what its exploration was drawn by, where that is not its own id."""

    slate: Slate
    request: dict[str, Any] | None
    key: str | None = None

    @property
    def user(self) -> str | None:
        """Whom it is for."""
        return self.slate.user


class Others(Protocol):
    """Slates that are remembered elsewhere."""

    def get(self, slate: str) -> Answered | None:
        """See `SlateMemory.get`."""
        ...

    def forget(self, user: str) -> None:
        """See `SlateMemory.forget`."""
        ...

    def clear(self) -> None:
        """See `SlateMemory.clear`."""
        ...


class SlateMemory:
    """The latest 1,000 slates by id, beside what `others` remember. Safe to use from many threads."""

    def __init__(self, others: Others | None = None) -> None:
        self._answered: OrderedDict[str, Answered] = OrderedDict()
        self._others = others
        self._mutex = threading.Lock()

    def add(self, answered: Answered) -> None:
        """Remember one; the oldest is let go of."""
        with self._mutex:
            self._answered[answered.slate.id] = answered
            if len(self._answered) > KEPT:
                self._answered.popitem(last=False)

    def get(self, slate: str) -> Answered | None:
        """The slate of an id, while it is remembered."""
        known = self._answered.get(slate)
        return self._others.get(slate) if known is None and self._others is not None else known

    def forget(self, user: str) -> None:
        """Let go of a user's slates. O(slates)."""
        with self._mutex:
            for slate in [key for key, known in self._answered.items() if known.user == user]:
                del self._answered[slate]
        if self._others is not None:
            self._others.forget(user)

    def clear(self) -> None:
        """Let go of all."""
        with self._mutex:
            self._answered.clear()
        if self._others is not None:
            self._others.clear()
