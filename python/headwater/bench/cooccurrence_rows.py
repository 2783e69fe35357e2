"""Co-occurrence on ML-1M: what counting costs, and what a question costs, beside implicit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import polars as pl

from headwater.bench.logs import FrameLog, chunked, fold, frame_log
from headwater.bench.machine import stream_bytes_per_s
from headwater.bench.peers import peer, threads
from headwater.bench.row import Row, Target, absent_row, make_row
from headwater.bench.scale import Scale
from headwater.bench.timing import Timed, clocked, interleaved
from headwater.config import Config, default_config
from headwater.core import Core
from headwater.datasets import load
from headwater.errors import HeadwaterError
from headwater.kernels import CooccurrenceCounts

_SEEDS = 10
_TOP = 10
_UPDATE, _QUERY = "co-occurrence update, all shipped relations", "co-occurrence query, 10 seeds"
_KERNEL = "co-occurrence query, 10 seeds, kernel"
_UPDATE_TARGET = Target(at_most_us=1.2, shown="<= 1.2 us CPU an event")
_QUERY_TARGET = Target(at_most_us=20, shown="<= 20 us")


def rows(scale: Scale) -> list[Row]:
    """Update, query and query of the kernel alone; rows that say so where ML-1M is not there."""
    if scale.data is None or not (scale.data / "ml-1m").is_dir():
        why = "ML-1M is not there: --data names a folder with ml-1m/"
        targets = {_UPDATE: _UPDATE_TARGET, _QUERY: _QUERY_TARGET, _KERNEL: _QUERY_TARGET}
        return [absent_row(name, "ML-1M", why, target.shown) for name, target in targets.items()]
    events = load("ml-1m", scale.data / "ml-1m").events
    if scale.fold_events == 1:
        events = events.head(20_000)
    config = default_config("media")
    log = frame_log(chunked(events), config.generation.partitions)
    return [_update(config, log, events), _query(scale, config, log, events), _kernel_query(scale, events)]


def _update(config: Config, log: FrameLog, events: pl.DataFrame) -> Row:
    """CPU of the fold with the profile's relations less that of the same fold without any."""
    bare = msgspec.structs.replace(config, generation=msgspec.structs.replace(config.generation, relations=()))

    def cpu(which: Config) -> Timed:
        def run() -> float:
            started = time.process_time()
            fold(which, log, 1)
            return time.process_time() - started

        return run

    subjects = {"with": cpu(config), "without": cpu(bare)}
    implicit: Any = peer("implicit.nearest_neighbours")
    if implicit is not None:
        matrix = _matrix(events)

        def fit() -> float:
            started = time.process_time()
            implicit.CosineRecommender(K=256, num_threads=1).fit(matrix, show_progress=False)
            return time.process_time() - started

        def fit_bm25() -> float:
            started = time.process_time()
            implicit.BM25Recommender(K=256, num_threads=1).fit(matrix, show_progress=False)
            return time.process_time() - started

        subjects |= {"implicit Cosine fit": fit, "implicit BM25 fit": fit_bm25}
    with threads(1):
        seconds = interleaved(subjects, runs=3)
    added = [a - b for a, b in zip(seconds.pop("with"), seconds.pop("without"), strict=True)]
    stats = fold(config, log, 1).stats()
    relations = ", ".join(r.name for r in config.generation.relations)
    return make_row(
        _UPDATE,
        f"ML-1M, {log.events:,} events; {relations}",
        {"ours": added, **seconds},
        units=log.events,
        per="event, CPU",
        target=_UPDATE_TARGET,
        note="CPU of the fold with the relations less without; implicit's is one batch fit over the same events",
        absent=() if implicit is not None else ("implicit Cosine fit", "implicit BM25 fit"),
        facts={"pairs": stats["pairs"], "bytes_per_pair": stats["bytes_pairs"] / max(1, stats["pairs"])},
    )


def _query(scale: Scale, config: Config, log: FrameLog, events: pl.DataFrame) -> Row:
    state = fold(config, log, 2)
    relation = config.generation.relations[0].name
    asked = _seed_lists(events, scale.queries)
    questions = [question(config, items, state.clock, {relation: 1.0}, _TOP) for items in asked]
    _check(state, questions[0], asked[0])
    subjects = {"ours": _turns(state.recommend, questions)}
    implicit: Any = peer("implicit.nearest_neighbours")
    if implicit is not None:
        subjects |= _implicit_queries(implicit, events, asked)
    with threads(1):
        seconds = interleaved(subjects, runs=min(len(asked), 2000), warm_up=20)
    stats = state.stats()
    row_bytes = _SEEDS * stats["bytes_pairs"] / max(1, stats["rows"]) * config.generation.shards
    return make_row(
        _QUERY,
        f"ML-1M, relation {relation}, top {_TOP}",
        seconds,
        per="query",
        limit_us=row_bytes / stream_bytes_per_s(1 << 20) * 1e6,
        limit="the bytes of ten mean rows at the bandwidth of the second cache",
        target=_QUERY_TARGET,
        note="the whole of `session(items)` below Python: look-ups, scores, top, reasons, encoding",
        absent=() if implicit is not None else ("implicit similar_items, one item", "implicit recommend, 10 items"),
        facts={"p90_us": float(np.quantile(seconds["ours"], 0.9)) * 1e6},
    )


def _kernel_query(scale: Scale, events: pl.DataFrame) -> Row:
    """`CooccurrenceCounts.top` over users as units, as a Python caller has it."""
    codes = {item: code for code, item in enumerate(events["item"].unique(maintain_order=True).to_list())}
    coded = events.select("user", pl.col("item").replace_strict(codes, return_dtype=pl.UInt32))
    units = coded.group_by("user", maintain_order=True).agg("item")["item"]
    counts = CooccurrenceCounts(unit_cap=4096)
    offsets = np.concatenate([[0], np.cumsum(units.list.len().to_numpy())]).astype(np.int64)
    counts.add_units(offsets, np.ascontiguousarray(units.explode().to_numpy()))
    asked = _seed_lists(events, scale.queries)
    lists = [np.array([codes[item] for item in items], np.uint32) for items in asked]
    _check_sums(counts, lists[0])
    turn = iter(range(10**9))
    subjects = {"ours": clocked(lambda: counts.top(lists[next(turn) % len(lists)], _TOP, shrinkage=5.0))}
    implicit: Any = peer("implicit.nearest_neighbours")
    if implicit is not None:
        subjects |= _implicit_queries(implicit, events, asked)
    with threads(1):
        seconds = interleaved(subjects, runs=min(len(asked), 2000), warm_up=20)
    return make_row(
        _KERNEL,
        f"ML-1M, users as units, {counts.pairs / len(codes):.0f} neighbours an item, cosine, top {_TOP}",
        seconds,
        per="query",
        limit_us=_SEEDS * counts.pairs / len(codes) * 12 / stream_bytes_per_s(1 << 20) * 1e6,
        limit="item, count and error of every neighbour of ten items at the bandwidth of the second cache",
        target=_QUERY_TARGET,
        note="CooccurrenceCounts.top as called from Python",
        absent=() if implicit is not None else ("implicit similar_items, one item", "implicit recommend, 10 items"),
        facts={
            "p90_us": float(np.quantile(seconds["ours"], 0.9)) * 1e6,
            "bytes_per_pair": counts.nbytes / counts.pairs,
        },
    )


def _check_sums(counts: CooccurrenceCounts, seeds: Any) -> None:
    """The answer for many seeds is the sum of the answers for each."""
    sums: dict[int, float] = {}
    for at in range(len(seeds)):
        for item, score in zip(*counts.top(seeds[at : at + 1], 10**6, shrinkage=5.0), strict=True):
            sums[int(item)] = sums.get(int(item), 0.0) + float(score)
    own = set(seeds.tolist())
    best = sorted((-score, item) for item, score in sums.items() if item not in own)[:_TOP]
    items, _ = counts.top(seeds, _TOP, shrinkage=5.0)
    if items.tolist() != [item for _, item in best]:
        raise HeadwaterError(f"the answer for {sorted(own)} is {items.tolist()}, its seeds alone say {best}")


def question(config: Config, items: list[str], now: int, sources: dict[str, float], n: int) -> bytes:
    """A `session(items)` of these sources alone, as the core takes it."""
    silent = dict.fromkeys(config.query.sources, 0.0)
    request = {
        "user": None,
        "items": items,
        "n": n,
        "exclude": [],
        "now": now,
        "sources": silent | sources,
        "all_reasons": False,
    }
    return msgspec.msgpack.encode(request)


def _turns(ask: Callable[[bytes], object], questions: list[bytes]) -> Timed:
    """Each call asks the next question."""
    turn = 0

    def run() -> float:
        nonlocal turn
        asked = questions[turn % len(questions)]
        turn += 1
        return clocked(lambda: ask(asked))()

    return run


def _seed_lists(events: pl.DataFrame, count: int) -> list[list[str]]:
    """The latest ten items of users, users in order of their names."""
    latest = events.group_by("user").agg(pl.col("item").tail(_SEEDS), pl.len()).filter(pl.col("len") >= _SEEDS)
    return latest.sort("user").head(count)["item"].to_list()


def _matrix(events: pl.DataFrame) -> Any:
    from scipy.sparse import csr_matrix

    users, items = events["user"].cast(pl.Categorical).to_physical(), events["item"].cast(pl.Categorical).to_physical()
    ones = np.ones(len(events), np.float32)
    return csr_matrix((ones, (users.to_numpy(), items.to_numpy())))


def _implicit_queries(implicit: Any, events: pl.DataFrame, asked: list[list[str]]) -> dict[str, Timed]:
    from scipy.sparse import csr_matrix

    coded = events.select(pl.col("item").cast(pl.Categorical), code=pl.col("item").cast(pl.Categorical).to_physical())
    codes = dict(coded.unique().select(pl.col("item").cast(pl.String), "code").iter_rows())
    model = implicit.CosineRecommender(K=256, num_threads=1)
    model.fit(_matrix(events), show_progress=False)
    lists = [[codes[item] for item in items] for items in asked]
    width = max(codes.values()) + 1
    ones = np.ones(_SEEDS, np.float32)
    rows = [csr_matrix((ones, (np.zeros(_SEEDS, np.int32), np.array(items))), shape=(1, width)) for items in lists]
    ids, _ = model.recommend(0, rows[0], N=_TOP)
    if len(ids) != _TOP or set(ids.tolist()) & set(lists[0]):
        raise HeadwaterError("implicit's answer is short or repeats the seeds")
    turn = iter(range(10**9))
    return {
        "implicit similar_items, one item": clocked(
            lambda: model.similar_items(lists[next(turn) % len(lists)][0], _TOP)
        ),
        "implicit recommend, 10 items": clocked(lambda: model.recommend(0, rows[next(turn) % len(rows)], N=_TOP)),
    }


def _check(state: Core, asked: bytes, seeds: list[str]) -> None:
    items = [item[0] for item in msgspec.msgpack.decode(state.recommend(asked))[0]]
    if len(items) != _TOP or set(items) & set(seeds):
        raise HeadwaterError(f"the answer for {seeds} is {items}")
