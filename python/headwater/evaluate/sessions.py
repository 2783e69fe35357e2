"""`--format sessions`: whole sessions to learn from, and sessions or prefixes whose next item is asked for.

A folder holds one of two layouts, in any suffix of `reading.SUFFIXES`:

* `train_sessions` (items: a list a row, one session a row, oldest first) and `test_prefixes` (prefix: a list, target),
  or `test_sessions` (items);
* `train` and `test`, perhaps `valid`, one click a row: session, item, time.

What is done with odd rows, so that no figure is better for it: clicks are sorted by time within their session (equal
times keep the order of rows), sessions by their last click; a row that stands there twice counts as two clicks; empty
sessions and prefixes, and sessions of one click, offer nothing to predict and are counted as skipped; a target that
training never saw is counted as `cold` and stays among the evaluations, as a miss.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import polars as pl

from headwater.errors import InvalidInput
from headwater.evaluate.reading import find_table, made_up_times, read_columns


class Prediction(NamedTuple):
    """One place in a session: the clicks so far, latest last; the next one; all that follow, if that is known."""

    prefix: list[str]
    target: str
    rest: list[str] | None


class Sessions(NamedTuple):
    """Training clicks, sessions one after the other (columns user, session, item, ts), and what is predicted."""

    train: pl.DataFrame
    predictions: list[Prediction]
    skipped: int
    notes: list[str]

    @property
    def items(self) -> set[str]:
        """The catalogue: what training knows."""
        return set(self.train["item"].unique().to_list())


def load_sessions(folder: Path, part: str = "test", drop_longest: float = 0.0) -> Sessions:
    """Read a folder. `part`: "test"; "valid", the folder's validation sessions; or "tail", the last 10 % of training
    rows, which are then not trained on. `drop_longest` leaves the longest share of training sessions out (Serenade:
    0.005).

    Raises `InvalidInput` for a folder or file of another shape, and where nothing is left to train on or to predict.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder}: not a folder; --format sessions reads a folder", field="path", value=str(folder))
    lists, notes = _training(folder)
    lists = lists.with_row_index("number")
    if part == "tail":
        predictions, skipped = _tail(lists)
        lists = lists.head(_tail_start(len(lists)))
    else:
        predictions, skipped, more = _asked(folder, part)
        notes += more
    if drop_longest > 0:
        longest = lists["items"].list.len().quantile(1 - drop_longest, "linear")
        kept = lists.filter(pl.col("items").list.len() <= longest)
        notes.append(f"{len(lists) - len(kept)} training sessions of more than {longest:.0f} clicks are left out")
        lists = kept
    train = _clicks(lists)
    if train.is_empty():
        raise InvalidInput(f"{folder}: no training session has a click", field="path", value=str(folder))
    if not predictions:
        raise InvalidInput(
            f"{folder}: nothing to predict in {part}: no session has two clicks", field="part", value=part
        )
    return Sessions(train, predictions, skipped, notes)


def _training(folder: Path) -> tuple[pl.DataFrame, list[str]]:
    """Sessions as lists, oldest first: columns items and, where clicks have times, times."""
    whole = find_table(folder, "train_sessions")
    if whole is not None:
        return read_columns(whole, ("items",)).filter(pl.col("items").list.len() > 0), []
    clicks = find_table(folder, "train")
    if clicks is None:
        raise InvalidInput(
            f"{folder}: neither train_sessions (items) nor train (session, item, time)", field="path", value=str(folder)
        )
    return _from_clicks(clicks)


def _from_clicks(path: Path) -> tuple[pl.DataFrame, list[str]]:
    raw = read_columns(path, ("session", "item", "ts"))
    ordered = raw.sort("ts", maintain_order=True)
    notes = []
    per_session = raw.group_by("session", maintain_order=True).agg(pl.col("ts").diff().min().alias("step"))
    unsorted = per_session.filter(pl.col("step") < 0).height
    if unsorted:
        notes.append(f"{path.name}: {unsorted} sessions were not in order of time and are sorted")
    repeated = len(raw) - raw.n_unique()
    if repeated:
        notes.append(f"{path.name}: {repeated} rows stand there more than once; each counts as a click")
    lists = ordered.group_by("session", maintain_order=True).agg(
        pl.col("item").alias("items"), pl.col("ts").alias("times")
    )
    return lists.sort(pl.col("times").list.last(), "session").drop("session"), notes


def _asked(folder: Path, part: str) -> tuple[list[Prediction], int, list[str]]:
    prefixes = find_table(folder, f"{part}_prefixes")
    if prefixes is not None:
        table = read_columns(prefixes, ("prefix", "target"))
        pairs = zip(table["prefix"].to_list(), table["target"].to_list(), strict=True)
        found = [Prediction(prefix, target, None) for prefix, target in pairs if prefix]
        return found, len(table) - len(found), []
    whole, clicks = find_table(folder, f"{part}_sessions"), find_table(folder, part)
    if whole is not None:
        return *_every_position(read_columns(whole, ("items",))["items"]), []
    if clicks is None:
        names = f"{part}_prefixes (prefix, target), {part}_sessions (items) or {part} (session, item, time)"
        raise InvalidInput(f"{folder}: holds none of {names}", field="path", value=str(folder))
    _refuse_trained(folder, clicks)
    lists, notes = _from_clicks(clicks)
    return *_every_position(lists["items"]), notes


def _refuse_trained(folder: Path, asked: Path) -> None:
    """Clicks that stand in training as well would be found because they were learned. Raises `InvalidInput`."""
    trained = find_table(folder, "train")
    if trained is None:
        return
    names = ("session", "item", "ts")
    both = read_columns(asked, names).join(read_columns(trained, names), on=names, how="semi")
    if len(both):
        raise InvalidInput(
            f"{asked.name}: {len(both)} clicks stand in {trained.name} too, e.g. {both.row(0)}",
            field="test",
            value=len(both),
        )


def _every_position(sessions: pl.Series) -> tuple[list[Prediction], int]:
    found, skipped = [], 0
    for items in sessions.to_list():
        skipped += len(items) < 2
        found += [Prediction(items[:place], items[place], items[place:]) for place in range(1, len(items))]
    return found, skipped


def _tail_start(sessions: int) -> int:
    return int(sessions * 0.9)


def _tail(lists: pl.DataFrame) -> tuple[list[Prediction], int]:
    """The last 10 % of training sessions, without clicks on items that the first 90 % do not know: whoever made the
    test part of a published split left them out there too."""
    start = _tail_start(len(lists))
    known = lists.head(start).select(pl.col("items").explode().unique())["items"].to_list()
    tail = lists.slice(start).select(pl.col("items").list.eval(pl.element().filter(pl.element().is_in(known))))
    return _every_position(tail["items"])


def _clicks(lists: pl.DataFrame) -> pl.DataFrame:
    """One row a click, every session a visitor of its own."""
    columns = [column for column in ("items", "times") if column in lists.columns]
    clicks = lists.explode(columns).drop_nulls("items").rename({"items": "item"})
    return clicks.select(
        pl.lit("view").alias("type"),
        pl.format("session-{}", "number").alias("user"),
        "item",
        (pl.col("times") if "times" in columns else made_up_times()).alias("ts"),
        pl.format("{}", "number").alias("session"),
    )
