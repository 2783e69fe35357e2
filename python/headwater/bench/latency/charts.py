"""Latency over rate: as a page to read, and as a picture for a document."""

from __future__ import annotations

from pathlib import Path

from headwater.bench.latency.figures import LatencyRun, Subject
from headwater.bench.latency.show import COMPARED, HEADINGS, compared_rows, remarks, rows, title
from headwater.bench.report import pyplot, save_figure
from headwater.report_page import Section, Series, bullets, line_chart, page, table

_PERCENTILES = ("p50", "p90", "p99", "p99.9")


def latency_page(run: LatencyRun) -> str:
    """The whole run as one HTML file: a chart for each verb, the table, the remarks, the comparison."""
    charts = [
        line_chart(
            [Series(name, x, y) for name, (x, y) in lines.items()],
            title=verb,
            x_label="requests/s in all",
            y_label="ms from due time",
            log_y=True,
        )
        for verb, lines in _lines(run).items()
    ]
    sections = [
        Section("Latency over rate", charts),
        Section("Figures", [table(HEADINGS, [row for at in run.rates for row in rows(at)], text=(1, 8))]),
        Section("To be kept in mind", [bullets(remarks(run))]),
    ]
    if run.compared is not None:
        sections.append(
            Section(
                f"Beside {run.compared.earlier}",
                [table(COMPARED, compared_rows(run.compared), text=(1, 2, 6)), bullets(run.compared.remarks)],
            )
        )
    return page("Latency under load", sections, lead=title(run))


def plot_latency(run: LatencyRun, path: Path) -> None:
    """The charts as one PNG or SVG. Raises `HeadwaterError` without matplotlib."""
    plotting = pyplot()
    found = _lines(run)
    figure, axes = plotting.subplots(1, len(found), figsize=(4.6 * len(found), 3.8), sharey=True, squeeze=False)
    for place, (verb, lines) in zip(axes[0], found.items(), strict=True):
        for name, (x, y) in lines.items():
            floor = ":" in name
            place.plot(x, y, marker="." if floor else "o", linestyle=":" if floor else "-", label=name)
        place.set_title(verb)
        place.set_xlabel("requests/s in all")
        place.set_yscale("log")
        place.grid(alpha=0.3)
        place.legend(fontsize=7)
    axes[0][0].set_ylabel("ms from due time")
    save_figure(figure, plotting, path)


def _lines(run: LatencyRun) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Per verb and line, rates and milliseconds of what is given: the target's percentiles, and p50 of each floor."""
    floors = {f"{floor}: p50": None for at in run.rates for floor in at.floors}
    order = [*_PERCENTILES, *floors]
    lines: dict[str, dict[str, tuple[list[float], list[float]]]] = {}

    def point(verb: str, line: str, rate: float, ms: float | None) -> None:
        if ms is not None:
            x, y = lines.setdefault(verb, {}).setdefault(line, ([], []))
            x.append(rate)
            y.append(ms)

    for at in run.rates:
        subjects: dict[str, Subject] = {"": at.target, **at.floors}
        for floor, subject in subjects.items():
            for verb, requests in subject.verbs.items():
                for name in _PERCENTILES if not floor else ("p50",):
                    point(verb, f"{floor}: {name}" if floor else name, at.rate, requests.latency.ms[name])
        if at.freshness is not None:
            for name in _PERCENTILES:
                point("freshness", name, at.rate, at.freshness.latency.ms[name])
    return {verb: {name: found[name] for name in order if name in found} for verb, found in lines.items()}
