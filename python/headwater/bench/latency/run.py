"""`headwater bench latency`: load on a target at several rates, its floors in turns with it."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from headwater import measure
from headwater.bench.latency.figures import AtRate, LatencyRun, Overload, freshness_of, ratios, subject_of
from headwater.bench.latency.jobs import TARGET, Done, Job, Probe
from headwater.bench.latency.records import TurnRows
from headwater.bench.latency.resources import Watched
from headwater.bench.latency.saturation import Saturation, Tried, find_saturation, judged
from headwater.bench.latency.schedule import Arrivals, Schedule, Turn, schedule
from headwater.bench.latency.targets import Target
from headwater.errors import TargetFailed

_TURN_S = 5.0
_SHORT_TURN_S = 1.0
"""Beside floors: what else the machine does comes and goes within seconds, and shall meet all alike."""
_WARM_UP_S, _SETTLE_S = 2.0, 5.0
_SEARCH_S, _SEARCH_PATIENCE_S = 3.0, 1.0

Progress = Callable[[str], object]


class LoadSettings(msgspec.Struct, kw_only=True):
    """How much load, of what kind."""

    rates: list[float]
    mix: dict[str, float]
    duration_s: float = 20.0
    arrivals: Arrivals = "poisson"
    seed: int = 1
    floors: bool = True
    probes: float = 50.0
    patience_s: float = 5.0
    saturation: bool = False
    overload: float | None = None
    asking: dict[str, Any] = {}
    """What all requests have in common, to be shown and compared."""


def run_latency(target: Target, settings: LoadSettings, machine: dict[str, Any], progress: Progress) -> LatencyRun:
    """Measure at every rate. A target that ends meanwhile ends the run: what there is by then is marked as partial."""
    run = LatencyRun(
        target=target.name,
        machine=machine,
        facts=target.load.ready.facts,
        settings=msgspec.to_builtins(settings),
    )
    load = Load(target, settings)
    try:
        progress("warming up")
        load.warm_up()
        for rate in settings.rates:
            progress(f"{rate:g} requests/s")
            run.rates.append(load.at(rate))
        if settings.saturation or settings.overload:
            run.saturation = _saturation(load, settings, progress)
            half = round(run.saturation.rate / 2, 1)
            if half and half not in settings.rates:
                progress(f"half of saturation: {half:g} requests/s")
                load.settle(half)
                run.rates.append(load.at(half))
            if settings.overload and half:
                progress(f"overload: {settings.overload:g} x {run.saturation.rate:g} requests/s")
                during = load.at(settings.overload * run.saturation.rate, alone=True)
                run.overload = Overload(
                    factor=settings.overload, during=during, after=load.at(half, alone=True, seconds=_SEARCH_S)
                )
    except TargetFailed as err:
        run.complete, run.ended = False, err.message
        if load.partial is not None:
            run.rates.append(load.partial)
    run.rates.sort(key=lambda at: at.rate)
    return run


def _saturation(load: Load, settings: LoadSettings, progress: Progress) -> Saturation:
    def turn_at(rate: float) -> Tried:
        progress(f"looking for saturation: {rate:,.0f} requests/s")
        return load.tried(rate)

    return find_saturation(settings.rates[-1], turn_at, _SEARCH_S)


class Load:
    """Turns of load on one target and its floors. What its methods raise, beside `InvalidInput` for a rate beyond all
    bounds, is `TargetFailed`, and `partial` holds what there was of the rate by then."""

    def __init__(self, target: Target, settings: LoadSettings) -> None:
        self._target = target
        self._settings = settings
        self._turns = 0
        self._apart = target.load.ready.generator_apart
        self.partial: AtRate | None = None

    def warm_up(self) -> None:
        """Load that does not count: caches, connections, first-time imports."""
        for subject in (TARGET, *self._floors()):
            self._turn(self._settings.rates[0], min(_WARM_UP_S, self._settings.duration_s / 4), subject)

    def settle(self, rate: float) -> None:
        """Load that does not count, after more than the target could take: it still writes what it put off."""
        self._turn(rate, _SETTLE_S, TARGET)

    def tried(self, rate: float) -> Tried:
        """A short turn of the target alone, to see whether it keeps up."""
        rows, _ = self._turn(rate, _SEARCH_S, TARGET, patience_s=_SEARCH_PATIENCE_S)
        return judged(rate, rows, subject_of([rows], self._apart).generator.bottleneck)

    def at(self, rate: float, *, alone: bool = False, seconds: float | None = None) -> AtRate:
        """One rate: target, floor, target, floor ... until each had its time. `alone`: without floors and probes."""
        settings = self._settings
        whole = seconds or settings.duration_s
        floors = [] if alone else self._floors()
        turns = max(1, round(whole / (_SHORT_TURN_S if floors else _TURN_S)))
        under_way = _UnderWay(rate, whole)
        try:
            for _ in range(turns):
                with Watched(self._target.processes()) as watched:
                    rows, done = self._turn(rate, whole / turns, TARGET, 0.0 if alone else settings.probes)
                under_way.add(rows, done, watched)
                for floor in floors:
                    under_way.floors.setdefault(floor, []).append(self._turn(rate, whole / turns, floor)[0])
        except _Ended as err:
            if err.subject == TARGET:
                under_way.rows.append(err.rows)
            self.partial = under_way.figures(self._apart, partial=True)
            raise
        at = under_way.figures(self._apart)
        if not at.target.all.answered:
            self.partial = at
            at.partial = True
            raise TargetFailed(f"not one answer at {rate:g} requests/s: {'; '.join(at.messages[:1]) or 'silence'}")
        return at

    def _floors(self) -> list[str]:
        return self._target.load.ready.floors if self._settings.floors else []

    def _turn(
        self, rate: float, seconds: float, subject: str, probes: float = 0.0, patience_s: float | None = None
    ) -> tuple[TurnRows, Done]:
        """One turn. Raises `_Ended`, with the rows so far, if the target ends during it."""
        settings = self._settings
        self._turns += 1
        seed = settings.seed * 10_000 + self._turns  # each turn has requests of its own
        turn = Turn(rate=rate, seconds=seconds, seed=seed, mix=settings.mix, arrivals=settings.arrivals)
        job = Job(turn=turn, subject=subject, probes=probes, patience_s=patience_s or settings.patience_s)
        plan = schedule(turn)
        try:
            done = self._target.load.run(job)
        except TargetFailed as err:
            rows = self._target.load.records.take(len(plan))
            raise _Ended(err, subject, _cut_off(plan, rows)) from err
        rows = self._target.load.records.take(len(plan))
        return TurnRows(done.started, done.ended, seconds, done.cpu_s, plan.due_ns, plan.verb, rows), done


class _Ended(TargetFailed):
    """The target ended during a turn, of which these rows are known."""

    def __init__(self, cause: TargetFailed, subject: str, rows: TurnRows) -> None:
        super().__init__(cause.message, **cause.details)
        self.subject = subject
        self.rows = rows


def _cut_off(plan: Schedule, rows: NDArray[Any]) -> TurnRows:
    """Rows of a turn that was cut off: what was due by then and has no answer stays in, what was not due does not."""
    sent = rows["sent"] > 0
    started = ended = 0
    if sent.any():
        started = int((rows["sent"] - plan.due_ns)[sent].min())
        ended = int(max(rows["sent"].max(), rows["ended"].max()))
    due = plan.due_ns + started <= ended
    seconds = (ended - started) / 1e9
    return TurnRows(started, ended, seconds, 0.0, plan.due_ns[due], plan.verb[due], rows[due])


class _UnderWay:
    """What is known of one rate, turn by turn."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._rate = rate
        self._seconds = seconds
        self.rows: list[TurnRows] = []
        self.floors: dict[str, list[TurnRows]] = {}
        self._probes: list[Probe] = []
        self._messages: list[str] = []
        self._cpu: Counter[str] = Counter()
        self._memory: dict[str, float] = {}

    def add(self, rows: TurnRows, done: Done, watched: Watched) -> None:
        """A turn of the target."""
        self.rows.append(rows)
        self._probes += done.probes
        self._messages += done.error_messages
        self._cpu.update(watched.cpu)
        self._memory |= {name: max(mb, self._memory.get(name, 0.0)) for name, mb in watched.memory_mb.items()}

    def figures(self, apart: bool, *, partial: bool = False) -> AtRate:
        """All of it."""
        target = subject_of(self.rows, apart)
        floors = {floor: subject_of(rows, apart) for floor, rows in self.floors.items()}
        spans = sum(rows.span_s for rows in self.rows) or 1.0
        return AtRate(
            rate=self._rate,
            seconds=self._seconds,
            target=target,
            floors=floors,
            ratio=ratios(target, floors),
            freshness=freshness_of(self._probes),
            cpu={name: round(seconds / spans, 3) for name, seconds in self._cpu.items()},
            memory_mb=self._memory,
            messages=self._messages[:5],
            partial=partial,
        )


def machine_of(scratch: Path | None) -> dict[str, Any]:
    """The machine, what the disk can do where copies lie, and how much other work there is (load average)."""
    return measure.machine_floor(scratch or Path(tempfile.gettempdir())) | {"load_1m": round(os.getloadavg()[0], 2)}
