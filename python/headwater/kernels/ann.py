"""Top-k over many int8 vectors: the exact scan, and a graph beside it where the scan would take too long.

`AnnIndex` is an `Int8Index` with an HNSW graph as a cache: nothing depends on it, it can be dropped and built again at
any time, and every score it leads to is the exact scan's, bit for bit. What may differ is which items are found: from a
graph a few of the true best can be missing.

A graph answers only where that pays and works:

* few vectors, or a filter that few pass, are scanned exactly: there a scan is fast, and a graph, which cannot see the
  filter while it walks, finds little;
* otherwise more items than asked for are fetched from the graph, filtered and scored again, twice as many each time
  that too few pass;
* a query that still has too few is scanned exactly.
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater.kernels.arrays import MAX_THREADS, float_of, int_of, mask_of
from headwater.kernels.hnsw import HnswGraph, HnswSettings
from headwater.kernels.scoring import MAX_VECTORS, NO_ITEM, Int8Index, quantize

_LARGEST = 1e15  # magnitude of a component; the exact scan refuses what is larger
_MARGIN = 1.25  # so many times k must pass: the last that a walk comes by are not the next best
_WORN = 0.25


class ExactRule(NamedTuple):
    """When a query is scanned exactly.

    Fewer than `below` vectors; a filter that admits less than `share` of them, or fewer than `matches`; more than
    `expansion_search` and more than `fetched` of the graph's nodes to be fetched, for a large k or a strict filter:
    so many random reads cost more than a pass over all.
    """

    below: int = 200_000
    share: float = 0.05
    matches: int = 50_000
    fetched: float = 1 / 512

    def checked(self) -> ExactRule:
        """Itself. Raises `InvalidArray` for a number out of bounds."""
        int_of("below", self.below, 0, MAX_VECTORS)
        float_of("share", self.share, 0.0, 1.0)
        int_of("matches", self.matches, 0, MAX_VECTORS)
        float_of("fetched", self.fetched, 0.0, 1.0)
        return self


DEFAULT_RULE = ExactRule()
DEFAULT_HNSW = HnswSettings()


class Routes(NamedTuple):
    """How queries were answered: by a scan, by the graph, or `again` by a scan since the graph had found too few."""

    exact: int = 0
    graph: int = 0
    again: int = 0


class AnnIndex:
    """int8 vectors, searched exactly or through an HNSW graph (Malkov and Yashunin, TPAMI 2018).

    Vectors are numbered from 0 in the order they are added and can be overwritten at any time. The graph comes into
    being by `build`, which searches and changes need not wait for; from then on changes go into it as they come.
    Without one every search is exact. A graph needs `headwater[ann]` and several times the memory of the vectors.

    `vectors` is the exact side, for reading: changes made there directly would pass the graph by. Safe to use from
    several threads.
    """

    def __init__(
        self, dim: int, capacity: int = 0, *, rule: ExactRule = DEFAULT_RULE, hnsw: HnswSettings = DEFAULT_HNSW
    ) -> None:
        """For vectors of 1 to 1024 dimensions, with memory for `capacity` of them set aside. Raises `InvalidArray`."""
        self.vectors = Int8Index(dim, capacity)
        self._rule = rule.checked()
        self._settings = hnsw.checked()
        self._graph: HnswGraph | None = None
        self._changing = threading.Lock()
        self._building = threading.Lock()
        self._put_meanwhile: set[int] | None = None
        self._counting = threading.Lock()
        self._routes = Routes()

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        state = "no graph" if self._graph is None else f"graph of {self._graph.nodes} nodes"
        return f"AnnIndex(dim={self.dim}, vectors={len(self)}, {state})"

    @property
    def dim(self) -> int:
        """Dimension of the vectors."""
        return self.vectors.dim

    @property
    def nbytes(self) -> int:
        """Bytes held, those of the graph included."""
        return self.vectors.nbytes + (0 if self._graph is None else self._graph.nbytes)

    @property
    def routes(self) -> Routes:
        """How queries were answered so far."""
        return self._routes

    @property
    def needs_build(self) -> bool:
        """Whether `build` is worth its while: there are vectors enough and no graph, or overwritten vectors left a
        quarter of its nodes unused."""
        if len(self) < max(self._rule.below, 1):
            return False
        graph = self._graph
        return graph is None or graph.worn > _WORN

    def build(self, threads: int = 1) -> None:
        """Builds the graph of all vectors, or builds it anew. O(n log n d) times `expansion_add`: minutes for millions.

        Until it is ready, searches are answered as before. With several threads, graphs of equal vectors can differ.
        Raises `HeadwaterError` where usearch is not installed.
        """
        threads = int_of("threads", threads, 1, MAX_THREADS)
        with self._building:
            with self._changing:
                ids = np.arange(len(self), dtype=np.uint32)
                codes, scales = self.vectors.get(ids)
                self._put_meanwhile = set()
            try:
                graph = HnswGraph(self.dim, _usual_length(codes, scales), self._settings)
                graph.set(ids, codes, scales, threads)
                with self._changing:
                    stale = {*self._put_meanwhile, *range(len(ids), len(self))}
                    ids = np.fromiter(sorted(stale), np.uint32, len(stale))
                    graph.set(ids, *self.vectors.get(ids), threads)
                    self._graph = graph
            finally:
                with self._changing:
                    self._put_meanwhile = None

    def drop(self) -> None:
        """Drops the graph: searches are exact again."""
        with self._changing:
            self._graph = None

    def add(self, vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
        """Appends vectors, float32 (n, d) or (d,); returns their ids, uint32 (n,). O(n d), or with a graph as `build`.

        Raises `InvalidArray`, with nothing added, for NaN, infinities and magnitudes above 1e15.
        """
        with self._changing:
            ids = self.vectors.add(vectors)
            self._into_graph(ids)
        return ids

    def put(self, ids: NDArray[np.uint32], vectors: NDArray[np.float32]) -> None:
        """Overwrites the vectors of `ids`, uint32 (n,), by float32 (n, d); of a repeated id the last counts.

        Their old places in the graph stay behind unused until the next `build`. Raises `InvalidArray`, with nothing
        changed, for ids that do not exist and for what `add` refuses.
        """
        with self._changing:
            self.vectors.put(ids, vectors)
            changed = np.unique(ids)
            if self._put_meanwhile is not None:
                self._put_meanwhile.update(changed.tolist())
            self._into_graph(changed)

    def get(self, ids: NDArray[np.uint32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Codes, int8 (n, d), and scales, float32 (n,), of the vectors of `ids`, uint32 (n,)."""
        return self.vectors.get(ids)

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        *,
        mask: NDArray[np.bool_] | NDArray[np.uint8] | None = None,
        min_score: float = -np.inf,
        threads: int = 1,
        rule: ExactRule | None = None,
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The `k` best vectors for each query, best first, equal scores by ascending id.

        Arguments and answer are those of `Int8Index.search`; `rule` stands in for the index's own.

        Scores are always the exact scan's. Items are, too, where the rule says so, without a graph, for a zero query,
        and where the graph finds too few; otherwise a few of the true best may be missing, and the next best stand in
        their place. `routes` counts which way queries went.

        Exact O(n q d). By the graph about O(q f log n d) for f fetched, the larger of `expansion_search` and k over the
        share that `mask` admits, and O(n) for a mask. Raises `InvalidArray`.
        """
        graph = self._graph
        rule = self._rule if rule is None else rule.checked()
        rows = queries.reshape(1, -1) if isinstance(queries, np.ndarray) and queries.ndim == 1 else queries
        plan = None if graph is None or not _walkable(rows, self.dim) else self._plan(graph, rule, k, mask)
        if graph is None or plan is None:
            found = self.vectors.search(queries, k, mask=mask, min_score=min_score, threads=threads)
            self._count(exact=len(rows))
            return found
        least = float_of("min_score", min_score, -np.inf, np.inf)
        threads = int_of("threads", threads, 1, MAX_THREADS)
        ids, scores, short = self._walk(graph, rows, plan, threads)
        if len(short):
            ids[short], scores[short] = self._scan(rows[short], plan, threads)
        self._count(graph=len(rows) - len(short), again=len(short))
        ids[scores < least] = NO_ITEM
        scores[scores < least] = -np.inf
        if queries.ndim == 1:
            there = int(np.count_nonzero(ids[0] != NO_ITEM))
            return ids[0, :there], scores[0, :there]
        return _widened(ids, scores, plan.k)

    def _into_graph(self, ids: NDArray[np.uint32]) -> None:
        """Changed vectors into the graph; one that fails half way is dropped, since it would miss items for ever."""
        if self._graph is None:
            return
        try:
            self._graph.set(ids, *self.vectors.get(ids), 1)
        except BaseException:
            self._graph = None
            raise

    def _plan(self, graph: HnswGraph, rule: ExactRule, k: int, mask: Any) -> _Plan | None:
        """How to walk the graph; None where the rule asks for a scan, or a scan is faster."""
        total = len(self)
        k = min(int_of("k", k, 0, MAX_VECTORS), total)
        if k == 0 or total < rule.below or not graph.nodes:
            return None
        allowed, matches = _allowed(mask, total)
        if allowed is not None and (matches < rule.matches or matches < rule.share * total):
            return None
        wanted = min(k, matches)
        if wanted == 0:
            return None
        enough = min(matches, math.ceil(wanted * _MARGIN))
        least = max(self._settings.expansion_search, enough)
        useful = matches / graph.nodes
        # Filters do not admit evenly: with a little more, few queries walk twice.
        fetch = min(graph.nodes, least if useful == 1 else math.ceil(least / useful * _MARGIN))
        most = max(self._settings.expansion_search, int(graph.nodes * rule.fetched))
        return None if fetch > most else _Plan(k, wanted, enough, fetch, most, allowed)

    def _walk(
        self, graph: HnswGraph, rows: NDArray[np.float32], plan: _Plan, threads: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.intp]]:
        """Ids and scores (q, wanted), and which queries found too few, whose rows are to be filled."""
        ids = np.full((len(rows), plan.wanted), NO_ITEM, np.uint32)
        scores = np.full(ids.shape, -np.inf, np.float32)
        codes, scales = quantize(rows)
        # A zero query likes all alike: the graph would pick any, the scan picks the first.
        zero = np.flatnonzero(scales == 0)
        short = np.flatnonzero(scales != 0)
        fetch = plan.fetch
        while len(short) and fetch <= plan.most:
            still = []
            for query, near in zip(short, graph.near(np.ascontiguousarray(rows[short]), fetch, threads), strict=True):
                items = near[near != NO_ITEM]
                if plan.allowed is not None:
                    # What was added since the filter was made is not admitted.
                    items = items[items < len(plan.allowed)]
                    items = items[plan.allowed[items]]
                if len(items) < plan.enough:
                    still.append(query)
                    continue
                ids[query], scores[query] = self._best(items, codes[query], scales[query], plan.wanted)
            short = np.asarray(still, np.intp)
            fetch *= 2
        return ids, scores, np.sort(np.concatenate([zero, short]))

    def _scan(
        self, rows: NDArray[np.float32], plan: _Plan, threads: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The exact answer for queries that the graph had too few for."""
        with self._changing:  # so that the filter's length is that of the vectors
            allowed = plan.allowed
            if allowed is not None:
                allowed = np.pad(allowed, (0, len(self) - len(allowed)))
            return self.vectors.search(np.ascontiguousarray(rows), plan.wanted, mask=allowed, threads=threads)

    def _best(
        self, items: NDArray[np.uint32], code: NDArray[np.int8], scale: np.float32, k: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
        """The best of these items by the scan's scores, equal ones by id."""
        # Sums of up to 1024 products of codes are below 2^24: float32 holds them exactly, added in any order.
        codes, scales = self.vectors.get(items)
        scores = (codes.astype(np.float32) @ code.astype(np.float32)) * scales * scale
        order = np.lexsort((items, -scores))[:k]
        return items[order], scores[order]

    def _count(self, exact: int = 0, graph: int = 0, again: int = 0) -> None:
        with self._counting:
            have = self._routes
            self._routes = Routes(have.exact + exact, have.graph + graph, have.again + again)


class _Plan(NamedTuple):
    """How to walk a graph."""

    k: int
    wanted: int
    """At most as many as the filter admits."""
    enough: int
    """With fewer to choose from, a walk found too few."""
    fetch: int
    """Nodes to fetch at first, then twice as many ..."""
    most: int
    """... up to this."""
    allowed: NDArray[np.bool_] | None


def _walkable(rows: Any, dim: int) -> bool:
    """Whether these are queries that a graph can take; what they are not, the scan refuses or answers."""
    if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != dim:
        return False
    # NaN compares as false.
    return bool(rows.flags.c_contiguous and len(rows) and (np.abs(rows) <= _LARGEST).all())


def _allowed(mask: Any, total: int) -> tuple[NDArray[np.bool_] | None, int]:
    """The filter as bool (n,), and how many it admits."""
    data, packed = mask_of("mask", mask, total)
    if data is None:
        return None, total
    bits = np.unpackbits(data, count=total, bitorder="little") if packed else data
    allowed = bits.view(np.bool_)
    return allowed, int(np.count_nonzero(allowed))


def _usual_length(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> float:
    """The length that nine in ten of these vectors do not exceed; 0 for none."""
    if not len(codes):
        return 0.0
    squares = np.empty(len(codes))
    for start in range(0, len(codes), 65_536):
        part = slice(start, start + 65_536)
        squares[part] = np.square(codes[part].astype(np.float32)).sum(axis=1)
    return float(np.quantile(np.sqrt(squares) * scales, 0.9))


def _widened(
    ids: NDArray[np.uint32], scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Answers as wide as asked for."""
    missing = ((0, 0), (0, k - ids.shape[1]))
    return (
        np.pad(ids, missing, constant_values=NO_ITEM),
        np.pad(scores, missing, constant_values=-np.inf),
    )
