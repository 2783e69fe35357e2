"""Tables of unknown origin as columns of known names: Parquet, CSV, TSV or JSON lines, with the names that data sets
use."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from headwater.errors import InvalidInput

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")

_ALIASES = {
    "session": ("session", "sessionid", "session_id"),
    "user": ("user", "userid", "user_id", "visitorid", "customerid"),
    "item": ("item", "itemid", "item_id", "productid"),
    "ts": ("ts", "time", "timestamp", "unix_timestamp"),
    "type": ("type", "event", "event_type", "feedbacktype"),
    "value": ("value", "rating"),
    "basket": ("basket", "invoice", "transactionid"),
    "items": ("items",),
    "prefix": ("prefix",),
    "target": ("target",),
}
_SECONDS_BELOW = 100_000_000_000
"""A time below this is in seconds: as milliseconds it would lie before March 1973."""
_START = 1_400_000_000_000


def find_table(folder: Path, *stems: str) -> Path | None:
    """The file of one of these names in a folder, with any suffix that is read."""
    for stem in stems:
        for suffix in SUFFIXES:
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    return None


def read_columns(path: Path, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> pl.DataFrame:
    """The columns of these names, under these names. Raises `InvalidInput` for a file that cannot be read or lacks
    one."""
    raw = _read(path)
    by_lower = {name.lower(): name for name in raw.columns}
    found: dict[str, str] = {}
    for name in (*required, *optional):
        actual = next((by_lower[alias] for alias in _ALIASES[name] if alias in by_lower), None)
        if actual is not None:
            found[name] = actual
        elif name in required:
            allowed = " or ".join(_ALIASES[name])
            raise InvalidInput(
                f"{path}: no column {allowed}; it has {', '.join(raw.columns)}",
                field=name,
                value=raw.columns,
                rule=allowed,
            )
    table = raw.select(pl.col(actual).alias(name) for name, actual in found.items())
    for name in ("session", "user", "item", "target", "type", "basket"):
        if name in table.columns:
            table = _as_text(path, table, name, nullable=name == "basket")
    for name in ("items", "prefix"):
        if name in table.columns:
            table = _as_lists(path, table, name)
    return _as_times(path, table) if "ts" in table.columns else table


def made_up_times() -> pl.Expr:
    """Times (UTC ms) of rows that have none: one second lies between two rows."""
    return (_START + pl.int_range(pl.len()) * 1000).cast(pl.Int64)


def _read(path: Path) -> pl.DataFrame:
    try:
        match path.suffix:
            case ".parquet":
                return pl.read_parquet(path)
            case ".csv" | ".tsv":
                return pl.read_csv(path, separator="\t" if path.suffix == ".tsv" else ",", infer_schema_length=None)
            case ".jsonl" | ".ndjson":
                return pl.read_ndjson(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, OSError) as err:
        raise InvalidInput(f"{path}: cannot be read: {err}", field="path", value=str(path)) from err
    raise InvalidInput(f"{path}: allowed: files ending in {', '.join(SUFFIXES)}", field="path", value=str(path))


def _as_text(path: Path, table: pl.DataFrame, name: str, *, nullable: bool) -> pl.DataFrame:
    """Ids as text; whole numbers in a column of fractions lose their `.0`."""
    kind = table.schema[name]
    if isinstance(kind, pl.List | pl.Struct | pl.Array):
        raise InvalidInput(f"{path}: column {name} holds {kind}; allowed: one id a row", field=name, value=str(kind))
    column = pl.col(name).cast(pl.Int64) if kind.is_float() else pl.col(name)
    table = table.with_columns(column.cast(pl.String))
    empty = table[name].null_count() + (table[name] == "").sum()
    if empty and not nullable:
        raise InvalidInput(f"{path}: {empty} rows without {name}; allowed: an id in every row", field=name, value=empty)
    return table


def _as_lists(path: Path, table: pl.DataFrame, name: str) -> pl.DataFrame:
    if not isinstance(table.schema[name], pl.List):
        raise InvalidInput(
            f"{path}: column {name} holds {table.schema[name]}; allowed: a list of items a row",
            field=name,
            value=str(table.schema[name]),
        )
    column = pl.col(name).fill_null([])
    return table.with_columns(column.list.eval(pl.element().drop_nulls().cast(pl.String)))


def _as_times(path: Path, table: pl.DataFrame) -> pl.DataFrame:
    """Times as UTC milliseconds, from numbers in seconds or milliseconds, or from dates."""
    kind = table.schema["ts"]
    if kind.is_temporal():
        table = table.with_columns(pl.col("ts").cast(pl.Datetime("ms")).dt.epoch("ms"))
    elif not kind.is_numeric():
        raise InvalidInput(f"{path}: times are {kind}; allowed: numbers or dates", field="ts", value=str(kind))
    missing = table["ts"].null_count() + (table["ts"].is_nan().sum() if kind.is_float() else 0)
    if missing:
        raise InvalidInput(f"{path}: {missing} rows without a time", field="ts", value=missing)
    latest = table["ts"].max()
    scale = 1000 if not kind.is_temporal() and isinstance(latest, int | float) and latest < _SECONDS_BELOW else 1
    return table.with_columns(
        (pl.col("ts") * scale).round().cast(pl.Int64) if kind.is_float() else pl.col("ts").cast(pl.Int64) * scale
    )
