"""Calls of the engine between marks, for `sync_order`. Usage: tracked.py DIRECTORY MARKS [no-log-sync|no-head-sync].

The second forms break one of the syncs on purpose: a check that passes them is none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl

import headwater as hw
from headwater.events.types import Feedback

CALLS = 6


def main(directory: Path, marks: int, broken: str) -> None:
    """Six writes of each way of writing."""
    with hw.Engine.open(directory, threads=1) as engine:
        if broken == "no-log-sync":
            engine.log._connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]
        if broken == "no-head-sync":
            os.fdatasync = lambda fd: None
        start = engine.now() - 1_000_000
        frame = pl.DataFrame({"ts": [start], "user": ["u"], "type": ["view"], "item": ["i"]})
        ways: list[Callable[[int], object]] = [
            lambda n: engine.track("view", user="ann", item=f"i{n}"),
            lambda n: engine.put_item(f"i{n}", categories=["c"]),
            lambda n: engine.track_many([Feedback("view", f"u{u}", f"i{n}", start) for u in range(9)]),
            lambda n: engine.ingest(frame.with_columns(ts=pl.col("ts") + n), progress=False),
        ]
        for number in range(CALLS):
            for way, call in enumerate(ways):
                os.write(marks, f"before {way}.{number}\n".encode())
                call(number)
                os.write(marks, f"after {way}.{number}\n".encode())


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
        sys.argv[3] if len(sys.argv) > 3 else "",
    )
