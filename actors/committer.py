"""The committer: appends of many threads, made durable in groups and folded in log order.

Whoever finds the log free writes what everyone has queued (leader and followers): one caller alone waits for one
sync, a hundred wait for one or two. Folding is a second stage with its own lock, so the next group is written while
the last is folded; frames queue between the two in log order, and nobody returns before their own frames are folded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence

from headwater.core import Core
from headwater.errors import HeadwaterError
from headwater.events.log import EventLog

Refusals = list[tuple[int, int, str]]

_FOLD_FRAMES = 32
_MAX_GROUP_BYTES = 8 << 20
_MAX_UNFOLDED = 512


class _Ticket:
    __slots__ = ("error", "first", "frames", "size")

    def __init__(self, frames: Sequence[bytes]) -> None:
        self.frames = frames
        self.size = sum(map(len, frames))
        self.first = 0
        self.error: BaseException | None = None


class Committer:
    """Appends to a log and folds into a core. Safe to use from many threads."""

    def __init__(self, log: EventLog, core: Core, on_counts: Callable[[dict[str, int], Refusals], None]) -> None:
        self._log = log
        self._core = core
        self._on_counts = on_counts
        self._queue: deque[_Ticket] = deque()
        self._queue_mutex = threading.Lock()
        self._write_mutex = threading.Lock()
        self._fold_mutex = threading.Lock()
        self._unfolded: deque[tuple[int, bytes]] = deque()

    def append(self, frames: Sequence[bytes]) -> int:
        """Make frames durable; the position of the first. They are folded by the next `fold`."""
        ticket = _Ticket(frames)
        with self._queue_mutex:
            self._queue.append(ticket)
        with self._write_mutex:
            while not ticket.first and ticket.error is None:
                self._write_group()
        if ticket.error is not None:
            raise ticket.error
        return ticket.first

    def _write_group(self) -> None:
        """Append everything queued, up to a size, as one commit. Its callers get the same error, if there is one."""
        group: list[_Ticket] = []
        size = 0
        with self._queue_mutex:
            while self._queue and (not group or size + self._queue[0].size <= _MAX_GROUP_BYTES):
                group.append(self._queue.popleft())
                size += group[-1].size
        if len(self._unfolded) > _MAX_UNFOLDED:
            self.fold()
        frames = [frame for ticket in group for frame in ticket.frames]
        try:
            first = self._log.append(frames)
        except HeadwaterError as err:
            for ticket in group:
                ticket.error = err
            return
        self._unfolded.extend(enumerate(frames, first))
        for ticket in group:
            ticket.first = first
            first += len(ticket.frames)

    def fold(self) -> None:
        """Fold everything committed so far, in log order."""
        with self._fold_mutex:
            while self._unfolded:
                first = self._unfolded[0][0]
                count = min(len(self._unfolded), _FOLD_FRAMES)
                frames = [self._unfolded.popleft()[1] for _ in range(count)]
                self._on_counts(*self._core.apply(first, frames))

    def commit(self, frames: Sequence[bytes]) -> int:
        """Make frames durable and fold them; the position of the last."""
        first = self.append(frames)
        self.fold()
        return first + len(frames) - 1
