"""Evaluations for people: tables on a terminal, and one HTML file with its plots inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headwater.evaluate.outcomes import ReplayReport, Segment
from headwater.evaluate.run import Replayed, Table
from headwater.report_page import (
    Html,
    Section,
    Series,
    bar_chart,
    bullets,
    code,
    line_chart,
    page,
    scatter_chart,
    table,
)

if TYPE_CHECKING:
    from rich.console import Group as Shown

_BEYOND = ("coverage", "gini", "novelty", "diversity", "serendipity", "miscalibration")


def report_page(result: Table | Replayed, command: str) -> str:
    """The report as a page, with the command that made it."""
    return accuracy_page(result, command) if isinstance(result, Table) else replay_page(result, command)


def accuracy_table(result: Table) -> Shown:
    """One row a source."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    headings, rows = _accuracy(result)
    grid = Grid(*headings, title=result.protocol)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    return Group(grid, Text("\n".join([_facts(result.facts), *result.notes])))


def accuracy_page(result: Table, command: str) -> str:
    """A published protocol as a page."""
    headings, rows = _accuracy(result)
    metrics = [f"{metric}@{result.k}" for metric in ("hr", "mrr", "ndcg")]
    bars = {metric: [row[metric] for row in result.rows.values()] for metric in metrics}
    return page(
        f"Evaluation: {result.protocol}",
        [
            Section(
                "Accuracy", [table(headings, rows), bar_chart(list(result.rows), bars, title="accuracy by source")]
            ),
            Section("How", [_facts(result.facts), bullets(result.notes), code(command)]),
        ],
        lead="The whole catalogue is ranked; misses are zeros.",
    )


def _accuracy(result: Table) -> tuple[list[str], list[list[str]]]:
    first = next(iter(result.rows.values()))
    metrics = [key for key, value in first.items() if isinstance(value, float)]
    rows = []
    for source, row in result.rows.items():
        times = row["query_us"]
        counts = [f"{row[key]:,}" for key in ("evaluations", "skipped", "cold")]
        p90 = "-" if times is None else f"{times['p90']:,.0f}"
        rows.append([source, *(f"{row[metric]:.4f}" for metric in metrics), *counts, p90])
    return ["source", *metrics, "evaluations", "skipped", "cold", "p90 us"], rows


def _facts(facts: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in facts.items())


def replay_table(result: Replayed) -> Shown:
    """Overall figures, differences and the main segments."""
    from rich.console import Group
    from rich.table import Table as Grid
    from rich.text import Text

    def grid(title: str, headings: list[str], rows: list[list[str]]) -> Grid:
        shown = Grid(*headings, title=title)
        for row in rows:
            shown.add_row(*(Text(cell) for cell in row))
        return shown

    report = result.report
    parts: list[Any] = [grid(f"prequential, {report.targets:,} targets, {report.cold:,} cold", *_overall(report))]
    if report.differences:
        parts.append(grid(f"{result.contenders[0]} minus ... (95 % intervals over users)", *_differences(report)))
    parts += [grid(f"HR@{report.k} by {title}", *_segment(title, s)) for title, s in report.segments.items()]
    return Group(*parts, Text("\n".join([_facts(result.facts), *result.notes])))


def replay_page(result: Replayed, command: str) -> str:
    """A replay as a page: overall, over time, by segment, trade-offs."""
    report = result.report
    starts = [period.start for period in report.over_time]
    over_time = [
        Series(name, starts, [period.figures[name]["hr"] for period in report.over_time]) for name in result.contenders
    ]
    sections = [
        Section("Overall", [table(*_overall(report)), _trade_offs(result)]),
        Section("Over time", [line_chart(over_time, title=f"HR@{report.k} of equal numbers of targets", times=True)]),
    ]
    if report.differences:
        words = f"{result.contenders[0]} minus each other one, per target; intervals of 95 %, bootstrapped over users."
        sections.insert(1, Section("Differences", [words, table(*_differences(report))]))
    for title, segments in report.segments.items():
        bars = {name: [s.figures[name]["hr"] for s in segments.values()] for name in result.contenders}
        chart = bar_chart(list(segments), bars, title=f"HR@{report.k} by {title}")
        sections.append(Section(f"By {title}", [table(*_segment(title, segments)), chart]))
    sections.append(Section("How", [_facts(result.facts), bullets(result.notes), code(command)]))
    lead = (
        f"{report.targets:,} targets in {report.groups:,} groups, each predicted by the state before it, then folded."
    )
    return page("Evaluation: prequential replay", sections, lead=lead)


def _trade_offs(result: Replayed) -> Html:
    """Accuracy against coverage, and against novelty where it could be measured."""
    report = result.report
    hr = [report.overall[name]["hr"] for name in result.contenders]
    charts = []
    for measure in ("coverage", "novelty"):
        values = [report.overall[name][measure] for name in result.contenders]
        if None not in values:
            points = Series("contenders", values, hr, labels=result.contenders)
            y_label = f"HR@{report.k}"
            charts.append(scatter_chart([points], title=f"accuracy and {measure}", x_label=measure, y_label=y_label))
    return Html("".join(charts))


def _overall(report: ReplayReport) -> tuple[list[str], list[list[str]]]:
    metrics = ("hr", "mrr", "ndcg", "recall", "precision", *_BEYOND)
    headings = ["contender", *metrics, "p50 us", "p90 us", "p99 us"]
    rows = []
    for name, figures in report.overall.items():
        times = figures["query_us"] or {}
        shown = ["-" if figures[metric] is None else f"{figures[metric]:.4f}" for metric in metrics]
        rows.append([name, *shown, *(f"{times[p]:,.0f}" if times else "-" for p in ("p50", "p90", "p99"))])
    return headings, rows


def _differences(report: ReplayReport) -> tuple[list[str], list[list[str]]]:
    rows = [
        [name, metric, f"{d['mean']:+.4f}", f"{d['low']:+.4f} to {d['high']:+.4f}", d["verdict"]]
        for name, metrics in report.differences.items()
        for metric, d in metrics.items()
    ]
    return ["other", "metric", "difference", "interval", "first is"], rows


def _segment(title: str, segments: Mapping[str, Segment]) -> tuple[list[str], list[list[str]]]:
    names = list(next(iter(segments.values())).figures)
    rows = [
        [name, f"{segment.targets:,}", *(f"{segment.figures[c]['hr']:.4f}" for c in names)]
        for name, segment in segments.items()
    ]
    return [title, "targets", *names], rows
