"""The embedded runtime: log, state and snapshots of one directory, in the caller's process."""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from headwater.actors.committer import Committer
from headwater.actors.gate import Gate
from headwater.actors.graph_growth import GraphGrowth
from headwater.actors.recovery import Progress, Recovered, Refusals, recover
from headwater.actors.snapshot_rhythm import SnapshotRhythm
from headwater.actors.snapshots import DirectorySnapshots
from headwater.config import Config
from headwater.core import Core, generation_of, new_core, stable_hash
from headwater.errors import StoreClosed, StoreError
from headwater.events.frame import FrameWriter
from headwater.events.log import EventLog
from headwater.events.memory_log import MemoryLog
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import Subject
from headwater.events.types import Event, SlateServed

logger = logging.getLogger(__name__)

PRODUCER = "engine"
_MOVES_KEPT = 16

NewPosition = Callable[[int], int]
"""Where a position of a log is in the one that took its place."""


class SubjectEvents(NamedTuple):
    """Events of one subject, in order."""

    subject: Subject
    events: list[Event]


class EmbeddedRuntime:
    """Owns everything that one engine holds. Safe to use from many threads."""

    def __init__(
        self,
        directory: Path | None,
        config: Config,
        *,
        threads: int,
        read_only: bool = False,
        progress: Progress | None = None,
        elsewhere: EventLog | None = None,
    ) -> None:
        """Open a directory (`None`: memory) and recover its state. See `recovery.recover` for what is refused.

        `elsewhere`: a log that is only read, and not folded: the state stays empty, and questions are of the past.
        """
        self.directory = directory
        self.config = config
        self.read_only = read_only
        self._threads = threads
        self._number_mutex = threading.Lock()
        self._snapshot_mutex = threading.Lock()
        self._counts: Counter[str] = Counter()
        self.refusals: deque[tuple[int, int, str]] = deque(maxlen=256)
        self.log: EventLog
        self.snapshots: DirectorySnapshots | None
        epoch = 1
        if elsewhere is not None:
            self.log, self.snapshots = elsewhere, None
        elif directory is None:
            self.log = MemoryLog()
            self.snapshots = None
        else:
            self.log = sqlite_log = SqliteLog(directory, generation_of(config.generation), read_only=read_only)
            epoch = sqlite_log.epoch
            self.snapshots = DirectorySnapshots(directory / "snapshots")
        try:
            if elsewhere is None:
                recovered = recover(self.log, self.snapshots, config, threads, progress)
            else:
                recovered = Recovered(new_core(config, threads), 0, [], [])
        except BaseException:
            self.log.close()
            raise
        self.core: Core = recovered.core
        self.recovered_from = recovered.snapshot
        self.passed_over = recovered.passed_over
        self.refusals.extend(recovered.damaged)
        automatic = self.snapshots is not None and not read_only
        self._rhythm = SnapshotRhythm(config.engine.snapshot_every_events if automatic else 0, self._write_snapshot)
        self.epoch = self._unused_epoch(epoch)
        self._writer = FrameWriter(PRODUCER, self.epoch)
        self._committer = Committer(self.log, self.core, self._note)
        self._graphs = GraphGrowth(self.core, config.engine.graph_above)
        self._gate = Gate()
        self._moved: deque[tuple[int, NewPosition]] = deque(maxlen=_MOVES_KEPT)
        self._closed = False
        self._graphs.begin_if_due()

    def _unused_epoch(self, epoch: int) -> int:
        """The log's next epoch. If frames already carry it, its counter was damaged: new frames would be taken for
        repeats of theirs, so the next free one is used."""
        producer, partitions = stable_hash(PRODUCER), range(self.config.generation.partitions)
        free = epoch
        while any(self.core.high_water(p, producer, free) is not None for p in partitions):
            free += 1
        if free != epoch:
            logger.warning("the log counts epoch %d, but its frames go on to %d: its counter was damaged", epoch, free)
        return free

    def _note(self, counts: dict[str, int], refusals: Refusals) -> None:
        self._counts.update(counts)
        self.refusals.extend(refusals)

    @property
    def counts(self) -> dict[str, int]:
        """Events by outcome since this runtime was opened."""
        return dict(self._counts)

    def commit(self, groups: Sequence[SubjectEvents], appended: int) -> int:
        """Make events durable and fold them; the position of the last frame."""
        self.check_open()
        with self._gate.shared():
            if self._moved:
                groups = [SubjectEvents(s, [self._as_of_now(event) for event in events]) for s, events in groups]
            with self._number_mutex:
                packed = [self._writer.pack(group.subject, group.events, appended) for group in groups]
                frames = [frame for group in packed for frame in group]
            position = self._committer.commit(frames)
        self.snapshot_if_due()
        self._graphs.begin_if_due()
        return position

    def append_frames(self, frames: Sequence[bytes]) -> int:
        """Make encoded frames durable without folding them; the position of the last. For bulk imports."""
        self.check_open()
        with self._gate.shared():
            return self._committer.append(frames) + len(frames) - 1

    def fold(self) -> None:
        """Fold everything committed so far."""
        with self._gate.shared():
            self._committer.fold()
        self._graphs.begin_if_due()

    def wait_for_graphs(self) -> None:
        """Until the graphs of large embeddings know all that was folded."""
        self._graphs.wait()

    @contextmanager
    def replacing(self) -> Iterator[Callable[[Core, NewPosition | None], None]]:
        """While nobody writes: gives a function that lets the log in `DIR/next` take the log's place, with its state.

        It also takes where the old log's positions are in the new one, `None` if they are the same: slates that were
        answered from the old one and are recorded later name them.

        Everything acknowledged is in the log when the block begins; what the next log lacks of it must be added in the
        block. Questions go on, and are answered from the old state until the function is called.
        """
        with self._gate.alone(), self._snapshot_mutex:
            self.check_open()
            self._committer.fold()
            yield self._replace

    @contextmanager
    def holding_snapshots(self) -> Iterator[None]:
        """While no snapshot is written, and so none is dropped for a newer one; who would write one waits."""
        with self._snapshot_mutex:
            yield

    def _as_of_now(self, event: Event) -> Event:
        """A slate that was answered before the log was replaced, as it would have been recorded then."""
        if not isinstance(event, SlateServed):
            return event
        epoch, _, _ = event.slate.partition("-")
        positions = event.positions
        for until, new_position in self._moved:
            if epoch.isdecimal() and int(epoch) <= until:
                positions = [new_position(position) for position in positions]
        return event if positions is event.positions else msgspec.structs.replace(event, positions=positions)

    def _replace(self, core: Core, new_position: NewPosition | None) -> None:
        log = self.log
        if not isinstance(log, SqliteLog):
            raise StoreError("an engine in memory has no directory in which a log could be replaced")
        log.replace()
        self._graphs.close()
        self.core = core
        self._graphs = GraphGrowth(core, self.config.engine.graph_above)
        self._graphs.begin_if_due()
        self.refusals.clear()
        if new_position is not None:
            self._moved.append((self.epoch, new_position))
        self.epoch = self._unused_epoch(log.epoch)
        self._writer = FrameWriter(PRODUCER, self.epoch)
        self._committer = Committer(log, core, self._note)

    def snapshot(self) -> tuple[int, str]:
        """Write a snapshot of the state as it stands: position and place. Raises `StoreError` for a memory engine."""
        self.check_open()
        if self.snapshots is None or self.read_only:
            raise StoreError("an engine in memory or opened read-only writes no snapshots")
        return self._write_snapshot()

    def _write_snapshot(self) -> tuple[int, str]:
        assert self.snapshots is not None
        with self._snapshot_mutex:
            events = sum(self._counts.values())
            position, parts = self.core.snapshot()
            place = self.snapshots.save(position, parts, self.config.engine.snapshots_kept)
        self._rhythm.written(events)
        return position, place

    def snapshot_if_due(self) -> None:
        """Begin an automatic snapshot behind the caller if enough events were folded since the last. Never raises."""
        self._rhythm.begin_if_due(sum(self._counts.values()))

    def wait_for_snapshot(self) -> None:
        """Wait for the automatic snapshot that is under way, if there is one."""
        self._rhythm.wait()

    @property
    def snapshot_error(self) -> str | None:
        """Why the last automatic snapshot failed, until one is written."""
        return self._rhythm.error

    def check_open(self) -> None:
        """Raises `StoreClosed` after `close`."""
        if self._closed:
            raise StoreClosed("the engine is closed; open it again")

    def close(self) -> None:
        """Release log and lock. Everything acknowledged is durable already; closing only lets go.

        A snapshot that is under way is finished first.
        """
        if not self._closed:
            self._rhythm.close()
            self._graphs.close()
            self._closed = True
            self.log.close()
