"""The archive: events that the state no longer needs from the log, as Parquet that any tool reads.

    DIR/archive/<first>-<last>.parquet    the events of these positions

One row an event: `position`, `index`, `kind` (`Feedback`, `ItemPut`, ...), `user`, `item`, `type`, `ts`, `value`, the
whole event as JSON (`event`) and as it stood in the log (`raw`, MessagePack), and its frame's `subject`, `producer`,
`epoch`, `sequence` and `appended`. A frame that holds anything but sound events is one row with its bytes in `raw` and
`whole` true. So frames can be made again, byte for byte, and `restore` puts them back below the log.

The log is trimmed below a *base*: the oldest snapshot that is kept, after it was compared with the log folded up to it.
Until the next archiving that snapshot stays, whatever `snapshots_kept` says; from there on the log is "from the base".
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.actors.recovery import base_core
from headwater.actors.runtime import EmbeddedRuntime
from headwater.actors.snapshots import DirectorySnapshots
from headwater.core import frame_fault, new_core, restore_core
from headwater.errors import ArchiveInvalid, LogCorrupt, StoreError
from headwater.events import replacement
from headwater.events.frame import HEADER_LEN, decode_header, encode_frame
from headwater.events.log import LogBatch
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import Subject
from headwater.events.sync import sync_directory
from headwater.events.types import Event
from headwater.plain_data import PlainData

if TYPE_CHECKING:
    import polars

FOLDER = "archive"
_NAME = re.compile(r"^(\d{20})-\d{20}\.parquet$")
_FILE_BYTES = 64 << 20
"""Bytes of frames that become one file."""
_BATCH_BYTES = 8 << 20

_bodies = msgspec.msgpack.Decoder(list[msgspec.Raw])
_event = msgspec.msgpack.Decoder(Event)
_pack = msgspec.msgpack.Encoder()
_json = msgspec.json.Encoder()
_FIELDS = ("user", "item", "type", "ts", "value")


class ArchiveReport(PlainData, frozen=True, kw_only=True):
    """What an archiving did: positions `first` to `last` went from the log into `files`; the log begins behind.

    Its base is the snapshot at `base`, whose digest is `digest`.
    """

    first: int
    last: int
    base: int
    frames: int
    events: int
    files: list[str]
    bytes: int
    digest: str
    log_bytes_before: int
    log_bytes: int
    seconds: float


def archive(runtime: EmbeddedRuntime) -> ArchiveReport:
    """Write everything up to the oldest snapshot, an earlier base aside, to Parquet, read it back, and trim the log.

    The snapshot must be what folding the log gives; the files must give the log's frames byte for byte. Only then is
    anything trimmed; cut short before, it is begun anew. Snapshots that come due meanwhile are written afterwards.
    Raises `StoreError` without a snapshot to trim to, `SnapshotInvalid`, `ArchiveInvalid`.
    """
    with runtime.holding_snapshots():
        return _archive(runtime, *_writable(runtime))


def _archive(runtime: EmbeddedRuntime, directory: Path, log: SqliteLog, snapshots: DirectorySnapshots) -> ArchiveReport:
    started = time.perf_counter()
    positions = snapshots.positions()
    if not positions:
        raise StoreError(f"{directory} holds no snapshot to trim to; write one first (headwater snapshot)")
    # The base of the last archiving is kept beside them, and has done its duty when there is a newer one.
    newer = [position for position in positions if position > snapshots.pinned()]
    first, base, before = log.first(), newer[-1] if newer else snapshots.pinned(), log.size_bytes()
    folder = directory / FOLDER
    files: list[Path] = []
    events = 0
    digest = _verified(runtime, log, snapshots, base)
    until = min(base, log.last() - 1)  # a log keeps its last frame
    if first and until >= first:
        try:
            folder.mkdir(exist_ok=True)
            _clear(folder, first)
            for batch in log.read(first, stop=until + 1, batch_bytes=_FILE_BYTES):
                file, rows = _write(folder, batch)
                files.append(file)
                events += rows
            sync_directory(folder)
            snapshots.pin(base)
            log.trim(until + 1)
            snapshots.drop_before(base)
        except OSError as err:
            path = err.filename or folder
            raise StoreError(f"{path}: cannot be written: {err.strerror or err}", path=str(path)) from err
    return ArchiveReport(
        first=first if files else 0,
        base=base,
        last=until if files else 0,
        frames=until - first + 1 if files else 0,
        events=events,
        files=[str(file) for file in files],
        bytes=sum(file.stat().st_size for file in files),
        digest=digest,
        log_bytes_before=before,
        log_bytes=log.size_bytes(),
        seconds=time.perf_counter() - started,
    )


def _clear(folder: Path, first: int) -> None:
    """Take away what an archiving that was cut short left: files that have no name yet, and those of frames that are
    in the log still."""
    for file in folder.iterdir():
        begins = _NAME.match(file.name)
        if file.name.startswith(".") or (begins is not None and int(begins[1]) >= first):
            file.unlink()


def _writable(runtime: EmbeddedRuntime) -> tuple[Path, SqliteLog, DirectorySnapshots]:
    if runtime.directory is None or not isinstance(runtime.log, SqliteLog) or runtime.read_only:
        raise StoreError("only an engine that writes to a directory has an archive")
    assert runtime.snapshots is not None
    return runtime.directory, runtime.log, runtime.snapshots


def _verified(runtime: EmbeddedRuntime, log: SqliteLog, snapshots: DirectorySnapshots, base: int) -> str:
    """The digest of the snapshot at `base`, after the log folded up to it gave the same. O(frames up to it)."""
    threads = runtime.config.engine.threads
    digest = restore_core(runtime.config, threads, snapshots.load(base)).digest()["whole"]
    core = base_core(log, snapshots, runtime.config, threads)
    for batch in log.read(core.position + 1, stop=base + 1):
        core.apply(batch.positions[0], batch.frames)
    if core.digest()["whole"] != digest:
        raise LogCorrupt(
            f"the snapshot at position {base} is not what the log gives; nothing was trimmed; see `headwater verify`",
            position=base,
            reason="snapshot",
        )
    return digest


def _write(folder: Path, batch: LogBatch) -> tuple[Path, int]:
    """One file, read back and compared before it has its name; and how many events it holds."""
    table = _table(batch)
    path = folder / f"{batch.positions[0]:020d}-{batch.positions[-1]:020d}.parquet"
    temporary = path.with_name(f".{path.name}")
    table.write_parquet(temporary, compression="zstd")
    if [frame for part in read_file(temporary) for frame in part.frames] != batch.frames:
        raise ArchiveInvalid(f"{path}: read back, it is not what was written; nothing was trimmed", path=str(path))
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    return path, len(table)


def _table(batch: LogBatch) -> polars.DataFrame:
    import polars as pl

    rows: list[tuple[Any, ...]] = []
    for position, frame in zip(batch.positions, batch.frames, strict=True):
        rows += _rows(position, frame)
    schema = {
        "position": pl.UInt64,
        "index": pl.UInt32,
        "kind": pl.String,
        "user": pl.String,
        "item": pl.String,
        "type": pl.String,
        "ts": pl.Int64,
        "value": pl.Float64,
        "event": pl.String,
        "raw": pl.Binary,
        "whole": pl.Boolean,
        "subject": pl.String,
        "producer": pl.UInt64,
        "epoch": pl.UInt64,
        "sequence": pl.UInt64,
        "appended": pl.Int64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _rows(position: int, frame: bytes) -> list[tuple[Any, ...]]:
    """A row for each event of a frame that can be made again from them, byte for byte; one with all bytes otherwise."""
    whole = [(position, 0, None, *[None] * 5, None, frame, True, *[None] * 5)]
    if frame_fault(frame) is not None:
        return whole
    header = decode_header(frame)
    about = (header.subject.name, *header[2:6])
    rows: list[tuple[Any, ...]] = []
    try:
        bodies = _bodies.decode(frame[HEADER_LEN:])
        for index, raw in enumerate(bodies):
            event = _event.decode(raw)
            names = event.__struct_fields__
            user, item, kind, ts, value = [getattr(event, field) if field in names else None for field in _FIELDS]
            value = float(value) if isinstance(value, int | float) else None
            document = _json.encode({f: v for f in names if (v := getattr(event, f)) is not None}).decode()
            fields = (user, item, kind, ts, value, document, bytes(raw), False)
            rows.append((position, index, type(event).__name__, *fields, *about))
    except (msgspec.DecodeError, UnicodeError, ValueError):
        return whole
    return rows if _frame(header.subject, header[2:6], bodies) == frame else whole


def _frame(subject: Subject, numbers: Sequence[int], bodies: Sequence[msgspec.Raw]) -> bytes:
    producer, epoch, sequence, appended = numbers
    return encode_frame(subject, producer, epoch, sequence, appended, len(bodies), _pack.encode(bodies))


def read_file(path: Path) -> Iterator[LogBatch]:
    """The frames of one archive file, as they stood in the log. Raises `ArchiveInvalid`."""
    import polars as pl

    columns = ("position", "raw", "whole", "subject", "producer", "epoch", "sequence", "appended")
    try:
        table = pl.read_parquet(path, columns=list(columns))
    except (pl.exceptions.PolarsError, OSError) as err:
        raise ArchiveInvalid(f"{path}: not a readable archive: {err}", path=str(path)) from err
    batch, size = LogBatch([], []), 0
    group: list[msgspec.Raw] = []
    rows = table.iter_rows()
    row = next(rows, None)
    while row is not None:
        position, raw, whole, subject, *numbers = row
        following = next(rows, None)
        if whole:
            frame = raw
        else:
            group.append(msgspec.Raw(raw))
            if following is not None and following[0] == position:
                row = following
                continue
            frame = _frame(Subject.parse(subject), numbers, group)
            group = []
        batch.positions.append(position)
        batch.frames.append(frame)
        size += len(frame)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = LogBatch([], []), 0
        row = following
    if batch.frames:
        yield batch


def archived_frames(directory: Path, until: int) -> Iterator[LogBatch]:
    """All archived frames up to a position, from 1 on without a gap. Raises `ArchiveInvalid`."""
    expected = 1
    for path in sorted((directory / FOLDER).glob("*.parquet")):
        for batch in read_file(path):
            if batch.positions != list(range(expected, expected + len(batch.positions))):
                raise ArchiveInvalid(f"{path}: frame {expected} is missing or stands elsewhere", path=str(path))
            expected += len(batch.positions)
            yield batch
    if expected != until + 1:
        raise ArchiveInvalid(
            f"{directory / FOLDER} ends at position {expected - 1}, the log begins behind {until}; bring the missing "
            "files back",
            path=str(directory / FOLDER),
        )


class UnarchiveReport(PlainData, frozen=True, kw_only=True):
    """What came back: frames from the archive, and the digest, which is the one from before."""

    frames: int
    position: int
    digest: str
    seconds: float


def unarchive(runtime: EmbeddedRuntime) -> UnarchiveReport:
    """Put what was archived back below the log, while the engine goes on; the archive is empty afterwards.

    The log is built whole beside the old one, folded from its first frame, and must give the state as it stands.
    Raises `ArchiveInvalid`, `StoreError`.
    """
    started = time.perf_counter()
    directory, log, snapshots = _writable(runtime)
    base = log.base.last
    core = new_core(runtime.config, runtime.config.engine.threads)
    with replacement.building(directory) as place:
        sink = SqliteLog(place, log.generation)
        try:
            for batch in archived_frames(directory, base):
                core.apply(sink.append(batch.frames), batch.frames)
            if sink.acknowledged()[1:] != log.base[1:]:
                folder = directory / FOLDER
                raise ArchiveInvalid(f"{folder} is not what stood below this log (checksum chain)", path=str(folder))
            _copy_snapshots(runtime, snapshots, DirectorySnapshots(place / "snapshots"))
            with runtime.replacing() as replace:
                for batch in log.read(base + 1):
                    core.apply(sink.append(batch.frames), batch.frames)
                digest = core.digest()["whole"]
                if digest != runtime.core.digest()["whole"]:
                    raise ArchiveInvalid(
                        "the archive and the log give another state than the engine has", path="digest"
                    )
                sink.skip_epochs(log.epochs())
                sink.note_rewritten(log.rewritten)
                sink.close()
                _keep_letters(directory, place)
                replace(core, None)
        finally:
            sink.close()
    return UnarchiveReport(
        frames=base, position=runtime.core.position, digest=digest, seconds=time.perf_counter() - started
    )


def _copy_snapshots(runtime: EmbeddedRuntime, snapshots: DirectorySnapshots, into: DirectorySnapshots) -> None:
    with runtime.holding_snapshots():
        for position in reversed(snapshots.positions()):
            into.save(position, snapshots.load(position), keep=1 << 30)


def _keep_letters(directory: Path, place: Path) -> None:
    if (directory / "deadletters").is_dir():
        shutil.copytree(directory / "deadletters", place / "deadletters")
