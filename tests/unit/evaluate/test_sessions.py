"""Folders of sessions: layouts, order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from headwater.errors import InvalidInput
from headwater.evaluate.sessions import load_sessions


def clicks(path: Path, rows: list[tuple[int, str, float]]) -> None:
    pl.DataFrame(rows, schema=["SessionId", "ItemId", "Time"], orient="row").write_parquet(path)


def listed(folder: Path, train: list[list[int]], prefixes: list[tuple[list[int], int]]) -> Path:
    pl.DataFrame({"items": train}, schema={"items": pl.List(pl.Int32)}).write_parquet(folder / "train_sessions.parquet")
    schema = {"prefix": pl.List(pl.Int32), "target": pl.Int32}
    pl.DataFrame(prefixes, schema=schema, orient="row").write_parquet(folder / "test_prefixes.parquet")
    return folder


def test_lists_and_prefixes(tmp_path: Path) -> None:
    data = load_sessions(listed(tmp_path, [[1, 2], [], [3, 1]], [([1], 2), ([], 3)]))
    assert data.train["item"].to_list() == ["1", "2", "3", "1"]
    assert data.train["user"].n_unique() == 2
    assert data.train["ts"].is_sorted()
    assert data.predictions == [(["1"], "2", None)]
    assert data.skipped == 1, "a prefix without items"


def test_clicks_are_sorted_within_sessions_and_sessions_by_their_end(tmp_path: Path) -> None:
    clicks(tmp_path / "train.parquet", [(7, "a", 300.0), (7, "b", 100.0), (8, "c", 150.0), (8, "d", 200.0)])
    clicks(tmp_path / "test.parquet", [(9, "x", 20.0), (9, "y", 10.0), (9, "z", 30.0), (10, "w", 5.0)])
    data = load_sessions(tmp_path)
    assert data.train["item"].to_list() == ["c", "d", "b", "a"]
    assert data.train["ts"].to_list() == [150_000, 200_000, 100_000, 300_000], "seconds become milliseconds"
    assert [(p.prefix, p.target, p.rest) for p in data.predictions] == [
        (["y"], "x", ["x", "z"]),
        (["y", "x"], "z", ["z"]),
    ]
    assert data.skipped == 1, "a session of one click"
    assert data.notes == [
        "train.parquet: 1 sessions were not in order of time and are sorted",
        "test.parquet: 1 sessions were not in order of time and are sorted",
    ]


def test_clicks_that_were_trained_on_are_not_asked_for(tmp_path: Path) -> None:
    rows = [(1, "a", 1.0), (1, "b", 2.0)]
    clicks(tmp_path / "train.parquet", rows)
    clicks(tmp_path / "test.parquet", [*rows, (2, "a", 3.0), (2, "b", 4.0)])
    with pytest.raises(InvalidInput, match=r"test\.parquet: 2 clicks stand in train\.parquet too, e\.g\. \('1', 'a'"):
        load_sessions(tmp_path)


def test_repeated_rows_stay_clicks_and_are_noted(tmp_path: Path) -> None:
    clicks(tmp_path / "train.parquet", [(1, "a", 1.0), (1, "a", 1.0), (1, "b", 2.0)])
    clicks(tmp_path / "test.parquet", [(2, "a", 1.0), (2, "b", 2.0)])
    data = load_sessions(tmp_path)
    assert data.train["item"].to_list() == ["a", "a", "b"]
    assert any("1 rows stand there more than once" in note for note in data.notes)


def test_the_longest_sessions_can_be_left_out(tmp_path: Path) -> None:
    sessions = [[1, 2]] * 99 + [list(range(30))]
    data = load_sessions(listed(tmp_path, sessions, [([1], 2)]), drop_longest=0.01)
    assert data.train["user"].n_unique() == 99
    assert any("are left out" in note for note in data.notes)


def test_the_tail_is_not_trained_on_and_asks_for_known_items_only(tmp_path: Path) -> None:
    sessions = [[1, 2]] * 9 + [[1, 99, 2]]
    data = load_sessions(listed(tmp_path, sessions, [([1], 2)]), part="tail")
    assert data.train["user"].n_unique() == 9
    assert data.predictions == [(["1"], "2", ["2"])]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"SessionId": [1], "Time": [1.0]}, "no column item"),
        ({"SessionId": [1], "ItemId": [None], "Time": [1.0]}, "1 rows without item"),
        ({"SessionId": [1], "ItemId": ["a"], "Time": [None]}, "without a time"),
        ({"SessionId": [1], "ItemId": ["a"], "Time": ["noon"]}, "numbers or dates"),
        ({"SessionId": [1], "ItemId": [["a"]], "Time": [1.0]}, "one id a row"),
    ],
)
def test_wrong_columns_are_refused(tmp_path: Path, rows: dict[str, list[object]], message: str) -> None:
    schema = {"ItemId": pl.String, "Time": pl.Float64} if rows.get("ItemId") == [None] else None
    table = pl.DataFrame(rows, schema_overrides=schema or ({"Time": pl.Float64} if rows["Time"] == [None] else {}))
    table.write_parquet(tmp_path / "train.parquet")
    clicks(tmp_path / "test.parquet", [(2, "a", 1.0), (2, "b", 2.0)])
    with pytest.raises(InvalidInput, match=message):
        load_sessions(tmp_path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="not a folder"):
        load_sessions(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="neither train_sessions"):
        load_sessions(tmp_path)
    listed(tmp_path, [[1, 2]], [([1], 2)])
    with pytest.raises(InvalidInput, match="holds none of valid_prefixes"):
        load_sessions(tmp_path, part="valid")
    listed(tmp_path, [[1, 2]], [([], 2)])
    with pytest.raises(InvalidInput, match="nothing to predict"):
        load_sessions(tmp_path)
    (tmp_path / "train_sessions.parquet").write_bytes(b"no parquet")
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_sessions(tmp_path)
