"""Reciprocal-rank fusion: scores made again from the answer's own parts, ranks from each source alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Engine, Slate
from headwater.errors import InvalidQuery
from headwater.simulate import simulate_shop


@pytest.fixture(scope="module")
def shop() -> Engine:
    simulation = simulate_shop(seed=3, events=6000)
    engine = Engine.open(":memory:", clock="log")
    engine.put_items(simulation.items)
    engine.ingest(simulation.events, progress=False)
    return engine


def users(engine: Engine) -> list[str]:
    return sorted(simulate_shop(seed=3, events=6000).events["user"].unique())[:40]


def alone(engine: Engine, user: str, source: str, **more: object) -> Slate:
    sources = {name: float(name == source) for name in engine.config.query.sources}
    return engine.recommend(user, 1000, sources=sources, record=False, **more)  # type: ignore[arg-type]


def test_every_score_is_the_sum_of_its_parts_and_every_part_its_rank(shop: Engine) -> None:
    query = shop.config.query
    factors = set()
    named = set()
    for user in users(shop):
        slate = shop.recommend(user, 30, record=False)
        assert [r.score for r in slate] == sorted((r.score for r in slate), reverse=True)
        for r in slate:
            assert r.score == pytest.approx(sum(p.share for p in r.parts), rel=1e-12)
            assert [p.share for p in r.parts] == sorted((p.share for p in r.parts), reverse=True)
            assert r.source == r.parts[0].source
            shares = [p.share * (query.rrf_k + p.rank) / query.sources[p.source] for p in r.parts]
            assert shares == pytest.approx([math.prod(factor for _, factor in r.factors)] * len(shares))
            factors.add(round(shares[0], 9))
            named |= {name for name, _ in r.factors}
    assert {1.0, query.touched_factor} <= factors
    assert named == {"touched before", "like a rejected item"}


def test_ranks_are_those_of_each_source_alone(shop: Engine) -> None:
    for user in users(shop)[:10]:
        fused = shop.recommend(user, 1000, record=False)
        for source in shop.config.query.sources:
            single = alone(shop, user, source)
            # A source alone still demotes what was touched: its own order is that of the ranks in the parts.
            own = [(part.rank, r.item, part.raw) for r in single for part in r.parts if part.source == source]
            ranks = {item: rank for rank, item, _ in own}
            assert {r.item: p.rank for r in fused for p in r.parts if p.source == source} == ranks
            raws = [raw for _, _, raw in sorted(own)]
            assert raws == sorted(raws, reverse=True)


def test_a_slate_is_the_head_of_a_longer_one(shop: Engine) -> None:
    for user in users(shop)[:10]:
        whole = shop.recommend(user, 40, record=False).item_ids
        for n in (1, 7, 40):
            assert shop.recommend(user, n, record=False).item_ids == whole[:n]


@given(
    weights=st.dictionaries(
        st.sampled_from(["also_viewed", "session-knn", "popular", "trending"]),
        st.one_of(st.just(0.0), st.floats(0.001, 9.0)),
    )
)
def test_weights_of_the_request_replace_those_of_the_configuration(shop: Engine, weights: dict[str, float]) -> None:
    user = users(shop)[0]
    merged = shop.config.query.sources | weights
    for r in shop.recommend(user, 20, sources=weights, record=False):
        for part in r.parts:
            assert merged[part.source] > 0
            ratio = part.share * (shop.config.query.rrf_k + part.rank) / merged[part.source]
            assert ratio == pytest.approx(1.0) or ratio == pytest.approx(0.5)


def test_excluded_items_move_the_others_up(shop: Engine) -> None:
    user = users(shop)[1]
    ids = shop.recommend(user, 20, record=False).item_ids
    without = shop.recommend(user, 10, exclude=ids[:5], record=False).item_ids
    assert not set(without) & set(ids[:5])
    assert len(without) == 10


@pytest.mark.parametrize(
    ("sources", "named"),
    [
        ({"nonsense": 1.0}, "nonsense"),
        ({"popular": -1.0}, "-1.0"),
        ({"popular": float("nan")}, "nan"),
        ({"popular": float("inf")}, "inf"),
        ({"popular": "much"}, "much"),
        ({"popular": None}, "None"),
        ({"popular": True}, "True"),
        (["popular"], "popular"),
    ],
)
def test_a_bad_source_or_weight_is_named(shop: Engine, sources: dict[str, float], named: str) -> None:
    with pytest.raises(InvalidQuery, match=named) as caught:
        shop.recommend("x", sources=sources)
    assert caught.value.details["field"] == "sources"
