"""What each user did under an experiment: one row a user, counted from their first slate of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater.experiments.journeys import DAY, Journeys, active, returned
from headwater.experiments.settings import ReportSettings

if TYPE_CHECKING:
    import polars as pl

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Units(NamedTuple):
    """Users of an experiment, in the order of their first slates. All arrays are by user.

    `arm` numbers the variants in the order of their names. Outcomes are those of the days after `first` that the
    settings say; `closed` is when those are over, UTC ms. `mixed` users saw more than one variant and are left out of
    all arrays.
    """

    person: Ints
    arm: Ints
    first: Ints
    closed: Ints
    config: Ints
    """Number of the configuration's version that answered first."""
    segment: list[str | None]
    outcomes: dict[str, Floats]
    before: dict[str, Floats]
    mixed: int


def units_of(journeys: Journeys, arms: dict[int, int], settings: ReportSettings) -> Units:
    """The users of slates whose variant is in `arms` (number of the text -> number of the arm). O(slates +
    purchases)."""
    import polars as pl

    slates = journeys.slates.filter(pl.col("variant").is_in(list(arms)))
    slates = slates.with_columns(pl.col("variant").replace_strict(arms, return_dtype=pl.Int64).alias("arm"))
    users = (
        slates.sort("ts", "row")
        .group_by("person", maintain_order=True)
        .agg(
            pl.col("ts").first().alias("start"),
            pl.col("arm").first(),
            pl.col("arm").n_unique().alias("arms"),
            pl.col("config").first(),
            pl.col("segment").first(),
        )
    )
    mixed = users.filter(pl.col("arms") > 1)
    users = users.filter(pl.col("arms") == 1)
    place = np.full(journeys.people, -1, dtype=np.int64)
    person = users["person"].to_numpy()
    place[person] = np.arange(len(users))
    first = users["start"].to_numpy()
    span = round(settings.outcome_days * DAY)
    outcomes = _shown(slates, place, first, span) | _bought(journeys.purchases, place, first, 0, span)
    closed = first + round(settings.retention_days * DAY)
    outcomes["users"] = np.ones(len(users))
    outcomes["watched"] = (closed <= journeys.clock).astype(np.float64)
    back = returned(journeys.activity, person, first, settings.retention_days)
    outcomes["returned"] = outcomes["watched"] * back
    past = round(settings.before_days * DAY)
    before = _bought(journeys.purchases, place, first, -past, 0)
    before["active"] = active(journeys.activity, person, first - past, first).astype(np.float64)
    return Units(
        person=person,
        arm=users["arm"].to_numpy(),
        first=first,
        closed=first + max(span, round(settings.retention_days * DAY)),
        config=users["config"].fill_null(0).to_numpy().astype(np.int64),
        segment=users["segment"].to_list(),
        outcomes=outcomes,
        before=before,
        mixed=len(mixed),
    )


def _shown(slates: pl.DataFrame, place: Ints, first: Ints, span: int) -> dict[str, Floats]:
    at = place[slates["person"].to_numpy()]
    known = at >= 0
    late = np.zeros(len(at), dtype=bool)
    late[known] = slates["ts"].to_numpy()[known] >= first[at[known]] + span
    kept = known & ~late
    clicked = slates["clicked"].to_numpy()[kept].astype(np.float64)
    count = len(first)
    return {
        "slates": np.bincount(at[kept], minlength=count).astype(np.float64),
        "clicked": np.bincount(at[kept], weights=clicked, minlength=count).astype(np.float64),
    }


def _bought(purchases: pl.DataFrame, place: Ints, first: Ints, since: int, until: int) -> dict[str, Floats]:
    """Purchases from `since` to `until` ms after each user's first slate, by user."""
    import polars as pl

    at = place[purchases["person"].to_numpy()]
    after = purchases["ts"].to_numpy() - np.where(at >= 0, first[at] if len(first) else 0, 0)
    table = purchases.with_columns(pl.Series("at", at)).filter(
        pl.Series((at >= 0) & (after >= since) & (after < until))
    )
    count = len(first)

    def summed(rows: pl.DataFrame, column: str | None = None) -> Floats:
        if column is None:
            rows = rows.unique("order")
        weights = None if column is None else rows[column].to_numpy()
        return np.bincount(rows["at"].to_numpy(), weights=weights, minlength=count).astype(np.float64)

    orders = summed(table)
    credited = table.filter(pl.col("how") == "click")
    viewed = table.filter(pl.col("how") == "view")
    return {
        "orders": orders,
        "bought": (orders > 0).astype(np.float64),
        "revenue": summed(table, "revenue"),
        "credited_orders": summed(credited),
        "credited_revenue": summed(credited, "revenue"),
        "viewed_revenue": summed(viewed, "revenue"),
    }
