"""What can be wrong with a log's database, in Headwater's own errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import LogCorrupt, StoreError, StoreFull
from headwater.events.log import subject_number

# A failed write, a full disk among them: the transaction is rolled back and what was written of it is never read.
_REFUSED_WRITES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


@contextmanager
def typed_errors(directory: Path, path: Path) -> Iterator[None]:
    """No raw sqlite3 exception leaves the block."""
    try:
        yield
    except sqlite3.Error as err:
        if is_full(err):
            raise StoreFull(
                f"{directory}: the disk takes no more ({err}); nothing of this write was kept; free space and retry",
                path=str(directory),
            ) from err
        if isinstance(err, sqlite3.DatabaseError) and not isinstance(err, sqlite3.OperationalError):
            raise LogCorrupt(f"{path}: {err}; restore it from a backup", reason="database") from err
        raise StoreError(f"{path}: {err}", path=str(path)) from err


def is_full(err: BaseException) -> bool:
    """Whether a write was refused."""
    return getattr(err, "sqlite_errorcode", None) in _REFUSED_WRITES


def check_subjects(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `LogCorrupt` if the column that readers filter by names another subject than a frame itself."""
    query = "SELECT position, subject, substr(frame, 1, 8) FROM frames ORDER BY position"
    for position, subject, header in connection.execute(query):
        if subject != subject_number(header):
            raise LogCorrupt(
                f"{path}: frame {position} is filed under subject {subject}, its header says {subject_number(header)}",
                position=position,
                reason="subject",
            )
