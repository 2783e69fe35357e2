"""How far two rankings of items lie apart. Pure functions of lists of ids; neither list is taken for the better one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

PERSISTENCE = 0.9
"""p of rank-biased overlap: how likely a reader goes on to the next slot. At 0.9 the first ten slots carry about 86 %
of the weight."""


class Distance(NamedTuple):
    """`overlap` and `rbo` are 1 for equal lists and 0 for lists without a common item; `rank_shift` is the mean
    difference of slots of the common items, `None` without any."""

    overlap: float
    rbo: float
    rank_shift: float | None
    identical: bool


def distance(first: Sequence[str], second: Sequence[str]) -> Distance:
    """Compare two lists without repeats. Two empty lists are equal. O(length)."""
    slots = {item: slot for slot, item in enumerate(second)}
    shifts = [abs(slot - slots[item]) for slot, item in enumerate(first) if item in slots]
    longest = max(len(first), len(second))
    return Distance(
        overlap=len(shifts) / longest if longest else 1.0,
        rbo=rank_biased_overlap(first, second),
        rank_shift=sum(shifts) / len(shifts) if shifts else None,
        identical=list(first) == list(second),
    )


def rank_biased_overlap(first: Sequence[str], second: Sequence[str], p: float = PERSISTENCE) -> float:
    """Extrapolated rank-biased overlap (Webber, Moffat and Zobel, "A similarity measure for indefinite rankings", TOIS
    2010, equation 32): agreement at each depth, weighted by p^depth, lists of unequal length allowed. 0 to 1.
    O(length).
    """
    short, long = sorted((first, second), key=len)
    if not long:
        return 1.0
    if not short:
        return 0.0
    s, t = len(short), len(long)
    of_short: set[str] = set()
    of_long: set[str] = set()
    common, at_short = 0, 0
    total = 0.0
    for depth in range(1, t + 1):
        new = long[depth - 1]
        common += new in of_short
        of_long.add(new)
        if depth <= s:
            other = short[depth - 1]
            common += other in of_long
            of_short.add(other)
        if depth == s:
            at_short = common
        total += p**depth * common / depth
        if depth > s:
            total += p**depth * at_short * (depth - s) / (s * depth)
    return (1 - p) / p * total + ((common - at_short) / t + at_short / s) * p**t
