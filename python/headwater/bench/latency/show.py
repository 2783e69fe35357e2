"""Results for people at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.bench.latency.figures import AtRate, Comparison, LatencyRun, Requests
from headwater.bench.latency.percentiles import Latencies

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

_OTHER_WORK = 0.5

HEADINGS = ("rate", "what", "requests", "p50", "p90", "p99", "p99.9", "max, ms", "not answered")


def latency_tables(run: LatencyRun) -> Group:
    """One table with a line for each rate and verb, and what else is to be known."""
    from rich.console import Group

    parts: list[RenderableType] = [_main_table(run), *remarks(run)]
    if run.compared is not None:
        parts += [_comparison_table(run.compared), *run.compared.remarks]
    return Group(*parts)


def _main_table(run: LatencyRun) -> Table:
    from rich.table import Table

    table = Table(*HEADINGS, title=title(run))
    for at in run.rates:
        for row in rows(at):
            table.add_row(*row, style="dim" if ": " in row[1] else "")
        table.add_section()
    return table


def title(run: LatencyRun) -> str:
    """What was measured, where."""
    machine = run.machine
    shown = f"{run.target}: {machine['cores']} cores, {machine['cpu']}; {machine['fsync_per_s']:,} fsync/s"
    return shown if run.complete else f"{shown}; PARTIAL"


def rows(at: AtRate) -> list[tuple[str, ...]]:
    """Lines of a table with `HEADINGS`: the verbs, freshness, and the floors' verbs."""
    rate = f"{at.rate:g}"
    lines = [(rate, name, *_cells(requests)) for name, requests in at.target.verbs.items()]
    if at.freshness is not None:
        never = f"{at.freshness.never} never" if at.freshness.never else ""
        lines.append((rate, "freshness", *_times(at.freshness.latency), never))
    for floor, subject in at.floors.items():
        lines += [(rate, f"{floor}: {name}", *_cells(requests)) for name, requests in subject.verbs.items()]
    return lines


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


def remarks(run: LatencyRun) -> list[str]:
    """Sentences about each rate: load, CPU, memory, the generator, what is not given and why."""
    lines = [line for at in run.rates for line in _about(at)]
    load, cores = run.machine.get("load_1m", 0), run.machine["cores"]
    if load > _OTHER_WORK * cores:
        lines.insert(0, f"load average {load:g} on {cores} cores before the run: other work shares in every figure")
    if run.saturation is not None:
        found = run.saturation
        by = ": the generator gave out first, the target may do more" if found.by_generator else ""
        lines.append(f"saturation: keeps up with {found.rate:,.0f} requests/s{by}")
    if run.overload is not None:
        during, after = run.overload.during, run.overload.after
        lines.append(
            f"overload, {run.overload.factor:g} times that: {during.target.answered_per_s:,.0f} answers/s, "
            f"{_ends(during.target.all)}; half of it right afterwards: {_short(after.target.all.latency)}"
        )
    if not run.complete:
        lines.append(f"PARTIAL: {run.ended}")
    return lines


def _about(at: AtRate) -> list[str]:
    target, rate = at.target, f"{at.rate:g}/s"
    taken = ", ".join(f"{name} {cpu:.2f} cores, {at.memory_mb.get(name, 0):,.0f} MB" for name, cpu in at.cpu.items())
    queued = f", {target.generator.queued:.1%} found every worker busy" if target.generator.queued else ""
    lines = [
        f"{rate}: sent {target.sent_per_s:,.1f}/s, answered {target.answered_per_s:,.1f}/s; {taken}; "
        f"generator late {_short(target.generator.late)}{queued}"
    ]
    lines += [
        f"{rate}: p50 is {_ratio(verbs, 'p50')} of {floor}" for floor, verbs in at.ratio.items() if _ratio(verbs, "p50")
    ]
    if target.generator.bottleneck:
        lines.append(f"{rate}: the generator was the bottleneck: {target.generator.why}")
    withheld = [
        f"{name} of {verb} ({why})"
        for verb, requests in target.verbs.items()
        for name, why in list(requests.latency.refused.items())[:1]
    ]
    if withheld:
        lines.append(f"{rate}: not given from {'; '.join(withheld)} on")
    return lines + [f"{rate}: said: {message}" for message in dict.fromkeys(at.messages)]


def _ratio(verbs: dict[str, dict[str, float | None]], percentile: str) -> str:
    found = {verb: values.get(percentile) for verb, values in verbs.items()}
    return ", ".join(
        f"{value:,.0f} times ({verb})" if value >= 100 else f"{value:.3g} times ({verb})"
        for verb, value in found.items()
        if value is not None
    )


def _ends(requests: Requests) -> str:
    return _cells(requests)[-1] or "none failed"


def _short(latency: Latencies) -> str:
    shown = [f"{name} {value:.3f} ms" for name, value in latency.ms.items() if value is not None and name != "p90"]
    return ", ".join(shown) or "too few requests to say"


def _comparison_table(compared: Comparison) -> Table:
    from rich.table import Table

    table = Table(*COMPARED, title=f"now beside {compared.earlier}: above 1 is slower")
    for row in compared_rows(compared):
        table.add_row(*row)
    return table


COMPARED = ("rate", "what", "percentile", "earlier, ms", "now, ms", "ratio", "ratio beside the floors")


def compared_rows(compared: Comparison) -> list[tuple[str, ...]]:
    """Lines of a table with `COMPARED`."""
    return [
        (
            f"{change.rate:g}",
            change.verb,
            change.percentile,
            f"{change.earlier_ms:.3f}",
            f"{change.now_ms:.3f}",
            f"{change.ratio:.2f}",
            ", ".join(f"{floor} {ratio:.2f}" for floor, ratio in change.beside_floor.items()),
        )
        for change in compared.changes
    ]
