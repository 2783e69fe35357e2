"""Which slate is credited: small cases by hand, many by a slow model."""

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from headwater.errors import InvalidInput
from headwater.events.frame import FrameWriter
from headwater.events.memory_log import MemoryLog
from headwater.events.subjects import subject_of
from headwater.events.types import (
    Event,
    Feedback,
    Impression,
    ItemPatch,
    ItemPut,
    SlateServed,
    UserForget,
    UserMerge,
)
from headwater.experiments.journeys import Journeys, journeys
from headwater.experiments.log_columns import LogColumns, Wanted, read_columns
from headwater.experiments.settings import ReportSettings
from reference.credited import credits

START, HOUR = 1_750_000_000_000, 3_600_000
SETTINGS = ReportSettings(conversions=("purchase",), ignored=("impression", "dislike"))


def served(slate: str, user: str, items: str, hours: float = 0.0, **request: Any) -> SlateServed:
    slots = [(item, 1.0, "popular", 1.0, 1.0, False) for item in items]
    ts = START + round(hours * HOUR)
    return SlateServed(slate, user, ts, request, request.get("variant"), "q1", "k1", [1], [], None, slots)


def did(type: str, user: str, item: str, hours: float, slate: str | None = None, **more: Any) -> Feedback:
    return Feedback(type, user, item, START + round(hours * HOUR), slate=slate, **more)


def log_of(events: Sequence[Event]) -> MemoryLog:
    log, writer = MemoryLog(), FrameWriter("test", 1)
    for event in events:
        log.append(list(writer.pack(subject_of(event, 4), [event], START + 10_000 * HOUR)))
    return log


def read(events: Sequence[Event], settings: ReportSettings = SETTINGS) -> tuple[LogColumns, Journeys]:
    wanted = Wanted(settings.types, price_label=settings.price_label)
    columns = read_columns(log_of(events), wanted)
    return columns, journeys(columns, settings)


def told(columns: LogColumns, walks: Journeys) -> list[tuple[str | None, int | None, str | None]]:
    """Slate, slot and how of each purchase, in the order of the log."""
    names = dict(zip(walks.slates["row"], columns.texts.texts("ids", walks.slates["slate"].to_list()), strict=True))
    firsts = dict(zip(walks.slates["row"], walks.slates["first"], strict=True))
    rows = walks.purchases.sort("answer").select("row", "place", "how").rows()
    return [(names.get(row), None if row is None else place - firsts[row], how) for row, place, how in rows]


def credited(*events: Event, **changes: Any) -> list[tuple[str | None, int | None, str | None]]:
    settings = ReportSettings(**{"conversions": ("purchase",), "ignored": ("impression", "dislike"), **changes})
    return told(*read(events, settings))


NONE = (None, None, None)


def test_the_last_click_on_the_item_is_credited() -> None:
    s1, s2 = served("s1", "ann", "abc"), served("s2", "ann", "cba", 1)
    click1, click2 = did("click", "ann", "b", 0.1, "s1"), did("click", "ann", "b", 1.1, "s2")
    bought = did("purchase", "ann", "b", 5)
    assert credited(s1, s2, click1, click2, bought) == [("s2", 1, "click")]
    assert credited(s1, s2, click1, bought) == [("s1", 1, "click")]
    # Nothing of what comes later, of what someone else did, of what is too long ago.
    assert credited(s1, click1, did("purchase", "ann", "b", 0.05), view_hours=0) == [NONE]
    assert credited(s1, click1, did("purchase", "bob", "b", 1)) == [NONE]
    assert credited(s1, click1, did("purchase", "ann", "b", 0.1 + 7 * 24)) == [("s1", 1, "click")]
    assert credited(s1, click1, did("purchase", "ann", "b", 0.2 + 7 * 24)) == [NONE]
    # Another item: only where any click counts.
    other = did("purchase", "ann", "z", 2)
    assert credited(s1, click1, other) == [NONE]
    assert credited(s1, click1, other, match="any") == [("s1", 1, "click")]


def test_a_purchase_that_names_its_slate_is_that_slates() -> None:
    s1, s2 = served("s1", "ann", "abc"), served("s2", "ann", "abc", 1)
    click = did("click", "ann", "a", 1.1, "s2")
    assert credited(s1, s2, click, did("purchase", "ann", "a", 2, "s1", slot=0)) == [("s1", 0, "click")]
    # If it may be: not of another slot, another user, or before.
    assert credited(s1, s2, click, did("purchase", "ann", "a", 2, "s1", slot=1)) == [("s2", 0, "click")]
    assert credited(s1, did("purchase", "bob", "a", 2, "s1")) == [NONE]


def test_what_was_only_seen_stands_apart() -> None:
    slate, bought = served("s1", "ann", "abc"), did("purchase", "ann", "b", 3)
    assert credited(slate, bought) == [("s1", 1, "view")]
    assert credited(slate, did("purchase", "ann", "b", 25)) == [NONE]
    assert credited(slate, Impression("ann", "s1", START, [0, 2]), bought) == [NONE]
    assert credited(slate, Impression("ann", "s1", START, [0, 1]), bought) == [("s1", 1, "view")]
    assert credited(slate, did("dislike", "ann", "b", 1, "s1"), bought) == [("s1", 1, "view")]
    assert credited(slate, did("view", "ann", "b", 1, "s1"), bought, clicks=("click",)) == [("s1", 1, "view")]


def test_orders_and_revenue() -> None:
    events = [
        ItemPut("a", START, labels={"price": 5}),
        did("purchase", "ann", "a", 1, value=2.0, basket="b1"),
        ItemPatch("a", START, labels={"price": 7.5}),
        did("purchase", "ann", "a", 2, value=3.0, basket="b1"),
        ItemPatch("a", START, labels={"price": None}),
        did("purchase", "ann", "a", 3, basket="b2"),
        did("purchase", "bob", "a", 3, basket="b2", event_id="e1"),
        did("purchase", "bob", "a", 3, basket="b2", event_id="e1"),
        did("purchase", "bob", "z", 4, value=1.0),
    ]
    _, walks = read(events)
    assert walks.purchases["revenue"].to_list() == [2.0, 3.0, 0.0, 0.0, 1.0]
    assert walks.purchases["order"].n_unique() == 4
    assert (walks.unpriced, walks.set_aside) == (2, {"repeat-event": 1})
    _, walks = read(events, ReportSettings(conversions=("purchase",), price_label="price"))
    assert walks.purchases["revenue"].to_list() == [5.0, 7.5, 0.0, 0.0, 0.0]
    assert walks.unpriced == 3


def test_people_are_joined_by_merges_and_forgotten_when_they_ask() -> None:
    slate, click = served("s1", "cookie", "abc"), did("click", "cookie", "b", 0.1, "s1")
    bought = did("purchase", "ann", "b", 1)
    assert credited(slate, click, bought, view_hours=0) == [NONE]
    assert credited(slate, click, UserMerge("cookie", "ann", START), bought) == [("s1", 1, "click")]
    merges = [UserMerge("cookie", "account", START), UserMerge("ann", "account", START)]
    assert credited(slate, click, *merges, bought) == [("s1", 1, "click")]
    _, walks = read([slate, click, UserForget("cookie", START), served("s2", "cookie", "ab", 2), bought])
    assert (len(walks.slates), len(walks.clicks), walks.set_aside) == (1, 0, {"forgotten-user": 1})


def test_what_bears_on_no_slate_is_counted() -> None:
    slate = served("s1", "ann", "abc")
    _, walks = read(
        [
            slate,
            slate,
            did("click", "ann", "a", 1, "s9"),
            did("click", "bob", "a", 1, "s1"),
            did("click", "ann", "a", -1, "s1"),
            did("click", "ann", "a", 200, "s1"),
            did("click", "ann", "z", 1, "s1"),
            did("click", "ann", "a", 1, "s1", slot=2),
            did("click", "ann", "a", 1, "s1"),
        ]
    )
    assert walks.set_aside == {
        "after-window": 1,
        "before-slate": 1,
        "item-not-in-slate": 2,
        "other-user": 1,
        "repeat-slate": 1,
        "unknown-slate": 1,
    }
    assert walks.slates["clicked"].to_list() == [True]


def random_events(seed: int) -> list[Event]:
    random = Random(seed)
    users, items = ["ann", "bob", "cem"], "abcdefgh"
    events: list[Event] = []
    for number in range(30):
        hours = random.uniform(0, 400)
        user, shown = random.choice(users), "".join(random.sample(items, 4))
        events.append(served(f"s{number}", user, shown, hours))
        if random.random() < 0.3:
            slots = random.sample(range(4), 2)
            events.append(Impression(user, f"s{number}", START + round(hours * HOUR) + 5, slots))
    for _ in range(120):
        type = random.choice(("click", "view", "purchase", "dislike"))
        slate = random.choice([event.slate for event in events if isinstance(event, SlateServed)])
        where = {"slate": slate if random.random() < 0.7 else None, "slot": random.choice((None, 0, 1, 2, 3))}
        # Times are distinct: which of two simultaneous clicks is the last is not defined.
        events.append(
            Feedback(type, random.choice(users), random.choice(items), START + random.randrange(500 * HOUR), **where)
        )
    random.shuffle(events)
    return events


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("match", ["item", "any"])
def test_random_logs_are_credited_as_the_slow_model_does(seed: int, match: Any) -> None:
    settings = ReportSettings(
        conversions=("purchase",), ignored=("impression", "dislike"), window_hours=60, view_hours=40, match=match
    )
    events = random_events(seed)
    columns, walks = read(events, settings)
    slots, expected = credits(events, settings)
    assert told(columns, walks) == [tuple(credit) for credit in expected]
    assert sum(how is not None for _, _, how in expected) > 3
    names = columns.texts.texts("ids", walks.slates["slate"].to_list())
    found = {(names[row], slot) for row, slot in walks.clicks.select("row", "slot").rows()}
    assert found == slots


def test_settings_out_of_range_are_refused() -> None:
    for field, value in (("window_hours", 0), ("confidence", 1.0), ("resamples", 5), ("match", "last")):
        with pytest.raises(InvalidInput, match=f"{field} = "):
            ReportSettings(conversions=("purchase",), **{field: value})
    with pytest.raises(InvalidInput, match=r"conversions = .*at least one"):
        ReportSettings(conversions=())
    with pytest.raises(InvalidInput, match="clicks = 'a b'"):
        ReportSettings(conversions=("purchase",), clicks=("a b",))
