"""A full product feed against the catalogue: puts, patches, hides, and what it must not do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import Engine
from headwater.errors import FeedShrunk, InvalidInput
from headwater.feed_sync import MARK, SyncReport

FEED = "sku,categories,price,brand,in_stock\n" + "".join(
    f"s{n},shoes|c{n % 3},{n}.5,b{n % 2},{str(n % 2 == 0).lower()}\n" for n in range(10)
)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def counts(report: SyncReport) -> dict[str, int]:
    return {name: n for name in ("put", "patched", "hidden", "returned", "unchanged") if (n := getattr(report, name))}


@pytest.fixture
def engine() -> Engine:
    return Engine.open(":memory:")


def visible(engine: Engine) -> set[str]:
    slate = engine.recommend("nobody", 100, record=False)
    return set(slate.item_ids)


def test_a_feed_becomes_the_catalogue_and_again_nothing(engine: Engine, tmp_path: Path) -> None:
    feed = write(tmp_path / "feed.csv", FEED)
    assert counts(engine.sync_items(feed)) == {"put": 10}
    assert engine.item("s3").labels == {"price": 3.5, "brand": "b1", "in_stock": False}
    position, digest = engine.position, engine.digest()
    assert counts(engine.sync_items(feed)) == {"unchanged": 10}
    assert (engine.position, engine.digest()) == (position, digest)


def test_the_same_feed_as_another_kind_of_file_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    engine.sync_items(write(tmp_path / "feed.csv", FEED))
    frame = pl.read_csv(tmp_path / "feed.csv").with_columns(pl.col("categories").str.split("|"))
    frame.write_parquet(tmp_path / "feed.parquet")
    frame.write_ndjson(tmp_path / "feed.jsonl")
    for source in (tmp_path / "feed.parquet", tmp_path / "feed.jsonl", frame):
        assert counts(engine.sync_items(source)) == {"unchanged": 10}


def test_what_changed_is_patched_and_nothing_else_touched(engine: Engine, tmp_path: Path) -> None:
    engine.sync_items(write(tmp_path / "feed.csv", FEED))
    engine.patch_item("s4", labels={"margin": 0.3}, embeddings={"text": [1.0, 0.0]}, comment="by hand")
    changed = FEED.replace("s4,shoes|c1,4.5", "s4,boots|c1,4.25").replace("s5,shoes|c2,5.5,b1", "s5,shoes|c2,5.5,")
    report = engine.sync_items(write(tmp_path / "next.csv", changed))
    assert counts(report) == {"patched": 2, "unchanged": 8}
    assert {c.item: c.fields for c in report.examples["patched"]} == {
        "s4": ["categories", "labels.price"],
        "s5": ["labels.brand"],
    }
    item = engine.item("s4")
    assert (item.categories, item.labels["price"], item.labels["margin"]) == (["boots", "c1"], 4.25, 0.3)
    assert (item.embeddings, item.comment) == ({"text": 2}, "by hand")
    assert "brand" not in engine.item("s5").labels


def test_what_vanished_is_hidden_until_it_is_back(engine: Engine, tmp_path: Path) -> None:
    feed = write(tmp_path / "feed.csv", FEED)
    engine.sync_items(feed)
    engine.track("view", user="ann", item="s7")
    without = "\n".join(line for line in FEED.splitlines() if not line.startswith(("s7,", "s8,"))) + "\n"
    report = engine.sync_items(write(tmp_path / "short.csv", without))
    assert counts(report) == {"hidden": 2, "unchanged": 8}
    assert [c.item for c in report.examples["hidden"]] == ["s7", "s8"]
    assert visible(engine) == {f"s{n}" for n in range(10)} - {"s7", "s8"}
    assert counts(engine.sync_items(tmp_path / "short.csv")) == {"unchanged": 8}
    assert counts(engine.sync_items(feed)) == {"returned": 2, "unchanged": 8}
    assert visible(engine) == {f"s{n}" for n in range(10)}
    assert MARK not in engine.item("s7").labels
    assert engine.item("s7").votes == 1


def test_what_was_hidden_by_hand_stays_hidden(engine: Engine, tmp_path: Path) -> None:
    feed = write(tmp_path / "feed.csv", FEED)
    engine.sync_items(feed)
    engine.patch_item("s1", is_hidden=True)
    assert counts(engine.sync_items(feed)) == {"unchanged": 10}
    assert "s1" not in visible(engine)
    told = write(tmp_path / "told.jsonl", '{"item":"s1","is_hidden":false}\n')
    assert counts(engine.sync_items(told, max_shrink=1.0))["patched"] == 1
    assert visible(engine) == {"s1"}


def test_a_deleted_item_in_the_feed_is_put_anew(engine: Engine, tmp_path: Path) -> None:
    feed = write(tmp_path / "feed.csv", FEED)
    engine.sync_items(feed)
    engine.delete_item("s2")
    assert counts(engine.sync_items(feed)) == {"put": 1, "unchanged": 9}


@pytest.mark.parametrize("kept", [0, 1, 6])
def test_a_feed_that_shrank_is_refused_and_changes_nothing(engine: Engine, tmp_path: Path, kept: int) -> None:
    engine.sync_items(write(tmp_path / "feed.csv", FEED))
    position = engine.position
    short = write(tmp_path / "short.csv", "\n".join(FEED.splitlines()[: kept + 1]).replace("shoes", "boots") + "\n")
    for dry_run in (True, False):
        with pytest.raises(FeedShrunk, match=f"{10 - kept} of 10 visible ones would vanish") as caught:
            engine.sync_items(short, dry_run=dry_run)
    assert caught.value.details["visible"] == 10
    assert engine.position == position
    assert counts(engine.sync_items(short, max_shrink=1.0))["hidden"] == 10 - kept


def test_seven_of_ten_is_the_least_that_passes(engine: Engine, tmp_path: Path) -> None:
    engine.sync_items(write(tmp_path / "feed.csv", FEED))
    short = write(tmp_path / "short.csv", "\n".join(FEED.splitlines()[:8]) + "\n")
    assert counts(engine.sync_items(short)) == {"hidden": 3, "unchanged": 7}


def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path) -> None:
    feed = write(tmp_path / "feed.csv", FEED + "s3,again,1.0,b0,true\n,nameless,1.0,b0,true\n")
    with Engine.open(tmp_path / "shop") as engine:
        position = engine.position
        dry = engine.sync_items(feed, dry_run=True)
        assert engine.position == position
        assert not (tmp_path / "shop" / "deadletters").exists()
        wet = engine.sync_items(feed)
    same = {name: value for name, value in dry.to_dict().items() if name not in ("dry_run", "seconds", "position")}
    assert {name: wet.to_dict()[name] for name in same} | {"dead_letters": None} == same
    assert (wet.put, wet.refused, wet.repeated) == (10, 1, 1)
    assert Path(str(wet.dead_letters)).exists()


def test_an_item_with_a_broken_row_has_not_vanished(engine: Engine, tmp_path: Path) -> None:
    engine.sync_items(write(tmp_path / "feed.csv", "item,is_hidden\na,false\nb,false\nc,false\n"))
    report = engine.sync_items(write(tmp_path / "next.csv", "item,is_hidden\na,false\nb,maybe\nc,false\n"))
    assert (counts(report), report.refused) == ({"unchanged": 2}, 1)
    assert visible(engine) == {"a", "b", "c"}


@pytest.mark.parametrize("share", [-0.1, 1.5, True, "all"])
def test_a_share_is_a_share(engine: Engine, tmp_path: Path, share: Any) -> None:
    with pytest.raises(InvalidInput, match="max_shrink"):
        engine.sync_items(write(tmp_path / "feed.csv", FEED), max_shrink=share)


items = st.dictionaries(
    st.sampled_from([f"s{n}" for n in range(6)]),
    st.fixed_dictionaries(
        {
            "categories": st.lists(st.sampled_from(["x", "y"]), max_size=2),
            "price": st.none() | st.sampled_from([1, 2.5, 3.0]),
            "sale": st.none() | st.booleans(),
        }
    ),
    min_size=1,
)
CATALOGUE_SCHEMA = {"item": pl.String, "categories": pl.List(pl.String), "price": pl.Float64, "sale": pl.Boolean}


@settings(max_examples=60)
@given(st.lists(items, min_size=1, max_size=5))
def test_after_any_feeds_the_catalogue_is_the_last_one(feeds: list[dict[str, dict[str, Any]]]) -> None:
    with Engine.open(":memory:") as engine:
        for feed in feeds:
            rows = [{"item": item, **fields} for item, fields in feed.items()]
            frame = pl.DataFrame(rows, schema=CATALOGUE_SCHEMA)
            engine.sync_items(frame, max_shrink=1.0)
            assert visible(engine) == feed.keys()
            for item, fields in feed.items():
                known = engine.item(item)
                labels = {key: fields[key] for key in ("price", "sale") if fields[key] is not None}
                assert (known.categories, known.labels) == (fields["categories"], labels)
            position = engine.position
            engine.sync_items(frame, max_shrink=1.0)
            assert engine.position == position


def test_values_of_json_lines_keep_their_types(engine: Engine, tmp_path: Path) -> None:
    line = '{"item":"a","price":2.5,"stock":3,"sale":true,"code":"007","sizes":["s","m"],"mixed":"1"}\n'
    feed = write(tmp_path / "feed.jsonl", line + '{"item":"b","price":3,"mixed":1}\n')
    engine.sync_items(feed)
    labels = engine.item("a").labels
    assert labels == {"price": 2.5, "stock": 3, "sale": True, "code": "007", "sizes": ["s", "m"], "mixed": "1"}
    assert engine.item("b").labels == {"price": 3, "mixed": "1"}
    assert counts(engine.sync_items(feed)) == {"unchanged": 2}
