"""Fixed splits and leave-one-out: item kNN against plain numpy, masks, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from headwater.errors import InvalidInput
from headwater.evaluate import run
from headwater.evaluate.configured import Configured, Options, load, shipped
from headwater.evaluate.metrics import accuracy
from headwater.evaluate.splits import last_of_each_user, load_splits

SILENT = lambda done, total: None  # noqa: E731
ITEM_KNN = Path(__file__).parents[3] / "docs" / "quality" / "item-knn.toml"


def split(folder: Path, train: list[tuple[str, str]], test: list[tuple[str, str]], suffix: str = "") -> Path:
    for name, rows in (("train", train), ("test", test)):
        pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(folder / f"{name}{suffix}.csv")
    return folder


def random_split(folder: Path, seed: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    rng = np.random.default_rng(seed)
    train, test = [], []
    for user in range(40):
        taste = rng.permutation(12)[:7] + 12 * (user % 2)
        train += [(f"u{user:02}", f"i{item:02}") for item in taste[:5]]
        test += [(f"u{user:02}", f"i{item:02}") for item in taste[5:]]
    split(folder, train, test)
    return train, test


def test_item_knn_is_that_of_plain_counts(tmp_path: Path) -> None:
    """Cosine over units, each candidate scored by its nearest items only, training items masked, ties by id."""
    train, test = random_split(tmp_path, 5)
    configured = load(ITEM_KNN)
    configured = Configured("item-knn", configured.config, Options(item_knn_neighbours=4))
    table = run.splits_table(tmp_path, configured, ("item-knn:liked",), 5, SILENT)
    users, items = sorted({u for u, _ in train}), sorted({i for _, i in train})
    matrix = np.zeros((len(users), len(items)))
    for user, item in train:
        matrix[users.index(user), items.index(item)] = 1
    counts = matrix.T @ matrix
    sizes = np.diag(counts).copy()
    similar = counts / np.sqrt(np.outer(sizes, sizes))
    np.fill_diagonal(similar, 0)
    near = np.zeros_like(similar)
    for candidate in range(len(items)):
        # The same 4 nearest, equal ones by id.
        for other in sorted(range(len(items)), key=lambda i: (-similar[candidate, i], items[i]))[:4]:
            near[other, candidate] = similar[candidate, other]
    found = []
    for user in users:
        scores = matrix[users.index(user)] @ near
        known = {i for u, i in train if u == user}
        ranked = [i for _, i in sorted((-s, i) for s, i in zip(scores, items, strict=True) if s > 0) if i not in known]
        found.append(accuracy(ranked, [i for u, i in test if u == user], 5).ndcg)
    assert table.rows["item-knn:liked"]["ndcg@5"] == pytest.approx(np.mean(found), abs=2e-3)


def test_training_items_are_never_recommended(tmp_path: Path) -> None:
    split(tmp_path, [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")], [("a", "z"), ("b", "y")])
    table = run.splits_table(tmp_path, shipped("media"), ("popular",), 2, SILENT)
    row = table.rows["popular"]
    assert row["hr@2"] == 1.0, "each has one item left beside those that they know"
    assert row["mrr@2"] == 1.0


def test_several_splits_are_averaged(tmp_path: Path) -> None:
    rows = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")]
    split(tmp_path, rows, [("a", "z"), ("b", "y")], "_0")
    split(tmp_path, rows, [("a", "nobody-saw"), ("b", "nobody-saw")], "_1")
    row = run.splits_table(tmp_path, shipped("media"), ("popular",), 2, SILENT).rows["popular"]
    assert row["hr@2"] == 0.5
    assert row["splits"]["split_1"]["hr@2"] == 0.0, "an item that training never saw stays a target"
    assert (row["evaluations"], row["cold"]) == (4, 2)


def test_leave_one_out_takes_the_last_event_of_each_user() -> None:
    rows = [("a", "x"), ("b", "y"), ("a", "z"), ("c", "x"), ("b", "x")]
    one_out = last_of_each_user(pl.DataFrame(rows, schema=["user", "item"], orient="row"))
    assert one_out.relevant == {"a": ["z"], "b": ["x"]}
    assert one_out.train.select("user", "item").rows() == [("a", "x"), ("b", "y"), ("c", "x")]
    assert one_out.skipped == 1, "a user with one event"


def test_leave_one_out_over_a_file(tmp_path: Path) -> None:
    rows = [(user, item) for user in "abcdef" for item in ("x", "y", "z")]
    pl.DataFrame(rows, schema=["user", "item"], orient="row").write_csv(tmp_path / "sequences.csv")
    file, sources = tmp_path / "sequences.csv", ("also_liked", "last-items")
    table = run.leave_one_out_table(file, shipped("media"), sources, 2, SILENT)
    assert table.rows["last-items"]["hr@2"] == 0.0, "what the user has is masked"
    assert table.rows["also_liked"]["evaluations"] == 6


def test_repeated_pairs_count_once_and_are_noted(tmp_path: Path) -> None:
    split(tmp_path, [("a", "x"), ("a", "x"), ("b", "y")], [("a", "y"), ("a", "y")])
    [loaded] = load_splits(tmp_path)
    assert len(loaded.train) == 2
    assert loaded.relevant == {"a": ["y"]}
    assert len(loaded.notes) == 2


def test_bad_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="neither train and test"):
        load_splits(tmp_path)
    split(tmp_path, [("a", "x")], [("a", "x")])
    with pytest.raises(InvalidInput, match=r"1 pairs of user and item stand in train\.csv too"):
        load_splits(tmp_path)
    split(tmp_path, [("a", "x")], [("b", "x")])
    with pytest.raises(InvalidInput, match="no user of the test part"):
        load_splits(tmp_path)
    (tmp_path / "test.csv").unlink()
    with pytest.raises(InvalidInput, match="without test"):
        load_splits(tmp_path)


def test_a_list_longer_than_the_catalogue_is_refused(tmp_path: Path) -> None:
    split(tmp_path, [("a", "x"), ("b", "y")], [("a", "y")])
    with pytest.raises(InvalidInput, match="k = 3; allowed: 1 to 2, the catalogue has 2 items"):
        run.splits_table(tmp_path, shipped("media"), ("popular",), 3, SILENT)


def test_sources_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    split(tmp_path, [("a", "x"), ("b", "y")], [("a", "y")])
    for source in ("nothing", "item-knn:nothing"):
        with pytest.raises(InvalidInput, match="allowed: fused, last-items, also_liked"):
            run.splits_table(tmp_path, shipped("media"), (source,), 1, SILENT)
