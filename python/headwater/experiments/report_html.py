"""A report as one HTML page with its plots: lifts with intervals, how the evidence grew, exposure over time."""

from __future__ import annotations

from itertools import accumulate, groupby

from headwater.experiments.comparison import Comparison
from headwater.experiments.report import ExperimentReport, Report
from headwater.experiments.report_table import (
    COMPARISON_HEADINGS,
    GROUP_HEADINGS,
    VALUE_HEADINGS,
    comparison_cells,
    group_cells,
    meanings,
    moment,
    summary,
    value_cells,
    words,
)
from headwater.report_page import Html, Section, Series, bar_chart, bullets, line_chart, page, table


def report_page(report: Report) -> str:
    """The whole page. Raises `HeadwaterError` without matplotlib."""
    sections = [_earned(report), *map(_experiment, report.experiments)]
    metrics = table(("metric", "what it is"), meanings(), text=(1,))
    rules = [
        *report.notes,
        *(f"set aside: {count:,} {reason}" for reason, count in report.set_aside.items()),
    ]
    sections.append(Section("How it is counted", [bullets(rules), metrics]))
    lead = f"{report.slates:,} slates up to {moment(report.clock)} UTC; intervals at {report.settings.confidence:.0%}."
    return page("Is it earning", sections, lead=lead)


def _earned(report: Report) -> Section:
    parts: list[str] = []
    for dimension, groups in groupby(report.groups, key=lambda group: group.dimension):
        rows = [[group.name, *group_cells(group)] for group in groups]
        parts.append(table((dimension, *GROUP_HEADINGS), rows))
    return Section("What slates earned", parts or ["No slate was served."])


def _experiment(experiment: ExperimentReport) -> Section:
    parts: list[str] = [bullets(summary(experiment))]
    if experiment.values:
        parts.append(table(VALUE_HEADINGS, map(value_cells, experiment.values)))
    if experiment.comparisons:
        caption = f"against {experiment.baseline}"
        parts.append(table(COMPARISON_HEADINGS, map(comparison_cells, experiment.comparisons), caption=caption))
        parts += [_lifts(experiment), *_evidence(experiment)]
    if len(experiment.days) > 1:
        parts.append(_exposure(experiment))
    return Section(f"Experiment {experiment.name}", parts)


def _variants(experiment: ExperimentReport) -> list[str]:
    return list(dict.fromkeys(comparison.variant for comparison in experiment.comparisons))


def _lifts(experiment: ExperimentReport) -> Html:
    """Relative lift of each metric, with bootstrap intervals."""
    known = [c for c in experiment.comparisons if None not in (c.lift, c.lift_low, c.lift_high)]
    metrics = list(dict.fromkeys(c.metric for c in known))
    found = {(c.metric, c.variant): c for c in known}
    series: dict[str, list[float]] = {}
    errors: dict[str, list[tuple[float, float]]] = {}
    for variant in _variants(experiment):
        own = [found.get((metric, variant)) for metric in metrics]
        if all(own):
            series[variant] = [100 * (c.lift or 0.0) for c in own if c]
            errors[variant] = [(100 * (c.lift_low or 0.0), 100 * (c.lift_high or 0.0)) for c in own if c]
    if not series:
        return Html("")
    title = f"lift against {experiment.baseline}, with intervals"
    return bar_chart([words(m) for m in metrics], series, title=title, x_label="lift in %", errors=errors)


def _evidence(experiment: ExperimentReport) -> list[Html]:
    """How always-valid p-values fell, and the interval of the first metric that has one, look by look."""
    lines = [c for c in experiment.comparisons if len(c.looks) > 1]
    if not lines:
        return []
    many = len(_variants(experiment)) > 1

    def name(comparison: Comparison) -> str:
        return f"{words(comparison.metric)} {comparison.variant}" if many else words(comparison.metric)

    chances = [
        Series(name(c), [look.ts for look in c.looks], [max(look.p, 1e-6) for look in c.looks])
        for c in lines
        if c.metric in ("ctr", "conversion", "revenue_per_user", "retention")
    ]
    charts = []
    if chances:
        charts.append(
            line_chart(
                chances, title="always-valid p-value, may be read at any time", y_label="p", times=True, log_y=True
            )
        )
    revenue = [c for c in lines if c.metric == "revenue_per_user"]
    bands = [
        Series(
            c.variant,
            [look.ts for look in c.looks],
            [look.difference for look in c.looks],
            [look.low for look in c.looks],
            [look.high for look in c.looks],
        )
        for c in revenue
    ]
    if bands:
        title = f"revenue per user: difference to {experiment.baseline}, always-valid interval"
        charts.append(line_chart(bands, title=title, y_label="difference", times=True))
    return charts


def _exposure(experiment: ExperimentReport) -> Html:
    times = [day.ts for day in experiment.days]
    series = [
        Series(arm.variant, times, list(accumulate(day.slates[at] for day in experiment.days)))
        for at, arm in enumerate(experiment.arms)
    ]
    return line_chart(series, title="slates served so far", y_label="slates", times=True, from_zero=True)
