"""Session kNN on Diginetica: the time of a question with 500 sessions kept of every item."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import numpy as np
import polars as pl

from headwater.bench.cooccurrence_rows import question
from headwater.bench.logs import fold, frame_log
from headwater.bench.row import Row, Target, absent_row, make_row
from headwater.bench.scale import Scale
from headwater.bench.timing import clocked
from headwater.config import default_config
from headwater.errors import HeadwaterError
from headwater.kernels import SessionIndex

_KERNEL = "session kNN query, p90"
_ALONE = "session kNN query, kernel, p90"
_TARGET = Target(at_most_us=300, shown="p90 <= 300 us")
_TOP = 20
_START = 1_400_000_000_000
_LEAST_HIT_RATE = 0.3  # a plain VSKNN has 0.51 on all of the data


def rows(scale: Scale) -> list[Row]:
    """The core's answers and the kernel's, or rows that say that the data is not there."""
    if scale.data is None or not (scale.data / "diginetica").is_dir():
        why = "Diginetica is not there: --data names a folder with diginetica/"
        return [absent_row(name, "Diginetica, m = 500", why, _TARGET.shown) for name in (_KERNEL, _ALONE)]
    folder = scale.data / "diginetica"
    sessions = pl.read_parquet(folder / "train_sessions.parquet")["items"]
    sessions = sessions if scale.sessions is None else sessions.tail(scale.sessions)
    config = default_config("shop")
    # The index alone: relations would only make loading slower.
    generation = msgspec.structs.replace(config.generation, relations=())
    own = {name: weight for name, weight in config.query.sources.items() if name in ("session-knn", "popular")}
    config = msgspec.structs.replace(
        config, generation=generation, query=msgspec.structs.replace(config.query, sources=own)
    )
    log = frame_log(_chunks(sessions), generation.partitions)
    state = fold(config, log, 2)
    prefixes = pl.read_parquet(folder / "test_prefixes.parquet").sample(scale.queries, seed=1)
    asked = [[str(item) for item in prefix] for prefix in prefixes["prefix"].to_list()]
    questions = [question(config, items, state.clock, {"session-knn": 1.0}, _TOP) for items in asked]
    answers = [msgspec.msgpack.decode(state.recommend(asked)) for asked in questions]
    wanted = prefixes["target"].cast(pl.String).to_list()
    hits = np.mean([target in [item[0] for item in answer[0]] for answer, target in zip(answers, wanted, strict=True)])
    if scale.sessions is None and hits < _LEAST_HIT_RATE:
        raise HeadwaterError(f"session kNN finds {hits:.1%} of the next items; a plain one finds half")
    seconds = []
    for asked_now in questions:
        started = time.perf_counter()
        state.recommend(asked_now)
        seconds.append(time.perf_counter() - started)
    return [
        _timed(
            _KERNEL,
            f"Diginetica, {len(sessions):,} sessions, m = {generation.session_knn.postings}, "
            f"last {config.query.knn_last_items} items, {len(questions):,} prefixes",
            seconds,
            float(hits),
            "no peer to install: Serenade is a service of its own (it publishes p90 < 1.7 ms)",
        ),
        _alone(sessions, prefixes),
    ]


def _alone(sessions: pl.Series, prefixes: pl.DataFrame) -> Row:
    """`SessionIndex.top` as a Python caller has it."""
    clicks, asked = sessions.explode().cast(pl.String), [prefix.cast(pl.String) for prefix in prefixes["prefix"]]
    names = pl.concat([clicks, *asked, prefixes["target"].cast(pl.String)]).unique(maintain_order=True)
    codes = {name: code for code, name in enumerate(names)}

    def coded(items: pl.Series) -> Any:
        return np.array([codes[item] for item in items], np.uint32)

    index = SessionIndex()
    offsets = np.concatenate([[0], np.cumsum(sessions.list.len().to_numpy())]).astype(np.int64)
    index.add_sessions(offsets, coded(clicks))
    questions = [coded(prefix) for prefix in asked]
    hits = [
        target in index.top(question, _TOP)[0]
        for question, target in zip(questions, coded(prefixes["target"].cast(pl.String)), strict=True)
    ]
    seconds = [clocked(partial(index.top, question, _TOP))() for question in questions]
    return _timed(
        _ALONE,
        f"Diginetica, {len(index):,} sessions, m = 500, last 6 items, {len(questions):,} prefixes",
        seconds,
        float(np.mean(hits)),
        "SessionIndex.top as called from Python",
    )


def _timed(kernel: str, shape: str, seconds: list[float], hits: float, note: str) -> Row:
    """A row of questions that took so many `seconds` each, of which the share `hits` found the next item."""
    p50, p90, p99 = (float(np.quantile(seconds, q)) for q in (0.5, 0.9, 0.99))
    return make_row(
        kernel,
        shape,
        {"ours": [p90]},
        per="query, p90",
        target=_TARGET,
        note=note,
        facts={"p50_us": p50 * 1e6, "p99_us": p99 * 1e6, "hit_rate_at_20": hits},
    )


def _chunks(sessions: pl.Series) -> Iterator[pl.DataFrame]:
    """Sessions one after the other, a second between clicks, each of a visitor of its own."""
    made = 0
    for part in pl.DataFrame({"item": sessions}).with_row_index("number").iter_slices(10_000):
        clicks = part.explode("item")
        yield clicks.select(
            pl.lit("view").alias("type"),
            pl.format("u{}", "number").alias("user"),
            pl.col("item").cast(pl.String),
            (_START + (made + pl.int_range(pl.len())) * 1000).cast(pl.Int64).alias("ts"),
            pl.format("s{}", "number").alias("session"),
        )
        made += len(clicks)
