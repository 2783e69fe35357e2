"""Session kNN (VMIS-kNN: Kersbergen et al., SIGMOD 2022) over plain lists, kept event by event.

It mirrors the statements in `core_rs/src/neighbourhood/sessions.rs` and `query/session_knn.rs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from headwater.config import FoldConfig
from headwater.events.types import Feedback
from headwater.scenario import QueryConfig
from reference.cooccurrence import matches
from reference.sessions import Session, sessions_of


@dataclass
class Indexed:
    """A session in the index."""

    user: str
    items: list[str] = field(default_factory=list)


class SessionIndex:
    """All sessions of a log, oldest first; `touches` holds (item, session number) in log order."""

    def __init__(self, config: FoldConfig, query: QueryConfig) -> None:
        self.config, self.query = config, query
        self.sessions: list[Indexed] = []
        self.touches: list[tuple[str, int]] = []
        self._events: dict[str, list[Feedback]] = {}
        self._number: dict[tuple[str, int], int] = {}

    def fold(self, event: Feedback) -> None:
        """Look at the user's whole history again, and index what the event added to the current session."""
        history = self._events.setdefault(event.user, [])
        before = self._current(event.user)
        history.append(event)
        now = self._current(event.user)
        items, old = self._items(now), self._items(before) if before and before.number == now.number else []
        if len(items) < 2 or len(items) == len(old):
            return
        key = (event.user, now.number)
        if key not in self._number:
            self._number[key] = len(self.sessions)
            self.sessions.append(Indexed(event.user))
            old = []
        number = self._number[key]
        if number < len(self.sessions) - self.config.session_knn.max_sessions:
            return
        for item in items[len(old) :]:
            self.sessions[number].items.append(item)
            self.touches.append((item, number))

    def _current(self, user: str) -> Session | None:
        gap = int(self.config.session_gap_minutes * 60_000)
        sessions, _ = sessions_of(self._events[user], gap)
        return sessions[-1] if sessions else None

    def _items(self, session: Session | None) -> list[str]:
        if session is None:
            return []
        positive = [e for e in session.events if not any(matches(spec, e) for spec in self.config.negative)]
        return list(dict.fromkeys(e.item for e in positive))[: self.config.session_knn.max_session_items]

    def forget(self, user: str) -> None:
        """The user's sessions lose their items; postings keep their places."""
        for session in self.sessions:
            if session.user == user:
                session.items = []
        self._events.pop(user, None)
        self._number = {key: number for key, number in self._number.items() if key[0] != user}

    def posting(self, item: str) -> list[int]:
        """Sessions that touched the item, latest first, at most m."""
        numbers = [number for touched, number in self.touches if touched == item]
        return numbers[::-1][: self.config.session_knn.postings]

    def scores(self, seeds: Sequence[str], own: str | None = None) -> dict[str, float]:
        """Score of each item for a visitor whose items are `seeds`, newest first; `own` is the user who asks."""
        seeds = list(seeds)[: self.query.knn_last_items]
        oldest = len(self.sessions) - self.config.session_knn.max_sessions
        excluded = None
        if own is not None and own in self._events:
            current = self._current(own)
            excluded = self._number.get((own, current.number)) if current else None
        query = self.query
        held = min(len(self.sessions), self.config.session_knn.max_sessions)
        similarity: dict[int, float] = {}
        newest: dict[int, int] = {}
        for place, seed in enumerate(seeds):
            weight = self._weight(place, len(seeds), query.knn_step)
            weight *= 1.0 + query.knn_rarity * (self._idf(seed) - 1.0)
            for number in self.posting(seed):
                if number >= oldest and number != excluded:
                    similarity[number] = similarity.get(number, 0.0) + weight
                    newest.setdefault(number, place)
        for number in similarity:
            age = len(self.sessions) - 1 - number
            similarity[number] *= 1.0 - (1.0 - query.knn_oldest) / held * age
        best = sorted(similarity, key=lambda n: (-similarity[n], -n))[: query.knn_neighbours]
        found: dict[str, float] = {}
        for number in best:
            vote = similarity[number] * self._weight(newest[number], len(seeds), query.knn_vote_step)
            items = self.sessions[number].items
            for place, item in enumerate(items):
                value = vote * (query.knn_own if item in seeds else 1.0)
                if seeds[newest[number]] in items:
                    away = place - items.index(seeds[newest[number]])
                    value *= query.knn_near ** abs(away) * (query.knn_before if away < 0 else 1.0)
                if value > 0.0:
                    found[item] = found.get(item, 0.0) + value
        return {item: score * self._idf(item) for item, score in found.items()}

    @staticmethod
    def _weight(place: int, count: int, step: float) -> float:
        return step**place if step > 0.0 else (count - place) / count

    def _idf(self, item: str) -> float:
        held = min(len(self.sessions), self.config.session_knn.max_sessions)
        return max(math.log((held + 1) / (len(self.posting(item)) + 0.5)), 0.0) + 1
