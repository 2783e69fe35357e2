"""Slates meet what became of them."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
import pytest

from headwater.events.frame import FrameWriter
from headwater.events.subjects import partition_of, subject_of
from headwater.events.types import Event, UserForget, UserMerge
from headwater.learning import COLUMNS, Joined, Rewards, join
from reference.slate_log import HOUR, PARTITIONS, START, did, frames_of, later, log_of, seen, served

CLICKS = Rewards(values={"click": 1.0, "purchase": 5.0}, negative=("dislike",))
OVER = later(25)


def joined(*events: Event, rewards: Rewards = CLICKS) -> Joined:
    return join(log_of(*events), rewards)


def column(result: Joined, name: str) -> list[Any]:
    return result.table[name].to_list()


def test_a_row_holds_what_the_record_holds() -> None:
    result = joined(later(0), served(pinned=[1]), OVER)
    assert result.table.columns == [c.name for c in COLUMNS]
    assert [str(dtype) for dtype in result.table.dtypes] == [c.dtype for c in COLUMNS]
    row = result.table.row(1, named=True)
    assert row["propensity_cascade"] == pytest.approx(0.2)
    del row["propensity_cascade"]
    assert row == {
        **{"slate": "s1", "user": "ann", "ts": START, "scenario": "home", "variant": "v1", "config_version": "q1"},
        **{"scorer_version": "k1", "position": 2, "slot": 1, "item": "b", "score": 0.5, "source": "popular"},
        **{"propensity": 0.4, "pinned": True, "seen": None, "impressed": False, "closed": True},
        **{"status": "unobserved", "reward": 0.0, "reward_type": None, "reward_ts": None, "delay_ms": None},
    }
    assert (result.clock, result.slates, result.set_aside) == (START + 25 * HOUR, 1, {})


def test_statuses() -> None:
    result = joined(served(), seen([0, 1]), did("click", "b", 1), OVER)
    assert column(result, "status") == ["negative", "rewarded", "unobserved"]
    assert column(result, "seen") == [True, True, False]
    assert column(result, "impressed") == [True, True, False]
    assert result.statuses == {"rewarded": 1, "negative": 1, "unobserved": 1, "open": 0}


def test_unclicked_without_an_impression_is_not_negative() -> None:
    result = joined(served(), did("click", "b", 1), OVER)
    assert column(result, "status") == ["unobserved", "rewarded", "unobserved"]
    assert column(result, "seen") == [None, True, None]
    assert column(result, "impressed") == [False, False, False]


@pytest.mark.parametrize(("hours", "closed"), [(24, False), (24.001, True)])
def test_a_slot_is_open_until_the_clock_passes_its_window(hours: float, closed: bool) -> None:
    result = joined(served(), seen([0, 1]), did("click", "b", 1), later(hours))
    assert column(result, "status") == [
        *(["negative"] if closed else ["open"]),
        "rewarded",
        "unobserved" if closed else "open",
    ]
    assert column(result, "closed") == [closed] * 3


def test_the_window_includes_its_ends() -> None:
    edges = [did("click", "a", 0, after=0), did("click", "b", 1, after=24 * HOUR)]
    beyond = [did("click", "c", 2, after=24 * HOUR + 1), did("click", "c", 2, after=-1), seen([2], after=24 * HOUR + 1)]
    result = joined(served(), *edges, *beyond, OVER)
    assert column(result, "status") == ["rewarded", "rewarded", "unobserved"]
    assert column(result, "delay_ms") == [0, 24 * HOUR, None]
    assert result.set_aside == {"after-window": 2, "before-slate": 1}


def test_the_slot_is_found_by_the_item() -> None:
    result = joined(served(), did("click", "c"), OVER)
    assert column(result, "status") == ["unobserved", "unobserved", "rewarded"]


def test_what_fits_no_slot_is_set_aside_by_reason() -> None:
    result = joined(
        served(),
        did("click", "a", 1),
        did("click", "x"),
        did("click", "a", 3),
        did("click", "a", 0, user="bob"),
        did("click", "a", 0, slate="s9"),
        seen([0, 7]),
        seen([1], user="bob"),
        OVER,
    )
    assert column(result, "status") == ["negative", "unobserved", "unobserved"]
    assert result.set_aside == {
        **{"item-not-in-slot": 1, "item-not-in-slate": 1, "no-such-slot": 2, "other-user": 2, "unknown-slate": 1}
    }


def test_several_rewards_give_their_maximum_or_their_sum() -> None:
    events = (
        served(),
        did("click", "a", 0, after=2000),
        did("purchase", "a", 0, after=HOUR),
        did("click", "a", 0, after=2 * HOUR),
        did("purchase", "a", 0, after=3 * HOUR),
        OVER,
    )
    for combine, reward in (("max", 5.0), ("sum", 12.0)):
        result = joined(*events, rewards=Rewards(values=CLICKS.values, combine=combine))  # type: ignore[arg-type]
        row = result.table.row(0, named=True)
        assert (row["reward"], row["reward_type"], row["reward_ts"]) == (reward, "purchase", START + HOUR)


def test_of_equal_rewards_the_earliest_is_named() -> None:
    likes = [did("like", "a", 0, after=3000), did("click", "a", 0, after=2000), did("cart", "a", 0, after=2000)]
    rewards = Rewards(values={"click": 1, "like": 1, "cart": 1})
    for order in (likes, likes[::-1], likes[1:] + likes[:1]):
        row = joined(served(), *order, OVER, rewards=rewards).table.row(0, named=True)
        assert (row["reward_type"], row["delay_ms"]) == ("cart", 2000)


def test_an_event_id_counts_once_per_partition() -> None:
    assert partition_of("ann", PARTITIONS) != partition_of("bob", PARTITIONS)
    clicks = [did("click", "a", 0, user="ann", id="e1"), did("click", "a", 0, "s2", "bob", id="e1")]
    assert joined(served(), served("s2", "bob"), *clicks, OVER).statuses["rewarded"] == 2, "as in the fold"


def test_an_event_id_counts_once() -> None:
    twice = [did("click", "a", 0, id="e1"), did("click", "a", 0, id="e1"), seen([1], id="e2"), seen([1], id="e2")]
    result = joined(served(), *twice, OVER, rewards=Rewards(values={"click": 1}, combine="sum"))
    assert column(result, "reward") == [1, 0, 0]
    assert result.set_aside == {"repeat-event": 2}
    without = joined(served(), *[did("click", "a", 0)] * 2, OVER, rewards=Rewards(values={"click": 1}, combine="sum"))
    assert column(without, "reward") == [2, 0, 0]


def test_negative_feedback_and_exposures_do_not_reward() -> None:
    shown = did("impression", "a", 0)
    result = joined(served(), shown, did("dislike", "b", 1), did("view", "c", 2), OVER)
    assert column(result, "status") == ["negative", "unobserved", "unobserved"]
    assert column(result, "impressed") == [True, False, False], "an event of an impression type names its slot"


def test_a_merged_user_is_the_same_person() -> None:
    merge = UserMerge("visitor-7", "ann", START + 500)
    events = [served(user="visitor-7"), did("click", "a", 0), seen([0, 1]), OVER]
    assert joined(*events).set_aside == {"other-user": 2}
    for order in ([merge, *events], [*events, merge]):
        result = joined(*order)
        assert (column(result, "status"), result.set_aside) == (["rewarded", "negative", "unobserved"], {})
    around = joined(*events, merge, UserMerge("ann", "visitor-7", START + 600))
    assert around.set_aside == {}, "merges in a circle end"


def test_slates_from_before_a_wish_to_be_forgotten_are_left_out() -> None:
    again = served("s2", ts=START + HOUR)
    result = joined(served(), did("click", "a", 0), UserForget("ann", START), again, served("s3", "bob"), OVER)
    assert sorted(set(column(result, "slate"))) == ["s2", "s3"]
    assert result.set_aside == {"forgotten-user": 2}
    shared = [UserMerge("v7", "ann", START), UserMerge("v7", "bob", START), UserForget("ann", START)]
    result = joined(served(user="v7"), served("s2", "bob"), *shared, OVER)
    assert sorted(set(column(result, "slate"))) == ["s2"], "bob shares a device with ann, he is not her"
    log = log_of(OVER)
    writer = FrameWriter("one frame", 1)
    both: list[Event] = [served(), UserForget("ann", START)]
    log.append(list(writer.pack(subject_of(served(), PARTITIONS), both, START)))
    assert join(log, CLICKS).slates == 0
    merged = joined(served(user="v7"), UserMerge("v7", "ann", START), UserForget("ann", START), OVER)
    assert (merged.slates, merged.set_aside) == (0, {"forgotten-user": 1})


def test_a_slate_id_counts_once() -> None:
    result = joined(served(), served(items="xyz"), OVER)
    assert column(result, "item") == ["a", "b", "c"]
    assert result.set_aside == {"repeat-slate": 1}


@pytest.mark.parametrize("seed", range(20))
def test_the_order_of_events_does_not_matter(seed: int) -> None:
    events = [
        *(served(), served("s2", "bob", "cab", ts=START + HOUR, scenario=7)),
        *(seen([0, 1], id="i1"), seen([0, 1], id="i1"), seen([1], "s2", "bob", after=2 * HOUR)),
        *(did("click", "b", 1, id="c1"), did("click", "b", 1, id="c1"), did("purchase", "b", after=HOUR)),
        did("cart", "b", after=HOUR),
        *(did("click", "a", None, "s2", "bob", after=2 * HOUR), did("click", "a", 0, "s2", "bob", after=2 * HOUR)),
        *(did("click", "a", after=40 * HOUR), later(30)),
    ]
    rewards = Rewards(values={"click": 0.1, "purchase": 0.7, "cart": 0.2}, combine="sum")
    whole = joined(*events, rewards=rewards)
    assert whole.statuses["rewarded"] == 2
    shuffled = random.Random(seed).sample(events, len(events))
    again = joined(*shuffled, rewards=rewards)
    order = pl.col("slate"), pl.col("slot")
    assert again.table.drop("position").sort(*order).equals(whole.table.drop("position").sort(*order))
    assert again.set_aside == whole.set_aside


def test_a_range_of_positions_is_read_as_if_it_were_the_log() -> None:
    log = log_of(
        served(), did("click", "a", 0), served("s2", ts=START + HOUR), did("click", "b", 1, "s2", after=2 * HOUR), OVER
    )
    result = join(log, CLICKS, start=2)
    assert (column(result, "slate"), result.set_aside) == (["s2"] * 3, {"unknown-slate": 1})
    early = join(log, CLICKS, stop=2)
    assert (column(early, "status"), early.clock) == (["open"] * 3, START)
    assert join(log, {"click": 1.0}, start=6).table.is_empty()


def test_a_scenario_that_is_no_text_is_none() -> None:
    assert column(joined(served(scenario=3), OVER), "scenario") == [None] * 3


def test_repeated_frames_count_once() -> None:
    log = log_of(served())
    click = frames_of([served(), did("click", "a", 0)])[1]
    log.append([click, click])
    log.append(frames_of([OVER], epoch=2))
    result = join(log, Rewards(values={"click": 1}, combine="sum"))
    assert column(result, "reward") == [1, 0, 0]
    assert result.set_aside == {"repeat-frame": 1}
