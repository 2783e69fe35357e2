"""Measures beside accuracy, and differences with intervals, by hand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from headwater.evaluate.beyond import ALPHA, Beyond, gini, intra_list_diversity, miscalibration
from headwater.evaluate.paired import paired_difference
from headwater.evaluate.past import Past

CATEGORIES = {"a": frozenset({"x"}), "b": frozenset({"x"}), "c": frozenset({"x", "y"}), "d": frozenset({"z"})}


def test_gini_of_equal_and_of_one_sided_lists() -> None:
    assert gini(Counter(a=3, b=3, c=3), 3) == pytest.approx(0.0)
    assert gini(Counter(a=9), 3) == pytest.approx(2 / 3), "(n - 1) / n where one item has everything"
    assert gini(Counter(), 3) == 0.0


def test_diversity_is_the_mean_unlikeness_of_pairs() -> None:
    assert intra_list_diversity(["a", "b"], CATEGORIES) == 0.0
    assert intra_list_diversity(["a", "c", "d"], CATEGORIES) == pytest.approx((0.5 + 1 + 1) / 3)
    assert intra_list_diversity(["a", "unknown"], CATEGORIES) is None


def test_calibration_is_the_smoothed_divergence() -> None:
    assert miscalibration(["a", "d"], ["b", "d"], CATEGORIES) == pytest.approx(0.0)
    assert miscalibration(["a", "d"], ["a"], CATEGORIES) == pytest.approx(
        0.5 * math.log2(0.5 / (0.99 + ALPHA / 2)) + 0.5 * math.log2(0.5 / (ALPHA / 2))
    )
    assert miscalibration([], ["a"], CATEGORIES) is None


def test_what_many_lists_are() -> None:
    beyond = Beyond({})
    beyond.add(["a", "b"], {"a"}, {"a"}, [], {"a": 0.5, "b": 0.25})
    beyond.add(["b", "c"], {"c"}, {"a"}, [], {"b": 0.25, "c": 0.125})
    figures = beyond.figures(4)
    assert figures["coverage"] == 3 / 4
    assert figures["novelty"] == pytest.approx((1.5 + 2.5) / 2)
    assert figures["serendipity"] == 1 / 2, "the hit of the first list was popular anyway"
    assert figures["diversity"] is None


def test_an_interval_holds_the_mean_and_knows_what_is_certain() -> None:
    rng = np.random.default_rng(0)
    users = [f"u{n % 50}" for n in range(2000)]
    ours, theirs = rng.random(2000) + 0.2, rng.random(2000)
    found = paired_difference(ours, theirs, users, 7)
    assert found.low < found.mean < found.high
    assert found.mean == pytest.approx(float((ours - theirs).mean()))
    assert found.verdict == "better"
    assert paired_difference(theirs, ours, users, 7).verdict == "worse"
    assert paired_difference(ours, theirs, users, 7) == found
    assert paired_difference(ours, rng.permutation(ours), users, 7).verdict == "not told apart"


def test_intervals_are_over_users_not_over_questions() -> None:
    """One user with a thousand equal answers is one draw: their certainty is not a thousand people's."""
    ours = np.array([1.0] * 1000 + [0.0] * 3)
    theirs = np.array([0.0] * 1000 + [1.0] * 3)
    users = ["one"] * 1000 + ["b", "c", "d"]
    found = paired_difference(ours, theirs, users, 7)
    assert found.mean > 0.9
    assert found.verdict == "not told apart"


def test_popularity_so_far() -> None:
    past = Past()
    for number in range(300):
        past.add(f"u{number % 7}", [f"i{min(number % 10, 4)}"])
    assert past.popular(1) == ["i4"]
    assert past.popularity_of("i4") == "head"
    assert past.popularity_of("i0") == "torso"
    assert past.popularity_of("i3") == "tail"
    assert past.popularity_of("never") == "cold"
    assert past.share_of("i4") > past.share_of("i0") > past.share_of("never") > 0
    assert list(past.touched("nobody")) == []
