"""`headwater bench graph`: what an engine's graph saves and loses on a `vector:NAME` source, beside its own scan.

The same question is put to the same state twice, in turns: once as a visitor's question, which a graph may answer, and
once in a batch of one, which is always scanned. Vectors lie around centres, filters admit items at random.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from headwater.answer import ask
from headwater.bench.ann_bench import around
from headwater.bench.row import figures
from headwater.bench.scale import Scale
from headwater.bench.timing import Timed, clocked, interleaved
from headwater.config import Config, default_config
from headwater.engine import Engine
from headwater.scenario import Scenario

if TYPE_CHECKING:
    from rich.table import Table

TOP = 100
ADMITTED = (1.0, 0.2, 0.05)
SOURCE = "vector:text"
_USERS = 64
_SEEDS = 3
_START = 1_750_000_000_000
_PER_PUT = 20_000

GRAPH_HEADINGS = (
    "vectors",
    "admitted",
    "from the graph",
    "recall@100",
    "graph, us",
    "scan, us",
    "grown in, s",
    "MB of links",
)

_encoder = msgspec.msgpack.Encoder()
_batch = msgspec.msgpack.Decoder()


class GraphRow(msgspec.Struct, kw_only=True, frozen=True):
    """One size and filter. `walked`: share of the questions that the graph answered. `recall`: share of the scan's best
    100 in the slate. Microseconds a whole question, medians of one thread. `megabytes`: of the links alone."""

    vectors: int
    dim: int
    admitted: float
    walked: float
    recall: float
    graph_us: float
    scan_us: float
    grown_s: float
    megabytes: float


def run_graphs(scale: Scale, starting: Callable[[str], object] = lambda name: None) -> list[GraphRow]:
    """All sizes of the scale, all filters."""
    rows: list[GraphRow] = []
    for count in scale.ann_vectors:
        starting(f"{count:,} vectors: put")
        with Engine.open(":memory:", config=_config(count), clock="log", threads=1) as engine:
            _fill(engine, count, scale.dim)
            starting(f"{count:,} vectors: grown")
            started = time.perf_counter()
            engine.grow_graphs()
            grown_s = time.perf_counter() - started
            rows += [_row(engine, scale, count, admitted, grown_s) for admitted in ADMITTED]
    return rows


def _config(count: int) -> Config:
    """An engine whose graph is grown when it is asked to: the last item is put by then."""
    config = default_config("shop")
    near = Scenario(sources={SOURCE: 1.0}, seeds=_SEEDS, touched_factor=1.0)
    return msgspec.structs.replace(
        config,
        query=msgspec.structs.replace(config.query, scenarios={"near": near}),
        engine=msgspec.structs.replace(config.engine, graph_above=count, record_slates=False),
    )


def _fill(engine: Engine, count: int, dim: int) -> None:
    random = np.random.default_rng(11)
    centres = random.standard_normal((1000, dim), np.float32)
    for first in range(0, count, _PER_PUT):
        rows = around(centres, random, min(_PER_PUT, count - first))
        share = random.random(len(rows))
        engine.put_items(
            {"item": f"i{first + n}", "labels": {"draw": float(draw)}, "embeddings": {"text": row.tobytes()}}
            for n, (row, draw) in enumerate(zip(rows, share, strict=True))
        )
    for user in range(_USERS):
        for touch, item in enumerate(random.integers(0, count, _SEEDS).tolist()):
            engine.track("view", user=f"u{user}", item=f"i{item}", ts=_START + touch * 1000)


def _row(engine: Engine, scale: Scale, count: int, admitted: float, grown_s: float) -> GraphRow:
    core = engine._runtime.core
    filters = {} if admitted == 1 else {"filter": f"draw < {admitted}"}
    asked: list[dict[str, Any]] = [
        {"user": f"u{user}", "n": TOP, "now": _START + 60_000, "scenario": "near", "brief": True, **filters}
        for user in range(_USERS)
    ]
    walked, same, wanted = 0, 0, 0
    for request in asked:
        answer = ask(core, request, "")
        scanned = _batch.decode(core.recommend_batch(_encoder.encode([request])))[3]
        walked += bool(answer.approximate)
        same += len({r.item for r in answer.items} & set(scanned))
        wanted += len(scanned)
    encoded: Iterator[bytes] = itertools.cycle([_encoder.encode(request) for request in asked])
    batched: Iterator[bytes] = itertools.cycle([_encoder.encode([request]) for request in asked])
    subjects: dict[str, Timed] = {
        "graph": clocked(lambda: core.recommend(next(encoded))),
        "scan": clocked(lambda: core.recommend_batch(next(batched))),
    }
    us = {name: median(all_) * 1e6 for name, all_ in interleaved(subjects, scale.runs, lead=2).items()}
    graphs = engine.status()["graphs"]
    return GraphRow(
        vectors=count,
        dim=scale.dim,
        admitted=admitted,
        walked=figures(walked / len(asked)),
        recall=figures(same / max(wanted, 1)),
        graph_us=figures(us["graph"]),
        scan_us=figures(us["scan"]),
        grown_s=figures(grown_s),
        megabytes=figures(sum(graph["bytes"] for graph in graphs) / 1e6),
    )


def graph_cells(rows: Sequence[GraphRow]) -> list[tuple[str, ...]]:
    """Each row as text, in the order of `GRAPH_HEADINGS`."""
    return [
        (
            f"{row.vectors:,} x {row.dim}",
            f"{row.admitted:.0%}",
            f"{row.walked:.0%}",
            f"{row.recall:.4f}",
            f"{row.graph_us:,.0f}",
            f"{row.scan_us:,.0f}",
            f"{row.grown_s:,.1f}",
            f"{row.megabytes:,.0f}",
        )
        for row in rows
    ]


def graph_table(rows: Sequence[GraphRow]) -> Table:
    """One line per size and filter."""
    from rich.table import Table

    table = Table(*GRAPH_HEADINGS)
    for cells in graph_cells(rows):
        table.add_row(*cells)
    return table
