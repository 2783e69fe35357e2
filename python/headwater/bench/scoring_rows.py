"""int8 scoring, one query and many, beside numpy and usearch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headwater.bench.machine import multiply_adds_per_s, stream_bytes_per_s
from headwater.bench.peers import peer, threads
from headwater.bench.row import Row, Target, make_row
from headwater.bench.scale import Scale
from headwater.bench.timing import Timed, clocked, interleaved
from headwater.errors import HeadwaterError
from headwater.kernels import Int8Index, quantize

_K = 100
_QUERIES = 16
_LEAST_RECALL = 0.9  # of int8 scores against float32 ones, on random vectors


def rows(scale: Scale) -> list[Row]:
    """Top-100 of all vectors: one query on one core, 16 queries on two."""
    random = np.random.default_rng(3)
    vectors = _units(random, scale.vectors, scale.dim)
    queries = _units(random, _QUERIES, scale.dim)
    index = Int8Index(scale.dim, scale.vectors)
    index.add(vectors)
    _check(index, vectors, queries)
    peers = _Usearch(vectors, queries)
    return [_single(scale, index, vectors, queries, peers), _multi(scale, index, vectors, queries, peers)]


def _units(random: np.random.Generator, count: int, dim: int) -> NDArray[np.float32]:
    vectors = random.standard_normal((count, dim), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _check(index: Int8Index, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
    """Ours are the best by exact integer dots, and nearly the best by float32; numpy's top-k is a sort's."""
    codes, scales = quantize(vectors)
    query_codes, query_scales = quantize(queries)
    dots = query_codes.astype(np.int64) @ codes.T.astype(np.int64)
    scores = dots * scales.astype(np.float64) * query_scales.astype(np.float64)[:, None]
    ids, found = index.search(queries, _K)
    best = -np.sort(-scores, axis=1)[:, : ids.shape[1]]
    if not np.allclose(found, best, rtol=1e-5, atol=1e-6):
        raise HeadwaterError("the int8 scan's scores are not the best of the exact integer dots")
    exact = queries @ vectors.T
    recall = []
    for query, row in enumerate(ids):
        theirs = _numpy_top(vectors, queries[query], ids.shape[1])
        by_sort = np.argsort(-exact[query])[: ids.shape[1]]
        if set(theirs) != set(by_sort.tolist()):
            raise HeadwaterError("numpy's argpartition does not give the best")
        recall.append(len(set(row.tolist()) & set(theirs)) / len(theirs))
    if np.mean(recall) < _LEAST_RECALL:
        raise HeadwaterError(f"int8 recall against float32 is {np.mean(recall):.3f}")


def _numpy_top(vectors: NDArray[np.float32], query: NDArray[np.float32], k: int) -> list[int]:
    scores = vectors @ query
    best = np.argpartition(-scores, k - 1)[:k]
    top: list[int] = best[np.argsort(-scores[best])].tolist()
    return top


def _numpy_batch(vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    scores = queries @ vectors.T
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


class _Usearch:
    """Exact search of int8 codes, and HNSW over them with its recall; nothing where usearch is not installed."""

    def __init__(self, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
        self.facts: dict[str, float] = {}
        self._usearch: Any = peer("usearch.index")
        if self._usearch is None:
            return
        self._codes, self._queries = (
            np.rint(rows / np.abs(rows).max(axis=1, keepdims=True) * 127).astype(np.int8) for rows in (vectors, queries)
        )
        self._hnsw = self._usearch.Index(ndim=vectors.shape[1], metric="cos", dtype="i8")
        self._hnsw.add(np.arange(len(self._codes)), self._codes, threads=2)
        exact = self._usearch.search(self._codes, self._queries, _K, "cos", exact=True)
        near = self._hnsw.search(self._queries, _K)
        recall = np.mean([len(set(a) & set(b)) / len(a) for a, b in zip(exact.keys, near.keys, strict=True)])
        self.facts = {"usearch_hnsw_recall": float(recall)}

    def subjects(self, threads: int) -> dict[str, Timed]:
        """The first query on one thread, all of them on more."""
        if self._usearch is None:
            return {}
        usearch, hnsw, codes = self._usearch, self._hnsw, self._codes
        asked = self._queries[0] if threads == 1 else self._queries
        return {
            "usearch exact int8": clocked(lambda: usearch.search(codes, asked, _K, "cos", exact=True, threads=threads)),
            "usearch HNSW": clocked(lambda: hnsw.search(asked, _K, threads=threads)),
        }


def _single(
    scale: Scale, index: Int8Index, vectors: NDArray[np.float32], queries: NDArray[np.float32], peers: _Usearch
) -> Row:
    query = queries[0]
    k = min(_K, len(index))
    with threads(1) as held:
        usearch = peers.subjects(1)
        seconds = interleaved(
            {
                "ours": clocked(lambda: index.search(query, k)),
                "numpy f32 gemv + argpartition": clocked(lambda: _numpy_top(vectors, query, k)),
                **usearch,
            },
            scale.runs,
            lead=2,
        )
    read = index.nbytes
    # The index is read over and over, so it comes from whatever cache it fits.
    limit = max(read / stream_bytes_per_s(read), read / multiply_adds_per_s())
    return make_row(
        "int8 top-100, one query",
        f"{len(index):,} x {scale.dim}",
        seconds,
        per="query",
        limit_us=limit * 1e6,
        limit="the index's bytes at the measured bandwidth of its size",
        target=Target(
            at_most_us=300,
            ratios={"usearch exact int8": 20, "numpy f32 gemv + argpartition": 2},
            shown="<= 300 us; >= 20x usearch exact; >= 2x numpy",
        ),
        note="" if held else "numpy's threads are not held to 1: threadpoolctl is not installed",
        absent=() if usearch else ("usearch exact int8", "usearch HNSW"),
        facts={"G_candidates_per_s": len(index) / float(np.median(seconds["ours"])) / 1e9, **peers.facts},
    )


def _multi(
    scale: Scale, index: Int8Index, vectors: NDArray[np.float32], queries: NDArray[np.float32], peers: _Usearch
) -> Row:
    k = min(_K, len(index))
    with threads(2) as held:
        usearch = peers.subjects(2)
        seconds = interleaved(
            {
                "ours": clocked(lambda: index.search(queries, k, threads=2)),
                "numpy f32 gemm + argpartition": clocked(lambda: _numpy_batch(vectors, queries, k)),
                **usearch,
            },
            scale.runs,
            lead=2,
        )
    candidates = len(index) * len(queries)
    limit = candidates * scale.dim / (2 * multiply_adds_per_s())
    return make_row(
        f"int8 top-100, {len(queries)} queries",
        f"{len(index):,} x {scale.dim}",
        seconds,
        threads=2,
        per="batch",
        limit_us=limit * 1e6,
        limit="multiply-adds at twice one core's measured peak",
        target=Target(at_most_us=candidates / 3e9 * 1e6, shown=">= 3 G candidates/s"),
        note="" if held else "numpy's threads are not held to 2: threadpoolctl is not installed",
        absent=() if usearch else ("usearch exact int8", "usearch HNSW"),
        facts={"G_candidates_per_s": candidates / float(np.median(seconds["ours"])) / 1e9, **peers.facts},
    )
