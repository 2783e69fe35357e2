"""From rows to figures: what counts as late, as answered, and as the generator's fault."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headwater.bench.latency.figures import AtRate, LatencyRun, freshness_of, subject_of
from headwater.bench.latency.jobs import Probe
from headwater.bench.latency.records import ANSWERED, DEGRADED, ERROR, NOT_SENT, REFUSED, TIMED_OUT, Records, TurnRows
from headwater.bench.latency.schedule import VERBS
from headwater.bench.markdown import latency_sections, update

MS = 1_000_000
START = 5_000 * MS


def turn(late_ms: float = 0.0, took_ms: float = 10.0, count: int = 1000, cpu_s: float = 0.1) -> TurnRows:
    """A request a millisecond, each sent `late_ms` after it was due and answered `took_ms` after that."""
    records = Records.create()
    rows = records.take(count)
    records.close()
    due = np.arange(count) * MS
    rows["sent"] = START + due + int(late_ms * MS)
    rows["ended"] = rows["sent"] + int(took_ms * MS)
    rows["outcome"] = ANSWERED
    verb = np.full(count, VERBS.index("recommend"), np.uint8)
    return TurnRows(START, START + count * MS, count / 1000, cpu_s, due, verb, rows)


def test_latency_counts_from_the_due_time() -> None:
    found = subject_of([turn(late_ms=2, took_ms=10)], True)
    assert found.all.latency.ms["p50"] == pytest.approx(12, rel=2e-3)
    assert found.generator.late.ms["p50"] == pytest.approx(2, rel=2e-3)
    assert not found.generator.bottleneck
    assert found.sent_per_s == found.answered_per_s == pytest.approx(1000)


def test_a_late_generator_is_named() -> None:
    found = subject_of([turn(late_ms=9, took_ms=1)], True)
    assert found.generator.bottleneck
    assert "its own lateness is 9" in found.generator.why
    assert "(recommend)" in found.generator.why


def test_waiting_for_a_worker_is_not_the_generators_lateness() -> None:
    rows = turn(late_ms=9, took_ms=1)
    rows.rows["free"] = rows.rows["sent"]
    found = subject_of([rows], False)
    assert not found.generator.bottleneck
    assert found.generator.queued == 1
    assert found.all.latency.ms["p50"] == pytest.approx(10, rel=2e-3)


def test_a_busy_generator_is_named_if_its_process_is_its_own() -> None:
    assert "busy for 95%" in subject_of([turn(cpu_s=0.95)], True).generator.why
    assert subject_of([turn(cpu_s=0.95)], False).generator.why == ""


def test_every_end_is_counted_and_only_answers_have_a_latency() -> None:
    rows = turn()
    for place, outcome in enumerate((DEGRADED, REFUSED, ERROR, TIMED_OUT, NOT_SENT)):
        rows.rows["outcome"][place * 10 : place * 10 + place + 1] = outcome
    found = subject_of([rows], True).all
    assert (found.degraded, found.refused, found.errors, found.timed_out, found.unanswered) == (1, 2, 3, 4, 5)
    assert found.answered == 1000 - 2 - 3 - 4 - 5
    assert found.latency.failed == 14
    assert found.latency.ms["p99"] is None, "14 of 1,000 failed"


def test_freshness_counts_what_never_became_visible() -> None:
    seen = [Probe(100 * MS, 101 * MS, 1)] * 30
    found = freshness_of([*seen, Probe(100 * MS, 0, 200)])
    assert found is not None
    assert found.never == 1
    assert found.latency.ms["p50"] == pytest.approx(1, rel=2e-3)
    assert found.latency.count == 31
    assert freshness_of([]) is None


def test_the_table_goes_into_its_place(tmp_path: Path) -> None:
    machine = {"cpu": "x", "cores": 2, "fsync_per_s": 1, "load_1m": 7.5}
    at = AtRate(rate=1000, seconds=1, target=subject_of([turn()], True))
    run = LatencyRun(target="t", machine=machine, facts={}, settings={}, rates=[at])
    page = tmp_path / "page.md"
    page.write_text("<!-- latency -->\nold\n<!-- /latency -->\n")
    update(page, latency_sections(run))
    text = page.read_text()
    assert "| 1000 | recommend | 1,000 | 10.0" in text
    assert "load average 7.5 on 2 cores" in text
    assert "old" not in text
