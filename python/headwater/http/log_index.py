"""Which items and users a log names: what listings need and the state does not keep.

Built from the log when it is first asked for (O(log)), then kept up with what was appended since. Memory: the names.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

from headwater.events.log import EventLog
from headwater.events.subjects import Subject, subject_of
from headwater.events.types import Feedback, ItemDelete, ItemPatch, ItemPut, UserForget, UserMerge, UserPut
from headwater.learning.sound_events import named_events


class _Names:
    """Names in order of appearance. A name keeps its number, whatever others are taken away: cursors are numbers."""

    def __init__(self) -> None:
        self._names: list[str | None] = []
        self._numbers: dict[str, int] = {}

    def add(self, name: str) -> None:
        if name not in self._numbers:
            self._numbers[name] = len(self._names)
            self._names.append(name)

    def drop(self, name: str) -> None:
        number = self._numbers.pop(name, None)
        if number is not None:
            self._names[number] = None

    def __contains__(self, name: str) -> bool:
        return name in self._numbers

    def since(self, start: int) -> Iterator[tuple[int, str]]:
        for number in range(start, len(self._names)):
            name = self._names[number]
            if name is not None:
                yield number, name


class LogIndex:
    """Names of a log in order of appearance. Safe to use from many threads."""

    def __init__(self, source: Callable[[], EventLog], partitions: int, max_future_ms: int) -> None:
        """`source` gives the log in force: an erasure puts another in its place."""
        self._source = source
        self._log = source()
        self._partitions = partitions
        self._max_future_ms = max_future_ms
        self._mutex = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._reached = 0
        self._items = _Names()
        self._users = _Names()
        self._puts: dict[str, UserPut] = {}
        self._forgotten: dict[str, int] = {}

    def follow(self) -> None:
        """Take in what was appended since the last call."""
        with self._mutex:
            log = self._source()
            if log is not self._log:
                self._log = log
                self._begin()
            last = log.last()
            events = named_events(self._log, self._reached + 1, last + 1, self._max_future_ms, Counter())
            for position, _, _, event in events:
                if isinstance(event, Feedback):
                    self._items.add(event.item)
                    self._users.add(event.user)
                elif isinstance(event, ItemPut | ItemPatch):
                    self._items.add(event.item)
                elif isinstance(event, ItemDelete):
                    self._items.drop(event.item)
                elif isinstance(event, UserPut):
                    self._users.add(event.user)
                    self._puts[event.user] = event
                elif isinstance(event, UserMerge):
                    self._drop_user(event.from_user)
                elif isinstance(event, UserForget):
                    self._drop_user(event.user)
                    self._forgotten[event.user] = position
            self._reached = last

    def _drop_user(self, user: str) -> None:
        self._users.drop(user)
        self._puts.pop(user, None)

    def items(self, start: int) -> Iterator[tuple[int, str]]:
        """(number, item) of items that were not deleted, from a number on."""
        return self._items.since(start)

    def users(self, start: int) -> Iterator[tuple[int, str, UserPut | None]]:
        """(number, user, what was put last) of users that were not forgotten, from a number on."""
        for number, user in self._users.since(start):
            yield number, user, self._puts.get(user)

    def user(self, user: str) -> tuple[bool, UserPut | None]:
        """Whether the log names a user since they were last forgotten, and what was put last."""
        return user in self._users, self._puts.get(user)

    def feedback(self, start: tuple[int, int], user: str | None = None) -> Iterator[tuple[int, int, Feedback]]:
        """(position, index, event) from a place on, of one user or of all; none of before a user was forgotten."""
        subjects: list[Subject] | None = None
        if user is not None:
            subjects = [subject_of(UserForget(user=user, ts=0), self._partitions)]
        events = named_events(self._log, start[0], None, self._max_future_ms, Counter(), subjects)
        for position, index, _, event in events:
            if (
                not isinstance(event, Feedback)
                or (position, index) < start
                or (user is not None and event.user != user)
            ):
                continue
            if position > self._forgotten.get(event.user, 0):
                yield position, index, event
