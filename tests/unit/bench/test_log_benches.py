"""`headwater bench ingest` and `bench rebuild`, and the events that they are fed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import cast

import msgspec
import polars as pl
import pytest

from headwater import Engine
from headwater.bench.event_supply import ROWS, repetition, zipf_supply
from headwater.bench.operations_bench import Asker
from headwater.bench.rebuild_bench import Rebuilt, check_equal
from headwater.errors import HeadwaterError, InvalidInput

COMMAND = [sys.executable, "-c", "from headwater.cli import main; main()", "bench"]


def run(*arguments: str) -> dict[str, object]:
    done = subprocess.run([*COMMAND, *arguments, "--json"], capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_as_many_events_as_are_asked_for_in_time_order_and_no_id_twice() -> None:
    tables = list(zipf_supply(150_000, 2_000).tables)
    assert [len(table) for table in tables] == [ROWS, ROWS, 150_000 - 2 * ROWS]
    whole = pl.concat(tables)
    assert whole["ts"].is_sorted()
    assert whole["event_id"].n_unique() == 150_000
    again = pl.concat(zipf_supply(150_000, 2_000).tables)
    assert whole.equals(again)
    with pytest.raises(InvalidInput, match="1,000 to 50,000,000"):
        zipf_supply(999, 10)


def test_portions_have_users_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.bench.event_supply._PORTION", 3_000)
    whole = pl.concat(zipf_supply(10_000, 500).tables)
    assert len(whole) == 10_000
    assert whole["ts"].is_sorted()
    assert whole["event_id"].n_unique() == 10_000
    assert set(whole["user"].str.extract(r"^(\d+)-")) == {"0", "1", "2", "3"}


def test_a_dataset_once_more_is_of_other_users_and_later() -> None:
    events = pl.DataFrame({"user": ["a", "b"], "item": ["x", "y"], "basket": ["k", None], "ts": [1, 5]})
    second = repetition(events, 2, 100)
    assert second.rows() == [("2-a", "x", "2-k", 201, "2-0"), ("2-b", "y", None, 205, "2-1")]


@pytest.mark.e2e
def test_every_stage_has_its_rate(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    found = run("ingest", "--events", "66000", "--items", "2000", "--plot", str(plot))
    assert found["complete"]
    assert found["events"] == found["imported"] == 66_000
    assert set(found["per_s"]) == {"encode", "append", "decode", "fold"}
    assert all(rate > 0 for rate in found["per_s"].values())
    assert all(cpu > 0 for cpu in found["cpu_us"].values())
    assert sum(found["outcomes"].values()) == 66_000
    assert "applied" in found["outcomes"]
    assert [interval["events"] for interval in found["intervals"]] == [ROWS, 66_000]
    assert found["intervals"][-1]["state_mb"] >= found["intervals"][0]["state_mb"] > 0
    assert found["bytes_per_event"]["frames"] > 20
    assert found["disk_before"]["fsync_per_s"] > 0
    assert "<svg" in plot.read_text()


@pytest.mark.e2e
def test_interrupted_it_shows_what_was_measured() -> None:
    """Its standard error is a terminal, so that the bar tells when the first events are through."""
    ours, theirs = pty.openpty()
    command = [*COMMAND, "ingest", "--events", "50000000", "--items", "1000", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as process:
        os.close(theirs)
        said = b""
        while b"65536" not in said:
            said += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        found = json.loads(process.stdout.read())
        # Read on: a full terminal would hold the process up.
        assert process.wait(60) == 130
    os.close(ours)
    assert found.get("complete") is False, found
    assert ROWS <= found["events"] < 50_000_000
    assert found["per_s"]["fold"] > 0
    assert found["imported"] == 0


@pytest.mark.e2e
def test_both_rebuilds_end_at_the_same_state() -> None:
    found = run("rebuild", "--events", "30000", "--items", "2000", "--tail", "4000", "--runs", "1")
    zero, short = found["from_zero"], found["from_snapshot"]
    assert zero["digest"] == short["digest"]
    assert short["folded"] == found["tail"] == 4000
    assert zero["folded"] == zero["events"] == 30_001, "all, and the configuration"
    assert zero["seconds"] > 0
    assert zero["cpu_s"] > 0
    assert zero["state_mb"] > 1
    snapshot = found["snapshot"]
    assert snapshot["megabytes"] == pytest.approx(sum(snapshot["parts"].values()), abs=0.05)
    assert {"partition", "shard", "neighbourhood"} <= set(snapshot["parts"])


def test_rebuilds_that_differ_end_the_run() -> None:
    one = Rebuilt(events=3, folded=3, seconds=1, cpu_s=1, folded_per_s=3, state_mb=1, grown_mb=1, digest="a")
    check_equal([one, one])
    with pytest.raises(HeadwaterError, match="rebuilds of the same log differ: digests a, b"):
        check_equal([one, msgspec.structs.replace(one, digest="b")])


@pytest.mark.e2e
def test_a_whole_log_is_copied_and_erased_from_while_questions_are_answered() -> None:
    found = run("operations", "--events", "3000", "--items", "200", "--rate", "50")
    operations = {operation["what"]: operation for operation in found["operations"]}
    assert list(operations) == ["nothing else", "snapshot", "backup", "backup of what came since", "restore", "erase"]
    assert operations["nothing else"]["questions"] >= 100
    assert all(operation["seconds"] > 0 for operation in operations.values())
    assert found["events"] == 3000
    assert found["sought"] == {}


def test_a_question_that_fails_ends_the_run_whatever_it_raises() -> None:
    asked = threading.Event()

    class Nobody(list[str]):
        def __len__(self) -> int:
            asked.set()
            return 0

    with Engine.open(":memory:") as engine, pytest.raises(ZeroDivisionError), Asker(engine, Nobody(), 1000).asking():
        assert asked.wait(60)


def test_questions_that_still_wait_when_an_operation_ends_are_of_it() -> None:
    released = threading.Event()

    class Stalled:
        def recommend(self, user: str, n: int) -> None:
            assert released.wait(60)

    asker = Asker(cast("Engine", Stalled()), ["u"], 1000)
    with asker.asking():
        since = time.perf_counter()
        while time.perf_counter() < since + 0.1:
            pass
        threading.Timer(0.2, released.set).start()
    told = asker.between(since, since + 0.1)
    assert len(told) > 50
    assert max(told) > 200
