"""Estimators against sums written out by hand, and the refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from headwater.errors import CannotEstimate, InvalidInput
from headwater.events.types import Event
from headwater.learning import Rewards, join
from headwater.learning.estimators import Estimate, Interval, ips, rips, sips, slate_target, snips
from reference.slate_log import did, later, log_of, seen, served

CLICKS = Rewards(values={"click": 1.0, "purchase": 5.0})
OVER = later(25)
ALL = [ips, snips, rips, sips]


def table_of(*events: Event) -> pl.DataFrame:
    return join(log_of(*events, OVER), CLICKS).table


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    """Three visitors, four slates: (0.5, 0.4, 0.2) conditional, so (0.5, 0.2, 0.04) cascading."""
    return table_of(
        *(served("s1", "ann"), seen([0, 1, 2], "s1", "ann"), did("click", "a", 0, "s1", "ann")),
        *(served("s2", "bob"), seen([0], "s2", "bob")),
        *(served("s3", "bob", "bca"), seen([0, 1], "s3", "bob"), did("purchase", "c", 1, "s3", "bob")),
        *(served("s4", "cem", "cab"), seen([0, 1], "s4", "cem"), did("click", "a", 1, "s4", "cem")),
    )


TARGET = [*(0.8, 0.4, 0.2), *(0.25, 0.4, 0.2), *(0.5, 0.6, 0.2), *(1.0, 0.2, 0.4)]


def test_ips_at_the_first_slot(table: pl.DataFrame) -> None:
    weights = [0.8 / 0.5, 0.25 / 0.5, 0.5 / 0.5, 1.0 / 0.5]
    estimate = ips(table, TARGET)
    assert estimate.value == pytest.approx(weights[0] / 4, abs=1e-12)
    assert (estimate.rows, estimate.slates, estimate.users) == (4, 4, 3)
    assert estimate.effective_sample_size == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))
    assert (estimate.mean_weight, estimate.max_weight) == (pytest.approx(sum(weights) / 4), pytest.approx(2.0))
    # Users earn 1.6, 0, 0 in 1, 2, 1 slots; linearised with users as clusters.
    value = 0.4
    residuals = [1.6 - value, -2 * value, -value]
    assert estimate.standard_error == pytest.approx(math.sqrt(3 / 2 * sum(r * r for r in residuals)) / 4)
    assert snips(table, TARGET).value == pytest.approx(1.6 / sum(weights), abs=1e-12)


def test_deeper_slots_count_only_where_they_were_seen(table: pl.DataFrame) -> None:
    estimate = ips(table, TARGET, slot=1)
    assert estimate.rows == 3
    assert estimate.value == pytest.approx((0 + 1.5 * 5 + 0.5 * 1) / 3)
    assert ips(table, TARGET, slot=1, outcomes="served").value == pytest.approx((1.5 * 5 + 0.5) / 4)
    assert ips(table, TARGET, slot=None).rows == 8


def test_slates(table: pl.DataFrame) -> None:
    cascade = [[1.6, 1.6, 1.6], [0.5, 0.5, 0.5], [1.0, 1.5, 1.5], [2.0, 1.0, 2.0]]
    by_slot = rips(table, TARGET)
    assert by_slot.value == pytest.approx((cascade[0][0] * 1 + cascade[2][1] * 5 + cascade[3][1] * 1) / 4)
    whole = sips(table, TARGET)
    assert whole.value == pytest.approx((1.6 * 1 + 1.5 * 5 + 2.0 * 1) / 4)
    assert (by_slot.slates, whole.slates, whole.rows) == (4, 4, 12)
    last = [row[2] for row in cascade]
    assert whole.effective_sample_size == pytest.approx(sum(last) ** 2 / sum(w * w for w in last))
    least = min(sum(c) ** 2 / sum(w * w for w in c) for c in zip(*cascade, strict=True))
    assert by_slot.effective_sample_size == pytest.approx(least)
    assert (whole.mean_weight, by_slot.mean_weight) == (pytest.approx(sum(last) / 4), pytest.approx(sum(last) / 4))
    products = slate_target(table, TARGET)
    assert products["evaluation_policy_pscore_cascade"][:3] == pytest.approx([0.8, 0.32, 0.064])
    assert products["evaluation_policy_pscore"][:3] == pytest.approx([0.064] * 3)


@pytest.mark.parametrize("estimator", ALL)
def test_the_logging_policy_itself_earns_what_was_earned(
    table: pl.DataFrame, estimator: Callable[..., Estimate]
) -> None:
    estimate = estimator(table, table["propensity"])
    earned = 1 / 4 if estimator in (ips, snips) else 7 / 4
    assert (estimate.value, estimate.mean_weight) == (pytest.approx(earned), pytest.approx(1))
    assert estimate.low <= estimate.value <= estimate.high


@pytest.mark.parametrize("estimator", ALL)
def test_a_callable_sees_the_rows_and_the_order_of_rows_does_not_matter(
    table: pl.DataFrame, estimator: Callable[..., Estimate]
) -> None:
    whole = estimator(table, TARGET)
    assert estimator(table, lambda rows: [TARGET[row] for row in rows["row"]]) == whole
    turned = table.with_columns(target=pl.Series(TARGET)).sort("item", "slate")
    other = estimator(turned.drop("target"), turned["target"])
    assert other.value == pytest.approx(whole.value)
    assert other.standard_error == pytest.approx(whole.standard_error)


def test_intervals_come_from_their_seed(table: pl.DataFrame) -> None:
    one, same, other = (ips(table, TARGET, interval=Interval(seed=seed, resamples=50)) for seed in (1, 1, 2))
    assert one == same
    assert (one.low, one.high) != (other.low, other.high)
    wide, narrow = (ips(table, TARGET, interval=Interval(confidence=c)) for c in (0.99, 0.5))
    assert wide.low <= narrow.low <= narrow.high <= wide.high
    for broken in ({"confidence": 1.0}, {"confidence": math.nan}, {"resamples": 3}):
        with pytest.raises(InvalidInput, match="allowed: "):
            Interval(**broken)  # type: ignore[arg-type]


def test_pinned_slots_are_left_out() -> None:
    events = [
        *(served("s1", "ann", pinned=[0], propensities=(1.0, 0.4, 0.2)), seen([0], "s1", "ann")),
        *(served("s2", "bob", propensities=(0.5, 0.4, 0.2)), seen([0, 1], "s2", "bob")),
        *(did("click", "a", 0, "s1", "ann"), did("click", "b", 1, "s1", "ann"), did("click", "b", 1, "s2", "bob")),
    ]
    table = table_of(*events)
    target = [0.0, 0.6, 0.2, 0.5, 0.4, 0.2]
    assert ips(table, target, slot=None, outcomes="served").rows == 5
    estimate = rips(table, target)
    assert (estimate.slates, estimate.rows) == (2, 5), "a slate of which only a pinned slot was seen has an outcome"
    assert estimate.value == pytest.approx((0.6 / 0.4 + 1.0) / 2)


def test_rewarded_slots_without_an_impression_are_not_chosen_by_outcome() -> None:
    events = [served(f"s{n}", f"u{n}") for n in range(6)]
    seen_ones = [seen([0], f"s{n}", f"u{n}") for n in range(3)]
    clicks = [did("click", "a", 0, f"s{n}", f"u{n}") for n in (0, 3, 4)]
    table = table_of(*events, *seen_ones, *clicks)
    assert ips(table, table["propensity"]).value == pytest.approx(1 / 3)
    assert ips(table, table["propensity"], outcomes="served").value == pytest.approx(3 / 6)
    assert rips(table, table["propensity"]).value == pytest.approx(1 / 3)


def test_slates_whose_window_is_open_are_left_out() -> None:
    fresh = [served("s9", "zoe", ts=OVER.ts), did("click", "a", 0, "s9", "zoe", after=25 * 3_600_000 + 1)]
    table = join(log_of(served(), served("s2", "bob"), OVER, *fresh), CLICKS).table
    assert table["status"].to_list().count("rewarded") == 1
    assert ips(table, table["propensity"], outcomes="served").value == 0


def refused(message: str) -> pytest.RaisesExc[CannotEstimate]:
    return pytest.raises(CannotEstimate, match=message)


@pytest.mark.parametrize("estimator", ALL)
def test_a_log_without_exploration_cannot_answer(estimator: Callable[..., Estimate]) -> None:
    ones = [served("s1", propensities=(1, 1, 1)), served("s2", "bob", propensities=(1, 1, 1))]
    table = table_of(*ones, seen([0, 1, 2], "s1"), seen([0, 1, 2], "s2", "bob"))
    with refused("this log cannot answer what-if: exploration was 0"):
        estimator(table, table["propensity"])


@pytest.mark.parametrize("estimator", ALL)
@pytest.mark.parametrize("value", [0.0, None, math.nan, 1.5, -0.1])
def test_missing_propensities_are_named(
    table: pl.DataFrame, estimator: Callable[..., Estimate], value: float | None
) -> None:
    column = "propensity" if estimator in (ips, snips) else "propensity_cascade"
    at = (pl.col("slate") == "s3") & (pl.col("slot") == 0)
    broken = table.with_columns(pl.when(at).then(pl.lit(value, pl.Float64)).otherwise(pl.col(column)).alias(column))
    with refused(f"1 of .* rows have no {column} in .*slate s3, slot 0"):
        estimator(broken, TARGET)


def test_other_refusals(table: pl.DataFrame) -> None:
    empty = join(log_of(OVER), CLICKS).table
    with refused("the log holds no slates"):
        ips(empty, [])
    with refused("no slot is named by an impression"):
        ips(table.with_columns(impressed=pl.lit(False)), TARGET)
    with refused("window is over"):
        rips(table.with_columns(closed=pl.lit(False)), TARGET)
    with refused("no row is left"):
        ips(table, TARGET, slot=9)
    with refused("all rows are of one user"):
        ips(table.filter(pl.col("user") == "bob"), [0.5] * 6)
    with refused("never takes a logged action"):
        snips(table, [0.0] * 12)
    with refused("give whole slates"):
        sips(table.filter(pl.col("slot") != 1), [0.5] * 8)
    with refused("not the product"):
        rips(table.with_columns(propensity_cascade=pl.col("propensity")), TARGET)
    assert issubclass(CannotEstimate, InvalidInput)


def test_targets_and_tables_are_checked(table: pl.DataFrame) -> None:
    for target in ([0.5] * 11, [[0.5]] * 12, lambda rows: [0.5]):
        with pytest.raises(InvalidInput, match="one probability for each of the"):
            ips(table, target)  # type: ignore[arg-type]
    for value in (1.01, -0.1, math.nan):
        with pytest.raises(InvalidInput, match="slate s1, slot 0; allowed: probabilities"):
            ips(table, np.where(np.arange(12) == 0, value, 0.5))
    with pytest.raises(InvalidInput, match="table without propensity"):
        ips(table.drop("propensity"), TARGET)
    with pytest.raises(InvalidInput, match="outcomes = 'known'"):
        ips(table, TARGET, outcomes="known")  # type: ignore[arg-type]
    for slot in (-1, "0", True):
        with pytest.raises(InvalidInput, match="slot = "):
            ips(table, TARGET, slot=slot)  # type: ignore[arg-type]
