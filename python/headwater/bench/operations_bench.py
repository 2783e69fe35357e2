"""`headwater bench operations`: what a shop's owner does with a whole log, while the engine answers questions.

One engine in this process, a log of Zipf's law, and a thread that asks for slates at a fixed rate whether or not
earlier ones were answered; a latency runs from when a question was due.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headwater import Engine
from headwater.backup import restore
from headwater.bench.event_supply import zipf_supply
from headwater.config import Config, default_config
from headwater.events.types import Feedback
from headwater.progress import ignore_progress

if TYPE_CHECKING:
    from rich.table import Table

_ADDED = 1000
"""Events that come between the first backup and the second."""
_CALM_S = 3.0

Progress = Callable[[str], object]


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: wall and CPU seconds of the whole process, and the questions that were due in it, also those that
    were answered later."""

    what: str
    seconds: float
    cpu_seconds: float
    questions: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class OperationsRun(msgspec.Struct, frozen=True, kw_only=True):
    """What `headwater bench operations` measures. `sought`: seconds that an operation may take, by its name."""

    events: int
    users: int
    items: int
    rate: float
    log_mb: float
    operations: list[Operation]
    sought: dict[str, float]


class Asker:
    """Asks at a rate from a thread; latencies with the times when they were due."""

    def __init__(self, engine: Engine, users: list[str], rate: float) -> None:
        self._engine, self._users, self._rate = engine, users, rate
        self._ending = threading.Event()
        self._end = math.inf
        self._told: list[tuple[float, float]] = []

    def _ask(self) -> None:
        start, asked = time.perf_counter(), 0
        while True:
            due = start + asked / self._rate
            self._ending.wait(max(0.0, due - time.perf_counter()))
            if due >= self._end:
                return
            self._engine.recommend(self._users[asked % len(self._users)], 10)
            self._told.append((due, time.perf_counter() - due))
            asked += 1

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask meanwhile, and at the end what was due until then. Raises whatever a question raised."""
        with ThreadPoolExecutor(1, "asker") as pool:
            questions = pool.submit(self._ask)
            try:
                yield
            finally:
                self._end = time.perf_counter()
                self._ending.set()
            questions.result()

    def between(self, since: float, until: float) -> list[float]:
        """Latencies in ms of the questions that were due in this time, once asking has ended."""
        return [1000 * latency for due, latency in self._told if since <= due < until]


class _Timed(NamedTuple):
    """When an operation began and ended, and the CPU seconds of the process meanwhile."""

    what: str
    since: float
    until: float
    cpu_seconds: float


def run_operations(
    events: int, items: int, rate: float, scratch: Path | None = None, says: Progress = lambda what: None
) -> OperationsRun:
    """Back up, back up what came since, restore, and erase the busiest user of a log of so many events.

    Raises what a question raises that fails meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix="headwater-bench-", dir=scratch) as place:
        directory = Path(place) / "shop"
        says("a log to work on")
        with Engine.open(directory, config=_config()) as engine:
            known: dict[str, int] = {}
            for table in zipf_supply(events, items).tables:
                engine.ingest(table, progress=False)
                for user, count in table["user"].value_counts().rows():
                    known[user] = known.get(user, 0) + count
            busiest = max(known, key=lambda user: (known[user], user))
            users = [user for user in list(known)[:5000] if user != busiest]
            asker = Asker(engine, users, rate)
            with asker.asking():
                done = list(_operations(engine, Path(place), busiest, says))
            return OperationsRun(
                events=events,
                users=len(known),
                items=items,
                rate=rate,
                log_mb=engine.status()["log_bytes"] / 1e6,
                operations=[_operation(timed, asker.between(timed.since, timed.until)) for timed in done],
                sought={"erase": 10.0, "backup": 5.0} if events == 1_000_000 else {},
            )


def _config() -> Config:
    config = default_config("shop")
    # Snapshots belong to the operations here, not to the middle of them; questions are asked at the log's time.
    engine = msgspec.structs.replace(config.engine, snapshot_every_events=0, clock="log", record_slates=False)
    return msgspec.structs.replace(config, engine=engine)


def _operations(engine: Engine, place: Path, erased: str, says: Progress) -> Iterator[_Timed]:
    def timed(what: str, call: Callable[[], object]) -> _Timed:
        says(what)
        since, cpu = time.perf_counter(), time.process_time()
        call()
        return _Timed(what, since, time.perf_counter(), time.process_time() - cpu)

    yield timed("nothing else", lambda: time.sleep(_CALM_S))
    yield timed("snapshot", engine.snapshot)
    yield timed("backup", lambda: engine.backup(place / "backup"))
    now = engine.now()
    engine.track_many([Feedback("view", f"visitor-{n}", f"item-{n % 97}", now + n) for n in range(_ADDED)])
    yield timed("backup of what came since", lambda: engine.backup(place / "backup"))
    yield timed("restore", lambda: restore(place / "backup", place / "restored", None, ignore_progress))
    yield timed("erase", lambda: engine.erase(erased))


def _operation(timed: _Timed, told: list[float]) -> Operation:
    cuts = statistics.quantiles(told, n=100, method="inclusive") if len(told) > 1 else [None] * 99
    return Operation(
        what=timed.what,
        seconds=timed.until - timed.since,
        cpu_seconds=timed.cpu_seconds,
        questions=len(told),
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        max_ms=max(told, default=None),
    )


def operations_table(run: OperationsRun) -> Table:
    """The figures for people."""
    from rich.table import Table

    table = Table(*HEADINGS, title=f"{run.events:,} events of {run.users:,} users, {run.rate:g} questions/s meanwhile")
    for cells in operations_cells(run):
        table.add_row(*cells)
    return table


HEADINGS = ("operation", "s", "CPU, s", "sought, s", "questions", "p50, ms", "p99, ms", "max, ms")


def operations_cells(run: OperationsRun) -> list[tuple[str, ...]]:
    """The table's rows as text."""

    def shown(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        (
            done.what,
            f"{done.seconds:.2f}",
            f"{done.cpu_seconds:.2f}",
            shown(run.sought.get(done.what), "g"),
            str(done.questions),
            *(shown(value, ".2f") for value in (done.p50_ms, done.p99_ms, done.max_ms)),
        )
        for done in run.operations
    ]
