"""Off-policy estimators: what another policy would have earned, from what this one did.

    w = target probability / logged propensity

    ips    mean of w r over slots                     unbiased where the log explores all that the target does
    snips  sum of w r / sum of w                      a little biased, less variance, never outside the rewards
    rips   mean over slates of sum_k W_k r_k          W_k: product of w down to slot k. Exact if a slot's reward does
                                                      not depend on what stands below it
    sips   mean over slates of W_last sum_k r_k       no assumption, the highest variance

`schema` names the papers. RIPS is the plain weighted mean, as obp computes it. Each is a ratio of sums over users, so
that one rule gives all intervals: the standard error is the ratio's linearised one with users as clusters, the
interval the percentile bootstrap over users (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter
13). What one user does in several slates is not taken for independent.

None of this sees what the log does not hold. A target that would choose what was never explored has mean weights below
1, which `Estimate.mean_weight` shows; a small `effective_sample_size` says that few rows decide.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.errors import InvalidInput
from headwater.learning.selection import ROW, Outcomes, refuse, slate_rows, slot_rows

if TYPE_CHECKING:
    import polars as pl

    Target = Sequence[float] | NDArray[np.float64] | pl.Series | Callable[[pl.DataFrame], Sequence[float]]

Floats = NDArray[np.float64]

_BLOCK = 1 << 22
"""Draws of the bootstrap held at once."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """An estimated value and how far to trust it.

    `value` is reward per slot (`ips`, `snips`) or per slate (`rips`, `sips`); `low` and `high` bound it at
    `confidence`. `effective_sample_size` is (sum w)^2 / sum w^2 (Kish 1965), of `rips` that of its weakest slot.
    `mean_weight` should be 1 within noise; well below 1, the target does what the log never tried.
    """

    estimator: str
    value: float
    standard_error: float
    low: float
    high: float
    confidence: float
    rows: int
    slates: int
    users: int
    effective_sample_size: float
    mean_weight: float
    max_weight: float


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """How intervals are made: `confidence` in (0, 1), `resamples` bootstrap samples of the users, drawn from `seed`."""

    confidence: float = 0.95
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            _refuse_value("confidence", self.confidence, "between 0 and 1")
        if not 20 <= self.resamples <= 1_000_000:
            _refuse_value("resamples", self.resamples, "20 to 1000000")


DEFAULT_INTERVAL = Interval()


def ips(
    table: pl.DataFrame,
    target: Target,
    *,
    slot: int | None = 0,
    outcomes: Outcomes = "impressed",
    interval: Interval = DEFAULT_INTERVAL,
) -> Estimate:
    """Inverse propensity scoring of single slots: reward per slot under the target.

    `target` is the probability that the other policy puts the logged item there, given the request and the logged items
    above: one number for each row of `table`, or a callable on the chosen rows. `slot=None` pools all slots; beyond
    slot 0 the value is that of changing one slot at a time. Raises `CannotEstimate`, `InvalidInput`.
    """
    rows, weights = _slot_weights(table, target, slot, outcomes)
    reward = rows["reward"].to_numpy()
    return _estimate("ips", rows, weights * reward, np.ones(len(rows)), weights, interval)


def snips(
    table: pl.DataFrame,
    target: Target,
    *,
    slot: int | None = 0,
    outcomes: Outcomes = "impressed",
    interval: Interval = DEFAULT_INTERVAL,
) -> Estimate:
    """Self-normalised `ips`. Raises `CannotEstimate` also when the target takes no logged action."""
    rows, weights = _slot_weights(table, target, slot, outcomes)
    if not weights.any():
        refuse("target", "it never takes a logged action: nothing can be said of it")
    return _estimate("snips", rows, weights * rows["reward"].to_numpy(), weights, weights, interval)


def rips(
    table: pl.DataFrame, target: Target, *, outcomes: Outcomes = "impressed", interval: Interval = DEFAULT_INTERVAL
) -> Estimate:
    """Reward-interaction IPS: reward per slate under the target, each slot weighted by the slots down to it.

    `target` as in `ips`, for every unpinned slot (pinned ones are no part of the products, which are made here).
    Raises `CannotEstimate`, `InvalidInput`.
    """
    rows, cascade = _slate_target(table, target, outcomes)
    weights = cascade / rows["propensity_cascade"].to_numpy()
    return _estimate("rips", rows, weights * rows["reward"].to_numpy(), _firsts(rows), weights, interval)


def sips(
    table: pl.DataFrame, target: Target, *, outcomes: Outcomes = "impressed", interval: Interval = DEFAULT_INTERVAL
) -> Estimate:
    """IPS of whole slates: reward per slate under the target, one weight a slate. `target` as in `rips`."""
    rows, cascade = _slate_target(table, target, outcomes)
    last = _lasts(rows)
    weights = (cascade / rows["propensity_cascade"].to_numpy())[last]
    return _estimate("sips", rows, weights * rows["reward"].to_numpy(), _firsts(rows), weights, interval)


def slate_target(
    table: pl.DataFrame, target: Target, *, outcomes: Outcomes = "impressed"
) -> dict[str, NDArray[np.float64]]:
    """The target's products in the rows of `obp_slates`, under obp's names: `evaluation_policy_pscore_cascade` down to
    each slot, `evaluation_policy_pscore` of the whole slate."""
    rows, cascade = _slate_target(table, target, outcomes)
    return {"evaluation_policy_pscore_cascade": cascade, "evaluation_policy_pscore": cascade[_lasts(rows)]}


def _slot_weights(
    table: pl.DataFrame, target: Target, slot: int | None, outcomes: Outcomes
) -> tuple[pl.DataFrame, Floats]:
    rows = slot_rows(table, slot, outcomes)
    return rows, _probabilities(table, rows, target) / rows["propensity"].to_numpy()


def _slate_target(table: pl.DataFrame, target: Target, outcomes: Outcomes) -> tuple[pl.DataFrame, Floats]:
    """Whole slates, and the target's running product down each."""
    import polars as pl

    rows = slate_rows(table, outcomes)
    weighed = rows.select("slate", pl.Series("target", _probabilities(table, rows, target)))
    return rows, weighed.select(pl.col("target").cum_prod().over("slate")).to_series().to_numpy()


def _probabilities(table: pl.DataFrame, rows: pl.DataFrame, target: Target) -> Floats:
    """The target's probability of each chosen row's item."""
    if callable(target):
        given = np.asarray(target(rows), dtype=np.float64)
        wanted = len(rows)
    else:
        given = np.asarray(target, dtype=np.float64)
        wanted = len(table)
    if given.shape != (wanted,):
        rule = f"one probability for each of the {wanted} rows"
        raise InvalidInput(f"target: shape {given.shape}; allowed: {rule}", field="target", rule=rule)
    chosen = given if callable(target) else given[rows[ROW].to_numpy()]
    sound = (chosen >= 0) & (chosen <= 1)  # NaN is neither
    if not sound.all():
        at = int(np.flatnonzero(~sound)[0])
        rule = "probabilities, 0 to 1"
        value = float(chosen[at])
        raise InvalidInput(
            f"target = {value!r} for slate {rows['slate'][at]}, slot {rows['slot'][at]}; allowed: {rule}",
            field="target",
            value=value,
            rule=rule,
        )
    return chosen


def _lasts(rows: pl.DataFrame) -> NDArray[np.int64]:
    """For each row of `slate_rows`, the last row of its slate."""
    ends = np.flatnonzero(np.append(_firsts(rows)[1:], 1.0))
    return np.repeat(ends, np.diff(ends, prepend=-1))


def _firsts(rows: pl.DataFrame) -> Floats:
    """1 in the first row of each slate of `slate_rows`, 0 elsewhere: sums to the number of slates."""
    slates = rows["slate"]
    first = (slates != slates.shift(1)).fill_null(True)
    return first.to_numpy().astype(np.float64)


def _estimate(
    name: str, rows: pl.DataFrame, earned: Floats, counted: Floats, weights: Floats, interval: Interval
) -> Estimate:
    """Sum of `earned` over sum of `counted`, with users as the unit that is resampled."""
    users = rows["user"].rank("dense").to_numpy().astype(np.int64) - 1
    count = int(users.max()) + 1
    if count < 2:
        refuse("users", "all rows are of one user: there is nothing to make an interval from")
    top: Floats = np.bincount(users, weights=earned, minlength=count).astype(np.float64)
    bottom: Floats = np.bincount(users, weights=counted, minlength=count).astype(np.float64)
    value = earned.sum() / counted.sum()
    residual = top - value * bottom
    error = np.sqrt(count / (count - 1) * np.sum(residual**2)) / counted.sum()
    low, high = _percentiles(top, bottom, interval)
    by_slot = [weights[rows["slot"].to_numpy() == slot] for slot in rows["slot"].unique()] if name == "rips" else []
    whole = weights[_lasts(rows)][_firsts(rows) == 1] if name in ("rips", "sips") else weights
    return Estimate(
        estimator=name,
        value=float(value),
        standard_error=float(error),
        low=low,
        high=high,
        confidence=interval.confidence,
        rows=len(rows),
        slates=rows["slate"].n_unique(),
        users=count,
        effective_sample_size=min(_effective(part) for part in (by_slot or [whole])),
        mean_weight=float(whole.mean()),
        max_weight=float(weights.max()),
    )


def _effective(weights: Floats) -> float:
    squares = float(np.sum(weights**2))
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def _percentiles(top: Floats, bottom: Floats, interval: Interval) -> tuple[float, float]:
    """Percentile bootstrap of a ratio of sums over users. O(resamples * users)."""
    draw = np.random.Generator(np.random.PCG64(interval.seed))
    count = len(top)
    block = max(1, _BLOCK // count)
    values: list[Floats] = []
    for start in range(0, interval.resamples, block):
        chosen = draw.integers(0, count, size=(min(block, interval.resamples - start), count))
        counted = bottom[chosen].sum(axis=1)
        defined = counted > 0  # of snips, a sample may hold no action that the target takes
        values.append(top[chosen].sum(axis=1)[defined] / counted[defined])
    tail = (1 - interval.confidence) / 2
    low, high = np.quantile(np.concatenate(values), [tail, 1 - tail])
    return float(low), float(high)


def _refuse_value(field: str, value: object, rule: str) -> None:
    raise InvalidInput(f"{field} = {value!r}; allowed: {rule}", field=field, value=repr(value), rule=rule)
