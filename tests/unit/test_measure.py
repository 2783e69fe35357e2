"""What a machine does itself, measured by several at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from headwater.measure import machine_floor


def test_who_measures_in_the_same_directory_at_the_same_time_is_not_in_the_way(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(machine_floor, [tmp_path] * 12))
    assert all(floor["fsync_per_s"] > 0 and floor["read_gb_per_s"] > 0 for floor in found)
    assert list(tmp_path.iterdir()) == []
