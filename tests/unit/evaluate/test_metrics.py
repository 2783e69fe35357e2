"""Accuracy of one list: by hand, and as `ranx` has it (`tests/parity/make_ranx_golden.py`)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from headwater.evaluate.metrics import NOTHING, accuracy, discount, rank_of
from parity.ranx_input import K, lists

GOLDEN = Path(__file__).parents[2] / "parity" / "golden" / "ranx.json"


def test_one_relevant_item_at_place_three() -> None:
    found = accuracy(["a", "b", "c", "d"], ["c"], 4)
    assert found == (1.0, 1 / 3, 1 / math.log2(4), 1 / 4, 1.0)


def test_two_of_three_relevant_items() -> None:
    found = accuracy(["x", "a", "y", "b"], ["a", "b", "c"], 4)
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found.ndcg == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert (found.hr, found.mrr, found.precision, found.recall) == (1.0, 1 / 2, 2 / 4, 2 / 3)


def test_what_stands_beyond_k_is_a_miss() -> None:
    assert accuracy(["a", "b", "c"], ["c"], 2) == NOTHING


def test_a_short_list_still_divides_by_k() -> None:
    assert accuracy(["a"], ["a"], 10).precision == 0.1


def test_nothing_relevant_or_nothing_shown_is_nothing() -> None:
    assert accuracy(["a"], [], 5) == NOTHING
    assert accuracy([], ["a"], 5) == NOTHING


def test_more_relevant_items_than_places_can_still_be_perfect() -> None:
    assert accuracy(["a", "b"], ["a", "b", "c"], 2).ndcg == pytest.approx(1.0)


def test_ranks() -> None:
    assert rank_of("b", ["a", "b"]) == 2
    assert rank_of("c", ["a", "b"]) == 0
    assert discount(0) == 0.0
    assert discount(1) == 1.0


def test_all_measures_are_those_of_ranx() -> None:
    golden = json.loads(GOLDEN.read_text())["scores"]
    for k in K:
        for number, (ranked, relevant) in enumerate(lists()):
            found = accuracy(ranked, relevant, k)
            told = {name: scores[number] for name, scores in golden[str(k)].items()}
            assert told == pytest.approx(found._asdict(), abs=1e-12), (k, number)
