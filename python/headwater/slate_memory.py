"""The latest slates that were answered, so that they can be explained and asked of again without the log."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from headwater.slate import Slate

_KEPT = 1000


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


class _Later(NamedTuple):
    user: str | None
    make: Callable[[], Answered]


class SlateMemory:
    """The latest 1,000 slates by id. Safe to use from many threads."""

    def __init__(self) -> None:
        self._answered: OrderedDict[str, Answered | _Later] = OrderedDict()
        self._mutex = threading.Lock()

    def add(self, answered: Answered) -> None:
        """Remember one; the oldest is let go of."""
        self._add(answered.slate.id, answered)

    def add_later(self, slate: str, user: str | None, make: Callable[[], Answered]) -> None:
        """As `add`, for a slate that is put together when somebody asks for it."""
        self._add(slate, _Later(user, make))

    def _add(self, slate: str, answered: Answered | _Later) -> None:
        with self._mutex:
            self._answered[slate] = answered
            if len(self._answered) > _KEPT:
                self._answered.popitem(last=False)

    def get(self, slate: str) -> Answered | None:
        """The slate of an id, while it is remembered."""
        known = self._answered.get(slate)
        return known.make() if isinstance(known, _Later) else known

    def forget(self, user: str) -> None:
        """Let go of a user's slates. O(slates)."""
        with self._mutex:
            for slate in [key for key, known in self._answered.items() if known.user == user]:
                del self._answered[slate]

    def clear(self) -> None:
        """Let go of all."""
        with self._mutex:
            self._answered.clear()
