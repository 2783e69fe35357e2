"""What was measured, as the command prints it and as `--compare` reads it again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.bench.latency.jobs import Probe
from headwater.bench.latency.percentiles import Latencies, latencies
from headwater.bench.latency.records import DEGRADED, ERROR, NOT_SENT, REFUSED, TIMED_OUT, TurnRows, succeeded
from headwater.bench.latency.saturation import Saturation
from headwater.bench.latency.schedule import VERBS

_LATE_SHARE_MEDIAN, _LATE_SHARE_P99, _CPU_SHARE = 0.25, 0.5, 0.9
"""The generator was the bottleneck if its own lateness is more than these shares of a verb's latency, or its one thread
was busy for more than this share of the time."""


class Requests(msgspec.Struct, kw_only=True):
    """Requests of one verb, or of all: how they ended, and how long they took from when they were due."""

    latency: Latencies
    answered: int
    degraded: int
    refused: int
    errors: int
    timed_out: int
    unanswered: int
    """Sent, or due and not sent, when the target or the generator ended."""


class Generator(msgspec.Struct, kw_only=True):
    """How well the generator kept to the schedule. `late`: from when a request was due, or the worker became free, to
    when it was sent; most of a floor that does nothing is that. `queued`: share of the requests that found no free
    worker when they were due. `bottleneck`: the lateness is a large part of the latency, and `why` says how large."""

    late: Latencies
    queued: float
    cpu_share: float
    bottleneck: bool
    why: str


class Freshness(msgspec.Struct, kw_only=True):
    """From the acknowledgement of a write to the first answer to someone else that knows it; `answers`: asked for, a
    probe. `never`: probes that no answer knew; they count as failed."""

    latency: Latencies
    never: int
    answers: float


class Subject(msgspec.Struct, kw_only=True):
    """The target, or a floor, at one rate."""

    sent_per_s: float
    answered_per_s: float
    all: Requests
    verbs: dict[str, Requests]
    generator: Generator


class AtRate(msgspec.Struct, kw_only=True):
    """One rate: the target and its floors, measured in turns.

    `ratio`: the target's percentile over a floor's, by floor, verb and percentile. `cpu`: shares of one core by process
    while the target was measured, `memory_mb` resident at most. `partial`: the target ended during it.
    """

    rate: float
    seconds: float
    target: Subject
    floors: dict[str, Subject] = {}
    ratio: dict[str, dict[str, dict[str, float | None]]] = {}
    freshness: Freshness | None = None
    cpu: dict[str, float] = {}
    memory_mb: dict[str, float] = {}
    messages: list[str] = []
    partial: bool = False


class Overload(msgspec.Struct, kw_only=True):
    """Beyond saturation, and after it: `factor` times the highest rate that was kept up with, then half of that."""

    factor: float
    during: AtRate
    after: AtRate


class Change(msgspec.Struct, kw_only=True):
    """One percentile of one verb at one rate. `ratio`: now over earlier, above 1 is slower. `beside_floor`: the same of
    the ratios to each floor, which a machine that is slower as a whole leaves as they are."""

    rate: float
    verb: str
    percentile: str
    earlier_ms: float
    now_ms: float
    ratio: float
    beside_floor: dict[str, float]


class Comparison(msgspec.Struct, kw_only=True):
    """Changes since an earlier run, and what to keep in mind when reading them."""

    earlier: str
    changes: list[Change]
    remarks: list[str]


class LatencyRun(msgspec.Struct, kw_only=True):
    """One run of `headwater bench latency`. `complete` is false if it ended early; `ended` says why."""

    format: Literal[1] = 1
    target: str
    machine: dict[str, Any]
    facts: dict[str, Any]
    settings: dict[str, Any]
    rates: list[AtRate] = []
    saturation: Saturation | None = None
    overload: Overload | None = None
    complete: bool = True
    ended: str = ""
    compared: Comparison | None = None


def subject_of(turns: Sequence[TurnRows], generator_apart: bool) -> Subject:
    """The figures of a subject's turns at one rate. `generator_apart`: the load process's CPU is the generator's
    alone."""
    due, verb, rows = (np.concatenate(parts) for parts in zip(*(_absolute(turn) for turn in turns), strict=True))
    spans = sum(turn.span_s for turn in turns) or 1.0
    sent, answered = int(np.sum(rows["sent"] > 0)), int(np.sum(succeeded(rows)))
    everything = requests_of(due, rows)
    verbs = {name: requests_of(due[verb == i], rows[verb == i]) for i, name in enumerate(VERBS) if np.any(verb == i)}
    cpu = sum(turn.cpu_s for turn in turns) / spans
    return Subject(
        sent_per_s=round(sent / spans, 2),
        answered_per_s=round(answered / spans, 2),
        all=everything,
        verbs=verbs,
        generator=_generator(due, rows, verbs, cpu, generator_apart),
    )


def _absolute(turn: TurnRows) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[Any]]:
    return turn.due_ns + turn.started, turn.verb, turn.rows


def requests_of(due: NDArray[np.int64], rows: NDArray[Any]) -> Requests:
    """How requests ended; `due` in monotonic ns."""
    counts = np.bincount(rows["outcome"], minlength=TIMED_OUT + 1).tolist()
    answered = succeeded(rows)
    took = rows["ended"][answered] - due[answered]
    return Requests(
        latency=latencies(took.tolist(), int(len(rows) - len(took))),
        answered=len(took),
        degraded=counts[DEGRADED],
        refused=counts[REFUSED],
        errors=counts[ERROR],
        timed_out=counts[TIMED_OUT],
        unanswered=counts[NOT_SENT],
    )


def _generator(
    due: NDArray[np.int64], rows: NDArray[Any], verbs: dict[str, Requests], cpu: float, apart: bool
) -> Generator:
    sent = rows["sent"] > 0
    late = np.maximum(rows["sent"] - np.maximum(due, rows["free"]), 0)[sent]
    own = latencies(late.tolist())
    why = [
        f"its own lateness is {mine:.3f} ms of a {name} of {whole:.3f} ms ({verb})"
        for verb, requests in verbs.items()
        for name, share in (("p50", _LATE_SHARE_MEDIAN), ("p99", _LATE_SHARE_P99))
        if (mine := own.ms[name]) is not None
        and (whole := requests.latency.ms[name]) is not None
        and mine > share * whole
    ]
    if apart and cpu > _CPU_SHARE:
        why.append(f"it was busy for {cpu:.0%} of the time")
    queued = float(np.mean(rows["free"][sent] > due[sent])) if sent.any() else 0.0
    return Generator(
        late=own,
        queued=round(queued, 4),
        cpu_share=round(cpu, 3),
        bottleneck=bool(why),
        why="; ".join(why),
    )


def freshness_of(probes: Sequence[Probe]) -> Freshness | None:
    """Freshness of the probes of all turns; None without any."""
    if not probes:
        return None
    seen = [probe.visible - probe.acknowledged for probe in probes if probe.visible]
    never = len(probes) - len(seen)
    answers = sum(probe.answers for probe in probes) / len(probes)
    return Freshness(latency=latencies(seen, never), never=never, answers=round(answers, 2))


def ratios(target: Subject, floors: dict[str, Subject]) -> dict[str, dict[str, dict[str, float | None]]]:
    """The target's percentiles over those of each floor, verb by verb; None where either is not given."""

    def over(mine: Latencies, floor: Latencies) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for name, value in mine.ms.items():
            low = floor.ms[name]
            found[name] = None if value is None or not low else round(value / low, 3)
        return found

    return {
        floor: {
            verb: over(requests.latency, subject.verbs[verb].latency)
            for verb, requests in target.verbs.items()
            if verb in subject.verbs
        }
        for floor, subject in floors.items()
    }
