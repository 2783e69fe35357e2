"""Results for people at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.bench.latency.figures import AtRate, LatencyRun, Requests, Subject
from headwater.bench.latency.percentiles import Latencies

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def latency_tables(run: LatencyRun) -> Group:
    """One table with a line for each rate and verb, and what else is to be known."""
    from rich.console import Group

    return Group(_main_table(run), *_remarks(run))


def _main_table(run: LatencyRun) -> Table:
    from rich.table import Table

    machine = run.machine
    title = f"{run.target}: {machine['cores']} cores, {machine['cpu']}; {machine['fsync_per_s']:,} fsync/s"
    if not run.complete:
        title += "; PARTIAL"
    table = Table("rate", "what", "requests", "p50", "p90", "p99", "p99.9", "max, ms", "not answered", title=title)
    for at in run.rates:
        for name, requests in at.target.verbs.items():
            table.add_row(f"{at.rate:g}", name, *_cells(requests))
        if at.freshness is not None:
            fresh = at.freshness
            table.add_row(
                f"{at.rate:g}", "freshness", *_times(fresh.latency), f"{fresh.never} never" * bool(fresh.never)
            )
        for floor, subject in at.floors.items():
            for name, requests in subject.verbs.items():
                table.add_row(f"{at.rate:g}", f"{floor}: {name}", *_cells(requests), style="dim")
        table.add_section()
    return table


def _cells(requests: Requests) -> tuple[str, ...]:
    ends = {
        "degraded": requests.degraded,
        "refused": requests.refused,
        "errors": requests.errors,
        "given up": requests.timed_out,
        "unanswered": requests.unanswered,
    }
    return *_times(requests.latency), ", ".join(f"{count:,} {name}" for name, count in ends.items() if count)


def _times(found: Latencies) -> tuple[str, ...]:
    times = ("-" if value is None else f"{value:.3f}" for value in (*found.ms.values(), found.max_ms))
    return f"{found.count:,}", *times


def _remarks(run: LatencyRun) -> list[str]:
    lines = []
    for at in run.rates:
        target = at.target
        cpu = ", ".join(
            f"{name} {share:.2f} cores, {at.memory_mb.get(name, 0):,.0f} MB" for name, share in at.cpu.items()
        )
        lines.append(
            f"{at.rate:g}/s: sent {target.sent_per_s:,.1f}/s, answered {target.answered_per_s:,.1f}/s; {cpu}; "
            f"generator late {_late(target)}, {target.generator.queued:.1%} found every worker busy"
        )
        lines += _warnings(at)
    return lines


def _late(subject: Subject) -> str:
    late = subject.generator.late.ms
    return ", ".join(f"{name} {value:.3f} ms" for name, value in late.items() if value is not None and name != "p90")


def _warnings(at: AtRate) -> list[str]:
    found = []
    if at.target.generator.bottleneck:
        found.append(f"  the generator was the bottleneck: {at.target.generator.why}")
    refused = dict.fromkeys(
        f"  {name} of {verb} is not given: {why}"
        for verb, requests in at.target.verbs.items()
        for name, why in requests.latency.refused.items()
    )
    found += refused
    found += [f"  said: {message}" for message in dict.fromkeys(at.messages)]
    if at.partial:
        found.append("  PARTIAL: the target ended during this rate")
    return found
