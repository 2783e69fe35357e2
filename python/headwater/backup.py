"""Backups: the log's frames and a snapshot at one position, beside the digest of the state there.

    DEST/backup.json                     what the backup holds; replaced last, so that it is never ahead of the rest
    DEST/frames/<first>-<last>.frames    frames with their lengths, position after position
    DEST/snapshots/<position>/*.hws      the state at the backup's position, as the engine writes it
    DEST/generation.json, headwater.toml, deadletters/

Frames are read by position from the log, which goes on meanwhile, never copied as a live database file. A second backup
into the same place adds the frames that came since, and a snapshot in place of the last one. Frames are chained: each
backup checks the log's own chain up to the acknowledged end, and `restore` checks it again, folds the log and compares
the digest with the recorded one.
"""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import xxhash

from headwater import store
from headwater.actors.recovery import fold_log
from headwater.actors.snapshots import DirectorySnapshots
from headwater.config import Config
from headwater.core import Core, generation_of, new_core, restore_core
from headwater.errors import BackupInvalid, GenerationMismatch, StoreError
from headwater.events.frame import MAX_FRAME
from headwater.events.head import Head, chain_frames
from headwater.events.log import LogBatch
from headwater.events.sqlite_log import SqliteLog
from headwater.events.sync import write_whole
from headwater.plain_data import PlainData
from headwater.whole_directory import appearing_whole

MANIFEST = "backup.json"
FORMAT = 1
_SEGMENT_BYTES = 64 << 20
_BATCH_BYTES = 8 << 20
_LENGTH = struct.Struct("<I")
_COPIED = (store.GENERATION_FILE, store.CONFIG_FILE)

ProgressCall = Callable[[int, int], None]
"""Called with (frames done, frames in all)."""


class Source(Protocol):
    """A log that is copied from: a directory's, or a cluster's (`headwater.cluster_backup`)."""

    @property
    def generation(self) -> str:
        """Its generation."""
        ...

    @property
    def base(self) -> Head:
        """Position and chain before its first frame."""
        ...

    @property
    def rewritten(self) -> int:
        """Where it ended when a user was last erased from it."""
        ...

    def first(self) -> int:
        """See `EventLog.first`."""
        ...

    def last(self) -> int:
        """See `EventLog.last`."""
        ...

    def read(self, start: int = 1, *, stop: int | None = None, batch_bytes: int = ...) -> Iterator[LogBatch]:
        """See `EventLog.read`."""
        ...

    def epochs(self) -> int:
        """How many epochs its writers took."""
        ...


class Segment(msgspec.Struct, frozen=True):
    """One file of frames: positions, bytes, and the XXH3-128 of its content."""

    first: int
    last: int
    bytes: int
    hash: str

    @property
    def name(self) -> str:
        """Its file's name."""
        return f"{self.first:020d}-{self.last:020d}.frames"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. `base` and `base_chain`: position and chain before the first; `chain` at `position`."""

    format: int
    generation: str
    position: int
    chain: int
    base: int
    base_chain: int
    epochs: int
    rewritten: int
    digest: dict[str, str]
    made_at: int
    segments: list[Segment]
    snapshot: dict[str, str]
    """Part -> XXH3-128 of its file."""


class BackupReport(PlainData, frozen=True, kw_only=True):
    """What a backup copied. `frames` and `bytes` are the new ones; `digest` is the state's at `position`."""

    destination: str
    position: int
    frames: int
    bytes: int
    frames_held: int
    snapshot_written: bool
    digest: str
    seconds: float


class RestoreReport(PlainData, frozen=True, kw_only=True):
    """What a restore made: frames checked and appended, and the digest, equal to the recorded one."""

    directory: str
    position: int
    frames: int
    digest: str
    seconds: float


def backup(
    directory: Path | None,
    log: Source,
    core: Core,
    config: Config,
    destination: Path,
    now_ms: int,
    progress: ProgressCall,
) -> BackupReport:
    """Bring the backup in `destination` up to the state of `core`, which may go on meanwhile. `directory` holds
    configuration and dead letters, if there is one.

    Raises `BackupInvalid` if the place holds a backup of another log, or one whose end this log no longer holds;
    `LogCorrupt` if the log's frames are not those that were acknowledged; `StoreError` if a file cannot be written.
    """
    started = time.perf_counter()
    try:
        old = earlier_backup(destination, log)
        position, parts, digest = _moment(core, config)
        done = Head(0, log.base.last, log.base.chain) if old is None else Head(0, old.position, old.chain)
        (destination / "frames").mkdir(parents=True, exist_ok=True)
        known = [] if old is None else old.segments
        new, chain = _copy_frames(log, destination, done, position, progress)
        if isinstance(log, SqliteLog):
            _check_chain(log, position, chain, None if old is None else destination)
        segments = [*known, *new]
        written = old is None or old.position != position or old.digest != digest
        hashes = _write_snapshot(destination, position, parts) if written or old is None else old.snapshot
        if directory is None:
            write_whole(destination / store.GENERATION_FILE, store.generation_json(config))
        else:
            for name in _COPIED:
                if (directory / name).exists():
                    shutil.copyfile(directory / name, destination / name)
            _copy_letters(directory, destination)
        manifest = Manifest(
            format=FORMAT,
            generation=log.generation,
            position=position,
            chain=chain,
            base=log.base.last if old is None else old.base,
            base_chain=log.base.chain if old is None else old.base_chain,
            epochs=log.epochs(),
            rewritten=log.rewritten,
            digest=digest,
            made_at=now_ms,
            segments=segments,
            snapshot=hashes,
        )
        write_whole(destination / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
        _tidy(destination, manifest)
    except OSError as err:
        raise StoreError(f"{destination}: cannot be written: {err.strerror or err}", path=str(destination)) from err
    return BackupReport(
        destination=str(destination),
        position=position,
        frames=sum(s.last - s.first + 1 for s in new),
        bytes=sum(s.bytes for s in new),
        frames_held=sum(s.last - s.first + 1 for s in segments),
        snapshot_written=written,
        digest=digest["whole"],
        seconds=time.perf_counter() - started,
    )


def _moment(core: Core, config: Config) -> tuple[int, list[tuple[str, bytes]], dict[str, str]]:
    """Position, snapshot and digest of one moment of a state that may be moving."""
    before, digest = core.position, core.digest()
    position, parts = core.snapshot()
    if position != before:  # it moved: what the snapshot holds is asked of it
        digest = restore_core(config, config.engine.threads, parts).digest()
    return position, parts, digest


def earlier_backup(destination: Path, log: Source) -> Manifest | None:
    """The backup of this log that lies in a place; `None` for a new place. Raises `BackupInvalid` for anything else."""
    if (destination / MANIFEST).exists():
        old = read_manifest(destination)
        _check_same_log(old, log, destination)
        return old
    if destination.is_dir() and any(destination.iterdir()):
        raise BackupInvalid(f"{destination} is neither empty nor a backup; name another place", path=str(destination))
    return None


def _check_same_log(old: Manifest, log: Source, destination: Path) -> None:
    """The backup's last frame must be the log's: otherwise another log, or one after an erasure, would be mixed in."""
    if old.generation != log.generation:
        raise BackupInvalid(
            f"{destination} holds a backup of generation {old.generation}, the log is of {log.generation}; name a new "
            "place for the new generation",
            path=str(destination),
        )
    if old.position > log.last() or old.position < log.base.last:
        raise BackupInvalid(
            f"{destination} ends at position {old.position}, but the log holds {log.first()} to {log.last()}: they do "
            "not join; name a new place",
            path=str(destination),
        )
    chain = log.base.chain
    if old.position > log.base.last:
        segment = next(s for s in old.segments if s.last == old.position)
        last = next(_frames(destination, segment, segment.last))[1]
        ours = [frame for batch in log.read(old.position, stop=old.position + 1) for frame in batch.frames]
        same = ours == [last]
    else:
        same = chain == old.chain
    if not same:
        raise BackupInvalid(
            f"{destination} holds a backup of another log: frame {old.position} differs; name a new place",
            path=str(destination),
        )


def _copy_frames(
    log: Source, destination: Path, held: Head, position: int, progress: ProgressCall
) -> tuple[list[Segment], int]:
    """Write the frames behind `held` up to `position`; the new files, and the chain at their end."""
    segments: list[Segment] = []
    chain, first = held.chain, held.last + 1
    total = position - held.last
    content: list[bytes] = []
    size = 0
    for batch in log.read(first, stop=position + 1, batch_bytes=_BATCH_BYTES):
        chain = chain_frames(chain, batch.frames)
        for frame in batch.frames:
            content += (_LENGTH.pack(len(frame)), frame)
            size += len(frame)
        last = batch.positions[-1]
        if size >= _SEGMENT_BYTES or last == position:
            segments.append(_write_segment(destination, first, last, b"".join(content)))
            content, size, first = [], 0, last + 1
        progress(last - held.last, total)
    return segments, chain


def held(source: Path, manifest: Manifest) -> Iterator[bytes]:
    """The frames of a backup, in order; files are compared with the manifest. Raises `BackupInvalid`."""
    expected = manifest.base + 1
    for segment in manifest.segments:
        if segment.first != expected:
            raise BackupInvalid(f"{source}: frames {expected} to {segment.first - 1} are missing", path=str(source))
        for _, frame in _frames(source, segment):
            yield frame
        expected = segment.last + 1


def _write_segment(destination: Path, first: int, last: int, content: bytes) -> Segment:
    segment = Segment(first, last, len(content), xxhash.xxh3_128_hexdigest(content))
    write_whole(destination / "frames" / segment.name, content)
    return segment


def _check_chain(log: SqliteLog, position: int, chain: int, earlier: Path | None) -> None:
    """The chain at the log's acknowledged end, reached from the frames that were copied behind those of `earlier`."""
    head = log.acknowledged()
    if head.last < position:
        raise BackupInvalid(f"the log acknowledges {head.last} frames, {position} were copied", path="head")
    for batch in log.read(position + 1, stop=head.last + 1):
        chain = chain_frames(chain, batch.frames)
    if chain != head.chain and earlier is not None and _whole_chain(log, head.last) == head.chain:
        raise BackupInvalid(
            f"{earlier} holds a backup of another log: an earlier frame differs, as after an erasure; name a new place",
            path=str(earlier),
        )
    if chain != head.chain:
        raise BackupInvalid(
            f"the frames up to {head.last} are not those that were acknowledged (checksum chain): the log is damaged, "
            "see `headwater verify`; the backup was not replaced",
            path="head",
        )


def _whole_chain(log: SqliteLog, last: int) -> int:
    chain = log.base.chain
    for batch in log.read(log.base.last + 1, stop=last + 1):
        chain = chain_frames(chain, batch.frames)
    return chain


def _write_snapshot(destination: Path, position: int, parts: list[tuple[str, bytes]]) -> dict[str, str]:
    DirectorySnapshots(destination / "snapshots").save(position, parts, keep=1 << 30)
    return {name: xxhash.xxh3_128_hexdigest(content) for name, content in parts}


def _copy_letters(directory: Path, destination: Path) -> None:
    """Dead letters as they are now, and none that are gone."""
    shutil.rmtree(destination / "deadletters", ignore_errors=True)
    if (directory / "deadletters").is_dir():
        shutil.copytree(directory / "deadletters", destination / "deadletters")


def _tidy(destination: Path, manifest: Manifest) -> None:
    """Take away what the manifest does not name: older snapshots, files of a backup that was cut short."""
    for stored in DirectorySnapshots(destination / "snapshots").positions():
        if stored != manifest.position:
            shutil.rmtree(DirectorySnapshots(destination / "snapshots").path(stored))
    named = {segment.name for segment in manifest.segments}
    for file in (destination / "frames").iterdir():
        if file.name not in named:
            file.unlink()


def restore(source: Path, directory: Path, threads: int | None, progress: ProgressCall) -> RestoreReport:
    """Make `directory`, which must not be there or be empty, from the backup in `source`.

    Every frame's file, the chain and the snapshot's files are compared with the manifest, the log is folded, and the
    digest must be the recorded one. The directory appears when all of that is done. Raises `BackupInvalid`,
    `GenerationMismatch` (the backup is of another version of the fold), `InvalidInput`, `StoreError`.
    """
    started = time.perf_counter()
    manifest = read_manifest(source)
    config = config_of(source, manifest)
    with appearing_whole(directory) as place:
        store.begin(place, config)
        for name in _COPIED:
            if (source / name).exists():
                shutil.copyfile(source / name, place / name)
        if (source / "deadletters").is_dir():
            shutil.copytree(source / "deadletters", place / "deadletters")
        parts = _checked_snapshot(source, manifest)
        log = SqliteLog(place, manifest.generation)
        try:
            frames = _append_all(source, manifest, log, progress)
            digest = _folded(log, manifest, config, threads, parts)
            log.skip_epochs(manifest.epochs)
            log.note_rewritten(manifest.rewritten)
        finally:
            log.close()
        DirectorySnapshots(place / "snapshots").save(manifest.position, parts, keep=1)
    return RestoreReport(
        directory=str(directory),
        position=manifest.position,
        frames=frames,
        digest=digest,
        seconds=time.perf_counter() - started,
    )


def config_of(source: Path, manifest: Manifest) -> Config:
    """The configuration of a backup. Raises `GenerationMismatch` if this version folds it to other states."""
    config = store.directory_config(source)
    generation = generation_of(config.generation)
    if generation != manifest.generation:
        raise GenerationMismatch(
            f"{source} is of generation {manifest.generation}, its configuration makes {generation} with this version: "
            "restore with the version that wrote it, then `headwater replay DIR --to NEW_DIR`",
            found=manifest.generation,
            expected=generation,
        )
    return config


def _append_all(source: Path, manifest: Manifest, log: SqliteLog, progress: ProgressCall) -> int:
    if manifest.base:
        log.begin_after(Head(0, manifest.base, manifest.base_chain))
    batch: list[bytes] = []
    size = 0
    for frame in held(source, manifest):
        batch.append(frame)
        size += len(frame)
        if size >= _BATCH_BYTES:
            log.append(batch)
            batch, size = [], 0
            progress(log.last() - manifest.base, manifest.position - manifest.base)
    if batch:
        log.append(batch)
        progress(log.last() - manifest.base, manifest.position - manifest.base)
    head = log.acknowledged()
    if (head.last, head.chain) != (manifest.position, manifest.chain):
        raise BackupInvalid(
            f"{source}: the frames up to {head.last} are not those that were backed up (checksum chain)",
            path=str(source),
        )
    return head.last - manifest.base


def _folded(
    log: SqliteLog, manifest: Manifest, config: Config, threads: int | None, parts: list[tuple[str, bytes]]
) -> str:
    """The digest of the snapshot and, where the frames go back to the first, of the log folded anew."""
    threads = threads or config.engine.threads
    cores = [restore_core(config, threads, parts)]
    if not manifest.base:
        core = new_core(config, threads)
        fold_log(core, log)
        cores.append(core)
    for what, core in zip(("snapshot", "log"), cores, strict=False):
        digest = core.digest()
        if core.position != manifest.position or digest != manifest.digest:
            differing = [part for part, d in manifest.digest.items() if digest.get(part) != d]
            raise BackupInvalid(
                f"the {what} gives another state than the one that was backed up at position {manifest.position}, in "
                f"{', '.join(differing) or 'its position'}",
                path=what,
            )
    return manifest.digest["whole"]


def _checked_snapshot(source: Path, manifest: Manifest) -> list[tuple[str, bytes]]:
    parts = DirectorySnapshots(source / "snapshots").load(manifest.position)
    found = {name: xxhash.xxh3_128_hexdigest(content) for name, content in parts}
    differing = sorted(name for name, known in manifest.snapshot.items() if found.get(name) != known)
    if differing:
        raise BackupInvalid(
            f"{source}: snapshot {manifest.position} is damaged or incomplete: {', '.join(differing)}", path=str(source)
        )
    return parts


def _frames(source: Path, segment: Segment, start: int | None = None) -> Iterator[tuple[int, bytes]]:
    """(position, frame) of a file's frames from `start` on. Raises `BackupInvalid` if it is not as it was written."""
    path = source / "frames" / segment.name
    try:
        content = path.read_bytes()
    except OSError as err:
        raise BackupInvalid(f"{path}: {err.strerror or err}", path=str(path)) from err
    if len(content) != segment.bytes or xxhash.xxh3_128_hexdigest(content) != segment.hash:
        raise BackupInvalid(f"{path} is not as it was written; use another backup", path=str(path))
    at = 0
    for position in range(segment.first, segment.last + 1):
        (length,) = _LENGTH.unpack_from(content, at)
        if length > MAX_FRAME:
            raise BackupInvalid(f"{path}: a frame of {length} bytes", path=str(path))
        at += _LENGTH.size + length
        if start is None or position >= start:
            yield position, content[at - length : at]


def read_manifest(source: Path) -> Manifest:
    path = source / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as err:
        raise BackupInvalid(f"{source} holds no backup: {err.strerror or err}", path=str(path)) from err
    except (msgspec.MsgspecError, UnicodeDecodeError) as err:
        raise BackupInvalid(f"{path}: does not decode: {err}", path=str(path)) from err
    if manifest.format != FORMAT:
        raise BackupInvalid(f"{path}: backup format {manifest.format}; this code reads {FORMAT}", path=str(path))
    return manifest
