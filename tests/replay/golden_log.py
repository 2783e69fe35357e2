"""The golden log: a small shop's history with everything in it that a fold must decide.

Two launches, sessions, purchases in baskets, ratings, tags, patches, deletes, a forgotten user, late and rapid events,
repeated events, repeated and late frames, and every refused frame. It is drawn by hash, so it is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from headwater.config import Config, FoldConfig, Relation, Segments, SessionKnn, Trending
from headwater.core import Core, moving_state, new_core
from headwater.events.frame import FrameWriter, encode_frame
from headwater.events.subjects import (
    CATALOGUE_SUBJECT,
    CONTROL_SUBJECT,
    Subject,
    partition_of,
    stable_hash,
    subject_of,
)
from headwater.events.types import (
    ConfigActivated,
    Event,
    Feedback,
    Impression,
    ItemDelete,
    ItemPatch,
    ItemPut,
    MergeCarried,
    MergeSettled,
    ModelActivated,
    SlateServed,
    UserForget,
    UserMerge,
    UserPut,
)
from headwater.scenario import QueryConfig
from replay.golden_events import NOW, PARTITIONS, SUBJECT, USER, golden_frames, older_frames, refused_frames

USERS, ITEMS, STEPS = 40, 30, 900
# A body as it was once logged: it must be read for ever, whatever keys come later.
_QUERY = (
    '{"consumed_expiry_days":30.0,"exclude_consumed":true,"knn_last_items":6,"knn_neighbours":100,"metric":"cosine",'
    '"pool":200,"rrf_k":60.0,"seeds":10,"shrinkage":5.0,"sources":{"also_bought":0.7,"also_viewed":1.0,'
    '"bought_after_view":0.8,"bought_together":0.5,"popular":0.1,"session-knn":1.0,"tag-affinity":0.3,"trending":0.2},'
    '"touched_factor":0.5}'
)
_BEGIN = NOW - 20 * 86_400_000


def golden_config() -> Config:
    """Every value spelt out: a new default elsewhere must not change the golden state."""
    generation = FoldConfig(
        profile="shop",
        partitions=PARTITIONS,
        shards=2,
        session_gap_minutes=30.0,
        recent_items=8,
        consumed_items=4,
        seen_generation_days=5.0,
        rapid_repeat_seconds=5.0,
        dedup_horizon=16,
        max_future_hours=24.0,
        popularity_half_life_days=30.0,
        fresh_days=10.0,
        votes=("view", "cart", "purchase"),
        consumption=("purchase",),
        positive=("view", "rating>=3"),
        strong=("cart", "rating>=4"),
        negative=("dislike", "rating<=2"),
        impression=("impression",),
        affinity_weights={"view": 1.0, "cart": 2.0, "purchase": 4.0, "rating>=4": 3.0},
        affinity_half_life_days=14.0,
        tag_labels=("brand", "tags"),
        auto_insert_items=True,
        relations=(
            _relation("viewed", ("view",), ("view",), "session"),
            _relation("view_to_purchase", ("view",), ("purchase",), "user"),
            _relation("basket", ("purchase",), ("purchase",), "basket"),
            _relation("liked", ("rating>=4",), ("rating>=4",), "user"),
        ),
        trending=Trending(short_half_life_hours=24.0, long_half_life_days=14.0, prior=10.0),
        session_knn=SessionKnn(postings=20, max_sessions=100, max_session_items=10),
        segments=Segments(label="tags", values=("g1", "g2", "g0")),
    )
    return Config(generation=generation, query=QueryConfig(sources={"viewed": 1.0, "popular": 0.1}))


def _relation(name: str, from_types: tuple[str, ...], to_types: tuple[str, ...], unit: str) -> Relation:
    return Relation(
        name=name,
        from_types=from_types,
        to_types=to_types,
        unit=unit,  # type: ignore[arg-type]
        window=4,
        unit_cap=6,
        within_days=2.0,
        half_life_days=30.0,
        capacity=16,
    )


def golden_log() -> list[bytes]:
    """The frames in log order, at positions 1, 2, 3 ..."""
    writer = FrameWriter("golden-log", 1)
    frames: list[bytes] = []
    waiting: dict[Subject, list[Event]] = {}
    for step, (subject, event) in enumerate(_history()):
        group = waiting.setdefault(subject, [])
        group.append(event)
        if len(group) >= 1 + _draw(f"group-{step}", 12):
            frames += writer.pack(subject, waiting.pop(subject), _BEGIN + step * 1_800_000)
    for subject, group in waiting.items():
        frames += writer.pack(subject, group, NOW)
    sound = [g.frame for g in (*golden_frames(), *older_frames())]
    return _merged(_disordered(frames) + sound + _all_refused() + _beyond_the_window())


def _merged(frames: list[bytes]) -> list[bytes]:
    """Three visitors who turn out to be others, one of them twice and one in two steps, and what comes of them later.

    What a merge carries is sealed by the fold, so these frames belong to one FOLD_VERSION.
    """
    core = new_core(golden_config(), 1)
    core.apply(1, frames)
    writer = FrameWriter("golden-merges", 1)
    for step, (old, new) in enumerate((("u1", "u2"), ("u3", "new-one"), ("u3", "new-one"), ("u2", "u4"))):
        ts = NOW + step * 1000
        groups: list[Event] = [UserMerge(old, new, ts)]
        frames += _fold(core, writer, groups, ts)
        moving = moving_state(core, old)
        assert moving is not None, "every one of them did something"
        carried = MergeCarried(old, moving[0], ts, moving[1], moving[2])
        again = Feedback("view", old, f"i{step}", ts + 1)
        frames += _fold(core, writer, [carried, MergeSettled(old, ts, moving[1]), again, carried], ts)
        frames += _fold(core, writer, [Feedback("view", new, f"i{step + 5}", ts + 2)], ts)
    return frames


def _fold(core: Core, writer: FrameWriter, events: list[Event], ts: int) -> list[bytes]:
    frames = [f for e in events for f in writer.pack(subject_of(e, PARTITIONS), [e], ts)]
    core.apply(core.position + 1, frames)
    return frames


def _beyond_the_window() -> list[bytes]:
    """A frame so far behind its producer's latest that nothing can say whether it is a repeat."""
    body = msgspec.msgpack.encode([Feedback("view", USER, "i1", NOW)])
    return [encode_frame(SUBJECT, 1, 1, sequence, NOW, 1, body) for sequence in (2000, 977, 976)]


def _all_refused() -> list[bytes]:
    return [refused.frame for refused in refused_frames() if refused.frame_code != "too-large"]


def _disordered(frames: list[bytes]) -> list[bytes]:
    """Some frames twice, some late: what retries make of a log."""
    out, late = [], list[bytes]()
    for n, frame in enumerate(frames):
        draw = _draw(f"order-{n}", 20)
        if draw == 0:
            late.append(frame)
        else:
            out.append(frame)
        if draw == 1:
            out += [frame, *late]
            late.clear()
    return out + late


def _history() -> Iterator[tuple[Subject, Event]]:
    for n in range(ITEMS):
        labels = {"brand": f"b{n % 4}", "tags": [f"t{n % 3}", f"t{n % 5}"], "price": n * 1.5}
        yield CATALOGUE_SUBJECT, ItemPut(f"i{n}", _BEGIN, [f"c{n % 3}"], labels)  # type: ignore[arg-type]
    clock = [_BEGIN + _draw(f"begin-{u}", 86_400_000) for u in range(USERS)]
    for step in range(STEPS):
        u = min(_draw(f"user-{step}", USERS), _draw(f"user-again-{step}", USERS))
        pause = (2_000, 40_000, 90_000, 600_000, 4_000_000, 90_000_000)[_draw(f"pause-{step}", 6)]
        clock[u] += pause
        yield from _step(step, u, clock[u])
    yield CONTROL_SUBJECT, ConfigActivated(NOW, "c2", _QUERY)
    yield CONTROL_SUBJECT, ConfigActivated(NOW, "c3", '{"unknown": 1}')
    yield CONTROL_SUBJECT, ModelActivated(NOW, "blender", "file:///m/1", "sha256:00ff")
    yield CONTROL_SUBJECT, UserMerge("u1", "u2", NOW)


def _step(step: int, u: int, ts: int) -> Iterator[tuple[Subject, Event]]:
    user, item = f"u{u}", f"i{min(_draw(f'item-{step}', ITEMS), (u * 3 + _draw(f'near-{step}', 5)) % ITEMS)}"
    subject = Subject(0, partition_of(user, PARTITIONS))
    kind = _draw(f"kind-{step}", 40)
    event_id = f"e{_draw(f'id-{step}', 300)}" if kind % 3 == 0 else None
    if kind < 24:
        yield subject, Feedback("view", user, item, ts, event_id=event_id)
        if kind == 0:  # the same again within a second, and one that arrives a day late
            yield subject, Feedback("view", user, item, ts + 800)
            yield subject, Feedback("view", user, "i3", ts - 86_400_000)
    elif kind < 32:
        basket = f"b{step // 20}" if kind % 2 else None
        yield subject, Feedback("cart" if kind < 27 else "purchase", user, item, ts, 19.9, event_id, basket=basket)
    elif kind < 35:
        yield subject, Feedback("rating", user, item, ts, 1 + step % 5, event_id, session=f"s{step // 50}")
    elif kind == 35:
        yield subject, Feedback("impression", user, item, ts)
        yield subject, Impression(user, f"sl{step}", ts, [0, 1])
        yield subject, _slate(step, user, ts)
    elif kind == 36:
        yield subject, UserPut(user, ts, {"age": step % 90, "tags": ["a", f"g{step % 2}"]})
    elif kind == 37:
        yield CATALOGUE_SUBJECT, ItemPatch(item, ts, is_hidden=step % 2 == 0, labels={"brand": None, "new": True})
    elif kind == 38:
        yield CATALOGUE_SUBJECT, ItemDelete(f"i{20 + step % 10}", ts)
    elif step % 4 == 0:
        yield subject, UserForget(user, ts)


def _slate(step: int, user: str, ts: int) -> SlateServed:
    """A record of three items, one of which no other event may have named."""
    items = [f"i{_draw(f'served-{step}', ITEMS)}", "i1", f"shown{step % 7}"]
    return SlateServed(
        slate=f"sl{step}",
        user=user,
        ts=ts,
        request={"user": user, "n": 3},
        variant=None,
        config_version="c1",
        scorer_version="rrf-1",
        positions=[step],
        left_out=[],
        candidates=None,
        items=[(item, 0.5, "viewed", 1.0, 1.0, False) for item in items],
        extra={"step": step} if step % 2 else None,
    )


def _draw(key: str, below: int) -> int:
    return stable_hash(key) % below
