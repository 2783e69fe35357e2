"""The engine's counts against the exact reference, on random logs; measures against hand-computed tables."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Feedback, default_config
from headwater.config import Config, Relation
from reference.cooccurrence import DAY, Counts, Reference

FOREVER = 36_500.0
START = 19_000 * DAY
ITEMS = [f"i{n}" for n in range(8)]

RELATIONS = (
    Relation(
        name="viewed",
        from_types=("view", "buy"),
        to_types=("view", "buy"),
        unit="session",
        window=3,
        half_life_days=FOREVER,
    ),
    Relation(
        name="then_bought",
        from_types=("view",),
        to_types=("buy",),
        unit="user",
        window=4,
        within_days=1.0,
        half_life_days=FOREVER,
    ),
    Relation(name="basket", from_types=("buy",), to_types=("buy",), unit="basket", window=8, half_life_days=FOREVER),
    Relation(
        name="liked",
        from_types=("rating>=4",),
        to_types=("rating>=4",),
        unit="user",
        window=2,
        unit_cap=4,
        half_life_days=FOREVER,
    ),
)


def exact_config() -> Config:
    """Relations that never decay, rows that never overflow, no rapid-repeat rule, no shrinkage."""
    config = default_config("shop")
    generation = msgspec.structs.replace(config.generation, relations=RELATIONS, rapid_repeat_seconds=0.0)
    query = msgspec.structs.replace(config.query, sources={r.name: 1.0 for r in RELATIONS}, shrinkage=0.0)
    return Config(generation=generation, query=query)


def feedback() -> st.SearchStrategy[Feedback]:
    return st.builds(
        Feedback,
        type=st.sampled_from(["view", "buy", "rating", "other"]),
        user=st.sampled_from(["ann", "bob", "cem"]),
        item=st.sampled_from(ITEMS),
        # Hours, with late events and pauses of more than a session and more than a day.
        ts=st.integers(0, 60).map(lambda hour: START + hour * 3_600_000 // 2),
        value=st.sampled_from([None, 1.0, 4.0, 5.0]),
        session=st.sampled_from([None, None, "s1", "s2"]),
        basket=st.sampled_from([None, "b1", "b2"]),
    )


def pair_counts(engine: Engine, relation: str, metric: str) -> dict[tuple[str, str], float]:
    found = {}
    for item in ITEMS:
        if item in engine:
            slate = engine.similar(item, 100, relation=relation, metric=metric, now=START)  # type: ignore[arg-type]
            found |= {(item, r.item): r.score for r in slate}
    return found


@given(st.lists(feedback(), min_size=1, max_size=60))
def test_pair_counts_equal_the_reference(events: list[Feedback]) -> None:
    reference = Reference(exact_config().generation)
    with Engine.open(":memory:", config=exact_config(), threads=1) as engine:
        for event in events:
            reference.fold(event)
            engine.track_many([event])
        for relation in RELATIONS:
            exact = reference.counts[relation.name].pair
            counted = pair_counts(engine, relation.name, "count")
            assert counted.keys() == exact.keys()
            for pair, count in counted.items():
                assert count == pytest.approx(exact[pair], rel=0.01), (relation.name, pair)


@given(st.lists(feedback(), min_size=1, max_size=40))
def test_measures_use_their_own_marginals(events: list[Feedback]) -> None:
    reference = Reference(exact_config().generation)
    with Engine.open(":memory:", config=exact_config(), threads=1) as engine:
        for event in events:
            reference.fold(event)
        engine.track_many([e for user in ("ann", "bob", "cem") for e in events if e.user == user])
        for relation in RELATIONS:
            counts = reference.counts[relation.name]
            for metric, measure in MEASURES.items():
                for (i, j), value in pair_counts(engine, relation.name, metric).items():
                    expected = measure(counts, i, j)
                    assert value == pytest.approx(expected, rel=0.02, abs=0.02), (relation.name, metric, i, j)


def jaccard(c: Counts, i: str, j: str) -> float:
    n = c.pair[i, j]
    return n / (max(c.units_from[i], n) + max(c.units_to[j], n) - n)


def lift(c: Counts, i: str, j: str) -> float:
    return c.pair[i, j] * max(c.total(), c.out(i) + c.into(j) - c.pair[i, j]) / (c.out(i) * c.into(j))


MEASURES = {
    "cosine": lambda c, i, j: (
        c.pair[i, j] / math.sqrt(max(c.units_from[i], c.pair[i, j]) * max(c.units_to[j], c.pair[i, j]))
    ),
    "jaccard": jaccard,
    "conditional": lambda c, i, j: c.pair[i, j] / max(c.units_from[i], c.pair[i, j]),
    "lift": lift,
}


def test_a_pair_never_counts_more_than_its_unit() -> None:
    with Engine.open(":memory:", config=exact_config(), threads=1) as engine:
        for _ in range(5):
            engine.track("view", user="ann", item="i0", ts=START)
            engine.track("view", user="ann", item="i1", ts=START + 1000)
        assert pair_counts(engine, "viewed", "count")["i0", "i1"] == pytest.approx(1, rel=0.01)


def test_decay_halves_an_old_pair() -> None:
    relation = Relation(name="viewed", from_types=("view",), to_types=("view",), half_life_days=10.0)
    config = exact_config()
    config = Config(
        generation=msgspec.structs.replace(config.generation, relations=(relation,)),
        query=msgspec.structs.replace(config.query, sources={"viewed": 1.0}),
    )
    with Engine.open(":memory:", config=config, threads=1) as engine:
        engine.track("view", user="ann", item="i0", ts=START)
        engine.track("view", user="ann", item="i1", ts=START + 60_000)
        now = [
            engine.similar("i0", relation="viewed", metric="count", now=START + d * DAY)[0].score for d in (0, 10, 20)
        ]
        assert now[0] / now[1] == pytest.approx(2, rel=0.01)
        assert now[0] / now[2] == pytest.approx(4, rel=0.01)
        # A later event begins new epochs; what is stored shrinks with them and reads the same.
        engine.track("view", user="bob", item="i7", ts=START + 100 * DAY)
        later = engine.similar("i0", relation="viewed", metric="count", now=START + 20 * DAY)
        assert later[0].score == pytest.approx(now[2], rel=0.1)
