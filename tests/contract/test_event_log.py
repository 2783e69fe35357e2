"""The suite of `EventLog`, on the backends that this package has."""

from __future__ import annotations

from pathlib import Path

from contract.event_log import DirectoryLogContract, EventLogContract
from headwater.events.log import EventLog
from headwater.events.memory_log import MemoryLog
from headwater.events.sqlite_log import SqliteLog

GENERATION = "0" * 32


class TestMemoryLog(EventLogContract):
    def open_log(self, place: Path) -> EventLog:
        return MemoryLog()


class TestSqliteLog(DirectoryLogContract):
    def open_log(self, place: Path) -> EventLog:
        return SqliteLog(place, GENERATION)

    def open_reader(self, place: Path) -> EventLog:
        return SqliteLog(place, GENERATION, read_only=True)

    def code_to_open(self, place: Path) -> str:
        return (
            "from pathlib import Path; from headwater.events.sqlite_log import SqliteLog; "
            f"log = SqliteLog(Path({str(place)!r}), {GENERATION!r})"
        )
