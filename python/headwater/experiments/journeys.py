"""From columns of a log to what each person was shown, clicked and bought, and which slate is credited with it.

Pure: columns and settings in, arrays out. Rules are those of `headwater.experiments.settings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater.config import TYPE_SPEC
from headwater.experiments.log_columns import LogColumns
from headwater.experiments.settings import ReportSettings
from headwater.learning.people import People

if TYPE_CHECKING:
    import polars as pl

HOUR, DAY = 3_600_000, 86_400_000
Ints = NDArray[np.int64]


class Journeys(NamedTuple):
    """What a log says of people. `row` numbers slates from 0; persons are numbered densely.

    `slates`: row, person, ts, scenario, variant, config (numbers of texts), segment (text), slots, first (place of
    its first slot in `slots`), position, clicked. `slots`: item, source. `clicks`: row, slot, place, person, item,
    ts, one for each slot that was clicked. `purchases`: person, item, ts, order, revenue, row, place and how
    ("click", "view", null) of the slate that is credited. `activity`: keys of person and second, sorted (`active`
    reads them).
    """

    slates: pl.DataFrame
    slots: pl.DataFrame
    clicks: pl.DataFrame
    purchases: pl.DataFrame
    activity: Ints
    people: int
    clock: int
    set_aside: dict[str, int]
    unpriced: int
    """Purchases without a value (or a price): they count as orders and earn nothing."""


def journeys(columns: LogColumns, settings: ReportSettings) -> Journeys:
    """Join a log's columns. O(n log n) in slates, feedback and what is looked up."""
    import polars as pl

    set_aside = Counter(columns.set_aside)
    persons = _Persons(columns)
    slates = _slates(columns, persons, set_aside)
    answers = _answers(columns, persons, set_aside)
    hit = _clicks(columns, slates, answers, settings, set_aside)
    clicks = hit.unique(("row", "slot"), keep="first", maintain_order=True)
    purchases, unpriced = _purchases(columns, answers, settings)
    purchases = _credited(columns, slates, hit, purchases, settings)
    clicked = np.zeros(len(slates), dtype=bool)
    clicked[clicks["row"].to_numpy()] = True
    person = persons.of(columns.activity["user"].to_numpy())
    seconds = columns.activity["ts"].to_numpy() // 1000
    kept = person >= 0
    return Journeys(
        slates=slates.with_columns(pl.Series("clicked", clicked)),
        slots=columns.slots,
        clicks=clicks,
        purchases=purchases,
        activity=np.sort(_key(person[kept], seconds[kept])),
        people=persons.count,
        clock=columns.clock,
        set_aside=dict(sorted(set_aside.items())),
        unpriced=unpriced,
    )


def _key(person: Ints, seconds: Ints) -> Ints:
    return person << 34 | np.clip(seconds, 0, (1 << 34) - 1)


def active(activity: Ints, person: Ints, since: Ints, until: Ints) -> NDArray[np.bool_]:
    """Whether each person did anything from `since` to before `until` (ms, by whole seconds)."""
    begin, end = (np.searchsorted(activity, _key(person, moment // 1000)) for moment in (since, until))
    return begin < end


def returned(activity: Ints, person: Ints, first: Ints, days: float) -> NDArray[np.bool_]:
    """Whether each person did anything from a day after `first` (ms) until `days` days after it."""
    return active(activity, person, first + DAY, first + round(days * DAY))


class _Persons:
    """Dense numbers of people: ids that merges connect are one. Users who asked to be forgotten are -1."""

    def __init__(self, columns: LogColumns) -> None:
        frames = (columns.slates, columns.activity, columns.views)
        users = [frame["user"].to_numpy() for frame in frames]
        size = 1 + max((int(user.max()) for user in users if len(user)), default=0)
        numbers = np.arange(size, dtype=np.int64)
        people = People(columns.merges)
        # Whoever stands for a group need not have done anything themselves.
        first: dict[str, int] = {}
        for name in sorted({name for pair in columns.merges for name in pair}):
            number = columns.texts.number("users", name)
            if number is not None and number < size:
                numbers[number] = first.setdefault(people.leader(name), number)
        self.gone = np.zeros(size, dtype=np.uint64)
        for user, position in columns.forgotten.items():
            for name in people.became(user):
                number = columns.texts.number("users", name)
                if number is not None and number < size:
                    self.gone[number] = max(int(self.gone[number]), position)
        present = np.zeros(size, dtype=bool)
        for own in users:
            present[own] = True
        leaders = np.unique(numbers[present])
        dense = np.full(size, -1, dtype=np.int64)
        dense[leaders] = np.arange(len(leaders))
        self._dense = dense[numbers]
        self._dense[self.gone > 0] = -1
        self._plain = dense[numbers]
        self.count = len(leaders)

    def of(self, users: NDArray[np.uint32]) -> Ints:
        """Persons of users; -1 for those who asked to be forgotten."""
        return self._dense[users]

    def at(self, users: NDArray[np.uint32], positions: NDArray[np.uint64]) -> Ints:
        """Persons of users at log positions; -1 for what lies before a wish to be forgotten."""
        return np.where(positions <= self.gone[users], -1, self._plain[users])


def _slates(columns: LogColumns, persons: _Persons, set_aside: Counter[str]) -> pl.DataFrame:
    import polars as pl

    table = columns.slates
    slots = table["slots"].to_numpy().astype(np.int64)
    person = persons.at(table["user"].to_numpy(), table["position"].to_numpy())
    table = table.with_columns(pl.Series("person", person), pl.Series("first", np.cumsum(slots) - slots))
    table = table.with_columns(pl.col("slots").cast(pl.Int64), pl.col("position").cast(pl.UInt64))
    distinct = table.unique("slate", keep="first", maintain_order=True)
    kept = distinct.filter(pl.col("person") >= 0)
    _note(set_aside, "repeat-slate", len(table) - len(distinct))
    _note(set_aside, "forgotten-user", len(distinct) - len(kept))
    kept = _as_of(kept, columns.segments, "user", "segment")
    return kept.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


def _as_of(table: pl.DataFrame, put: pl.DataFrame, id: str, value: str) -> pl.DataFrame:
    """`table` with what was put last of its `id` before its position."""
    import polars as pl

    if not len(put):
        return table.with_columns(pl.lit(None, dtype=put.schema[value]).alias(value))
    order = table.with_row_index("#order").sort("position", maintain_order=True)
    put = put.sort("position", maintain_order=True)
    found = order.join_asof(put, on="position", by=id, strategy="backward", check_sortedness=False)
    return found.sort("#order").drop("#order")


def _answers(columns: LogColumns, persons: _Persons, set_aside: Counter[str]) -> pl.DataFrame:
    import polars as pl

    table = columns.answers
    person = persons.at(table["user"].to_numpy(), table["position"].to_numpy())
    table = table.with_columns(pl.Series("person", person)).with_row_index("answer")
    named = table.filter(pl.col("event_id").is_not_null())
    again = len(named) - len(distinct := named.unique(("partition", "event_id"), keep="first"))
    if again:
        table = pl.concat((table.filter(pl.col("event_id").is_null()), distinct)).sort("answer")
    _note(set_aside, "repeat-event", again)
    return table.filter(pl.col("person") >= 0)


def _of_types(columns: LogColumns, specs: Iterable[str]) -> Any:
    """Whether a row of answers is of one of these type specs."""
    import polars as pl

    found = pl.lit(False)
    for spec in specs:
        match = TYPE_SPEC.match(spec)
        number = None if match is None else columns.texts.number("names", match["type"])
        if match is None or number is None:
            continue
        one = pl.col("type") == number
        if match["op"] is not None:
            bound = float(match["value"])
            value = pl.col("value") >= bound if match["op"] == ">=" else pl.col("value") <= bound
            one = one & value.fill_null(False)
        found = found | one
    return found


def _clicks(
    columns: LogColumns,
    slates: pl.DataFrame,
    answers: pl.DataFrame,
    settings: ReportSettings,
    set_aside: Counter[str],
) -> pl.DataFrame:
    """Answers that name a slate of their person's and an item of it: answer, row, slot, place, person, item, ts."""
    import polars as pl

    kind = _of_types(columns, settings.clicks) | _of_types(columns, settings.conversions)
    if not settings.clicks:
        kind = ~_of_types(columns, settings.ignored)
    named = answers.filter(pl.col("slate").is_not_null() & kind)
    own = slates.select("slate", "row", "first", "slots", pl.col("person").alias("whose"), pl.col("ts").alias("served"))
    named = named.select("answer", "slate", "slot", "person", "item", "ts").join(own, on="slate", how="left")
    window = round(settings.window_hours * HOUR)
    wrong = (
        pl.when(pl.col("row").is_null())
        .then(pl.lit("unknown-slate"))
        .when(pl.col("whose") != pl.col("person"))
        .then(pl.lit("other-user"))
        .when(pl.col("ts") < pl.col("served"))
        .then(pl.lit("before-slate"))
        .when(pl.col("ts") > pl.col("served") + window)
        .then(pl.lit("after-window"))
    )
    named = named.with_columns(wrong.alias("wrong"))
    for reason, count in named.filter(pl.col("wrong").is_not_null()).group_by("wrong").len().rows():
        _note(set_aside, reason, count)
    named = named.filter(pl.col("wrong").is_null())
    return _placed(columns, named, set_aside).select("answer", "row", "slot", "place", "person", "item", "ts")


def _placed(columns: LogColumns, named: pl.DataFrame, set_aside: Counter[str]) -> pl.DataFrame:
    """With the slot that each answer is about: the one it names, if the item stands there, else the item's first."""
    import polars as pl

    counts = named["slots"].to_numpy()
    of = np.repeat(np.arange(len(named)), counts)
    starts = np.cumsum(counts) - counts
    slot = np.arange(len(of)) - starts[of]
    place = named["first"].to_numpy()[of] + slot
    same = columns.slots["item"].to_numpy()[place] == named["item"].to_numpy()[of]
    given = named["slot"].cast(pl.Int64).fill_null(-1).to_numpy()[of]
    same &= (given < 0) | (given == slot)
    of, slot, place = of[same], slot[same], place[same]
    rows, at = np.unique(of, return_index=True)
    _note(set_aside, "item-not-in-slate", len(named) - len(rows))
    return named[rows].with_columns(pl.Series("slot", slot[at]), pl.Series("place", place[at]))


def _purchases(columns: LogColumns, answers: pl.DataFrame, settings: ReportSettings) -> tuple[pl.DataFrame, int]:
    """answer, person, item, ts, order, revenue of every conversion, by time; and how many have no price."""
    import polars as pl

    bought = answers.filter(_of_types(columns, settings.conversions))
    if settings.price_label is not None:
        bought = _as_of(bought, columns.prices, "item", "price")
        earned = pl.col("price")
    else:
        earned = pl.col("value")
    # One order a basket of a person; a purchase without one is an order of its own.
    order = pl.struct("person", "basket", pl.when(pl.col("basket").is_null()).then(pl.col("answer")))
    table = bought.select(
        "answer", "person", "item", "ts", order.rank("dense").cast(pl.Int64).alias("order"), earned.alias("revenue")
    )
    unpriced = table["revenue"].null_count()
    return table.with_columns(pl.col("revenue").fill_null(0.0)).sort("ts", maintain_order=True), unpriced


def _credited(
    columns: LogColumns,
    slates: pl.DataFrame,
    hit: pl.DataFrame,
    purchases: pl.DataFrame,
    settings: ReportSettings,
) -> pl.DataFrame:
    """`purchases` with row and place of the slate that is credited, and how."""
    import polars as pl

    direct = purchases.join(hit.select("answer", "row", "place"), on="answer", how="left")
    rest = direct.filter(pl.col("row").is_null()).drop("row", "place").sort("ts", maintain_order=True)
    by = ["person", "item"] if settings.match == "item" else ["person"]
    columns_of = ["row", "place", "ts", *by]
    found = _before(rest, hit.select(columns_of), by, settings.window_hours)
    unseen = found.filter(pl.col("row").is_null()).drop("row", "place")
    viewed = _before(unseen, _exposures(columns, slates, unseen), ["person", "item"], settings.view_hours)
    how = [
        (direct.filter(pl.col("row").is_not_null()), "click"),
        (found.filter(pl.col("row").is_not_null()), "click"),
        (viewed.filter(pl.col("row").is_not_null()), "view"),
        (viewed.filter(pl.col("row").is_null()), None),
    ]
    named = [table.select(direct.columns).with_columns(pl.lit(name, pl.String).alias("how")) for table, name in how]
    return pl.concat(named).sort("ts", "answer")


def _before(events: pl.DataFrame, causes: pl.DataFrame, by: list[str], hours: float) -> pl.DataFrame:
    """`events` with row and place of the last of `causes` at most so many hours before; null without."""
    import polars as pl

    # Of one number instead of two: that is joined several times as fast.
    both = pl.col("person") * (1 << 32) + pl.col("item").cast(pl.Int64) if "item" in by else pl.col("person")
    causes = causes.sort("ts", maintain_order=True).select("row", "place", "ts", both.alias("#by"))
    tolerance = round(hours * HOUR)
    found = events.with_columns(both.alias("#by")).join_asof(
        causes, on="ts", by="#by", strategy="backward", tolerance=tolerance, check_sortedness=False
    )
    return found.drop("#by")


def _exposures(columns: LogColumns, slates: pl.DataFrame, purchases: pl.DataFrame) -> pl.DataFrame:
    """Where the persons of `purchases` were shown an item that any of these purchases is of."""
    import polars as pl

    shown, items = columns.slots["item"].to_numpy(), purchases["item"].to_numpy()
    bought = np.zeros(1 + max(shown.max(initial=0), items.max(initial=0)), dtype=bool)
    bought[items] = True
    theirs = slates.filter(pl.col("person").is_in(purchases["person"].unique().implode()))
    counts, first = theirs["slots"].to_numpy(), theirs["first"].to_numpy()
    of = np.repeat(np.arange(len(theirs)), counts)
    slot = np.arange(len(of)) - (np.cumsum(counts) - counts)[of]
    place = first[of] + slot
    item = shown[place]
    kept = bought[item]
    table = theirs.select("row", "slate", "person", "ts")[of[kept]].with_columns(
        pl.Series("item", item[kept]), pl.Series("place", place[kept]), pl.Series("slot", slot[kept], pl.UInt32)
    )
    if len(columns.views):
        impressed = pl.col("slate").is_in(columns.views["slate"].unique().implode())
        named = columns.views.select("slate", "slot").unique()
        table = pl.concat((table.filter(~impressed), table.filter(impressed).join(named, on=["slate", "slot"])))
    found: pl.DataFrame = table.select("row", "place", "ts", "person", "item")
    return found


def _note(set_aside: Counter[str], reason: str, count: int) -> None:
    if count:
        set_aside[reason] += count
