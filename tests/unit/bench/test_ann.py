"""`headwater bench ann`: every size and filter has its row, and ties count as found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headwater.bench.ann_bench import ADMITTED, AnnRow, _recall
from headwater.bench.markdown import ann_sections, update
from headwater.kernels import AnnIndex, ExactRule

COMMAND = "from headwater.cli import main; main()"


@pytest.mark.e2e
def test_every_filter_has_its_row(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- ann -->\n<!-- /ann -->\n")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "bench", "ann", "--tiny", "--json", "--update", str(page)],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = json.loads(done.stdout)
    assert [row["admitted"] for row in rows] == list(ADMITTED)
    for row in rows:
        assert row["route"] == "exact"  # so few are always scanned
        assert row["ours_recall"] == 1
        assert 0.5 < row["graph_recall"] <= 1
        assert min(row["ours_us"], row["exact_us"], row["graph_us"], row["build_s"]) > 0
    assert page.read_text().count("| 3,000 x 64 |") == len(rows)


def test_an_item_of_equal_score_is_as_good() -> None:
    index = AnnIndex(4)
    index.add(np.ones((300, 4), np.float32))
    index.build()
    by_graph = ExactRule(below=0, share=0.0, matches=0, fetched=1.0)
    assert _recall(index, np.ones((2, 4), np.float32), None, by_graph) == 1.0
    assert index.routes.graph == 2


def test_the_table_says_what_was_scanned_again(tmp_path: Path) -> None:
    row = AnnRow(
        vectors=1000,
        dim=8,
        admitted=0.2,
        route="graph",
        again=0.25,
        ours_recall=0.99,
        ours_us=10.4,
        exact_us=20.0,
        graph_recall=0.98,
        graph_us=30.0,
        build_s=1.0,
    )
    assert "| 1,000 x 8 | 20% | graph, 25% again | 0.9900 | 10 | 20 | 0.9800 | 30 | 1.0 |" in ann_sections([row])["ann"]
    page = tmp_path / "page.md"
    page.write_text("<!-- ann -->\nold\n<!-- /ann -->\n")
    update(page, ann_sections([row]))
    assert "old" not in page.read_text()
