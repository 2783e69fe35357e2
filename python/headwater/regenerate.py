"""Replay and the next generation: the log folded anew, as it is or under another configuration."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from headwater import store
from headwater.actors.recovery import fold_log
from headwater.config import load_config
from headwater.core import generation_of, new_core
from headwater.errors import InvalidInput
from headwater.events.frame import FrameWriter, decode_frame
from headwater.events.log import LogBatch
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import Subject, subject_of
from headwater.events.types import Event
from headwater.progress import progress_call


def replay_directory(directory: Path, until: int | None, threads: int | None) -> dict[str, Any]:
    """Fold a directory's log from its first frame: events, seconds, rate, digests. Writes nothing."""
    config = store.directory_config(directory)
    log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    try:
        core = new_core(config, threads or config.engine.threads)
        started = time.perf_counter()
        fold_log(core, log, stop=None if until is None else until + 1)
        seconds = time.perf_counter() - started
    finally:
        log.close()
    events = sum(core.stats()["outcomes"].values())
    parts = core.digest()
    return {
        "position": core.position,
        "events": events,
        "seconds": seconds,
        "events_per_s": events / seconds if seconds else 0.0,
        "digest": parts["whole"],
        "parts": parts,
    }


def regenerate(directory: Path, target: Path, config_file: Path | None, progress: bool) -> dict[str, Any]:
    """Build the next generation of `directory` in the new directory `target`, under `config_file` or the same
    configuration.

    With an equal number of partitions the frames are copied as they are, otherwise their events are packed anew. The
    old directory is only read. Raises `InvalidInput` if the target holds something already.
    """
    if target.exists() and any(target.iterdir()):
        raise InvalidInput(f"{target} is not empty; allowed: a new directory", field="to", value=str(target))
    old = store.directory_config(directory)
    config = old if config_file is None else load_config(config_file)
    store.begin(target, config)
    if config_file is not None:
        shutil.copyfile(config_file, target / store.CONFIG_FILE)
    source = SqliteLog(directory, generation_of(old.generation), read_only=True)
    sink = SqliteLog(target, generation_of(config.generation))
    repack = _Repacker(generation_of(old.generation), config.generation.partitions)
    same = old.generation.partitions == config.generation.partitions
    core = new_core(config, config.engine.threads)
    try:
        with progress_call(progress, "replay") as call:
            last = source.last()
            for batch in source.read():
                frames = batch.frames if same else repack.frames(batch)
                if frames:
                    core.apply(sink.append(frames), frames)
                call(batch.positions[-1], last)
    finally:
        source.close()
        sink.close()
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


class _Repacker:
    """Events of old frames in new frames, by the new partitions. Append times are kept: they bound event times."""

    def __init__(self, old_generation: str, partitions: int) -> None:
        self._writer = FrameWriter(f"generation:{old_generation}", 0)
        self._partitions = partitions

    def frames(self, batch: LogBatch) -> list[bytes]:
        """The frames that carry a batch's events. Raises `LogCorrupt` for a frame that does not decode."""
        out: list[bytes] = []
        for frame in batch.frames:
            header, events = decode_frame(frame)
            groups: dict[Subject, list[Event]] = {}
            for event in events:
                groups.setdefault(subject_of(event, self._partitions), []).append(event)
            for subject, group in groups.items():
                out.extend(self._writer.pack(subject, group, header.appended))
        return out
