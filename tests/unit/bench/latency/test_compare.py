"""Runs are set side by side where they can be."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest

from headwater.bench.latency.compare import check_comparable, compare, read_run
from headwater.bench.latency.figures import AtRate, Generator, LatencyRun, Requests, Subject, ratios
from headwater.bench.latency.percentiles import latencies
from headwater.bench.latency.show import latency_tables
from headwater.errors import InvalidInput

MS = 1_000_000


def subject(ms: float) -> Subject:
    found = latencies([int(ms * MS)] * 200)
    requests = Requests(latency=found, answered=200, degraded=0, refused=0, errors=0, timed_out=0, unanswered=0)
    generator = Generator(late=latencies([1000] * 200), queued=0, cpu_share=0.1, bottleneck=False, why="")
    return Subject(sent_per_s=1, answered_per_s=1, all=requests, verbs={"recommend": requests}, generator=generator)


def run(rate: float, target_ms: float, floor_ms: float, **settings: object) -> LatencyRun:
    target, floors = subject(target_ms), {"echo": subject(floor_ms)}
    at = AtRate(rate=rate, seconds=1, target=target, floors=floors, ratio=ratios(target, floors))
    machine = {"cpu": "x", "cores": 2, "fsync_per_s": 1}
    return LatencyRun(
        target="t", machine=machine, facts={}, settings={"mix": {"recommend": 1.0}, **settings}, rates=[at]
    )


def test_a_slower_machine_is_told_from_a_slower_target(tmp_path: Path) -> None:
    path = tmp_path / "earlier.json"
    path.write_bytes(msgspec.json.encode(run(100, 2.0, 1.0)))
    found = compare(run(100, 6.0, 3.0), read_run(path), "earlier.json")
    assert {change.percentile: change.ratio for change in found.changes} == pytest.approx(
        {"p50": 3, "p90": 3}, rel=0.01
    )
    assert all(change.beside_floor == pytest.approx({"echo": 1.0}, rel=0.01) for change in found.changes)
    assert found.remarks == []


def test_what_differs_is_said() -> None:
    earlier = run(100, 2.0, 1.0, arrivals="constant")
    earlier.complete = False
    found = compare(run(100, 2.0, 1.0, arrivals="poisson"), earlier, "earlier.json")
    assert any("arrivals differs: constant earlier, poisson now" in remark for remark in found.remarks)
    assert any("earlier run is partial" in remark for remark in found.remarks)


def test_runs_at_other_rates_are_refused() -> None:
    check_comparable([50, 100], run(50, 1, 1), "earlier.json")
    with pytest.raises(InvalidInput, match=r"its rates are 50; allowed: a run at some of the rates 100"):
        check_comparable([100], run(50, 1, 1), "earlier.json")


def test_a_run_is_not_lost_where_there_is_nothing_to_compare() -> None:
    found = compare(run(100, 1, 1), run(50, 1, 1), "earlier.json")
    assert found.changes == []
    assert found.remarks == ["nothing to compare: no percentile is given by both runs"]


@pytest.mark.parametrize("text", ["", "{}", '{"format": 2}', "no json", "\xff"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(InvalidInput, match="bench latency --json"):
        read_run(path)


def test_tables_show_what_was_compared() -> None:
    from rich.console import Console

    now = run(100, 6.0, 3.0)
    now.compared = compare(now, run(100, 2.0, 1.0), "earlier.json")
    shown = io.StringIO()
    Console(width=160, file=shown).print(latency_tables(now))
    text = shown.getvalue()
    assert "now beside earlier.json" in text
    assert "3.00" in text
