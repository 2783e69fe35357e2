"""The commands of a shop's operation, each as a process of its own, one after the other in one directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from e2e.command_process import headwater

pytestmark = pytest.mark.e2e

START = 1_700_000_000_000


def run(place: Path, *arguments: str) -> tuple[int, Any]:
    done = headwater(place, *arguments, "--json")
    return done.code, json.loads(done.out) if done.out else done.err


def ok(place: Path, *arguments: str) -> Any:
    code, answer = run(place, *arguments)
    assert code == 0, answer
    return answer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("operations")
    rows = "".join(f"view,u{n % 6},lamp{n % 5},{START + n * 60_000}\n" for n in range(60))
    (place / "events.csv").write_text("type,user,item,ts\n" + rows)
    feed = "item,categories,price\n" + "".join(f"lamp{n},lamps,{n}.5\n" for n in range(10))
    (place / "feed.csv").write_text(feed)
    (place / "short.csv").write_text(feed.splitlines()[0] + "\nlamp1,lamps,1.5\n")
    ok(place, "import", "shop", "events.csv")
    return place


def test_a_merge_a_forgetting_and_a_restore_give_the_recorded_digest(place: Path) -> None:
    merged = ok(place, "merge", "shop", "u1", "u2")
    assert (merged["into_user"], merged["moved"]) == ("u2", True)
    assert ok(place, "merge", "shop", "u1", "u2")["repeated"] is True
    ok(place, "forget", "shop", "u3")
    first = ok(place, "backup", "shop", "backup")
    ok(place, "track", "shop", "view", "--user", "u1", "--item", "lamp4")
    second = ok(place, "backup", "shop", "backup")
    assert first["frames"] > second["frames"] == 1
    restored = ok(place, "restore", "backup", "again")
    assert restored["digest"] == second["digest"]
    digests = {ok(place, "replay", name)["digest"] for name in ("shop", "again")}
    assert digests == {second["digest"]}
    assert ok(place, "verify", "again")["equal"] is True
    code, error = run(place, "merge", "shop", "u2", "u1")
    assert (code, error["error"]["code"]) == (2, "merge-conflict")
    code, error = run(place, "merge", "shop", "u4", "u3")
    assert (code, error["error"]["code"]) == (2, "merge-conflict")
    code, error = run(place, "restore", "backup", "again")
    assert code == 2
    code, error = run(place, "restore", "shop", "elsewhere")
    assert (code, error["error"]["code"]) == (1, "backup-invalid")


def test_a_feed_is_synchronised(place: Path) -> None:
    dry = ok(place, "sync", "shop", "feed.csv", "--dry-run")
    assert (dry["put"], dry["dry_run"]) == (10, True)
    assert ok(place, "sync", "shop", "feed.csv")["put"] == 10
    again = ok(place, "sync", "shop", "feed.csv")
    assert (again["unchanged"], again["put"]) == (10, 0)
    code, error = run(place, "sync", "shop", "short.csv")
    assert (code, error["error"]["code"]) == (2, "feed-shrunk")
    assert ok(place, "sync", "shop", "short.csv", "--allow-shrink")["hidden"] == 9
    assert ok(place, "sync", "shop", "feed.csv")["returned"] == 9
    code, _ = run(place, "sync", "shop", "feed.csv", "-c", "item=nothing")
    assert code == 2


def test_a_user_is_erased(place: Path) -> None:
    erased = ok(place, "forget", "shop", "u1", "--erase")  # merged with u2
    assert (erased["ids"], erased["events"] > 20) == (2, True)
    assert ok(place, "replay", "shop")["digest"] == erased["digest"]
    assert ok(place, "forget", "shop", "u2", "--check", erased["receipt"])["valid"] is True
    code, _ = run(place, "forget", "shop", "u5", "--check", erased["receipt"])
    assert code == 2
    code, error = run(place, "backup", "shop", "backup")
    assert (code, error["error"]["code"]) == (1, "backup-invalid")
    for file in (place / "shop").rglob("*"):
        assert not file.is_file() or b"\xa2u2" not in file.read_bytes()


def test_old_events_are_archived_and_come_back(place: Path) -> None:
    digest = ok(place, "replay", "shop")["digest"]
    report = ok(place, "archive", "shop")
    assert (report["first"], report["frames"] > 0) == (1, True)
    kinds = pl.read_parquet(place / "shop" / "archive" / "*.parquet")["kind"].unique().to_list()
    assert {"Feedback", "ItemPut", "ItemPatch"} <= set(kinds)
    assert ok(place, "verify", "shop")["equal"] is True
    code, error = run(place, "forget", "shop", "u5", "--erase")
    assert (code, "archive --restore" in error["error"]["message"]) == (1, True)
    assert ok(place, "archive", "shop", "--restore")["frames"] == report["last"]
    assert ok(place, "verify", "shop")["equal"] is True
    assert ok(place, "replay", "shop")["digest"] == digest
