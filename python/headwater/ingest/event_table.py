"""Tables of feedback: validated in polars, cut into chunks, split by user partition.

Times: integers are milliseconds, or seconds if the column's median is below 10^11 (1973 in milliseconds, the year 5138
in seconds; a median, so that no single absurd value changes what the others mean); texts are numbers or ISO 8601, UTC
unless they say otherwise; polars dates and datetimes are taken as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import polars as pl
import xxhash

from headwater.errors import InvalidInput
from headwater.events.bulk import FeedbackColumns
from headwater.events.subjects import partition_of
from headwater.events.types import Scalar
from headwater.events.validate import MAX_CONTEXT
from headwater.ingest.columns import FIELDS, OPTIONAL, resolve
from headwater.ingest.dead_letters import DeadLetter, shorten
from headwater.ingest.source import ROW, TableSource, of_kind, read_table

CHUNK_ROWS = 65_536
SECONDS_BELOW = 100_000_000_000

_CONTROL = r"[\x00-\x1f\x7f]"
_ID_LIMITS = {"type": 64, "user": 512, "item": 512, "event_id": 512, "session": 512, "basket": 512, "slate": 512}
_MAX_SLOT = (1 << 32) - 1
_contexts = msgspec.json.Decoder(dict[str, Scalar])


class Chunk(NamedTuple):
    """Valid rows of one stretch of the source, and the refused ones."""

    number: int
    frame: pl.DataFrame
    refused: list[DeadLetter]

    def by_partition(self, partitions: int) -> dict[int, FeedbackColumns]:
        """The valid rows by the partition that owns their user, in order, as lists. Each user is hashed once."""
        users = self.frame["user"].unique().to_list()
        owners = pl.DataFrame({"user": users, "__p": [partition_of(user, partitions) for user in users]})
        owned = self.frame.join(owners, on="user", how="left", maintain_order="left")
        parts = owned.partition_by("__p", maintain_order=True, as_dict=True, include_key=False)
        return {int(key[0]): _lists(part) for key, part in sorted(parts.items())}


def _lists(frame: pl.DataFrame) -> FeedbackColumns:
    def column(field: str) -> list[Any] | None:
        if field not in frame.columns or frame[field].null_count() == len(frame):
            return None  # a column without values is written like one that is not there
        values = frame[field].to_list()
        return [None if v is None else _contexts.decode(v) for v in values] if field == "context" else values

    return FeedbackColumns(*(column(field) for field in FIELDS))  # type: ignore[arg-type]


class EventTable:
    """A source of feedback, read and ready to be cut into chunks.

    `fingerprint` identifies content, mapping and chunk size: importing the same table again repeats the same frames.
    """

    def __init__(
        self,
        source: TableSource,
        *,
        columns: Mapping[str, str] | None = None,
        format: str | None = None,
        chunk_rows: int = CHUNK_ROWS,
        latest: int,
    ) -> None:
        """`latest`: event times beyond it (UTC ms) are refused. Raises `InvalidInput` for an unusable table."""
        if not 1 <= chunk_rows <= CHUNK_ROWS:
            raise InvalidInput(
                f"chunk_rows = {chunk_rows}; allowed: 1 to {CHUNK_ROWS}", field="chunk_rows", value=chunk_rows
            )
        table = read_table(source, format)
        frame = of_kind(table.frame, "Feedback")
        names = [name for name in frame.columns if name != ROW]
        self._columns, self._constants = resolve(names, columns)
        self._latest = latest
        self._chunk_rows = chunk_rows
        self._unreadable = sorted(table.refused, key=lambda letter: letter.row)
        self.name = table.name
        identity = repr(
            (table.content_hash, sorted(self._columns.items()), sorted(self._constants.items()), chunk_rows)
        )
        self.fingerprint = xxhash.xxh3_128_hexdigest(identity.encode())
        self._raw = frame.select(ROW, *dict.fromkeys(self._columns.values()))
        self._typed = self._raw.select(
            ROW,
            *(
                self._typed_column(field).alias(field)
                for field in FIELDS
                if field in self._columns or field in self._constants
            ),
        )
        self.rows = len(self._raw) + len(self._unreadable)

    def _typed_column(self, field: str) -> pl.Expr:
        """The column of a field in its own type; a value that cannot be converted is null."""
        column: pl.Expr
        if field in self._constants:
            name = f"={self._constants[field]}"
            values = pl.Series([self._constants[field]])
            column = pl.lit(self._constants[field])
        else:
            name = self._columns[field]
            values = self._raw[name]
            column = pl.col(name)
        dtype = values.dtype
        if field == "ts":
            return _time_column(column, dtype, values)
        if field == "value":
            return (
                column.cast(pl.Float64, strict=False) if dtype != pl.Boolean else column.cast(pl.Int8).cast(pl.Float64)
            )
        if field == "slot":
            return _whole(column, dtype)
        if field == "context" and isinstance(dtype, pl.Struct):
            # JSON would have null for a number that is not finite.
            floats = [column.struct.field(inner.name) for inner in dtype.fields if inner.dtype.is_float()]
            finite = [number.is_finite().fill_null(True) for number in floats]
            return pl.when(column.is_not_null(), *finite).then(column.struct.json_encode())
        if dtype in (pl.String, pl.Null):
            return column.cast(pl.String)
        if dtype.is_integer() or dtype in (pl.Categorical, pl.Enum):
            return column.cast(pl.String)
        if dtype.is_float():
            return _whole(column, dtype).cast(pl.String)
        raise InvalidInput(
            f"column {name!r} of type {dtype} cannot be a {field}; allowed: text or integers",
            field="columns",
            value=name,
        )

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """Chunks from number `start` on; each covers `chunk_rows` readable rows, refused ones included."""
        for offset in range(start * self._chunk_rows, max(len(self._typed), 1), self._chunk_rows):
            number = offset // self._chunk_rows
            typed = self._typed.slice(offset, self._chunk_rows)
            reason, field = self._verdict(typed)
            judged = typed.with_columns(reason.alias("__reason"), field.alias("__field"))
            bad = judged.filter(pl.col("__reason").is_not_null())
            refused = self._letters(bad, offset) + (self._unreadable if number == 0 else [])
            good = judged.filter(pl.col("__reason").is_null()) if len(bad) else judged
            yield Chunk(number, good.drop(ROW, "__reason", "__field"), refused)

    def _letters(self, bad: pl.DataFrame, offset: int) -> list[DeadLetter]:
        letters = []
        for row, reason, field in bad.select(ROW, "__reason", "__field").iter_rows():
            at = self._raw[ROW].search_sorted(row)
            name = self._columns.get(field)
            value = self._constants.get(field) if name is None else self._raw[name][int(at)]
            letters.append(DeadLetter(int(row), reason, field, shorten(value)))
        return letters

    def _given(self, field: str, typed: pl.DataFrame) -> pl.Expr:
        """Whether the source says anything for a field in these rows."""
        name = self._columns.get(field)
        if name is None:
            return pl.lit(True)
        start = int(self._raw[ROW].search_sorted(typed[ROW][0])) if len(typed) else 0
        return pl.lit(self._raw[name].is_not_null().slice(start, len(typed)))

    def _verdict(self, typed: pl.DataFrame) -> tuple[pl.Expr, pl.Expr]:
        """The first broken rule of each row: (reason, field), null for a valid row."""
        rules: list[tuple[str, str, pl.Expr]] = []
        for field, limit in _ID_LIMITS.items():
            if field not in typed.columns:
                continue
            column = pl.col(field)
            broken = (column.str.len_bytes() > limit) | column.str.contains(_CONTROL) | (column == "")
            code = "bad-type" if field == "type" else "bad-id"
            rules.append((code, field, broken if field in OPTIONAL else column.is_null() | broken))
        ts = pl.col("ts")
        rules.append(("bad-ts", "ts", ts.is_null() | (ts < 0)))
        rules.append(("future-ts", "ts", ts > self._latest))
        if "value" in typed.columns:
            value = pl.col("value")
            unreadable = value.is_null() & self._given("value", typed)
            rules.append(("bad-value", "value", value.is_nan() | value.is_infinite() | unreadable))
        if "slot" in typed.columns:
            slot = pl.col("slot")
            unreadable = slot.is_null() & self._given("slot", typed)
            rules.append(("bad-slot", "slot", (slot < 0) | (slot > _MAX_SLOT) | unreadable))
        if "context" in typed.columns:
            wrong = [text is not None and not _is_context(text) for text in typed["context"].to_list()]
            unreadable = pl.col("context").is_null() & self._given("context", typed)
            rules.append(("bad-context", "context", pl.lit(pl.Series(wrong, dtype=pl.Boolean)) | unreadable))
        reason: Any = pl
        field_of: Any = pl
        for code, field, broken in rules:
            reason = reason.when(broken).then(pl.lit(code))
            field_of = field_of.when(broken).then(pl.lit(field))
        return reason.otherwise(None), field_of.otherwise(None)


def _is_context(text: str) -> bool:
    """Whether a text is a JSON object of scalars that is small enough."""
    try:
        return len(msgspec.msgpack.encode(_contexts.decode(text))) <= MAX_CONTEXT
    except (msgspec.DecodeError, OverflowError):
        return False


def _whole(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whole numbers; null for anything else."""
    if not dtype.is_float():
        return column.cast(pl.Int64, strict=False)
    whole = column.cast(pl.Int64, strict=False)
    return pl.when(whole.cast(pl.Float64) == column).then(whole)


def _time_column(column: pl.Expr, dtype: pl.DataType, values: pl.Series) -> pl.Expr:
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return column.dt.epoch("ms")
    if dtype.is_integer() or dtype.is_float():
        return _scaled(column.cast(pl.Float64) if dtype.is_float() else column.cast(pl.Int64, strict=False), values)
    if dtype == pl.String:
        numbers = values.cast(pl.Float64, strict=False)
        as_number = _scaled(column.cast(pl.Float64, strict=False), numbers)
        iso = column.str.replace(r"^(\d{4}-\d\d-\d\d)$", "${1}T00:00:00").str.replace(" ", "T", literal=True)
        zoned = iso.str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False)
        plain = iso.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="ms", time_zone="UTC", strict=False)
        return pl.coalesce(as_number, zoned.dt.epoch("ms"), plain.dt.epoch("ms"))
    raise InvalidInput(f"a column of type {dtype} cannot be a time", field="columns", value=str(dtype))


def _scaled(column: pl.Expr, values: pl.Series) -> pl.Expr:
    finite = values.filter(values.is_finite()) if values.dtype.is_float() else values
    typical = finite.quantile(0.5, "lower")
    factor = 1000 if typical is not None and 0 <= typical < SECONDS_BELOW else 1
    return (column * factor).cast(pl.Int64, strict=False)
