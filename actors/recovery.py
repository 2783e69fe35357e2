"""Recovery: the newest sound snapshot and the tail of the log make the state.

A damaged or foreign snapshot is passed over with a message and the next older one is tried; without any, the whole
log is folded. A log that ends before the snapshot has lost its tail, one that begins after it has lost what lies
between: both are refused, because state made from them would be wrong without showing it. A damaged frame is a no-op
that every reader decides alike; it is counted and named.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from headwater.actors.snapshots import SnapshotStore
from headwater.config import Config
from headwater.core import Core, frame_fault, new_core, restore_core
from headwater.errors import LogCorrupt, LogTailLost, StoreError
from headwater.events.log import EventLog

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (position reached, last position)."""

Refusals = list[tuple[int, int, str]]
"""(position, index in the frame, reason)."""

OnCounts = Callable[[dict[str, int], Refusals], None]
"""Called with what one call of the fold did: events by outcome, the latest refusals."""


class Recovered(NamedTuple):
    """The state, the snapshot that it began with (0: none), messages about snapshots passed over, and the frames after
    it that are damaged."""

    core: Core
    snapshot: int
    passed_over: list[str]
    damaged: Refusals


def recover(
    log: EventLog, snapshots: SnapshotStore | None, config: Config, threads: int, progress: Progress | None = None
) -> Recovered:
    """Build the state at the log's end. Raises `LogTailLost` or `LogCorrupt`."""
    core, snapshot, passed_over = _newest_sound(log, snapshots, config, threads)
    damaged: Refusals = []
    fold_log(core, log, progress=progress, damaged=damaged)
    for position, _, reason in damaged:
        logger.warning("frame %d is damaged (%s) and not part of the state; see `headwater verify`", position, reason)
    return Recovered(core, snapshot, passed_over, damaged)


def _newest_sound(
    log: EventLog, snapshots: SnapshotStore | None, config: Config, threads: int
) -> tuple[Core, int, list[str]]:
    passed_over: list[str] = []
    # Before the log's end is asked for: a writer may go on, and a snapshot of its newer state is no lost tail.
    positions = snapshots.positions() if snapshots is not None else []
    first, last = log.first(), log.last()
    for position in positions:
        if position > last:
            raise LogTailLost(
                f"a snapshot stands at position {position}, but the log ends at {last}: the log lost its tail; "
                "restore it from a backup, or remove the snapshot to accept the log as it is",
                last=last,
                expected=position,
            )
        try:
            assert snapshots is not None
            core = restore_core(config, threads, snapshots.load(position))
            if core.position == position:
                return core, position, passed_over
            fault = f"it holds position {core.position}"
        except StoreError as err:  # damaged, foreign, unreadable, or dropped by its writer meanwhile
            fault = err.message
        message = f"snapshot at position {position} is not used: {fault}"
        logger.warning(message)
        passed_over.append(message)
    if first > 1:
        raise LogCorrupt(
            f"the log begins at position {first} and no sound snapshot reaches position {first - 1}: "
            "the state cannot be rebuilt; restore a snapshot from a backup",
            position=first,
            reason="trimmed",
        )
    return new_core(config, threads), 0, passed_over


def base_core(log: EventLog, snapshots: SnapshotStore | None, config: Config, threads: int) -> Core:
    """The state that the log is folded from: the one before the first frame or, for a trimmed log, the oldest sound
    snapshot that reaches its beginning. Raises `LogCorrupt` without one."""
    first = log.first()
    if first <= 1:
        return new_core(config, threads)
    for position in reversed([] if snapshots is None else snapshots.positions()):
        if position < first - 1:
            continue
        try:
            assert snapshots is not None
            core = restore_core(config, threads, snapshots.load(position))
        except StoreError:
            continue  # damaged: a newer one reaches the beginning too
        if core.position == position:
            return core
    raise LogCorrupt(
        f"the log begins at position {first} and no sound snapshot reaches position {first - 1}: the state cannot be "
        "rebuilt; restore a snapshot from a backup, or the archive with `headwater archive DIR --restore`",
        position=first,
        reason="trimmed",
    )


def fold_log(
    core: Core,
    log: EventLog,
    *,
    stop: int | None = None,
    progress: Progress | None = None,
    on_counts: OnCounts | None = None,
    damaged: Refusals | None = None,
) -> None:
    """Fold the log's frames after the state's position up to, not including, `stop`. Raises `LogCorrupt` at a gap.

    `damaged` takes the frames whose own checksum or format is broken, as far as the fold names them.
    """
    last = log.last()
    for batch in log.read(core.position + 1, stop=stop):
        counts, refusals = core.apply(batch.positions[0], batch.frames)
        if on_counts is not None:
            on_counts(counts, refusals)
        if damaged is not None:
            first = batch.positions[0]
            damaged += [r for r in refusals if r[1] == 0 and frame_fault(batch.frames[r[0] - first]) is not None]
        if progress is not None:
            progress(batch.positions[-1], last)
