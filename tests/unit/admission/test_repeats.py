"""Idempotence of events as a caller sees it: ids, rapid repeats, late and future events."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Feedback, default_config
from headwater.config import Config
from headwater.errors import InvalidEvent
from reference.cooccurrence import DAY
from reference.sessions import without_rapid_repeats

START = 19_000 * DAY


def config(**generation: object) -> Config:
    shop = default_config("shop")
    return msgspec.structs.replace(shop, generation=msgspec.structs.replace(shop.generation, **generation))


def outcomes(engine: Engine) -> dict[str, int]:
    counts: dict[str, int] = engine.status()["outcomes"]
    return counts


def numbered(ids: st.SearchStrategy[int]) -> st.SearchStrategy[Feedback]:
    """Events that are what their id says: a repeat is the same event again."""

    def event(n: int) -> Feedback:
        return Feedback(type="view", user=f"u{n % 3}", item=f"i{n % 7}", ts=START + n * 60_000, event_id=f"e{n}")

    return ids.map(event)


@given(st.lists(numbered(st.integers(0, 40)), min_size=1, max_size=80))
def test_sending_an_event_again_has_no_second_effect(events: list[Feedback]) -> None:
    first = list({event.event_id: event for event in events}.values())
    with Engine.open(":memory:", threads=1) as engine, Engine.open(":memory:", threads=1) as once:
        for event in events:
            engine.track_many([event])
        seen: set[str | None] = set()
        for event in events:
            if event.event_id not in seen:
                once.track_many([event])
            seen.add(event.event_id)
        assert outcomes(engine).get("repeat-event", 0) == len(events) - len(first)
        for user in {event.user for event in events}:
            mine, theirs = (e.session_of(user, now=START).state for e in (engine, once))
            assert [(t.item, t.event.ts) for t in mine.items] == [(t.item, t.event.ts) for t in theirs.items]
            assert (mine.events, mine.session, mine.affinities) == (theirs.events, theirs.session, theirs.affinities)
        sources = {s: float(s == "popular") for s in engine.config.query.sources}
        answers = [e.recommend("x", 9, now=START + DAY, sources=sources, record=False) for e in (engine, once)]
        assert answers[0].items == answers[1].items


def test_a_repeat_from_beyond_the_horizon_is_set_aside_and_named() -> None:
    with Engine.open(":memory:", config=config(dedup_horizon=4, partitions=1), threads=1) as engine:
        events = [
            Feedback(type="view", user="ann", item=f"i{n}", ts=START + n * 60_000, event_id=f"e{n}") for n in range(13)
        ]
        engine.track_many(events)
        assert outcomes(engine)["applied"] >= 13
        engine.track_many(events[-4:])
        assert outcomes(engine)["repeat-event"] == 4, "the last `dedup_horizon` are recognised exactly"
        position = engine.track_many([events[0]])
        assert outcomes(engine)["beyond-dedup-horizon"] == 1
        assert engine.status()["refusals"][-1] == {"position": position, "index": 0, "reason": "beyond-dedup-horizon"}
        assert engine.session_of("ann", now=START).state.events == 13
        engine.track("view", user="ann", item="new", ts=START + DAY, event_id="later")
        assert engine.session_of("ann", now=START).state.events == 14, "a later event cannot be a dropped one"


@given(
    st.lists(
        st.builds(
            Feedback,
            type=st.sampled_from(["view", "cart"]),
            user=st.sampled_from(["ann", "bob"]),
            item=st.sampled_from(["a", "b", "c"]),
            ts=st.integers(0, 40).map(lambda n: START + n * 1250),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_rapid_repeats_count_once(events: list[Feedback]) -> None:
    kept = without_rapid_repeats(events, 5000)
    with Engine.open(":memory:", threads=1) as engine:
        for event in events:
            engine.track_many([event])
        assert outcomes(engine).get("rapid-repeat", 0) == len(events) - len(kept)
        for user in {event.user for event in events}:
            assert engine.session_of(user, now=START).state.events == sum(e.user == user for e in kept)


def test_late_events_keep_their_own_weight_and_reopen_nothing() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        engine.track("view", user="ann", item="today", ts=START + 100 * DAY)
        engine.track("view", user="ann", item="old", ts=START + 70 * DAY)
        state = engine.session_of("ann", now=START + 100 * DAY).state
        assert (state.session, state.session_events, state.events) == (1, 1, 2)
        assert state.last == START + 100 * DAY
        sources = {s: float(s == "popular") for s in engine.config.query.sources}
        slate = engine.recommend("x", now=START + 100 * DAY, sources=sources, record=False)
        votes = {r.item: r.parts[0].raw for r in slate}
        assert votes["today"] / votes["old"] == pytest.approx(2, rel=0.02), "30 days are one half-life"


def test_an_event_from_the_far_future_is_refused_and_nothing_of_its_batch_is_kept() -> None:
    with Engine.open(":memory:", threads=1) as engine:
        position = engine.position
        good = Feedback(type="view", user="ann", item="a", ts=START)
        with pytest.raises(InvalidEvent, match=r"ts = \d+; allowed: not after \d+") as caught:
            engine.track_many([good, msgspec.structs.replace(good, ts=engine.now() + 25 * 3_600_000)])
        assert caught.value.details["field"] == "ts"
        assert engine.position == position
        assert "a" not in engine
        engine.track_many([msgspec.structs.replace(good, ts=engine.now() + 23 * 3_600_000)])
        assert "a" in engine
