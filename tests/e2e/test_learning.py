"""From an engine's directory to an answer, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater import Engine
from headwater.core import generation_of
from headwater.errors import CannotEstimate
from headwater.events.sqlite_log import SqliteLog
from headwater.learning import estimators
from parity.obp_input import target_of
from reference.exploring_shop import CLICK, START, WANTED, true_values, write_visits

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose log holds an exploring shop's slates."""
    place = tmp_path_factory.mktemp("learning") / "shop"
    with Engine.open(place) as engine:
        for item in CLICK["north"]:
            engine.put_item(item)
        generation = engine.config.generation
    log = SqliteLog(place, generation_of(generation))
    write_visits(log, 11, partitions=generation.partitions)
    log.close()
    return place


def headwater(place: Path, *arguments: str | int) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "headwater"), *map(str, arguments)]
    return subprocess.run(command, cwd=place.parent, capture_output=True, text=True, check=False, timeout=120)


def report(place: Path, *arguments: str | int) -> Any:
    done = headwater(place, "export", "shop", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_exported_slates_answer_what_another_policy_would_earn(shop: Path) -> None:
    told = report(shop, "--learning", "slates.parquet", "--rewards", "click=1,purchase=5", "--window", "24h")
    assert (told["slates"], told["slots"], told["statuses"]["open"]) == (480, 1440, 0)
    assert list(told["set_aside"]) == ["repeat-event"]
    table = pl.read_parquet(shop.parent / "slates.parquet")
    estimate = estimators.rips(table, target_of(table))
    assert estimate.low <= true_values(WANTED).slate <= estimate.high
    beside = json.loads((shop.parent / "slates.schema.json").read_text())
    assert beside["rewards"]["negative"] == ["dislike", "hide", "return"], "the configuration's"


def test_the_engine_opens_what_was_written_and_its_own_slates_are_deterministic(shop: Path, tmp_path: Path) -> None:
    import shutil

    place = tmp_path / "shop"
    shutil.copytree(shop, place)
    with Engine.open(place, clock="log") as engine:
        start = engine.position + 1
        for user in ("north-1", "south-2"):
            slate = engine.recommend(user, n=3)
            engine.track("click", user=user, item=slate[0].item, slate=slate.id, slot=0)
        engine.flush()
    told = report(place, "--learning", "own.parquet", "--since", start)
    assert (told["slates"], told["statuses"]["rewarded"]) == (2, 2)
    table = pl.read_parquet(tmp_path / "own.parquet").with_columns(closed=pl.lit(True))
    with pytest.raises(CannotEstimate, match="exploration was 0"):
        estimators.ips(table, table["propensity"], outcomes="served")


def test_a_range_and_default_rewards(shop: Path) -> None:
    told = report(shop, "--learning", "early.parquet", "--until", 200)
    assert told["last_position"] == 200
    table = pl.read_parquet(shop.parent / "early.parquet")
    assert table["position"].max() <= 200  # type: ignore[operator]
    assert set(table["reward"]) == {0.0, 1.0}
    assert set(table["ts"] >= START) == {True}
    summed = report(shop, "--learning", "sum.parquet", "--combine", "sum", "--rewards", "click=1,purchase=5")
    assert (
        summed["statuses"] == report(shop, "--learning", "max.parquet", "--rewards", "click=1,purchase=5")["statuses"]
    )
    assert pl.read_parquet(shop.parent / "sum.parquet")["reward"].max() == 6


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either FILE for events or --learning"),
        (["events.jsonl", "--learning", "x.parquet"], "either FILE for events or --learning"),
        (["events.jsonl", "--rewards", "click=1"], "--rewards: only with --learning"),
        (["--learning", "x.csv"], ".parquet"),
        (["--learning", "x.parquet", "--rewards", "click"], "TYPE=NUMBER"),
        (["--learning", "x.parquet", "--rewards", "click=0"], "a finite number > 0"),
        (["--learning", "x.parquet", "--window", "1w"], "90m, 24h, 7d"),
        (["--learning", "x.parquet", "--since", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(shop: Path, arguments: list[str], said: str) -> None:
    done = headwater(shop, "export", "shop", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert said in done.stderr
    assert not (shop.parent / "x.parquet").exists()
