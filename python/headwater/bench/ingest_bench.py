"""`headwater bench ingest`: what each stage of an import costs, over a growing log and state.

The stages run one after the other and are timed apart: table to frames (validated and encoded), frames to the synced
log, frames to events (parsed and checked as every reader does), and the fold, which decodes once more. The engine's own
import, where they overlap, is measured on the first events in another directory.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from headwater.bench.disk import Disk, measure_disk, resident_mb
from headwater.bench.event_supply import Supply
from headwater.bench.interruption import Interruption
from headwater.bench.logs import check_outcomes, held_bytes
from headwater.config import Config
from headwater.core import Core, frame_fault, generation_of, new_core
from headwater.engine import Engine
from headwater.errors import HeadwaterError
from headwater.events.sqlite_log import SqliteLog
from headwater.importer import chunk_frames
from headwater.ingest.event_table import EventTable

if TYPE_CHECKING:
    from rich.table import Table

STAGES = ("encode", "append", "decode", "fold")
_INTERVALS = 20
_IMPORTED = 500_000
_FUTURE = 1 << 52

Progress = Callable[[int, int], object]


class Interval(msgspec.Struct, kw_only=True):
    """A stretch of the log: events in all by its end, events per second of each stage within it, and what is held."""

    events: int
    per_s: dict[str, float]
    resident_mb: float
    state_mb: float
    log_mb: float


class IngestRun(msgspec.Struct, kw_only=True):
    """`per_s`: events per second of each stage over all events, and `cpu_us` an event of all threads, which other work
    on the machine hardly changes; `in_turn` of all stages together, one after the other;
    `imported_per_s`: of the engine's own import of the first `imported` events. `append_mb_per_s`: what the append
    stage wrote, beside the disk's `write_mb_per_s`; `commits_per_s` beside its `fsync_per_s` (a commit syncs twice)."""

    source: str
    events: int
    threads: int
    disk_before: Disk
    disk_after: Disk | None
    per_s: dict[str, float]
    cpu_us: dict[str, float]
    in_turn_per_s: float
    imported: int
    imported_per_s: float
    append_mb_per_s: float
    commits_per_s: float
    bytes_per_event: dict[str, float]
    intervals: list[Interval]
    outcomes: dict[str, int]
    complete: bool


class _Stages:
    """The four stages over one log and one state, with their times."""

    def __init__(self, place: Path, config: Config, threads: int) -> None:
        self.log = SqliteLog(place, generation_of(config.generation))
        self.core: Core = new_core(config, threads)
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.cpu = dict.fromkeys(STAGES, 0.0)
        self.events = self.commits = self.frame_bytes = 0
        self._noted = dict(self.seconds)
        self._partitions = config.generation.partitions

    def put(self, table: pl.DataFrame) -> None:
        """One table of rows through all stages."""
        clock = _Clock(self.seconds, self.cpu)
        [piece] = EventTable(table, latest=_FUTURE).chunks()
        frames, count = chunk_frames(piece, self.commits + 1, self._partitions, int(table["ts"][-1]))
        if count != len(table):
            raise HeadwaterError(f"{len(table) - count} of {len(table)} rows were refused: {piece.refused[:1]}")
        clock.lap("encode")
        first = self.log.append(frames)
        clock.lap("append")
        faults = [fault for frame in frames if (fault := frame_fault(frame)) is not None]
        clock.lap("decode")
        if faults:
            raise HeadwaterError(f"frames that were just made are faulty: {faults[0]}")
        self.core.apply(first, frames)
        clock.lap("fold")
        self.events += count
        self.commits += 1
        self.frame_bytes += sum(map(len, frames))

    def since_last(self) -> dict[str, float]:
        """Seconds of each stage since this was asked last."""
        spent = {stage: seconds - self._noted[stage] for stage, seconds in self.seconds.items()}
        self._noted = dict(self.seconds)
        return spent


class _Clock:
    """Wall and CPU time (of all threads) since the last lap."""

    def __init__(self, seconds: dict[str, float], cpu: dict[str, float]) -> None:
        self._seconds, self._cpu = seconds, cpu
        self._last, self._last_cpu = time.perf_counter(), time.process_time()

    def lap(self, stage: str) -> None:
        now, cpu = time.perf_counter(), time.process_time()
        self._seconds[stage] += now - self._last
        self._cpu[stage] += cpu - self._last_cpu
        self._last, self._last_cpu = now, cpu


def run_ingest(supply: Supply, threads: int, scratch: Path | None, progress: Progress) -> IngestRun:
    """Put all events through the stages. Ctrl-C ends it after the table in hand, a second one at once: `complete` is
    false, the figures are of what was done.

    Raises `HeadwaterError` if not every event is admitted or counted as a repeat: a faster way is not to lose some.
    """
    with tempfile.TemporaryDirectory(prefix="headwater-bench-", dir=scratch) as temporary:
        place = Path(temporary)
        disk = measure_disk(place)
        kept: list[pl.DataFrame] = []
        config = supply.config
        stages = _Stages(_made(place / "stages"), config, threads)
        intervals: list[Interval] = []
        imported, imported_per_s = 0, 0.0
        after: Disk | None = None
        try:
            with Interruption() as interruption:
                for table in _watched(supply, kept, progress):
                    _put(stages, table, intervals, supply.events)
                    if interruption.asked:
                        break
            check_outcomes(stages.core, stages.events)
            if not interruption.asked:
                imported, imported_per_s = _import(kept, place / "import", config, threads)
                after = measure_disk(place)
        except KeyboardInterrupt:
            pass  # a second one, or one amid the import: `after` is still missing
        finally:
            stages.log.close()
        return _figures(
            stages,
            source=supply.name,
            threads=threads,
            disk_before=disk,
            disk_after=after,
            imported=imported,
            imported_per_s=imported_per_s,
            intervals=intervals,
            complete=after is not None,
        )


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _watched(supply: Supply, kept: list[pl.DataFrame], progress: Progress) -> Iterator[pl.DataFrame]:
    done = 0
    for table in supply.tables:
        if done < _IMPORTED:
            kept.append(table)
        yield table
        done += len(table)
        progress(done, supply.events)


def _put(stages: _Stages, table: pl.DataFrame, intervals: list[Interval], events: int) -> None:
    """One table; at the end of each twentieth of all events, an interval."""
    before = stages.events
    stages.put(table)
    if stages.events * _INTERVALS // events > before * _INTERVALS // events or stages.events == events:
        last = intervals[-1].events if intervals else 0
        intervals.append(_interval(stages, stages.events - last))


def _interval(stages: _Stages, events: int) -> Interval:
    return Interval(
        events=stages.events,
        per_s={stage: round(events / spent, 1) for stage, spent in stages.since_last().items() if spent},
        resident_mb=resident_mb(),
        state_mb=round(held_bytes(stages.core) / 1e6, 1),
        log_mb=round(stages.log.size_bytes() / 1e6, 1),
    )


def _import(kept: list[pl.DataFrame], place: Path, config: Config, threads: int) -> tuple[int, float]:
    """The engine's own import of the first events: how many, and events per second."""
    table = pl.concat(kept)
    with Engine.open(place, config=config, threads=threads, clock="log") as engine:
        report = engine.ingest(table, progress=False)
    if report.events != len(table):
        raise HeadwaterError(f"{len(table) - report.events} of {len(table)} rows were refused")
    return report.events, round(report.events_per_s, 1)


def _figures(
    stages: _Stages,
    *,
    source: str,
    threads: int,
    disk_before: Disk,
    disk_after: Disk | None,
    imported: int,
    imported_per_s: float,
    intervals: list[Interval],
    complete: bool,
) -> IngestRun:
    spent, events = stages.seconds, max(1, stages.events)
    whole = sum(spent.values())
    return IngestRun(
        source=source,
        events=stages.events,
        threads=threads,
        disk_before=disk_before,
        disk_after=disk_after,
        per_s={stage: round(stages.events / seconds, 1) if seconds else 0.0 for stage, seconds in spent.items()},
        cpu_us={stage: round(spent / events * 1e6, 3) for stage, spent in stages.cpu.items()},
        in_turn_per_s=round(stages.events / whole, 1) if whole else 0.0,
        imported=imported,
        imported_per_s=imported_per_s,
        append_mb_per_s=round(stages.frame_bytes / spent["append"] / 1e6, 1) if spent["append"] else 0.0,
        commits_per_s=round(stages.commits / spent["append"], 1) if spent["append"] else 0.0,
        bytes_per_event={
            "frames": round(stages.frame_bytes / events, 1),
            "log": round(intervals[-1].log_mb * 1e6 / intervals[-1].events, 1) if intervals else 0.0,
            "state": round(intervals[-1].state_mb * 1e6 / intervals[-1].events, 1) if intervals else 0.0,
        },
        intervals=intervals,
        outcomes=dict(stages.core.stats()["outcomes"]),
        complete=complete,
    )


INGEST_HEADINGS = (
    "stage",
    "events/s",
    "CPU, us an event",
    "share of the time",
    "first twentieth",
    "last twentieth",
    "beside",
)


def ingest_cells(run: IngestRun) -> list[tuple[str, ...]]:
    """Lines of a table with `INGEST_HEADINGS`."""
    whole = sum(run.events / rate for rate in run.per_s.values() if rate) or 1.0
    disk = run.disk_before
    beside = {
        "append": f"{run.append_mb_per_s:,.0f} MB/s, disk {disk.write_mb_per_s:,.0f}; "
        f"{run.commits_per_s:,.0f} commits/s, disk {disk.fsync_per_s:,.0f} syncs/s",
        "fold": f"{run.threads} threads",
    }
    lines = []
    for stage in STAGES:
        rate = run.per_s[stage]
        ends = [f"{run.intervals[i].per_s.get(stage, 0):,.0f}" if run.intervals else "" for i in (0, -1)]
        share = f"{run.events / rate / whole:.0%}" if rate else ""
        lines.append((stage, f"{rate:,.0f}", f"{run.cpu_us[stage]:.2f}", share, *ends, beside.get(stage, "")))
    whole_cpu = sum(run.cpu_us.values())
    lines.append(("all, one after the other", f"{run.in_turn_per_s:,.0f}", f"{whole_cpu:.2f}", "", "", "", ""))
    if run.imported:
        beside_import = f"{run.imported:,} events"
        lines.append(("import, overlapping", f"{run.imported_per_s:,.0f}", "", "", "", "", beside_import))
    return lines


def ingest_held(run: IngestRun) -> str:
    """What is held at the end, and bytes an event."""
    if not run.intervals:
        return "no interval was finished"
    last, per = run.intervals[-1], run.bytes_per_event
    return (
        f"log {last.log_mb:,.0f} MB, state {last.state_mb:,.0f} MB, resident {last.resident_mb:,.0f} MB; "
        f"bytes an event: {per['frames']:.0f} in frames, {per['log']:.0f} in the log, {per['state']:.0f} of state"
    )


def ingest_table(run: IngestRun) -> Table:
    """The figures for people."""
    from rich.table import Table

    partial = "" if run.complete else "; INTERRUPTED"
    table = Table(*INGEST_HEADINGS, title=f"{run.source}: {run.events:,} events{partial}")
    for cells in ingest_cells(run):
        table.add_row(*cells)
    table.caption = ingest_held(run)
    return table
