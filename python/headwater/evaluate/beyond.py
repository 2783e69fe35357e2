"""What a list is beside accurate: how much of the catalogue lists reach, how new, varied and like the user they are.

* coverage@k and Gini: share of the catalogue that any list showed, and inequality of how often (Fleder and Hosanagar,
  Management Science 2009; 0: all equally, 1: one item only).
* novelty: mean self-information -log2 p(item) of shown items, p the share of events so far (Zhou et al., PNAS 2010).
* intra-list diversity: mean unlikeness of pairs of a list, 1 - Jaccard of their categories (Ziegler et al., WWW 2005;
  Smyth and McClave, ICCBR 2001).
* serendipity: share of lists with a hit that the k most popular items did not hold (Ge et al., RecSys 2010).
* calibration: Kullback-Leibler divergence of a list's categories from those of the user's history, smoothed with
  alpha = 0.01 (Steck, RecSys 2018, equations 5 and 6); 0: alike.

Diversity and calibration are of lists and users whose items have categories, and absent without any.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

ALPHA = 0.01
_EVERY = 10
"""Diversity and calibration are taken of every tenth list: they look at all pairs of it."""

Categories = Mapping[str, frozenset[str]]


def gini(shown: Counter[str], catalogue: int) -> float:
    """Of how often each item of the catalogue was shown; items never shown count as 0."""
    counts = np.zeros(max(catalogue, len(shown), 1))
    counts[: len(shown)] = sorted(shown.values())
    counts.sort()
    total = counts.sum()
    if total == 0:
        return 0.0
    places = np.arange(1, len(counts) + 1)
    return float((2 * places - len(counts) - 1) @ counts / (len(counts) * total))


def intra_list_diversity(items: Sequence[str], categories: Categories) -> float | None:
    """None for a list without two items of known categories."""
    known = [categories[item] for item in items if categories.get(item)]
    if len(known) < 2:
        return None
    return float(np.mean([1 - len(a & b) / len(a | b) for a, b in combinations(known, 2)]))


def miscalibration(history: Iterable[str], items: Sequence[str], categories: Categories) -> float | None:
    """None where the history or the list has no categories."""
    wanted, given = _mix(history, categories), _mix(items, categories)
    if not wanted or not given:
        return None
    divergence = 0.0
    for category, share in wanted.items():
        smoothed = (1 - ALPHA) * given.get(category, 0.0) + ALPHA * share
        divergence += share * math.log2(share / smoothed)
    return divergence


def _mix(items: Iterable[str], categories: Categories) -> dict[str, float]:
    """Share of each category; an item's weight is spread evenly over its categories."""
    mix: dict[str, float] = {}
    known = [categories[item] for item in items if categories.get(item)]
    for of_item in known:
        for category in sorted(of_item):
            mix[category] = mix.get(category, 0.0) + 1 / (len(of_item) * len(known))
    return mix


class Beyond:
    """Collects these measures of one contender's lists."""

    def __init__(self, categories: Categories) -> None:
        self._categories = categories
        self._shown: Counter[str] = Counter()
        self._novelty: list[float] = []
        self._surprises = self._lists = 0
        self._diversity: list[float] = []
        self._calibration: list[float] = []

    def add(
        self, shown: list[str], hits: set[str], popular: set[str], history: Iterable[str], shares: Mapping[str, float]
    ) -> None:
        """One list: what of it was hit, the most popular items then, the user's items, and each shown item's share."""
        self._lists += 1
        self._shown.update(shown)
        self._surprises += bool(hits - popular)
        if shown:
            self._novelty.append(float(np.mean([-math.log2(shares[item]) for item in shown])))
        if self._categories and self._lists % _EVERY == 1:
            diversity = intra_list_diversity(shown, self._categories)
            calibration = miscalibration(history, shown, self._categories)
            if diversity is not None:
                self._diversity.append(diversity)
            if calibration is not None:
                self._calibration.append(calibration)

    def figures(self, catalogue: int) -> dict[str, float | None]:
        """By name; None for what could not be measured."""

        def mean(values: list[float]) -> float | None:
            return float(np.mean(values)) if values else None

        return {
            "coverage": len(self._shown) / max(catalogue, 1),
            "gini": gini(self._shown, catalogue),
            "novelty": mean(self._novelty),
            "diversity": mean(self._diversity),
            "serendipity": self._surprises / max(self._lists, 1),
            "miscalibration": mean(self._calibration),
        }
