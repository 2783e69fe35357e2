"""Public datasets in the project's Parquet layout and in their publishers' own."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from headwater import Engine, default_config
from headwater.datasets import Dataset, load
from headwater.errors import UnknownDataset

DATA = Path(__file__).parents[4] / "shared" / "data"
MS = 1_433_221_332_117


def rows(dataset: Dataset) -> list[tuple[object, ...]]:
    return list(dataset.events.iter_rows())


def check_import(dataset: Dataset) -> Engine:
    """Every event comes in, every user and item is there."""
    engine = Engine.open(":memory:", config=default_config(dataset.profile), clock="log")
    report = engine.ingest(dataset.events, progress=False)
    assert (report.events, report.refused) == (len(dataset.events), 0)
    status = engine.status()
    assert status["users"] == dataset.events["user"].n_unique()
    assert status["items"] == dataset.events["item"].n_unique()
    return engine


def test_retailrocket_as_published(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        f"{MS + 2},257597,transaction,355908,4000\n"
        f"{MS},257597,view,355908,\n"
        f"{MS + 1},992329,addtocart,248676,\n"
    )
    dataset = load("retailrocket", tmp_path)
    assert dataset.events.columns == ["type", "user", "item", "ts"]
    assert rows(dataset) == [
        ("view", "257597", "355908", MS),
        ("cart", "992329", "248676", MS + 1),
        ("purchase", "257597", "355908", MS + 2),
    ]
    assert (dataset.profile, dataset.items) == ("shop", None)
    header = "timestamp,itemid,property,value\n"
    (tmp_path / "item_properties_part1.csv").write_text(
        f"{header}2000,355908,categoryid,1338\n1000,355908,categoryid,1\n1000,355908,available,1\n"
    )
    (tmp_path / "item_properties_part2.csv").write_text(f"{header}1000,248676,categoryid,7\n1000,9,790,n5.000 x\n")
    items = load("retailrocket", tmp_path).items
    assert items is not None
    assert list(items.iter_rows()) == [("248676", ["category 7"]), ("355908", ["category 1338"])]
    check_import(dataset)


def test_retailrocket_as_in_shared_data(tmp_path: Path) -> None:
    pl.DataFrame(
        {"ts": [MS + 1, MS], "user": [1, 2], "item": [7, 8], "event": ["buy", "view"]},
        schema={"ts": pl.Int64, "user": pl.Int32, "item": pl.Int32, "event": pl.String},
    ).write_parquet(tmp_path / "events.parquet")
    assert rows(load("retailrocket", tmp_path)) == [("view", "2", "8", MS), ("purchase", "1", "7", MS + 1)]


def test_movielens_as_published(tmp_path: Path) -> None:
    (tmp_path / "ratings.dat").write_bytes(b"1::1193::5::978300760\r\n2::661::3::978302109\r\n1::661::3::978302000\r\n")
    (tmp_path / "movies.dat").write_bytes(
        b"1193::Cit\xe9 des enfants perdus, La (1995)::Adventure|Sci-Fi\n661::A \x85 B (1996)::Musical\n"
    )
    (tmp_path / "users.dat").write_bytes(b"1::F::1::10::48067\n")
    dataset = load("ml-1m", tmp_path)
    assert dataset.profile == "media"
    assert rows(dataset) == [
        ("rating", "1", "1193", 978_300_760_000, 5.0),
        ("rating", "1", "661", 978_302_000_000, 3.0),
        ("rating", "2", "661", 978_302_109_000, 3.0),
    ]
    assert dataset.items is not None
    assert list(dataset.items.iter_rows()) == [
        ("1193", ["Adventure", "Sci-Fi"], "Cit\u00e9 des enfants perdus, La (1995)"),
        ("661", ["Musical"], "A \x85 B (1996)"),
    ]
    check_import(dataset)


def test_movielens_as_in_shared_data(tmp_path: Path) -> None:
    pl.DataFrame({"user": [2, 1], "item": [10, 11], "rating": [4, 5], "ts": [MS + 1, MS]}).write_parquet(
        tmp_path / "ratings.parquet"
    )
    dataset = load("ml-1m", tmp_path)
    assert dataset.items is None, "movies are optional"
    assert rows(dataset) == [("rating", "1", "11", MS, 5.0), ("rating", "2", "10", MS + 1, 4.0)]
    pl.DataFrame({"item": [10], "title": ["Heat"], "genres": [["Crime"]]}).write_parquet(tmp_path / "movies.parquet")
    items = load("ml-1m", tmp_path).items
    assert items is not None
    assert list(items.iter_rows()) == [("10", ["Crime"], "Heat")]


RETAIL = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,"WHITE HANGING HEART, T-LIGHT",6,12/1/2010 8:26,2.55,17850,United Kingdom
536365,71053,WHITE METAL LANTERN,6,12/1/2010 8:26,3.39,17850.0,United Kingdom
C536379,85123A,"WHITE HANGING HEART, T-LIGHT",-1,12/1/2010 9:41,2.55,14527,United Kingdom
536414,22139,,56,12/1/2010 11:52,0,,United Kingdom
"""


def test_online_retail_as_published(tmp_path: Path) -> None:
    (tmp_path / "Online Retail.csv").write_text(RETAIL)
    dataset = load("online-retail", tmp_path)
    at = int(datetime.fromisoformat("2010-12-01T08:26:00+00:00").timestamp() * 1000)
    assert rows(dataset) == [
        ("purchase", "17850", "85123A", at, 6.0, "536365"),
        ("purchase", "17850", "71053", at, 6.0, "536365"),
        ("return", "14527", "85123A", at + 75 * 60_000, -1.0, "C536379"),
        ("purchase", "guest:536414", "22139", at + 206 * 60_000, 56.0, "536414"),
    ]
    assert dataset.items is not None
    assert list(dataset.items.iter_rows()) == [
        ("22139", None),
        ("71053", "WHITE METAL LANTERN"),
        ("85123A", "WHITE HANGING HEART, T-LIGHT"),
    ]
    check_import(dataset)


def test_online_retail_as_in_shared_data(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "invoice": ["1", "1", "C2"],
            "item": ["a", "b", "a"],
            "description": ["A", None, "A"],
            "quantity": [1, 2, -1],
            "ts": [MS, MS, MS + 1],
            "price": [1.0, 2.0, 1.0],
            "user": [5, 5, None],
            "country": ["x"] * 3,
        }
    ).write_parquet(tmp_path / "lines.parquet")
    assert rows(load("online-retail", tmp_path)) == [
        ("purchase", "5", "a", MS, 1.0, "1"),
        ("purchase", "5", "b", MS, 2.0, "1"),
        ("return", "guest:C2", "a", MS + 1, -1.0, "C2"),
    ]


@pytest.mark.parametrize("name", ["retailrocket", "ml-1m", "online-retail"])
def test_missing_files_are_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match=rf"holds no {name}: expected .*\.parquet"):
        load(name, tmp_path)
    with pytest.raises(UnknownDataset, match="not a folder"):
        load(name, tmp_path / "absent")


def test_an_unknown_dataset_is_told_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match="'netflix' is unknown; allowed: retailrocket, ml-1m, online-retail"):
        load("netflix", tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("retailrocket", "events.csv", b"a,b\n1,2\n"),
        ("retailrocket", "events.parquet", b"not parquet"),
        ("ml-1m", "ratings.dat", b"1::2\n"),
        ("ml-1m", "ratings.dat", b"1::2::five::978300760\n"),
        ("online-retail", "x.csv", b"a,b\n1,2\n"),
        ("online-retail", "x.csv", RETAIL.replace("56,12", "many,12").encode()),
    ],
)
def test_other_content_is_a_typed_error(name: str, file: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UnknownDataset, match=str(tmp_path)):
        load(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "events", "users", "items"),
    # MovieLens: the rebuilt file holds 999,443 ratings of 6,033 of the 6,040 users and 3,416 of the films.
    [("retailrocket", 97_381, 2_174, 29_905), ("ml-1m", 999_443, 6_033, 3_416)],
)
def test_real_data_comes_in_whole(name: str, events: int, users: int, items: int) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} under ../shared/data")
    dataset = load(name, DATA / name)
    assert len(dataset.events) == events
    assert (dataset.events["user"].n_unique(), dataset.events["item"].n_unique()) == (users, items)
    if name == "retailrocket":
        check_import(dataset)


def test_online_retail_comes_in_whole() -> None:
    if not (DATA / "online-retail").is_dir():
        pytest.skip("no online-retail under ../shared/data")
    lines = pl.read_parquet(DATA / "online-retail" / "lines.parquet")
    dataset = load("online-retail", DATA / "online-retail")
    assert len(dataset.events) == len(lines) == 541_909
    assert (dataset.events["type"] == "return").sum() == (lines["quantity"] < 0).sum()
    assert dataset.events["basket"].n_unique() == lines["invoice"].n_unique() == 25_900
    assert dataset.events["item"].n_unique() == 4_070
    assert dataset.events["ts"].is_sorted()
    assert dataset.events.null_count().row(0) == (0,) * 6
