"""`headwater.kernels.ann` against the exact scan: the same where it must be, near enough where it may not."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from headwater.errors import InvalidArray
from headwater.kernels import NO_ITEM, AnnIndex, ExactRule, HnswSettings, Routes

DIM = 24
VECTORS = 4000
GRAPH = ExactRule(below=0, share=0.0, matches=0, fetched=1.0)
"""Everything by the graph, whatever it costs."""


def clustered(count: int, seed: int, clusters: int = 40, dim: int = DIM) -> NDArray[np.float32]:
    """Vectors around a few centres, of lengths that differ: inner products are not cosines."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((clusters, dim))
    vectors = centres[random.integers(0, clusters, count)] + 0.4 * random.standard_normal((count, dim))
    return np.asarray(vectors * random.uniform(0.7, 1.3, (count, 1)), np.float32)


def filled(vectors: NDArray[np.float32], rule: ExactRule = GRAPH, ef: int = 128, build: bool = True) -> AnnIndex:
    index = AnnIndex(vectors.shape[1], rule=rule, hnsw=HnswSettings(expansion_search=ef))
    index.add(vectors)
    if build:
        index.build(threads=2)
    return index


def assert_same(found: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])
    assert found[0].dtype == np.uint32
    assert found[1].dtype == np.float32


def recall(index: AnnIndex, queries: NDArray[np.float32], k: int, mask: NDArray[np.bool_] | None = None) -> float:
    """Share of the exact scan's best that is found; every score must be the scan's for that item."""
    shares = []
    for query in queries:
        ids, scores = index.search(query, k, mask=mask)
        everything = dict(zip(*(part.tolist() for part in index.vectors.search(query, len(index))), strict=True))
        assert scores.tolist() == [everything[item] for item in ids.tolist()]
        assert sorted(zip(-scores, ids, strict=True)) == list(zip(-scores, ids, strict=True))
        assert len(set(ids.tolist())) == len(ids)
        assert mask is None or mask[ids].all()
        best = index.vectors.search(query, k, mask=mask)[0]
        shares.append(len(set(ids.tolist()) & set(best.tolist())) / len(best))
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def graph() -> AnnIndex:
    return filled(clustered(VECTORS, 1))


@pytest.mark.parametrize("admitted", [1.0, 0.5, 0.2, 0.05])
def test_the_graph_finds_most_of_the_best_with_exact_scores(graph: AnnIndex, admitted: float) -> None:
    mask = np.random.default_rng(2).random(VECTORS) < admitted if admitted < 1 else None
    before = graph.routes
    assert recall(graph, clustered(30, 3), 20, mask) >= 0.95
    assert graph.routes == before._replace(graph=before.graph + 30)


def test_a_short_walk_misses_some() -> None:
    # Otherwise the floor above could not fail.
    loose = np.random.default_rng(4).standard_normal((VECTORS, 100), np.float32)
    assert 0.05 < recall(filled(loose, ef=10), loose[:30] + 1, 10) < 0.9


def test_lengths_count_as_in_an_inner_product() -> None:
    vectors = clustered(2000, 5)
    vectors[::100] *= 20
    index = filled(vectors)
    queries = clustered(20, 6)
    best = index.vectors.search(queries, 10)[0]
    assert 0.3 < (best % 100 == 0).mean() < 1
    assert recall(index, queries, 10) >= 0.85


@pytest.mark.parametrize(
    ("rule", "admitted"),
    [
        (ExactRule(below=VECTORS + 1, share=0, matches=0, fetched=1.0), 1.0),
        (ExactRule(below=0, share=0.5, matches=0, fetched=1.0), 0.3),
        (ExactRule(below=0, share=0, matches=3000, fetched=1.0), 0.5),
        (ExactRule(below=0, share=0, matches=0, fetched=0.0), 0.5),
    ],
    ids=["few vectors", "small share", "few matches", "too much to fetch"],
)
def test_the_rule_asks_for_the_exact_scan(rule: ExactRule, admitted: float) -> None:
    loose = np.random.default_rng(7).standard_normal((VECTORS, DIM), np.float32)
    mask = np.random.default_rng(8).random(VECTORS) < admitted
    index = filled(loose, rule, ef=10)
    for given in (mask, np.packbits(mask, bitorder="little")):
        for query in loose[:5]:
            assert_same(index.search(query, 50, mask=given), index.vectors.search(query, 50, mask=mask))
    assert index.routes == Routes(exact=10)


def test_without_a_filter_only_the_size_decides() -> None:
    rule = ExactRule(below=VECTORS, share=1.0, matches=10**9, fetched=0.0)
    index = filled(clustered(VECTORS, 1), rule)
    index.search(clustered(1, 2)[0], 10)
    assert index.routes == Routes(graph=1)
    many = index.search(clustered(1, 2)[0], 500)
    assert_same(many, index.vectors.search(clustered(1, 2)[0], 500))
    assert index.routes == Routes(graph=1, exact=1)


def test_one_question_can_have_a_rule_of_its_own(graph: AnnIndex) -> None:
    query, before = clustered(1, 2)[0], graph.routes
    assert_same(graph.search(query, 10, rule=ExactRule()), graph.vectors.search(query, 10))
    assert graph.routes == before._replace(exact=before.exact + 1)
    with pytest.raises(InvalidArray, match="share"):
        graph.search(query, 10, rule=ExactRule(share=-1))


def test_packed_filters_equal_plain_ones(graph: AnnIndex) -> None:
    mask = np.random.default_rng(9).random(VECTORS) < 0.3
    queries = clustered(20, 10)
    assert_same(
        graph.search(queries, 15, mask=np.packbits(mask, bitorder="little")), graph.search(queries, 15, mask=mask)
    )


def test_a_filter_far_from_the_query_is_scanned_after_all() -> None:
    # Half of the items pass, none of them near the query: the walk, kept short, never gets there.
    random = np.random.default_rng(11)
    here = np.eye(DIM, dtype=np.float32)[0]
    vectors = np.asarray(0.05 * random.standard_normal((VECTORS, DIM)), np.float32)
    vectors[::2] += here
    vectors[1::2] -= here
    far = np.arange(VECTORS) % 2 == 1
    index = filled(vectors, GRAPH._replace(fetched=0.25), ef=64)
    assert_same(index.search(here, 10, mask=far), index.vectors.search(here, 10, mask=far))
    assert index.routes == Routes(again=1)
    # One of two queries: the other keeps the graph's answer.
    both = np.stack([-here, here])
    ids, scores = index.search(both, 10, mask=far)
    assert_same((ids[1], scores[1]), index.vectors.search(here, 10, mask=far))
    assert far[ids[0]].all()
    assert index.routes == Routes(graph=1, again=2)


def test_fetching_more_is_enough_where_the_filter_is_a_little_far() -> None:
    vectors = clustered(VECTORS, 12)
    query = clustered(1, 13)[0]
    order = np.argsort(-(vectors @ query))
    mask = np.ones(VECTORS, np.bool_)
    mask[order[:500]] = False  # the walk's first 64 all fail
    index = filled(vectors, GRAPH, ef=64)
    ids, _ = index.search(query, 10, mask=mask)
    assert index.routes == Routes(graph=1)
    assert len(set(ids.tolist()) & set(index.vectors.search(query, 10, mask=mask)[0].tolist())) >= 8


@pytest.mark.parametrize("k", [0, 1, 17, VECTORS, VECTORS + 5])
def test_shapes_are_those_of_the_exact_scan(graph: AnnIndex, k: int) -> None:
    queries = clustered(3, 14)
    mask = np.random.default_rng(15).random(VECTORS) < 0.5
    for given in (None, mask, np.zeros(VECTORS, np.bool_)):
        found, expected = (one.search(queries, k, mask=given) for one in (graph, graph.vectors))
        assert found[0].shape == found[1].shape == expected[0].shape
        np.testing.assert_array_equal(found[0] == NO_ITEM, expected[0] == NO_ITEM)
        np.testing.assert_array_equal(np.isneginf(found[1]), expected[0] == NO_ITEM)
        one = graph.search(queries[0], k, mask=given)
        assert one[0].shape == one[1].shape == graph.vectors.search(queries[0], k, mask=given)[0].shape


def test_all_that_there_are_in_the_order_of_the_scan(graph: AnnIndex) -> None:
    query = clustered(1, 16)[0]
    assert_same(graph.search(query, VECTORS), graph.vectors.search(query, VECTORS))


def test_scores_below_the_least_are_left_out(graph: AnnIndex) -> None:
    queries = clustered(4, 17)
    ids, scores = graph.search(queries, 20)
    least = float(scores[0, 10])
    cut, kept = graph.search(queries, 20, min_score=least)
    np.testing.assert_array_equal(cut, np.where(scores >= np.float32(least), ids, NO_ITEM))
    np.testing.assert_array_equal(kept, np.where(scores >= np.float32(least), scores, -np.inf))
    assert len(graph.search(queries[0], 20, min_score=least)[0]) == int((scores[0] >= np.float32(least)).sum())
    assert len(graph.search(queries[0], 20, min_score=1e30)[0]) == 0


def test_zero_queries_and_zero_vectors_are_answered_as_by_the_scan() -> None:
    vectors = clustered(300, 18)
    vectors[5:50] = 0
    index = filled(vectors)
    queries = np.stack([np.zeros(DIM, np.float32), vectors[0]])
    ids, scores = index.search(queries, 8)
    assert ids[0].tolist() == list(range(8))
    assert scores[0].tolist() == [0] * 8
    assert index.routes == Routes(graph=1, again=1)
    zeros = filled(np.zeros((20, DIM), np.float32))
    assert zeros.search(vectors[0], 20)[0].tolist() == list(range(20))


@pytest.mark.parametrize("scale", [1e15, 1e-12])
def test_magnitudes_at_the_edge(scale: float) -> None:
    vectors = clustered(500, 19)
    vectors = np.asarray(vectors / np.abs(vectors).max() * scale, np.float32)
    assert recall(filled(vectors), vectors[:5], 10) >= 0.95


def test_the_first_nodes_see_each_other_whatever_the_number_of_threads() -> None:
    # Added side by side, nodes of an empty graph miss each other, now and then one for good.
    vectors = clustered(500, 19)
    answers = []
    for threads in (1, 4):
        index = filled(vectors, build=False)
        index.build(threads=threads)
        answers.append(index.search(vectors, 10))
    assert_same(*answers)


def test_what_is_added_is_found_at_once() -> None:
    index = filled(clustered(1000, 20))
    fresh = clustered(50, 21) * np.float32(1.5)
    ids = index.add(fresh)
    assert ids.tolist() == list(range(1000, 1050))
    found = index.search(fresh, 10)[0]
    assert (
        np.mean([len(set(row) & set(index.vectors.search(q, 10)[0])) / 10 for row, q in zip(found, fresh, strict=True)])
        > 0.95
    )
    assert index.routes == Routes(graph=50)


def test_an_overwritten_vector_is_found_at_its_new_place_only() -> None:
    index = filled(clustered(1000, 22))
    lonely = np.zeros((1, DIM), np.float32)
    lonely[0, 3] = 9
    query = lonely[0]
    index.put(np.array([7], np.uint32), lonely)
    assert index.search(query, 1)[0].tolist() == [7]
    index.put(np.array([7, 7], np.uint32), np.concatenate([lonely, -lonely]))
    assert index.search(-query, 1)[0].tolist() == [7]
    ids, scores = index.search(query, 1000)
    assert_same((ids, scores), index.vectors.search(query, 1000))
    assert ids[-1] == 7
    assert index.routes.exact == 0


def test_many_overwritten_vectors_wear_the_graph_out_and_a_build_renews_it() -> None:
    index = filled(clustered(1000, 23))
    assert not index.needs_build
    for seed in range(30, 33):
        index.put(np.arange(1000, dtype=np.uint32), clustered(1000, seed))
    assert index.needs_build
    queries = clustered(20, 24)
    assert recall(index, queries, 10) >= 0.95
    index.build()
    assert not index.needs_build
    assert recall(index, queries, 10) >= 0.97


def test_changes_during_a_build_are_in_the_graph() -> None:
    index = filled(clustered(6000, 27), build=False)
    marks = np.eye(DIM, dtype=np.float32) * 30
    with ThreadPoolExecutor(1) as pool:
        building = pool.submit(index.build)
        while not building.done() and index._put_meanwhile is None:
            pass
        index.put(np.arange(12, dtype=np.uint32), marks[:12])
        index.add(marks[12:])
        building.result()
    expected = [*range(12), *range(6000, 6012)]
    assert index.search(marks, 1)[0][:, 0].tolist() == expected
    assert index.routes == Routes(graph=DIM)


def test_searches_and_changes_in_several_threads() -> None:
    vectors = clustered(2000, 28)
    index = filled(vectors)
    stop = len(vectors)

    def change(seed: int) -> None:
        for step in range(20):
            index.add(clustered(5, 1000 * seed + step))
            index.put(np.arange(5 * seed, 5 * seed + 5, dtype=np.uint32), clustered(5, 2000 * seed + step))

    def ask(seed: int) -> None:
        for query in clustered(40, seed):
            ids, scores = index.search(query, 10)
            assert len(ids) == 10
            assert (np.diff(scores) <= 0).all()

    with ThreadPoolExecutor(6) as pool:
        for future in [pool.submit(work, seed) for seed in (1, 2, 3) for work in (change, ask)]:
            future.result()
    assert len(index) == stop + 300
    assert recall(index, clustered(20, 29), 10) >= 0.95


def test_without_a_graph_and_without_vectors() -> None:
    index = AnnIndex(DIM, rule=GRAPH)
    query = clustered(1, 1)[0]
    assert len(index.search(query, 5)[0]) == 0
    assert not index.needs_build
    index.build()
    assert len(index.search(query, 5)[0]) == 0
    index.add(clustered(10, 2))
    assert_same(index.search(query, 10), index.vectors.search(query, 10))
    index.drop()
    assert index.needs_build
    assert_same(index.search(query, 5), index.vectors.search(query, 5))
    small = filled(clustered(10, 2), ExactRule(), build=False)
    assert not small.needs_build
    assert "no graph" in repr(small)


def test_a_graph_costs_memory() -> None:
    index = filled(clustered(1000, 3), build=False)
    before = index.nbytes
    index.build()
    assert index.nbytes > before + 1000 * 4 * DIM


QUERY = clustered(1, 1)[0]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"queries": QUERY.astype(np.float64)}, "queries"),
        ({"queries": QUERY[:-1]}, "queries"),
        ({"queries": np.repeat(QUERY, 2)[::2]}, "queries"),
        ({"queries": [1.0] * DIM}, "queries"),
        ({"queries": np.full(DIM, np.nan, np.float32)}, "queries"),
        ({"queries": np.full(DIM, np.inf, np.float32)}, "queries"),
        ({"queries": np.full(DIM, 2e15, np.float32)}, "queries"),
        ({"k": -1}, "k"),
        ({"k": 1.5}, "k"),
        ({"mask": np.ones(VECTORS - 1, np.bool_)}, "mask"),
        ({"mask": np.ones(VECTORS, np.int64)}, "mask"),
        ({"min_score": np.nan}, "min_score"),
        ({"threads": 0}, "threads"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else next(iter(value)),
)
def test_bad_questions_are_refused_by_name(graph: AnnIndex, arguments: dict[str, Any], field: str) -> None:
    before = graph.routes
    with pytest.raises(InvalidArray) as refused:
        graph.search(**({"queries": QUERY, "k": 5} | arguments))
    assert refused.value.details["field"] == field
    assert graph.routes == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: AnnIndex(0),
        lambda: AnnIndex(4, rule=ExactRule(below=-1)),
        lambda: AnnIndex(4, rule=ExactRule(share=1.5)),
        lambda: AnnIndex(4, rule=ExactRule(matches=-1)),
        lambda: AnnIndex(4, rule=ExactRule(fetched=float("nan"))),
        lambda: AnnIndex(4, hnsw=HnswSettings(connectivity=1)),
        lambda: AnnIndex(4, hnsw=HnswSettings(expansion_add=0)),
        lambda: AnnIndex(4, hnsw=HnswSettings(expansion_search=10**6)),
        lambda: AnnIndex(4).build(threads=0),
    ],
)
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(InvalidArray):
        make()


def test_refused_changes_change_nothing() -> None:
    index = filled(clustered(200, 4))
    query = clustered(1, 5)[0]
    before = index.search(query, 200)
    bad = clustered(2, 6)
    bad[1, 1] = np.nan
    with pytest.raises(InvalidArray):
        index.add(bad)
    with pytest.raises(InvalidArray):
        index.put(np.array([0, 1], np.uint32), bad)
    with pytest.raises(InvalidArray):
        index.put(np.array([0, 200], np.uint32), clustered(2, 6))
    assert len(index) == 200
    assert_same(index.search(query, 200), before)
    assert index.routes.exact == 0


ABSENT = """
import sys
sys.modules["usearch"] = None
import numpy as np
from headwater.errors import HeadwaterError
from headwater.kernels import AnnIndex
index = AnnIndex(4)
index.add(np.eye(4, dtype=np.float32))
assert index.search(np.eye(4, dtype=np.float32)[2], 1)[0].tolist() == [2]
try:
    index.build()
except HeadwaterError as refused:
    print(refused)
assert index.search(np.eye(4, dtype=np.float32)[2], 1)[0].tolist() == [2]
"""


def test_without_usearch_scans_work_and_a_build_says_what_to_install() -> None:
    done = subprocess.run([sys.executable, "-c", ABSENT], capture_output=True, text=True, check=True)
    assert "pip install 'headwater[ann]'" in done.stdout


def test_importing_the_kernels_does_not_import_usearch() -> None:
    check = "import sys, headwater.kernels; assert 'usearch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
