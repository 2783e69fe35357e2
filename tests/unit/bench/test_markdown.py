"""Tables go where a document has a place for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.bench.markdown import check, kernel_sections, recall_sections, shown_time, update
from headwater.bench.row import absent_row, make_row
from headwater.errors import InvalidInput


def test_a_table_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# a\n<!-- machine -->\nold\n<!-- /machine -->\nb\n<!-- kernels -->\n<!-- /kernels -->\nc\n")
    rows = [make_row("k", "s", {"ours": [1e-6], "p": [2e-6]}, absent=("q",)), absent_row("l", "t", "no data")]
    for _ in range(2):
        update(page, kernel_sections(rows, {"cpu": "x"}))
        text = page.read_text()
        assert "old" not in text
        assert text.startswith("# a\n<!-- machine -->\ncpu x\n<!-- /machine -->\nb\n")
        assert "| k | s; threads: 1 | 1 us / call | p: 2 us (2x); q: absent |" in text
        assert "| l | t | not measured: no data |" in text
        assert text.endswith("<!-- /kernels -->\nc\n")


def test_a_part_of_a_table_leaves_the_other_rows(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- machine -->\n<!-- /machine -->\n<!-- kernels -->\n<!-- /kernels -->\n")

    def put(part: bool, *named: tuple[str, str, float]) -> list[list[str]]:
        rows = [make_row(kernel, size, {"ours": [seconds]}) for kernel, size, seconds in named]
        update(page, kernel_sections(rows, {"cpu": "x"}), part)
        lines = [line for line in page.read_text().splitlines() if line.startswith("| ") and "to reach" not in line]
        return [line.split(" | ")[:3] for line in lines]

    small, large = "small; threads: 1", "large; threads: 1"
    put(True, ("a", "small", 1.0), ("b", "small", 1e-6), ("b", "large", 2e-6), ("c", "small", 3e-6))
    assert put(True, ("b", "small", 5e-6), ("d", "small", 6e-6)) == [
        ["| a", small, "1e+03 ms / call"],
        ["| b", small, "5 us / call"],
        ["| c", small, "3 us / call"],
        ["| d", small, "6 us / call"],
    ]
    assert put(False, ("b", "large", 5e-6)) == [["| b", large, "5 us / call"]]


def test_a_part_of_a_table_with_other_columns_is_refused_before_it_is_measured(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    before = "<!-- recall -->\n| log | recall |\n|---|---|\n| a | 1 |\n<!-- /recall -->\n"
    page.write_text(before)
    for refused in (check, update):
        with pytest.raises(InvalidInput, match="other columns"):
            refused(page, recall_sections(()), True)
        assert page.read_text() == before
    check(page, recall_sections(()))
    assert page.read_text() == before
    update(page, recall_sections(()))
    assert "| a | 1 |" not in page.read_text()
    check(page, recall_sections(()), True)


def test_a_page_without_a_place_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing\n")
    with pytest.raises(InvalidInput, match="no place for kernels"):
        update(page, {"kernels": "x"})
    assert page.read_text() == "nothing\n"


@pytest.mark.parametrize(("us", "shown"), [(1500.0, "1.5 ms"), (12.34, "12.3 us"), (0.0123, "12.3 ns")])
def test_times_have_the_unit_that_suits_them(us: float, shown: str) -> None:
    assert shown_time(us) == shown
