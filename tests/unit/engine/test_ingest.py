"""Bulk import: formats, mapping, dead letters, resuming, repeating; export and import again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from headwater import Engine
from headwater.errors import InvalidInput, StoreError
from headwater.export import export_events
from reference.cooccurrence import DAY

START = 19_000 * DAY
MINUTE = 60_000


def frame(rows: int = 1200) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "type": [("view", "cart", "purchase")[n % 3] for n in range(rows)],
            "user": [f"user{n % 37}" for n in range(rows)],
            "item": [f"item{n * 7 % 61}" for n in range(rows)],
            "ts": [START + n * MINUTE for n in range(rows)],
            "value": [None if n % 2 else n / 2 for n in range(rows)],
            "basket": [f"b{n // 5}" for n in range(rows)],
        }
    )


def write(table: pl.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        table.write_csv(path)
    elif path.suffix == ".jsonl":
        table.write_ndjson(path)
    else:
        table.write_parquet(path)
    return path


def letters(directory: Path) -> list[dict[str, Any]]:
    files = sorted((directory / "deadletters").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def view_of(engine: Engine) -> dict[str, Any]:
    """What a user of the engine can see, without the positions of events in the log."""
    seen: dict[str, Any] = {}
    for n in range(37):
        state = engine.session_of(f"user{n}", now=START).state
        touched = [(t.item, t.event.type, t.event.ts, t.in_session) for t in state.items]
        seen[f"user{n}"] = (msgspec.structs.replace(state, items=[]), touched)
        slate = engine.recommend(f"user{n}", 20, now=START + DAY, record=False)
        seen[f"slate{n}"] = [(r.item, r.score, r.parts) for r in slate]
    seen["trending"] = [(r.item, r.score) for r in engine.trending(n=50, now=START + DAY)]
    for n in range(0, 61, 7):
        seen[f"similar{n}"] = [(r.item, r.score) for r in engine.similar(f"item{n}", 50, now=START + DAY)]
    return seen


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "lazy"])
def test_every_format_says_the_same(form: str, tmp_path: Path) -> None:
    source: Any = frame().lazy() if form == "lazy" else write(frame(), tmp_path / f"events.{form}")
    with Engine.open(":memory:") as engine, Engine.open(":memory:") as plain:
        report = engine.ingest(source, progress=False)
        assert (report.rows, report.events, report.refused) == (1200, 1200, 0)
        plain.ingest(frame(), progress=False)
        assert view_of(engine) == view_of(plain)


def test_bulk_and_single_events_make_the_same_state() -> None:
    with Engine.open(":memory:") as bulk, Engine.open(":memory:") as single:
        bulk.ingest(frame(), progress=False)
        for row in frame().iter_rows(named=True):
            single.track(row.pop("type"), **row)
        assert view_of(bulk) == view_of(single)


def test_columns_are_mapped_and_constants_filled_in() -> None:
    table = frame().rename({"user": "who", "item": "what", "ts": "at"}).drop("type", "value")
    with Engine.open(":memory:") as engine:
        engine.ingest(table, columns={"user": "who", "item": "what", "ts": "at", "type": "=view"}, progress=False)
        assert engine.session_of("user0", now=START).state.items[0].event.type == "view"
        assert engine.status()["outcomes"]["applied"] >= 1200


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        ({"user": "visitor"}, "visitor.*type, user"),
        ({"colour": "user"}, "colour.*allowed: type"),
        ({"type": "user", "user": "nope"}, "nope"),
    ],
)
def test_a_wrong_column_is_named_and_nothing_is_imported(columns: dict[str, str], named: str) -> None:
    with Engine.open(":memory:") as engine:
        before = engine.position
        with pytest.raises(InvalidInput, match=named):
            engine.ingest(frame(), columns=columns, progress=False)
        assert engine.position == before


def test_a_missing_column_is_named() -> None:
    with Engine.open(":memory:") as engine, pytest.raises(InvalidInput, match="no column for type, ts"):
        engine.ingest(frame().drop("type", "ts"), progress=False)


def test_usual_names_are_found_gorses_among_them(tmp_path: Path) -> None:
    rows = [
        {"FeedbackType": "view", "UserId": "ann", "ItemId": "a", "Timestamp": "2022-01-08T10:00:00Z", "Comment": "x"},
        {"FeedbackType": "like", "UserId": "ann", "ItemId": "b", "Timestamp": "2022-01-08 10:01:00", "Comment": ""},
    ]
    items = [
        {
            "ItemId": "a",
            "IsHidden": False,
            "Categories": ["x", "y"],
            "Timestamp": "2022-01-01T00:00:00Z",
            "Labels": {"brand": "arno", "price": 4},
            "Comment": "a lamp",
        },
        {"ItemId": "b", "IsHidden": True, "Categories": ["x"], "Timestamp": "", "Labels": ["red"], "Comment": ""},
    ]
    for name, content in (("events", rows), ("items", items)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    with Engine.open(tmp_path / "shop") as engine:
        put = engine.ingest(tmp_path / "items.jsonl", kind="items", progress=False)
        report = engine.ingest(tmp_path / "events.jsonl", progress=False)
        assert (put.events, report.events, put.refused, report.refused) == (2, 2, 0, 0), letters(tmp_path / "shop")
        state = engine.session_of("ann", now=START).state
        assert [(t.item, t.event.type) for t in state.items] == [("b", "like"), ("a", "view")]
        assert state.items[1].event.ts == 1_641_636_000_000
        assert {tag for tag, _ in state.affinities} == {"x", "y", "brand=arno", "tags=red"}
        assert engine.recommend("bob", now=START + DAY).item_ids == ["a"], "b is hidden"


def test_items_columns_are_mapped_and_wrong_ones_named() -> None:
    table = pl.DataFrame({"code": ["a", "b"], "genre list": ["x|y", "z"], "shop": ["1", "2"]})
    with Engine.open(":memory:") as engine:
        mapping = {"item": "code", "categories": "genre list"}
        assert engine.ingest(table, kind="items", columns=mapping, progress=False).events == 2
        assert engine.trending("z", now=START).item_ids == []
        for wrong, named in (({"item": "id"}, "id"), ({"colour": "code"}, "colour"), ({}, "no column for item")):
            with pytest.raises(InvalidInput, match=named):
                engine.ingest(table, kind="items", columns=wrong, progress=False)


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    source = write(frame(), tmp_path / "events.csv")
    with Engine.open(tmp_path / "shop") as engine:
        engine.ingest(source, progress=False, chunk_rows=100)
        digest, position = engine.digest(), engine.position
        again = engine.ingest(source, progress=False, chunk_rows=100)
        assert (again.events, again.resumed_rows, again.rows) == (0, 1200, 1200)
        assert (engine.digest(), engine.position) == (digest, position)
    with Engine.open(tmp_path / "shop") as engine:
        assert engine.ingest(source, progress=False, chunk_rows=100).events == 0
        assert engine.digest() == digest


class Stop(Exception):
    pass


def stop_at(rows: int, how: type[BaseException] = Stop) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        assert total == 1200
        if done >= rows:
            raise how

    return progress


@pytest.mark.parametrize("rows", [100, 500, 1100, 1200])
@pytest.mark.parametrize(("reopen", "how"), [(False, Stop), (True, Stop), (True, KeyboardInterrupt)])
def test_an_interrupted_import_continues_and_counts_nothing_twice(
    rows: int, reopen: bool, how: type[BaseException], tmp_path: Path
) -> None:
    engine = Engine.open(tmp_path / "shop")
    with pytest.raises(how):
        engine.ingest(frame(), progress=stop_at(rows, how), chunk_rows=100)
    if reopen:
        engine.close()
        engine = Engine.open(tmp_path / "shop")
    report = engine.ingest(frame(), progress=False, chunk_rows=100)
    assert (report.resumed_rows, report.events) == (rows, 1200 - rows)
    with engine, Engine.open(":memory:") as whole:
        whole.ingest(frame(), progress=False)
        assert view_of(engine) == view_of(whole)
        assert sum(engine.session_of(f"user{n}", now=START).state.events for n in range(37)) == 1200
        assert engine.verify().equal


def test_progress_is_told_of_every_chunk() -> None:
    calls: list[tuple[int, int]] = []
    with Engine.open(":memory:") as engine:
        engine.ingest(frame(), progress=lambda done, total: calls.append((done, total)), chunk_rows=500)
    assert calls == [(500, 1200), (1000, 1200), (1200, 1200)]


def test_events_with_ids_count_once_whatever_file_they_come_from(tmp_path: Path) -> None:
    table = frame().with_row_index("event_id").with_columns(pl.col("event_id").cast(pl.String))
    with Engine.open(":memory:") as engine:
        engine.ingest(table, progress=False)
        report = engine.ingest(table.reverse(), progress=False)
        assert report.outcomes == {"repeat-event": 1200}


BAD_CSV = (
    b"type,user,item,ts\n"
    b"view,ann,a,1641600000000\n"  # 1
    b"view,ann,b\n"  # 2 too short
    b"view,ann,c,1641600000000,extra\n"  # 3 too long
    b"view,,d,1641600000000\n"  # 4 no user
    b"view,ann," + b"x" * 10_000 + b",1641600000000\n"  # 5 a 10 kB id
    b"view,an\0n,e,1641600000000\n"  # 6 NUL
    b"view,\xff\xfe,f,1641600000000\n"  # 7 not UTF-8
    b"view,ann,g,-5\n"  # 8 negative time
    b"view,ann,h,99999999999999\n"  # 9 far future
    b"view,ann,i,yesterday\n"  # 10 no time
    b"\n"  # 11 blank: nothing
    b",ann,j,1641600000000\n"  # 12 no type
    b"view,ann,k,1641600060000\n"  # 13
)
BAD_ROWS = [
    (2, "malformed-row", "row"),
    (3, "malformed-row", "row"),
    (4, "bad-id", "user"),
    (5, "bad-id", "item"),
    (6, "malformed-row", "row"),
    (7, "malformed-row", "row"),
    (8, "bad-ts", "ts"),
    (9, "future-ts", "ts"),
    (10, "bad-ts", "ts"),
    (12, "bad-type", "type"),
]


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_every_bad_row_of_a_csv_is_a_dead_letter_with_number_and_reason(
    quoted: bool, ending: bytes, tmp_path: Path
) -> None:
    content = BAD_CSV.replace(b"view,ann,a,", b'"view","ann","a",') if quoted else BAD_CSV
    (tmp_path / "bad.csv").write_bytes(content.replace(b"\n", ending))
    with Engine.open(tmp_path / "shop") as engine:
        report = engine.ingest(tmp_path / "bad.csv", progress=False)
        assert (report.events, report.refused) == (2, len(BAD_ROWS))
        kept = sorted((x["row"], x["reason"], x["field"]) for x in letters(tmp_path / "shop"))
        assert kept == BAD_ROWS
        assert all(len(x["value"]) <= 200 for x in letters(tmp_path / "shop"))
        assert report.dead_letters is not None
        assert Path(report.dead_letters).exists()
        assert [t.item for t in engine.session_of("ann", now=START).state.items] == ["k", "a"]


def test_every_bad_row_of_a_jsonl_is_a_dead_letter(tmp_path: Path) -> None:
    lines = [
        b'{"type":"view","user":"ann","item":"a","ts":1641600000000,"value":3}',
        b'{"type":"view","user":"ann"',
        b'["view","ann","b",1641600000000]',
        b'{"type":"view","user":"ann\\u0000","item":"b","ts":1641600000000}',
        b'{"type":"view","user":"\xff","item":"b","ts":1641600000000}',
        b'{"type":"view","user":"ann","item":"b","ts":1641600000000,"value":1e999}',
        b'{"type":"view","user":"ann","item":"b","ts":1641600000000,"value":"many"}',
        b'{"type":"view","user":"ann","item":"b","ts":1641600000000,"value":NaN}',
        b'{"type":"view","user":"ann","item":"","ts":1641600000000}',
        b'{"type":"view","item":"b","ts":1641600000000}',
        b'{"type":"view","user":7,"item":8,"ts":1641600000000}',
    ]
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    with Engine.open(tmp_path / "shop") as engine:
        report = engine.ingest(tmp_path / "bad.jsonl", progress=False)
        assert (report.events, report.refused) == (2, 9)
        reasons = {x["row"]: x["reason"] for x in letters(tmp_path / "shop")}
        assert reasons == {
            2: "malformed-row",
            3: "malformed-row",
            4: "bad-id",
            5: "malformed-row",
            6: reasons[6],
            7: "bad-value",
            8: "malformed-row",
            9: "bad-id",
            10: "bad-id",
        }
        assert reasons[6] in ("bad-value", "malformed-row")
        assert engine.session_of(7, now=START).state.items[0].item == "8"


def test_bad_values_of_a_frame_are_dead_letters() -> None:
    table = pl.DataFrame(
        {
            "type": ["view"] * 6,
            "user": ["ann"] * 6,
            "item": ["a", "b", "c", "d", None, "f"],
            "ts": [START + n * MINUTE for n in range(6)],
            "value": [1.0, float("nan"), float("inf"), float("-inf"), 2.0, None],
            "event_id": pl.Series([None] * 6),
        }
    )
    with Engine.open(":memory:") as engine:
        report = engine.ingest(table, progress=False)
        assert (report.events, report.refused) == (2, 4)
        assert [t.item for t in engine.session_of("ann", now=START).state.items] == ["f", "a"]


def test_dead_letters_of_an_interrupted_import_are_all_there(tmp_path: Path) -> None:
    table = frame().with_columns(pl.when(pl.int_range(pl.len()) % 100 == 7).then(None).otherwise("item").alias("item"))
    with Engine.open(tmp_path) as engine:
        with pytest.raises(Stop):
            engine.ingest(table, progress=stop_at(500), chunk_rows=100)
        engine.ingest(table, progress=False, chunk_rows=100)
    assert [x["row"] for x in letters(tmp_path)] == [100 * n + 8 for n in range(12)]


def test_bad_items_are_dead_letters(tmp_path: Path) -> None:
    lines = [
        {"item": "a", "categories": "x|y", "price": "3"},
        {"item": "", "categories": "x"},
        {"item": "b", "categories": '["x"'},
        {"item": "c", "labels": "{broken"},
        {"item": "d", "timestamp": "soon"},
        {"item": "e", "is_hidden": "maybe"},
        {"item": "f" * 10_000},
        {"item": "g", "is_hidden": "true", "timestamp": "2024-01-01"},
    ]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with Engine.open(tmp_path / "shop") as engine:
        report = engine.ingest(tmp_path / "items.jsonl", kind="items", progress=False)
        assert (report.events, report.refused) == (2, 6)
        kept = [(x["row"], x["reason"], x["field"]) for x in letters(tmp_path / "shop")]
        assert kept == [
            (2, "bad-item", "item"),
            (3, "bad-item", "categories"),
            (4, "bad-item", "labels"),
            (5, "bad-item", "timestamp"),
            (6, "bad-item", "is_hidden"),
            (7, "bad-item", "item"),
        ]


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("absent.csv", None, "No such file"),
        ("table.xlsx", b"PK", "format"),
        ("empty.csv", b"", "no header"),
        ("nul.csv", b"a\0b,c\n1,2\n", "no header"),
        ("latin.csv", b"t\xffpe,user\n", "not UTF-8"),
        ("twice.csv", b"type,user,user,item,ts\n", "twice"),
        ("open.csv", b'type,"user,item,ts\nview,ann,a,1\n', "header"),
        ("broken.parquet", b"PAR1 no more", "not a readable Parquet"),
        ("empty.jsonl", b"", "no column"),
        ("empty-objects.jsonl", b"{}\n", "no fields"),
    ],
)
def test_an_unusable_file_is_a_typed_error(name: str, content: bytes | None, named: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with Engine.open(":memory:") as engine:
        before = engine.position
        with pytest.raises(InvalidInput, match=named) as caught:
            engine.ingest(tmp_path / name, progress=False)
        assert name in str(caught.value) or named == "no column"
        assert engine.position == before


@pytest.mark.parametrize("chunk_rows", [0, -1, 65_537])
def test_chunk_rows_have_bounds(chunk_rows: int) -> None:
    with Engine.open(":memory:") as engine, pytest.raises(InvalidInput, match=f"chunk_rows = {chunk_rows}"):
        engine.ingest(frame(), progress=False, chunk_rows=chunk_rows)


def test_one_absurd_time_does_not_change_what_the_others_mean() -> None:
    seconds = [START // 1000 + 60 * n for n in range(5)]
    table = frame(6).with_columns(pl.Series("ts", [*seconds, 99_999_999_999_999]))
    with Engine.open(":memory:") as engine:
        report = engine.ingest(table, progress=False)
        assert (report.events, report.refused) == (5, 1)
        assert engine.session_of("user0", now=START).state.last == START


@pytest.mark.parametrize(
    "times",
    [
        pl.Series("ts", ["2022-01-08T00:00:00Z", "2022-01-08 00:01:00", "2022-01-08T02:02:00+02:00"]),
        pl.Series("ts", ["1641600000000", "1641600060000", "1641600120000"]),
        pl.Series("ts", [1641600000, 1641600060, 1641600120]),
        pl.Series("ts", [1641600000.0, 1641600060.0, 1641600120.0]),
        pl.Series("ts", [1641600000000, 1641600060000, 1641600120000]).cast(pl.Datetime("ms")),
        pl.Series("ts", [1641600000000, 1641600060000, 1641600120000]).cast(pl.Datetime("ms", "Europe/Helsinki")),
    ],
    ids=["iso", "text", "seconds", "float seconds", "datetime", "zoned"],
)
def test_times_are_understood(times: pl.Series) -> None:
    with Engine.open(":memory:") as engine:
        table = frame(3).with_columns(times, pl.lit("ann").alias("user"))
        assert engine.ingest(table, progress=False).refused == 0
        touched = [t.event.ts for t in engine.session_of("ann", now=START).state.items]
        assert touched == [START + 2 * MINUTE, START + MINUTE, START]


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_an_export_imported_again_says_the_same(form: str, tmp_path: Path) -> None:
    with Engine.open(tmp_path / "shop") as engine:
        engine.put_items([{"item": f"item{n}", "categories": [f"c{n % 3}"], "labels": {"n": n}} for n in range(61)])
        engine.ingest(frame(), progress=False)
        engine.patch_item("item7", labels={"brand": "arno"})
        engine.recommend("user1", now=START)
        expected = view_of(engine)
        exported = export_events(tmp_path / "shop", tmp_path / f"out.{form}")
    with Engine.open(tmp_path / "copy") as copy:
        if form == "jsonl":
            put = copy.ingest(tmp_path / "out.jsonl", kind="items", progress=False)
            assert (put.events, put.refused) == (61, 0)
        else:
            assert exported["events"] == 1200
            copy.put_items([{"item": f"item{n}", "categories": [f"c{n % 3}"]} for n in range(61)])
        report = copy.ingest(tmp_path / f"out.{form}", progress=False)
        assert (report.events, report.refused) == (1200, 0)
        assert view_of(copy) == expected


def test_an_import_that_is_repeated_writes_no_letter_again(tmp_path: Path) -> None:
    """Also where the log cannot tell that a chunk was done, because every row of it was refused."""
    table = frame().with_columns(pl.when(pl.int_range(pl.len()) < 900).then("item").alias("item"))
    for _ in range(3):
        with Engine.open(tmp_path) as engine:
            report = engine.ingest(table, progress=False, chunk_rows=100)
            assert report.dead_letters is not None
    assert [x["row"] for x in letters(tmp_path)] == list(range(901, 1201))
    items = pl.DataFrame({"item": ["a", "", "b", None]})
    for _ in range(2):
        with Engine.open(tmp_path / "items") as engine:
            assert engine.ingest(items, kind="items", progress=False).refused == 2
    assert [x["row"] for x in letters(tmp_path / "items")] == [2, 4]
    with Engine.open(tmp_path / "items") as engine:
        engine.ingest(pl.DataFrame({"item": ["", "c"]}), kind="items", progress=False)
    assert len(list((tmp_path / "items" / "deadletters").iterdir())) == 2, "another table, another file"
    assert sorted(x["row"] for x in letters(tmp_path / "items")) == [1, 2, 4]


def test_a_letter_that_was_cut_off_is_written_again(tmp_path: Path) -> None:
    table = frame().with_columns(pl.when(pl.int_range(pl.len()) < 1190).then("item").alias("item"))
    with Engine.open(tmp_path) as engine:
        engine.ingest(table, progress=False, chunk_rows=10)
        (file,) = (tmp_path / "deadletters").iterdir()
        whole = file.read_bytes()
        file.write_bytes(whole[:-20])
        engine.ingest(table, progress=False, chunk_rows=10)
        assert file.read_bytes() == whole
        file.write_bytes(b"what is this\n")
        with pytest.raises(StoreError, match="dead letters"):
            engine.ingest(table, progress=False, chunk_rows=10)
