"""Public datasets as events: the loaders, never the data.

Each is read from the project's Parquet layout or from the files as their publishers give them:

* `retailrocket`: `events.parquet`, or `events.csv` (timestamp, visitorid, event, itemid, transactionid), and
  `item_properties*.csv` (timestamp, itemid, property, value) where they are: the latest `categoryid` of each item.
* `ml-1m`: `ratings.parquet` and `movies.parquet`, or `ratings.dat` and `movies.dat` (`::` between fields, Latin-1).
* `online-retail`: `lines.parquet`, or the published workbook saved as `.csv` (InvoiceNo, StockCode, Description,
  Quantity, InvoiceDate, UnitPrice, CustomerID, Country).
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import polars as pl

from headwater.config import Profile
from headwater.errors import UnknownDataset


class Dataset(NamedTuple):
    """Events in canonical columns (type, user, item, ts, and value, basket where the data has them), sorted by time;
    items with `item`, `categories` and labels, if the data describes them."""

    name: str
    profile: Profile
    events: pl.DataFrame
    items: pl.DataFrame | None


def load(name: str, path: str | PathLike[str]) -> Dataset:
    """Load a dataset by name from a folder. Raises `UnknownDataset` for another name or missing files."""
    loader = _LOADERS.get(name)
    if loader is None:
        raise UnknownDataset(f"dataset {name!r} is unknown; allowed: {', '.join(_LOADERS)}", name=name)
    path = Path(path)
    if not path.is_dir():
        raise UnknownDataset(f"{path} is not a folder; {name} is read from a folder with its files", path=str(path))
    try:
        return loader(path)
    except pl.exceptions.PolarsError as err:
        raise UnknownDataset(f"{path}: not the files of {name}: {err}", path=str(path)) from err


def _missing(name: str, path: Path, *layouts: str) -> UnknownDataset:
    return UnknownDataset(f"{path} holds no {name}: expected {' or '.join(layouts)}", path=str(path))


def _retailrocket(path: Path) -> Dataset:
    types = {"buy": "purchase", "transaction": "purchase", "addtocart": "cart"}
    if (path / "events.parquet").exists():
        raw = pl.read_parquet(path / "events.parquet")
        columns = {"type": "event", "user": "user", "item": "item", "ts": "ts"}
    elif (path / "events.csv").exists():
        raw = pl.read_csv(path / "events.csv", infer_schema_length=None)
        columns = {"type": "event", "user": "visitorid", "item": "itemid", "ts": "timestamp"}
    else:
        raise _missing("retailrocket", path, "events.parquet", "events.csv")
    events = raw.select(
        pl.col(columns["type"]).replace(types).alias("type"),
        pl.col(columns["user"]).cast(pl.String).alias("user"),
        pl.col(columns["item"]).cast(pl.String).alias("item"),
        pl.col(columns["ts"]).alias("ts"),
    )
    return Dataset("retailrocket", "shop", events.sort("ts", maintain_order=True), _item_properties(path))


def _item_properties(path: Path) -> pl.DataFrame | None:
    files = sorted(path.glob("item_properties*.csv"))
    if not files:
        return None
    rows = pl.concat(
        pl.scan_csv(file, infer_schema=False).filter(pl.col("property") == "categoryid") for file in files
    ).collect()
    latest = rows.sort(pl.col("timestamp").cast(pl.Int64), maintain_order=True).unique(
        "itemid", keep="last", maintain_order=True
    )
    return latest.select(
        pl.col("itemid").alias("item"), pl.concat_list(pl.lit("category ") + pl.col("value")).alias("categories")
    ).sort("item")


def _movielens(path: Path) -> Dataset:
    if (path / "ratings.parquet").exists():
        ratings = pl.read_parquet(path / "ratings.parquet")
        movies_file = path / "movies.parquet"
        movies = pl.read_parquet(movies_file) if movies_file.exists() else None
    elif (path / "ratings.dat").exists():
        ratings = _dat(path / "ratings.dat", ["user", "item", "rating", "ts"]).with_columns(
            pl.col("rating").cast(pl.Float64), pl.col("ts").cast(pl.Int64) * 1000
        )
        movies = None
        if (path / "movies.dat").exists():
            movies = _dat(path / "movies.dat", ["item", "title", "genres"]).with_columns(
                pl.col("genres").str.split("|")
            )
    else:
        raise _missing("ml-1m", path, "ratings.parquet and movies.parquet", "ratings.dat and movies.dat")
    events = ratings.select(
        pl.lit("rating").alias("type"),
        pl.col("user").cast(pl.String),
        pl.col("item").cast(pl.String),
        pl.col("ts"),
        pl.col("rating").cast(pl.Float64).alias("value"),
    )
    items = None
    if movies is not None:
        items = movies.select(pl.col("item").cast(pl.String), pl.col("genres").alias("categories"), "title")
    return Dataset("ml-1m", "media", events.sort("ts", maintain_order=True), items)


def _dat(path: Path, columns: list[str]) -> pl.DataFrame:
    # Not `splitlines`: it also breaks at characters that Latin-1 titles may hold.
    rows = [line.rstrip("\r").split("::") for line in path.read_text(encoding="latin-1").split("\n") if line.strip()]
    if any(len(row) != len(columns) for row in rows):
        raise UnknownDataset(f"{path}: lines must have {len(columns)} fields with :: between them", path=str(path))
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def _online_retail(path: Path) -> Dataset:
    published = sorted(path.glob("*.csv"))
    if (path / "lines.parquet").exists():
        lines = pl.read_parquet(path / "lines.parquet")
    elif published:
        lines = _retail_csv(published[0])
    else:
        raise _missing("online-retail", path, "lines.parquet", "the workbook saved as .csv")
    events = lines.select(
        pl.when(pl.col("quantity") < 0).then(pl.lit("return")).otherwise(pl.lit("purchase")).alias("type"),
        pl.coalesce(pl.col("user").cast(pl.String), pl.lit("guest:") + pl.col("invoice")).alias("user"),
        pl.col("item"),
        pl.col("ts"),
        pl.col("quantity").cast(pl.Float64).alias("value"),
        pl.col("invoice").alias("basket"),
    )
    items = lines.group_by("item", maintain_order=True).agg(pl.col("description").drop_nulls().first().alias("title"))
    return Dataset("online-retail", "shop", events.sort("ts", maintain_order=True), items.sort("item"))


def _retail_csv(path: Path) -> pl.DataFrame:
    raw = pl.read_csv(path, infer_schema=False, encoding="utf8-lossy")
    minute = pl.coalesce(
        pl.col("InvoiceDate").str.to_datetime(form, strict=False)
        for form in ("%m/%d/%Y %H:%M", "%Y-%m-%d %H:%M:%S", "%m/%d/%y %H:%M")
    )
    return raw.select(
        pl.col("InvoiceNo").alias("invoice"),
        pl.col("StockCode").alias("item"),
        pl.col("Description").alias("description"),
        pl.col("Quantity").cast(pl.Int64).alias("quantity"),
        minute.dt.epoch("ms").alias("ts"),
        pl.col("CustomerID").cast(pl.Float64, strict=False).cast(pl.Int64).alias("user"),
    )


_LOADERS: dict[str, Callable[[Path], Dataset]] = {
    "retailrocket": _retailrocket,
    "ml-1m": _movielens,
    "online-retail": _online_retail,
}
