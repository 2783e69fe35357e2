"""Replay and the next generation: the log folded anew, as it is or under another configuration."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from headwater import store
from headwater.actors.recovery import Refusals, base_core, fold_log
from headwater.actors.snapshots import DirectorySnapshots
from headwater.config import Config, load_config
from headwater.core import Core, generation_of, new_core
from headwater.errors import StoreError
from headwater.events.frame import FrameWriter
from headwater.events.log import EventLog, LogBatch, decode_frames
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import Subject, subject_of
from headwater.events.types import Event, MergeCarried
from headwater.progress import progress_call
from headwater.rewriting import Append, Rewriter, Sealer
from headwater.whole_directory import appearing_whole


def replay_directory(directory: Path, until: int | None, threads: int | None) -> dict[str, Any]:
    """Fold a directory's log from its first frame: events, outcomes, damaged frames, seconds, rate, digests.

    Writes nothing. A damaged frame is what it is to every reader: a no-op that is counted and named.
    """
    config = store.directory_config(directory)
    log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    try:
        return replay_log(log, config, DirectorySnapshots(directory / "snapshots"), until, threads)
    finally:
        log.close()


def replay_log(
    log: EventLog, config: Config, snapshots: DirectorySnapshots | None, until: int | None, threads: int | None
) -> dict[str, Any]:
    """Fold any log from its first frame; see `replay_directory`."""
    core = base_core(log, snapshots, config, threads or config.engine.threads)
    damaged: Refusals = []
    started = time.perf_counter()
    fold_log(core, log, stop=None if until is None else until + 1, damaged=damaged)
    seconds = time.perf_counter() - started
    outcomes = core.stats()["outcomes"]
    events = sum(outcomes.values())
    parts = core.digest()
    return {
        "position": core.position,
        "events": events,
        "outcomes": outcomes,
        "damaged": [{"position": position, "reason": reason} for position, _, reason in damaged],
        "seconds": seconds,
        "events_per_s": events / seconds if seconds else 0.0,
        "digest": parts["whole"],
        "parts": parts,
    }


def regenerate(directory: Path, target: Path, config_file: Path | None, progress: bool) -> dict[str, Any]:
    """Build the next generation of `directory` in the new directory `target`, under `config_file` or the same
    configuration.

    With an equal number of partitions the frames are copied as they are, but for what merges carry, which the new
    generation seals anew; otherwise their events are packed anew. The
    epochs go on from the old log's, so that neither frames nor slates of the next writers take names that are in use.
    The old directory is only read; the new one appears when it is whole. Raises `InvalidInput` if the target holds
    something already.
    """
    old = store.directory_config(directory)
    config = old if config_file is None else load_config(config_file)
    core = new_core(config, config.engine.threads)
    # Of another version of the fold, perhaps: whatever made it, its frames can be read.
    source = SqliteLog(directory, None, read_only=True)
    try:
        if source.base.last:
            raise StoreError(
                f"{directory}: the log begins behind position {source.base.last}, and the next generation is built "
                "from the first event; bring the archive back first (headwater archive DIR --restore)",
                path=str(directory),
            )
        with appearing_whole(target) as place:
            store.begin(place, config)
            if config_file is not None:
                shutil.copyfile(config_file, place / store.CONFIG_FILE)
            _copy(source, place, core, old, config, progress)
    finally:
        source.close()
    stats = core.stats()
    return {
        "from": str(directory),
        "to": str(target),
        "generation": core.generation,
        "position": core.position,
        "events": sum(stats["outcomes"].values()),
        "outcomes": stats["outcomes"],
        "digest": core.digest()["whole"],
    }


def _copy(source: SqliteLog, place: Path, core: Core, old: Config, config: Config, progress: bool) -> None:
    """The source's frames into a new log, folded on the way; what merges carry is sealed anew by the new state."""
    sink = SqliteLog(place, generation_of(config.generation))
    same = old.generation.partitions == config.generation.partitions
    copy: Rewriter | _Repacker
    if same:
        copy = Rewriter(core, sink.append)
    else:
        copy = _Repacker(core, sink.append, source.generation, config.generation.partitions)
    try:
        with progress_call(progress, "replay") as call:
            last = source.last()
            for batch in source.read():
                copy.add(batch)
                call(batch.positions[-1], last)
        # At the end: a writer of the old log that started meanwhile is counted too.
        sink.skip_epochs(source.epochs())
    finally:
        sink.close()


class _Repacker:
    """Events of old frames in new frames, by the new partitions. Append times are kept: they bound event times."""

    def __init__(self, core: Core, append: Append, old_generation: str, partitions: int) -> None:
        self._core = core
        self._append = append
        self._writer = FrameWriter(f"generation:{old_generation}", 0)
        self._partitions = partitions
        self._sealer = Sealer(core)

    def add(self, batch: LogBatch) -> None:
        """Write and fold a batch's events. Raises `LogCorrupt` for a frame that does not decode."""
        waiting: list[bytes] = []
        for _, header, events in decode_frames(batch):
            groups: dict[Subject, list[Event]] = {}
            for event in events:
                if isinstance(event, MergeCarried):
                    waiting = self._flush(waiting)
                new = self._sealer.anew(event)
                groups.setdefault(subject_of(new, self._partitions), []).append(new)
            for subject, group in groups.items():
                waiting.extend(self._writer.pack(subject, group, header.appended))
        self._flush(waiting)

    def _flush(self, frames: list[bytes]) -> list[bytes]:
        if frames:
            self._core.apply(self._append(frames), frames)
        return []
