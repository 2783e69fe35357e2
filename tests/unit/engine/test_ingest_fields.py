"""Bulk import of the optional fields: slate, slot and context, and constants in place of columns."""

import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater import Engine
from headwater.events.frame import decode_frame
from headwater.events.types import Feedback
from headwater.export import export_events
from reference.cooccurrence import DAY

START = 19_000 * DAY
MINUTE = 60_000


def feedback_of(engine: Engine) -> list[Feedback]:
    frames = [frame for batch in engine.log.read() for frame in batch.frames]
    return [event for frame in frames for event in decode_frame(frame)[1] if isinstance(event, Feedback)]


def reasons(file: str | None) -> list[dict[str, Any]]:
    """The dead letters of an import."""
    assert file is not None
    return [json.loads(line) for line in Path(file).read_text().splitlines()]


def test_answers_to_slates_and_contexts_come_in_like_tracked_ones(tmp_path: Path) -> None:
    context = {"device": "mobile", "page": 3, "test": None, "new": True, "depth": 0.5}
    rows: list[dict[str, Any]] = [
        {"type": "view", "user": "ann", "item": "a", "ts": START, "slate": "3-1", "slot": 0, "context": context},
        {"type": "view", "user": "ann", "item": "b", "ts": START + MINUTE, "slate": "3-1", "slot": (1 << 32) - 1},
        {"type": "view", "user": "bob", "item": "a", "ts": START + 2 * MINUTE},
        {"type": "view", "user": "bob", "item": "c", "ts": START + 3 * MINUTE, "context": {}},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table = pl.DataFrame(
        [{**row, "context": json.dumps(c) if (c := row.get("context")) is not None else None} for row in rows]
    )
    table.write_csv(tmp_path / "events.csv")
    table.write_parquet(tmp_path / "events.parquet")
    with Engine.open(":memory:") as single:
        for row in rows:
            single.track(row["type"], **{key: value for key, value in row.items() if key != "type"})
        expected = sorted(feedback_of(single), key=lambda event: event.ts)
        for source in (table, *(tmp_path / f"events.{form}" for form in ("jsonl", "csv", "parquet"))):
            with Engine.open(":memory:") as bulk:
                assert bulk.ingest(source, progress=False).refused == 0
                assert sorted(feedback_of(bulk), key=lambda event: event.ts) == expected
    with Engine.open(tmp_path / "shop") as engine:
        engine.ingest(tmp_path / "events.jsonl", progress=False)
    for form in ("jsonl", "csv", "parquet"):
        export_events(tmp_path / "shop", tmp_path / f"out.{form}")
        with Engine.open(":memory:") as copy:
            assert copy.ingest(tmp_path / f"out.{form}", progress=False).refused == 0
            assert sorted(feedback_of(copy), key=lambda event: event.ts) == expected


def test_a_context_may_be_a_struct_column() -> None:
    table = pl.DataFrame(
        {
            "type": ["view"] * 2,
            "user": ["ann", "bob"],
            "item": ["a", "b"],
            "ts": [START, START],
            "context": [{"device": "mobile", "page": 1}, None],
        }
    )
    with Engine.open(":memory:") as engine:
        assert engine.ingest(table, progress=False).refused == 0
        contexts = {event.user: event.context for event in feedback_of(engine)}
        assert contexts == {"ann": {"device": "mobile", "page": 1}, "bob": None}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_struct_with_a_number_that_is_not_finite_is_a_dead_letter(number: float, tmp_path: Path) -> None:
    sound = [{"device": "mobile", "x": 0.5}, {"device": "mobile", "x": None}, None]
    contexts = [sound[0], {"device": "mobile", "x": number}, *sound[1:]]
    table = pl.DataFrame({"type": "view", "user": "ann", "item": "a", "ts": START, "context": contexts})
    with Engine.open(tmp_path) as engine:
        report = engine.ingest(table, progress=False)
        assert [(x["row"], x["reason"], x["field"]) for x in reasons(report.dead_letters)] == [
            (2, "bad-context", "context")
        ]
        assert [event.context for event in feedback_of(engine)] == sound


def test_bad_slates_slots_and_contexts_are_dead_letters(tmp_path: Path) -> None:
    wrong = [
        ({"slate": "x" * 513}, "bad-id", "slate"),
        ({"slate": "a\u0001b"}, "bad-id", "slate"),
        ({"slot": -1}, "bad-slot", "slot"),
        ({"slot": 1 << 32}, "bad-slot", "slot"),
        ({"slot": 1.5}, "bad-slot", "slot"),
        ({"slot": "first"}, "bad-slot", "slot"),
        ({"context": "mobile"}, "bad-context", "context"),
        ({"context": "[1]"}, "bad-context", "context"),
        ({"context": {"a": [1]}}, "bad-context", "context"),
        ({"context": {"a": 1 << 70}}, "bad-context", "context"),
        ({"context": {"a": "x" * 4096}}, "bad-context", "context"),
    ]
    sound = {"type": "view", "user": "ann", "item": "a", "ts": START}
    lines = [json.dumps({**sound, **fields}) for fields, _, _ in wrong]
    (tmp_path / "bad.jsonl").write_text("\n".join([*lines, json.dumps(sound)]))
    with Engine.open(tmp_path / "shop") as engine:
        report = engine.ingest(tmp_path / "bad.jsonl", progress=False)
        assert (report.events, report.refused) == (1, len(wrong))
        told = [(x["row"], x["reason"], x["field"]) for x in reasons(report.dead_letters)]
        assert told == [(row, reason, field) for row, (_, reason, field) in enumerate(wrong, 1)]


@pytest.mark.parametrize(
    ("constants", "seen"),
    [
        ({"value": "=2.5", "slot": "=3", "session": "=s", "context": '={"a": 1}'}, (2.5, 3, "s", {"a": 1})),
        ({"value": "=many"}, "bad-value"),
        ({"slot": "=-1"}, "bad-slot"),
        ({"ts": "=never"}, "bad-ts"),
        ({"context": "=x"}, "bad-context"),
    ],
)
def test_every_field_may_be_a_constant(constants: dict[str, str], seen: object, tmp_path: Path) -> None:
    table = pl.DataFrame({"type": ["view"] * 6, "user": ["ann"] * 6, "item": list("abcdef")})
    times = [START + n * MINUTE for n in range(6)]
    table = table if "ts" in constants else table.with_columns(ts=pl.Series(times))
    with Engine.open(tmp_path) as engine:
        report = engine.ingest(table, columns=constants, progress=False)
        if isinstance(seen, str):
            assert (report.refused, {x["reason"] for x in reasons(report.dead_letters)}) == (6, {seen})
        else:
            assert {(e.value, e.slot, e.session) for e in feedback_of(engine)} == {seen[:3]}  # type: ignore[index]
            assert [e.context for e in feedback_of(engine)] == [seen[3]] * 6  # type: ignore[index]


def test_labels_of_a_csv_are_what_all_their_values_are(tmp_path: Path) -> None:
    """Numbers and truth values can be filtered by; codes with leading zeros and mixed columns stay texts."""
    (tmp_path / "items.csv").write_text(
        "item,price,stock,sale,zip,size,note\na,1.5,3,true,01234,7,\nb,20,,False,99999,L,x\nc,,-2,true,12345,8,1e999\n"
    )
    with Engine.open(":memory:") as engine:
        assert engine.ingest(tmp_path / "items.csv", kind="items", progress=False).refused == 0
        labels = {item: engine.item(item).labels for item in "abc"}
        assert labels["a"] == {"price": 1.5, "stock": 3, "sale": True, "zip": "01234", "size": "7"}
        assert labels["b"] == {"price": 20.0, "sale": False, "zip": "99999", "size": "L", "note": "x"}
        assert labels["c"] == {"stock": -2, "sale": True, "zip": "12345", "size": "8", "note": "1e999"}
        slate = engine.recommend("ann", 3, filter="price < 10 and sale", record=False)
        assert slate.item_ids == ["a"]
