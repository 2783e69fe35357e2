"""The arithmetic of a benchmark's row."""

from __future__ import annotations

import pytest

from headwater.bench.row import Target, absent_row, figures, make_row


def test_times_are_medians_per_unit_and_ratios_are_peers_over_ours() -> None:
    seconds = {"ours": [2e-3, 1e-3, 9e-3], "peer": [8e-3, 1e-2, 2e-2]}
    row = make_row("k", "s", seconds, units=10, limit_us=50.0, absent=("other",))
    assert row.ours_us == 200.0
    assert row.peers == {"peer": 1000.0, "other": None}
    assert row.ratio == {"peer": 5.0, "other": None}
    assert row.limit_fraction == 0.25
    assert row.note == "not installed: other"
    assert row.reached is None


@pytest.mark.parametrize(
    ("ours", "ratio", "reached"),
    [
        (10.0, {"a": 2.0}, True),
        (10.1, {"a": 2.0}, False),
        (10.0, {"a": 1.9}, False),
        (10.0, {"a": None}, None),
        (10.0, {}, None),
        (11.0, {"a": None}, False),
    ],
)
def test_a_target_is_reached_when_all_of_it_is(
    ours: float, ratio: dict[str, float | None], reached: bool | None
) -> None:
    assert Target(at_most_us=10.0, ratios={"a": 2.0}, shown="x").reached(ours, ratio) is reached


def test_what_is_not_measured_says_so() -> None:
    row = absent_row("k", "s", "no data", ">= 1")
    assert row.ours_us is None
    assert row.note == "not measured: no data"
    assert row.target == ">= 1"


@pytest.mark.parametrize(("value", "shown"), [(1234567.0, 1235000.0), (0.000123456, 0.0001235), (0.0, 0.0), (5.0, 5.0)])
def test_four_figures(value: float, shown: float) -> None:
    assert figures(value) == shown
