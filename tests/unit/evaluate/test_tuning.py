"""`headwater tune`: finds, resumes, and never sees the test part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headwater.config import load_table
from headwater.errors import ConfigError, InvalidInput
from headwater.evaluate import run, tuning
from headwater.evaluate.configured import Configured, load, shipped
from headwater.evaluate.splits import held_out, load_splits

SILENT = lambda done, total: None  # noqa: E731
SPACE = """
[generation]
relations = []
[query]
sources = { session-knn = 1.0, popular = 0.0 }
knn_own = 1.0
[tune]
metric = "mrr"
[tune.space]
"query.sources.popular" = { low = 0.0, high = 5.0 }
"query.knn_near" = { low = 0.1, high = 1.0 }
"evaluate.exclude_current" = { choices = [false, true] }
"""


def space_file(folder: Path, text: str = SPACE) -> Path:
    (folder / "space.toml").write_text(text)
    return folder / "space.toml"


def sessions_folder(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    sessions = [[int(start + step) % 40 for step in range(5)] for start in rng.integers(0, 40, 300)]
    pl.DataFrame({"items": sessions}).write_parquet(folder / "train_sessions.parquet")
    return folder


def measured(calls: list[Configured], folder: Path):  # type: ignore[no-untyped-def]
    measure = run.tuning_measure("sessions", sessions_folder(folder), "fused", "mrr", 5, "tail", 1.0, 0.3, 7)

    def counted(one: Configured) -> float:
        calls.append(one)
        return measure(one)

    return counted


def test_a_search_finds_no_worse_goes_on_and_can_be_read_back(tmp_path: Path) -> None:
    space = tuning.load_space(space_file(tmp_path))
    calls: list[Configured] = []
    measure = measured(calls, tmp_path)
    study = tmp_path / "study.sqlite3"
    first = tuning.search(space, measure, "asked", 3, study, 7, SILENT)
    assert first.trials == 3
    assert len(calls) == 4, "the base and three trials"
    assert first.history == sorted(first.history)
    more = tuning.search(space, measure, "asked", 5, study, 7, SILENT)
    assert (more.trials, len(calls)) == (5, 6), "what was tried is not tried again"
    assert more.value >= first.value
    assert more.history[:3] == first.history
    text = tuning.as_toml(space.table(more.values), "best\nof five")
    (tmp_path / "best.toml").write_text(text)
    best = load(tmp_path / "best.toml")
    assert best.config.query.knn_near == more.values["query.knn_near"]
    assert best.options.exclude_current == more.values["evaluate.exclude_current"]
    assert measure(best) == more.value
    with pytest.raises(InvalidInput, match="a study of something else"):
        tuning.search(space, measure, "another question", 6, study, 7, SILENT)


def test_the_test_part_is_never_seen(tmp_path: Path) -> None:
    """There is none in the folder, and asking for it is refused."""
    measure = measured([], tmp_path)
    assert measure(tuning.load_space(space_file(tmp_path)).configured({})) > 0.2
    with pytest.raises(InvalidInput, match="never sees the test part"):
        run.tuning_measure("sessions", tmp_path, "fused", "mrr", 5, "test", 1.0, 0.3, 7)
    with pytest.raises(InvalidInput, match="never sees the test part"):
        run.tuning_measure("events", tmp_path, "fused", "mrr", 5, "tail", 1.0, 1.0, 7)


def test_a_split_is_tuned_on_its_training_part_alone(tmp_path: Path) -> None:
    """Another test part, the same measure; and what is asked for was not trained on."""
    rng = np.random.default_rng(3)
    rows = [(f"u{user}", f"i{item}") for user in range(60) for item in rng.permutation(20)[:9] + 20 * (user % 2)]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(tmp_path / "train.csv")
    space = space_file(
        tmp_path,
        "[generation]\nprofile = 'media'\n[query]\nsources = { also_liked = 1.0 }\n"
        "[tune.space]\n'query.shrinkage' = { low = 0.0, high = 9.0 }\n",
    )
    found = []
    for item in ("i0", "never seen"):
        pl.DataFrame([("u1", item)], schema=["user", "item"], orient="row").write_csv(tmp_path / "test.csv")
        measure = run.tuning_measure("split", tmp_path, "also_liked", "ndcg", 5, "tail", 1.0, 0.3, 7)
        found.append(measure(tuning.load_space(space).configured({})))
    assert found[0] == found[1] > 0.1
    [split] = load_splits(tmp_path)
    held = held_out(split, 7)
    trained = set(held.train.select("user", "item").iter_rows())
    asked = {(user, item) for user, items in held.relevant.items() for item in items}
    assert trained | asked == set(rows)
    assert not trained & asked
    assert 30 < len(asked) < 80
    assert held_out(split, 8).relevant != held.relevant


def test_what_was_touched_is_no_target_of_a_search_for_what_is_new(tmp_path: Path) -> None:
    """Everybody comes back to one item of their own: found, unless only what is new counts."""
    rows = [("view", f"u{n % 5}", f"i{n % 5}", n * 3_600_000) for n in range(100)]
    pl.DataFrame(rows, schema=["type", "user", "item", "ts"], orient="row").write_csv(tmp_path / "events.csv")
    [with_repeats, only_new] = [
        run.tuning_measure("events", tmp_path, "last-items", "hr", 2, "tail", 1.0, 0.9, 7, only_new=only)
        for only in (False, True)
    ]
    assert with_repeats(shipped("shop")) > 0.9
    assert only_new(shipped("shop")) == 0.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"query.knn_nea" = { low = 0.1, high = 1.0 }', "there is no such key"),
        ('"query.knn_near" = { low = 1.0, high = 0.1 }', "low and high, or choices"),
        ('"query.knn_near" = { low = 0.1 }', "low and high, or choices"),
        ('"query.knn_near" = { choices = [] }', "low and high, or choices"),
        ('"query.knn_near" = { lo = 1 }', "unknown field"),
        ('"query.knn_near" = { low = 2.0, high = 3.0 }', "allowed: 0 to 1"),
        ('"evaluate.nothing" = { choices = [true] }', "unknown field"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tuning.load_space(space_file(tmp_path, f"[tune.space]\n{line}\n"))


def test_a_file_without_a_space_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no \[tune\.space\]"):
        tuning.load_space(space_file(tmp_path, "[query]\n"))
    with pytest.raises(ConfigError, match="metric"):
        tuning.load_space(space_file(tmp_path, SPACE.replace('"mrr"', '"luck"')))


def test_shipped_spaces_and_configurations_are_sound() -> None:
    folder = Path(__file__).parents[3] / "docs" / "quality"
    files = sorted(folder.glob("*.toml"))
    assert len(files) >= 4
    for file in files:
        if "tune" in load_table(file):
            tuning.load_space(file)
        else:
            load(file)
