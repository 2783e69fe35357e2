"""`headwater.kernels.diversity` against slow numpy references, and its refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from headwater.errors import InvalidArray
from headwater.kernels import Int8Index, TagSets, dpp, mmr, quantize, slate

Array = NDArray[Any]


def cosines(vectors: Array) -> Array:
    rows = vectors.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return np.asarray(rows @ rows.T)


def check_mmr(similarity: Array, relevance: Array, trade_off: float, found: tuple[Array, Array]) -> None:
    """Each choice has the largest value there was, up to the rounding of float32."""
    similarity = np.clip(similarity, 0, 1)
    chosen: list[int] = []
    for index, value in zip(*found, strict=True):
        nearest = similarity[chosen].max(axis=0, initial=0.0) if chosen else np.zeros(len(relevance))
        values = trade_off * relevance.astype(np.float64) - (1 - trade_off) * nearest
        values[chosen] = -np.inf
        assert index not in chosen
        assert abs(values[index] - value) < 1e-5
        assert values[index] >= values.max() - 1e-5
        chosen.append(int(index))


def check_dpp(similarity: Array, relevance: Array, theta: float, found: tuple[Array, Array]) -> None:
    """Each choice adds most to theta * sum(relevance) + (1 - theta) * log det S, and its residual is what it adds."""
    similarity = similarity.copy()
    np.fill_diagonal(similarity, 1.0)
    chosen: list[int] = []
    determinant = 0.0
    for index, residual in zip(*found, strict=True):
        gains = np.full(len(relevance), -np.inf)
        for other in set(range(len(relevance))) - set(chosen):
            members = [*chosen, other]
            sign, value = np.linalg.slogdet(similarity[np.ix_(members, members)])
            if sign > 0:
                gains[other] = theta * float(relevance[other]) + (1 - theta) * (value - determinant)
        assert gains[index] >= gains.max() - 1e-3
        chosen.append(int(index))
        determinant = np.linalg.slogdet(similarity[np.ix_(chosen, chosen)])[1]
        assert 0 < residual <= 1
    assert abs(np.log(found[1].astype(np.float64)).sum() - determinant) < 1e-2


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(4, 20), st.floats(0, 1, width=32))
def test_mmr_takes_the_best_at_each_step(seed: int, n: int, dim: int, trade_off: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim), dtype=np.float32)
    relevance = rng.random(n, dtype=np.float32)
    check_mmr(cosines(vectors), relevance, trade_off, mmr(vectors, relevance, 20, trade_off=trade_off))
    codes, _ = quantize(vectors)
    check_mmr(cosines(codes), relevance, trade_off, mmr(codes, relevance, 20, trade_off=trade_off))


@given(st.integers(0, 2**32), st.integers(1, 16), st.floats(0, 0.9))
def test_dpp_takes_the_best_at_each_step(seed: int, n: int, theta: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, 32), dtype=np.float32)
    relevance = rng.random(n, dtype=np.float32)
    found = dpp(vectors, relevance, 8, theta=theta)
    assert len(found[0]) == min(n, 8)
    check_dpp(cosines(vectors), relevance, theta, found)
    codes, _ = quantize(vectors)
    check_dpp(cosines(codes), relevance, theta, dpp(codes, relevance, 8, theta=theta))


def test_a_dpp_ends_when_the_vectors_span_no_more() -> None:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((300, 6), dtype=np.float32)
    indices, residuals = dpp(vectors, np.ones(300, np.float32), 50)
    assert len(indices) == 6
    assert np.linalg.matrix_rank(vectors[indices]) == 6
    assert (np.diff(residuals) <= 1e-6).all()


def test_copies_come_last_in_mmr_and_never_in_a_dpp() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0]], np.float32)
    relevance = np.array([0.9, 0.8, 0.7, 0.8], np.float32)
    assert mmr(vectors, relevance, 4, trade_off=0.5)[0].tolist() == [0, 2, 1, 3]
    assert dpp(vectors, relevance, 4)[0].tolist() == [0, 2]


def test_equal_values_go_to_the_smaller_index() -> None:
    vectors = np.eye(64, dtype=np.float32)
    relevance = np.full(64, 0.25, np.float32)
    assert mmr(vectors, relevance, 64)[0].tolist() == list(range(64))
    assert dpp(vectors, relevance, 64)[0].tolist() == list(range(64))


def test_a_window_forgets_what_left_it() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    relevance = np.array([1.0, 0.9, 0.5, 0.4], np.float32)
    assert mmr(vectors, relevance, 4, trade_off=0.5)[0].tolist() == [0, 2, 1, 3]
    assert mmr(vectors, relevance, 4, trade_off=0.5, window=1)[0].tolist() == [0, 2, 1, 3]
    assert mmr(vectors, relevance, 4, trade_off=0.5, window=0)[0].tolist() == [0, 1, 2, 3]
    longer = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0]], np.float32)
    rising = np.array([1.0, 0.9, 0.1, 0.8, 0.7], np.float32)
    assert mmr(longer, rising, 5, trade_off=0.5)[0].tolist() == [0, 1, 2, 3, 4]
    assert mmr(longer, rising, 5, trade_off=0.5, window=1)[0].tolist() == [0, 1, 3, 4, 2]


def test_tag_sets_are_likened_by_jaccard() -> None:
    sets = [{1, 2, 3}, {1, 2}, {7, 8}, set(), {3, 9}, {1, 2, 3}]
    starts = np.cumsum([0, *map(len, sets)]).astype(np.uint32)
    tags = np.array([tag for members in sets for tag in sorted(members)], np.uint32)
    similarity = np.array([[len(a & b) / max(len(a | b), 1) for b in sets] for a in sets])
    relevance = np.array([0.9, 0.85, 0.3, 0.2, 0.6, 0.9], np.float32)
    check_mmr(similarity, relevance, 0.5, mmr(TagSets(starts, tags), relevance, 6, trade_off=0.5))
    found = dpp(TagSets(starts, tags), relevance, 6)
    check_dpp(similarity, relevance, 0.7, found)
    assert sorted(found[0].tolist()) == [0, 1, 2, 3, 4]


def test_a_slate_is_search_then_mmr() -> None:
    rng = np.random.default_rng(4)
    index = Int8Index(24)
    index.add(rng.standard_normal((5000, 24), dtype=np.float32))
    query = rng.standard_normal(24, dtype=np.float32)
    mask = rng.random(5000) < 0.5
    for threads in (1, 2):
        ids, scores = slate(index, query, 40, pool=200, trade_off=0.6, mask=mask, threads=threads)
        pool, pool_scores = index.search(query, 200, mask=mask)
        relevance = (pool_scores - pool_scores[-1]) / (pool_scores[0] - pool_scores[-1])
        places, _ = mmr(index.get(pool)[0], relevance, 40, trade_off=0.6)
        np.testing.assert_array_equal(ids, pool[places])
        np.testing.assert_array_equal(scores, pool_scores[places])
    assert len(slate(index, query, 40, pool=10)[0]) == 10
    assert len(slate(Int8Index(24), query)[0]) == 0


def test_k_above_n_and_nothing_at_all() -> None:
    vectors = np.eye(3, dtype=np.float32)
    for method in (mmr, dpp):
        assert len(method(vectors, np.ones(3, np.float32), 100)[0]) == 3
        assert len(method(vectors, np.ones(3, np.float32), 0)[0]) == 0
        assert len(method(np.empty((0, 3), np.float32), np.empty(0, np.float32), 5)[0]) == 0


def test_zero_vectors_resemble_nothing() -> None:
    vectors = np.array([[1, 1], [0, 0], [1, 1], [0, 0]], np.float32)
    relevance = np.array([1, 0.5, 0.9, 0.5], np.float32)
    assert mmr(vectors, relevance, 4, trade_off=0.5)[0].tolist() == [0, 1, 3, 2]
    assert sorted(dpp(vectors, relevance, 4)[0].tolist()) == [0, 1, 3]


def test_bad_input_is_refused() -> None:
    vectors = np.ones((4, 3), np.float32)
    relevance = np.ones(4, np.float32)
    nan = np.array([1, np.nan, 1, 1], np.float32)
    starts, tags = np.array([0, 1, 1, 2, 3], np.uint32), np.array([1, 2, 3], np.uint32)
    calls: list[tuple[str, Any]] = [
        ("candidates", lambda: mmr(vectors.astype(np.float64), relevance, 2)),  # type: ignore[arg-type]
        ("candidates", lambda: mmr(vectors[:, ::2], relevance, 2)),
        ("candidates", lambda: mmr(vectors[:3], relevance, 2)),
        ("candidates", lambda: dpp(vectors.tolist(), relevance, 2)),  # type: ignore[arg-type]
        ("dimension of candidates", lambda: mmr(np.ones((4, 0), np.float32), relevance, 2)),
        ("dimension of candidates", lambda: mmr(np.ones((4, 1025), np.int8), relevance, 2)),
        ("vectors", lambda: mmr(np.full((4, 3), np.inf, np.float32), relevance, 2)),
        ("relevance", lambda: mmr(vectors, nan, 2)),
        ("relevance", lambda: dpp(vectors, nan, 2)),
        ("relevance", lambda: mmr(vectors, np.ones((4, 1), np.float32), 2)),
        ("k", lambda: mmr(vectors, relevance, -1)),
        ("trade_off", lambda: mmr(vectors, relevance, 2, trade_off=1.1)),
        ("trade_off", lambda: mmr(vectors, relevance, 2, trade_off=float("nan"))),
        ("window", lambda: mmr(vectors, relevance, 2, window=-1)),
        ("theta", lambda: dpp(vectors, relevance, 2, theta=1.0)),
        ("theta", lambda: dpp(vectors, relevance, 2, theta=-0.1)),
        ("starts", lambda: mmr(TagSets(starts[:3], tags), relevance, 2)),
        ("starts", lambda: mmr(TagSets(starts, tags[:2]), relevance, 2)),
        ("tags", lambda: mmr(TagSets(np.array([0, 2, 2, 2, 3], np.uint32), tags[::-1].copy()), relevance, 2)),
        ("query", lambda: slate(Int8Index(3), np.ones(2, np.float32))),
    ]
    for field, call in calls:
        with pytest.raises(InvalidArray) as caught:
            call()
        assert caught.value.details["field"] == field
