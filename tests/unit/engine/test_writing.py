"""Writing through the SDK: positions, batches, the catalogue, users, opening and closing."""

from pathlib import Path

import pytest

from headwater import Engine, Feedback, default_config
from headwater.errors import (
    ConfigError,
    GenerationMismatch,
    InvalidEvent,
    InvalidQuery,
    NotReady,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreLocked,
)
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import ItemPatch, UserPut
from reference.cooccurrence import DAY

START = 19_000 * DAY


def test_a_position_is_what_a_query_waits_for() -> None:
    with Engine.open(":memory:") as engine:
        first = engine.track("view", user="ann", item="a", ts=START)
        second = engine.track("view", user="ann", item="b", ts=START + 60_000)
        assert second > first
        slate = engine.recommend("ann", after=second, now=START, record=False)
        assert slate.about == ["b", "a"]
        assert slate.positions == [second]
        for ask in (
            lambda after: engine.recommend("ann", after=after),
            lambda after: engine.session(["a"], after=after),
            lambda after: engine.similar("a", after=after),
            lambda after: engine.trending(after=after),
            lambda after: engine.session_of("ann", after=after),
        ):
            ask(engine.flush())
            with pytest.raises(NotReady, match=r"after = \d+, but the log ends at \d+") as caught:
                ask(engine.flush() + 1)
            assert caught.value.details["after"] == caught.value.details["position"] + 1


@pytest.mark.parametrize("after", [-1, True, "3", 1.5])
def test_a_position_is_a_number(after: int) -> None:
    with Engine.open(":memory:") as engine, pytest.raises(InvalidQuery, match="after"):
        engine.recommend("ann", after=after)


def test_the_context_manager_closes_and_everything_then_says_so(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "shop") as engine:
        engine.track("view", user="ann", item="a", ts=START)
        digest = engine.digest()
    engine.close()
    for use in (
        lambda: engine.track("view", user="ann", item="a"),
        lambda: engine.put_item("a"),
        lambda: engine.recommend("ann"),
        lambda: engine.session_of("ann"),
        lambda: engine.trending(),
        lambda: engine.status(),
        lambda: engine.snapshot(),
        lambda: engine.verify(),
        lambda: engine.explain("x", "a"),
        lambda: engine.ingest(tmp_path / "x.csv"),
    ):
        with pytest.raises(StoreClosed):
            use()
    with Engine.open(tmp_path / "shop") as again:
        assert again.digest() == digest
        assert again.session_of("ann").state.events == 1


def test_one_writer_many_readers(tmp_path: Path) -> None:
    with Engine.open(tmp_path) as engine:
        with pytest.raises(StoreLocked, match=str(tmp_path)):
            Engine.open(tmp_path)
        with Engine.open(tmp_path, read_only=True) as reader:
            position = engine.track("view", user="ann", item="a", ts=START)
            assert reader.recommend("ann", after=position, now=START).about == ["a"]
            assert reader.digest() == engine.digest()
            with pytest.raises(StoreError):
                reader.track("view", user="ann", item="a")
            with pytest.raises(StoreError):
                reader.snapshot()
        engine.track("view", user="ann", item="b", ts=START)


def test_an_engine_that_cannot_write_its_first_event_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise StoreFull("the disk takes no more")

    with monkeypatch.context() as patch:
        patch.setattr(SqliteLog, "append", full)
        with pytest.raises(StoreFull) as caught:
            Engine.open(tmp_path)
    with Engine.open(tmp_path) as engine:  # while the first error, and what it refers to, is still there
        engine.track("view", user="ann", item="a", ts=START)
    assert caught.value.code == "store-full"


def test_a_directory_that_is_a_file_or_absent_is_a_typed_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="file"):
        Engine.open(tmp_path / "file")
    with pytest.raises(StoreError, match="absent"):
        Engine.open(tmp_path / "absent", read_only=True)
    assert not (tmp_path / "absent").exists()


def test_another_profile_or_generation_is_refused_by_name(tmp_path: Path) -> None:
    with Engine.open(tmp_path, profile="media"):
        pass
    with Engine.open(tmp_path) as engine:
        assert engine.config == default_config("media")
    with pytest.raises(ConfigError, match="media"):
        Engine.open(tmp_path, profile="shop")
    with pytest.raises(GenerationMismatch, match="relations"):
        Engine.open(tmp_path, config=default_config("shop"))
    with pytest.raises(ConfigError, match="toys"):
        Engine.open(":memory:", profile="toys")  # type: ignore[arg-type]


def test_a_batch_is_kept_whole_or_not_at_all() -> None:
    with Engine.open(":memory:") as engine:
        before = engine.position
        events = [Feedback(type="view", user=f"u{n}", item="a", ts=START) for n in range(50)]
        with pytest.raises(InvalidEvent):
            engine.track_many([*events, Feedback(type="view", user="", item="a", ts=START)])
        assert (engine.position, "a" in engine) == (before, False)
        with pytest.raises(InvalidEvent, match="one or more"):
            engine.track_many([])
        engine.track_many(events)
        assert engine.status()["users"] == 50


def test_integers_are_ids_too() -> None:
    with Engine.open(":memory:") as engine:
        engine.put_item(7, categories=["x"])
        engine.track("view", user=3, item=7, ts=START)
        assert "7" in engine
        assert engine.session_of(3, now=START).user == "3"
        assert engine.recommend(4, exclude=[7], now=START, record=False).item_ids == []


def test_put_replaces_patch_changes_delete_hides() -> None:
    with Engine.open(":memory:") as engine:
        for n in range(3):
            engine.track("view", user=f"u{n}", item="lamp", ts=START + n * 1000)
        engine.put_item("lamp", categories=["light"], labels={"brand": "arno", "price": 3.5})

        def shown(category: str | None = None) -> list[str]:
            return engine.trending(category, now=START + 60_000).item_ids

        assert shown("light") == shown("brand=arno") == ["lamp"]
        engine.patch_item("lamp", categories=["home"])
        assert shown("home") == shown("brand=arno") == ["lamp"]
        assert shown("light") == []
        engine.patch_item("lamp", labels={"brand": None})
        assert shown("brand=arno") == []
        engine.patch_item("lamp", is_hidden=True)
        assert shown() == []
        assert shown("home") == []
        engine.patch_item("lamp", is_hidden=False)
        assert shown("home") == ["lamp"]
        engine.put_item("lamp", categories=["light"])
        assert shown("light") == ["lamp"]
        assert shown("home") == []
        engine.delete_item("lamp")
        assert shown("light") == []
        engine.track("view", user="u9", item="lamp", ts=START + 30_000)
        assert shown() == [], "an event does not bring a deleted item back"
        engine.put_item("lamp", categories=["light"])
        assert shown("light") == ["lamp"]


@pytest.mark.parametrize("how", ["unhidden", "put anew"])
def test_an_item_shown_again_is_among_the_leaders_at_once(how: str) -> None:
    with Engine.open(":memory:") as engine:
        for n in range(3):
            engine.track("view", user=f"u{n}", item="lamp", ts=START + n * 1000)
        assert engine.trending(now=START + 60_000).item_ids == ["lamp"]
        if how == "unhidden":
            engine.patch_item("lamp", is_hidden=True)
            engine.patch_item("lamp", is_hidden=False)
        else:
            engine.delete_item("lamp")
            engine.put_item("lamp")
        assert engine.trending(now=START + 60_000).item_ids == ["lamp"]
        assert engine.recommend("x", now=START + 60_000, record=False).item_ids == ["lamp"]


def test_put_items_takes_mappings_and_tables() -> None:
    import polars as pl

    with Engine.open(":memory:") as engine:
        engine.put_items([{"item": "a", "categories": ["x"], "labels": {"price": 1}}, {"item": 5, "is_hidden": True}])
        engine.put_items(pl.DataFrame({"item": ["b", "c"], "categories": [["x"], []], "brand": ["q", None]}))
        assert engine.status()["items_put"] == 4
        assert engine.trending("x").item_ids == []
        assert all(item in engine for item in ("a", "5", "b", "c"))
        position = engine.position
        assert engine.put_items([]) == position


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({"item": "a", "colour": "red"}, "colour"),
        ({"categories": ["x"]}, "item"),
        ({"item": "a", "ts": 5}, "ts"),
        ({"item": "a", "categories": "shoes"}, "categories"),
        ({"item": "a", "labels": ["x"]}, "labels"),
        ({"item": "a", "labels": {"price": float("nan")}}, "labels[price]"),
        ({"item": "a", "is_hidden": "yes"}, "is_hidden"),
        ({"item": "a", "embeddings": {"e": ["x"]}}, "embeddings[e]"),
        ({"item": "a", "embeddings": {"e": [float("inf")]}}, "embeddings[e]"),
        ({"item": "", "categories": []}, "item"),
        ({"item": None}, "item"),
        ("a", "labels"),
    ],
)
def test_a_bad_item_row_is_named_and_nothing_is_put(row: dict[str, object], field: str) -> None:
    with Engine.open(":memory:") as engine:
        before = engine.position
        with pytest.raises(InvalidEvent) as caught:
            engine.put_items([{"item": "good"}, row])
        assert caught.value.details["field"] == field
        assert engine.position == before
        assert "good" not in engine


def test_patch_names_what_it_does_not_know() -> None:
    with Engine.open(":memory:") as engine:
        with pytest.raises(InvalidEvent, match="colour"):
            engine.patch_item("a", colour="red")
        with pytest.raises(InvalidEvent, match="categories"):
            engine.patch_item("a", categories="red")


def test_put_user_is_kept_through_a_snapshot(tmp_path: Path) -> None:
    with Engine.open(tmp_path) as engine:
        engine.put_user("ann", labels={"country": "fi", "tags": ["a", "b"]}, comment="x")
        with pytest.raises(InvalidEvent, match="labels"):
            engine.put_user("ann", labels=["fi"])  # type: ignore[arg-type]
        digest = engine.digest()
        engine.snapshot()
        puts = [e for e in events_of(engine) if isinstance(e, UserPut)]
        assert [put.labels for put in puts] == [{"country": "fi", "tags": ["a", "b"]}]
    with Engine.open(tmp_path) as engine:
        assert engine.digest() == digest
        assert engine.status()["recovered_from_snapshot"] == engine.position
        assert engine.verify().equal


def events_of(engine: Engine) -> list[object]:
    from headwater.events.frame import decode_frame

    return [event for batch in engine.log.read() for frame in batch.frames for event in decode_frame(frame)[1]]


WRONG: list[tuple[dict[str, object], str]] = [
    ({"user": ""}, "user"),
    ({"user": "x" * 10_000}, "user"),
    ({"user": "a\0b"}, "user"),
    ({"user": "\ud800"}, "user"),
    ({"user": None}, "user"),
    ({"user": b"ann"}, "user"),
    ({"user": True}, "user"),
    ({"item": ""}, "item"),
    ({"item": "line\nbreak"}, "item"),
    ({"item": 1.5}, "item"),
    ({"type": ""}, "type"),
    ({"type": "x" * 65}, "type"),
    ({"type": 3}, "type"),
    ({"ts": -1}, "ts"),
    ({"ts": 1 << 60}, "ts"),
    ({"ts": 1.5}, "ts"),
    ({"ts": "2024-01-01"}, "ts"),
    ({"value": float("nan")}, "value"),
    ({"value": float("-inf")}, "value"),
    ({"value": "four"}, "value"),
    ({"event_id": ""}, "event_id"),
    ({"event_id": 5}, "event_id"),
    ({"session": "x" * 513}, "session"),
    ({"basket": "\x7f"}, "basket"),
    ({"slot": -1}, "slot"),
    ({"slot": "0"}, "slot"),
    ({"slate": 3}, "slate"),
    ({"context": {"a": "x" * 5000}}, "context"),
    ({"context": {"a": object()}}, "context"),
    ({"context": {"a": [1]}}, "context"),
    ({"context": "mobile"}, "context"),
]


@pytest.mark.parametrize(("wrong", "field"), WRONG)
def test_track_names_the_value_and_the_rule_and_writes_nothing(wrong: dict[str, object], field: str) -> None:
    arguments: dict[str, object] = {"type": "view", "user": "ann", "item": "a", "ts": START} | wrong
    kind = arguments.pop("type")
    with Engine.open(":memory:") as engine:
        before = engine.position
        with pytest.raises(InvalidEvent) as caught:
            engine.track(kind, **arguments)  # type: ignore[arg-type]
        assert caught.value.details["field"] == field
        assert caught.value.details["rule"]
        assert str(caught.value).startswith(field)
        assert len(str(caught.value)) < 400
        assert engine.position == before


def test_track_many_refuses_what_is_no_event() -> None:
    with Engine.open(":memory:") as engine:
        for wrong in ({"type": "view"}, "view", None):
            with pytest.raises(InvalidEvent, match="events"):
                engine.track_many([wrong])  # type: ignore[list-item]
        with pytest.raises(InvalidEvent, match="value"):
            engine.track_many([Feedback(type="view", user="a", item="a", ts=START, value="x")])  # type: ignore[arg-type]
        engine.track_many([ItemPatch(item="a", ts=START, is_hidden=True)])  # type: ignore[list-item]


def test_a_repeated_event_id_is_acknowledged_and_without_effect() -> None:
    with Engine.open(":memory:") as engine:
        engine.track("view", user="ann", item="a", ts=START, event_id="e1")
        position = engine.track("view", user="ann", item="a", ts=START, event_id="e1")
        assert engine.session_of("ann", now=START, after=position).state.events == 1
        assert engine.status()["outcomes"]["repeat-event"] == 1
