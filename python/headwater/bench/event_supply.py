"""Events by the million for benchmarks, a table of 65,536 rows at a time: a dataset repeated, or Zipf's law."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl

from headwater.bench.zipf import ZipfLog
from headwater.config import Config, Profile, default_config
from headwater.datasets import load
from headwater.errors import InvalidInput

ROWS = 65_536
_DAY_MS = 86_400_000
_PORTION = 1_000_000
MOST_EVENTS = 50_000_000


class Supply(NamedTuple):
    """`events` of them, as tables in time order; `tables` can be read once."""

    name: str
    profile: Profile
    events: int
    tables: Iterator[pl.DataFrame]

    @property
    def config(self) -> Config:
        """Its profile's, without automatic snapshots: they are measured by themselves, not amid something else."""
        config = default_config(self.profile)
        return msgspec.structs.replace(config, engine=msgspec.structs.replace(config.engine, snapshot_every_events=0))


def zipf_supply(events: int, items: int, seed: int = 11) -> Supply:
    """Views by Zipf's law (see `ZipfLog`), made portion by portion, so that memory does not grow with their number.
    Every portion of a million has users of its own."""
    _check(events)
    return Supply(f"Zipf over {items:,} items", "shop", events, _cut(_zipf_portions(items, seed), events))


def _zipf_portions(items: int, seed: int) -> Iterator[pl.DataFrame]:
    for portion in itertools.count():
        later = portion * 2 * _PORTION * 1000  # a portion has an event a second
        for table in ZipfLog(_PORTION, items, seed=seed + portion).chunks():
            own = [pl.format(f"{portion}-{{}}", name).alias(name) for name in ("user", "event_id", "session")]
            yield table.with_columns(*own, pl.col("ts") + later)


def dataset_supply(name: str, path: Path, events: int) -> Supply:
    """A dataset as often as is needed, each time with users and event ids of its own, one period after the other.

    Raises `UnknownDataset`.
    """
    _check(events)
    dataset = load(name, path)
    return Supply(f"{name} repeated", dataset.profile, events, _cut(_repetitions(dataset.events), events))


def _repetitions(events: pl.DataFrame) -> Iterator[pl.DataFrame]:
    period = int(events["ts"].item(-1)) - int(events["ts"].item(0)) + _DAY_MS
    return (repetition(events, turn, period) for turn in itertools.count())


def repetition(events: pl.DataFrame, turn: int, period_ms: int) -> pl.DataFrame:
    """Events once more, `turn` periods later, with users, baskets and event ids of their own."""
    own = [
        pl.format("{}-{}", pl.lit(turn), name).alias(name)
        for name in ("user", "basket", "session")
        if name in events.columns
    ]
    ids = pl.format("{}-{}", pl.lit(turn), pl.int_range(pl.len())).alias("event_id")
    return events.with_columns(*own, pl.col("ts") + turn * period_ms, ids)


def _cut(tables: Iterator[pl.DataFrame], events: int) -> Iterator[pl.DataFrame]:
    """Slices of `ROWS` rows, as many as there are to be events."""
    left = events
    waiting: list[pl.DataFrame] = []
    held = 0
    for table in tables:
        waiting.append(table)
        held += len(table)
        if held < min(ROWS, left):
            continue
        joined = pl.concat(waiting)
        first = 0
        while left and (len(joined) - first >= ROWS or len(joined) - first >= left):
            part = joined.slice(first, min(ROWS, left))
            first += len(part)
            left -= len(part)
            yield part
        if not left:
            return
        waiting, held = [joined.slice(first)], len(joined) - first


def _check(events: int) -> None:
    if not 1000 <= events <= MOST_EVENTS:
        rule = f"1,000 to {MOST_EVENTS:,}"
        raise InvalidInput(f"events = {events:,}; allowed: {rule}", field="events", value=events, rule=rule)
