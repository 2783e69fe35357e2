"""Session kNN against the slow reference, with small bounds so that every one of them is met."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Feedback, Slate, default_config
from headwater.config import Config, SessionKnn
from reference.cooccurrence import DAY
from reference.session_knn import SessionIndex
from reference.sessions import latest_by_item

START = 19_000 * DAY
GAP = 30 * 60_000
ITEMS = [f"i{n}" for n in range(7)]
USERS = ["ann", "bob", "cem", "dan"]


PLAIN: dict[str, float] = {}
WEIGHTS = {
    "knn_step": 0.5,
    "knn_vote_step": 0.25,
    "knn_near": 0.5,
    "knn_before": 0.75,
    "knn_oldest": 0.5,
    "knn_rarity": 0.5,
    "knn_own": 0.5,
}


def weights() -> st.SearchStrategy[dict[str, float]]:
    """None of the weights, one of them, or all."""
    alone = [{key: value} for key, value in WEIGHTS.items()]
    return st.sampled_from([PLAIN, WEIGHTS, *alone])


def small_config(weights: dict[str, float] = PLAIN) -> Config:
    shop = default_config("shop")
    generation = msgspec.structs.replace(
        shop.generation,
        rapid_repeat_seconds=0.0,
        session_knn=SessionKnn(postings=4, max_sessions=6, max_session_items=4),
    )
    query = msgspec.structs.replace(
        shop.query,
        sources={"session-knn": 1.0},
        knn_neighbours=3,
        knn_last_items=3,
        exclude_consumed=False,
        touched_factor=1.0,
        **weights,
    )
    return Config(generation=generation, query=query)


def feedback() -> st.SearchStrategy[Feedback]:
    return st.builds(
        Feedback,
        type=st.sampled_from(["view", "view", "view", "purchase", "dislike"]),
        user=st.sampled_from(USERS),
        item=st.sampled_from(ITEMS),
        ts=st.integers(0, 30).map(lambda n: START + n * GAP // 2),
        session=st.sampled_from([None, None, "s1", "s2"]),
    )


def visit() -> st.SearchStrategy[list[Feedback]]:
    """A session of a few items: enough of them overflow postings and the ring of sessions."""
    return st.builds(
        lambda user, items, key: [
            Feedback(type="view", user=user, item=item, ts=START, session=f"visit{key}") for item in items
        ],
        st.sampled_from(USERS),
        st.lists(st.sampled_from(ITEMS[:5]), min_size=2, max_size=5),
        st.integers(0, 10**6),
    )


def log() -> st.SearchStrategy[list[Feedback]]:
    """Visits with single events in between."""
    pieces = st.one_of(visit(), visit(), feedback().map(lambda event: [event]))
    return st.lists(pieces, min_size=1, max_size=30).map(lambda lists: [event for piece in lists for event in piece])


def raw_scores(slate: Slate) -> dict[str, float]:
    """Of what the source names; the catalogue fills the rest of the slate."""
    return {r.item: part.raw for r in slate for part in r.parts if part.source == "session-knn"}


@given(log(), st.lists(st.sampled_from(ITEMS), min_size=1, max_size=5), weights())
def test_an_anonymous_session_gets_the_references_neighbours(
    events: list[Feedback], items: list[str], weights: dict[str, float]
) -> None:
    config = small_config(weights)
    index = SessionIndex(config.generation, config.query)
    with Engine.open(":memory:", config=config, threads=1) as engine:
        for event in events:
            engine.track_many([event])
            index.fold(event)
        seeds = [item for item in dict.fromkeys(reversed(items)) if item in engine]
        slate = engine.session(items, 100, now=START)
    own = config.query.knn_own > 0
    expected = {item: s for item, s in index.scores(seeds).items() if own or item not in items}
    assert raw_scores(slate) == pytest.approx(expected, rel=1e-9)


@given(log(), weights())
def test_a_user_gets_them_too_but_never_of_their_own_session(events: list[Feedback], weights: dict[str, float]) -> None:
    config = small_config(weights)
    index = SessionIndex(config.generation, config.query)
    with Engine.open(":memory:", config=config, threads=1) as engine:
        for event in events:
            engine.track_many([event])
            index.fold(event)
        for user in {event.user for event in events}:
            touched = latest_by_item([e for e in events if e.user == user])
            rejected = {item for item, kind, _ in touched if kind == "dislike"}
            seeds = [item for item, kind, _ in touched if kind != "dislike"]
            slate = engine.recommend(user, 100, now=START, record=False)
            expected = {i: s for i, s in index.scores(seeds[:10], user).items() if i not in rejected}
            assert raw_scores(slate) == pytest.approx(expected, rel=1e-9), user


@given(log(), st.sampled_from(USERS), st.integers(0, 50))
def test_forgotten_users_sessions_say_nothing(events: list[Feedback], gone: str, at: int) -> None:
    config = small_config()
    index = SessionIndex(config.generation, config.query)
    with Engine.open(":memory:", config=config, threads=1) as engine:
        for number, event in enumerate(events):
            if number == at:
                engine.forget(gone)
                index.forget(gone)
            engine.track_many([event])
            index.fold(event)
        for item in ITEMS:
            if item in engine:
                slate = engine.session([item], 100, now=START)
                assert raw_scores(slate) == pytest.approx(index.scores([item]), rel=1e-9)


def test_a_session_counts_from_its_second_distinct_item_on() -> None:
    with Engine.open(":memory:", config=small_config(), threads=1) as engine:
        engine.track("view", user="ann", item="i0", ts=START)
        engine.track("view", user="ann", item="i0", ts=START + 60_000)
        assert engine.status()["sessions"] == 0
        assert not raw_scores(engine.session(["i0"], now=START))
        engine.track("view", user="ann", item="i1", ts=START + 120_000)
        assert engine.status()["sessions"] == 1
        neighbours = raw_scores(engine.session(["i0"], now=START))
        assert list(neighbours) == ["i1"], "without waiting for the session's end"
        assert not raw_scores(engine.recommend("ann", now=START, record=False))
        engine.track("view", user="bob", item="i0", ts=START)
        slate = engine.recommend("bob", now=START, record=False)
        assert list(raw_scores(slate)) == ["i1"]
        assert slate[0].reasons[0].seed == "i0"
        assert slate[0].reasons[0].count == 1
