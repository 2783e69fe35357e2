"""Who asks for what: users and items of the target's own log, by activity, by rank (Zipf) or evenly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headwater.errors import InvalidInput
from headwater.events.log import EventLog, decode_frames
from headwater.events.types import Feedback

Choice = Literal["log", "zipf", "uniform"]

_FRAMES = 1_500
_SEED = 5


class Pairs(NamedTuple):
    """Users and items of a sample of events: equally long, in log order."""

    users: list[str]
    items: list[str]


class Population:
    """Draws users and items for requests; equal arguments give equal draws.

    `log`: as often as they occur in the sample. `zipf`: the k-th most frequent with probability ~ 1/k^exponent.
    `uniform`: each that occurs alike. A share `strangers` of the users is known to nobody.
    """

    def __init__(self, pairs: Pairs, choice: Choice = "log", exponent: float = 1.0, strangers: float = 0.05) -> None:
        if not pairs.users:
            rule = "a log with feedback, or other users and items: --population"
            raise InvalidInput(f"there is no user or item to ask for; allowed: {rule}", field="population", rule=rule)
        self._strangers = strangers
        self.users = _Drawn(pairs.users, choice, exponent)
        self.items = _Drawn(pairs.items, choice, exponent)

    def user(self, draws: NDArray[np.float64]) -> list[str]:
        """A user for each number in [0, 1)."""
        known = 1 - self._strangers
        names = self.users.at(np.minimum(draws / known, 1 - 1e-12) if known else draws)
        return [
            name if draw < known else f"stranger {int(draw * 1e9)}"
            for name, draw in zip(names, draws.tolist(), strict=True)
        ]

    def item(self, draws: NDArray[np.float64]) -> list[str]:
        """An item for each number in [0, 1), independent of the user that the same number gives."""
        return self.items.at((draws * 7919.0) % 1.0)


class _Drawn:
    def __init__(self, names: Sequence[str], choice: Choice, exponent: float) -> None:
        ranked = Counter(names).most_common()
        self.names = [name for name, _ in ranked]
        counts = {
            "log": np.array([count for _, count in ranked], float),
            "zipf": 1.0 / np.arange(1, len(ranked) + 1) ** exponent,
            "uniform": np.ones(len(ranked)),
        }[choice]
        weights = np.cumsum(counts)
        self._weights = weights / weights[-1]

    def at(self, draws: NDArray[np.float64]) -> list[str]:
        places = np.minimum(np.searchsorted(self._weights, draws, side="right"), len(self.names) - 1)
        return [self.names[place] for place in places.tolist()]


def sampled_pairs(log: EventLog, frames: int = _FRAMES) -> Pairs:
    """User and item of the feedback in up to `frames` frames at random positions of a log; all, if it is short."""
    first, last = log.first(), log.last()
    if not last:
        return Pairs([], [])
    positions: Iterable[int] = range(first, last + 1)
    if last - first >= frames:
        positions = sorted(np.random.default_rng(_SEED).choice(last - first + 1, frames, replace=False) + first)
    pairs = Pairs([], [])
    for position in map(int, positions):
        for batch in log.read(position, stop=position + 1):
            for _, _, events in decode_frames(batch):
                add_pairs(pairs, events)
    return pairs


def add_pairs(pairs: Pairs, events: Iterable[object]) -> None:
    """Add the users and items of feedback among events."""
    for event in events:
        if isinstance(event, Feedback):
            pairs.users.append(event.user)
            pairs.items.append(event.item)
