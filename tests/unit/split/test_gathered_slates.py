"""A question scattered to item hosts and gathered: the answer of one engine, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import Config, Engine, Feedback
from headwater.config import Segments
from headwater.core import Ownership, new_core, reply_position
from headwater.errors import InvalidQuery, NotReady
from headwater.events.frame import decode_frame
from headwater.scenario import Scenario
from reference.cooccurrence import DAY
from reference.host_cluster import HostCluster
from reference.random_shops import FILTERS, ITEMS, MINUTE, START, USERS, Filter, Rules, Shop, config_with, rules, shops

TOPOLOGIES = st.sampled_from([(1, 1), (2, 2), (1, 4), (4, 3), (3, 4)])
SOURCES = [
    *("also_viewed", "also_bought", "bought_after_view", "bought_together", "session-knn", "repeats", "tag-affinity"),
    *("trending", "trending-in-tags", "popular", "fresh", "trending-in-segment", "popular-in-segment"),
]
WEIGHTS = st.dictionaries(st.sampled_from(SOURCES), st.sampled_from([0.0, 0.3, 1.0]), max_size=6)
SHARES = st.one_of(st.none(), st.sampled_from([0.0, 0.3, 1.0]))
NAMED = st.lists(st.sampled_from([*ITEMS, "n0", "ghost"]), max_size=5)


def encoded(request: dict[str, Any]) -> bytes:
    return msgspec.msgpack.encode(request)


def decoded(answer: bytes) -> list[Any]:
    fields: list[Any] = msgspec.msgpack.decode(answer)
    return fields


@st.composite
def requests(draw: st.DrawFn, now: int) -> dict[str, Any]:
    """`recommend`, `session` or `rank` with anything that may be asked."""
    filter: Filter | None = draw(st.one_of(st.none(), FILTERS))
    request: dict[str, Any] = {
        "user": draw(st.sampled_from([*USERS, "stranger"])),
        "n": draw(st.sampled_from([1, 3, 10, 40])),
        "now": now + draw(st.sampled_from([0, 3 * DAY])),
        "scenario": draw(st.sampled_from(["s", None])),
        "filter": filter and filter.text,
        "params": filter.params if filter else {},
        "exclude": draw(NAMED),
        "diversity": draw(SHARES),
        "exploration": draw(SHARES),
        "sources": draw(WEIGHTS),
        "key": draw(st.sampled_from(["1-1", "1-2"])),
        "features": draw(st.booleans()),
        "all_reasons": draw(st.booleans()),
        "brief": draw(st.booleans()),
        "why": draw(st.one_of(st.none(), st.sampled_from([*ITEMS, "n0", "ghost"]))),
    }
    kind = draw(st.sampled_from(["recommend", "recommend", "session", "rank"]))
    if kind == "session":
        request |= {"user": None, "items": draw(NAMED)}
    elif kind == "rank":
        request["candidates"] = list(dict.fromkeys(draw(NAMED)))
    return request


def small_pools(config: Config) -> Config:
    """A default scenario that cuts its lists short, so that who is cut must be decided alike."""
    return msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, pool=3, slate_pool=8))


@settings(max_examples=150)
@given(shop=shops(), rules=rules(), topology=TOPOLOGIES, data=st.data())
def test_hosts_answer_as_one_engine(shop: Shop, rules: Rules, topology: tuple[int, int], data: st.DataObject) -> None:
    config = small_pools(config_with(rules.scenario))
    with shop.open(config) as engine:
        core = engine._runtime.core
        cluster = HostCluster.of(engine.log, config, *topology)
        assert cluster.digest() == engine.digest()["whole"]
        now = max([START, *(event.ts for event in shop.events)])
        for _ in range(6):
            request = encoded(data.draw(requests(now)))
            assert cluster.recommend(request) == core.recommend(request)


def rich_config() -> Config:
    """Embeddings, segments, and consumed items that never come back, most of them beyond the exact list."""
    sources = {
        "vector:look": 1.0,
        "popular-in-segment": 0.7,
        "trending-in-segment": 0.5,
        "also_viewed": 1.0,
        "fresh": 0.4,
    }
    diverse = Scenario(sources=sources, diversity=0.5, diversity_by="look", pool=5, consumed_expiry_days=None)
    vanishing = Scenario(sources={"popular": 1.0}, touched_factor=0.0, dislike_factor=0.0, pool=2)
    dpp = msgspec.structs.replace(diverse, diversity_method="dpp", exploration=0.3, popularity_debias=0.5)
    config = config_with(diverse)
    near = Scenario(
        sources={"session-knn": 1.0}, knn_step=0.8, knn_near=0.7, knn_before=0.5, knn_rarity=2.0, knn_own=0.4
    )
    rare = Scenario(sources={"popular": 1.0, "also_viewed": 0.5}, popularity_debias=1.0)
    scenarios = {"s": diverse, "v": vanishing, "d": dpp, "k": near, "r": rare}
    generation = msgspec.structs.replace(
        config.generation,
        recent_items=5,
        consumed_items=4,
        fresh_days=20.0,
        segments=Segments(label="country", values=("fi", "se")),
    )
    query = msgspec.structs.replace(config.query, scenarios=scenarios)
    return msgspec.structs.replace(config, generation=generation, query=query)


def rich_shop(config: Config) -> Engine:
    """40 items, 12 users of two segments, 600 events."""
    draw = random.Random(7)
    engine = Engine.open(":memory:", config=config, threads=1)
    engine.put_items(
        [
            {
                "item": f"i{n}",
                "categories": [f"c{n % 5}", f"d{n % 3}"],
                "timestamp": START - n % 30 * DAY,
                "embeddings": {"look": [draw.choice([-1.0, 0.0, 1.0]) for _ in range(16)]},
            }
            for n in range(40)
        ]
    )
    for n in range(12):
        engine.put_user(f"u{n}", labels={"country": ("fi", "se", "no")[n % 3]})
    types = ["view"] * 6 + ["cart", "purchase", "purchase", "dislike"]
    engine.track_many(
        [
            Feedback(
                type=draw.choice(types),
                user=f"u{draw.randrange(12)}",
                item=f"i{min(draw.randrange(48), draw.randrange(48))}",  # some are never put
                ts=START + n * 20 * MINUTE,
            )
            for n in range(600)
        ]
    )
    for n in range(6):
        engine.recommend(f"u{n}", 5, now=START + 9 * DAY)
    engine.flush()
    return engine


@pytest.fixture(scope="module")
def rich() -> Iterator[tuple[Engine, dict[tuple[int, int], HostCluster]]]:
    config = rich_config()
    with rich_shop(config) as engine:
        clusters = {(s, i): HostCluster.of(engine.log, config, s, i) for s, i in [(1, 1), (2, 2), (5, 3)]}
        yield engine, clusters


def asked(user: str | None, **more: Any) -> bytes:
    return encoded({"user": user, "n": 8, "now": START + 9 * DAY, "key": "1-1"} | more)


RICH = [
    {"scenario": "s"},
    {"scenario": "d"},
    {"scenario": "k", "all_reasons": True},
    {"scenario": "d", "features": True, "all_reasons": True},
    {"scenario": "s", "n": 45},
    {"scenario": "v", "n": 45},
    {"scenario": "v", "n": 4, "why": "i3"},
    {"candidates": [f"i{n}" for n in range(0, 48, 3)], "n": 12},
    {"exclude": ["i1", "i2"], "filter": "'c1' in categories or 'd2' in categories"},
    {"sources": {"vector:look": 3.0, "fresh": 1.0}, "all_reasons": True},
]


@pytest.mark.parametrize("topology", [(1, 1), (2, 2), (5, 3)], ids=str)
@pytest.mark.parametrize("request_", RICH, ids=str)
def test_embeddings_segments_and_what_never_comes_back(
    rich: tuple[Engine, dict[tuple[int, int], HostCluster]], topology: tuple[int, int], request_: dict[str, Any]
) -> None:
    engine, clusters = rich
    core, cluster = engine._runtime.core, clusters[topology]
    for user in (*(f"u{n}" for n in range(12)), "stranger"):
        request = asked(user, **request_)
        assert cluster.recommend(request) == core.recommend(request)
    session = asked(None, **request_, items=["i3", "ghost", "i46", "i9"])
    assert cluster.recommend(session) == core.recommend(session)


def test_hosts_are_asked_again_for_grounds_of_an_item_that_they_took_for_unlikely(
    rich: tuple[Engine, dict[tuple[int, int], HostCluster]],
) -> None:
    engine, clusters = rich
    cluster = clusters[2, 2]
    for scenario, rounds in (("r", 2), (None, 1)):
        request = asked("u1", scenario=scenario, n=1)
        session = cluster.session_of("u1")
        sent = session.scatter(request)
        answer, more = session.gather(sent, [host.core.candidates(sent) for host in cluster.items])
        assert (answer is None) == (rounds == 2)
        if more is not None:
            answer, more = session.gather(more, [host.core.candidates(more) for host in cluster.items])
        assert more is None
        assert answer == engine._runtime.core.recommend(request)


def test_consumed_items_beyond_the_exact_list_are_gone_on_every_host(
    rich: tuple[Engine, dict[tuple[int, int], HostCluster]],
) -> None:
    engine, clusters = rich
    bought = {
        e.item for b in engine.log.read() for e in feedback_of(b.frames) if e.user == "u1" and e.type == "purchase"
    }
    assert len(bought) > 4, "more than the exact list holds"
    slate = decoded(clusters[2, 2].recommend(asked("u1", scenario="s", n=48)))[0]
    assert slate
    assert not bought & {slot[0] for slot in slate}


def feedback_of(frames: list[bytes]) -> Iterator[Feedback]:
    for frame in frames:
        yield from (event for event in decode_frame(frame)[1] if isinstance(event, Feedback))


@pytest.mark.parametrize("topology", [(1, 1), (2, 2), (5, 3)], ids=str)
def test_similar_trending_and_views(
    rich: tuple[Engine, dict[tuple[int, int], HostCluster]], topology: tuple[int, int]
) -> None:
    engine, clusters = rich
    core, cluster, now = engine._runtime.core, clusters[topology], START + 9 * DAY
    for n in range(48):
        item = f"i{n}"
        assert cluster.item_view(item, now) == core.item_view(item, now)
        for relation, metric in [(None, None), ("also_viewed", "llr"), ("bought_together", None)]:
            fields = {"item": item, "n": 5, "relation": relation, "metric": metric, "exclude": ["i2"], "now": now}
            if core.knows_item(item):
                assert cluster.similar(encoded(fields)) == core.similar(encoded(fields))
    for category in (None, *(f"c{n}" for n in range(5))):
        for at in (now, now + 400 * DAY):
            asking = encoded({"category": category, "n": 4, "now": at})
            assert cluster.trending(asking) == core.trending(asking)
    for n in range(12):
        session = cluster.session_of(f"u{n}")
        assert session.session_view(f"u{n}", now) == core.session_view(f"u{n}", now)


def test_restored_hosts_answer_as_before(rich: tuple[Engine, dict[tuple[int, int], HostCluster]]) -> None:
    _, clusters = rich
    cluster = clusters[2, 2]
    again = cluster.restored()
    for user in ("u1", "u7", None):
        request = asked(user, items=[] if user else ["i46", "i3", "i47"], filter="not 'c1' in categories")
        assert again.recommend(request) == cluster.recommend(request)


def test_hosts_that_do_not_answer_are_left_out(rich: tuple[Engine, dict[tuple[int, int], HostCluster]]) -> None:
    _, clusters = rich
    cluster = clusters[2, 2]
    for user in ("u1", "stranger"):
        request = asked(user, n=20)
        of_second = [slot[0] for slot in decoded(cluster.recommend(request, left_out={0}))[0]]
        assert of_second
        assert all(cluster.owner_of(item) == 1 for item in of_second)
        assert decoded(cluster.recommend(request, left_out={0, 1}))[0] == []


def test_a_lonely_item_finds_items_of_its_categories(rich: tuple[Engine, dict[tuple[int, int], HostCluster]]) -> None:
    engine, _ = rich
    with rich_shop(rich_config()) as other:
        other.put_item("lonely", categories=["c1"], embeddings={"look": [1.0] * 16})
        cluster = HostCluster.of(other.log, rich_config(), 2, 3)
        request = encoded(
            {"item": "lonely", "n": 5, "relation": None, "metric": None, "exclude": [], "now": START + 9 * DAY}
        )
        answer = other._runtime.core.similar(request)
        assert decoded(answer)[1]
        assert decoded(answer)[0]
        assert cluster.similar(request) == answer
    assert not engine._runtime.core.knows_item("lonely")


def test_what_cannot_be_asked_is_refused_as_by_one_engine(
    rich: tuple[Engine, dict[tuple[int, int], HostCluster]],
) -> None:
    engine, clusters = rich
    cluster = clusters[2, 2]
    for more in ({"scenario": "x"}, {"filter": "size > 3"}, {"sources": {"nobody": 1.0}}, {"n": 0}):
        with pytest.raises(InvalidQuery) as alone:
            engine._runtime.core.recommend(asked("u1", **more))
        with pytest.raises(InvalidQuery) as scattered:
            cluster.recommend(asked("u1", **more))
        assert str(alone.value) == str(scattered.value)
    unknown = encoded({"item": "x", "n": 5, "relation": None, "metric": None, "exclude": [], "now": START})
    with pytest.raises(InvalidQuery, match="no event or put names the item"):
        cluster.similar(unknown)


def test_hosts_do_not_answer_for_others(rich: tuple[Engine, dict[tuple[int, int], HostCluster]]) -> None:
    _, clusters = rich
    cluster = clusters[2, 2]
    session, item = cluster.sessions[0].core, cluster.items[0].core
    user = next(f"u{n}" for n in range(12) if cluster.session_of(f"u{n}") is not session)
    with pytest.raises(RuntimeError, match="a session host that does not own partition"):
        session.scatter(asked(user))
    with pytest.raises(RuntimeError, match="a session host that does not own partition"):
        session.session_view(user, START)
    with pytest.raises(RuntimeError, match="a session host that counts no items"):
        session.candidates(session.scatter(asked(None, items=["i1"])))
    with pytest.raises(RuntimeError, match="an item host that keeps no users"):
        item.scatter(asked(user))
    foreign = next(f"i{n}" for n in range(40) if cluster.owner_of(f"i{n}") == 1)
    with pytest.raises(RuntimeError, match="an item host that does not own shard"):
        item.item_view(foreign, START)
    for host in (session, item):
        with pytest.raises(RuntimeError, match="does not have everything"):
            host.recommend(asked(user))
    with pytest.raises(RuntimeError, match=r"headwater\.core"):
        session.gather(b"\xc1", [])


def test_hosts_under_another_configuration_do_not_answer(
    rich: tuple[Engine, dict[tuple[int, int], HostCluster]],
) -> None:
    _, clusters = rich
    cluster = clusters[2, 2]
    session, item = cluster.sessions[0].core, cluster.items[0].core
    behind = new_core(rich_config(), 1, Ownership.item([0]))
    scatter = session.scatter(asked(None, items=["i1"]))
    with pytest.raises(NotReady, match="ask again"):
        behind.candidates(scatter)
    reply = item.candidates(scatter)
    assert reply_position(reply) == item.position
    fresh = new_core(rich_config(), 1, Ownership.session([0]))
    with pytest.raises(NotReady, match="ask again"):
        fresh.gather(scatter, [reply])


@given(behind=st.lists(st.integers(0, 60), min_size=4, max_size=4), data=st.data())
def test_hosts_at_different_positions_answer_with_what_they_have(
    rich: tuple[Engine, dict[tuple[int, int], HostCluster]], behind: list[int], data: st.DataObject
) -> None:
    engine, _ = rich
    batches = list(engine.log.read())
    positions = [at for batch in batches for at in batch.positions]
    frames = [frame for batch in batches for frame in batch.frames]
    cluster = HostCluster(rich_config(), 2, 2)
    for host, lag in zip((*cluster.sessions, *cluster.items), behind, strict=True):
        cut = max(2, len(positions) - lag)
        host.feed(positions[:cut], frames[:cut])
    items = {f"i{n}" for n in range(48)}
    for user in ("u1", "u7", None):
        more = data.draw(st.sampled_from(RICH))
        slate = decoded(cluster.recommend(asked(user, **more, items=[] if user else ["i3", "i46"])))[0]
        named = [slot[0] for slot in slate]
        assert len(set(named)) == len(named)
        assert set(named) <= items
