"""The session index against plain Python lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import InvalidArray
from headwater.kernels import SessionIndex

Sessions = Sequence[Sequence[int]]


def csr(sessions: Sessions) -> tuple[Any, Any]:
    offsets = np.concatenate([[0], np.cumsum([len(session) for session in sessions])]).astype(np.int64)
    return offsets, np.array([item for session in sessions for item in session], np.uint32)


def indexed(sessions: Sessions, **bounds: int) -> SessionIndex:
    index = SessionIndex(**bounds)
    index.add_sessions(*csr(sessions))
    return index


def reference(
    sessions: Sessions,
    asked: Sequence[int],
    *,
    postings: int,
    max_sessions: int,
    max_session_items: int,
    neighbours: int,
    last_items: int,
) -> dict[int, float]:
    """Votes for every item, by looking at all sessions."""
    distinct = [list(dict.fromkeys(session))[:max_session_items] for session in sessions]
    kept = [session for session in distinct if len(session) > 1]
    oldest = max(0, len(kept) - max_sessions)
    by_item = {i: [n for n, s in enumerate(kept) if i in s][-postings:] for s in kept for i in s}
    seeds = [item for item in dict.fromkeys(reversed(asked)) if item in by_item][:last_items]
    weight = [(len(seeds) - place) / len(seeds) for place in range(len(seeds))]
    similarity, newest = dict[int, float](), dict[int, int]()
    for place, seed in enumerate(seeds):
        for n in by_item[seed]:
            if n >= oldest:
                similarity[n] = similarity.get(n, 0.0) + weight[place]
                newest.setdefault(n, place)
    best = sorted(similarity, key=lambda n: (-similarity[n], -n))[:neighbours]
    votes: dict[int, float] = {}
    for n in best:
        for item in kept[n]:
            if item not in asked:
                votes[item] = votes.get(item, 0.0) + similarity[n] * weight[newest[n]]
    held = min(len(kept), max_sessions)
    return {i: v * (max(math.log((held + 1) / (len(by_item[i]) + 0.5)), 0.0) + 1) for i, v in votes.items()}


ITEMS = st.integers(0, 20)


@given(
    st.lists(st.lists(ITEMS, max_size=8), max_size=40),
    st.lists(st.integers(0, 22), max_size=9),
    st.integers(1, 6),
    st.sampled_from([3, 10, 100]),
    st.integers(2, 8),
    st.integers(1, 12),
    st.integers(1, 6),
)
def test_votes_are_those_of_the_plain_reading(
    sessions: list[list[int]],
    asked: list[int],
    postings: int,
    max_sessions: int,
    max_session_items: int,
    neighbours: int,
    last_items: int,
) -> None:
    bounds = {"postings": postings, "max_sessions": max_sessions, "max_session_items": max_session_items}
    expected = reference(sessions, asked, **bounds, neighbours=neighbours, last_items=last_items)
    index = indexed(sessions, **bounds)
    items, scores = index.top(np.array(asked, np.uint32), 100, neighbours=neighbours, last_items=last_items)
    found = dict(zip(items.tolist(), scores.tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-12)
    assert (-scores).tolist() == sorted((-scores).tolist())


def test_the_best_are_in_order_and_calls_add_up() -> None:
    rng = np.random.default_rng(1)
    sessions = [rng.integers(0, 400, rng.integers(2, 12)).tolist() for _ in range(5000)]
    whole, parts = indexed(sessions), SessionIndex()
    for start in range(0, len(sessions), 700):
        parts.add_sessions(*csr(sessions[start : start + 700]))
    assert len(whole) == len(parts) <= 5000
    asked = np.array([3, 9, 200, 3], np.uint32)
    items, scores = whole.top(asked, 400)
    order = sorted(zip(scores.tolist(), items.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
    assert [item for _, item in order] == items.tolist()
    assert not set(items.tolist()) & {3, 9, 200}
    for k in (0, 1, 20, 100):
        for index in (whole, parts):
            fewer, votes = index.top(asked, k)
            assert fewer.tolist() == items[:k].tolist()
            assert votes.tolist() == scores[:k].tolist()
    assert (items.dtype, scores.dtype) == (np.uint32, np.float64)


def test_strangers_and_emptiness_are_no_answer() -> None:
    index = SessionIndex()
    asked = np.array([3, 2**32 - 1], np.uint32)
    assert [len(a) for a in index.top(asked, 10)] == [0, 0]
    index.add_sessions(*csr([[], [3], [4, 4]]))
    assert len(index) == 0
    assert [len(a) for a in index.top(asked, 10)] == [0, 0]
    index.add_sessions(*csr([[3, 4]]))
    assert index.top(asked, 10**9)[0].tolist() == [4]
    assert index.top(np.empty(0, np.uint32), 5)[0].shape == (0,)
    assert index.nbytes > 0


@pytest.mark.parametrize(
    ("offsets", "items", "field"),
    [
        ([0, 2], np.array([1, 2], np.uint32), "offsets"),
        (np.array([0, 3], np.int64), np.array([1, 2], np.uint32), "offsets"),
        (np.array([0, 2], np.int64), np.array([1.0, 2.0]), "items"),
        (np.array([0, 2], np.int64), np.array([1, 100], np.uint32), "items"),
    ],
)
def test_other_sessions_are_refused_whole(offsets: Any, items: Any, field: str) -> None:
    index = SessionIndex(max_items=100)
    with pytest.raises(InvalidArray) as refused:
        index.add_sessions(offsets, items)
    assert refused.value.details["field"] == field
    assert len(index) == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"session_items": [1]}, "session_items"),
        ({"session_items": np.array([1])}, "session_items"),
        ({"k": -1}, "k"),
        ({"neighbours": 0}, "neighbours"),
        ({"last_items": 0}, "last_items"),
        ({"last_items": True}, "last_items"),
    ],
)
def test_other_questions_are_refused(arguments: dict[str, Any], field: str) -> None:
    index = indexed([[1, 2]])
    with pytest.raises(InvalidArray) as refused:
        index.top(**({"session_items": np.array([1], np.uint32), "k": 5} | arguments))
    assert refused.value.details["field"] == field


@pytest.mark.parametrize(
    "bounds",
    [{"postings": 0}, {"postings": 65_536}, {"max_sessions": 0}, {"max_session_items": 1}, {"max_items": 0}],
)
def test_other_bounds_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(InvalidArray):
        SessionIndex(**bounds)
