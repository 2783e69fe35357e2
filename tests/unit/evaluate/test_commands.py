"""`headwater evaluate` and `tune` as a person calls them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from headwater.cli import main
from headwater.simulate import simulate_shop


def called(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    train = [[f"i{(start + step) % 30}" for step in range(4)] for start in range(60)]
    pl.DataFrame({"items": train}).write_parquet(tmp_path / "train_sessions.parquet")
    pl.DataFrame({"items": train[:10]}).write_parquet(tmp_path / "test_sessions.parquet")
    return tmp_path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    simulate_shop(seed=1, events=1000).events.head(300).write_parquet(tmp_path / "events.parquet")
    return tmp_path


def test_one_source_prints_its_figures_at_the_top(sessions: Path) -> None:
    done = called(
        *("evaluate", "--format", "sessions", "--path", str(sessions), "--protocol", "session-next-item"),
        *("--source", "session-knn", "--k", "20", "--json"),
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert {"hr@20", "mrr@20", "ndcg@20", "evaluations", "skipped", "query_us"} <= told.keys()
    assert told["query_us"].keys() == {"p50", "p90", "p99"}
    assert told["evaluations"] == 30
    assert told["hr@20"] > 0.9


def test_a_split_and_a_log_print_the_same_keys(log: Path) -> None:
    train = pl.read_parquet(log / "events.parquet").select("user", "item").unique(maintain_order=True)
    train.head(100).write_csv(log / "train.csv")
    train.tail(30).join(train.head(100), on=["user", "item"], how="anti").write_csv(log / "test.csv")
    for arguments in (("--format", "split", "--k", "5"), ("--format", "events", "--k", "5", "--profile", "shop")):
        done = called("evaluate", *arguments, "--path", str(log), "--json")
        assert done.exit_code == 0, done.output
        told = json.loads(done.stdout)
        assert {"hr@5", "mrr@5", "ndcg@5", "evaluations", "skipped", "query_us"} <= told.keys()


def test_a_replay_writes_a_page_of_its_own(log: Path) -> None:
    page = log / "report.html"
    done = called(
        *("evaluate", "--format", "events", "--path", str(log), "--k", "5", "--html", str(page)),
        *("--source", "fused", "--source", "popular", "--source", "last-items"),
    )
    assert done.exit_code == 0, done.output
    assert "fused minus" in done.stdout
    text = page.read_text()
    for heading in ("Overall", "Differences", "Over time", "By target", "By item&#x27;s popularity", "How"):
        assert f"<h2>{heading}</h2>" in text
    assert text.count("<svg") >= 7
    assert not re.search(r"<script|src=", text)


def test_figures_of_a_protocol_on_a_page(sessions: Path) -> None:
    page = sessions / "report.html"
    done = called("evaluate", "--format", "sessions", "--path", str(sessions), "--k", "5", "--html", str(page))
    assert done.exit_code == 0, done.output
    assert "accuracy by source" in page.read_text()
    assert "fused" in done.stdout


def test_two_files_are_compared(log: Path) -> None:
    for name, sources in (("a", "{ popular = 1.0 }"), ("b", "{ trending = 1.0 }")):
        (log / f"{name}.toml").write_text(f"[query]\nsources = {sources}\n")
    done = called(
        *("evaluate", "--format", "events", "--path", str(log), "--k", "5", "--json"),
        *("--compare", str(log / "a.toml"), str(log / "b.toml")),
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert list(told["report"]["overall"]) == ["a", "b"]
    assert told["report"]["differences"]["b"]["hr"].keys() == {"mean", "low", "high", "verdict"}


def test_two_files_of_one_name_are_told_apart_by_their_folders(log: Path) -> None:
    files = [log / folder / "headwater.toml" for folder in ("ours", "theirs")]
    for file, sources in zip(files, ("{ popular = 1.0 }", "{ trending = 1.0 }"), strict=True):
        file.parent.mkdir()
        file.write_text(f"[query]\nsources = {sources}\n")
    data = ("--format", "events", "--path", str(log), "--k", "5", "--json")
    done = called("evaluate", *data, "--compare", *map(str, files))
    assert done.exit_code == 0, done.output
    assert list(json.loads(done.stdout)["report"]["overall"]) == list(map(str, files))


def test_files_that_disagree_on_what_is_a_target_are_not_compared(log: Path) -> None:
    files = [log / "a.toml", log / "b.toml"]
    for file, types in zip(files, ('["dislike"]', '["dislike", "view"]'), strict=True):
        file.write_text(f"[generation]\nnegative = {types}\n")
    data = ("--format", "events", "--path", str(log), "--k", "5")
    done = called("evaluate", *data, "--compare", *map(str, files))
    assert done.exit_code == 2
    assert "differ in which events are no targets (a: none; b: view)" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--format", "sessions", "--k", "1000"), "the catalogue has 30 items"),
        (("--format", "sessions", "--source", "luck"), "source 'luck'; allowed: fused, last-items"),
        (("--format", "sessions", "--part", "valid"), "holds none of valid_prefixes"),
        (("--format", "sessions", "--protocol", "prequential"), "goes with --protocol session-next-item"),
        (
            (
                "--format",
                "split",
            ),
            "neither train and test",
        ),
        (
            (
                "--format",
                "events",
            ),
            "no events",
        ),
        (("--format", "sessions", "--html", "report.pdf"), "names ending in .html"),
        (("--format", "sessions", "--only-new"), "--only-new goes with --format events --protocol prequential"),
        (("--format", "events", "--protocol", "leave-one-out", "--sample", "0.5"), "--sample goes with"),
        (("--format", "split", "--until", "0.5"), "--until goes with"),
        (("--format", "split", "--part", "test"), "--part goes with --format sessions"),
        # Said before there is work: the folder holds no log either.
        (("--format", "events", "--html", "report.pdf"), "names ending in .html"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_line(sessions: Path, arguments: tuple[str, ...], message: str) -> None:
    done = called("evaluate", "--path", str(sessions), *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ("sessions", ("--only-new",), "--only-new goes with --format events"),
        ("sessions", ("--until", "0.2"), "--until goes with --format events"),
        ("events", ("--part", "valid"), "--part goes with --format sessions"),
    ],
)
def test_a_search_refuses_options_of_other_formats(
    sessions: Path, shape: str, arguments: tuple[str, ...], message: str
) -> None:
    space = sessions / "space.toml"
    space.write_text('[tune.space]\n"query.knn_step" = { low = 0.1, high = 0.9 }\n')
    data = ("--format", shape, "--path", str(sessions), "--space", str(space), *arguments)
    done = called("tune", *data, "--study", str(sessions / "study.sqlite3"))
    assert done.exit_code == 2
    assert message in done.stderr


def test_tune_writes_what_it_found(sessions: Path) -> None:
    space = sessions / "space.toml"
    query = "[query]\nsources = { session-knn = 1.0 }\nknn_own = 1.0\n"
    space.write_text(f'{query}[tune.space]\n"query.knn_step" = {{ low = 0.1, high = 0.9 }}\n')
    best = sessions / "best.toml"
    done = called(
        *("tune", "--format", "sessions", "--path", str(sessions), "--space", str(space), "--k", "5", "--trials", "2"),
        *("--study", str(sessions / "study.sqlite3"), "--out", str(best), "--json"),
    )
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["trials"] == 2
    data = ("--format", "sessions", "--path", str(sessions))
    again = called("evaluate", *data, "--config", str(best), "--k", "5", "--json")
    assert again.exit_code == 0, again.output
