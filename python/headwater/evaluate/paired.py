"""Is the difference more than chance: paired differences, bootstrapped over users (Efron; Sakai, SIGIR 2006).

Two contenders answered the same questions, so their difference is taken question by question; a user's questions hang
together, so whole users are drawn again, not questions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

DRAWS = 1000
_CELLS = 1 << 22
"""Users drawn at a time: of a million users four draws, not a hundred that would fill gigabytes."""


class Difference(NamedTuple):
    """Mean difference per question and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "better", "worse", or "not told apart"."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not told apart"


def paired_difference(ours: Any, theirs: Any, users: list[str], seed: int) -> Difference:
    """`ours` minus `theirs`: float64 (n,) each, one value a question; `users` names whose question each was.

    The interval is that of the percentiles of `DRAWS` draws of as many users as there are. O(n + DRAWS x users) time,
    O(n + users) memory.
    """
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    codes = {user: code for code, user in enumerate(dict.fromkeys(users))}
    number = np.fromiter((codes[user] for user in users), np.int64, len(users))
    sums = np.bincount(number, weights=difference, minlength=len(codes))
    sizes = np.bincount(number, minlength=len(codes))
    rng = np.random.default_rng(seed)
    means = []
    block = max(1, min(DRAWS, _CELLS // len(codes)))
    for start in range(0, DRAWS, block):
        drawn = rng.integers(0, len(codes), size=(min(block, DRAWS - start), len(codes)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Difference(float(difference.mean()), float(low), float(high))
