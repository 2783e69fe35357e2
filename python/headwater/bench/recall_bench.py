"""What bounded co-occurrence rows lose: their best 50 neighbours against those of exact rows.

The same engine folds the same log twice, once with rows of C neighbours and once with rows that cannot overflow,
because every shard has room for all the items it owns. A seed's recall is the share of the exact 50 best that the
bounded row gives; an item of equal score is as good. Long-tailed logs are too large for exact rows by scan: there the
exact counts come from sorting all pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from headwater.bench.logs import FrameLog, chunked, fold, frame_log
from headwater.bench.row import figures
from headwater.bench.scale import Scale
from headwater.bench.zipf import ZipfLog
from headwater.config import Config, Profile, Relation, default_config
from headwater.core import Core
from headwater.datasets import load
from headwater.errors import InvalidInput
from headwater.scenario import Metric

TOP = 50
CAPACITIES = (32, 64, 128, 256, 512, 1024)
_SEEDS = 3_000
_MOST = 1_000
_LONGER = 1 << 31
_WINDOW = 24
_FOREVER = 36_500.0
_METRICS: tuple[Metric, ...] = ("cosine", "count")


class RecallRow(msgspec.Struct, kw_only=True, frozen=True):
    """Recall@50 of one relation at one capacity.

    `overflowing`: share of rows with more neighbours than C. `recall`: mean over all rows asked; `recall_overflowing`:
    over those; `recall_by_events`: weighted by how often the seed occurs, as questions come.
    """

    log: str
    relation: str
    metric: str
    capacity: int = 0
    rows: int = 0
    overflowing: float = 0.0
    recall: float = 0.0
    recall_overflowing: float | None = None
    recall_by_events: float = 0.0
    megabytes: float = 0.0
    note: str = ""


class _Exact(msgspec.Struct, frozen=True):
    """Of each seed: how many neighbours it has, how often it occurs, and its neighbours' scores, best first."""

    degree: int
    weight: int
    scores: dict[str, float]


DATASETS: dict[str, tuple[Profile, str]] = {
    "ml-1m": ("media", "also_liked"),
    "retailrocket": ("shop", "also_viewed"),
    "online-retail": ("shop", "bought_together"),
}


def run_recall(
    scale: Scale,
    capacities: Sequence[int] = CAPACITIES,
    only: Collection[str] = (),
    starting: Callable[[str], object] = lambda name: None,
) -> list[RecallRow]:
    """All logs (or those in `only`), all capacities; logs whose data is not there say so.

    Raises `InvalidInput` for a log that is none of the datasets and not `zipf`.
    """
    known = (*DATASETS, "zipf")
    unknown = set(only) - set(known)
    if unknown:
        raise InvalidInput(f"no log named {', '.join(sorted(unknown))}; allowed: {', '.join(known)}")
    rows: list[RecallRow] = []
    for name in known:
        if only and name not in only:
            continue
        starting(name)
        rows += _zipf(scale, capacities) if name == "zipf" else _dataset(scale, name, *DATASETS[name], capacities)
    return rows


def _dataset(scale: Scale, name: str, profile: Profile, relation: str, capacities: Sequence[int]) -> list[RecallRow]:
    if scale.data is None or not (scale.data / name).is_dir():
        note = f"not measured: --data names no folder with {name}/"
        return [RecallRow(log=name, relation=relation, metric="cosine", note=note)]
    events = load(name, scale.data / name).events
    if scale.sessions is not None:
        events = events.head(10 * scale.sessions)
    base = default_config(profile)
    wanted = next(r for r in base.generation.relations if r.name == relation)
    if relation == "bought_together":
        # The whole basket: every pair of an invoice, as the relation says what is bought together.
        largest = max(events.group_by("basket").agg(pl.col("item").n_unique())["item"].to_list())
        wanted = msgspec.structs.replace(wanted, window=largest, unit_cap=largest)
    log = frame_log(chunked(events), base.generation.partitions)
    counts = dict(events.group_by("item").len().iter_rows())
    exact_state = fold(_only(base, wanted, _room_for_all(len(counts), base)), log, 2)
    exact = {metric: dict(_exact(exact_state, relation, metric, counts)) for metric in _METRICS}
    del exact_state
    out = []
    for capacity in capacities:
        state = fold(_only(base, wanted, capacity), log, 2)
        out += [_compare(name, relation, metric, capacity, state, exact[metric]) for metric in _METRICS]
    return sorted(out, key=lambda row: row.metric)


def _only(base: Config, relation: Relation, capacity: int) -> Config:
    """The profile with this relation alone."""
    relation = msgspec.structs.replace(relation, capacity=capacity)
    return msgspec.structs.replace(base, generation=msgspec.structs.replace(base.generation, relations=(relation,)))


def _room_for_all(items: int, config: Config) -> int:
    """A capacity whose share of a shard holds all items that the shard can own: they are hashed, so leave a margin."""
    return 2 * items + 64 * config.generation.shards


def _neighbours(state: Core, seed: str, relation: str, metric: Metric, n: int) -> list[tuple[str, float]]:
    request = {"item": seed, "n": n, "relation": relation, "metric": metric, "exclude": [], "now": state.clock}
    answer = msgspec.msgpack.decode(state.similar(msgspec.msgpack.encode(request)))
    return [(item[0], item[1]) for item in answer[0]]


def _exact(state: Core, relation: str, metric: Metric, counts: dict[str, int]) -> Iterator[tuple[str, _Exact]]:
    """Rows of a sample of seeds, the same in every run."""
    for seed in _sample(sorted(counts)):
        best = _neighbours(state, seed, relation, metric, _MOST)
        if best:
            # An answer as long as may be asked for says that the row is longer: it overflows at every capacity here.
            degree = len(best) if len(best) < _MOST else _LONGER
            yield seed, _Exact(degree, counts[seed], dict(best))


def _sample(seeds: list[str]) -> list[str]:
    if len(seeds) <= _SEEDS:
        return seeds
    chosen = np.random.default_rng(1).choice(len(seeds), _SEEDS, replace=False)
    return [seeds[i] for i in np.sort(chosen)]


def recall_of(exact: dict[str, float], found: Sequence[str]) -> float:
    """Share of the exact best `TOP` (or of all, if there are fewer) that was found; an item whose score equals the last
    of them is as good as that one."""
    best = sorted(exact.values(), reverse=True)[:TOP]
    if not best:
        return 1.0
    last = best[-1] - 1e-9 * abs(best[-1])
    return min(1.0, sum(exact.get(item, float("-inf")) >= last for item in found[:TOP]) / len(best))


def _compare(
    log: str, relation: str, metric: Metric, capacity: int, state: Core, exact: dict[str, _Exact]
) -> RecallRow:
    recalls = np.array(
        [
            recall_of(row.scores, [item for item, _ in _neighbours(state, seed, relation, metric, TOP)])
            for seed, row in exact.items()
        ]
    )
    over = np.array([row.degree > capacity for row in exact.values()])
    weights = np.array([row.weight for row in exact.values()], float)
    return RecallRow(
        log=log,
        relation=relation,
        metric=metric,
        capacity=capacity,
        rows=len(exact),
        overflowing=figures(float(over.mean())),
        recall=figures(float(recalls.mean())),
        recall_overflowing=figures(float(recalls[over].mean())) if over.any() else None,
        recall_by_events=figures(float(np.average(recalls, weights=weights))),
        megabytes=figures(state.stats()["bytes_pairs"] / 1e6),
    )


def zipf_relation() -> Relation:
    """Pairs of a session at most `_WINDOW` items apart, for ever: what sorting pairs counts as well."""
    return Relation(
        name="also_viewed",
        from_types=("view",),
        to_types=("view",),
        unit="session",
        window=_WINDOW,
        half_life_days=_FOREVER,
    )


def _zipf(scale: Scale, capacities: Sequence[int]) -> list[RecallRow]:
    made = ZipfLog(scale.zipf_events, scale.zipf_items)
    name = f"zipf {made.events:,}"
    base = default_config("shop")
    generation = msgspec.structs.replace(base.generation, rapid_repeat_seconds=0.0)
    base = msgspec.structs.replace(base, generation=generation)
    log: FrameLog = frame_log(made.chunks(), generation.partitions)
    exact = exact_of_sessions(made)
    return [
        _compare(name, "also_viewed", "count", c, fold(_only(base, zipf_relation(), c), log, 2), exact)
        for c in capacities
    ]


def exact_of_sessions(made: ZipfLog) -> dict[str, _Exact]:
    """Exact rows of a sample of items, by sorting their pairs."""
    occurrences = np.bincount(np.concatenate(made.sessions))
    seen = np.flatnonzero(occurrences)
    chosen = np.zeros(len(occurrences), bool)
    chosen[np.random.default_rng(2).choice(seen, min(_SEEDS, len(seen)), replace=False)] = True
    keys = np.concatenate(list(_pairs(made, chosen)))
    pairs, counts = np.unique(keys, return_counts=True)
    seeds = (pairs >> np.uint64(32)).astype(np.uint32)
    items, first, degrees = np.unique(seeds, return_index=True, return_counts=True)
    exact = {}
    for item, start, degree in zip(items.tolist(), first.tolist(), degrees.tolist(), strict=True):
        row = slice(start, start + degree)
        names = (pairs[row] & np.uint64(0xFFFFFFFF)).tolist()
        scores = {f"i{name}": float(count) for name, count in zip(names, counts[row].tolist(), strict=True)}
        exact[f"i{item}"] = _Exact(degree, int(occurrences[item]), scores)
    return exact


def _pairs(made: ZipfLog, chosen: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """seed << 32 | neighbour of every ordered pair within the window whose seed is chosen."""
    by_length: dict[int, list[Any]] = {}
    for session in made.sessions:
        by_length.setdefault(len(session), []).append(session)
    for length, sessions in by_length.items():
        table = np.stack(sessions).astype(np.uint64)
        for i in range(length):
            rows = chosen[table[:, i]]
            seeds = table[rows, i] << np.uint64(32)
            for j in range(max(0, i - _WINDOW), min(length, i + _WINDOW + 1)):
                if i != j:
                    yield seeds | table[rows, j]
