"""`headwater bench latency` on an embedded engine: figures, bad input, a target that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from headwater.bench.latency.records import NOT_SENT, Records
from headwater.engine import Engine

COMMAND = [sys.executable, "-c", "from headwater.cli import main; main()", "bench", "latency"]
START = 1_700_000_000_000


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("latency") / "shop"
    with Engine.open(directory, clock="log") as engine:
        engine.put_items([{"item": f"i{number}"} for number in range(50)])
        for number in range(400):
            engine.track("view", user=f"u{number % 20}", item=f"i{number * 7 % 50}", ts=START + number * 60_000)
    return directory


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.e2e
def test_every_figure_is_there_and_the_shop_stays_as_it_is(shop: Path) -> None:
    before = (shop / "log.sqlite3").read_bytes()
    done = run("--target", shop, "--rate", "100", "--duration", "3", "--probes", "20", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["complete"]
    [at] = found["rates"]
    verbs = at["target"]["verbs"]
    assert set(verbs) == {"recommend", "similar", "track"}
    assert sum(verb["answered"] for verb in verbs.values()) == at["target"]["all"]["answered"]
    assert at["target"]["all"]["latency"]["failed"] == 0
    assert verbs["recommend"]["latency"]["ms"]["p50"] > 0
    assert verbs["recommend"]["latency"]["ms"]["p99.9"] is None
    assert "10,000 needed" in verbs["recommend"]["latency"]["refused"]["p99.9"]
    assert at["ratio"]["no-op call"]["recommend"]["p50"] > 1
    assert at["freshness"]["never"] == 0
    assert at["freshness"]["latency"]["count"] == 60
    assert at["cpu"]["engine and callers"] > 0
    assert at["memory_mb"]["engine and callers"] > 10
    assert (shop / "log.sqlite3").read_bytes() == before


@pytest.mark.e2e
def test_a_target_that_dies_leaves_partial_results(shop: Path) -> None:
    arguments = ("--target", str(shop), "--rate", "50", "--duration", "60", "--no-floors", "--probes", "0", "--json")
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
        child = load_process(command.pid)
        wait_for_answers(child, 160)  # the warm-up has 100
        os.kill(child.pid, signal.SIGKILL)
        out, err = command.communicate(timeout=60)
    assert command.returncode == 1
    found: dict[str, Any] = json.loads(out)
    assert not found["complete"]
    assert "SIGKILL" in found["ended"]
    assert "partial" in err
    [at] = found["rates"]
    assert at["partial"]
    requests = at["target"]["all"]
    assert 0 < requests["answered"] < 3000
    assert requests["latency"]["count"] == requests["answered"] + requests["latency"]["failed"]


def load_process(parent: int) -> psutil.Process:
    """The command's child, once it is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(parent).children():
            if "headwater.bench.latency.embedded_load" in child.cmdline():
                return child
    raise AssertionError("no load process")


def wait_for_answers(process: psutil.Process, count: int) -> None:
    """Until so many requests of the turn are answered, by the records that the process shares with the command."""
    records = Records(os.open(f"/proc/{process.pid}/fd/{process.cmdline()[3]}", os.O_RDWR))
    deadline = time.monotonic() + 60
    while records.rows(count)["outcome"].min() == NOT_SENT:
        assert time.monotonic() < deadline, "no load within a minute"
        time.sleep(0.01)
    records.close()


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--mix", "buy=1"], "verbs: recommend", 2),
        (["--scenario", "nowhere"], "nowhere", 2),
        (["--filter", "price <"], "price <", 2),
    ],
)
def test_bad_input(shop: Path, arguments: list[str], said: str, code: int) -> None:
    done = run("--target", shop, "--duration", "0.5", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


@pytest.mark.e2e
def test_a_directory_without_a_log_is_refused(tmp_path: Path) -> None:
    done = run("--target", tmp_path)
    assert done.returncode == 1
    assert "holds no log" in done.stderr
