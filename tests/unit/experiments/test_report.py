"""The report of whole logs: what is counted where, planted effects, broken deals, experiments without anyone."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater import Engine
from headwater.bench.experiment_log import ExperimentLog, World, experiment_log
from headwater.cli import main
from headwater.config import config_from_table
from headwater.errors import InvalidInput
from headwater.events.frame import FrameWriter, decode_frame
from headwater.events.memory_log import MemoryLog
from headwater.events.types import Feedback, SlateServed
from headwater.experiments.report import Report, report
from headwater.experiments.report_html import report_page
from headwater.experiments.settings import settings_for

START, DAY = 1_764_547_200_000, 86_400_000
VARIANTS = {"a": {"share": 0.5}, "b": {"share": 0.5, "query": {"diversity": 0.5}}}


@pytest.fixture(scope="module")
def lifted() -> ExperimentLog:
    return experiment_log(World(slates=6000, users=2500, lift=1.5, n=4, orders=1.0), seed=3)


@pytest.fixture(scope="module")
def lifted_report(lifted: ExperimentLog) -> Report:
    return reported(lifted)


def reported(made: ExperimentLog, **changes: Any) -> Report:
    settings = settings_for(made.config.generation, resamples=200, **changes)
    return report(made.log, made.config, settings)


def test_totals_are_those_of_the_log(lifted: ExperimentLog, lifted_report: Report) -> None:
    found = lifted_report
    events = [event for batch in lifted.log.read() for frame in batch.frames for event in decode_frame(frame)[1]]
    slates = [event for event in events if isinstance(event, SlateServed)]
    clicks = {event.slate for event in events if isinstance(event, Feedback) and event.type == "click"}
    for dimension in ("all", "scenario"):
        groups = [group for group in found.groups if group.dimension == dimension]
        assert sum(group.exposures for group in groups) == len(slates)
        assert sum(group.clicked for group in groups) == len(clicks)
        for group in groups:
            own = [s for s in slates if s.variant == group.variant]
            if dimension == "scenario":
                own = [s for s in own if s.request.get("scenario", "(default)") == group.name]
            assert (group.exposures, group.users) == (len(own), len({s.user for s in own}))
            assert group.clicked == sum(s.slate in clicks for s in own)
            assert group.ctr.value == pytest.approx(group.clicked / group.exposures)
            assert group.ctr.low is not None
            assert group.ctr.high is not None
            assert group.ctr.low < group.clicked / group.exposures < group.ctr.high
    by_source = [group for group in found.groups if group.dimension == "source"]
    assert sum(group.exposures for group in by_source) == 4 * len(slates)
    assert sum(group.clicked for group in by_source) == len(clicks)
    whole = [group for group in found.groups if group.dimension == "all"]
    assert sum(group.revenue for group in by_source) == pytest.approx(sum(group.revenue for group in whole))
    assert sum(group.orders for group in whole) > 20
    assert found.set_aside == {}


def test_a_planted_lift_is_found(lifted_report: Report) -> None:
    [experiment] = lifted_report.experiments
    assert (experiment.name, experiment.baseline, experiment.mismatched) == ("ranking", "control", False)
    assert sum(arm.users for arm in experiment.arms) == sum(arm.expected for arm in experiment.arms)
    found = {comparison.metric: comparison for comparison in experiment.comparisons}
    revenue = found["revenue_per_user"]
    assert revenue.lift is not None
    assert revenue.p_holm is not None
    assert revenue.lift_low is not None
    assert revenue.p_holm < 0.01
    assert 0.0 < revenue.lift_low < revenue.lift
    assert revenue.always_valid_p is not None
    assert revenue.always_valid_p < 0.05
    assert revenue.cuped_variance_reduction is not None
    assert revenue.cuped_variance_reduction > 0.1
    # What treatment left alone is not found: clicks come alike.
    assert found["ctr"].p_holm is not None
    assert found["ctr"].p_holm > 0.2
    days = [sum(day.slates) for day in experiment.days]
    assert (len(days), sum(days)) == (28, 6000)


def test_reports_say_the_same_twice(lifted: ExperimentLog, lifted_report: Report) -> None:
    assert reported(lifted).to_dict() == lifted_report.to_dict()


def test_a_broken_deal_is_said_loudly(lifted: ExperimentLog) -> None:
    """A quarter of the users of one variant loses its records."""
    log, writer = MemoryLog(), FrameWriter("filtered", 1)
    for batch in lifted.log.read():
        for frame in batch.frames:
            header, events = decode_frame(frame)
            kept = [event for event in events if not lost(event)]
            if kept:
                log.append(list(writer.pack(header.subject, kept, header.appended)))
    [experiment] = report(log, lifted.config, settings_for(lifted.config.generation, resamples=100)).experiments
    assert experiment.mismatched
    assert experiment.mismatch_p is not None
    assert experiment.mismatch_p < 1e-4
    assert any(note.startswith("SAMPLE RATIO MISMATCH") for note in experiment.notes)


def lost(event: object) -> bool:
    return isinstance(event, SlateServed) and event.variant == "ranking/wide" and hash_of(event.user) % 4 == 0


def hash_of(user: str) -> int:
    return int(user.removeprefix("user-"))


def test_segments_merges_and_shares_that_changed() -> None:
    generation = {"segments": {"label": "tier", "values": ["vip", "new"]}}

    def config(salt: str) -> Any:
        experiments = {"x": {"variants": VARIANTS, "salt": salt}}
        return config_from_table({"generation": generation, "experiments": experiments})

    engine = Engine.open(":memory:", config=config("one"), clock="log")
    with engine:
        for item in range(5):
            engine.put_item(f"i{item}")
        for user in range(40):
            engine.put_user(f"u{user}", labels={"tier": ("vip", "new", "old")[user % 3]})
            engine.recommend(f"u{user}", 3, now=START + user)
        engine.track("view", user="u0", item="i1", ts=START + 3 * DAY)
        engine.flush()
        found = report(engine.log, engine.config, settings_for(engine.config.generation, resamples=100))
    segments = {(group.name, group.variant): group.exposures for group in found.groups if group.dimension == "segment"}
    assert {name for name, _ in segments} == {"vip", "new", "(none)"}
    assert sum(segments.values()) == 40
    assert sum(count for (name, _), count in segments.items() if name == "vip") == 14
    [experiment] = found.experiments
    assert "always-valid figures begin when 100 users" in " ".join(experiment.notes)
    assert all(comparison.always_valid_p is None for comparison in experiment.comparisons)


def test_users_of_two_variants_are_left_out(tmp_path: Path) -> None:
    for salt in ("one", "two"):
        experiments = {"x": {"variants": VARIANTS, "salt": salt}}
        with Engine.open(tmp_path / "shop", config=config_from_table({"experiments": experiments})) as engine:
            engine.put_item("i1")
            for user in range(60):
                engine.recommend(f"u{user}", 1)
            engine.flush()
            found = report(engine.log, engine.config, settings_for(engine.config.generation, resamples=100))
    [experiment] = found.experiments
    assert 15 < experiment.mixed_users < 45
    assert experiment.mixed_users + sum(arm.users for arm in experiment.arms) == 60
    assert f"{experiment.mixed_users} users saw more than one variant" in " ".join(experiment.notes)


def test_an_experiment_without_traffic_and_a_log_without_slates(tmp_path: Path) -> None:
    experiments = {"later": {"variants": VARIANTS, "start": START * 2}}
    with Engine.open(tmp_path / "shop", config=config_from_table({"experiments": experiments})) as engine:
        settings = settings_for(engine.config.generation)
        empty = report(engine.log, engine.config, settings)
        assert (empty.slates, empty.groups) == (0, [])
        assert "the log holds no slates in this stretch" in empty.notes
        engine.put_item("i1")
        engine.recommend("ann", 1)
        engine.flush()
        found = report(engine.log, engine.config, settings)
    [experiment] = found.experiments
    assert experiment.notes == [
        "no traffic: no slate in the log is of this experiment (it has not begun by the log's time)"
    ]
    assert [(arm.variant, arm.users, arm.slates) for arm in experiment.arms] == [("a", 0, 0), ("b", 0, 0)]
    assert experiment.comparisons == []
    assert [group.variant for group in found.groups if group.dimension == "all"] == ["(none)"]
    assert "no traffic" in report_page(found)
    unknown = pytest.raises(InvalidInput, match="experiment = 'y': the log knows no such experiment; allowed: later")
    with closing(engine_log(tmp_path)) as log, unknown:
        report(log, found_config(tmp_path), settings, experiment="y")


def engine_log(tmp_path: Path) -> Any:
    from headwater.core import generation_of
    from headwater.events.sqlite_log import SqliteLog

    config = found_config(tmp_path)
    return SqliteLog(tmp_path / "shop", generation_of(config.generation), read_only=True)


def found_config(tmp_path: Path) -> Any:
    from headwater.store import directory_config

    return directory_config(tmp_path / "shop")


def test_the_page_holds_the_figures_and_loads_nothing(lifted_report: Report) -> None:
    text = report_page(lifted_report)
    for said in ("Experiment ranking", "always-valid p-value", "slates served so far", "lift against control"):
        assert said in text
    assert text.count("<svg") == 4
    assert "<script" not in text
    assert "src=" not in text


def test_the_command(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    experiments = {"x": {"variants": VARIANTS}}
    with Engine.open(shop, config=config_from_table({"experiments": experiments})) as engine:
        engine.put_item("i1")
        slate = engine.recommend("ann", 1)
        engine.track("purchase", user="ann", item="i1", slate=slate.id, value=5.0)
        engine.recommend("bob", 1)
        engine.flush()
    run = CliRunner().invoke
    done = run(main, ["report", str(shop), "--json", "--html", str(tmp_path / "r.html"), "--resamples", "100"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert told["slates"] == 2
    assert sum(group["revenue"] for group in told["groups"] if group["dimension"] == "all") == 5.0
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert "experiment x" in run(main, ["report", str(shop), "--resamples", "100"]).output
    for wrong, said in (
        (["--experiment", "y"], "the log knows no such experiment; allowed: x"),
        (["--baseline", "c"], "baseline = 'c'; allowed: a, b"),
        (["--html", "r.pdf"], "names ending in .html"),
        (["--window", "long"], "a number with m, h or d"),
        (["--confidence", "2"], "0.5 to 0.9999"),
        (["--conversions", "a b"], "event types"),
        (["--since", "5", "--until", "2"], "allowed: 5 or more"),
    ):
        done = run(main, ["report", str(shop), *wrong])
        assert done.exit_code == 2, (wrong, done.output)
        assert said in done.output
