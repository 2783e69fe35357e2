"""What came of a replay: every target with the place that each contender gave it, and the tables over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from headwater.evaluate.beyond import Beyond, Categories
from headwater.evaluate.metrics import discount, rank_of
from headwater.evaluate.paired import paired_difference
from headwater.evaluate.past import Past
from headwater.evaluate.replay import Observer, Target
from headwater.evaluate.score import query_times

PERIODS = 20
METRICS = ("hr", "mrr", "ndcg", "recall", "precision")


class Outcomes(Observer):
    """Collects targets and ranks. 200 bytes a target, 4 bytes more for each contender."""

    def __init__(self, names: list[str], k: int, categories: Categories) -> None:
        self.names, self.k = names, k
        self.targets: list[Target] = []
        self.ranks: list[list[int]] = [[] for _ in names]
        self.sizes: list[int] = []
        """Targets of each group, in order."""
        self._micros: list[list[float]] = [[] for _ in names]
        self._beyond = [Beyond(categories) for _ in names]

    def observe(self, past: Past, targets: list[Target], lists: list[list[str]], micros: list[float | None]) -> None:
        """See `Observer`."""
        self.targets += targets
        self.sizes.append(len(targets))
        popular = set(past.popular(self.k))
        history = past.touched(targets[0].user)
        for place, (shown, time) in enumerate(zip(lists, micros, strict=True)):
            ranks = [rank_of(target.item, shown) for target in targets]
            self.ranks[place] += ranks
            if time is not None:
                self._micros[place].append(time)
            hits = {target.item for target, rank in zip(targets, ranks, strict=True) if rank}
            shares = {item: past.share_of(item) for item in shown}
            self._beyond[place].add(shown, hits, popular, history, shares)

    def joined(self, other: Outcomes) -> Outcomes:
        """The contenders of both, which were asked the same. Raises `ValueError` when they were not."""
        if self.targets != other.targets:
            raise ValueError("the replays did not predict the same targets")
        both = Outcomes([*self.names, *other.names], self.k, {})
        both.targets, both.sizes = self.targets, self.sizes
        both.ranks = [*self.ranks, *other.ranks]
        both._micros = [*self._micros, *other._micros]
        both._beyond = [*self._beyond, *other._beyond]
        return both

    def report(self, catalogue: int, seed: int) -> ReplayReport:
        """All tables. The differences are between the first contender and each other one."""
        ranks = [np.array(of_contender, np.int64) for of_contender in self.ranks]
        users = [target.user for target in self.targets]
        sizes = np.array(self.sizes, np.int64)
        overall = {}
        for name, of_contender, micros, beyond in zip(self.names, ranks, self._micros, self._beyond, strict=True):
            figures: dict[str, Any] = self._figures(of_contender)
            hits = np.add.reduceat((of_contender > 0).astype(np.float64), np.cumsum(sizes) - sizes)
            figures |= {"recall": float((hits / sizes).mean()), "precision": float((hits / self.k).mean())}
            overall[name] = figures | beyond.figures(catalogue) | {"query_us": query_times(micros)}
        differences: dict[str, dict[str, Any]] = {}
        for name, of_contender in zip(self.names[1:], ranks[1:], strict=True):
            differences[name] = {}
            for metric, value in _VALUES.items():
                found = paired_difference(value(ranks[0]), value(of_contender), users, seed)
                differences[name][metric] = {**found._asdict(), "verdict": found.verdict}
        return ReplayReport(
            self.k,
            len(self.targets),
            len(self.sizes),
            sum(target.cold for target in self.targets),
            overall,
            {title: self._segments(ranks, key) for title, key in _SEGMENTS.items()},
            self._over_time(ranks),
            differences,
        )

    @staticmethod
    def _figures(ranks: Any) -> dict[str, float]:
        return {metric: float(value(ranks).mean()) for metric, value in _VALUES.items()}

    def _segments(self, ranks: list[Any], key: Callable[[Target], str]) -> dict[str, Segment]:
        names = [key(target) for target in self.targets]
        labels = np.array(names)
        segments = {}
        for name in sorted(set(names)):
            inside = labels == name
            figures = {c: self._figures(r[inside]) for c, r in zip(self.names, ranks, strict=True)}
            segments[name] = Segment(int(inside.sum()), figures)
        return segments

    def _over_time(self, ranks: list[Any]) -> list[Period]:
        """Up to `PERIODS` periods of equally many targets."""
        count = len(self.targets)
        bounds = np.linspace(0, count, min(PERIODS, count) + 1).astype(int)
        periods = []
        for first, last in pairwise(bounds):
            figures = {c: self._figures(r[first:last]) for c, r in zip(self.names, ranks, strict=True)}
            periods.append(Period(self.targets[first].ts, int(last - first), figures))
        return periods


def _hit(ranks: Any) -> Any:
    return (ranks > 0).astype(np.float64)


def _reciprocal(ranks: Any) -> Any:
    return np.where(ranks > 0, 1.0 / np.maximum(ranks, 1), 0.0)


def _gain(ranks: Any) -> Any:
    table = np.array([discount(rank) for rank in range(int(ranks.max(initial=0)) + 1)])
    return table[ranks]


_VALUES: dict[str, Callable[[Any], Any]] = {"hr": _hit, "mrr": _reciprocal, "ndcg": _gain}


def _kind(target: Target) -> str:
    return f"{'repeat' if target.repeat else 'new to user'}, {target.type}"


def _history(target: Target) -> str:
    for label, most in (("0 items", 0), ("1 item", 1), ("2-5 items", 5), ("6-20 items", 20)):
        if target.history <= most:
            return label
    return "more than 20 items"


def _age(target: Target) -> str:
    if target.age is None:
        return "cold: no event yet"
    return "new: at most 1,000 events old" if target.age <= 1000 else "older"


_SEGMENTS: dict[str, Callable[[Target], str]] = {
    "target": _kind,
    "repeat or new": lambda target: "repeat" if target.repeat else "new to user",
    "user's history": _history,
    "item's age": _age,
    "item's popularity": lambda target: target.popularity,
}


class Segment(msgspec.Struct, frozen=True):
    """Targets of one kind, and each contender's figures on them."""

    targets: int
    figures: dict[str, dict[str, float]]


class Period(msgspec.Struct, frozen=True):
    """Consecutive targets from `start` (UTC ms) on."""

    start: int
    targets: int
    figures: dict[str, dict[str, float]]


class ReplayReport(msgspec.Struct, frozen=True):
    """All tables of a replay. `differences`: first contender minus each other one, by metric, with intervals."""

    k: int
    targets: int
    groups: int
    cold: int
    overall: dict[str, dict[str, Any]]
    segments: dict[str, dict[str, Segment]]
    over_time: list[Period]
    differences: dict[str, dict[str, Any]]


def categories_of(facts: Iterable[Any]) -> Categories:
    """Categories by item, of puts."""
    return {fact.item: frozenset(fact.categories) for fact in facts if fact.categories}
