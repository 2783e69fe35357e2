"""What the statistics of a report promise, simulated; and how long a report takes.

Users of a simulated experiment spend little or nothing, as in a shop; what they spent before tells something of what
they spend. Every run goes through the report's own comparison.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.bench.experiment_log import DAY, START, World, experiment_log
from headwater.experiments.comparison import METRICS, Look, Metric, adjusted_difference, difference_of, looks_of
from headwater.experiments.report import report
from headwater.experiments.settings import ReportSettings, settings_for
from headwater.experiments.significance import always_valid_radius, critical, mixture
from headwater.experiments.units import Units

if TYPE_CHECKING:
    from rich.table import Table

Floats = NDArray[np.float64]
_REVENUE = next(metric for metric in METRICS if metric.name == "revenue_per_user")
_SETTINGS = ReportSettings(conversions=("purchase",), resamples=200, planned_users=2000)


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of runs in which a difference was claimed at 5 %, and what CUPED did."""

    runs: int
    users: int
    lift: float
    fixed_once: float
    """One look, at the end."""
    fixed_peeking: float
    """The same test read at every look, which it is not made for."""
    always_valid_peeking: float
    """The always-valid test read at every look."""
    cuped_once: float
    mean_difference: float
    """Of the difference in revenue per user, over runs; `cuped_mean_difference` likewise."""
    cuped_mean_difference: float
    variance_ratio: float
    """Variance over runs of CUPED's difference / of the plain one."""
    variance_promised: float
    """1 - rho^2, as the reports estimate it."""


class ReportTime(msgspec.Struct, frozen=True, kw_only=True):
    """One report of a simulated log."""

    slates: int
    events: int
    users: int
    seconds: float
    lift: float | None
    p: float | None
    always_valid_p: float | None
    peak_rss_bytes: int
    """Of the process, which also holds the log."""


class ExperimentFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What `headwater bench report` measures."""

    times: list[ReportTime]
    same: Rates
    lifted: Rates


def simulated_units(users: int, lift: float, seed: int) -> Units:
    """Users of an experiment of two variants, and what they spent during and before it."""
    draw = np.random.Generator(np.random.PCG64(seed))
    arm = draw.integers(0, 2, users)
    rate = draw.gamma(1.0, 1.0, users)
    before = draw.poisson(rate) * draw.lognormal(3.0, 0.4, users)
    after = draw.poisson(rate * (1 + lift * (arm == 1))) * draw.lognormal(3.0, 0.4, users)
    first = np.sort(START + (draw.random(users) * 28 * DAY).astype(np.int64))
    ones, none = np.ones(users), np.zeros(users)
    slates = draw.poisson(2.0, users) + ones
    outcomes = {
        "users": ones,
        "slates": slates,
        "clicked": draw.binomial(slates.astype(np.int64), 0.1).astype(np.float64),
        "orders": (after > 0).astype(np.float64),
        "bought": (after > 0).astype(np.float64),
        "revenue": after,
        "credited_revenue": after * 0.5,
        "credited_orders": none,
        "viewed_revenue": none,
        "watched": ones,
        "returned": (draw.random(users) < 0.3).astype(np.float64),
    }
    past = {"bought": (before > 0).astype(np.float64), "revenue": before, "active": none}
    return Units(
        person=np.arange(users),
        arm=arm,
        first=first,
        closed=first + 7 * DAY,
        config=np.zeros(users, dtype=np.int64),
        segment=[None] * users,
        outcomes=outcomes,
        before=past,
        mixed=0,
    )


def rates(runs: int, users: int, lift: float, seed: int = 0, metric: Metric = _REVENUE) -> Rates:
    """Run so many experiments through the report's own comparison. O(runs * users)."""
    now = START + 60 * DAY
    claimed = dict.fromkeys(("once", "peeking", "always", "cuped"), 0)
    plain, adjusted, reductions = [], [], []
    for run in range(runs):
        units = simulated_units(users, lift, seed + run)
        treated, control, p = difference_of(units, metric, 1, 0)
        cuped = adjusted_difference(units, metric, 1, 0, _SETTINGS)
        looks = looks_of(units, metric, 1, 0, _SETTINGS, now)
        claimed["once"] += p < 0.05
        claimed["cuped"] += (cuped["cuped_p"] or 0.0) < 0.05
        claimed["peeking"] += bool((_farthest(looks) > critical(0.95)).any())
        claimed["always"] += looks[-1].p < 0.05
        plain.append(treated.value - control.value)
        adjusted.append(cuped["cuped_difference"] or 0.0)
        reductions.append(cuped["cuped_variance_reduction"] or 0.0)
    return Rates(
        runs=runs,
        users=users,
        lift=lift,
        fixed_once=claimed["once"] / runs,
        fixed_peeking=claimed["peeking"] / runs,
        always_valid_peeking=claimed["always"] / runs,
        cuped_once=claimed["cuped"] / runs,
        mean_difference=float(np.mean(plain)),
        cuped_mean_difference=float(np.mean(adjusted)),
        variance_ratio=float(np.var(adjusted) / np.var(plain)),
        variance_promised=1 - float(np.mean(reductions)),
    )


def _farthest(looks: list[Look]) -> Floats:
    """|z| of the plain test at each look: the always-valid interval is so many standard errors wide."""
    users = np.array([look.users for look in looks], dtype=np.float64)
    rho2 = mixture(_SETTINGS.planned_users, _SETTINGS.alpha)
    errors = always_valid_radius(np.ones(len(looks)), users, rho2, _SETTINGS.alpha)
    reach = np.array([(look.high - look.low) / 2 for look in looks])
    differences = np.array([look.difference for look in looks])
    far: Floats = np.abs(differences) * errors / reach
    return far


def time_report(world: World, seed: int = 0) -> ReportTime:
    """Simulate a log and report on it."""
    made = experiment_log(world, seed)
    settings = settings_for(made.config.generation)
    started = time.perf_counter()
    found = report(made.log, made.config, settings)
    seconds = time.perf_counter() - started
    revenue = next(c for c in found.experiments[0].comparisons if c.metric == "revenue_per_user")
    return ReportTime(
        slates=made.slates,
        events=made.events,
        users=sum(arm.users for arm in found.experiments[0].arms),
        seconds=seconds,
        lift=revenue.lift,
        p=revenue.p,
        always_valid_p=revenue.always_valid_p,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def run_experiments(slates: int, runs: int, users: int, says: Callable[[str], object]) -> ExperimentFigures:
    """A report on `slates` slates, three times; and what the tests claim without and with a lift of 15 %."""
    world = World(slates=slates, users=max(100, slates // 5))
    times = []
    for run in range(3):
        says(f"report {run + 1} of 3")
        times.append(time_report(world, run))
    says("experiments without a difference")
    same = rates(runs, users, 0.0)
    says("experiments with one")
    return ExperimentFigures(times=times, same=same, lifted=rates(runs, users, 0.15, seed=10_000_000))


def experiment_table(figures: ExperimentFigures) -> Table:
    """The figures for people."""
    from rich.table import Table

    table = Table("what", "measured", title="reports on experiments")
    for found in figures.times:
        table.add_row(
            f"report on {found.slates:,} slates, {found.events:,} events, {found.users:,} users",
            f"{found.seconds:.2f} s",
        )
    for name, rate in (("no difference", figures.same), (f"lift of {figures.lifted.lift:.0%}", figures.lifted)):
        title = f"{name}, {rate.runs:,} experiments of {rate.users:,} users"
        table.add_row(f"{title}: claimed by one look at the end", f"{rate.fixed_once:.1%}")
        table.add_row(f"{title}: by that test at every look", f"{rate.fixed_peeking:.1%}")
        table.add_row(f"{title}: by the always-valid test at every look", f"{rate.always_valid_peeking:.1%}")
        table.add_row(f"{title}: by CUPED, one look", f"{rate.cuped_once:.1%}")
        shown = f"{rate.variance_ratio:.3f}, promised {rate.variance_promised:.3f}"
        table.add_row(f"{title}: variance that CUPED leaves", shown)
    return table
