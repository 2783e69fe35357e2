"""A report for people at a terminal, and the cells that it shares with the page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headwater.experiments.comparison import METRICS, Comparison, Value
from headwater.experiments.groups import Group, Interval
from headwater.experiments.report import ExperimentReport, Report

if TYPE_CHECKING:
    from rich.console import Group as Shown

GROUP_HEADINGS = (
    *("variant", "exposures", "users", "CTR", "buyers / users", "revenue", "per user", "order value"),
    *("view-through", "came back"),
)
VALUE_HEADINGS = ("metric", "variant", "value", "interval", "users")
COMPARISON_HEADINGS = (
    *("metric", "variant", "lift", "interval", "p", "p holm", "always-valid p", "holm", "CUPED p", "variance less"),
)
_SHARES = ("ctr", "conversion", "retention")


def group_cells(group: Group, intervals: bool = True) -> list[str]:
    """Cells under `GROUP_HEADINGS`; without `intervals` only the values."""

    def within(interval: Interval, share: bool = False) -> str:
        shown = _number(interval.value, share)
        if not intervals or interval.low is None:
            return shown
        return f"{shown} ({_range(interval, share).replace(' to ', '-')})"

    return [
        group.variant,
        f"{group.exposures:,}",
        f"{group.users:,}",
        within(group.ctr, share=True),
        within(group.conversion, share=True),
        f"{group.revenue:,.2f}",
        within(group.revenue_per_user),
        within(group.average_order_value),
        f"{group.view_through_revenue:,.2f}",
        within(group.retention, share=True),
    ]


def value_cells(value: Value) -> list[str]:
    """Cells under `VALUE_HEADINGS`."""
    share = value.metric in _SHARES
    interval = Interval(value.value, value.low, value.high)
    shown = _number(value.value, share)
    return [words(value.metric), value.variant, shown, _range(interval, share), f"{value.users:,}"]


def comparison_cells(comparison: Comparison) -> list[str]:
    """Cells under `COMPARISON_HEADINGS`."""
    lift = Interval(comparison.lift, comparison.lift_low, comparison.lift_high)
    reduction = comparison.cuped_variance_reduction
    return [
        words(comparison.metric),
        comparison.variant,
        "-" if lift.value is None else f"{lift.value:+.1%}",
        "-" if lift.low is None or lift.high is None else f"{lift.low:+.1%} to {lift.high:+.1%}",
        chance(comparison.p),
        chance(comparison.p_holm),
        chance(comparison.always_valid_p),
        chance(comparison.always_valid_p_holm),
        chance(comparison.cuped_p),
        "-" if reduction is None else f"{reduction:.1%}",
    ]


def words(metric: str) -> str:
    """A metric's name as words."""
    return "CTR" if metric == "ctr" else metric.replace("_", " ")


def chance(p: float | None) -> str:
    """A p-value, short."""
    return "-" if p is None else f"{p:.2g}" if p >= 0.001 else "< 0.001"


def moment(ts: int | None) -> str:
    """A time in UTC, to the minute."""
    return "-" if ts is None else datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def _number(value: float | None, share: bool) -> str:
    return "-" if value is None else f"{value:.2%}" if share else f"{value:,.4g}"


def _range(interval: Interval, share: bool) -> str:
    if interval.low is None or interval.high is None:
        return "-"
    return f"{_number(interval.low, share)} to {_number(interval.high, share)}"


def summary(experiment: ExperimentReport) -> list[str]:
    """What stands above an experiment's numbers: when, who, whether the deal was sound."""
    arms = ", ".join(
        f"{arm.variant} {arm.users:,} users, {arm.slates:,} slates (share {arm.share:g}"
        + (f", serves {arm.serve})" if arm.serve != "slate" else ")")
        for arm in experiment.arms
    )
    said = [arms]
    if experiment.start is not None or experiment.end is not None:
        said.insert(0, f"from {moment(experiment.start)} to {moment(experiment.end)} UTC")
    if experiment.mismatch_p is not None:
        said.append(f"sample ratio: p = {chance(experiment.mismatch_p)}")
    return [*said, *experiment.notes]


def report_table(report: Report) -> Shown:
    """Every group of slates, then each experiment."""
    from rich.console import Group as Together
    from rich.table import Table
    from rich.text import Text

    def table(title: str, headings: Iterable[str], rows: Iterable[Iterable[str]], notes: Iterable[str] = ()) -> Table:
        shown = Table(*headings, title=Text(title), caption=Text("\n".join(notes)))
        for row in rows:
            shown.add_row(*map(Text, row))
        return shown

    aside = ", ".join(f"{count:,} {reason}" for reason, count in report.set_aside.items())
    notes = [*report.notes, *([f"set aside: {aside}"] if aside else [])]
    groups = [
        [group.dimension if group.dimension == "all" else f"{group.dimension} {group.name}", *group_cells(group, False)]
        for group in report.groups
    ]
    title = f"{report.slates:,} slates up to {moment(report.clock)} UTC; intervals of these are in --json and --html"
    parts = [table(title, ("", *GROUP_HEADINGS), groups, notes)]
    for experiment in report.experiments:
        said = summary(experiment)
        values = table(f"experiment {experiment.name}", VALUE_HEADINGS, map(value_cells, experiment.values), said)
        against = f"{experiment.name}: against {experiment.baseline}"
        parts.append(values)
        if experiment.comparisons:
            parts.append(table(against, COMPARISON_HEADINGS, map(comparison_cells, experiment.comparisons)))
    return Together(*parts)


def meanings() -> list[tuple[str, str]]:
    """What each metric is, in words."""
    return [(words(metric.name), metric.meaning) for metric in METRICS]
