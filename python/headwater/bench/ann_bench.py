"""What a graph saves and loses: recall@100 and time a query, with filters that admit more or less.

Three ways side by side, on the same vectors, queries and filters: the exact scan, the graph alone whatever it costs,
and `AnnIndex` by its rule, which chooses between them. Vectors lie around centres, as embeddings of items do; filters
admit items at random. A score that is not the scan's ends the run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.bench.row import figures
from headwater.bench.scale import Scale
from headwater.bench.timing import Timed, clocked, interleaved
from headwater.errors import HeadwaterError
from headwater.kernels import AnnIndex, ExactRule

TOP = 100
ADMITTED = (1.0, 0.2, 0.05, 0.01)
_QUERIES = 64
_CENTRES = 1000
_SPREAD = 0.5  # of a cluster, in units of the spread of the centres
_GRAPH_ALONE = ExactRule(below=0, share=0.0, matches=0, fetched=1.0)


class AnnRow(msgspec.Struct, kw_only=True, frozen=True):
    """Recall@100 against the exact scan and microseconds a query (medians, one thread), at one size and filter.

    `admitted`: share that the filter admits. `route`: what the rule chose, `exact` or `graph`; `again`: share of
    the graph's queries that were scanned after all. `ours_*`: by the rule; `graph_*`: by the graph alone.
    """

    vectors: int
    dim: int
    admitted: float
    route: str
    again: float
    ours_recall: float
    ours_us: float
    exact_us: float
    graph_recall: float
    graph_us: float
    build_s: float
    """Seconds that the graph took to build, on two threads."""


def run_ann(scale: Scale, starting: Callable[[str], object] = lambda name: None) -> list[AnnRow]:
    """All sizes of the scale, all filters. Raises `HeadwaterError` without usearch, and for a wrong score."""
    rows: list[AnnRow] = []
    for count in scale.ann_vectors:
        starting(f"{count:,} vectors")
        random = np.random.default_rng(11)
        centres = random.standard_normal((_CENTRES, scale.dim), np.float32)
        index = AnnIndex(scale.dim, count)
        index.add(around(centres, random, count))
        started = time.perf_counter()
        index.build(threads=2)
        build_s = time.perf_counter() - started
        queries = around(centres, random, _QUERIES)
        for admitted in ADMITTED:
            mask = None if admitted == 1 else np.packbits(random.random(count) < admitted, bitorder="little")
            rows.append(_row(scale, index, queries, admitted, mask, build_s))
    return rows


def around(centres: NDArray[np.float32], random: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Vectors of length 1 around the centres."""
    vectors = centres[random.integers(0, len(centres), count)]
    vectors += np.float32(_SPREAD) * random.standard_normal(vectors.shape, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _row(
    scale: Scale,
    index: AnnIndex,
    queries: NDArray[np.float32],
    admitted: float,
    mask: NDArray[np.uint8] | None,
    build_s: float,
) -> AnnRow:
    before = index.routes
    recall = _recall(index, queries, mask, None)
    went = [after - had for after, had in zip(index.routes, before, strict=True)]
    graph_recall = _recall(index, queries, mask, _GRAPH_ALONE)
    asked: Iterator[NDArray[np.float32]] = itertools.cycle(queries)
    subjects: dict[str, Timed] = {
        "ours": clocked(lambda: index.search(next(asked), TOP, mask=mask)),
        "exact": clocked(lambda: index.vectors.search(next(asked), TOP, mask=mask)),
        "graph": clocked(lambda: index.search(next(asked), TOP, mask=mask, rule=_GRAPH_ALONE)),
    }
    us = {name: figures(median(all_) * 1e6) for name, all_ in interleaved(subjects, scale.runs, lead=5).items()}
    return AnnRow(
        vectors=len(index),
        dim=index.dim,
        admitted=admitted,
        route="exact" if went[0] else "graph",
        again=0.0 if went[0] else went[2] / len(queries),
        ours_recall=figures(recall),
        ours_us=us["ours"],
        exact_us=us["exact"],
        graph_recall=figures(graph_recall),
        graph_us=us["graph"],
        build_s=figures(build_s),
    )


def _recall(
    index: AnnIndex, queries: NDArray[np.float32], mask: NDArray[np.uint8] | None, rule: ExactRule | None
) -> float:
    """Mean share of the exact best that is found; an item as good as the last of them is as good."""
    shares = []
    for query in queries:
        best_ids, best = index.vectors.search(query, TOP, mask=mask)
        ids, scores = index.search(query, TOP, mask=mask, rule=rule)
        exact = dict(zip(best_ids.tolist(), best.tolist(), strict=True))
        for item, score in zip(ids.tolist(), scores.tolist(), strict=True):
            if exact.get(item, score) != score:
                raise HeadwaterError(f"item {item} has the score {score}; the exact scan says {exact[item]}")
        shares.append(np.count_nonzero(scores >= best[-1]) / len(best) if len(best) else 1.0)
    return float(np.mean(shares))


def ann_cells(rows: Sequence[AnnRow]) -> list[tuple[str, ...]]:
    """Each row as text, in the order of `ANN_HEADINGS`."""
    return [
        (
            f"{row.vectors:,} x {row.dim}",
            f"{row.admitted:.0%}",
            row.route + (f", {row.again:.0%} again" if row.again else ""),
            f"{row.ours_recall:.4f}",
            f"{row.ours_us:,.0f}",
            f"{row.exact_us:,.0f}",
            f"{row.graph_recall:.4f}",
            f"{row.graph_us:,.0f}",
            f"{row.build_s:,.1f}",
        )
        for row in rows
    ]


ANN_HEADINGS = (
    "vectors",
    "admitted",
    "route",
    "recall@100",
    "us a query",
    "exact scan, us",
    "graph alone: recall",
    "graph alone, us",
    "build, s",
)
