"""Backups of a cluster: frames read from its JetStream log, the state folded here and compared with the hosts'.

What is made is the same as a backup of a directory (`headwater.backup`): `restore` makes a directory of it, to which
every command about the past applies, and `restore_to_cluster` a new log on JetStream. A second backup into the same
place begins with the state of the first, so it costs what came since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from headwater import backup as copies
from headwater.actors.recovery import fold_log
from headwater.actors.snapshots import DirectorySnapshots
from headwater.backup import BackupReport, Manifest, ProgressCall, RestoreReport, config_of, held, read_manifest
from headwater.config import Config
from headwater.core import Core, new_core, restore_core
from headwater.errors import BackupInvalid, StoreError
from headwater.events.head import Head, chain_frames
from headwater.events.jetstream_log import AsyncJetStreamLog, JetStreamLog
from headwater.events.jetstream_stream import NoSuchLog, StreamSettings
from headwater.events.log import LogBatch
from headwater.events.nats_options import NatsOptions
from headwater.verify import differing_hosts

_BATCH_FRAMES = 2000


class StreamSource:
    """A JetStream log as a source of frames. It has no chain of its own: the frames are chained as they are read, and
    what they fold to is compared with the hosts instead."""

    def __init__(self, log: JetStreamLog) -> None:
        """Raises `StoreError` for a log whose beginning is gone: nothing could be folded from it."""
        if log.first() > 1:
            raise StoreError(f"the log begins at position {log.first()}: its beginning is needed for a backup")
        self._log = log
        self.generation = log.generation
        self.base = Head(0, 0, 0)
        self.rewritten = log.rewritten

    def first(self) -> int:
        """See `EventLog.first`."""
        return self._log.first()

    def last(self) -> int:
        """See `EventLog.last`."""
        return self._log.last()

    def read(self, start: int = 1, **more: Any) -> Iterator[LogBatch]:
        """See `EventLog.read`."""
        return self._log.read(start, **more)

    def epochs(self) -> int:
        """How many epochs were given out."""
        return self._log.epochs()


def backup_cluster(
    log: JetStreamLog,
    config: Config,
    hosts: Sequence[Mapping[str, Any]],
    destination: Path,
    now_ms: int,
    progress: ProgressCall,
) -> BackupReport:
    """Bring the backup in `destination` up to the log's end. `hosts`: what `Client.digest` told, to be compared with.

    Raises `BackupInvalid` if a host's state is not what the frames fold to, or the place holds another backup;
    `StoreError`.
    """
    source = StreamSource(log)
    core = _folded_before(destination, source, config)
    last = log.last()
    for problem in differing_hosts(hosts, core, log):  # an earlier backup was compared then
        raise BackupInvalid(f"{problem.where} {problem.what}; nothing was backed up", path=problem.where)
    fold_log(core, log, stop=last + 1)
    return copies.backup(None, source, core, config, destination, now_ms, progress)


def _folded_before(destination: Path, source: StreamSource, config: Config) -> Core:
    """The state of an earlier backup of this log, if there is one, to be folded on."""
    threads = config.engine.threads
    try:
        old = copies.earlier_backup(destination, source)
    except OSError as err:
        raise StoreError(f"{destination}: cannot be read: {err.strerror or err}", path=str(destination)) from err
    if old is None:
        return new_core(config, threads)
    return restore_core(config, threads, DirectorySnapshots(destination / "snapshots").load(old.position))


def restore_to_cluster(
    source: Path, options: NatsOptions, namespace: str, threads: int | None, progress: ProgressCall
) -> RestoreReport:
    """Make a new log on JetStream from a backup; hosts that `headwater serve` starts on it fold it from its first
    frame. Every frame is compared with the manifest, and what they fold to with the recorded digest, before anything is
    written.

    Raises `BackupInvalid`, `GenerationMismatch`, `StoreError` (there is a log already; a backup of a trimmed log),
    `Unavailable`. Cut short, take the stream away and begin again.
    """
    started = time.perf_counter()
    manifest = read_manifest(source)
    config = config_of(source, manifest)
    if manifest.base:
        raise StoreError(
            f"{source}: the log was archived below position {manifest.base}, and a stream begins at 1: restore it to a "
            "directory, bring the archive back (headwater archive --restore), and back that up"
        )
    asyncio.run(_check_free(manifest, options, namespace))  # folding takes long, and would be for nothing
    digest = _checked(source, manifest, config, threads or config.engine.threads)
    asyncio.run(_push(held(source, manifest), manifest, config, options, namespace, progress))
    return RestoreReport(
        directory=f"{options.shown}, namespace {namespace}",
        position=manifest.position,
        frames=manifest.position,
        digest=digest,
        seconds=time.perf_counter() - started,
    )


def _checked(source: Path, manifest: Manifest, config: Config, threads: int) -> str:
    """The digest of the backup's frames, which must be the recorded one, as must their chain."""
    core, chain = new_core(config, threads), 0
    for batch in _batches(held(source, manifest)):
        chain = chain_frames(chain, batch)
        core.apply(core.position + 1, batch)
    digest = core.digest()["whole"]
    if (core.position, chain, digest) != (manifest.position, manifest.chain, manifest.digest["whole"]):
        raise BackupInvalid(f"{source}: its frames are not those that were backed up", path=str(source))
    return digest


def _batches(frames: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) >= _BATCH_FRAMES:
            yield batch
            batch = []
    if batch:
        yield batch


async def _check_free(manifest: Manifest, options: NatsOptions, namespace: str) -> None:
    try:
        log = await AsyncJetStreamLog.open(options, namespace, manifest.generation, read_only=True)
    except NoSuchLog:
        return
    try:
        _refuse_frames(await log.last(), options, namespace)
    finally:
        await log.close()


def _refuse_frames(last: int, options: NatsOptions, namespace: str) -> None:
    if last:
        raise StoreError(
            f"{options.shown} holds a log of this generation in namespace {namespace!r}, with {last} frames: "
            "restore into another namespace, or take that stream away first",
            url=options.shown,
        )


async def _push(
    frames: Iterator[bytes],
    manifest: Manifest,
    config: Config,
    options: NatsOptions,
    namespace: str,
    progress: ProgressCall,
) -> None:
    settings = StreamSettings(config=msgspec.json.encode(config.generation).decode(), first_epoch=manifest.epochs + 1)
    log = await AsyncJetStreamLog.open(options, namespace, manifest.generation, create=settings, producer="restore")
    try:
        _refuse_frames(await log.last(), options, namespace)
        done = 0
        for batch in _batches(frames):
            done = check_contiguous(await log.append_many(batch), done)
            progress(done, manifest.position)
    finally:
        await log.close()


def check_contiguous(positions: Sequence[int], done: int) -> int:
    """The last of the positions, which must follow `done` without a gap: somebody else wrote, else."""
    if list(positions) != list(range(done + 1, done + len(positions) + 1)):
        raise StoreError(f"behind position {done} somebody else wrote to the new log; take it away and begin again")
    return positions[-1]
