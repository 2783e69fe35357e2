"""Ids that are one person."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.learning.people import People

IDS = st.sampled_from("abcdef")
MERGES = st.lists(st.tuples(IDS, IDS), max_size=12)


def reached(edges: list[tuple[str, str]], start: str) -> set[str]:
    """Ids that can be reached, by the slowest way there is."""
    found = {start}
    for _ in range(12):
        found |= {b for a, b in edges if a in found}
    return found


@given(MERGES, IDS, IDS)
def test_people_are_connected_ids(merges: list[tuple[str, str]], a: str, b: str) -> None:
    both_ways = merges + [(y, x) for x, y in merges]
    assert People(merges).same(a, b) == (b in reached(both_ways, a))
    assert People(reversed(merges)).same(a, b) == People(merges).same(a, b)


@given(MERGES, IDS)
def test_a_user_became_of_all_that_merge_into_them(merges: list[tuple[str, str]], user: str) -> None:
    assert People(merges).became(user) == reached([(y, x) for x, y in merges], user)
