"""Tables of items: one `ItemPut` per row.

Columns by their usual names, gorse's among them: item (`item_id`, `ItemId`, `sku`), categories (a list, or text with
`|`, `;` or `,` between), is_hidden, timestamp, group_id, comment; `labels` may hold a JSON object, and every other
column is a label.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl

from headwater.errors import InvalidEvent, InvalidInput
from headwater.events.types import ItemPut
from headwater.events.validate import check_event
from headwater.ingest.dead_letters import DeadLetter, shorten
from headwater.ingest.source import ROW, TableSource, read_table

_NAMES: dict[str, tuple[str, ...]] = {
    "item": ("item", "item_id", "ItemId", "itemid", "sku", "product_id", "movie_id"),
    "categories": ("categories", "Categories", "category", "genres"),
    "is_hidden": ("is_hidden", "IsHidden"),
    "timestamp": ("timestamp", "Timestamp"),
    "group_id": ("group_id", "GroupId"),
    "comment": ("comment", "Comment"),
    "labels": ("labels", "Labels"),
}
_TRUE = ("true", "1", "yes")


class ItemTable:
    """A source of items, read and ready to be walked."""

    def __init__(self, source: TableSource, *, format: str | None = None, ts: int) -> None:
        """`ts`: the time of the puts. Raises `InvalidInput` for an unusable table or one without an item column."""
        table = read_table(source, format)
        self._frame, self.unreadable, self._ts = table.frame, table.refused, ts
        self.name, self.rows = table.name, len(table.frame) + len(table.refused)
        columns = self._frame.columns
        self._by_field = {f: next((n for n in names if n in columns), None) for f, names in _NAMES.items()}
        if self._by_field["item"] is None:
            raise InvalidInput(
                f"{table.name}: no column for item; the table has {', '.join(c for c in columns if c != ROW)}",
                field="columns",
                value=columns,
            )

    def items(self) -> Iterator[ItemPut | DeadLetter]:
        """Every readable row in order, as an item or as the reason why it is none."""
        known = {name for name in self._by_field.values() if name is not None} | {ROW}
        for row in self._frame.iter_rows(named=True):
            try:
                put = self._put(row, known)
                check_event(put, self._ts, 0)
                yield put
            except InvalidEvent as err:
                yield DeadLetter(row[ROW], "bad-item", str(err.details.get("field")), shorten(err.details.get("value")))

    def _put(self, row: dict[str, Any], known: set[str]) -> ItemPut:
        def field(name: str) -> Any:
            column = self._by_field[name]
            return None if column is None else row[column]

        item = field("item")
        labels = _labels(field("labels"))
        labels |= {key: _label(value) for key, value in row.items() if key not in known and value not in (None, "", [])}
        hidden = field("is_hidden")
        return ItemPut(
            item=str(item) if isinstance(item, int) else item,
            ts=self._ts,
            categories=_categories(field("categories")),
            labels=labels,
            is_hidden=hidden.strip().lower() in _TRUE if isinstance(hidden, str) else bool(hidden),
            timestamp=_timestamp(field("timestamp")),
            group_id=None if field("group_id") is None else str(field("group_id")),
            comment=field("comment"),
        )


def _categories(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, list):
        return [str(entry) for entry in value if entry is not None]
    text = str(value)
    if text.startswith("["):
        try:
            return msgspec.json.decode(text, type=list[str])
        except msgspec.DecodeError as err:
            raise InvalidEvent(f"categories: {err}", field="categories", value=shorten(text)) from err
    separator = next((s for s in "|;," if s in text), "|")
    return [entry.strip() for entry in text.split(separator) if entry.strip()]


def _labels(value: Any) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    if isinstance(value, dict):
        return {key: _label(entry) for key, entry in value.items() if entry is not None}
    try:
        decoded = msgspec.json.decode(str(value), type=dict[str, Any])
    except msgspec.DecodeError as err:
        raise InvalidEvent(f"labels: {err}", field="labels", value=shorten(value)) from err
    return {key: _label(entry) for key, entry in decoded.items() if entry is not None}


def _label(value: Any) -> Any:
    if isinstance(value, list):
        return [str(entry) for entry in value]
    return value if isinstance(value, str | bool | int | float) else str(value)


def _timestamp(value: Any) -> int | None:
    if value is None or value == "":
        return None
    try:
        if hasattr(value, "timestamp"):
            return int(value.timestamp() * 1000)
        if isinstance(value, str) and not value.isdecimal():
            parsed = pl.Series([value]).str.to_datetime(time_unit="ms", time_zone="UTC", strict=False)
            if parsed[0] is None:
                raise InvalidEvent("timestamp", field="timestamp", value=shorten(value))
            return int(parsed.dt.epoch("ms")[0])
        return int(value)
    except (ValueError, pl.exceptions.PolarsError) as err:
        raise InvalidEvent(f"timestamp: {err}", field="timestamp", value=shorten(value)) from err
