"""Tables of items: one `ItemPut` per row.

Columns by their usual names, gorse's among them: item (`item_id`, `ItemId`, `sku`), categories (a list, or text with
`|`, `;` or `,` between), is_hidden, timestamp, group_id, comment; `labels` may hold a JSON object, and every other
column is a label. Of the lines of an export only the `ItemPut` ones are items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl
import xxhash

from headwater.errors import InvalidEvent, InvalidInput
from headwater.events.types import Feedback, ItemPut
from headwater.events.validate import check_event
from headwater.ingest.dead_letters import DeadLetter, shorten
from headwater.ingest.source import KIND, ROW, TableSource, is_export, of_kind, read_table

_NAMES: dict[str, tuple[str, ...]] = {
    "item": ("item", "item_id", "ItemId", "itemid", "sku", "product_id", "movie_id"),
    "categories": ("categories", "Categories", "category", "genres"),
    "is_hidden": ("is_hidden", "IsHidden"),
    "timestamp": ("timestamp", "Timestamp"),
    "group_id": ("group_id", "GroupId"),
    "comment": ("comment", "Comment"),
    "labels": ("labels", "Labels"),
}
_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no", "")


class ItemTable:
    """A source of items, read and ready to be walked. `fingerprint` identifies content and mapping."""

    def __init__(
        self,
        source: TableSource,
        *,
        columns: Mapping[str, str] | None = None,
        format: str | None = None,
        ts: int,
    ) -> None:
        """`columns`: field -> column where it has another name. `ts`: the time of the puts. Raises `InvalidInput` for
        an unusable table, an unknown field, or a table without an item column."""
        table = read_table(source, format)
        self._frame, self.unreadable, self._ts = of_kind(table.frame, "ItemPut"), table.refused, ts
        # What the lines of an export carry beside the item's own fields are no labels.
        self._not_labels = set(Feedback.__struct_fields__) | {"id", KIND} if is_export(table.frame) else set()
        identity = repr((table.content_hash, sorted((columns or {}).items())))
        self.fingerprint = xxhash.xxh3_128_hexdigest(identity.encode())
        self.name, self.rows = table.name, len(self._frame) + len(table.refused)
        names = [column for column in self._frame.columns if column != ROW]
        self._by_field = _resolve(names, columns or {})
        labels = table.untyped - set(self._by_field.values())
        if labels:
            self._frame = self._frame.with_columns(_typed(self._frame[name]) for name in sorted(labels))
        if self._by_field["item"] is None:
            raise InvalidInput(
                f"{table.name}: no column for item; the table has {', '.join(names) or 'no columns'}. Name it with "
                'columns={"item": "my_item_column"}',
                field="columns",
                value=names,
            )

    @property
    def ts(self) -> int:
        """The time of the puts."""
        return self._ts

    def has(self, field: str) -> bool:
        """Whether the table has a column for a field of an item."""
        return self._by_field[field] is not None

    def ids(self) -> set[str]:
        """What stands in the item column, of rows that are no items for another reason too."""
        column = self._by_field["item"]
        assert column is not None
        return {str(value) for value in self._frame[column].to_list() if value is not None}

    def label_columns(self) -> set[str]:
        """Columns that are labels."""
        known = {name for name in self._by_field.values() if name is not None} | {ROW} | self._not_labels
        return set(self._frame.columns) - known

    def items(self) -> Iterator[ItemPut | DeadLetter]:
        """Every readable row in order, as an item or as the reason why it is none."""
        known = {name for name in self._by_field.values() if name is not None} | {ROW} | self._not_labels
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
            is_hidden=_flag(hidden),
            timestamp=_timestamp(field("timestamp")),
            group_id=None if field("group_id") is None else str(field("group_id")),
            comment=field("comment"),
        )


def _resolve(names: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str | None]:
    for field, column in mapping.items():
        if field not in _NAMES:
            raise InvalidInput(
                f"columns: {field!r} is not a field of an item; allowed: {', '.join(_NAMES)}",
                field="columns",
                value=field,
            )
        if column not in names:
            raise InvalidInput(
                f"columns: {field} should be column {column!r}, but the table has {', '.join(names)}",
                field="columns",
                value=column,
            )
    free = [name for name in names if name not in mapping.values()]
    return {
        field: mapping.get(field) or next((name for name in usual if name in free), None)
        for field, usual in _NAMES.items()
    }


def _typed(column: pl.Series) -> pl.Series:
    """A label's column of texts as what all of its values are: whole numbers, numbers, truth values or JSON lists of
    texts, else texts.

    A zero before other digits is part of a code, not of a number: such columns stay texts.
    """
    values = column.replace("", None) if column.dtype == pl.String else None
    if values is None or values.null_count() == len(values) or values.str.contains(r"^-?0\d").any():
        return column
    for dtype in (pl.Int64, pl.Float64):
        numbers = values.cast(dtype, strict=False)
        if numbers.null_count() == values.null_count() and (
            dtype == pl.Int64 or numbers.drop_nulls().is_finite().all()
        ):
            return numbers
    if values.str.starts_with("[").all():
        try:
            lists = [None if text is None else msgspec.json.decode(text, type=list[str]) for text in values]
            return pl.Series(column.name, lists, pl.List(pl.String))
        except msgspec.DecodeError:
            return column
    words = values.str.to_lowercase()
    if words.drop_nulls().is_in(["true", "false"]).all():
        return words == "true"
    return column


def _flag(value: Any) -> bool:
    text = str(value).strip().lower() if value is not None else ""
    if text not in _TRUE + _FALSE:
        raise InvalidEvent(f"is_hidden: {text}", field="is_hidden", value=shorten(value))
    return text in _TRUE


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
        decoded = msgspec.json.decode(str(value), type=dict[str, Any] | list[str])
    except msgspec.DecodeError as err:
        raise InvalidEvent(f"labels: {err}", field="labels", value=shorten(value)) from err
    if isinstance(decoded, list):  # gorse's older form: names without keys
        return {"tags": decoded} if decoded else {}
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
