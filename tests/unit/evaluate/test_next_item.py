"""session-next-item on the engine: what it must find, what chance gives, and that it is asked as `Engine.session`
is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headwater import Engine
from headwater.errors import InvalidInput
from headwater.evaluate import run
from headwater.evaluate.configured import Configured, Options, for_sessions
from headwater.evaluate.sessions import load_sessions
from headwater.evaluate.trial import Trial

SILENT = lambda done, total: None  # noqa: E731
ITEMS, LENGTH = 60, 5


def folder(path: Path, train: list[list[str]], test: list[list[str]]) -> Path:
    for name, sessions in (("train_sessions", train), ("test_sessions", test)):
        pl.DataFrame({"items": sessions}).write_parquet(path / f"{name}.parquet")
    return path


def chains(rng: np.random.Generator, count: int) -> list[list[str]]:
    """Sessions that walk on: after i comes i + 1."""
    return [[f"i{(start + step) % ITEMS:02}" for step in range(LENGTH)] for start in rng.integers(0, ITEMS, count)]


def shuffled(rng: np.random.Generator, sessions: list[list[str]]) -> list[list[str]]:
    """The same clicks, dealt out anew: what is popular stays, what follows what is gone."""
    pool = [item for session in sessions for item in session]
    rng.shuffle(pool)
    cut = np.cumsum([len(session) for session in sessions])[:-1]
    return [list(part) for part in np.split(np.array(pool), cut)]


def figures(path: Path, *sources: str, k: int = 5) -> dict[str, dict[str, float]]:
    return run.sessions_table(path, for_sessions(), sources, k, "test", SILENT).rows


def test_a_chain_is_found_and_its_shuffled_clicks_are_not(tmp_path: Path) -> None:
    """Order carries everything here: without it nobody can do better than k / items, and three standard errors."""
    rng = np.random.default_rng(1)
    train, test = chains(rng, 400), chains(rng, 80)
    (tmp_path / "order").mkdir()
    found = figures(folder(tmp_path / "order", train, test), "session-knn", "popular")
    assert found["session-knn"]["hr@5"] > 0.95
    assert found["session-knn"]["hr@5"] > found["popular"]["hr@5"] + 0.5
    (tmp_path / "none").mkdir()
    chance = figures(folder(tmp_path / "none", shuffled(rng, train), shuffled(rng, test)), "session-knn", "popular")
    error = (5 / ITEMS * (1 - 5 / ITEMS) / chance["popular"]["evaluations"]) ** 0.5
    for source in ("session-knn", "popular"):
        assert chance[source]["hr@5"] < 5 / ITEMS + 4 * error, source


def test_popularity_alone_finds_what_popular_items_are_drawn(tmp_path: Path) -> None:
    """Independent draws: HR@k of the most popular items is the sum of their probabilities, and nothing beats it."""
    rng = np.random.default_rng(2)
    weights = 1 / np.arange(1, ITEMS + 1)
    weights /= weights.sum()

    def drawn(count: int) -> list[list[str]]:
        return [[f"i{item:02}" for item in rng.choice(ITEMS, LENGTH, p=weights)] for _ in range(count)]

    config = for_sessions()
    # The popular source knows no seen filter either: one vote a visitor, item and day.
    path = folder(tmp_path, drawn(600), drawn(300))
    found = run.sessions_table(path, config, ("popular", "session-knn"), 5, "test", SILENT)
    expected = weights[:5].sum()
    error = (expected * (1 - expected) / found.rows["popular"]["evaluations"]) ** 0.5
    assert found.rows["popular"]["hr@5"] == pytest.approx(expected, abs=4 * error + 0.01)
    assert found.rows["session-knn"]["hr@5"] < expected + 4 * error


def test_lists_are_those_of_the_engine(tmp_path: Path) -> None:
    """The same clicks tracked through `Engine`, the same prefixes asked with `session`."""
    rng = np.random.default_rng(3)
    data = load_sessions(folder(tmp_path, chains(rng, 60), chains(rng, 5)))
    configured = for_sessions()
    config, [entrant] = run.entrants_of(configured, ("fused",))
    trial = Trial(config)
    trial.feed(data.train)
    with Engine.open(":memory:", config=config) as engine:
        engine.ingest(data.train, progress=False)
        for prediction in data.predictions:
            slate = engine.session(prediction.prefix, 5, now=trial.core.clock)
            [asked] = trial.ask([{"items": prediction.prefix, "sources": entrant.overrides()}], 5)
            assert [item.item for item in slate] == [*asked.items, *asked.filling]


def test_the_figures_of_a_run_do_not_change(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    path = folder(tmp_path, chains(rng, 60), chains(rng, 20))
    both = [figures(path, "fused", "last-items") for _ in range(2)]
    for rows in both:
        for row in rows.values():
            row.pop("query_us")
    assert both[0] == both[1]


def test_the_current_item_can_be_left_out(tmp_path: Path) -> None:
    path = folder(tmp_path, [["a", "b"], ["b", "a"], ["a", "c"]] * 5, [["a", "b"], ["a", "a"]])
    configured = for_sessions()
    kept = run.sessions_table(path, configured, ("fused",), 2, "test", SILENT).rows["fused"]
    without = Configured("", configured.config, Options(exclude_current=True))
    left_out = run.sessions_table(path, without, ("fused",), 2, "test", SILENT).rows["fused"]
    assert kept["hr@2"] == 1.0
    assert left_out["hr@2"] == 0.5, "the click on the same item again cannot be found then"
    assert left_out["mrr@2"] == 0.5


def test_a_target_that_training_never_saw_is_a_miss(tmp_path: Path) -> None:
    path = folder(tmp_path, [["a", "b"], ["b", "c"]], [["a", "never"], ["a", "b"]])
    row = figures(path, "session-knn", k=2)["session-knn"]
    assert (row["evaluations"], row["cold"], row["skipped"]) == (2, 1, 0)
    assert row["hr@2"] == 0.5


def test_lists_of_one_source_are_not_filled_up_with_chance(tmp_path: Path) -> None:
    train = [["a", "b"], ["c", "d"], ["e", "f"]]
    row = figures(folder(tmp_path, train, [["a", "f"]]), "session-knn", k=6)["session-knn"]
    assert row["hr@6"] == 0.0, "nobody connects the two, though the slate holds the whole catalogue"


def test_a_list_longer_than_the_catalogue_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, [["a", "b"]], [["a", "b"]])
    with pytest.raises(InvalidInput, match="the catalogue has 2 items"):
        figures(tmp_path, "session-knn", k=3)
