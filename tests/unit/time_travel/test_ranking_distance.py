"""Distances of rankings: bounds, symmetry, and the published definition of rank-biased overlap."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.ranking_distance import distance, rank_biased_overlap

rankings = st.lists(st.sampled_from("abcdefghij"), unique=True)


def by_definition(first: list[str], second: list[str], p: float, depth: int = 2000) -> float:
    """RBO of two endless lists that begin like these and whose agreement stays what it was at the end, summed up term
    by term: the extrapolation that the paper defines, for lists of equal length."""
    total = 0.0
    for d in range(1, depth + 1):
        agreed = min(d, len(first))
        total += p ** (d - 1) * len(set(first[:agreed]) & set(second[:agreed])) / agreed
    return (1 - p) * total


@given(rankings, st.randoms(use_true_random=False), st.sampled_from([0.5, 0.8, 0.9]))
def test_equal_lengths_agree_with_the_definition(first: list[str], random: object, p: float) -> None:
    second = random.sample("abcdefghijklmnop", len(first))  # type: ignore[attr-defined]
    if first:
        assert rank_biased_overlap(first, second, p) == pytest.approx(by_definition(first, second, p), abs=1e-9)


@given(rankings, rankings)
def test_bounds_and_symmetry(first: list[str], second: list[str]) -> None:
    there, back = distance(first, second), distance(second, first)
    assert there == pytest.approx(back)
    assert -1e-12 <= there.rbo <= 1 + 1e-12
    assert 0 <= there.overlap <= 1
    assert there.identical == (first == second)
    if first == second:
        assert (there.overlap, there.rank_shift) == (1.0, 0.0 if first else None)
        assert there.rbo == pytest.approx(1.0)
    if not set(first) & set(second) and (first or second):
        assert (there.overlap, there.rbo, there.rank_shift) == (0.0, 0.0, None)


def test_a_swap_weighs_less_the_lower_it_stands() -> None:
    whole = list("abcdefghij")
    swapped = [
        rank_biased_overlap(whole, [*whole[:n], whole[n + 1], whole[n], *whole[n + 2 :]]) for n in range(len(whole) - 1)
    ]
    assert all(above < below for above, below in pairwise(swapped))


def test_uneven_lists_are_extrapolated_from_what_is_there() -> None:
    # A list that only ends earlier is as near as can be: what it does not say is taken to agree as the rest does.
    assert rank_biased_overlap(list("abc"), list("abcdef")) == pytest.approx(1.0)
    assert 0 < rank_biased_overlap(list("xbc"), list("abcdef")) < 1


def test_the_mean_rank_shift_counts_slots() -> None:
    assert distance(list("abcd"), list("badc")).rank_shift == 1.0
    assert distance(list("abx"), list("yab")).rank_shift == 1.0
    assert distance(list("abx"), list("yab")).overlap == pytest.approx(2 / 3)
