"""A log with a long tail: long sessions over many items whose popularity follows Zipf's law."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

_START = 1_700_000_000_000
_SHORTEST, _LONGEST = 24, 48
_SESSIONS_AT_ONCE = 2_000


class ZipfLog:
    """`events` views of `items` items; item i has probability ~ 1 / (i + 1)^s. A session is up to 48 distinct items.

    Three items in four of a session come from its theme (items near its anchor, which is drawn by popularity), so that
    neighbours are worth finding; the rest from anywhere. With s = 0.6 and ten events an item, three rows in ten have
    more than 256 neighbours: the tail is long enough to overflow. Equal seeds give equal logs.
    """

    def __init__(self, events: int, items: int, exponent: float = 0.6, seed: int = 11) -> None:
        self._random = np.random.default_rng(seed)
        self._events = events
        self._items = items
        weights = np.cumsum(1.0 / np.arange(1, items + 1) ** exponent)
        self._weights = weights / weights[-1]
        self.sessions = self._sessions()

    def _sessions(self) -> list[NDArray[np.uint32]]:
        """Items of every session, in order."""
        random, sessions, held = self._random, [], 0
        while held < self._events:
            lengths = random.integers(_SHORTEST, _LONGEST + 1, _SESSIONS_AT_ONCE)
            starts = np.concatenate(([0], np.cumsum(lengths)))
            anywhere = np.searchsorted(self._weights, random.random(starts[-1])).astype(np.uint32)
            # A theme is what is near its anchor in popularity: the anchor is drawn by popularity as well.
            anchors = np.repeat(np.searchsorted(self._weights, random.random(_SESSIONS_AT_ONCE)), lengths)
            spread = np.maximum(2 * _LONGEST, anchors // 100)
            near = np.clip(anchors + random.integers(-spread, spread + 1), 0, self._items - 1).astype(np.uint32)
            drawn = np.where(random.random(starts[-1]) < 0.75, near, anywhere)
            for a, b in pairwise(starts):
                session = drawn[a:b]
                _, first = np.unique(session, return_index=True)
                session = session[np.sort(first)]
                sessions.append(session)
                held += len(session)
                if held >= self._events:
                    break
        return sessions

    @property
    def events(self) -> int:
        """Events in all sessions."""
        return sum(map(len, self.sessions))

    def chunks(self) -> Iterator[pl.DataFrame]:
        """The log in time order: sessions one after the other, each of its own user, a second between events."""
        made = 0
        for start in range(0, len(self.sessions), _SESSIONS_AT_ONCE):
            part = self.sessions[start : start + _SESSIONS_AT_ONCE]
            lengths = np.array([len(s) for s in part])
            numbers = np.repeat(np.arange(start, start + len(part)), lengths)
            ts = _START + (made + np.arange(lengths.sum())) * 1000
            frame = pl.DataFrame({"item": np.concatenate(part), "number": numbers, "ts": ts.astype(np.int64)})
            yield frame.select(
                pl.lit("view").alias("type"),
                pl.format("u{}", "number").alias("user"),
                pl.format("i{}", "item").alias("item"),
                "ts",
                pl.format("e{}", pl.int_range(made, made + len(frame))).alias("event_id"),
                pl.format("s{}", "number").alias("session"),
            )
            made += len(frame)
