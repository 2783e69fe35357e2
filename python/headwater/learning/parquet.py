"""Learning tables as Parquet, with what the columns mean inside and beside the file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from headwater.errors import InvalidInput, StoreError
from headwater.events.log import EventLog
from headwater.learning.joining import join
from headwater.learning.rewards import Rewards
from headwater.learning.schema import schema_document

METADATA_KEY = "headwater"
"""Key of the schema in the Parquet file's key-value metadata."""


def export(
    log: EventLog,
    path: Path,
    rewards: Rewards | Mapping[str, float],
    *,
    start: int = 1,
    stop: int | None = None,
    max_future_hours: float = 24.0,
) -> dict[str, Any]:
    """Write the slots of a log's slates to `path` (.parquet); counts of what was written and set aside.

    The schema (`headwater.learning.schema`: meaning, unit and supported estimators of each column, the rewards, the
    log positions) is JSON in the file's key-value metadata under `headwater` and in `NAME.schema.json` beside it. A
    polars too old to write metadata leaves the file beside it only. Raises `InvalidInput` for another suffix,
    `StoreError` for a file that cannot be written, and what `join` raises.
    """
    if path.suffix != ".parquet":
        raise InvalidInput(f"{path}: allowed: names ending in .parquet", field="learning", value=str(path))
    last = log.last() if stop is None else min(stop - 1, log.last())  # what is appended meanwhile is not read
    joined = join(log, rewards, start=start, stop=last + 1, max_future_hours=max_future_hours)
    counts = {
        "first_position": start,
        "last_position": last,
        "clock": joined.clock,
        "slates": joined.slates,
        "slots": len(joined.table),
        "statuses": joined.statuses,
        "set_aside": joined.set_aside,
    }
    document = schema_document({"rewards": msgspec.to_builtins(joined.rewards), **counts})
    text = msgspec.json.encode(document)
    beside = path.with_suffix(".schema.json")
    try:
        if "metadata" in inspect.signature(joined.table.write_parquet).parameters:
            joined.table.write_parquet(path, metadata={METADATA_KEY: text.decode()})
        else:
            joined.table.write_parquet(path)
        beside.write_bytes(msgspec.json.format(text) + b"\n")
    except OSError as err:
        raise StoreError(f"{path}: cannot be written: {err.strerror or err}", path=str(path)) from err
    return {"file": str(path), "schema": str(beside), **counts}
