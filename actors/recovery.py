"""Recovery: the newest sound snapshot and the tail of the log make the state.

A damaged or foreign snapshot is passed over with a message and the next older one is tried; without any, the whole
log is folded. A log that ends before the snapshot has lost its tail, one that begins after it has lost what lies
between: both are refused, because state made from them would be wrong without showing it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from headwater.actors.snapshots import SnapshotStore
from headwater.config import Config
from headwater.core import Core, new_core, restore_core
from headwater.errors import LogCorrupt, LogTailLost, SnapshotInvalid
from headwater.events.log import EventLog

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (position reached, last position)."""


class Recovered(NamedTuple):
    """The state, the snapshot that it began with (0: none) and messages about snapshots passed over."""

    core: Core
    snapshot: int
    passed_over: list[str]


def recover(
    log: EventLog, snapshots: SnapshotStore | None, config: Config, threads: int, progress: Progress | None = None
) -> Recovered:
    """Build the state at the log's end. Raises `LogTailLost` or `LogCorrupt`."""
    core, snapshot, passed_over = _newest_sound(log, snapshots, config, threads)
    fold_log(core, log, progress=progress)
    return Recovered(core, snapshot, passed_over)


def _newest_sound(
    log: EventLog, snapshots: SnapshotStore | None, config: Config, threads: int
) -> tuple[Core, int, list[str]]:
    passed_over: list[str] = []
    first, last = log.first(), log.last()
    for position in snapshots.positions() if snapshots is not None else []:
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
        except SnapshotInvalid as err:
            message = f"snapshot at position {position} is not used: {err}"
            logger.warning(message)
            passed_over.append(message)
            continue
        if core.position != position:
            passed_over.append(f"snapshot at position {position} holds position {core.position}: not used")
            continue
        return core, position, passed_over
    if first > 1:
        raise LogCorrupt(
            f"the log begins at position {first} and no sound snapshot reaches position {first - 1}: "
            "the state cannot be rebuilt; restore a snapshot from a backup",
            position=first,
            reason="trimmed",
        )
    return new_core(config, threads), 0, passed_over


def fold_log(core: Core, log: EventLog, *, stop: int | None = None, progress: Progress | None = None) -> None:
    """Fold the log's frames after the state's position up to, not including, `stop`. Raises `LogCorrupt` at a gap."""
    last = log.last()
    for batch in log.read(core.position + 1, stop=stop):
        core.apply(batch.positions[0], batch.frames)
        if progress is not None:
            progress(batch.positions[-1], last)
