"""What a replay knows of the past beside the engine: to name targets (repeat, cold, popular), and for what is compared
with.

*Popularity so far*: items ranked by their events so far; the *head* are those that hold the first third of all events,
the *torso* those of the second, the *tail* the rest. Ranks are taken anew whenever the log has grown by a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence

REMEMBERED = 1000
"""Distinct items kept of a user, the latest ones; an older one counts as new again."""
_FIRST_RANKING = 100


class Past:
    """Counts of what was folded. O(1) an event, and a sort of the catalogue whenever the log has grown by a tenth."""

    def __init__(self) -> None:
        self.events = 0
        self._touched: dict[str, dict[str, None]] = {}
        self._counts: dict[str, int] = {}
        self._born: dict[str, int] = {}
        self._ranked_at = 0
        self._classes: dict[str, str] = {}
        self._popular: list[str] = []

    @property
    def items(self) -> int:
        """Items so far."""
        return len(self._counts)

    @property
    def users(self) -> int:
        """Users so far."""
        return len(self._touched)

    def add(self, user: str, items: Sequence[str]) -> None:
        """Events of one user, in order."""
        touched = self._touched.setdefault(user, {})
        for item in items:
            touched.pop(item, None)
            touched[item] = None
            if len(touched) > REMEMBERED:
                del touched[next(iter(touched))]
            self._counts[item] = self._counts.get(item, 0) + 1
            self._born.setdefault(item, self.events)
            self.events += 1
        if self.events >= max(_FIRST_RANKING, self._ranked_at * 1.1):
            self._rank()

    def touched(self, user: str) -> dict[str, None]:
        """Distinct items of a user, the latest last. Not to be changed."""
        return self._touched.get(user, _NONE)

    def is_cold(self, item: str) -> bool:
        """Whether no event named the item."""
        return item not in self._counts

    def age_of(self, item: str) -> int | None:
        """Events since the item's first one."""
        born = self._born.get(item)
        return None if born is None else self.events - born

    def popularity_of(self, item: str) -> str:
        """head, torso, tail, or cold."""
        return self._classes.get(item, "cold" if self.is_cold(item) else "tail")

    def share_of(self, item: str) -> float:
        """Share of all events that were on the item, one event added to each item: never 0."""
        return (self._counts.get(item, 0) + 1) / (self.events + len(self._counts) + 1)

    def popular(self, k: int) -> list[str]:
        """The `k` items with most events at the latest ranking, most first."""
        return self._popular[:k]

    def _rank(self) -> None:
        self._ranked_at = self.events
        ranked = sorted(self._counts, key=lambda item: (-self._counts[item], item))
        self._popular = ranked[:REMEMBERED]
        before = 0
        for item in ranked:
            share = before / self.events
            self._classes[item] = "head" if share < 1 / 3 else "torso" if share < 2 / 3 else "tail"
            before += self._counts[item]


_NONE: dict[str, None] = {}
