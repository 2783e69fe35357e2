"""`headwater bench diversity`: what unlikeness of a slate's items gives, and what it costs, on MovieLens-1M.

All events before a cut are folded; users with a history and with later events are asked at the cut. Their first later
item rated 4 or more is what a good slate would hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from headwater import datasets
from headwater.bench.row import figures
from headwater.config import Config, default_config
from headwater.engine import Engine
from headwater.scenario import Method, Scenario

if TYPE_CHECKING:
    from rich.table import Table

N = 10
DIVERSITIES = (0.0, 0.3, 0.7)
METHODS: tuple[Method, ...] = ("mmr", "dpp")
DIVERSITY_HEADINGS = (
    "method",
    "diversity",
    "catalogue coverage",
    "genres of a slate",
    "genre distance",
    "novelty, bits",
    "nDCG@10",
    "hit@10",
)
_HISTORY_SHARE = 0.9
_LIKED = 4.0


class DiversityRow(msgspec.Struct, kw_only=True, frozen=True):
    """What slates of ten are like at one diversity.

    `coverage`: share of the catalogue that is in any slate. `genres`: how many a slate has. `distance`: mean Jaccard
    distance of genres over the pairs of a slate (intra-list distance; Ziegler et al., WWW 2005). `novelty`: mean -log2
    of the share of users who rated the item before the cut (Zhou et al., PNAS 2010). `ndcg` and `hit`: of the one
    held-out item, in the first ten.
    """

    method: Method
    diversity: float
    users: int
    coverage: float
    genres: float
    distance: float
    novelty: float
    ndcg: float
    hit: float


class Split(msgspec.Struct, frozen=True):
    """Events before the cut, the cut, and user -> the item that they liked next."""

    before: pl.DataFrame
    cut: int
    wanted: dict[str, str]


def split(events: pl.DataFrame, most_users: int) -> Split:
    """Cut the log at nine tenths of its events, and find who came back for what."""
    cut = int(events["ts"][int(len(events) * _HISTORY_SHARE)])
    before, after = events.filter(pl.col("ts") < cut), events.filter(pl.col("ts") >= cut)
    liked = after.filter((pl.col("value") >= _LIKED) & pl.col("user").is_in(before["user"].unique().implode()))
    known = liked.join(before.select("user", "item"), on=["user", "item"], how="anti").filter(
        pl.col("item").is_in(before["item"].unique().implode())
    )
    first = known.sort("ts", maintain_order=True).unique("user", keep="first", maintain_order=True).head(most_users)
    return Split(before, cut, dict(zip(first["user"].to_list(), first["item"].to_list(), strict=True)))


def run_diversity(
    data: Path, most_users: int = 2000, starting: Callable[[str], object] = lambda what: None
) -> list[DiversityRow]:
    """One row for each method and diversity. `data` is the dataset's folder. Raises `UnknownDataset`."""
    dataset = datasets.load("ml-1m", data)
    parts = split(dataset.events, most_users)
    rows = []
    with Engine.open(":memory:", config=_config(), clock="log") as engine:
        starting("folding")
        if dataset.items is not None:
            engine.put_items(dataset.items)
        engine.ingest(parts.before, progress=False)
        genres = _genres(dataset.items)
        novelty = _novelty(parts.before)
        for method in METHODS:
            for diversity in DIVERSITIES:
                if diversity == 0 and method != METHODS[0]:
                    continue
                starting(f"{method} {diversity}")
                frame = engine.recommend_many(
                    list(parts.wanted), N, scenario=method, diversity=diversity, now=parts.cut
                )
                slates = frame.group_by("user", maintain_order=True).agg("item")
                shown = dict(zip(slates["user"].to_list(), slates["item"].to_list(), strict=True))
                rows.append(_row(method, diversity, shown, parts.wanted, genres, novelty))
    return rows


def _config() -> Config:
    config = default_config("media")
    base = {field: getattr(config.query, field) for field in Scenario.__struct_fields__}
    scenarios = {method: Scenario(**base | {"diversity_method": method}) for method in METHODS}
    return msgspec.structs.replace(config, query=msgspec.structs.replace(config.query, scenarios=scenarios))


def _genres(items: pl.DataFrame | None) -> dict[str, set[str]]:
    if items is None:
        return {}
    return {item: set(genres) for item, genres in items.select("item", "categories").rows()}


def _novelty(before: pl.DataFrame) -> dict[str, float]:
    users = before["user"].n_unique()
    counts = before.group_by("item").agg(pl.col("user").n_unique())
    return {item: -math.log2(count / users) for item, count in counts.rows()}


def _row(
    method: Method,
    diversity: float,
    shown: dict[str, list[str]],
    wanted: dict[str, str],
    genres: dict[str, set[str]],
    novelty: dict[str, float],
) -> DiversityRow:
    items = [item for slate in shown.values() for item in slate]
    ranks = [shown[user].index(item) for user, item in wanted.items() if item in shown.get(user, ())]
    return DiversityRow(
        method=method,
        diversity=diversity,
        users=len(wanted),
        coverage=figures(len(set(items)) / len(genres)),
        genres=figures(_mean([len({genre for item in slate for genre in genres[item]}) for slate in shown.values()])),
        distance=figures(_mean([distance(slate, genres) for slate in shown.values()])),
        novelty=figures(_mean([novelty[item] for item in items if item in novelty])),
        ndcg=figures(sum(1 / math.log2(rank + 2) for rank in ranks) / len(wanted)),
        hit=figures(len(ranks) / len(wanted)),
    )


def distance(slate: Sequence[str], genres: dict[str, set[str]]) -> float:
    """Mean Jaccard distance over the pairs of a slate; 0 for fewer than two items."""
    nothing: set[str] = set()
    pairs = [(genres.get(a, nothing), genres.get(b, nothing)) for a, b in combinations(slate, 2)]
    return _mean([1 - len(a & b) / len(a | b) if a | b else 0.0 for a, b in pairs])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def diversity_cells(rows: Sequence[DiversityRow]) -> list[tuple[str, ...]]:
    """The rows as text, under `DIVERSITY_HEADINGS`."""
    return [
        (
            "none" if row.diversity == 0 else row.method,
            f"{row.diversity:g}",
            f"{row.coverage:.1%}",
            f"{row.genres:.2f}",
            f"{row.distance:.3f}",
            f"{row.novelty:.2f}",
            f"{row.ndcg:.4f}",
            f"{row.hit:.4f}",
        )
        for row in rows
    ]


def diversity_table(rows: Sequence[DiversityRow]) -> Table:
    """One line per method and diversity."""
    from rich.table import Table

    table = Table(*DIVERSITY_HEADINGS, title=f"MovieLens-1M, slates of {N} for {rows[0].users:,} users")
    for cells in diversity_cells(rows):
        table.add_row(*cells)
    return table
