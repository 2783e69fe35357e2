"""States of the past: what the fold had made of the log up to some position.

A state is rebuilt from the nearest snapshot at or before the position and the frames that follow. Folding only goes
forward, so who asks for many positions asks in rising order: `ForwardFold` for a known list of them, `PastStates` for
questions as they come.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from headwater.actors.recovery import fold_log
from headwater.actors.snapshots import SnapshotStore
from headwater.config import Config
from headwater.core import Core, new_core, restore_core
from headwater.errors import LogCorrupt, StoreError
from headwater.events.log import EventLog, LogBatch

STATES_KEPT = 2
"""Rebuilt states that are kept for the next question. Each takes as much memory as the engine's own state."""


def rebuild(
    log: EventLog,
    snapshots: SnapshotStore | None,
    config: Config,
    threads: int,
    position: int,
    start: Core | None = None,
) -> Core:
    """The state after the frame at `position`, from the nearest sound snapshot at or before it, else from nothing.

    `start`, a state of the same log that nobody else uses, is folded on instead when it stands nearer. O(frames
    between). Raises `LogCorrupt` for a gap, and for a log that does not hold what is needed.
    """
    core = start
    reached = -1 if start is None else start.position
    for stored in [] if snapshots is None else snapshots.positions():
        if not reached < stored <= position:
            continue
        try:
            assert snapshots is not None
            restored = restore_core(config, threads, snapshots.load(stored))
        except StoreError:
            continue  # damaged, or dropped by its writer meanwhile: an older one or the whole log gives the same state
        if restored.position == stored:
            core = restored
            break
    core = core or new_core(config, threads)
    fold_log(core, log, stop=position + 1)
    _check_reached(core, position)
    return core


def _check_reached(core: Core, position: int) -> None:
    if core.position != position:
        raise LogCorrupt(
            f"the log ends at position {core.position}, asked for the state at {position}",
            position=position,
            reason="gap",
        )


class ForwardFold:
    """One state that is folded on through a log, from position to position. For one thread."""

    def __init__(self, core: Core, log: EventLog, stop: int | None = None) -> None:
        """`core` is moved; frames from `stop` on are not read."""
        self.core = core
        self._batches = log.read(core.position + 1, stop=stop)
        self._batch = LogBatch([], [])
        self._done = 0

    def reach(self, position: int) -> Core:
        """The state after the frame at `position`, which must not lie before the last one asked for."""
        assert position >= self.core.position, "a fold only goes forward"
        while self.core.position < position:
            if self._done == len(self._batch.frames):
                self._batch, self._done = next(self._batches, LogBatch([], [])), 0
                if not self._batch.frames:
                    break
            first = self.core.position + 1
            frames = self._batch.frames[self._done : self._done + position - first + 1]
            self.core.apply(first, frames)
            self._done += len(frames)
        _check_reached(self.core, position)
        return self.core


class PastStates:
    """States at positions as they are asked for. Safe to use from many threads, one question at a time.

    The last `STATES_KEPT` states are kept: a question at a later position folds the nearest one on instead of beginning
    again. `clear` lets them go.
    """

    def __init__(self, log: EventLog, snapshots: SnapshotStore | None, config: Config, threads: int) -> None:
        self._log = log
        self._snapshots = snapshots
        self._config = config
        self._threads = threads
        self._kept: list[Core] = []
        self._mutex = threading.Lock()

    def earliest(self) -> int:
        """The first position whose state can be rebuilt: 1, or where the oldest snapshot of a trimmed log stands."""
        first = self._log.first()
        if first <= 1 or self._snapshots is None:
            return max(first, 1)
        return min((p for p in self._snapshots.positions() if p >= first - 1), default=first)

    def clear(self) -> None:
        """Let go of the states that are kept."""
        with self._mutex:
            self._kept = []

    @contextmanager
    def at(self, position: int) -> Iterator[Core]:
        """The state after the frame at `position`. It is the caller's until the block ends; then it may move on."""
        with self._mutex:
            behind = [core for core in self._kept if core.position <= position]
            nearest = max(behind, key=lambda core: core.position, default=None)
            if nearest is not None:
                self._kept.remove(nearest)  # if folding it on fails, nobody finds it half moved
            core = rebuild(self._log, self._snapshots, self._config, self._threads, position, nearest)
            self._kept = [*self._kept, core][-STATES_KEPT:]
            yield core
