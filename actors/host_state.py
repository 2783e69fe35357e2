"""The state of one host: recovered from snapshot and log, then kept up with the log.

Plain asyncio: it runs in a Ray actor, in a subprocess or in a test alike. The log is followed in order; small batches
are folded where they arrive (a hop to a thread costs more than the fold), large ones on a thread, so that questions are
answered meanwhile. Snapshots are written at log positions that are multiples of `snapshot_every`: hosts that own
different parts then write them at the same positions, and another number of hosts can begin from the union.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, Protocol, TypeVar

from headwater.actors.recovery import Refusals
from headwater.actors.snapshots import SnapshotStore
from headwater.actors.state_hold import StateHold
from headwater.actors.topology import HostSpec
from headwater.config import Config
from headwater.core import Core, Ownership, WrittenState, generation_of, new_core, restore_core, write_out
from headwater.errors import HeadwaterError, LogCorrupt, LogTailLost, NotReady, StoreError
from headwater.events.frame import claimed_events
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, PARTITION, Subject
from headwater.short_turns import give_way, take_short_turns

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_APPLY_FRAMES = 32
_DIRECT_BYTES = 262_144
_DIRECT_EVENTS = 512
"""Frames of no more than this take a fraction of a millisecond and are folded on the loop. A slate's record is one
event of some kilobytes, of which a fold reads little."""
_FEW_FRAMES = 16
_PACE_SECONDS = 0.002
"""From one small fold to the next, unless somebody waits: ten events cost little more together than one alone."""
_COMING_SECONDS = 0.004
_LOOK_SECONDS = 0.02
_UNSAVED = 2
"""So many snapshots may be packed and stored at once, one after the other: who packs gives way, and folds need not wait
for it where processors are busy."""


class Batch(Protocol):
    """Frames in order with their positions. No wanted frame that is not in this or an earlier batch stands at or before
    `reached`."""

    @property
    def positions(self) -> list[int]:
        """Ascending."""
        ...

    @property
    def frames(self) -> list[bytes]:
        """May be empty."""
        ...

    @property
    def reached(self) -> int:
        """At least the last position."""
        ...


class Following(Protocol):
    """Frames of some subjects in log order, from a position on, without end."""

    def __aiter__(self) -> AsyncIterator[Batch]:
        """Batches as they come; positions ascend."""
        ...

    def reach(self, position: int) -> None:
        """Tell soon, with a batch, that `position` is reached, which was acknowledged to somebody."""
        ...

    async def aclose(self) -> None:
        """Leave."""
        ...


class HostLog(Protocol):
    """What a host needs of the log."""

    async def bounds(self) -> tuple[int, int]:
        """First and last position, 0 and 0 for an empty log."""
        ...

    def follow(self, start: int, subjects: Sequence[Subject] | None) -> Following:
        """Follow the log from `start` on; None: all subjects."""
        ...

    async def append(self, frames: Sequence[bytes]) -> int:
        """Append all frames or none; the position of the first. See `EventLog.append`."""
        ...

    async def append_each(self, frames: Sequence[bytes]) -> list[int | HeadwaterError]:
        """Append frames that need not stand together, in order: for each its position, or why it was not kept."""
        ...

    async def frame_at(self, position: int) -> bytes | None:
        """One frame, None if the log does not hold it."""
        ...


def owned_by(spec: HostSpec) -> Ownership | None:
    """What the core is told to own; None: everything."""
    if spec.kind == "session":
        return Ownership.session(spec.partitions)
    if spec.kind == "item":
        return Ownership.item(spec.shards)
    return None


def subjects_of(spec: HostSpec) -> list[Subject] | None:
    """Subjects that a host reads; None: all."""
    if spec.kind != "session":
        return None
    return [*(Subject(PARTITION, p) for p in spec.partitions), CATALOGUE_SUBJECT, CONTROL_SUBJECT]


def needed_parts(spec: HostSpec, partitions: int) -> set[str]:
    """Parts without which a host cannot begin from a snapshot."""
    own = {f"partition-{p:02d}" for p in spec.partitions}
    shards = {f"shard-{s}" for s in spec.shards}
    if spec.kind == "session":
        return {"activation", "catalogue"} | own
    if spec.kind == "item":
        return (
            {"control", "catalogue", "neighbourhood", "items"}
            | shards
            | {f"admission-{p:02d}" for p in range(partitions)}
        )
    return {"control", "catalogue", "neighbourhood", "items"} | own | shards


class HostState:
    """One host's parts, following the log."""

    def __init__(
        self,
        spec: HostSpec,
        config: Config,
        log: HostLog,
        snapshots: SnapshotStore | None,
        on_counts: Callable[[dict[str, int], Refusals], None],
    ) -> None:
        self.spec = spec
        self._config = config
        self._log = log
        self._snapshots = snapshots
        self._on_counts = on_counts
        self._threads = config.engine.threads
        self._every = 0 if snapshots is None else config.cluster.snapshot_every_frames
        self._snapshot_tried = 0
        # One thread folds, another one writes snapshots out and stores them: neither may hold up the other or the loop.
        # Nor for their turn on a core: a host's loop has shorter ones. Packing gives way to all.
        usual = partial(ThreadPoolExecutor, 1, initializer=partial(take_short_turns, 0))
        self._fold_thread = usual(thread_name_prefix="fold")
        self._store_thread = usual(thread_name_prefix="snapshot")
        self._pack_thread = ThreadPoolExecutor(1, "pack", initializer=give_way)
        self._core: Core | None = None
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._reader: Following | None = None
        self._saving: deque[asyncio.Task[None]] = deque()
        self.known_last = 0
        """Last log position that the log itself told of."""
        self.heard_last = 0
        """Last log position that another host told of: good for showing a lag, for nothing else."""
        self.recovered_from = 0
        self.passed_over: list[str] = []
        self.refusals: deque[tuple[int, int, str]] = deque(maxlen=256)
        self.snapshot_position = 0
        self.snapshot_at: float | None = None
        self.snapshot_error: str | None = None
        self._hold = StateHold()
        self._paused_at = 0.0
        self._pausing: asyncio.Future[None] | None = None

    @property
    def core(self) -> Core:
        """The state. Only after `recover`."""
        assert self._core is not None
        return self._core

    @property
    def busy(self) -> bool:
        """Whether a large fold or the encoding of a snapshot holds the state: questions then go by `ask`."""
        return self._hold.held

    async def ask(self, verb: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Ask the core; the loop goes on while somebody holds the state. Raises what `verb` raises."""
        return await self._hold.ask(verb, *arguments, **named)

    @property
    def position(self) -> int:
        """Position reached; 0 before `recover`."""
        return 0 if self._core is None else self._core.position

    # --- recovery ------------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """Begin from the newest sound snapshot. Raises `LogTailLost`, `LogCorrupt`, `StoreError`."""
        loop = asyncio.get_running_loop()
        # Before the log's end is asked for: others go on, and a snapshot of their newer state is no lost tail.
        store = self._snapshots
        needed = needed_parts(self.spec, self._config.generation.partitions)
        positions = [] if store is None else await loop.run_in_executor(self._store_thread, store.positions, needed)
        first, last = await self._log.bounds()
        self.known_last = last
        core = None
        for position in positions:
            if position > last:
                raise LogTailLost(
                    f"a snapshot stands at position {position}, but the log ends at {last}: the log lost its tail; "
                    "restore the stream, or remove the snapshot to accept the log as it is",
                    last=last,
                    expected=position,
                )
            core = await loop.run_in_executor(self._store_thread, self._restore, position)
            if core is not None:
                self.recovered_from = self.snapshot_position = self._snapshot_tried = position
                self.snapshot_at = await loop.run_in_executor(self._store_thread, self._saved_at, position)
                break
        if first > self.recovered_from + 1:
            raise LogCorrupt(
                f"the log begins at position {first} and no sound snapshot reaches it; restore one from a backup",
                position=first,
                reason="trimmed",
            )
        self._core = core or new_core(self._config, self._threads, owned_by(self.spec))

    def _restore(self, position: int) -> Core | None:
        assert self._snapshots is not None
        needed = needed_parts(self.spec, self._config.generation.partitions)
        try:
            parts = self._snapshots.load(position, needed)
            if len(parts) < len(needed):
                return None  # dropped by its writer meanwhile
            return restore_core(self._config, self._threads, parts, owned_by(self.spec))
        except StoreError as err:
            self.passed_over.append(f"{position}: {err.message}")
            logger.warning("snapshot %d is passed over: %s", position, err.message)
            return None

    def _saved_at(self, position: int) -> float | None:
        assert self._snapshots is not None
        try:
            return self._snapshots.saved_at(position, needed_parts(self.spec, self._config.generation.partitions))
        except HeadwaterError as err:  # the state is there, only its age is not known
            logger.warning("the age of snapshot %d is not known: %s", position, err.message)
            return None

    # --- following -----------------------------------------------------------------------------------------------

    async def follow(self) -> None:
        """Fold what the log holds and what comes, until cancelled. Raises `StoreError`s that no retry can mend."""
        self._reader = self._log.follow(self.position + 1, subjects_of(self.spec))
        try:
            async for batch in self._reader:
                await self._fold(batch)
                if len(batch.frames) <= _FEW_FRAMES and not self._waiting:
                    await self._pause()
        finally:
            await self._reader.aclose()

    async def _pause(self) -> None:
        """Let a few more events come, if they come quickly."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        quickly, self._paused_at = now - self._paused_at < 2 * _PACE_SECONDS, now
        if not quickly:
            return
        self._pausing = loop.create_future()
        timer = loop.call_later(_PACE_SECONDS, _done, self._pausing)
        try:
            await self._pausing
        finally:
            timer.cancel()
            self._pausing = None
        self._paused_at = loop.time()

    async def _fold(self, batch: Batch) -> None:
        at = 0
        positions, frames = batch.positions, batch.frames
        self.known_last = max(self.known_last, batch.reached)
        while at < len(frames):
            await self._snapshot_before(positions[at])
            stop = self._cut(positions, at)
            await self._apply(positions[at:stop], frames[at:stop])
            at = stop
            if at < len(frames):
                await asyncio.sleep(0)  # between the pieces of a long batch others have their turn
        if self.spec.kind == "session":
            await self._snapshot_before(batch.reached + 1)
            self.core.reached(batch.reached)
        await self._snapshot_before(self.position + 1)
        self._wake()

    def _cut(self, positions: Sequence[int], at: int) -> int:
        """End of what one call into the core may fold: at least one frame, and none beyond the next snapshot."""
        stop = min(len(positions), at + _APPLY_FRAMES)
        if self._every:
            due = (positions[at] - 1) // self._every * self._every + self._every
            while positions[stop - 1] > due:
                stop -= 1
        return stop

    async def _apply(self, positions: list[int], frames: list[bytes]) -> None:
        if _is_soon_folded(frames) and not self.busy:
            counts, refusals = self.core.apply_at(positions, frames)
        else:
            loop = asyncio.get_running_loop()
            with self._hold.holding():
                counts, refusals = await loop.run_in_executor(self._fold_thread, self.core.apply_at, positions, frames)
        self.refusals.extend(refusals)
        self._on_counts(counts, refusals)
        self._wake()

    async def _snapshot_before(self, position: int) -> None:
        """Write the snapshot that is due before a position, if none was tried there yet."""
        due = (position - 1) // self._every * self._every if self._every else 0
        if due <= self._snapshot_tried or due < self.position:
            return
        if self.spec.kind == "session":
            self.core.reached(due)
        if self.position == due:
            self._snapshot_tried = due
            await self._begin_snapshot()

    def _wake(self) -> None:
        position = self.position
        while self._waiting and self._waiting[0][0] <= position:
            future = heapq.heappop(self._waiting)[2]
            if not future.done():
                future.set_result(None)

    async def reach(self, position: int, seconds: float) -> None:
        """Wait until the state has reached a position. Raises `NotReady` after `seconds`."""
        if position <= self.position:
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (position, next(self._numbers), future))
        if self._pausing is not None:
            _done(self._pausing)
        asking = asyncio.ensure_future(self._ask_reader(position))
        try:
            await asyncio.wait_for(future, max(seconds, 0.001))
        except TimeoutError:
            raise NotReady(
                f"host {self.spec.name} is at position {self.position}, asked for {position}; ask again",
                position=self.position,
                after=position,
            ) from None
        finally:
            asking.cancel()

    async def _ask_reader(self, position: int) -> None:
        """Have the reader say when it got to a position. It believes that the position exists, and a caller may name
        any: so first the log is asked, unless the frame comes by itself in the meantime, as it mostly does."""
        await asyncio.sleep(_COMING_SECONDS)
        while position > self.known_last:
            try:
                await self.learn_end()
            except HeadwaterError as err:  # told by the host, which looks at the log's end by itself
                logger.debug("the log does not say how far it goes: %s", err.message)
            if position > self.known_last:
                await asyncio.sleep(_LOOK_SECONDS)
        if self._reader is not None:
            self._reader.reach(position)

    async def learn_end(self) -> int:
        """How far the log goes."""
        _, last = await self._log.bounds()
        self.known_last = max(self.known_last, last)
        return last

    # --- snapshots -----------------------------------------------------------------------------------------------

    async def snapshot(self) -> int:
        """Begin a snapshot of the state as it stands; its position. Folds wait while it is written out, nobody while it
        is packed and stored."""
        await self.saved()
        with self._hold.holding():
            return await self._begin_snapshot()

    async def _begin_snapshot(self) -> int:
        """`snapshot` for whoever folds: while no fold wants the state, questions are answered beside this."""
        if self._snapshots is None:
            raise StoreError("this host was given no place for snapshots")
        await self._saved_but(_UNSAVED - 1)
        written = await asyncio.get_running_loop().run_in_executor(self._store_thread, write_out, self.core)
        self._saving.append(asyncio.ensure_future(self._save(written)))
        return written.position

    async def _save(self, written: WrittenState) -> None:
        assert self._snapshots is not None
        loop, position = asyncio.get_running_loop(), written.position
        keep = self._config.cluster.snapshots_kept
        try:
            await loop.run_in_executor(self._pack_thread, written.pack)
            await loop.run_in_executor(self._store_thread, self._store, written, keep)
        except HeadwaterError as err:  # a snapshot only shortens the next start: it fails nobody's write
            self.snapshot_error = err.message
            logger.warning("the snapshot at %d was not written: %s", position, err.message)
            return
        self.snapshot_position, self.snapshot_at, self.snapshot_error = position, time.time(), None

    def _store(self, written: WrittenState, keep: int) -> None:
        assert self._snapshots is not None
        self._snapshots.save_parts(written.position, written.take_files(), keep)

    async def saved(self) -> None:
        """Wait for the snapshots that are under way, if there are any."""
        await self._saved_but(0)

    async def _saved_but(self, latest: int) -> None:
        while len(self._saving) > latest:
            await asyncio.wait([self._saving[0]])
            while self._saving and self._saving[0].done():
                self._saving.popleft()

    @property
    def generation(self) -> str:
        """The generation that this host folds."""
        return generation_of(self._config.generation)

    def close(self) -> None:
        """Release the threads."""
        self._fold_thread.shutdown(wait=False)
        self._store_thread.shutdown(wait=False)
        self._pack_thread.shutdown(wait=False)


def _is_soon_folded(frames: Sequence[bytes]) -> bool:
    return sum(map(len, frames)) <= _DIRECT_BYTES and sum(map(claimed_events, frames)) <= _DIRECT_EVENTS


def _done(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
