"""`--format events`: one log in order of time, and what the catalogue knew when.

Either a folder of a public data set that `headwater.datasets` reads, or a file or folder with `events` (user, item,
perhaps ts, type, value, basket) and perhaps `items`. Rows are sorted by time, equal times keep the order of rows, and
how many were out of order is noted; without times the order of rows is the order of events; rows that repeat another
one stay events of their own (the engine counts rapid repeats once).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from headwater.config import Profile
from headwater.datasets import Dataset, load
from headwater.errors import InvalidInput, UnknownDataset
from headwater.evaluate.reading import SUFFIXES, find_table, made_up_times, read_columns
from headwater.events.types import ItemPut

_DATASETS = ("retailrocket", "ml-1m", "online-retail")


class EventLog(NamedTuple):
    """Events (type, user, item, ts, perhaps value and basket) in order, and facts of items by item."""

    profile: Profile
    events: pl.DataFrame
    facts: dict[str, ItemPut]
    notes: list[str]


def load_events(path: Path) -> EventLog:
    """Read a log. Raises `InvalidInput`."""
    dataset = _public(path)
    if dataset is not None:
        return EventLog(dataset.profile, dataset.events, _facts(dataset.items), [])
    file = path if path.is_file() else find_table(path, "events")
    if file is None:
        raise InvalidInput(
            f"{path}: no events ({', '.join(SUFFIXES)}), and not a folder of {', '.join(_DATASETS)}",
            field="path",
            value=str(path),
        )
    return _own(file)


def _public(path: Path) -> Dataset | None:
    """The public data set whose files these are, if they are of one."""
    if not path.is_dir():
        return None
    for name in _DATASETS:
        try:
            return load(name, path)
        except UnknownDataset:
            continue
    return None


def _own(file: Path) -> EventLog:
    raw = read_columns(file, ("user", "item"), ("ts", "type", "value", "basket"))
    if raw.is_empty():
        raise InvalidInput(f"{file}: no row", field="path", value=str(file))
    notes = []
    if "ts" in raw.columns:
        late = (raw["ts"].diff() < 0).sum()
        if late:
            notes.append(f"{file.name}: {late} rows were not in order of time; all are sorted by time")
        raw = raw.sort("ts", maintain_order=True)
    else:
        raw = raw.with_columns(made_up_times().alias("ts"))
        notes.append(f"{file.name}: no times; the order of rows is taken as order of time")
    repeated = len(raw) - raw.n_unique()
    if repeated:
        notes.append(f"{file.name}: {repeated} rows repeat another one; each is an event")
    if "type" not in raw.columns:
        raw = raw.with_columns(pl.lit("view").alias("type"))
    if "value" in raw.columns:
        raw = raw.with_columns(pl.col("value").cast(pl.Float64))
    return EventLog("shop", raw, {}, notes)


def _facts(items: pl.DataFrame | None) -> dict[str, ItemPut]:
    """Puts without a time of their own: the replay gives each the time of its item's first event."""
    if items is None:
        return {}
    facts = {}
    for row in items.iter_rows(named=True):
        labels: dict[str, Any] = {k: v for k, v in row.items() if k not in ("item", "categories") and v is not None}
        facts[row["item"]] = ItemPut(item=row["item"], ts=0, categories=row.get("categories") or [], labels=labels)
    return facts
