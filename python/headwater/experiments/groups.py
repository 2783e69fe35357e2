"""What slates earned by variant, and within it by scenario, source and segment: all slates, credited by the stated
rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.experiments import bootstrap
from headwater.experiments.comparison import number
from headwater.experiments.journeys import DAY, Journeys, returned
from headwater.experiments.log_columns import LogColumns
from headwater.experiments.settings import ReportSettings
from headwater.scenario import DEFAULT_SCENARIO

if TYPE_CHECKING:
    import polars as pl

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NO_VARIANT, NO_SEGMENT, NO_SOURCE = "(none)", "(none)", "(none)"


class Interval(msgspec.Struct, frozen=True):
    """A number and its bootstrap interval over users; None where nothing is below the fraction bar."""

    value: float | None
    low: float | None
    high: float | None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One group of slates (of slots, by source). Orders and revenue are those credited to it by clicks; view-through
    stands apart. `conversion`: users with a credited order / users."""

    dimension: str
    """all, scenario, source or segment."""
    name: str
    variant: str
    exposures: int
    """Slates; of a source, slots."""
    users: int
    clicked: int
    orders: int
    revenue: float
    view_through_orders: int
    view_through_revenue: float
    ctr: Interval
    conversion: Interval
    revenue_per_user: Interval
    average_order_value: Interval
    retention: Interval


class _Cells(NamedTuple):
    """Rows of one dimension in the order of time, each with its person and number of a group, those of them that were
    clicked, and the groups' names."""

    dimension: str
    person: Ints
    group: Ints
    ts: Ints
    clicked: tuple[Ints, Ints]
    """Person and group of each clicked row."""
    credited: Ints
    """Group that each purchase is credited to, -1 without."""
    names: list[tuple[str, str]]
    """(name, variant) of each group."""


def groups_of(columns: LogColumns, journeys: Journeys, settings: ReportSettings) -> list[Group]:
    """Every dimension's groups, by variant. O(slots + resamples * units * groups)."""
    if not len(journeys.slates):
        return []
    units = bootstrap.units_of(journeys.people, settings.seed)
    size = min(len(units), bootstrap.UNITS)
    tables = [_sums(cells, journeys, units, size, settings) for cells in _dimensions(columns, journeys)]
    # All at once: drawing the resamples costs more than the sums.
    parts = [table.sums[name][:, table.served] for table in tables for name in _RESAMPLED]
    many = bootstrap.resampled(np.hstack(parts), settings.resamples, settings.seed)
    ends = np.cumsum([part.shape[1] for part in parts])
    pieces = iter(np.split(many, ends[:-1], axis=1))
    return [
        group for table in tables for group in _groups(table, {name: next(pieces) for name in _RESAMPLED}, settings)
    ]


def _dimensions(columns: LogColumns, journeys: Journeys) -> list[_Cells]:
    slates, slots, purchases = journeys.slates, journeys.slots, journeys.purchases
    variant, variants = _named(columns, slates["variant"], NO_VARIANT)
    scenario, scenarios = _named(columns, slates["scenario"], DEFAULT_SCENARIO)
    segment, segments = _texts(slates["segment"], NO_SEGMENT)
    person, ts = slates["person"].to_numpy(), slates["ts"].to_numpy()
    clicked = np.flatnonzero(slates["clicked"].to_numpy())
    row = purchases["row"].fill_null(-1).to_numpy()
    order = np.argsort(ts, kind="stable")

    def whole(dimension: str, of: Ints, names: list[str]) -> _Cells:
        group = variant * len(names) + of
        credited = np.where(row >= 0, group[row] if len(group) else 0, -1)
        named = [(n, v) for v in variants for n in names]
        hit = person[clicked], group[clicked]
        return _Cells(dimension, person[order], group[order], ts[order], hit, credited, named)

    cells = [whole("all", np.zeros(len(slates), dtype=np.int64), ["all"])]
    cells.append(whole("scenario", scenario, scenarios))
    counts = slates["slots"].to_numpy()[order]
    of = np.repeat(order, counts)
    before = slates["first"].to_numpy()[order] - (np.cumsum(counts) - counts)
    place = np.repeat(before, counts) + np.arange(len(of))
    source, sources = _named(columns, slots["source"], NO_SOURCE)
    names = [(n, v) for v in variants for n in sources]

    def group_at(row: Ints, place: Ints) -> Ints:
        found: Ints = variant[row] * len(sources) + source[place]
        return found

    clicks, at = journeys.clicks["row"].to_numpy(), journeys.clicks["place"].to_numpy()
    hit = person[clicks], group_at(clicks, at)
    at = purchases["place"].fill_null(-1).to_numpy()
    credited = np.where(at >= 0, group_at(row, at) if len(source) else -1, -1)
    cells.append(_Cells("source", person[of], group_at(of, place), ts[of], hit, credited, names))
    if segments != [NO_SEGMENT]:
        cells.append(whole("segment", segment, segments))
    return cells


def _named(columns: LogColumns, numbers: pl.Series, none: str) -> tuple[Ints, list[str]]:
    """Dense numbers of a column's texts in the order of their names, and the names."""
    given = numbers.fill_null(np.iinfo(np.uint32).max).to_numpy()
    size = int(numbers.drop_nulls().to_numpy().max(initial=0)) + 1
    present = np.zeros(size + 1, dtype=bool)
    place = np.minimum(given, size)
    present[place] = True
    seen = np.flatnonzero(present)
    texts = [none if number == size else str(columns.texts.texts("names", [int(number)])[0]) for number in seen]
    order = sorted(range(len(texts)), key=lambda at: texts[at])
    dense = np.zeros(size + 1, dtype=np.int64)
    dense[seen[order]] = np.arange(len(order))
    return dense[place], [texts[at] for at in order]


def _texts(values: pl.Series, none: str) -> tuple[Ints, list[str]]:
    import polars as pl

    filled = values.fill_null(none)
    names = sorted(filled.unique().to_list())
    numbers = {name: at for at, name in enumerate(names)}
    return filled.replace_strict(numbers, return_dtype=pl.Int64).to_numpy(), names


_RESAMPLED = ("exposures", "clicked", "users", "buyers", "orders", "revenue", "watched", "returned")


class _Table(NamedTuple):
    """Sums of one dimension by unit and group, each (units, groups), and the groups that have any exposure."""

    cells: _Cells
    sums: dict[str, Floats]
    served: Ints


def _groups(table: _Table, many: dict[str, Floats], settings: ReportSettings) -> list[Group]:
    cells, served = table.cells, table.served
    totals = {name: sums.sum(axis=0) for name, sums in table.sums.items()}

    def interval(at: int, num: str, den: str) -> Interval:
        below = totals[den][served[at]]
        if not below > 0:
            return Interval(None, None, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = bootstrap.percentiles(many[num][:, at] / many[den][:, at], settings.confidence)
        return Interval(float(totals[num][served[at]] / below), number(low), number(high))

    return [
        Group(
            dimension=cells.dimension,
            name=cells.names[group][0],
            variant=cells.names[group][1],
            exposures=round(totals["exposures"][group]),
            users=round(totals["users"][group]),
            clicked=round(totals["clicked"][group]),
            orders=round(totals["orders"][group]),
            revenue=float(totals["revenue"][group]),
            view_through_orders=round(totals["viewed_orders"][group]),
            view_through_revenue=float(totals["viewed_revenue"][group]),
            ctr=interval(at, "clicked", "exposures"),
            conversion=interval(at, "buyers", "users"),
            revenue_per_user=interval(at, "revenue", "users"),
            average_order_value=interval(at, "revenue", "orders"),
            retention=interval(at, "returned", "watched"),
        )
        for at, group in enumerate(served.tolist())
    ]


def _sums(cells: _Cells, journeys: Journeys, units: Ints, size: int, settings: ReportSettings) -> _Table:
    count = len(cells.names)

    def summed(person: Ints, group: Ints, values: Floats | None = None) -> Floats:
        return bootstrap.unit_sums(units[person], group, count, size, values)

    sums = {
        "exposures": summed(cells.person, cells.group),
        "clicked": summed(*cells.clicked),
    }
    person, group, first = _firsts(cells, count)
    sums["users"] = summed(person, group)
    watched = first + round(settings.retention_days * DAY) <= journeys.clock
    back = watched & returned(journeys.activity, person, first, settings.retention_days)
    sums["watched"] = summed(person, group, watched.astype(np.float64))
    sums["returned"] = summed(person, group, back.astype(np.float64))
    how = journeys.purchases["how"].fill_null("").to_numpy()
    buyer, order = journeys.purchases["person"].to_numpy(), journeys.purchases["order"].to_numpy()
    earned = journeys.purchases["revenue"].to_numpy()
    for kind, prefix in (("click", ""), ("view", "viewed_")):
        kept = (how == kind) & (cells.credited >= 0)
        of, by, orders = cells.credited[kept], buyer[kept], order[kept]
        sums[f"{prefix}revenue"] = summed(by, of, earned[kept])
        _, once = np.unique(orders * count + of, return_index=True)
        sums[f"{prefix}orders"] = summed(by[once], of[once])
        if kind == "click":
            _, once = np.unique(by * count + of, return_index=True)
            sums["buyers"] = summed(by[once], of[once])
    return _Table(cells, sums, np.flatnonzero(sums["exposures"].sum(axis=0) > 0))


def _firsts(cells: _Cells, count: int) -> tuple[Ints, Ints, Ints]:
    """Each person of each group with the time of their first row there."""
    key = cells.person * count + cells.group
    size = int(key.max(initial=-1)) + 1
    if size > 8 * len(key):  # many people or groups, few rows
        key, at = np.unique(key, return_index=True)
        return key // count, key % count, cells.ts[at]
    first = np.full(size, -1, dtype=np.int64)
    first[key[::-1]] = cells.ts[::-1]  # of several rows the one that is written last stays: the earliest
    found = np.flatnonzero(first >= 0)
    return found // count, found % count, first[found]
