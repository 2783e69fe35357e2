"""Variants against the baseline: value, lift, intervals, tests, and how the evidence grew."""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.experiments import bootstrap
from headwater.experiments.cuped import adjust
from headwater.experiments.settings import ReportSettings
from headwater.experiments.significance import (
    Ratio,
    always_valid_p,
    always_valid_radius,
    critical,
    holm,
    mixture,
    ratio,
    two_sided,
)
from headwater.experiments.units import Units

Floats = NDArray[np.float64]
LOOKS = 200


class Metric(NamedTuple):
    """A ratio of two outcomes summed over users; `before` is what CUPED adjusts a mean by."""

    name: str
    num: str
    den: str
    before: str | None
    meaning: str


METRICS = (
    Metric("ctr", "clicked", "slates", None, "slates with a click / slates"),
    Metric("conversion", "bought", "users", "bought", "users who bought anything / users"),
    Metric("revenue_per_user", "revenue", "users", "revenue", "revenue of all purchases / users"),
    Metric("average_order_value", "revenue", "orders", None, "revenue / orders"),
    Metric("credited_revenue_per_user", "credited_revenue", "users", "revenue", "revenue credited to slates / users"),
    Metric("view_through_per_user", "viewed_revenue", "users", None, "view-through revenue / users"),
    Metric("retention", "returned", "watched", "active", "users who came back / users watched long enough"),
)


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of one variant. None where nothing is below the fraction bar."""

    metric: str
    variant: str
    value: float | None
    low: float | None
    high: float | None
    """The bootstrap interval over users."""
    users: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What could be said at one moment: only users whose outcome days were over then."""

    ts: int
    users: int
    difference: float
    low: float
    high: float
    """The always-valid interval of the difference."""
    p: float
    """The always-valid p-value so far."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a variant against the baseline. `lift` is relative; `difference` is not."""

    metric: str
    variant: str
    baseline: str
    difference: float | None
    difference_low: float | None
    difference_high: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    """Bootstrap intervals over users."""
    p: float | None
    """Fixed horizon: valid if it was decided beforehand to look now, once."""
    p_holm: float | None = None
    always_valid_p: float | None
    """May be looked at at any time."""
    always_valid_p_holm: float | None = None
    always_valid_low: float | None
    always_valid_high: float | None
    cuped_difference: float | None
    cuped_low: float | None
    cuped_high: float | None
    cuped_p: float | None
    cuped_variance_reduction: float | None
    """Share of the variance that the past explains."""
    looks: list[Look]


def compare(
    units: Units, names: list[str], baseline: int, settings: ReportSettings, now: int
) -> tuple[list[Value], list[Comparison]]:
    """Every metric of every variant, and against the baseline. O(users * resamples / 1000) at most."""
    resampled = _resampled(units, len(names), settings)
    values = [_value(units, metric, arm, names, resampled, settings) for metric in METRICS for arm in range(len(names))]
    found = [
        _comparison(units, metric, arm, baseline, names, resampled, settings, now)
        for metric in METRICS
        for arm in range(len(names))
        if arm != baseline
    ]
    fixed, always = holm([c.p for c in found]), holm([c.always_valid_p for c in found])
    corrected = [
        msgspec.structs.replace(comparison, p_holm=p, always_valid_p_holm=anytime)
        for comparison, p, anytime in zip(found, fixed, always, strict=True)
    ]
    return values, corrected


_OUTCOMES = sorted({name for metric in METRICS for name in (metric.num, metric.den)})


def _resampled(units: Units, arms: int, settings: ReportSettings) -> list[dict[str, Floats]]:
    """For each arm the sums of every outcome under each resample of its users."""
    found = []
    for arm in range(arms):
        own = units.arm == arm
        of = bootstrap.units_of(int(own.sum()), settings.seed)
        size = min(len(of), bootstrap.UNITS)
        columns = [np.bincount(of, weights=units.outcomes[name][own], minlength=size) for name in _OUTCOMES]
        sums = bootstrap.resampled(np.column_stack(columns), settings.resamples, settings.seed + arm)
        found.append(dict(zip(_OUTCOMES, sums.T, strict=True)))
    return found


def _value(
    units: Units,
    metric: Metric,
    arm: int,
    names: list[str],
    resampled: list[dict[str, Floats]],
    settings: ReportSettings,
) -> Value:
    own = units.arm == arm
    found = ratio(units.outcomes[metric.num][own], units.outcomes[metric.den][own])
    low, high = bootstrap.percentiles(_ratio_of(resampled[arm], metric), settings.confidence)
    return Value(
        metric=metric.name,
        variant=names[arm],
        value=number(found.value),
        low=number(low),
        high=number(high),
        users=found.users,
    )


def _ratio_of(sums: dict[str, Floats], metric: Metric) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[metric.num] / sums[metric.den])


def _comparison(
    units: Units,
    metric: Metric,
    arm: int,
    baseline: int,
    names: list[str],
    resampled: list[dict[str, Floats]],
    settings: ReportSettings,
    now: int,
) -> Comparison:
    b, a, p = difference_of(units, metric, arm, baseline)
    many_a, many_b = _ratio_of(resampled[baseline], metric), _ratio_of(resampled[arm], metric)
    low, high = bootstrap.percentiles(many_b - many_a, settings.confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        lift_low, lift_high = bootstrap.percentiles(many_b / many_a - 1, settings.confidence)
    looks = looks_of(units, metric, arm, baseline, settings, now)
    last = looks[-1] if looks else None
    adjusted = adjusted_difference(units, metric, arm, baseline, settings)
    return Comparison(
        metric=metric.name,
        variant=names[arm],
        baseline=names[baseline],
        difference=number(b.value - a.value),
        difference_low=number(low),
        difference_high=number(high),
        lift=number(b.value / a.value - 1) if a.value else None,
        lift_low=number(lift_low),
        lift_high=number(lift_high),
        p=number(p),
        always_valid_p=None if last is None else last.p,
        always_valid_low=None if last is None else last.low,
        always_valid_high=None if last is None else last.high,
        **adjusted,
        looks=looks,
    )


def difference_of(units: Units, metric: Metric, arm: int, baseline: int) -> tuple[Ratio, Ratio, float]:
    """The metric of the variant and of the baseline, and the fixed-horizon p-value; NaN where it is not defined."""
    num, den = units.outcomes[metric.num], units.outcomes[metric.den]
    b, a = (ratio(num[own], den[own]) for own in (units.arm == arm, units.arm == baseline))
    error = math.hypot(a.error, b.error)
    return b, a, two_sided((b.value - a.value) / error) if error > 0 else math.nan


def adjusted_difference(
    units: Units, metric: Metric, arm: int, baseline: int, settings: ReportSettings
) -> dict[str, float | None]:
    """CUPED's part of a `Comparison`."""
    treated, control = units.arm == arm, units.arm == baseline
    names = ("cuped_difference", "cuped_low", "cuped_high", "cuped_p", "cuped_variance_reduction")
    if metric.before is None:
        return dict.fromkeys(names)
    counted = (treated | control) & (units.outcomes[metric.den] > 0)
    arms = treated[counted].astype(np.int64)
    y, x = units.outcomes[metric.num][counted], units.before[metric.before][counted]
    found = adjust(y, x, arms)
    ones = np.ones(len(y))
    a, b = (ratio(found.values[arms == arm], ones[arms == arm]) for arm in (0, 1))
    error = math.hypot(a.error, b.error)
    difference, reach = b.value - a.value, critical(settings.confidence) * error
    p = two_sided(difference / error) if error > 0 else math.nan
    told = (difference, difference - reach, difference + reach, p, found.reduction)
    return dict(zip(names, map(number, told), strict=True))


def looks_of(units: Units, metric: Metric, arm: int, baseline: int, settings: ReportSettings, now: int) -> list[Look]:
    """How the comparison stood as users' outcome days came to their end: at most `LOOKS` moments, the last at `now`.

    Users enter in that order, so each look sees a growing sample of users who are told apart by chance alone, which is
    what an always-valid p-value needs.
    """
    kept = ((units.arm == arm) | (units.arm == baseline)) & (units.closed <= now)
    order = np.flatnonzero(kept)
    order = order[np.argsort(units.closed[order], kind="stable")]
    treated = units.arm[order] == arm
    counts = np.cumsum(treated), np.cumsum(~treated)
    ready = np.flatnonzero((counts[0] >= settings.burn_in) & (counts[1] >= settings.burn_in))
    if not len(ready):
        return []
    at = np.unique(np.linspace(ready[0], len(order) - 1, LOOKS).astype(np.int64))
    num, den = units.outcomes[metric.num][order], units.outcomes[metric.den][order]
    sides = [_running(num * side, den * side, side, at) for side in (treated, ~treated)]
    (b, var_b), (a, var_a) = sides
    difference, error = b - a, np.sqrt(var_a + var_b)
    users = (at + 1).astype(np.float64)
    rho2 = mixture(settings.planned_users, settings.alpha)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = always_valid_p(np.where(error > 0, difference / error, np.nan), users, rho2)
    radius = always_valid_radius(error, users, rho2, settings.alpha)
    sound = np.isfinite(difference) & np.isfinite(radius) & (error > 0)
    return [
        Look(
            ts=int(units.closed[order[at[i]]]),
            users=int(users[i]),
            difference=float(difference[i]),
            low=float(difference[i] - radius[i]),
            high=float(difference[i] + radius[i]),
            p=float(p[i]),
        )
        for i in np.flatnonzero(sound)
    ]


def _running(num: Floats, den: Floats, side: NDArray[np.bool_], at: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Ratio and its variance over one side's users so far, at each look, from running sums."""
    count = np.cumsum(side)[at].astype(np.float64)
    top, bottom = np.cumsum(num)[at], np.cumsum(den)[at]
    squares, cross, below = np.cumsum(num * num)[at], np.cumsum(num * den)[at], np.cumsum(den * den)[at]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = top / bottom
        spread = squares - 2 * value * cross + value * value * below
        variance = np.maximum(spread, 0.0) / np.square(bottom) * count / (count - 1)
    return value, variance


def number(value: float) -> float | None:
    """A finite number, or None."""
    return float(value) if math.isfinite(value) else None
