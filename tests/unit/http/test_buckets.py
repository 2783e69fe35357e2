"""Token buckets: by caller, refilled by time, one count for all who share a file."""

from pathlib import Path

from headwater.http import buckets
from headwater.http.buckets import Buckets
from headwater.http_config import HttpConfig, share_of_worker


def test_a_caller_has_a_burst_and_then_a_rate() -> None:
    own = Buckets(2.0, 3)
    assert [own.spend("ann", 10.0) for _ in range(3)] == [None] * 3
    assert own.spend("ann", 10.0) == 0.5
    assert own.spend("bob", 10.0) is None, "another caller has a bucket of their own"
    assert own.spend("ann", 10.5) is None
    assert own.spend("ann", 10.5) == 0.5
    assert [own.spend("ann", 1000.0) for _ in range(3)] == [None] * 3, "no more than a burst is saved up"
    assert own.spend("ann", 1000.0) is not None


def test_who_shares_a_file_counts_together(tmp_path: Path) -> None:
    path = tmp_path / "buckets"
    workers = [Buckets(1.0, 10, path) for _ in range(3)]
    allowed = [workers[n % 3].spend("ann", 5.0) for n in range(30)]
    assert allowed.count(None) == 10
    assert allowed[:10] == [None] * 10
    assert workers[1].spend("ann", 6.0) is None


def test_callers_beyond_what_is_told_apart_come_back_later() -> None:
    own = Buckets(1.0, 2)
    waits = [own.spend(f"@{n}", 0.0) for n in range(3 * buckets.CALLERS)]
    assert waits[: buckets.CALLERS] == [None] * buckets.CALLERS
    assert float("inf") in waits
    assert own.spend("late", 2.0) is None, "buckets that are full again make room"


def test_workers_keep_to_a_bound_together() -> None:
    whole = HttpConfig(workers=4, max_concurrent=10, max_connections=2048)
    assert share_of_worker(whole.max_concurrent, whole) == 3
    assert share_of_worker(whole.max_connections, whole) == 512
