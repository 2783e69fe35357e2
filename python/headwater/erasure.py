"""Erasure: the log written anew without one person's events, beside the running engine, and put in its place.

The next log is built from the running one while the engine answers and writes; at the end writers wait for as long as
it takes to copy what came last and to exchange the files. Everything that follows from the log follows from the new
one: state, snapshots, what merges carry. Dead letters that hold one of the ids go too.

Left out are all events of the account and of every id that was ever merged into it. Other users' frames keep their
order; engine frames are numbered without gaps, so the state is the one of a log that never held the events.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from headwater.actors.runtime import PRODUCER, EmbeddedRuntime
from headwater.actors.snapshots import DirectorySnapshots
from headwater.core import Core, new_core, stable_hash
from headwater.errors import StoreError
from headwater.events import replacement
from headwater.events.sqlite_log import SqliteLog
from headwater.ingest.dead_letters import DeadLetter
from headwater.receipts import Receipt, issue, subject_of
from headwater.rewriting import Removed, Rewriter, merged_ids

_letters = msgspec.json.Decoder(DeadLetter)


def check_erasable(runtime: EmbeddedRuntime) -> tuple[Path, SqliteLog]:
    """The directory and log of a runtime that can be erased from. Raises `StoreError` for any other."""
    log, directory = runtime.log, runtime.directory
    if directory is None or not isinstance(log, SqliteLog) or runtime.read_only:
        raise StoreError("only an engine that writes to a directory erases: in memory nothing outlives it")
    if log.base.last:
        raise StoreError(
            f"{directory}: the log begins behind position {log.base.last}; bring what was archived back first "
            "(headwater archive --restore), then erase, then archive again",
            path=str(directory),
        )
    return directory, log


class Erased(msgspec.Struct, frozen=True):
    """The receipt and its file, and where the old log's positions are now."""

    receipt: Receipt
    file: Path


def erase(runtime: EmbeddedRuntime, user: str, known: Iterable[str], now_ms: int) -> Erased:
    """Write the log anew without the account `user` and what was merged into it; `known`: ids the state knows of.

    O(log). Raises `StoreError` (in memory, read-only, disk full: nothing was changed then).
    """
    started = time.perf_counter()
    directory, log = check_erasable(runtime)
    ids = merged_ids(log, user, known)
    subject = subject_of(directory, user)  # before anything is done that a receipt must be given for
    core = new_core(runtime.config, runtime.config.engine.threads)
    with replacement.building(directory) as place:
        letters = _copy_letters(directory / "deadletters", place / "deadletters", ids)
        removed, before = _build(runtime, log, place, core, ids)
    receipt = Receipt(
        subject=subject,
        ids=len(ids),
        events=removed.events,
        frames=removed.frames,
        dead_letters=letters,
        erased_at=now_ms,
        generation=core.generation,
        position_before=before[0],
        position=before[1],
        digest=before[2],
        seconds=time.perf_counter() - started,
    )
    signed, file = issue(directory, receipt)
    return Erased(signed, file)


def _build(
    runtime: EmbeddedRuntime, log: SqliteLog, place: Path, core: Core, ids: set[str]
) -> tuple[Removed, tuple[int, int, str]]:
    """Build the next log and let it take its place; what was left out, and positions and digest at that moment."""
    sink = SqliteLog(place, log.generation)
    old = runtime.core  # let go of at the end: taking a large state apart takes time, and writers need not wait for it
    try:
        rewriter = Rewriter(core, sink.append, ids, stable_hash(PRODUCER))
        rewriter.follow(log)
        if runtime.snapshots is not None and runtime.snapshots.positions():
            DirectorySnapshots(place / "snapshots").save(*core.snapshot(), keep=1)
        position, digest = core.position, core.digest()["whole"]
        with runtime.replacing() as replace:
            last = rewriter.catch_up(log)
            sink.skip_epochs(log.epochs())
            sink.note_rewritten(sink.last())
            sink.close()
            if core.position != position:
                position, digest = core.position, core.digest()["whole"]
            replace(core, rewriter.positions())
    finally:
        sink.close()
    del old
    return rewriter.removed, (last, position, digest)


def _copy_letters(old: Path, new: Path, ids: set[str]) -> int:
    """Dead letters without those that hold one of the ids; how many these are. Files are named by hashes of sources."""
    gone = 0
    if not old.is_dir():
        return gone
    new.mkdir()
    for file in sorted(old.iterdir()):
        lines = file.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not _holds(line, ids)]
        gone += len(lines) - len(kept)
        if kept:
            (new / file.name).write_bytes(b"".join(kept))
    return gone


def _holds(line: bytes, ids: set[str]) -> bool:
    """Whether a letter's value is one of the ids, or quotes one."""
    try:
        value = _letters.decode(line).value
    except msgspec.DecodeError:
        return True  # cut off: nobody can say
    return any(value == id or f"'{id}'" in value or f'"{id}"' in value or f",{id}," in f",{value}," for id in ids)
