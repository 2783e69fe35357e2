"""Tables of the usual kinds as one polars frame with row numbers, and the rows that cannot be read at all.

Polars is strict or lenient about broken CSV rows, but never says which they were. So the lines are checked first: a
line with another number of fields than the header, with NUL or with bytes that are not UTF-8 becomes a dead letter
with its own row number, and only sound lines are parsed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import msgspec
import polars as pl
import xxhash

from headwater.errors import InvalidInput
from headwater.ingest.dead_letters import DeadLetter, shorten

ROW = "__row"
KIND = "kind"
"""The column by which the lines of an export say which event they are."""

FORMATS = ("csv", "jsonl", "parquet")
_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}

TableSource = str | PathLike[str] | pl.DataFrame | pl.LazyFrame


class Table(NamedTuple):
    """Readable rows with their numbers (column `ROW`, from 1), unreadable ones, and a hash of the content."""

    frame: pl.DataFrame
    refused: list[DeadLetter]
    content_hash: str
    name: str
    untyped: frozenset[str] = frozenset()
    """Columns of texts that may stand for something else: all of a CSV, which knows no types, and those of a JSONL in
    which no value was a text."""


def read_table(source: TableSource, format: str | None = None) -> Table:
    """Read a table whole. `format` is one of `FORMATS`, by default told from the file's name.

    Raises `InvalidInput` for a missing file, an unknown format or a file that is not what its format says.
    """
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        buffer = io.BytesIO()
        source.write_ipc(buffer, compression="uncompressed")
        return Table(_numbered(source), [], xxhash.xxh3_128_hexdigest(buffer.getbuffer()), "DataFrame")
    path = Path(source)
    format = format or _SUFFIXES.get(path.suffix.lower())
    if format not in FORMATS:
        raise InvalidInput(
            f"{path}: cannot tell the format from the name; give format=, allowed: {', '.join(FORMATS)}",
            field="format",
            value=format,
        )
    try:
        content = path.read_bytes()
    except OSError as err:
        raise InvalidInput(f"{path}: cannot be read: {err.strerror or err}", field="source", value=str(path)) from err
    readers: dict[str, Callable[[bytes, str], tuple[pl.DataFrame, list[DeadLetter], frozenset[str]]]] = {
        "csv": _read_csv,
        "jsonl": _read_jsonl,
        "parquet": _read_parquet,
    }
    frame, refused, untyped = readers[format](content, str(path))
    return Table(frame, refused, xxhash.xxh3_128_hexdigest(content), str(path), untyped)


def is_export(frame: pl.DataFrame) -> bool:
    """Whether these are the lines of `headwater export DIR FILE.jsonl`: events of all kinds."""
    if "id" not in frame.columns or frame.schema.get(KIND) != pl.String:
        return False
    return frame[KIND].is_in(["Feedback", "ItemPut", "ConfigActivated"]).any()


def of_kind(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The rows of one kind of event of an export; of any other table all rows."""
    return frame.filter(pl.col(KIND) == kind) if is_export(frame) else frame


def _numbered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_row_index(ROW, offset=1)


def _read_parquet(content: bytes, name: str) -> tuple[pl.DataFrame, list[DeadLetter], frozenset[str]]:
    try:
        return _numbered(pl.read_parquet(io.BytesIO(content))), [], frozenset()
    except (pl.exceptions.PolarsError, OSError) as err:
        raise InvalidInput(f"{name}: not a readable Parquet file: {err}", field="source", value=name) from err


def _read_csv(content: bytes, name: str) -> tuple[pl.DataFrame, list[DeadLetter], frozenset[str]]:
    content = content.removeprefix(b"\xef\xbb\xbf")
    head, _, _ = content.partition(b"\n")
    try:
        header_line = head.decode().rstrip("\r")
    except UnicodeDecodeError as err:
        raise InvalidInput(f"{name}: the header is not UTF-8", field="source", value=name) from err
    if not header_line.strip() or "\0" in header_line:
        raise InvalidInput(f"{name}: no header line", field="source", value=name)
    delimiter = max(",\t;|", key=header_line.count)
    try:
        header = next(csv.reader([header_line], delimiter=delimiter, strict=True))
    except csv.Error as err:
        raise InvalidInput(f"{name}: the header line: {err}", field="source", value=name) from err
    if len(set(header)) != len(header):
        raise InvalidInput(f"{name}: the header names a column twice: {header_line}", field="source", value=name)
    # Quoted fields may hold delimiters and line breaks: only a real CSV reader knows where such a row ends.
    reader = _csv_records if b'"' in content else _csv_lines
    frame, refused = reader(content, header, delimiter)
    return frame, refused, frozenset(header)


def _csv_lines(content: bytes, header: list[str], delimiter: str) -> tuple[pl.DataFrame, list[DeadLetter]]:
    """Rows of a file without quotes: one line each."""
    try:
        lines = content.decode().split("\n")[1:]
    except UnicodeDecodeError:
        lines = [line.decode("utf-8", "surrogateescape") for line in content.split(b"\n")[1:]]
        return _csv_rows(_lines_with_faults(lines, header, delimiter), header)
    frame = pl.DataFrame({"line": lines}, schema={"line": pl.String}).with_row_index(ROW, offset=1)
    frame = frame.with_columns(pl.col("line").str.strip_suffix("\r")).filter(pl.col("line") != "")
    line = pl.col("line")
    broken = (line.str.count_matches(delimiter, literal=True) != len(header) - 1) | line.str.contains(
        "\0", literal=True
    )
    refused = [DeadLetter(row, "malformed-row", "row", shorten(text)) for row, text in frame.filter(broken).iter_rows()]
    sound = frame.filter(~broken)
    if sound.is_empty():
        return pl.DataFrame(schema={ROW: pl.UInt32, **dict.fromkeys(header, pl.String)}), refused
    parsed = pl.read_csv(
        io.BytesIO("\n".join(sound["line"].to_list()).encode()),
        has_header=False,
        new_columns=header,
        separator=delimiter,
        quote_char=None,
        infer_schema=False,
    )
    return parsed.insert_column(0, sound[ROW]), refused


def _lines_with_faults(lines: Sequence[str], header: list[str], delimiter: str) -> list[list[str] | str | None]:
    rows: list[list[str] | str | None] = []
    for line in lines:
        line = line.rstrip("\r")
        fields = line.split(delimiter)
        sound = len(fields) == len(header) and "\0" not in line and _is_utf8(line)
        rows.append(None if not line else fields if sound else line)
    return rows


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _csv_records(content: bytes, header: list[str], delimiter: str) -> tuple[pl.DataFrame, list[DeadLetter]]:
    """Rows of a file with quotes, by the standard library's reader."""
    text = content.decode("utf-8", "surrogateescape")
    rows: list[list[str] | str | None] = []
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    next(reader)
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            break
        except csv.Error as err:
            rows.append(f"line {reader.line_num}: {err}")
            continue
        sound = len(fields) == len(header) and all(_is_utf8(f) and "\0" not in f for f in fields)
        rows.append(fields if sound else delimiter.join(fields) if fields else None)
    return _csv_rows(rows, header)


def _csv_rows(rows: Sequence[list[str] | str | None], header: list[str]) -> tuple[pl.DataFrame, list[DeadLetter]]:
    """Lists are rows, texts are broken rows, None is a blank line."""
    refused: list[DeadLetter] = []
    numbers: list[int] = []
    sound: list[list[str]] = []
    for number, row in enumerate(rows, 1):
        if isinstance(row, list):
            numbers.append(number)
            sound.append(row)
        elif row is not None:
            shown = row.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            refused.append(DeadLetter(number, "malformed-row", "row", shorten(shown)))
    columns = [list(column) for column in zip(*sound, strict=True)] or [[] for _ in header]
    data = {name: pl.Series(name, column, pl.String) for name, column in zip(header, columns, strict=True)}
    frame = pl.DataFrame({ROW: pl.Series(ROW, numbers, pl.UInt32), **data})
    # What polars' own reader says of an empty field: nothing.
    return frame.with_columns(pl.col(pl.String).replace({"": None})), refused


def _read_jsonl(content: bytes, name: str) -> tuple[pl.DataFrame, list[DeadLetter], frozenset[str]]:
    decoder = msgspec.json.Decoder(dict[str, object])
    refused: list[DeadLetter] = []
    numbers: list[int] = []
    rows: list[dict[str, str | None]] = []
    texts: set[str] = set()
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            refused.append(
                DeadLetter(number, "malformed-row", "row", shorten(line.decode("utf-8", "backslashreplace")))
            )
            continue
        numbers.append(number)
        rows.append({key: _as_text(value) for key, value in row.items()})
        texts.update(key for key, value in row.items() if isinstance(value, str))
    names = list(dict.fromkeys(key for row in rows for key in row))
    if rows and not names:
        raise InvalidInput(f"{name}: the objects have no fields", field="source", value=name)
    data = {key: pl.Series(key, [row.get(key) for row in rows], pl.String) for key in names}
    frame = pl.DataFrame({ROW: pl.Series(ROW, numbers, pl.UInt32), **data})
    return frame, refused, frozenset(names) - texts


def _as_text(value: object) -> str | None:
    """A JSON value as the text that a CSV file would hold; containers stay JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return msgspec.json.encode(value).decode()
