"""A disk that fills up and is freed again, as the engine meets it.

`live_through` is the story; what fills the disk is the caller's: a small tmpfs, or a limit on file sizes. Run as a
script (FULL_DISK DIRECTORY) it uses the limit, which needs no privileges but binds the whole process.
"""

from __future__ import annotations

import contextlib
import resource
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import polars as pl

import headwater as hw
from headwater.errors import StoreFull
from headwater.events.frame import decode_frame
from headwater.events.types import Feedback

ROWS = 20_000


class Fills(Protocol):
    """A context in which the disk holds `spare` more bytes, more or less."""

    def __call__(self, spare: int) -> AbstractContextManager[None]: ...


def live_through(directory: Path, filled: Fills) -> dict[str, int]:
    """Track, import and snapshot into a full disk, free it, go on; raises `AssertionError` for anything half done."""
    with hw.Engine.open(directory) as engine:
        start = engine.now() - 10 * ROWS * 1000
        table = pl.DataFrame(
            {
                "ts": [start + row * 1000 for row in range(ROWS)],
                "user": [f"u{row % 300}" for row in range(ROWS)],
                "item": [f"i{row * 7 % 500}" for row in range(ROWS)],
                "event_id": [f"import-{row}" for row in range(ROWS)],
            }
        )
        acked = _track_until_full(engine, start, filled)
        imported = _import_until_full(engine, table, filled)
        _snapshot_refused(engine, filled)
        # The same engine goes on, and the interrupted import continues.
        engine.track("view", user="after", item="i1", ts=start, event_id="after-1")
        report = engine.ingest(table, columns={"type": "=view"}, chunk_rows=500, progress=False)
        assert report.resumed_rows >= imported
        engine.snapshot()
        _agree(engine, {*acked, "after-1", *table["event_id"]})
        digest = engine.digest()["whole"]
    with hw.Engine.open(directory) as engine:
        assert engine.digest()["whole"] == digest
        engine.track("view", user="after", item="i2", ts=start, event_id="after-2")
        _agree(engine, {*acked, "after-1", "after-2", *table["event_id"]})
    return {"tracked": len(acked), "imported_before_full": imported}


def _track_until_full(engine: hw.Engine, start: int, filled: Fills) -> list[str]:
    acked: list[str] = []
    with filled(300_000):
        with contextlib.suppress(StoreFull):
            while True:
                id = f"track-{len(acked)}"
                engine.track("view", user=f"u{len(acked)}", item="i1", ts=start, event_id=id, context={"x": "y" * 3000})
                acked.append(id)
        assert len(acked) > 10
        _unchanged(engine, lambda: engine.track("view", user="never", item="never", context={"x": "y" * 3000}))
    assert "never" not in engine
    return acked


def _import_until_full(engine: hw.Engine, table: pl.DataFrame, filled: Fills) -> int:
    """Rows that were imported before the disk was full: whole chunks."""
    before = engine.status()["outcomes"]
    with filled(300_000):
        with contextlib.suppress(StoreFull):
            engine.ingest(table, columns={"type": "=view"}, chunk_rows=500, progress=False)
            raise AssertionError("the import fitted: the disk was not full")
        imported = sum(engine.status()["outcomes"].values()) - sum(before.values())
        assert imported % 500 == 0
        assert 0 < imported < ROWS
    return imported


def _snapshot_refused(engine: hw.Engine, filled: Fills) -> None:
    kept = engine.snapshot()
    engine.track("view", user="u1", item="i2")
    with filled(1000):
        _unchanged(engine, engine.snapshot)
    assert [Path(kept).name] == [path.name for path in Path(kept).parent.iterdir()]


def _unchanged(engine: hw.Engine, write: Callable[[], object]) -> None:
    """The write is refused with `StoreFull` and changes nothing."""
    position, digest = engine.position, engine.digest()
    with contextlib.suppress(StoreFull):
        write()
        raise AssertionError("the write was taken: the disk was not full")
    assert (engine.position, engine.digest(), engine.log.last()) == (position, digest, position)


def _agree(engine: hw.Engine, wanted: set[str]) -> None:
    """The log holds each of these once (and what carries no id), and all digests agree."""
    report = engine.verify()
    assert report.equal, report.problems
    found: Counter[str] = Counter()
    for batch in engine.log.read():
        for frame in batch.frames:
            found.update(e.event_id for e in decode_frame(frame)[1] if isinstance(e, Feedback) and e.event_id)
    assert found == Counter(wanted)


@contextlib.contextmanager
def size_limit(directory: Path, spare: int) -> Iterator[None]:
    """No file grows by more than `spare` bytes beyond the largest one. Python ignores SIGXFSZ, so writes just fail."""
    largest = max((file.stat().st_size for file in directory.glob("log.sqlite3*")), default=0)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + spare if spare > 10_000 else spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    print(live_through(target, lambda spare: size_limit(target, spare)))
