"""Explanations: the events that they name are in the log, and without those events the reason is gone."""

from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from headwater import Config, Engine, Slate, default_config
from headwater.events.frame import decode_frame
from headwater.events.types import ConfigActivated, Feedback
from headwater.export import export_events
from headwater.simulate import simulate_shop


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("explain") / "shop"
    simulation = simulate_shop(seed=5, events=8000)
    with Engine.open(directory, clock="log") as engine:
        engine.put_items(simulation.items)
        engine.ingest(simulation.events, progress=False)
        engine.snapshot()
        for n, item in enumerate(engine.trending(n=3).item_ids):
            engine.track("view", user="visitor", item=item, ts=engine.now() + n * 60_000)
    export_events(directory, directory.parent / "events.jsonl")
    return directory


def logged(engine: Engine) -> dict[str, Feedback]:
    found = {}
    for batch in engine.log.read():
        for position, frame in zip(batch.positions, batch.frames, strict=True):
            for index, event in enumerate(decode_frame(frame)[1]):
                if isinstance(event, Feedback):
                    found[f"{position}:{index}"] = event
    return found


def asked(engine: Engine, user: str) -> Slate:
    return engine.recommend(user, 10, record=False)


def reasons_of(slate: Slate) -> set[tuple[Any, ...]]:
    """(item, source, seed, type, time) of each reason that names an event."""
    return {
        (r.item, reason.source, reason.seed, reason.event.type, reason.event.ts)
        for r in slate
        for reason in r.reasons
        if reason.event is not None
    }


def visitors(engine: Engine) -> list[str]:
    users = sorted({event.user for event in logged(engine).values()})
    return ["visitor", *users[:: len(users) // 6]]


def test_reasons_name_the_visitors_own_events_as_the_log_holds_them(place: Path) -> None:
    with Engine.open(place, read_only=True, clock="log") as engine:
        events = logged(engine)
        named = 0
        for user in visitors(engine):
            slate = asked(engine, user)
            for item in slate:
                explanation = engine.explain(slate, item.item)
                assert explanation.slot == slate.item_ids.index(item.item)
                assert explanation.reasons == item.reasons
                for told in explanation.events:
                    event = events[told["id"]]
                    assert event.user == told["user"] == user
                    assert (told["type"], told["item"], told["ts"]) == (event.type, event.item, event.ts)
                    assert told["item"] in {reason.seed for reason in item.reasons}
                    named += 1
                assert item.item in explanation.text
        assert named > 50


def test_without_the_named_events_the_reason_is_gone(place: Path) -> None:
    """The log is copied but for the events of one visitor that a slate names; that visitor is asked again."""
    exported = place.parent / "events.jsonl"
    source = pl.read_ndjson(exported, infer_schema_length=None)
    with Engine.open(place, read_only=True, clock="log") as engine:
        now = engine.now()
        slates = {user: asked(engine, user) for user in visitors(engine)}
    feedback = source.filter(pl.col("kind") == "Feedback").select("id", "type", "user", "item", "ts", "basket")
    for user, slate in slates.items():
        before = reasons_of(slate)
        ids = {reason.event.id for r in slate for reason in r.reasons if reason.event is not None}
        assert ids
        copies = {"whole": feedback, "without": feedback.filter(~pl.col("id").is_in(sorted(ids)))}
        assert len(copies["without"]) == len(feedback) - len(ids)
        for name, table in copies.items():
            with Engine.open(":memory:", clock="log") as copy:
                copy.ingest(exported, kind="items", progress=False)
                copy.ingest(table.drop("id"), progress=False)
                after = reasons_of(copy.recommend(user, 10, now=now, record=False))
            if name == "whole":
                assert after == before, "the copy itself explains as the original does"
            else:
                assert not after & before


def test_an_item_outside_the_slate_is_explained_by_the_rules(place: Path) -> None:
    with Engine.open(place, read_only=True, clock="log") as engine:
        slate = asked(engine, "visitor")
        explanation = engine.explain(slate, "nothing of the kind")
        assert (explanation.slot, explanation.reasons, explanation.events) == (None, [], [])
        assert "is not in slate" in explanation.text
        assert "no event or put ever named" in explanation.text


def test_a_recorded_slate_is_explained_after_a_restart(tmp_path: Path) -> None:
    simulation = simulate_shop(seed=5, events=2000)
    with Engine.open(tmp_path, clock="log") as engine:
        engine.put_items(simulation.items)
        engine.ingest(simulation.events, progress=False)
        engine.track("view", user="visitor", item=engine.trending(n=1).item_ids[0], ts=engine.now())
        engine.snapshot()
        slate = engine.recommend("visitor", 5)
        expected = [engine.explain(slate, item) for item in slate.item_ids]
        for n, item in enumerate(slate.item_ids):
            engine.track("purchase", user="visitor", item=item, ts=engine.now() + n * 60_000)
    with Engine.open(tmp_path, clock="log") as engine:
        assert [engine.explain(slate.id, item) for item in slate.item_ids] == expected
        assert engine.recommend("visitor", 5).item_ids != slate.item_ids


def test_forgetting_forgets_the_remembered_slates(tmp_path: Path) -> None:
    with Engine.open(tmp_path) as engine:
        engine.track("view", user="ann", item="a")
        slate = engine.recommend("ann", record=False)
        engine.forget("ann")
        with pytest.raises(ValueError, match=slate.id):
            engine.explain(slate.id, "a")


def test_a_demotion_is_told(place: Path) -> None:
    with Engine.open(place, read_only=True, clock="log") as engine:
        touched = {t.item for t in engine.session_of("visitor").state.items}
        slate = engine.recommend("visitor", 200, record=False)
        told = {item for item in slate.item_ids if "touched before: score x 0.5" in engine.explain(slate, item).rules}
        assert told == touched & set(slate.item_ids)
        assert told


def with_touched_factor(factor: float) -> Config:
    default = default_config("shop")
    return msgspec.structs.replace(default, query=msgspec.structs.replace(default.query, touched_factor=factor))


def test_a_slate_names_the_rules_that_it_was_made_under(tmp_path: Path) -> None:
    """Not those of the process that explains it, nor those that a reader's configuration proposes."""
    simulation = simulate_shop(seed=5, events=2000)
    with Engine.open(tmp_path, config=with_touched_factor(0.5), clock="log") as engine:
        engine.put_items(simulation.items)
        engine.ingest(simulation.events, progress=False)
        for n, item in enumerate(engine.trending(n=3).item_ids):
            engine.track("view", user="visitor", item=item, ts=engine.now() + n * 60_000)
        first = engine.recommend("visitor", 100)
    with Engine.open(tmp_path, config=with_touched_factor(0.25), clock="log") as engine:
        second = engine.recommend("visitor", 100)
        assert second.config != first.config
        versions = {event.version for event in control_events(engine)}
        assert versions == {first.config, second.config}
    touched = {t for t in first.item_ids if first_score(first, t) < 0.51 * whole_score(first, t)}
    assert touched
    # A reader that proposes a third configuration answers, and explains, under the active one.
    with Engine.open(tmp_path, config=with_touched_factor(0.125), clock="log", read_only=True) as engine:
        asked_now = engine.recommend("visitor", 100)
        assert asked_now.config == second.config
        assert asked_now.items == second.items
        for slate, rule in ((first, "x 0.5"), (second, "x 0.25")):
            told = {item for item in slate.item_ids if any(rule in r for r in engine.explain(slate.id, item).rules)}
            assert told == touched & set(slate.item_ids)
            assert engine.explain(slate.id, slate.item_ids[0]).parts == slate[0].parts
        told = {i for i in asked_now.item_ids if any("x 0.25" in r for r in engine.explain(asked_now, i).rules)}
        assert told == touched & set(asked_now.item_ids)


def control_events(engine: Engine) -> list[ConfigActivated]:
    frames = [frame for batch in engine.log.read() for frame in batch.frames]
    return [event for frame in frames for event in decode_frame(frame)[1] if isinstance(event, ConfigActivated)]


def first_score(slate: Slate, item: str) -> float:
    return slate[slate.item_ids.index(item)].score


def whole_score(slate: Slate, item: str) -> float:
    """The score that the sources alone give."""
    query = default_config("shop").query
    parts = slate[slate.item_ids.index(item)].parts
    return sum(query.sources[part.source] / (query.rrf_k + part.rank) for part in parts)


def test_the_table_of_a_recorded_slate_shows_the_id_that_explain_takes(tmp_path: Path) -> None:
    from rich.console import Console

    with Engine.open(tmp_path) as engine:
        engine.track("view", user="ann", item="a")
        for record in (True, False):
            slate = engine.recommend("ann", record=record)
            assert slate.recorded is slate.to_dict()["recorded"] is record
            out = StringIO()
            Console(file=out, width=200).print(slate)
            shown = f"slate {slate.id}"
            assert [shown in out.getvalue(), shown in slate._repr_html_()] == [record, record]
