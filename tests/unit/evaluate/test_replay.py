"""Prequential replay: predicted before folded, by the state that an engine had then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from headwater import Engine
from headwater.errors import InvalidInput
from headwater.evaluate import run
from headwater.evaluate.configured import shipped
from headwater.evaluate.contender import Contender
from headwater.evaluate.events import EventLog, load_events
from headwater.evaluate.past import Past
from headwater.evaluate.replay import Observer, Plan, Target, groups_of, replay
from headwater.events.types import ItemPut
from headwater.simulate import simulate_shop

SILENT = lambda done, total: None  # noqa: E731
START = 1_600_000_000_000


def log_of(
    rows: list[tuple[str, str, str, int]], facts: dict[str, ItemPut] | None = None, **more: list[Any]
) -> EventLog:
    """(type, user, item, minutes)."""
    events = pl.DataFrame(rows, schema=["type", "user", "item", "ts"], orient="row")
    columns = {name: pl.Series(values) for name, values in more.items()}
    events = events.with_columns(START + pl.col("ts").cast(pl.Int64) * 60_000, **columns)
    return EventLog("shop", events, facts or {}, [])


class Kept(Observer):
    """Keeps everything."""

    def __init__(self) -> None:
        self.targets: list[Target] = []
        self.lists: list[list[list[str]]] = []

    def observe(self, past: Past, targets: list[Target], lists: list[list[str]], micros: list[float | None]) -> None:
        self.targets += targets
        self.lists.append(lists)


def replayed(log: EventLog, *sources: str, **plan: Any) -> Kept:
    _, entrants = run.entrants_of(shipped("shop"), sources)
    kept = Kept()
    replay(log, entrants, Plan(**{"k": 3, **plan}), kept, SILENT)
    return kept


def test_every_list_is_the_one_that_an_engine_gave_then() -> None:
    """The whole point: track, and ask before each event, through the public engine."""
    events = simulate_shop(seed=3, events=1000).events.head(400)
    log = EventLog("shop", events, {}, [])
    config, entrants = run.entrants_of(shipped("shop"), ("fused", "session-knn", "last-items"))
    kept = Kept()
    replay(log, entrants, Plan(5), kept, SILENT)
    lists = iter(kept.lists)
    with Engine.open(":memory:", config=config, clock="log") as engine:
        silent = dict.fromkeys(config.query.sources, 0.0) | {"session-knn": 1.0}
        for group in groups_of(events):
            user, columns = group.user, group.columns
            if any(target.group == group.number for target in kept.targets):
                fused, knn, _ = next(lists)
                assert [slot.item for slot in engine.recommend(user, 5, record=False)] == fused
                asked = engine.recommend(user, 5, sources=silent, record=False)
                assert [slot.item for slot in asked if slot.source != "catalogue"] == knn
            part = pl.DataFrame({name: value for name, value in columns._asdict().items() if value is not None})
            engine.ingest(part, progress=False)
    assert next(lists, None) is None


def test_nothing_is_known_before_it_happened() -> None:
    log = log_of([("view", "a", "x", 0), ("view", "a", "y", 1), ("view", "b", "x", 2)])
    kept = replayed(log, "fused", "last-items")
    assert [(t.cold, t.repeat, t.popularity) for t in kept.targets] == [
        (True, False, "cold"),
        (True, False, "cold"),
        (False, False, "tail"),
    ]
    assert kept.lists[0] == [[], []]
    assert [last for _, last in kept.lists] == [[], ["x"], []]
    for target, lists in zip(kept.targets, kept.lists, strict=True):
        if target.cold:
            assert all(target.item not in shown for shown in lists)


def test_events_of_one_moment_are_predicted_before_any_of_them_is_folded() -> None:
    kept = replayed(log_of([("view", "a", "x", 0), ("view", "a", "y", 0), ("cart", "a", "x", 0)]), "last-items")
    assert [t.group for t in kept.targets] == [0, 0, 0]
    assert not any(t.repeat for t in kept.targets)
    assert kept.lists == [[[]]]


def test_a_basket_is_predicted_whole_whatever_its_times() -> None:
    rows = [("purchase", "a", "x", 0), ("view", "b", "z", 1), ("purchase", "a", "y", 5), ("purchase", "a", "z", 6)]
    kept = replayed(log_of(rows, basket=["k1", None, "k1", "k2"]), "last-items")
    assert [(t.item, t.group) for t in kept.targets] == [("x", 0), ("y", 0), ("z", 1), ("z", 2)]
    assert kept.lists[-1] == [["y", "x"]]


def test_rejections_are_folded_and_no_targets() -> None:
    kept = replayed(log_of([("view", "a", "x", 0), ("dislike", "a", "y", 1), ("impression", "a", "z", 2)]), "popular")
    assert [t.item for t in kept.targets] == ["x"]


def test_only_what_is_new_to_the_user() -> None:
    rows = [("view", "a", "x", 0), ("view", "a", "y", 10), ("view", "a", "x", 20), ("view", "a", "z", 30)]
    kept = replayed(log_of(rows), "popular", only_new=True)
    assert [t.item for t in kept.targets] == ["x", "y", "z"]
    assert not any("x" in shown for [shown] in kept.lists[1:])


def test_facts_reach_the_catalogue_with_the_items_first_event() -> None:
    facts = {item: ItemPut(item=item, ts=0, categories=["c"]) for item in ("x", "y")}
    log = log_of([("view", "a", "x", 0), ("view", "b", "z", 10), ("view", "a", "y", 20), ("view", "b", "z", 30)], facts)
    kept = replayed(log, "fused")
    assert all("y" not in shown for [shown] in kept.lists[:3])
    assert "y" in kept.lists[3][0]


def test_a_sample_predicts_some_users_by_the_state_of_all(tmp_path: Path) -> None:
    events = simulate_shop(seed=5, events=1000).events.head(600)
    log = EventLog("shop", events, {}, [])
    whole, part = replayed(log, "popular"), replayed(log, "popular", sample=0.3, seed=2)
    users = {t.user for t in part.targets}
    assert 0 < len(users) < len({t.user for t in whole.targets})
    expected = [t for t in whole.targets if t.user in users]
    assert part.targets == expected


def test_figures_are_the_same_each_time_and_pair_up() -> None:
    events = simulate_shop(seed=6, events=1000).events.head(500)
    log = EventLog("shop", events, {}, [])
    first, again = (
        run.replay_log(log, [shipped("shop")], ("fused", "last-items", "popular"), Plan(5), SILENT) for _ in range(2)
    )
    for result in (first, again):
        for row in result.report.overall.values():
            row.pop("query_us")
    assert first.report == again.report
    report = first.report
    assert report.targets == sum(segment.targets for segment in report.segments["target"].values())
    assert sum(period.targets for period in report.over_time) == report.targets
    hr = {name: figures["hr"] for name, figures in report.overall.items()}
    assert report.differences["popular"]["hr"]["mean"] == pytest.approx(hr["fused"] - hr["popular"])
    assert report.segments["repeat or new"]["new to user"].figures["last-items"]["hr"] == 0.0


def test_two_configurations_are_compared_target_by_target() -> None:
    events = simulate_shop(seed=6, events=1000).events.head(400)
    log = EventLog("shop", events, {}, [])
    ours = shipped("shop")
    plain = msgspec.structs.replace(ours.config.query, sources={"popular": 1.0})
    theirs = ours._replace(name="popular", config=msgspec.structs.replace(ours.config, query=plain))
    result = run.replay_log(log, [ours, theirs, ours._replace(name="same")], ("fused",), Plan(5), SILENT)
    assert result.contenders == ["shop", "popular", "same"]
    difference = result.report.differences["same"]["hr"]
    assert (difference["mean"], difference["low"], difference["high"]) == (0.0, 0.0, 0.0)
    assert difference["verdict"] == "not told apart"
    assert result.report.differences["popular"]["hr"]["mean"] != 0.0


def test_logs_of_their_own_are_sorted_and_say_so(tmp_path: Path) -> None:
    rows = [("a", "x", 20), ("a", "y", 10), ("a", "y", 10)]
    pl.DataFrame(rows, schema=["user", "item", "ts"], orient="row").write_csv(tmp_path / "events.csv")
    log = load_events(tmp_path)
    assert log.events["item"].to_list() == ["y", "y", "x"]
    assert [note.partition(": ")[2][:6] for note in log.notes] == ["1 rows", "1 rows"]
    assert load_events(tmp_path / "events.csv").events.equals(log.events)


def test_bad_logs_and_plans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no events"):
        load_events(tmp_path)
    pl.DataFrame({"user": ["a"]}).write_csv(tmp_path / "events.csv")
    with pytest.raises(InvalidInput, match="no column item"):
        load_events(tmp_path)
    log = log_of([("view", "a", "x", 0), ("view", "a", "y", 1)])
    with pytest.raises(InvalidInput, match="k = 5; allowed: 1 to 2"):
        run.replay_log(log, [shipped("shop")], ("fused",), Plan(5), SILENT)
    with pytest.raises(InvalidInput, match="nothing to predict"):
        run.replay_log(log, [shipped("shop")], ("fused",), Plan(1, start=1.0), SILENT)
    with pytest.raises(InvalidInput, match="the fold refuses"):
        replayed(log_of([("view", "a", "x", 0), ("v" * 300, "a", "y", 1)]), "popular", k=1)


def test_contenders_ask_what_they_say() -> None:
    config = shipped("shop").config
    assert Contender("", config, "fused").overrides() == {}
    alone = Contender("", config, "popular").overrides()
    assert alone["popular"] == 1.0
    assert sum(alone.values()) == 1.0
