"""A visitor turns out to be a known user: what a merge means for events, questions, retries, crashes and forgetting."""

from __future__ import annotations

import threading
from pathlib import Path

import polars as pl
import pytest

from headwater import Engine, Feedback
from headwater.core import all_merged, moving_state
from headwater.errors import InvalidEvent, InvalidQuery, MergeConflict
from headwater.events.frame import FrameWriter, decode_frame
from headwater.events.log import EventLog, decode_frames
from headwater.events.subjects import subject_of
from headwater.events.types import Event, MergeCarried, MergeSettled, UserForget, UserMerge

START = 1_700_000_000_000
PARTITIONS = 16


def items_of(engine: Engine, user: str) -> list[str]:
    return [item.item for item in engine.session_of(user).state.items]


def events_of(log: EventLog) -> list[Event]:
    return [event for batch in log.read() for _, _, events in decode_frames(batch) for event in events]


def append(engine: Engine, *events: Event, producer: str = "another writer", epoch: int = 1) -> None:
    """What another ingest endpoint would log."""
    writer = FrameWriter(producer, epoch)
    frames = [f for e in events for f in writer.pack(subject_of(e, PARTITIONS), [e], START)]
    engine._runtime.append_frames(frames)
    engine._runtime.fold()


@pytest.fixture
def engine() -> Engine:
    engine = Engine.open(":memory:", clock="log")
    for n in range(6):
        engine.put_item(f"i{n}", categories=[f"c{n}"])
    engine.track("view", user="visitor", item="i0", ts=START)
    engine.track("cart", user="visitor", item="i1", ts=START + 60_000)
    engine.track("purchase", user="ann", item="i2", ts=START + 30_000)
    return engine


def test_history_joins_the_account(engine: Engine) -> None:
    report = engine.merge("visitor", "ann")
    assert report.to_dict() == {
        "from_user": "visitor",
        "into_user": "ann",
        "moved": True,
        "repeated": False,
        "position": engine.position,
    }
    state = engine.session_of("ann").state
    assert [item.item for item in state.items] == ["i2", "i1", "i0"]
    assert [item.event.type for item in state.items] == ["purchase", "cart", "view"]
    assert (state.session_events, state.carts, state.purchases, state.started) == (3, 1, 1, START)
    assert {tag for tag, _ in state.affinities} == {"c0", "c1", "c2"}
    assert engine.verify().equal


def test_the_visitors_id_means_the_account(engine: Engine) -> None:
    engine.merge("visitor", "ann")
    slate = engine.recommend("visitor", 3)
    assert slate.user == "ann"
    assert engine.session_of("visitor").user == "ann"
    assert engine.rank("visitor", ["i3", "i4"]).user == "ann"
    engine.track("view", user="visitor", item="i5", ts=START + 70_000, slate=slate.id, slot=0)
    engine.seen(slate, [0], user="visitor")
    logged = events_of(engine.log)[-2:]
    assert [event.user for event in logged] == ["ann", "ann"]  # type: ignore[union-attr]
    assert items_of(engine, "ann")[0] == "i5"
    many = engine.recommend_many(["visitor", "ann"], 3)
    assert many["user"].unique(maintain_order=True).to_list() == ["visitor", "ann"]
    by_user = many.partition_by("user", as_dict=True)
    assert by_user["visitor",]["item"].to_list() == by_user["ann",]["item"].to_list()


def test_the_past_knows_no_later_merge(engine: Engine) -> None:
    before = engine.position
    engine.merge("visitor", "ann")
    assert engine.recommend("visitor", 3, as_of=before).user == "visitor"
    assert engine.recommend("visitor", 3, as_of=engine.position).user == "ann"


def test_a_merge_again_does_nothing(engine: Engine) -> None:
    engine.merge("visitor", "ann")
    position, digest = engine.position, engine.digest()
    report = engine.merge("visitor", "ann")
    assert (report.repeated, report.moved, report.position) == (True, False, position)
    assert (engine.position, engine.digest()) == (position, digest)


def test_a_retry_across_the_merge_has_no_second_effect(engine: Engine) -> None:
    engine.track("view", user="visitor", item="i3", ts=START + 80_000, event_id="e1")
    engine.merge("visitor", "ann")
    position = engine.position
    assert engine.track("view", user="visitor", item="i3", ts=START + 80_000, event_id="e1") == position
    assert engine.track("view", user="visitor", item="i4", ts=START + 90_000, event_id="e2") > position
    engine.track("view", user="visitor", item="i4", ts=START + 90_000, event_id="e2")
    assert engine.session_of("ann").state.events == 5


def test_a_double_click_across_the_merge_counts_once(engine: Engine) -> None:
    engine.merge("visitor", "ann")
    engine.track("cart", user="ann", item="i1", ts=START + 61_000)
    assert engine.status()["outcomes"]["rapid-repeat"] == 1


def test_merges_form_chains(engine: Engine) -> None:
    engine.merge("visitor", "ann")
    engine.merge("ann", "anna")
    assert engine.session_of("visitor").user == "anna"
    assert items_of(engine, "anna") == ["i2", "i1", "i0"]
    assert engine.merge("other", "ann").into_user == "anna"
    engine.track("view", user="other", item="i4", ts=START + 100_000)
    assert items_of(engine, "anna")[0] == "i4"
    assert engine.merge("visitor", "anna").repeated


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (("ann", "ann"), "cannot be merged into itself"),
        (("ann", "visitor"), "'visitor' is merged into 'ann'"),
        (("visitor", "bob"), "is merged into 'ann' already"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(engine: Engine, pair: tuple[str, str], why: str) -> None:
    engine.merge("visitor", "ann")
    position = engine.position
    with pytest.raises(MergeConflict, match=why) as caught:
        engine.merge(*pair)
    assert caught.value.details["from_user"] == pair[0]
    assert engine.position == position


def test_nothing_joins_a_forgotten_user_who_has_not_come_back(engine: Engine) -> None:
    engine.forget("ann")
    with pytest.raises(MergeConflict, match="was forgotten"):
        engine.merge("visitor", "ann")
    assert engine.session_of("visitor").state.events == 2
    engine.track("view", user="ann", item="i5", ts=START + 100_000)
    assert engine.merge("visitor", "ann").moved


def test_forgetting_any_id_forgets_the_person(engine: Engine) -> None:
    engine.merge("visitor", "ann")
    slate = engine.recommend("ann", 2)
    engine.forget("visitor")
    for user in ("visitor", "ann"):
        with pytest.raises(InvalidQuery, match="no state"):
            engine.session_of(user)
    with pytest.raises(InvalidQuery, match="neither remembered"):
        engine.explain(slate.id + "x", "i0")
    assert {e.user for e in events_of(engine.log) if isinstance(e, UserForget)} == {"visitor", "ann"}
    # The id is anybody's again.
    engine.track("view", user="visitor", item="i5", ts=START + 100_000)
    assert engine.session_of("visitor").user == "visitor"


def test_unknown_users_may_be_merged(engine: Engine) -> None:
    """The login may be told before anything the visitor did; and an account may be new."""
    assert not engine.merge("nobody", "ann").moved
    engine.track("view", user="nobody", item="i5", ts=START + 100_000)
    assert items_of(engine, "ann")[0] == "i5"
    assert engine.merge("visitor", "new").moved
    assert items_of(engine, "new") == ["i1", "i0"]


def test_what_is_known_of_an_account_is_not_put_by_a_visitors_name(engine: Engine) -> None:
    engine.put_user("visitor", labels={"country": "fr", "device": "phone"})
    engine.put_user("ann", labels={"country": "de"})
    engine.merge("visitor", "ann")
    with pytest.raises(InvalidEvent, match="the account 'ann'"):
        engine.put_user("visitor", labels={})


def test_an_import_of_a_merged_visitors_past_joins_too(engine: Engine) -> None:
    engine.merge("visitor", "ann")
    late = pl.DataFrame({"user": ["visitor"], "item": ["i5"], "type": ["view"], "ts": [START + 200_000]})
    report = engine.ingest(late, progress=False)
    assert report.events == 1
    assert items_of(engine, "ann")[0] == "i5"
    assert [left for _, _, left in all_merged(engine._runtime.core)] == [False]
    position = engine.position
    assert engine.ingest(late, progress=False).resumed_rows == 1
    assert engine.position == position


def test_a_writer_that_died_in_between_has_lost_nothing(tmp_path: Path) -> None:
    with Engine.open(tmp_path, clock="log") as engine:
        engine.track("view", user="visitor", item="i0", ts=START)
        engine.track("view", user="ann", item="i1", ts=START)
        engine._write([[UserMerge("visitor", "ann", START)]])
        assert moving_state(engine._runtime.core, "visitor") is not None
        assert items_of(engine, "ann") == ["i1"]
        engine.snapshot()
    with Engine.open(tmp_path, clock="log") as engine:
        assert items_of(engine, "ann") == ["i1", "i0"]
        assert moving_state(engine._runtime.core, "visitor") is None
        assert engine.verify().equal
        position = engine.position
    with Engine.open(tmp_path, clock="log") as engine:
        assert engine.position == position


def test_two_writers_may_carry_the_same(engine: Engine) -> None:
    append(engine, UserMerge("visitor", "ann", START))
    moving = moving_state(engine._runtime.core, "visitor")
    assert moving is not None
    carried = MergeCarried("visitor", moving[0], START, moving[1], moving[2])
    append(engine, carried, MergeSettled("visitor", START, moving[1]), epoch=2)
    digest = {part: d for part, d in engine.digest().items() if part.startswith(("neighbourhood", "shard"))}
    append(engine, carried, MergeSettled("visitor", START, moving[1]), producer="a second one")
    assert items_of(engine, "ann") == ["i2", "i1", "i0"]
    assert engine.session_of("ann").state.events == 3
    assert digest.items() <= engine.digest().items()
    assert engine.status()["outcomes"]["repeat-event"] == 2


def test_what_another_writer_logged_for_the_visitor_is_carried_by_the_next_merge(engine: Engine) -> None:
    engine.merge("visitor", "ann")
    append(engine, Feedback("view", "visitor", "i5", START + 100_000))
    assert items_of(engine, "ann")[0] != "i5"
    assert engine.merge("visitor", "ann").moved
    assert items_of(engine, "ann")[0] == "i5"
    assert engine.session_of("ann").state.events == 4


def test_what_comes_to_a_user_who_was_forgotten_meanwhile_is_dropped(engine: Engine) -> None:
    append(engine, UserMerge("visitor", "ann", START))
    moving = moving_state(engine._runtime.core, "visitor")
    assert moving is not None
    append(engine, UserForget("ann", START), epoch=2)
    append(engine, MergeCarried("visitor", "ann", START, moving[1], moving[2]), epoch=3)
    assert engine.status()["outcomes"]["into-forgotten"] == 1
    with pytest.raises(InvalidQuery, match="no state"):
        engine.session_of("ann")


def test_merges_in_a_circle_end_at_the_smallest_id(engine: Engine) -> None:
    """No engine writes them; two that do not see each other can."""
    append(engine, UserMerge("visitor", "ann", START))
    append(engine, UserMerge("ann", "visitor", START), epoch=2)
    assert engine._merges.settle_all()
    assert items_of(engine, "visitor") == items_of(engine, "ann") == ["i2", "i1", "i0"]
    assert engine.session_of("visitor").user == "ann"
    engine.track("view", user="visitor", item="i5", ts=START + 100_000)
    assert items_of(engine, "ann")[0] == "i5"
    assert engine.verify().equal


def test_what_is_carried_stands_alone_in_its_frame(engine: Engine) -> None:
    append(engine, UserMerge("visitor", "ann", START))
    moving = moving_state(engine._runtime.core, "visitor")
    assert moving is not None
    carried = MergeCarried("visitor", "ann", START, moving[1], moving[2])
    frames = FrameWriter("odd", 1).pack(subject_of(carried, PARTITIONS), [carried, carried], START)
    engine._runtime.append_frames(list(frames))
    engine._runtime.fold()
    assert engine.status()["outcomes"]["bad-carried-state"] == 2
    engine.merge("visitor", "ann")
    carrying = [
        decode_frame(frame)[1]
        for batch in engine.log.read()
        for frame in batch.frames
        if any(isinstance(e, MergeCarried) for e in decode_frame(frame)[1])
    ]
    assert [len(events) for events in carrying] == [2, 1]


@pytest.mark.parametrize("at", [0, 1, 40, -1])
def test_a_damaged_state_is_refused(engine: Engine, at: int) -> None:
    append(engine, UserMerge("visitor", "ann", START))
    moving = moving_state(engine._runtime.core, "visitor")
    assert moving is not None
    broken = bytearray(moving[2])
    broken[at] ^= 0xFF
    before = engine.session_of("ann")
    append(engine, MergeCarried("visitor", "ann", START, moving[1], bytes(broken)), epoch=2)
    outcomes = engine.status()["outcomes"]
    assert outcomes.get("bad-carried-state") == 1 or engine.session_of("ann").state != before.state
    assert engine.verify().equal


def test_events_that_race_with_the_merge_join_the_account() -> None:
    with Engine.open(":memory:", clock="log") as engine:
        engine.track("view", user="ann", item="home", ts=START)
        go = threading.Barrier(5)

        def click(worker: int) -> None:
            go.wait()
            for n in range(40):
                engine.track("view", user="visitor", item=f"i{worker}-{n}", ts=START + n * 1000)

        threads = [threading.Thread(target=click, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        go.wait()
        engine.merge("visitor", "ann")
        for thread in threads:
            thread.join()
        assert engine.session_of("ann").state.events == 161
        assert [left for _, _, left in all_merged(engine._runtime.core)] == [False]
        assert engine.verify().equal


@pytest.mark.parametrize("user", ["", "a\0b", "x" * 513, "a\nb"])
def test_hostile_ids_are_refused_before_anything_is_written(engine: Engine, user: str) -> None:
    position = engine.position
    for pair in ((user, "ann"), ("ann", user)):
        with pytest.raises(InvalidEvent):
            engine.merge(*pair)
    assert engine.position == position


@pytest.mark.parametrize("user", ["../../etc/passwd", "<script>", "ev.1", "ж" * 250])
def test_odd_ids_are_ids(engine: Engine, user: str) -> None:
    engine.merge("visitor", user)
    assert items_of(engine, user) == ["i1", "i0"]


def test_the_session_of_the_visitor_goes_on(engine: Engine) -> None:
    """Session kNN sees one session, of the account; relations pair what comes next with what the visitor did."""
    engine.merge("visitor", "ann")
    engine.track("view", user="ann", item="i4", ts=START + 90_000)
    neighbours = [(r.item, r.score) for r in engine.similar("i0", 10, relation="also_viewed", metric="count")]
    assert dict(neighbours)["i4"] == pytest.approx(1, rel=0.05)
    others = engine.session(["i0"], 10, sources={"session-knn": 1.0})
    scored = {r.item for r in others if any(p.source == "session-knn" for p in r.parts)}
    assert scored == {"i1", "i2", "i4"}
    assert engine.status()["sessions"] == 1
