"""`headwater.kernels.scoring` against numpy, and its refusals."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from headwater.errors import InvalidArray
from headwater.kernels import NO_ITEM, Int8Index, quantize
from reference import int8

# Few values: equal scores, extremes and zero vectors are common.
COMPONENT = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e15, -1e15, 1e-20]) | st.floats(-2, 2, width=32)


def matrix(rows: st.SearchStrategy[int], dim: int) -> st.SearchStrategy[NDArray[np.float32]]:
    return rows.flatmap(lambda n: hnp.arrays(np.float32, (n, dim), elements=COMPONENT))


def filled(vectors: NDArray[np.float32]) -> Int8Index:
    index = Int8Index(vectors.shape[1])
    index.add(vectors)
    return index


@given(st.data(), st.integers(1, 70))
def test_quantize_equals_the_definition(data: st.DataObject, dim: int) -> None:
    vectors = data.draw(matrix(st.integers(0, 8), dim))
    codes, scales = quantize(vectors)
    expected_codes, expected_scales = int8.quantize(vectors)
    np.testing.assert_array_equal(codes, expected_codes)
    np.testing.assert_array_equal(scales, expected_scales)


@given(st.data(), st.integers(1, 40), st.integers(0, 60), st.integers(1, 3))
def test_search_equals_the_definition(data: st.DataObject, dim: int, k: int, threads: int) -> None:
    vectors = data.draw(matrix(st.integers(0, 90), dim))
    queries = data.draw(matrix(st.integers(0, 19), dim))
    mask = data.draw(st.none() | hnp.arrays(np.bool_, len(vectors)))
    index = filled(vectors)
    ids, scores = index.search(queries, k, mask=mask, threads=threads)
    assert ids.shape == scores.shape == (len(queries), min(k, len(vectors)))
    for row, query in enumerate(queries):
        expected_ids, expected_scores = int8.search(vectors, query, k, mask)
        found = len(expected_ids)
        np.testing.assert_array_equal(ids[row, :found], expected_ids)
        np.testing.assert_array_equal(scores[row, :found], expected_scores)
        assert (ids[row, found:] == NO_ITEM).all()
        assert (scores[row, found:] == -np.inf).all()
        one_ids, one_scores = index.search(query, k, mask=mask)
        np.testing.assert_array_equal(one_ids, expected_ids)
        np.testing.assert_array_equal(one_scores, expected_scores)


@pytest.mark.parametrize("dim", [16, 64, 100, 1024])
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
def test_search_of_many_vectors_in_any_order(dim: int, order: str) -> None:
    rng = np.random.default_rng(dim)
    vectors = rng.standard_normal((6000, dim), dtype=np.float32)
    query = rng.standard_normal(dim, dtype=np.float32)
    if order != "random":
        # The sample that sets the first floor sees what a shuffled log would not show it.
        by_score = np.argsort(vectors @ query)
        vectors = np.ascontiguousarray(vectors[by_score if order == "rising" else by_score[::-1]])
    index = filled(vectors)
    for k in (1, 30, 6000):
        ids, scores = index.search(query, k)
        expected_ids, expected_scores = int8.search(vectors, query, k)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(scores, expected_scores)


def test_a_sample_that_misleads_costs_time_and_nothing_else() -> None:
    # All that is good stands where the sample looks, too little of it for k: its floor is too high.
    vectors = np.full((64 * 64, 4), -1, np.float32)
    vectors.reshape(64, 64, 4)[::1, :8] = 1
    vectors[: 64 * 16] *= np.linspace(1, 2, 64 * 16, dtype=np.float32)[:, None]
    blocks = vectors.reshape(-1, 64, 4)
    blocks[::16] = np.float32(50)
    index = filled(vectors)
    query = np.ones(4, np.float32)
    for k in (100, 300):
        ids, scores = index.search(query, k)
        expected_ids, expected_scores = int8.search(vectors, query, k)
        np.testing.assert_array_equal(ids, expected_ids)
        np.testing.assert_array_equal(scores, expected_scores)


def test_packed_masks_equal_plain_ones() -> None:
    rng = np.random.default_rng(1)
    index = filled(rng.standard_normal((333, 20), dtype=np.float32))
    query = rng.standard_normal(20, dtype=np.float32)
    for share in (0.0, 0.01, 0.3, 1.0):
        mask = rng.random(333) < share
        plain = index.search(query, 50, mask=mask)
        packed = index.search(query, 50, mask=np.packbits(mask, bitorder="little"))
        np.testing.assert_array_equal(plain[0], packed[0])
        assert mask[plain[0]].all()
        assert len(plain[0]) == min(50, mask.sum())


def test_scores_below_the_least_are_left_out() -> None:
    vectors = np.eye(5, dtype=np.float32) * np.arange(5, dtype=np.float32)[:, None]
    index = filled(vectors)
    ids, scores = index.search(np.ones(5, np.float32), 5, min_score=2.0)
    assert ids.tolist() == [4, 3, 2]
    np.testing.assert_allclose(scores, [4, 3, 2], rtol=1e-6)


def test_rescoring_gives_float_scores_in_float_order() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((5000, 48), dtype=np.float32)
    queries = rng.standard_normal((3, 48), dtype=np.float32)
    ids, scores = filled(vectors).search(queries, 20, rescore=vectors, oversample=8)
    exact = queries @ vectors.T
    for row in range(3):
        np.testing.assert_array_equal(ids[row], np.argsort(-exact[row])[:20])
        np.testing.assert_allclose(scores[row], np.sort(exact[row])[::-1][:20], rtol=1e-5)


def test_vectors_are_overwritten_in_place_and_the_last_of_a_repeated_id_counts() -> None:
    index = filled(np.ones((40, 3), np.float32))
    ids = np.array([7, 39, 7], np.uint32)
    rows = np.array([[5, 0, 0], [0, 6, 0], [0, 0, 9]], np.float32)
    index.put(ids, rows)
    found, _ = index.search(np.array([0, 0, 1], np.float32), 1)
    assert found.tolist() == [7]
    codes, scales = index.get(np.array([7, 39, 0, 7], np.uint32))
    expected, expected_scales = quantize(np.array([[0, 0, 9], [0, 6, 0], [1, 1, 1], [0, 0, 9]], np.float32))
    np.testing.assert_array_equal(codes, expected)
    np.testing.assert_array_equal(scales, expected_scales)


def test_searches_and_inserts_from_several_threads() -> None:
    index = Int8Index(8)
    vectors = np.tile(np.arange(1, 9, dtype=np.float32), (64, 1))

    def insert() -> None:
        for _ in range(50):
            index.add(vectors)

    def ask() -> None:
        for _ in range(200):
            ids, scores = index.search(vectors[0], 10)
            # Whole batches are seen or nothing: all vectors are equal, so the first ten win.
            assert ids.tolist() in ([], list(range(10)))
            assert len(set(scores.tolist())) <= 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for work in (insert, ask, insert, ask)]:
            done.result()
    assert len(index) == 6400


PROGRAM = """
import sys
import numpy as np
from headwater.kernels import BloomFilter, CooccurrenceCounts, Int8Index, TagSets, dpp, mmr, simd_path, slate
rng = np.random.default_rng(5)
out = sys.stdout.buffer
for dim in (16, 33, 64, 200):
    vectors = rng.standard_normal((3000, dim), dtype=np.float32)
    vectors[::7] = vectors[0]
    vectors[5] = 0
    index = Int8Index(dim)
    index.add(vectors)
    relevance = rng.random(200, dtype=np.float32)
    codes, _ = index.get(np.arange(200, dtype=np.uint32))
    for found in (
        index.search(vectors[:21], 100),
        index.search(vectors[3], 100, mask=rng.random(3000) < 0.1),
        index.search(vectors[:5], 10, rescore=vectors),
        mmr(vectors[:200], relevance, 30), mmr(codes, relevance, 30, window=3),
        dpp(vectors[:200], relevance, 30), dpp(codes, relevance, 30),
        slate(index, vectors[1], 30),
    ):
        for array in found:
            out.write(array.tobytes())
counts = CooccurrenceCounts(window=12)
counts.add_units(np.arange(0, 30_001, 30), rng.integers(0, 300, 30_000).astype(np.uint32))
for array in counts.top(np.arange(40, dtype=np.uint32), 300, shrinkage=3.0):
    out.write(array.tobytes())
bloom = BloomFilter(500)
out.write(bytes(bloom.add(key % 700) for key in range(2_000)))
out.write(bytes(key in bloom for key in range(1_500)))
print(simd_path(), file=sys.stderr)
"""


def run_with(path: str, program: str = PROGRAM) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "HEADWATER_SIMD": path}, capture_output=True, timeout=120
    )


def test_every_path_gives_the_same_bytes() -> None:
    digests: dict[str, str] = {}
    for path in ("portable", "avx2", "avx512"):
        done = run_with(path)
        if b"this CPU lacks it" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr.decode()
        assert done.stderr.decode().split()[-1] == path
        digests[path] = hashlib.sha256(done.stdout).hexdigest()
    assert "portable" in digests
    if len(digests) == 1:
        pytest.skip("this CPU has the portable path alone")
    assert len(set(digests.values())) == 1, digests


@pytest.mark.parametrize(
    "program",
    [
        PROGRAM,
        "from headwater.kernels import CooccurrenceCounts; CooccurrenceCounts()",
        "from headwater import config, core; core.new_core(config.default_config('shop'), 1)",
    ],
    ids=["kernels", "counts", "engine"],
)
def test_an_unknown_path_is_refused(program: str) -> None:
    done = run_with("sse9", program)
    assert done.returncode != 0
    assert b"InvalidArray" in done.stderr
    assert b'HEADWATER_SIMD: "sse9"; allowed: auto, avx512, avx2, portable' in done.stderr


GOOD = np.ones((4, 3), np.float32)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([[1.0, 2.0, 3.0]], "list; allowed: a C-contiguous numpy array of float32, shape (n, 3)"),
        (GOOD.astype(np.float64), "dtype float64"),
        (GOOD.astype(">f4"), "dtype >f4"),
        (np.ones((4, 2), np.float32), "shape (4, 2)"),
        (np.ones((4, 3, 1), np.float32), "shape (4, 3, 1)"),
        (np.ones(2, np.float32), "shape (2)"),
        (np.float32(1), "float32; allowed"),
        (np.asfortranarray(GOOD), "see ascontiguousarray"),
        (np.ones((4, 6), np.float32)[:, ::2], "strides"),
        (GOOD[::-1], "strides"),
        (np.array([[1, 2, 3], [1, np.nan, 3]], np.float32), "row 1 holds NaN"),
        (np.array([[np.inf, 2, 3]], np.float32), "row 0 holds NaN, an infinity"),
        (np.array([[1e16, 2, 3]], np.float32), "row 0 holds"),
    ],
)
def test_bad_vectors_are_refused_and_change_nothing(bad: Any, says: str) -> None:
    index = filled(GOOD)
    for call in (lambda: index.add(bad), lambda: index.search(bad, 1)):
        with pytest.raises(InvalidArray) as caught:
            call()
        assert says in str(caught.value)
        assert caught.value.details["field"] in ("vectors", "queries")
    assert len(index) == 4


def test_other_bad_arguments_are_refused() -> None:
    index = filled(GOOD)
    query = GOOD[0]
    ids = np.zeros(1, np.uint32)
    calls: list[tuple[str, Any]] = [
        ("dim", lambda: Int8Index(0)),
        ("dim", lambda: Int8Index(1025)),
        ("dim", lambda: Int8Index(3.0)),  # type: ignore[arg-type]
        ("capacity", lambda: Int8Index(3, -1)),
        ("capacity", lambda: Int8Index(3, 2**32)),
        ("k", lambda: index.search(query, -1)),
        ("k", lambda: index.search(query, True)),
        ("k", lambda: index.search(query, 2**40)),
        ("threads", lambda: index.search(query, 1, threads=0)),
        ("oversample", lambda: index.search(query, 1, rescore=GOOD, oversample=0)),
        ("min_score", lambda: index.search(query, 1, min_score=float("nan"))),
        ("mask", lambda: index.search(query, 1, mask=np.ones(3, np.bool_))),
        ("mask", lambda: index.search(query, 1, mask=np.ones(2, np.uint8))),
        ("mask", lambda: index.search(query, 1, mask=np.ones(4, np.int64))),  # type: ignore[arg-type]
        ("rescore", lambda: index.search(query, 1, rescore=GOOD[:2])),
        ("rescore", lambda: index.search(query, 1, rescore=np.full((4, 3), np.nan, np.float32))),
        ("ids", lambda: index.put(np.array([4], np.uint32), GOOD[:1])),
        ("ids", lambda: index.put(np.array([0, 1], np.uint32), GOOD[:1])),
        ("ids", lambda: index.put(np.array([0]), GOOD[:1])),
        ("ids", lambda: index.get(np.array([9], np.uint32))),
        ("vectors", lambda: index.put(ids, np.array([[np.nan, 0, 0]], np.float32))),
        ("vectors", lambda: quantize(np.array([[np.nan]], np.float32))),
    ]
    for field, call in calls:
        with pytest.raises(InvalidArray) as caught:
            call()
        assert caught.value.details["field"] == field
    np.testing.assert_array_equal(index.get(np.arange(4, dtype=np.uint32))[0], quantize(GOOD)[0])


def test_nothing_in_nothing_out() -> None:
    empty = Int8Index(3)
    ids, scores = empty.search(GOOD[0], 5)
    assert ids.shape == scores.shape == (0,)
    assert empty.search(GOOD, 5)[0].shape == (4, 0)
    assert filled(GOOD).search(np.empty((0, 3), np.float32), 2)[0].shape == (0, 2)
    assert filled(GOOD).search(GOOD[0], 0)[0].shape == (0,)
    assert empty.add(np.empty((0, 3), np.float32)).shape == (0,)
    assert quantize(np.empty((0, 3), np.float32))[0].shape == (0, 3)


def test_more_memory_than_there_is_is_refused() -> None:
    with pytest.raises(InvalidArray, match="do not fit into memory") as caught:
        Int8Index(1024, 2**32 - 2)
    assert caught.value.details["field"] == "capacity"
