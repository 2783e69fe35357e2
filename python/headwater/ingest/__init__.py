"""Ingest: tables of any of the usual kinds become valid, numbered chunks of events or items.

* `columns`: which column of a table is which field: mapping, aliases, constants.
* `source`: DataFrame, CSV, Parquet or JSONL to one polars frame with row numbers, and the rows that cannot be read.
* `event_table`: validation in polars, chunks, rows by user partition.
* `item_table`: catalogue rows to `ItemPut`.
* `dead_letters`: refused rows, with row number and reason, on disk.

A row is refused with a reason or becomes exactly one event; nothing is dropped silently and no refused row shifts
another. This package writes no log: `headwater.importer` does.
"""
