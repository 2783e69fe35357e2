"""`headwater bench latency`: load on a target at several rates, its floors in turns with it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headwater import measure
from headwater.bench.latency.figures import AtRate, LatencyRun, TurnRows, freshness_of, ratios, subject_of
from headwater.bench.latency.jobs import TARGET, Done, Job, Probe
from headwater.bench.latency.resources import Watched
from headwater.bench.latency.schedule import Arrivals, Turn, schedule
from headwater.bench.latency.targets import Target
from headwater.errors import TargetFailed

_TURN_S = 5.0
_WARM_UP_S = 2.0

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
            if run.rates[-1].partial:
                break
    except TargetFailed as err:
        load.failure = err
    if load.failure is not None:
        run.complete, run.ended = False, load.failure.message
    return run


class Load:
    """Turns of load on one target and its floors."""

    def __init__(self, target: Target, settings: LoadSettings) -> None:
        self._target = target
        self._settings = settings
        self.failure: TargetFailed | None = None
        """Why the target can be measured no further."""
        self._turns = 0

    def warm_up(self) -> None:
        """Load that does not count: caches, connections, first-time imports."""
        rate = self._settings.rates[0]
        for subject in (TARGET, *self._floors()):
            self._turn(rate, min(_WARM_UP_S, self._settings.duration_s), subject)
            if self.failure is not None:
                raise self.failure

    def at(self, rate: float) -> AtRate:
        """One rate: target, floor, target, floor ... until each had its time."""
        settings = self._settings
        turns = max(1, round(settings.duration_s / _TURN_S))
        seconds = settings.duration_s / turns
        rows: dict[str, list[TurnRows]] = {}
        probes: list[Probe] = []
        messages: list[str] = []
        cpu: dict[str, float] = {}
        memory: dict[str, float] = {}
        for _ in range(turns):
            with Watched(self._target.processes()) as watched:
                turn, done = self._turn(rate, seconds, TARGET, settings.probes)
            rows.setdefault(TARGET, []).append(turn)
            for process, used in watched.cpu.items():
                cpu[process] = cpu.get(process, 0.0) + used / settings.duration_s
            memory |= {p: max(mb, memory.get(p, 0.0)) for p, mb in watched.memory_mb.items()}
            if done is None:
                break
            probes += done.probes
            messages += done.error_messages
            for floor in self._floors():
                rows.setdefault(floor, []).append(self._turn(rate, seconds, floor)[0])
            if self.failure is not None:
                break
        apart = self._target.load.ready.generator_apart
        target = subject_of(rows.pop(TARGET), apart)
        if not target.all.answered and self.failure is None:
            self.failure = TargetFailed(
                f"not one answer at {rate:g} requests/s; {'; '.join(messages[:1]) or 'silence'}"
            )
        floors = {floor: subject_of(turns_of, apart) for floor, turns_of in rows.items()}
        return AtRate(
            rate=rate,
            seconds=settings.duration_s,
            target=target,
            floors=floors,
            ratio=ratios(target, floors),
            freshness=freshness_of(probes),
            cpu={process: round(share, 3) for process, share in cpu.items()},
            memory_mb=memory,
            messages=messages[:5],
            partial=self.failure is not None,
        )

    def _floors(self) -> list[str]:
        return self._target.load.ready.floors if self._settings.floors else []

    def _turn(self, rate: float, seconds: float, subject: str, probes: float = 0.0) -> tuple[TurnRows, Done | None]:
        """Rows of one turn. If the target ends during it, the rows so far, and `failure` says so."""
        settings = self._settings
        self._turns += 1
        # Each turn has its own requests; those of target and floor are drawn alike.
        turn = Turn(
            rate=rate,
            seconds=seconds,
            seed=settings.seed * 1000 + self._turns,
            mix=settings.mix,
            arrivals=settings.arrivals,
        )
        plan = schedule(turn)
        job = Job(turn=turn, subject=subject, probes=probes, patience_s=settings.patience_s)
        done: Done | None = None
        try:
            done = self._target.load.run(job)
        except TargetFailed as err:
            self.failure = err
        rows = self._target.load.records.take(len(plan))
        if done is not None:
            return TurnRows(done.started, done.ended, seconds, done.cpu_s, plan.due_ns, plan.verb, rows), done
        # What was due before the end and has no answer counts as unanswered; what was not due yet does not.
        sent = rows["sent"] > 0
        started = int((rows["sent"] - plan.due_ns)[sent].min()) if sent.any() else 0
        ended = int(max(rows["sent"].max(), rows["ended"].max())) if sent.any() else 0
        due = plan.due_ns + started <= ended
        return (
            TurnRows(
                started,
                ended,
                (ended - started) / 1e9,
                0.0,
                plan.due_ns[due],
                plan.verb[due],
                rows[due],
                partial=True,
            ),
            None,
        )


def machine_of(scratch: Path | None) -> dict[str, Any]:
    """The machine, and what the disk can do where copies lie."""
    return measure.machine_floor(scratch or Path(tempfile.gettempdir()))
