"""What is SQLite's own of `SqliteLog`: a full disk, lost and foreign files. Everything else: `tests/contract`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headwater.core import frame_fault
from headwater.errors import (
    GenerationMismatch,
    HeadwaterError,
    LogCorrupt,
    LogTailLost,
    StoreClosed,
    StoreError,
    StoreFull,
)
from headwater.events.frame import encode_frame
from headwater.events.head import Head, HeadFile
from headwater.events.sqlite_log import SqliteLog
from headwater.events.subjects import Subject

GENERATION = "a" * 32


def frame(number: int, size: int = 10) -> bytes:
    return encode_frame(Subject(0, 1), 7, 1, number, 0, 1, b"\xc0" * size)


def write(place: Path, numbers: range) -> None:
    log = SqliteLog(place, GENERATION)
    for n in numbers:
        log.append([frame(n)])
    log.close()


def execute(place: Path, statement: str) -> None:
    with closing(sqlite3.connect(place / "log.sqlite3")) as connection:
        connection.execute(statement)
        connection.commit()


def read(log: SqliteLog) -> list[bytes]:
    return [f for batch in log.read() for f in batch.frames]


def test_a_full_disk_keeps_nothing_of_the_write_and_takes_the_next(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, GENERATION, max_pages=20)
    held = [frame(1)]
    log.append(held)
    with pytest.raises(StoreFull, match="nothing of this write was kept"):
        log.append([frame(n, 100_000) for n in range(2, 12)])
    assert log.last() == 1
    assert read(log) == held
    assert log.append([frame(2)]) == 2
    log.close()
    reopened = SqliteLog(tmp_path, GENERATION)
    assert read(reopened) == [frame(1), frame(2)]
    assert reopened.check_chain() == 2
    reopened.close()


def test_a_head_record_that_cannot_be_written_acknowledges_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = SqliteLog(tmp_path, GENERATION)
    log.append([frame(1)])

    def refuse(self: HeadFile, head: Head) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HeadFile, "write", refuse)
    with pytest.raises(StoreFull, match="nothing was acknowledged"):
        log.append([frame(2)])
    monkeypatch.undo()
    with pytest.raises(StoreClosed, match="open the engine again"):
        log.append([frame(3)])
    assert log.last() == 1
    assert read(log) == [frame(1)], "what was not acknowledged is not shown"
    log.close()
    # The frame was committed, so opening again takes it: it is there once, and a retry is told by its number.
    reopened = SqliteLog(tmp_path, GENERATION)
    assert read(reopened) == [frame(1), frame(2)]
    assert reopened.append([frame(3)]) == 3
    assert reopened.check_chain() == 3
    reopened.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_lost_tail_is_told(tmp_path: Path, read_only: bool) -> None:
    write(tmp_path, range(1, 6))
    execute(tmp_path, "DELETE FROM frames WHERE position > 3")
    with pytest.raises(LogTailLost, match="ends at position 3, but frames up to 5") as lost:
        SqliteLog(tmp_path, GENERATION, read_only=read_only)
    assert lost.value.details == {"last": 3, "expected": 5}


def test_a_reader_that_opens_while_the_writer_goes_on_sees_no_lost_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just before the reader looks at the head record, the writer makes the log longer."""
    log = SqliteLog(tmp_path, GENERATION)
    log.append([frame(1)])
    look = HeadFile.read

    def look_late(self: HeadFile) -> Head:
        log.append([frame(log.last() + 1)])
        return look(self)

    monkeypatch.setattr(HeadFile, "read", look_late)
    reader = SqliteLog(tmp_path, GENERATION, read_only=True)
    monkeypatch.undo()
    assert read(reader) == [frame(1), frame(2)]
    reader.close()
    log.close()


def test_a_lost_database_is_told(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6))
    for file in tmp_path.glob("log.sqlite3*"):
        file.unlink()
    with pytest.raises(LogTailLost, match="is missing"):
        SqliteLog(tmp_path, GENERATION)
    assert not (tmp_path / "log.sqlite3").exists()


def test_frames_beyond_the_head_are_taken_in(tmp_path: Path) -> None:
    """A writer killed between commit and head record: nobody was promised the frame, but it is whole."""
    write(tmp_path, range(1, 4))
    with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
        connection.execute("INSERT INTO frames VALUES (4, 1, ?)", (frame(4),))
        connection.commit()
    for _ in range(2):
        log = SqliteLog(tmp_path, GENERATION)
        assert log.last() == 4
        assert log.check_chain() == 4
        log.close()


@pytest.mark.parametrize("missing", [1, 3])
def test_a_gap_is_told(tmp_path: Path, missing: int) -> None:
    write(tmp_path, range(1, 6))
    execute(tmp_path, f"DELETE FROM frames WHERE position = {missing}")
    log = SqliteLog(tmp_path, GENERATION)
    with pytest.raises(LogCorrupt) as gap:
        read(log)
    assert gap.value.details == {"position": missing, "reason": "gap"}
    log.close()


def test_an_exchanged_frame_breaks_the_chain(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6))
    with closing(sqlite3.connect(tmp_path / "log.sqlite3")) as connection:
        connection.execute("UPDATE frames SET frame = ? WHERE position = 2", (frame(99),))
        connection.commit()
    log = SqliteLog(tmp_path, GENERATION)
    with pytest.raises(LogCorrupt, match="not those that were acknowledged"):
        log.check_chain()
    log.close()


def test_without_a_head_record_the_log_is_accepted_as_it_is(tmp_path: Path) -> None:
    """The way out that the message about a damaged head names; readers need none either."""
    write(tmp_path, range(1, 4))
    (tmp_path / "head").unlink()
    reader = SqliteLog(tmp_path, GENERATION, read_only=True)
    assert read(reader) == [frame(1), frame(2), frame(3)]
    reader.close()
    log = SqliteLog(tmp_path, GENERATION)
    assert log.append([frame(4)]) == 4
    assert log.check_chain() == 4
    log.close()


def test_another_generation_is_refused(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3))
    with pytest.raises(GenerationMismatch) as refused:
        SqliteLog(tmp_path, "b" * 32)
    assert refused.value.details == {"found": GENERATION, "expected": "b" * 32}
    write(tmp_path, range(3, 4))  # and the lock was let go


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to be one" * 40, b"SQLite format 3\0" + bytes(5000)]
)
def test_another_file_is_no_log(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "log.sqlite3").write_bytes(content)
    with pytest.raises(StoreError):
        SqliteLog(tmp_path, GENERATION)
    assert (tmp_path / "log.sqlite3").read_bytes() == content


def test_another_database_is_no_log(tmp_path: Path) -> None:
    execute(tmp_path, "CREATE TABLE mine(x)")
    with pytest.raises(LogCorrupt, match="not a Headwater log"):
        SqliteLog(tmp_path, GENERATION)
    with pytest.raises(LogCorrupt, match="not a Headwater log"):
        SqliteLog(tmp_path, GENERATION, read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_without_a_commit_is_no_log_yet(tmp_path: Path, read_only: bool) -> None:
    """Its writer was killed between creating the file and its first commit."""
    (tmp_path / "log.sqlite3").touch()
    if read_only:
        with pytest.raises(StoreError, match="holds no log yet"):
            SqliteLog(tmp_path, GENERATION, read_only=True)
    else:
        write(tmp_path, range(1, 3))


def opened_and_read(place: Path) -> list[bytes]:
    log = SqliteLog(place, GENERATION)
    try:
        return read(log)
    finally:
        log.close()


@pytest.mark.parametrize("at", [40, 100, 20_000, 40_000])
def test_a_cut_database_is_refused_with_a_typed_error(tmp_path: Path, at: int) -> None:
    log = SqliteLog(tmp_path, GENERATION)
    log.append([frame(n, 5000) for n in range(1, 21)])
    log.close()
    path = tmp_path / "log.sqlite3"
    path.write_bytes(path.read_bytes()[:at])
    with pytest.raises(HeadwaterError):
        opened_and_read(tmp_path)


def test_what_sqlite_fills_with_zeros_breaks_a_frames_own_checksum(tmp_path: Path) -> None:
    """SQLite reads a file whose last page is cut as if zeros stood there, and says nothing."""
    log = SqliteLog(tmp_path, GENERATION)
    log.append([frame(n, 5000) for n in range(1, 21)])
    log.close()
    path = tmp_path / "log.sqlite3"
    path.write_bytes(path.read_bytes()[:-10])
    assert "bad-crc" in [frame_fault(held) for held in opened_and_read(tmp_path)]


def test_each_writing_process_takes_a_new_epoch(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        log = SqliteLog(tmp_path, GENERATION)
        epochs.append(log.epoch)
        log.close()
        reader = SqliteLog(tmp_path, GENERATION, read_only=True)
        assert reader.epoch == 0
        reader.close()
    assert epochs == [1, 2, 3]


def test_a_commit_is_synced(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path, GENERATION)
    assert log._connection is not None
    assert log._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    log.close()
    reopened = SqliteLog(tmp_path, GENERATION)
    assert reopened._connection is not None
    assert reopened._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    reopened.close()
