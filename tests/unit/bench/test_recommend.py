"""`headwater bench recommend` and `bench diversity`: they run, and their shops and arithmetic are what they say."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from headwater.bench.diversity_bench import DIVERSITIES, DiversityRow, distance, split
from headwater.bench.large_shop import TINY_SHOP, LargeShop
from headwater.bench.markdown import diversity_sections, update

COMMAND = "from headwater.cli import main; main()"
ML_1M = Path(__file__).parents[4] / "shared" / "data" / "ml-1m"


def run(*arguments: str | Path) -> str:
    command = [sys.executable, "-c", COMMAND, "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.e2e
def test_every_figure_is_there() -> None:
    figures = json.loads(run("recommend", "--tiny", "--queries", "300", "--json"))
    for name in ("no_filter_ms", "broad_filter_ms", "narrow_filter_ms", "default_ms"):
        assert 0 < figures[name]["p50"] <= figures[name]["p99"] <= figures[name]["max"]
    assert figures["narrow_to_none"] > 0
    assert figures["moving_ms"]["p50"] > 0
    assert figures["many_per_s"]["everything"] > 0
    assert set(figures["logging"]) == {"median", "mean", "with_the_write", "p99_with_ms", "p99_without_ms"}
    assert figures["sources"]["vector:text"] > 0.5
    assert figures["sources"]["session-knn"] > 0.5
    assert "recommend_many, 2 threads" in run("recommend", "--tiny", "--queries", "100")


def test_a_shop_is_the_same_for_a_seed() -> None:
    shops = [LargeShop(TINY_SHOP, seed) for seed in (1, 1, 2)]
    items = [[item for portion in shop.items() for item in portion] for shop in shops]
    logs = [pl.concat(shop.visits(), how="diagonal") for shop in shops]
    assert items[0] == items[1] != items[2]
    assert logs[0].equals(logs[1])
    assert not logs[0].equals(logs[2])
    assert logs[0]["ts"].is_sorted()
    assert len(items[0]) == TINY_SHOP.items
    assert logs[0].filter(pl.col("type") == "view").height >= TINY_SHOP.events
    picked = sum(item["labels"]["picked"] for item in items[0]) / len(items[0])
    assert 0.003 < picked < 0.02
    broad = sum(item["labels"]["price"] < 200 and item["labels"]["in_stock"] for item in items[0]) / len(items[0])
    assert 0.7 < broad < 0.9


def test_distance_is_the_mean_over_pairs() -> None:
    genres = {"a": {"x"}, "b": {"x", "y"}, "c": {"z"}, "d": set()}
    assert distance(["a", "b", "c"], genres) == pytest.approx((0.5 + 1 + 1) / 3)
    assert distance(["a", "d"], genres) == 1
    assert distance(["a"], genres) == 0


def test_the_held_out_item_is_new_liked_and_the_next() -> None:
    rows = [
        ("ann", "a", 5.0),
        ("bob", "b", 5.0),
        ("ann", "b", 4.0),
        ("cem", "c", 3.0),
        *[("z", f"z{n}", 5.0) for n in range(32)],
    ]
    later = [("ann", "a", 5.0), ("ann", "c", 3.0), ("ann", "c", 4.0), ("new", "a", 5.0)]
    events = pl.DataFrame([*rows, *later], schema=["user", "item", "value"], orient="row").with_row_index("ts")
    parts = split(events, 100)
    assert parts.cut == 36
    assert parts.wanted == {"ann": "c"}, "not a again, not at 3, and not for a user without a history"


def test_the_table_goes_into_its_place(tmp_path: Path) -> None:
    row = DiversityRow(
        method="mmr", diversity=0.3, users=10, coverage=0.25, genres=8.0, distance=0.5, novelty=2.5, ndcg=0.05, hit=0.1
    )
    page = tmp_path / "page.md"
    page.write_text("<!-- diversity -->\nold\n<!-- /diversity -->\n")
    update(page, diversity_sections([row]))
    assert "| mmr | 0.3 | 25.0% | 8.00 | 0.500 | 2.50 | 0.0500 | 0.1000 |" in page.read_text()


@pytest.mark.e2e
@pytest.mark.skipif(not ML_1M.is_dir(), reason=f"no MovieLens-1M at {ML_1M}: see the README of the shared data")
def test_unlikeness_moves_what_it_is_for() -> None:
    rows = json.loads(run("diversity", "--data", ML_1M, "--users", "300", "--json"))
    mmr = [row for row in rows if row["method"] == "mmr"]
    assert [row["diversity"] for row in mmr] == list(DIVERSITIES)
    for name in ("genres", "distance"):
        values = [row[name] for row in mmr]
        assert values == sorted(values)
        assert values[0] < values[-1]
    assert mmr[-1]["novelty"] > mmr[0]["novelty"]
    assert mmr[0]["ndcg"] > mmr[-1]["ndcg"] > 0
    assert all(0 < row["coverage"] < 1 and not math.isnan(row["hit"]) for row in rows)
