"""`--format split`: what each user is known to like, and what they liked beside it.

A folder holds `train` and `test` (user, item, perhaps ts), or several pairs `train_0`, `test_0`, `train_1` ..., whose
mean is reported. Without times the order of rows is the order of events. A pair of user and item that stands there
more than once counts once, and is counted in a note; a test user without training is skipped; a test item that
training never saw stays a target, as a miss. Training rows are folded as `purchase`, the one type that both profiles
count everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from headwater.errors import InvalidInput
from headwater.evaluate.reading import find_table, made_up_times, read_columns


class Split(NamedTuple):
    """Training events (type, user, item, ts), and for every test user the relevant items."""

    name: str
    train: pl.DataFrame
    relevant: dict[str, list[str]]
    skipped: int
    notes: list[str]


def load_splits(folder: Path) -> list[Split]:
    """All pairs of a folder. Raises `InvalidInput`."""
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: not a folder; --format split reads a folder", field="path", value=str(folder))
    names = [""] if find_table(folder, "train") else []
    names += [f"_{number}" for number in range(100) if find_table(folder, f"train_{number}")]
    if not names:
        raise InvalidInput(
            f"{folder}: neither train and test nor train_0 and test_0 (user, item)", field="path", value=str(folder)
        )
    return [_load(folder, name) for name in names]


def _load(folder: Path, name: str) -> Split:
    train_file, test_file = find_table(folder, f"train{name}"), find_table(folder, f"test{name}")
    if train_file is None or test_file is None:
        raise InvalidInput(f"{folder}: train{name} without test{name}", field="path", value=str(folder))
    train, test = (read_columns(file, ("user", "item"), ("ts",)) for file in (train_file, test_file))
    notes = []
    for file, table in ((train_file, train), (test_file, test)):
        repeated = len(table) - table.n_unique(["user", "item"])
        if repeated:
            notes.append(f"{file.name}: {repeated} rows repeat a pair of user and item; each pair counts once")
    train = train.unique(["user", "item"], keep="first", maintain_order=True)
    if "ts" in train.columns:
        train = train.sort("ts", maintain_order=True)
    both = test.join(train, on=["user", "item"], how="semi")
    if len(both):
        raise InvalidInput(
            f"{test_file.name}: {len(both)} pairs of user and item stand in {train_file.name} too, e.g. {both.row(0)}",
            field="test",
            value=len(both),
        )
    return Split(f"split{name}", _purchases(train), *_relevant(train, test), notes)


def _purchases(train: pl.DataFrame) -> pl.DataFrame:
    if train.is_empty():
        raise InvalidInput("the training part has no row", field="train", value=0)
    ts = pl.col("ts") if "ts" in train.columns else made_up_times()
    return train.select(pl.lit("purchase").alias("type"), "user", "item", ts.alias("ts"))


def _relevant(train: pl.DataFrame, test: pl.DataFrame) -> tuple[dict[str, list[str]], int]:
    known = set(train["user"].unique().to_list())
    by_user = test.group_by("user", maintain_order=True).agg(pl.col("item").unique(maintain_order=True))
    relevant = {user: items for user, items in by_user.iter_rows() if user in known}
    if not relevant:
        raise InvalidInput("no user of the test part has a training row", field="test", value=len(by_user))
    return relevant, len(by_user) - len(relevant)


def last_of_each_user(events: pl.DataFrame) -> Split:
    """Leave-one-out of a log (user, item, perhaps ts, in order): each user's last item is relevant, the rest trains.

    A user of one row offers nothing to predict and is skipped; their row trains.
    """
    numbered = events.with_row_index("row")
    last = numbered.group_by("user", maintain_order=True).agg(pl.col("row").max(), pl.len().alias("rows"))
    asked = last.filter(pl.col("rows") > 1)
    if asked.is_empty():
        raise InvalidInput("no user has two events: nothing can be left out", field="path", value=len(last))
    train = numbered.join(asked, on="row", how="anti").sort("row")
    left_out = numbered.join(asked, on="row", how="semi").sort("row")
    relevant = {user: [item] for user, item in left_out.select("user", "item").iter_rows()}
    return Split("leave-one-out", _purchases(train), relevant, len(last) - len(asked), [])


def held_out(split: Split, seed: int, share: float = 0.1) -> Split:
    """A validation of a split's own: this share of its training rows, drawn by `seed`, is asked for by the rest. The
    test part is not looked at; users whose rows were all drawn are skipped."""
    drawn = pl.Series(np.random.default_rng(seed).random(len(split.train)) < share)
    train, asked = split.train.filter(~drawn), split.train.filter(drawn)
    return Split(split.name, train, *_relevant(train, asked), split.notes)
