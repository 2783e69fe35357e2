"""The latest slates that were answered, so that they can be explained and asked of again without the log."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Protocol

import msgspec

from headwater.answer import decode_answer, dressed
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


class Unread(msgspec.Struct, frozen=True, gc=False):
    """An `Answered` as the bytes that went to the core and came back. Hardly any is asked for again, and the hundred
    objects of a slate cost time: the next answer is read into what the last one let go of, not into what one of 1,000
    answers ago did, which no cache holds."""

    kind: str
    id: str
    user: str | None
    request: bytes
    answer: bytes
    config: str
    recorded: bool
    degraded: tuple[str, ...]

    def read(self) -> Answered:
        """The slate and its request."""
        request = msgspec.msgpack.decode(self.request)
        del request["key"]
        slate = dressed(self.kind, decode_answer(self.answer), request, None, self.id, self.config)
        changes = {"user": self.user, "recorded": self.recorded, "degraded": [*self.degraded]}
        return Answered(msgspec.structs.replace(slate, **changes), request)


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
        self._answered: OrderedDict[str, Answered | Unread] = OrderedDict()
        self._others = others
        self._mutex = threading.Lock()

    def add(self, answered: Answered) -> None:
        """Remember one; the oldest is let go of."""
        self._add(answered.slate.id, answered)

    def add_unread(self, unread: Unread) -> None:
        """Remember one that is read when it is asked for; the oldest is let go of."""
        self._add(unread.id, unread)

    def _add(self, slate: str, answered: Answered | Unread) -> None:
        with self._mutex:
            self._answered[slate] = answered
            if len(self._answered) > KEPT:
                self._answered.popitem(last=False)

    def get(self, slate: str) -> Answered | None:
        """The slate of an id, while it is remembered."""
        known = self._answered.get(slate)
        if isinstance(known, Unread):
            return known.read()
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
