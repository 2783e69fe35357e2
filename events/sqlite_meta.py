"""What a log's database says of itself: its tables, and the rows of `meta`.

Functions over a connection; what sqlite3 raises is the caller's to translate (`sqlite_faults.typed_errors`).
"""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from typing import NamedTuple

from headwater.errors import LogCorrupt
from headwater.events.head import Head

FORMAT = "1"
_PAGE_SIZE = 16_384

_SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE frames(position INTEGER PRIMARY KEY, subject INTEGER NOT NULL, frame BLOB NOT NULL);
"""


class Meta(NamedTuple):
    """What does not change while a log is appended to."""

    generation: str
    identity: str | None
    """Of the file: a log that takes this one's place has another."""
    base: Head
    """Where the log begins."""
    rewritten: int
    """How far the log is one that took the place of a log with more events."""


def begin_writing(connection: sqlite3.Connection) -> None:
    """Each commit is synced to the disk."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def create(connection: sqlite3.Connection, generation: str) -> None:
    """Make an empty log. The caller syncs the directory."""
    connection.execute(f"PRAGMA page_size={_PAGE_SIZE}")
    begin_writing(connection)
    # One transaction, so that a process killed here leaves either no log or a whole one.
    rows = {"format": FORMAT, "generation": generation, "epoch": "0", "identity": secrets.token_hex(16)}
    meta = "".join(f"INSERT INTO meta VALUES ('{key}', '{value}');" for key, value in rows.items())
    connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} {meta} COMMIT;")


def is_created(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables of a log are there; False where none is. Raises `LogCorrupt` for another database."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and not {"meta", "frames"} <= tables:
        raise LogCorrupt(f"{path} is a database, but not a Headwater log", reason="schema")
    return bool(tables)


def read(connection: sqlite3.Connection, path: Path) -> Meta:
    """What the log says. Raises `LogCorrupt` for another format."""
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    if meta.get("format") != FORMAT:
        raise LogCorrupt(f"{path}: log format {meta.get('format')!r}; this code reads {FORMAT!r}", reason="format")
    base = Head(0, int(meta.get("base", 0)), int(meta.get("base_chain", 0)))
    return Meta(str(meta.get("generation")), meta.get("identity"), base, int(meta.get("rewritten", 0)))


def identity(connection: sqlite3.Connection) -> str | None:
    """See `Meta.identity`."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'identity'").fetchone()
    return row[0] if row else None


def note(connection: sqlite3.Connection, **values: int) -> None:
    """Write rows of that name."""
    rows = [(key, str(value)) for key, value in values.items()]
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)


def next_epoch(connection: sqlite3.Connection, path: Path) -> int:
    """Count one more writer; its number. Raises `LogCorrupt` where they are not counted."""
    connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'")
    rows = connection.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchall()
    if len(rows) != 1:
        raise LogCorrupt(f"{path} does not say its epoch; restore it from a backup", reason="epoch")
    return int(rows[0][0])


def epochs(connection: sqlite3.Connection) -> int:
    """How many writers were counted."""
    rows = connection.execute("SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'epoch'").fetchall()
    return int(rows[0][0]) if rows else 0


def skip_epochs(connection: sqlite3.Connection, count: int) -> None:
    """Let the next writer's number lie beyond `count`."""
    connection.execute("UPDATE meta SET value = max(CAST(value AS INTEGER), ?) WHERE key = 'epoch'", [count])
