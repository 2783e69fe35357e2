"""One pass over a log into columns: the slates, what was answered to them, what was bought.

Texts are numbers of three dictionaries (`SlateScan` of the core), so that a million slates are joined and grouped in
moments. Which frames and events count is decided as in `headwater.learning.sound_events`: as the fold decides it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from headwater.core import NO_TEXT, SlateScan
from headwater.events.log import EventLog
from headwater.events.types import ConfigActivated, Event, ItemPatch, ItemPut, UserForget, UserMerge, UserPut
from headwater.learning.sound_events import taken_events

if TYPE_CHECKING:
    import polars as pl

_TABLES: dict[str, dict[str, str]] = {
    "slates": dict.fromkeys(("slate", "user", "scenario", "variant", "config", "slots"), "<u4")
    | {"ts": "<i8", "position": "<u8"},
    "slots": dict.fromkeys(("item", "source"), "<u4"),
    "answers": dict.fromkeys(("type", "user", "item", "event_id", "basket", "slate", "slot", "partition"), "<u4")
    | {"ts": "<i8", "position": "<u8", "value": "<f8"},
    "views": dict.fromkeys(("slate", "user", "slot"), "<u4") | {"ts": "<i8"},
    "activity": {"user": "<u4", "ts": "<i8"},
}
_TEXTS = ("slate", "user", "scenario", "variant", "config", "item", "source", "type", "event_id", "basket", "slot")
"""Columns in which `NO_TEXT` stands for nothing."""
_READERS = 8
"""Threads that read frames, at most."""


class Wanted(NamedTuple):
    """What a pass looks for. `types` are the event types whose feedback is kept in full beside answers to slates;
    `segment_label` with `segment_values` say which segment a user is in; `price_label` is the label of items that is a
    price."""

    types: frozenset[str]
    segment_label: str = ""
    segment_values: tuple[str, ...] = ()
    price_label: str | None = None


class LogColumns(NamedTuple):
    """What a log says, as polars frames. Texts are numbers, null where there is none; times are UTC ms.

    `slates`: slate, user, ts, scenario, variant, config, position, slots (their number), a row a record in log order.
    `slots`: item, source, a row for each slot in the order of `slates`. `answers`: type, user, item, ts, value,
    event_id, basket, slate, slot, partition, position; feedback that names a slate or is of a wanted type. `views`:
    slate, user, ts, slot, a row for each slot that an impression names. `activity`: user, ts of every feedback.
    `segments`: user, position, segment (text or null), as they were put; `prices`: item, position, price, likewise.
    """

    slates: pl.DataFrame
    slots: pl.DataFrame
    answers: pl.DataFrame
    views: pl.DataFrame
    activity: pl.DataFrame
    segments: pl.DataFrame
    prices: pl.DataFrame
    merges: list[tuple[str, str]]
    forgotten: dict[str, int]
    """User -> position of the latest wish to be forgotten."""
    configs: dict[str, str]
    """Version -> JSON of the query configurations that were active."""
    set_aside: Counter[str]
    texts: SlateScan
    """The dictionaries: "users"; "ids" of slates, events, baskets; "names" of all else."""

    @property
    def clock(self) -> int:
        """Largest event time of slates and feedback; 0 in a log without them."""
        frames = (self.slates, self.activity, self.views)
        return max(int(frame["ts"].max() or 0) for frame in frames)  # type: ignore[arg-type]


def read_columns(
    log: EventLog, wanted: Wanted, *, start: int = 1, stop: int | None = None, max_future_ms: int = 86_400_000
) -> LogColumns:
    """Read frames `start` up to, not including, `stop`. O(log) time; memory grows with slates, their slots and
    feedback. Raises `LogCorrupt` for a gap in the log."""
    scan, rest = SlateScan(sorted(wanted.types), min(os.cpu_count() or 1, _READERS)), _Rest(wanted)
    for batch in log.read(start, stop=stop):
        for place in scan.add(batch.positions, batch.frames, max_future_ms):
            for _, event in taken_events(batch.frames[place], max_future_ms, Counter()):
                rest.add(batch.positions[place], event)
    return _columns(scan, rest)


class _Rest:
    """What bears on slates and is no slate or feedback."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self.merges: list[tuple[str, str]] = []
        self.forgotten: dict[str, int] = {}
        self.configs: dict[str, str] = {}
        self.segments: list[tuple[str, int, str | None]] = []
        self.prices: list[tuple[str, int, float | None]] = []

    def add(self, position: int, event: Event) -> None:
        if isinstance(event, UserMerge):
            self.merges.append((event.from_user, event.into_user))
        elif isinstance(event, UserForget):
            self.forgotten[event.user] = position
        elif isinstance(event, ConfigActivated):
            self.configs[event.version] = event.body
        elif isinstance(event, UserPut) and self._wanted.segment_values:
            self.segments.append((event.user, position, self._segment(event)))
        elif isinstance(event, ItemPut | ItemPatch) and self._wanted.price_label is not None:
            labels = event.labels or {}
            if isinstance(event, ItemPut) or self._wanted.price_label in labels:
                price = labels.get(self._wanted.price_label)
                number = isinstance(price, int | float) and not isinstance(price, bool)
                self.prices.append((event.item, position, float(price) if number else None))  # type: ignore[arg-type]

    def _segment(self, event: UserPut) -> str | None:
        """By the rule of `core_rs/src/sessions/segments.rs`."""
        value = event.labels.get(self._wanted.segment_label)
        has = value if isinstance(value, list) else [value]
        return next((known for known in self._wanted.segment_values if known in has), None)


def _columns(scan: SlateScan, rest: _Rest) -> LogColumns:
    import polars as pl

    def numbered(rows: Sequence[tuple[str, int, Any]], of: str, id: str, value: str, dtype: Any) -> pl.DataFrame:
        known = [(scan.number(of, name), position, held) for name, position, held in rows]
        schema = {id: pl.UInt32, "position": pl.UInt64, value: dtype}
        return pl.DataFrame([row for row in known if row[0] is not None], schema=schema, orient="row")

    return LogColumns(
        **{table: _frame(scan, table) for table in _TABLES},
        segments=numbered(rest.segments, "users", "user", "segment", pl.String),
        prices=numbered(rest.prices, "names", "item", "price", pl.Float64),
        merges=rest.merges,
        forgotten=rest.forgotten,
        configs=rest.configs,
        set_aside=Counter(scan.set_aside()),
        texts=scan,
    )


def _frame(scan: SlateScan, table: str) -> pl.DataFrame:
    import polars as pl

    columns = scan.columns(table)
    arrays = {name: np.frombuffer(columns[name], dtype) for name, dtype in _TABLES[table].items()}
    # Columns without a gap, the long ones among them, are taken as they are.
    gaps = [name for name in arrays if name in _TEXTS and arrays[name].max(initial=0) == NO_TEXT]
    absent = [pl.when(pl.col(name) != NO_TEXT).then(pl.col(name)).alias(name) for name in gaps]
    values = [pl.col("value").fill_nan(None)] if "value" in arrays else []
    return pl.DataFrame(arrays).with_columns(*absent, *values)
