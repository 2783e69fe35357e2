"""`headwater bench latency` on an embedded engine: figures, bad input, a target that dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from unit.bench.latency.load import COMMAND, load_process, run, shop_in, wait_for_answers


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop_in(tmp_path_factory.mktemp("latency"))


@pytest.mark.e2e
def test_every_figure_is_there_and_the_shop_stays_as_it_is(shop: Path, tmp_path: Path) -> None:
    before = (shop / "log.sqlite3").read_bytes()
    page, plot = tmp_path / "page.html", tmp_path / "plot.svg"
    pictures = ("--report", page, "--plot", plot)
    done = run("--target", shop, "--rate", "100", "--duration", "2", "--probes", "30", "--json", *pictures)
    assert done.returncode == 0, done.stderr
    assert "no-op call: recommend" in page.read_text()
    assert "<svg" in plot.read_text()
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
        child = load_process(command.pid, "embedded_load")
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


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (["--mix", "buy=1"], "verbs: recommend", 2),
        (["--scenario", "nowhere"], "nowhere", 2),
        (["--filter", "price <"], "price <", 2),
        (["--report", "page.pdf"], "names ending in .html", 2),
    ],
)
def test_bad_input(shop: Path, arguments: list[str], said: str, code: int) -> None:
    done = run("--target", shop, "--duration", "0.5", *arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


@pytest.mark.e2e
def test_an_earlier_run_at_other_rates_is_refused_before_there_is_load(tmp_path: Path) -> None:
    """There is no target either."""
    earlier = tmp_path / "earlier.json"
    earlier.write_text('{"target": "t", "machine": {}, "facts": {}, "settings": {}, "rates": []}')
    done = run("--target", tmp_path / "nowhere", "--compare", earlier)
    assert done.returncode == 2
    assert "nothing to compare, its rates are none" in done.stderr


@pytest.mark.e2e
def test_a_directory_without_a_log_is_refused(tmp_path: Path) -> None:
    done = run("--target", tmp_path)
    assert done.returncode == 1
    assert "holds no log" in done.stderr
