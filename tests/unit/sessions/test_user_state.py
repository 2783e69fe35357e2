"""A user's session, touched and consumed items, windows and tastes against slow references, on random logs."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Feedback, default_config
from headwater.config import Config
from headwater.errors import InvalidQuery
from headwater.slate import SessionState
from reference.cooccurrence import DAY
from reference.sessions import consumed_of, latest_by_item, roles_of, sessions_of, windows_of, without_rapid_repeats
from reference.votes import affinities

START = 19_000 * DAY
MINUTE = 60_000
GAP = 30 * MINUTE
CATEGORIES = {"i0": ["shoes"], "i1": ["shoes", "red"], "i2": ["hats"], "i3": [], "i4": ["red"]}


def feedback(times: st.SearchStrategy[int]) -> st.SearchStrategy[Feedback]:
    return st.builds(
        Feedback,
        type=st.sampled_from(["view", "cart", "purchase", "dislike", "scroll"]),
        user=st.just("ann"),
        item=st.sampled_from(sorted(CATEGORIES)),
        ts=times,
        session=st.sampled_from([None, None, None, "s1", "s2"]),
    )


# Steps around the gap, the five-minute windows and the rapid span; backwards too.
STEPS = st.sampled_from([0, 2000, 4999, 5000, 61_000, 4 * MINUTE, GAP - 1, GAP, GAP + 1, 3 * GAP, DAY])
ANY_TIME = st.integers(0, 200).map(lambda n: START + n * 97_000)


def state_of(engine: Engine, now: int | None = None) -> SessionState:
    return engine.session_of("ann", now=START if now is None else now).state


def engine_with_items(config: Config | None = None) -> Engine:
    engine = Engine.open(":memory:", config=config, threads=1)
    engine.put_items([{"item": item, "categories": tags} for item, tags in CATEGORIES.items()])
    return engine


@given(st.lists(feedback(ANY_TIME), min_size=1, max_size=60))
def test_sessions_and_sets_equal_the_reference(events: list[Feedback]) -> None:
    config = default_config("shop").generation
    counted = without_rapid_repeats(events, 5000)
    sessions, _ = sessions_of(counted, GAP)
    current = sessions[-1]
    with engine_with_items() as engine:
        for event in events:
            engine.track_many([event])
        state = state_of(engine)
    assert state.session == current.number
    assert (state.started, state.last) == (current.started, current.last)
    assert state.session_events == len(current.events)
    assert state.carts == sum(e.type == "cart" for e in current.events)
    assert state.purchases == sum(e.type == "purchase" for e in current.events)
    assert state.dwell_ms == current.dwell
    assert state.events == len(counted)
    assert [(t.item, t.event.type, t.event.ts) for t in state.items] == latest_by_item(counted)
    latest = {event.item: event for event in counted}
    assert [t.roles for t in state.items] == [roles_of(latest[t.item], config) for t in state.items]
    assert state.consumed == consumed_of(counted, config)
    assert state.windows == windows_of(counted)


@given(st.lists(STEPS, min_size=1, max_size=30), st.data())
def test_in_order_events_mark_the_items_of_the_current_session(steps: list[int], data: st.DataObject) -> None:
    times, events = START, []
    for step in steps:
        times += step
        events.append(data.draw(feedback(st.just(times))))
    plain = [msgspec.structs.replace(event, session=None) for event in events]
    sessions, late = sessions_of(without_rapid_repeats(plain, 5000), GAP)
    with engine_with_items() as engine:
        engine.track_many(plain)
        state = state_of(engine)
    assert not late
    assert {t.item for t in state.items if t.in_session} == set(sessions[-1].items())


@given(st.lists(feedback(st.integers(0, 40 * 24).map(lambda h: START + h * 3_600_000)), min_size=1, max_size=50))
def test_affinities_equal_the_reference(events: list[Feedback]) -> None:
    config = default_config("shop").generation
    counted = without_rapid_repeats(events, 5000)
    now = max(event.ts for event in events)
    expected = affinities(counted, CATEGORIES, config, now)
    with engine_with_items() as engine:
        for event in events:
            engine.track_many([event])
        found = dict(state_of(engine, now).affinities)
    # Fixed point of 8 fractional bits, floored once per event and per epoch.
    for tag, weight in expected.items():
        assert found.get(tag, 0.0) == pytest.approx(weight, rel=0.01, abs=(len(events) + 4) / 256 * 5)
    assert found.keys() <= expected.keys()


def test_the_recent_ring_is_bounded_and_the_rest_is_still_known_as_touched() -> None:
    config = default_config("shop")
    config = msgspec.structs.replace(
        config, generation=msgspec.structs.replace(config.generation, recent_items=4, consumed_items=4)
    )
    with Engine.open(":memory:", config=config, threads=1) as engine:
        for n in range(12):
            engine.track("view", user="ann", item=f"i{n}", ts=START + n * MINUTE)
            engine.track("view", user="bob", item=f"i{n}", ts=START + n * MINUTE)
        engine.track("view", user="bob", item="new", ts=START + 20 * MINUTE)
        assert [t.item for t in state_of(engine).items] == ["i11", "i10", "i9", "i8"]
        slate = engine.recommend("ann", 100, now=START + 30 * MINUTE, sources=only("popular"), record=False)
        scores = {r.item: r.parts[0].share * (60 + r.parts[0].rank) for r in slate}
        demoted = {item for item, weight in scores.items() if weight == pytest.approx(0.5)}
        assert demoted == {f"i{n}" for n in range(12)}
        assert scores["new"] == pytest.approx(1.0)


def test_consumption_beyond_the_ring_is_excluded_for_ever_in_media() -> None:
    config = default_config("media")
    config = msgspec.structs.replace(config, generation=msgspec.structs.replace(config.generation, consumed_items=4))
    with Engine.open(":memory:", config=config, threads=1) as engine:
        for n in range(40):
            for user in ("ann", "bob"):
                engine.track("play", user=user, item=f"i{n}", ts=START + n * 6 * MINUTE)
        engine.track("play", user="bob", item="new", ts=START)
        slate = engine.recommend("ann", 100, now=START + 3000 * DAY, record=False)
        assert slate.item_ids == ["new"]


def test_forgetting_leaves_a_user_who_was_never_there() -> None:
    with engine_with_items() as engine, engine_with_items() as fresh:
        for n, item in enumerate(("i0", "i1", "i2")):
            engine.track("purchase", user="ann", item=item, ts=START + n * MINUTE)
        engine.put_user("ann", labels={"country": "fi"})
        engine.forget("ann")
        with pytest.raises(InvalidQuery, match="ann"):
            engine.session_of("ann")
        slate = engine.recommend("ann", now=START + DAY, record=False)
        assert slate.fallback is not None
        assert "history" in slate.fallback
        assert all(reason.event is None for item in slate for reason in item.reasons)
        assert "i0" in slate.item_ids, "what was bought before the forgetting is no longer held against the item"
        for one in (engine, fresh):
            one.track("view", user="ann", item="i4", ts=START + 2 * DAY)
        again, never = state_of(engine), state_of(fresh)
        assert [t.item for t in again.items] == ["i4"]
        for field in ("session", "started", "last", "session_events", "purchases", "affinities", "consumed", "events"):
            assert getattr(again, field) == getattr(never, field), field


def test_forgetting_twice_or_a_stranger_changes_nothing_for_others() -> None:
    with engine_with_items() as engine:
        engine.track("view", user="bob", item="i0", ts=START)
        before = engine.session_of("bob", now=START).state
        engine.forget("ann")
        engine.forget("ann")
        assert engine.session_of("bob", now=START).state == before


def only(*names: str) -> dict[str, float]:
    config = default_config("shop").query
    return {name: float(name in names) for name in config.sources}
