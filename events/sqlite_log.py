"""The embedded log: one SQLite file in WAL mode, synced at each commit, with a head record beside it.

SQLite gives atomic commits and concurrent readers; what it does not give is checked here: frames carry their own
checksums (its integrity check misses most flips in data pages), positions must be contiguous, and the head record
tells a lost tail (see `head`).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

from headwater.errors import GenerationMismatch, LogCorrupt, LogTailLost, StoreClosed, StoreError, StoreFull
from headwater.events import replacement, sqlite_meta
from headwater.events.head import EMPTY_HEAD, Head, HeadFile, chain_frames
from headwater.events.lock import WriterLock
from headwater.events.log import READ_BATCH_BYTES, LogBatch, check_frames, subject_number
from headwater.events.sqlite_faults import check_subjects, is_full, typed_errors
from headwater.events.subjects import Subject
from headwater.events.sync import sync_directory

_READ_ROWS = 256
_TRIM_BYTES = 64 << 20

logger = logging.getLogger(__name__)


class SqliteLog:
    """An `EventLog` in `DIR/log.sqlite3`. One process writes (`WriterLock`), any number of processes read."""

    def __init__(
        self, directory: Path, generation: str | None, *, read_only: bool = False, max_pages: int | None = None
    ) -> None:
        """Open or, when writing, create. `generation` must be the one that the log was created for; a reader that folds
        the log into another one takes any (`None`).

        `max_pages` bounds the database (SQLite's own limit), for quotas and for tests of a full disk. Raises
        `StoreLocked`, `StoreError`, `LogCorrupt`, `LogTailLost`, `GenerationMismatch`.
        """
        if generation is None and not read_only:
            raise ValueError("a writer names the generation")
        self._directory = directory
        self._path = directory / "log.sqlite3"
        self._read_only = read_only
        self._mutex = threading.Lock()
        self.generation = generation or ""
        """The generation that the log was created for."""
        self._failed: str | None = None
        self._unsettled = False
        self._lock = None if read_only else WriterLock(directory)
        self._head_file: HeadFile | None = None
        self._connection: sqlite3.Connection | None = None
        try:
            self._open(generation, max_pages)
        except BaseException:
            self.close()
            raise

    def _open(self, generation: str | None, max_pages: int | None) -> None:
        self._settle_replacement()
        new = not self._path.exists()
        if new and self._read_only:
            raise StoreError(f"{self._directory} holds no log; nothing to read", path=str(self._directory))
        if new and (self._directory / "head").exists():
            raise LogTailLost(
                f"{self._path} is missing but a head record is there: the log was lost; restore it from a backup",
                last=0,
                expected=None,
            )
        with self._typed_errors():
            self._connection = self._connect()
            if new:
                self._create()
            elif not self._read_only:
                sqlite_meta.begin_writing(self._connection)
            if max_pages is not None:
                self._connection.execute(f"PRAGMA max_page_count={int(max_pages)}")
            self._check_meta(generation)
        self._head_file = self._open_head()
        self._head = self._check_head()
        if self._head_file is not None and self._head_file.made:
            # The head's name must outlive a power failure before anything is acknowledged on its word.
            sync_directory(self._directory)
        self.epoch = 0 if self._read_only else self._next_epoch()

    def _settle_replacement(self) -> None:
        """Bring a replacement of the log to its end that was cut short (see `replacement`)."""
        if self._read_only:
            if replacement.is_decided(self._directory):
                raise StoreError(
                    f"{self._directory}: the log is being replaced; open it again, to write if its writer died",
                    path=str(self._directory),
                )
            return
        try:
            replacement.finish(self._directory)
        except OSError as err:
            raise StoreError(
                f"{self._directory}: the next log cannot take its place: {err}", path=str(self._directory)
            ) from err

    def replace(self) -> None:
        """Let the log in `DIR/next`, which is whole and closed, take this one's place; this object is that log then.

        Readers that have begun go on in the old one. The caller sees to it that nobody appends meanwhile. Raises
        `StoreError`; whether the log was replaced is then decided when the directory is opened again.
        """
        with self._mutex:
            self._check_writable()
            self._failed = "the log is being replaced"
            try:
                replacement.decide(self._directory)
            except OSError as err:
                raise StoreError(f"{self._directory}: {err}", path=str(self._directory)) from err
            assert self._connection is not None
            assert self._head_file is not None
            self._connection.close()
            self._head_file.close()
            self._connection = self._head_file = None
            self._open(self.generation, None)
            self._failed = None

    def _connect(self) -> sqlite3.Connection:
        mode = "ro" if self._read_only else "rwc"
        uri = f"{self._path.resolve().as_uri()}?mode={mode}"
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30)

    def _create(self) -> None:
        assert self._connection is not None
        sqlite_meta.create(self._connection, self.generation)
        sync_directory(self._directory)

    def _check_meta(self, generation: str | None) -> None:
        assert self._connection is not None
        if not sqlite_meta.is_created(self._connection, self._path):
            if self._read_only:
                raise StoreError(f"{self._directory} holds no log yet; nothing to read", path=str(self._directory))
            # The writer was killed between creating the file and its first commit: nothing was ever acknowledged.
            self._create()
        meta = sqlite_meta.read(self._connection, self._path)
        self.generation, self._identity, self._base = meta.generation, meta.identity, meta.base
        self.rewritten = meta.rewritten
        """See `sqlite_meta.Meta`."""
        if generation is not None and self.generation != generation:
            raise GenerationMismatch(
                f"{self._path} is of generation {self.generation}, configuration and fold version make {generation}: "
                "restore the old [generation] table or version, or build the next generation with "
                "`headwater replay DIR --to NEW_DIR`",
                found=self.generation,
                expected=generation,
            )

    def _open_head(self) -> HeadFile | None:
        """The head record; `None` for a reader where there is none (yet)."""
        try:
            return HeadFile(self._directory / "head", read_only=self._read_only)
        except FileNotFoundError:
            return None
        except OSError as err:
            raise StoreError(
                f"{self._directory}: the head record cannot be opened: {err.strerror}", path=str(self._directory)
            ) from err

    def _check_head(self) -> Head:
        """Compare log and head; when writing, take frames beyond the head into it."""
        # The head first: a writer that goes on meanwhile only makes the log longer than the head that was read.
        head = EMPTY_HEAD if self._head_file is None else self._head_file.read()
        self._last = self._position("max") or self._base.last
        if self._last < head.last:
            raise LogTailLost(
                f"{self._path} ends at position {self._last}, but frames up to {head.last} were acknowledged: "
                "the log lost its tail; restore it from a backup",
                last=self._last,
                expected=head.last,
            )
        first = self._position("min")
        if self._last and self._head_file is not None and not self._read_only and self._head_file.made:
            logger.warning("%s: there was no head record, so a lost tail could not be told", self._directory)
        if self._head_file is not None and self._head_file.is_blank():
            if self._last:
                raise LogCorrupt(
                    f"{self._directory / 'head'} is empty, so a lost tail of the log cannot be told; restore the "
                    "directory from a backup, or delete the file `head` to accept the log as it is",
                    path=str(self._directory / "head"),
                    reason="head",
                )
            if not self._read_only:
                self._head_file.begin()
        if head == EMPTY_HEAD and first > 1:
            raise LogCorrupt(f"{self._path} begins at position {first} without a head record", reason="head")
        if self._read_only or self._last == head.last:
            return head
        for batch in self.read(head.last + 1):
            head = Head(head.counter, batch.positions[-1], chain_frames(head.chain, batch.frames))
        head = head._replace(counter=head.counter + 1)
        self._write_head(head)
        return head

    def _next_epoch(self) -> int:
        assert self._connection is not None
        with self._typed_errors():
            return sqlite_meta.next_epoch(self._connection, self._path)

    def epochs(self) -> int:
        """How many writers the log has counted: the epoch of the last one."""
        assert self._connection is not None
        with self._mutex, self._typed_errors():
            return sqlite_meta.epochs(self._connection)

    def skip_epochs(self, count: int) -> None:
        """Let the next writer's epoch lie beyond `count`, for a log that holds frames of another log's writers."""
        assert self._connection is not None
        with self._mutex, self._typed_errors():
            self._check_writable()
            sqlite_meta.skip_epochs(self._connection, count)

    def append(self, frames: Sequence[bytes]) -> int:
        """See `EventLog.append`: one transaction, then the head record, each synced."""
        check_frames(frames)
        with self._mutex:
            self._check_writable()
            if self._unsettled:
                self._settle()
            self._unsettled = True
            first = self._last + 1
            self._commit(first, frames)
            last = self._last + len(frames)
            head = Head(self._head.counter + 1, last, chain_frames(self._head.chain, list(frames)))
            self._write_head(head)
            self._last, self._head = last, head
            self._unsettled = False
            return first

    def _settle(self) -> None:
        """After an append that did not come to its end (refused, or interrupted between commit and head record): look
        at what the database holds, and go on from there."""
        assert self._connection is not None
        with self._typed_errors():
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._head = self._check_head()

    def _commit(self, first: int, frames: Sequence[bytes]) -> None:
        assert self._connection is not None
        rows = [(first + i, subject_number(frame), frame) for i, frame in enumerate(frames)]
        with self._typed_errors():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                self._connection.executemany("INSERT INTO frames VALUES (?, ?, ?)", rows)
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            try:
                self._connection.execute("COMMIT")
            except sqlite3.Error as err:
                if not is_full(err):
                    # Whether a failed sync kept the bytes is unknown to everyone: it must not be built upon.
                    self._failed = f"a commit failed: {err}"
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _write_head(self, head: Head) -> None:
        assert self._head_file is not None
        try:
            self._head_file.write(head)
        except OSError as err:
            # The frames are committed but must not be acknowledged. Whether they stay is decided when the log is opened
            # again, so nothing may be appended behind them until then.
            self._failed = f"the head record could not be written: {err}"
            raise StoreFull(
                f"{self._directory}: {self._failed}; nothing was acknowledged; free space and open the engine again",
                path=str(self._directory),
            ) from err

    def read(
        self,
        start: int = 1,
        *,
        stop: int | None = None,
        subjects: Collection[Subject] | None = None,
        batch_bytes: int = READ_BATCH_BYTES,
    ) -> Iterator[LogBatch]:
        """See `EventLog.read`. Each call reads through its own connection, so readers never wait for the writer."""
        end = self.last() + 1 if stop is None else min(stop, self.last() + 1)
        return self._read(start, end, subjects, batch_bytes)

    def _read(self, start: int, end: int, subjects: Collection[Subject] | None, batch_bytes: int) -> Iterator[LogBatch]:
        with self._typed_errors(), closing(self._connect()) as connection:
            self._check_identity(connection)
            where, values = "", [start, end]
            if subjects is not None:
                where = f" AND subject IN ({','.join('?' * len(subjects))})"
                values += [subject.number for subject in subjects]
            query = f"SELECT position, frame FROM frames WHERE position >= ? AND position < ?{where} ORDER BY position"
            cursor = connection.execute(query, values)
            expected: int | None = max(start, 1) if subjects is None else None
            batch, size = LogBatch([], []), 0
            while rows := cursor.fetchmany(_READ_ROWS):
                for position, frame in rows:
                    if type(frame) is not bytes:
                        raise LogCorrupt(
                            f"{self._path}: frame {position} is not bytes", position=position, reason="row"
                        )
                    if expected is not None:
                        self._check_contiguous(position, expected, start)
                        expected = position + 1
                    batch.positions.append(position)
                    batch.frames.append(frame)
                    size += len(frame)
                    if size >= batch_bytes:
                        yield batch
                        batch, size = LogBatch([], []), 0
            if expected is not None and expected < end:
                raise LogCorrupt(
                    f"{self._path}: frames {expected} to {end - 1} are missing", position=expected, reason="gap"
                )
            if batch.frames:
                yield batch

    def _check_identity(self, connection: sqlite3.Connection) -> None:
        """A log that took this one's place has other frames at the same positions."""
        if sqlite_meta.identity(connection) != self._identity:
            raise StoreClosed(
                f"{self._directory}: another log took this one's place (a user was erased); open the engine again",
                path=str(self._directory),
            )

    def _check_contiguous(self, position: int, expected: int, start: int) -> None:
        if position != expected:
            what = "log begins after the position asked for" if expected == start else "frames are missing"
            raise LogCorrupt(
                f"{self._path}: frame {position} where {expected} should be ({what})", position=expected, reason="gap"
            )

    def check_chain(self) -> int:
        """Read the whole log, comparing each frame's place in the chain with the head. The number of frames.

        Raises `LogCorrupt` when the frames up to the head are not those that were acknowledged, or when the column that
        readers filter by names another subject than the frame itself.
        """
        with self._mutex:  # an append moves head and end together
            head = EMPTY_HEAD if self._head_file is None else self._head_file.read()
        chain, count = self._base.chain, 0
        for batch in self.read(self._base.last + 1, stop=head.last + 1):
            chain = chain_frames(chain, batch.frames)
            count += len(batch.frames)
        if chain != head.chain:
            raise LogCorrupt(
                f"{self._path}: the frames up to {head.last} are not those that were acknowledged (checksum chain)",
                position=head.last,
                reason="chain",
            )
        with self._typed_errors(), closing(self._connect()) as connection:
            check_subjects(connection, self._path)
        return count

    def acknowledged(self) -> Head:
        """The head record: how far the log is acknowledged, and the chain up to there."""
        with self._mutex:  # an append moves head and end together
            return EMPTY_HEAD if self._head_file is None else self._head_file.read()

    @property
    def base(self) -> Head:
        """Where the log begins: the position before its first frame, and the chain up to it. Zeros unless trimmed."""
        return self._base

    def begin_after(self, base: Head) -> None:
        """Let an empty log begin behind a position of another one, of whose end it is a copy. Raises `StoreError`."""
        assert self._connection is not None
        with self._mutex:
            self._check_writable()
            if self._last:
                raise StoreError(f"{self._path} holds frames already", path=str(self._path))
            with self._typed_errors():
                self._connection.execute("BEGIN IMMEDIATE")
                self._set_base(base)
                self._connection.execute("COMMIT")
            self._last, self._head = base.last, Head(1, base.last, base.chain)
            self._write_head(self._head)

    def trim(self, below: int) -> int:
        """Let go of the frames below a position, for good; how many they were. The last frame always stays.

        The caller answers for a snapshot that reaches `below - 1`: without one the log cannot be folded again. A trim
        that was cut short leaves a log that begins somewhere in between. Raises `StoreError`, `StoreFull`.
        """
        assert self._connection is not None
        with self._mutex:
            self._check_writable()
            below = min(below, self._last)
            count = 0
            for batch in self.read(self._base.last + 1, stop=below, batch_bytes=_TRIM_BYTES):
                base = Head(0, batch.positions[-1], chain_frames(self._base.chain, batch.frames))
                with self._typed_errors():
                    self._connection.execute("BEGIN IMMEDIATE")
                    self._connection.execute("DELETE FROM frames WHERE position <= ?", [base.last])
                    self._set_base(base)
                    self._connection.execute("COMMIT")
                self._base = base
                count += len(batch.frames)
            if count:
                with self._typed_errors():
                    self._connection.execute("VACUUM")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return count

    def note_rewritten(self, until: int) -> None:
        """Up to here this log is what was left of one with more events: said to whoever compares answers with it."""
        assert self._connection is not None
        with self._mutex, self._typed_errors():
            self._check_writable()
            sqlite_meta.note(self._connection, rewritten=until)
            self.rewritten = until

    def _set_base(self, base: Head) -> None:
        assert self._connection is not None
        sqlite_meta.note(self._connection, base=base.last, base_chain=base.chain)
        self._base = base

    def head_damage(self) -> list[str]:
        """What is wrong with the head record, though it may still be read."""
        if self._head_file is None or self._head_file.is_blank():
            return [] if not self.last() else ["there is none: a lost tail of the log cannot be told"]
        return self._head_file.damage()

    def first(self) -> int:
        """See `EventLog.first`."""
        with self._mutex:  # the writer's connection sees its own uncommitted rows
            self._check_open()
            return self._position("min")

    def last(self) -> int:
        """See `EventLog.last`."""
        self._check_open()
        return self._position("max") if self._read_only else self._last

    def size_bytes(self) -> int:
        """See `EventLog.size_bytes`: the database and its write-ahead log."""
        self._check_open()
        files = (self._path, self._path.with_name(self._path.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """See `EventLog.close`."""
        with self._mutex:
            self._failed = self._failed or "the log is closed"
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if self._head_file is not None:
                self._head_file.close()
                self._head_file = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def _position(self, which: str) -> int:
        assert self._connection is not None
        with self._typed_errors():
            ((position,),) = self._connection.execute(f"SELECT coalesce({which}(position), 0) FROM frames").fetchall()
        return int(position)

    def _check_open(self) -> None:
        if self._connection is None:
            raise StoreClosed(f"{self._directory}: the log is closed", path=str(self._directory))

    def _check_writable(self) -> None:
        if self._read_only:
            raise StoreClosed(f"{self._directory} was opened read-only", path=str(self._directory))
        if self._failed is not None or self._connection is None:
            raise StoreClosed(
                f"{self._directory}: {self._failed or 'the log is closed'}; open the engine again",
                path=str(self._directory),
            )

    def _typed_errors(self) -> AbstractContextManager[None]:
        return typed_errors(self._directory, self._path)
