"""`headwater bench kernels --tiny --json`: every row of the table, whatever is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = [
    "int8 top-100, one query",
    "int8 top-100, 16 queries",
    "MMR",
    "greedy DPP",
    "slate: score, top-500, MMR",
    "bloom test-and-insert",
    "bloom test-and-insert",
    "dedup path",
    "co-occurrence update, all shipped relations",
    "co-occurrence query, 10 seeds",
    "co-occurrence query, 10 seeds, kernel",
    "session kNN query, p90",
    "session kNN query, kernel, p90",
    "fold of everything",
    "fold of everything",
]
COMMAND = "from headwater.cli import main; main()"
KEYS = {"kernel", "size", "threads", "ours_us", "peers", "ratio", "limit_fraction"}


@pytest.mark.e2e
def test_every_kernel_has_its_row(tmp_path: Path) -> None:
    data = Path(__file__).parents[4] / "shared" / "data"
    arguments = ["--data", str(data)] if data.is_dir() else []
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "bench", "kernels", "--tiny", "--json", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"POLARS_MAX_THREADS": "2"},
    )
    rows = json.loads(done.stdout)
    assert [row["kernel"] for row in rows] == KERNELS
    for row in rows:
        assert row.keys() >= KEYS
        if row["note"].startswith("not measured"):
            assert row["ours_us"] is None
            assert "--data" in row["note"]
            continue
        assert row["ours_us"] > 0
        for name, peer in row["peers"].items():
            assert (row["ratio"][name] is None) == (peer is None)
            assert peer is not None or name.split()[0] in row["note"]


@pytest.mark.e2e
def test_an_unknown_family_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "bench", "kernels", "--only", "nothing"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "scoring" in done.stderr
