"""Export: the events of a log, or what its slates can teach, in files that other tools read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from headwater.core import generation_of
from headwater.errors import InvalidInput, StoreError
from headwater.events.log import decode_frames
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import Event, Feedback
from headwater.learning.parquet import export
from headwater.learning.rewards import Combine, rewards_of
from headwater.store import directory_config

_COLUMNS = ("type", "user", "item", "ts", "value", "event_id", "session", "basket", "slate", "slot", "context")


def export_events(directory: Path, file: Path) -> dict[str, Any]:
    """Write a directory's events to `.jsonl` (all kinds) or `.parquet`/`.csv` (feedback). Counts of what was written.

    Imported into a new directory, in feedback or as `--kind items`, either gives the same sessions, counts and answers;
    not the same digest, because events then stand at other positions. Raises `InvalidInput` for another suffix,
    `StoreError` for a file that cannot be written, `LogCorrupt` at a frame that does not decode.
    """
    if file.suffix not in (".jsonl", ".parquet", ".csv"):
        raise InvalidInput(f"{file}: allowed: names ending in .jsonl, .parquet or .csv", field="file", value=str(file))
    log = SqliteLog(directory, generation_of(directory_config(directory).generation), read_only=True)
    try:
        written = _write_lines(log, file) if file.suffix == ".jsonl" else _write_table(log, file)
    except OSError as err:
        raise StoreError(f"{file}: cannot be written: {err.strerror or err}", path=str(file)) from err
    finally:
        log.close()
    return {"file": str(file), "events": written}


def export_learning(
    directory: Path,
    file: Path,
    *,
    rewards: Mapping[str, float] | None = None,
    window_hours: float = 24.0,
    combine: Combine = "max",
    start: int = 1,
    stop: int | None = None,
) -> dict[str, Any]:
    """Write the slots of a directory's slates to a `.parquet`, with their outcomes: see `headwater.learning.export`.

    `rewards` None: every type that votes for popularity is worth 1. Types that the configuration calls impression or
    negative reward only if `rewards` names them.
    """
    generation = directory_config(directory).generation
    worth = rewards_of(generation, rewards, window_hours=window_hours, combine=combine)
    log = SqliteLog(directory, generation_of(generation), read_only=True)
    try:
        return export(log, file, worth, start=start, stop=stop, max_future_hours=generation.max_future_hours)
    finally:
        log.close()


def _events(log: SqliteLog) -> Iterator[tuple[str, Event]]:
    for batch in log.read(max(log.first(), 1)):
        for position, _, events in decode_frames(batch):
            for index, event in enumerate(events):
                yield f"{position}:{index}", event


def _write_lines(log: SqliteLog, file: Path) -> int:
    encoder = msgspec.json.Encoder()
    count = 0
    with open(file, "wb") as out:
        for id, event in _events(log):
            fields = {f: v for f in event.__struct_fields__ if (v := getattr(event, f)) is not None}
            out.write(encoder.encode({"id": id, "kind": type(event).__name__, **fields}) + b"\n")
            count += 1
    return count


def _row(event: Feedback) -> tuple[Any, ...]:
    """One row of a table; context as JSON text, which is how an import takes it."""
    context = None if event.context is None else msgspec.json.encode(event.context).decode()
    return (*(getattr(event, column) for column in _COLUMNS[:-1]), context)


def _write_table(log: SqliteLog, file: Path) -> int:
    import polars as pl

    schema = dict.fromkeys(_COLUMNS, pl.String) | {"ts": pl.Int64, "value": pl.Float64, "slot": pl.Int64}
    rows = [_row(event) for _, event in _events(log) if isinstance(event, Feedback)]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    if file.suffix == ".csv":
        frame.write_csv(file)
    else:
        frame.write_parquet(file)
    return len(frame)
