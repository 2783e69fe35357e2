"""The committer: appends of many threads, made durable in groups and folded in log order.

Whoever finds the log free writes what everyone has queued (leader and followers): one caller alone waits for one
sync, a hundred wait for one or two. Folding is a second stage with its own lock, so the next group is written while
the last is folded; frames queue between the two in log order, and nobody returns before their own frames are folded.

A leader may be interrupted (Ctrl-C) anywhere. Its followers are told, and frames that are in the log but fell out of
the queue are read back from it before anything later is folded.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from headwater.actors.recovery import OnCounts, fold_log
from headwater.core import Core
from headwater.errors import HeadwaterError, StoreError
from headwater.events.log import EventLog

_FOLD_FRAMES = 32
_MAX_GROUP_BYTES = 8 << 20
_MAX_GROUP_FRAMES = 1_000  # what the log on JetStream takes as a whole
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

    def __init__(self, log: EventLog, core: Core, on_counts: OnCounts) -> None:
        self._log = log
        self._core = core
        self._on_counts = on_counts
        self._queue: deque[_Ticket] = deque()
        self._queue_mutex = threading.Lock()
        self._write_mutex = threading.Lock()
        self._fold_mutex = threading.Lock()
        self._unfolded: deque[tuple[int, bytes]] = deque()
        self._appended = core.position

    def append(self, frames: Sequence[bytes]) -> int:
        """Make frames durable; the position of the first. They are folded by the next `fold`."""
        ticket = _Ticket(frames)
        with self._queue_mutex:
            self._queue.append(ticket)
        try:
            with self._write_mutex:
                while not ticket.first and ticket.error is None:
                    self._write_group()
        except BaseException:
            # Interrupted while waiting: nobody may write for a caller that has gone.
            with self._queue_mutex:
                if ticket in self._queue:
                    self._queue.remove(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error
        return ticket.first

    def _write_group(self) -> None:
        """Append everything queued, up to a size, as one commit. Its callers get the same error, if there is one."""
        if len(self._unfolded) > _MAX_UNFOLDED:
            self.fold()
        group: list[_Ticket] = []
        try:
            self._take(group)
            frames = [frame for ticket in group for frame in ticket.frames]
            first = self._log.append(frames)
            self._unfolded.extend(enumerate(frames, first))
            self._appended = first + len(frames) - 1
            for ticket in group:
                ticket.first = first
                first += len(ticket.frames)
        except HeadwaterError as err:
            for ticket in group:
                ticket.error = err
        except BaseException as err:
            for ticket in group:
                if not ticket.first:
                    ticket.error = StoreError(
                        f"the write was broken off by {err!r}: whether the events were kept is not known; send them "
                        "again with the same event_id"
                    )
            raise

    def _take(self, group: list[_Ticket]) -> None:
        size = frames = 0
        with self._queue_mutex:
            while self._queue and (
                not group
                or (
                    size + self._queue[0].size <= _MAX_GROUP_BYTES
                    and frames + len(self._queue[0].frames) <= _MAX_GROUP_FRAMES
                )
            ):
                group.append(self._queue[0])
                frames += len(self._queue[0].frames)
                size += self._queue.popleft().size

    def fold(self) -> None:
        """Fold everything committed so far, in log order."""
        with self._fold_mutex:
            while True:
                position = self._core.position
                if not self._unfolded:
                    if position >= self._appended:
                        return
                    # Frames are queued before `_appended` moves, so what is still missing now fell out of the queue.
                    if not self._unfolded:
                        self._read_back(self._appended + 1)
                elif self._unfolded[0][0] > position + 1:
                    self._read_back(self._unfolded[0][0])
                elif self._unfolded[0][0] <= position:
                    self._unfolded.popleft()
                else:
                    self._fold_queued(position + 1)

    def _fold_queued(self, first: int) -> None:
        count = min(len(self._unfolded), _FOLD_FRAMES)
        frames = [self._unfolded.popleft()[1] for _ in range(count)]
        self._on_counts(*self._core.apply(first, frames))

    def _read_back(self, stop: int) -> None:
        fold_log(self._core, self._log, stop=stop, on_counts=self._on_counts)

    def commit(self, frames: Sequence[bytes]) -> int:
        """Make frames durable and fold them; the position of the last."""
        first = self.append(frames)
        self.fold()
        return first + len(frames) - 1
