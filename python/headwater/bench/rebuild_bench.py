"""`headwater bench rebuild`: from a log to state, whole and from a snapshot with a tail, and the snapshot itself.

The log is made, and each rebuild runs, in a process of its own, so that what it adds to memory is its own and one state
is held at a time. Both rebuilds must end at the same digest, or the run ends with an error.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import polars as pl

from headwater.actors.recovery import fold_log, recover
from headwater.actors.snapshots import DirectorySnapshots
from headwater.bench.disk import Disk, measure_disk, resident_mb
from headwater.bench.event_supply import Supply
from headwater.bench.logs import held_bytes
from headwater.core import Core, generation_of, new_core, restore_core
from headwater.engine import Engine
from headwater.errors import HeadwaterError
from headwater.events.sqlite_log import SqliteLog
from headwater.store import directory_config

if TYPE_CHECKING:
    from rich.table import Table

Progress = Callable[[int, int], object]

_PORTION = 500_000
T = TypeVar("T")


class Rebuilt(msgspec.Struct, kw_only=True):
    """One rebuild: seconds of wall time and of CPU (all threads), events in the state by its end and how many of them
    were `folded` from the log; MB of state as it counts itself, and by which the process grew."""

    events: int
    folded: int
    seconds: float
    cpu_s: float
    folded_per_s: float
    state_mb: float
    grown_mb: float
    digest: str


class SnapshotFigures(msgspec.Struct, kw_only=True):
    """A snapshot: seconds to encode it (folds wait for that) and to write it (they do not), MB in all and by kind of
    part, and seconds of the digest."""

    encode_s: float
    write_s: float
    megabytes: float
    parts: dict[str, float]
    digest_s: float


class RebuildRun(msgspec.Struct, kw_only=True):
    """`tail`: events after the snapshot. `seconds` of rebuilds are medians of `runs`."""

    source: str
    events: int
    tail: int
    threads: int
    runs: int
    disk: Disk
    log_mb: float
    from_zero: Rebuilt
    from_snapshot: Rebuilt
    snapshot: SnapshotFigures


def run_rebuild(
    supply: Callable[[], Supply],
    *,
    tail: int,
    threads: int,
    runs: int,
    scratch: Path | None,
    progress: Progress,
) -> RebuildRun:
    """Make a log of what `supply` gives, with a snapshot before its last `tail` events, and rebuild its state both
    ways. `supply` is called in another process.

    Raises `HeadwaterError` if the two differ.
    """
    with tempfile.TemporaryDirectory(prefix="headwater-bench-", dir=scratch) as temporary:
        place = Path(temporary)
        source, made, after = _make_log_apart(place / "log", supply, tail, progress)
        whole = [_apart(_from_zero, place / "log", threads) for _ in range(runs)]
        short = [_apart(_from_snapshot, place / "log", threads) for _ in range(runs)]
        check_equal([*whole, *short])
        snapshot = _apart(_snapshot, place / "log", threads)
        log_bytes = (place / "log" / "log.sqlite3").stat().st_size
        return RebuildRun(
            source=source,
            events=made,
            tail=after,
            threads=threads,
            runs=runs,
            disk=measure_disk(place),
            log_mb=round(log_bytes / 1e6, 1),
            from_zero=_median(whole),
            from_snapshot=_median(short),
            snapshot=snapshot,
        )


_told: Connection | None = None
"""Where the process that makes the log says how far it is."""


def _tell(whom: Connection) -> None:
    global _told
    _told = whom


def _make_log_apart(place: Path, supply: Callable[[], Supply], tail: int, progress: Progress) -> tuple[str, int, int]:
    """`_make_log` in a new process, whose progress is passed on."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with ours, theirs, ProcessPoolExecutor(1, context, initializer=_tell, initargs=(theirs,)) as pool:
        making = pool.submit(_make_log, place, supply, tail)
        while not making.done():
            if ours.poll(0.1):
                progress(*ours.recv())
        return making.result()


def _make_log(place: Path, make: Callable[[], Supply], tail: int) -> tuple[str, int, int]:
    """Import all events, with a snapshot `tail` events before the end: what they are, events in all, and after the
    snapshot."""
    assert _told is not None
    supply = make()
    made, taken_at = 0, None
    with Engine.open(place, config=supply.config, clock="log") as engine:
        for table in _portions(supply.tables, supply.events - tail):
            engine.ingest(table, progress=False)
            made += len(table)
            _told.send((made, supply.events))
            if made == supply.events - tail:
                engine.snapshot()
                taken_at = made
    assert taken_at is not None
    return supply.name, made, made - taken_at


def _portions(tables: Iterator[pl.DataFrame], cut: int) -> Iterator[pl.DataFrame]:
    """Larger tables, one of which ends after `cut` rows."""
    waiting: list[pl.DataFrame] = []
    held = made = 0
    for table in tables:
        parts = [table]
        if made + held < cut < made + held + len(table):
            parts = [table.head(cut - made - held), table.slice(cut - made - held)]
        for part in parts:
            waiting.append(part)
            held += len(part)
            if held >= _PORTION or made + held == cut:
                yield pl.concat(waiting)
                made, held, waiting = made + held, 0, []
    if waiting:
        yield pl.concat(waiting)


def _apart(work: Callable[[Path, int], T], place: Path, threads: int) -> T:
    """Do it in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, place, threads).result()


def _from_zero(place: Path, threads: int) -> Rebuilt:
    config = directory_config(place)
    log = SqliteLog(place, generation_of(config.generation), read_only=True)
    before, clock = resident_mb(), _Both()
    core = new_core(config, threads)
    fold_log(core, log)
    return _rebuilt(core, clock.spent(), before, 0)


def _from_snapshot(place: Path, threads: int) -> Rebuilt:
    config = directory_config(place)
    log = SqliteLog(place, generation_of(config.generation), read_only=True)
    snapshots = DirectorySnapshots(place / "snapshots")
    before, clock = resident_mb(), _Both()
    recovered = recover(log, snapshots, config, threads)
    spent = clock.spent()
    if not recovered.snapshot:
        raise HeadwaterError(f"the snapshot was not used: {'; '.join(recovered.passed_over)}")
    rebuilt = _rebuilt(recovered.core, spent, before, 0)
    loaded = recovered.snapshot
    # How many events the snapshot holds is known once it is read again: apart from the clock, and when the whole state
    # is gone, because two of them may be more than there is memory for.
    del recovered
    kept = _events(restore_core(config, threads, snapshots.load(loaded)))
    folded = rebuilt.events - kept
    return msgspec.structs.replace(rebuilt, folded=folded, folded_per_s=round(folded / rebuilt.seconds, 1))


class _Both:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def spent(self) -> tuple[float, float]:
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def _rebuilt(core: Core, spent: tuple[float, float], before_mb: float, kept: int) -> Rebuilt:
    (seconds, cpu), events = spent, _events(core)
    return Rebuilt(
        events=events,
        folded=events - kept,
        seconds=round(seconds, 4),
        cpu_s=round(cpu, 4),
        folded_per_s=round((events - kept) / seconds, 1),
        state_mb=round(held_bytes(core) / 1e6, 1),
        grown_mb=round(resident_mb() - before_mb, 1),
        digest=core.digest()["whole"],
    )


def _events(core: Core) -> int:
    return sum(core.stats()["outcomes"].values())


def _snapshot(place: Path, threads: int) -> SnapshotFigures:
    config = directory_config(place)
    log = SqliteLog(place, generation_of(config.generation), read_only=True)
    core = recover(log, DirectorySnapshots(place / "snapshots"), config, threads).core
    started = time.perf_counter()
    position, parts = core.snapshot()
    encoded = time.perf_counter()
    DirectorySnapshots(place / "snapshot-bench").save(position, parts, 1)
    written = time.perf_counter()
    core.digest()
    digested = time.perf_counter()
    kinds: dict[str, float] = {}
    for name, content in parts:
        kind = name.partition("-")[0]
        kinds[kind] = round(kinds.get(kind, 0.0) + len(content) / 1e6, 3)
    return SnapshotFigures(
        encode_s=round(encoded - started, 4),
        write_s=round(written - encoded, 4),
        megabytes=round(sum(len(content) for _, content in parts) / 1e6, 2),
        parts=kinds,
        digest_s=round(digested - written, 4),
    )


def check_equal(rebuilt: Sequence[Rebuilt]) -> None:
    """Raise `HeadwaterError` unless all rebuilds of a log ended at the same state."""
    digests = sorted({one.digest for one in rebuilt})
    if len(digests) > 1:
        raise HeadwaterError(f"rebuilds of the same log differ: digests {', '.join(digests)}")


def _median(rebuilt: list[Rebuilt]) -> Rebuilt:
    return sorted(rebuilt, key=lambda one: one.seconds)[len(rebuilt) // 2]


REBUILD_HEADINGS = ("what", "events", "seconds", "CPU, s", "events/s", "MB", "beside")


def rebuild_cells(run: RebuildRun) -> list[tuple[str, ...]]:
    """Lines of a table with `REBUILD_HEADINGS`."""
    zero, short, snapshot = run.from_zero, run.from_snapshot, run.snapshot
    read = f"the log has {run.log_mb:,.0f} MB, read at {run.log_mb / zero.seconds:,.0f} MB/s"
    return [
        (
            "rebuild from zero",
            f"{zero.folded:,}",
            f"{zero.seconds:.2f}",
            f"{zero.cpu_s:.2f}",
            f"{zero.folded_per_s:,.0f}",
            f"{zero.state_mb:,.0f} of state, process grew by {zero.grown_mb:,.0f}",
            f"{read}; disk {run.disk.read_mb_per_s:,.0f}",
        ),
        (
            "from snapshot and tail",
            f"{short.folded:,} of {short.events:,}",
            f"{short.seconds:.2f}",
            f"{short.cpu_s:.2f}",
            "",
            f"process grew by {short.grown_mb:,.0f}",
            f"{zero.seconds / short.seconds:.1f} times as fast",
        ),
        (
            "snapshot, encoded",
            "",
            f"{snapshot.encode_s:.2f}",
            "",
            "",
            f"{snapshot.megabytes:,.1f}",
            "folds wait for it",
        ),
        (
            "snapshot, written and synced",
            "",
            f"{snapshot.write_s:.2f}",
            "",
            "",
            "",
            f"{snapshot.megabytes / max(snapshot.write_s, 1e-9):,.0f} MB/s; disk {run.disk.write_mb_per_s:,.0f}",
        ),
        ("digest", "", f"{snapshot.digest_s:.2f}", "", "", "", ""),
    ]


def rebuild_table(run: RebuildRun) -> Table:
    """The figures for people."""
    from rich.table import Table

    title = f"{run.source}: {run.events:,} events, {run.threads} threads, medians of {run.runs}"
    table = Table(*REBUILD_HEADINGS, title=title)
    for cells in rebuild_cells(run):
        table.add_row(*cells)
    return table
