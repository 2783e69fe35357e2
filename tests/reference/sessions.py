"""What one user's events make of that user, written as plainly as possible: nothing is bounded, nothing incremental.

It mirrors the statements in `core_rs/src/sessions/user.rs`, `fold/fact.rs` and `admission/rapid.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headwater.config import FoldConfig
from headwater.events.types import Feedback
from reference.cooccurrence import matches

RAPID_RING = 4
WINDOW = 300_000


@dataclass
class Session:
    """A run of one user's events: those that a gap or an explicit id keeps together, in log order."""

    number: int
    key: str | None
    events: list[Feedback] = field(default_factory=list)
    dwell: int = 0

    @property
    def last(self) -> int:
        """Latest event time."""
        return max(event.ts for event in self.events)

    @property
    def started(self) -> int:
        """Earliest event time."""
        return min(event.ts for event in self.events)

    def items(self) -> list[str]:
        """Distinct items in order of first touch."""
        return list(dict.fromkeys(event.item for event in self.events))


def without_rapid_repeats(events: Sequence[Feedback], span_ms: int) -> list[Feedback]:
    """The events that count: one that repeats item and type of one of the user's last four counted events within the
    span of event time does not."""
    counted: dict[str, list[Feedback]] = {}
    kept = []
    for event in events:
        recent = counted.setdefault(event.user, [])[-RAPID_RING:]
        repeats = [r for r in recent if (r.item, r.type) == (event.item, event.type) and abs(event.ts - r.ts) < span_ms]
        if not repeats:
            counted[event.user].append(event)
            kept.append(event)
    return kept


def sessions_of(events: Sequence[Feedback], gap_ms: int) -> tuple[list[Session], list[Feedback]]:
    """One user's sessions in order, and the late events, which belong to none."""
    sessions: list[Session] = []
    late: list[Feedback] = []
    for event in events:
        now = sessions[-1] if sessions else None
        if now is None or (now.key and event.session and now.key != event.session):
            sessions.append(Session(len(sessions) + 1, event.session))
        elif now.key and event.session == now.key:
            pass
        elif event.ts > now.last + gap_ms:
            sessions.append(Session(len(sessions) + 1, event.session))
        elif event.ts < now.last - gap_ms:
            late.append(event)
            continue
        now = sessions[-1]
        if now.events:
            now.dwell += max(0, event.ts - now.last)
        now.key = event.session or now.key
        now.events.append(event)
    return sessions, late


def latest_by_item(events: Sequence[Feedback]) -> list[tuple[str, str, int]]:
    """(item, type, ts) of the last event on each item, the last touched first."""
    latest: dict[str, Feedback] = {}
    for event in events:
        latest.pop(event.item, None)
        latest[event.item] = event
    return [(e.item, e.type, e.ts) for e in reversed(latest.values())]


def windows_of(events: Sequence[Feedback], count: int = 12) -> list[int]:
    """Events per five-minute window up to the newest; a window already passed at an event's arrival misses it."""
    newest = -1
    counts: dict[int, int] = {}
    for event in events:
        window = event.ts // WINDOW
        newest = max(newest, window)
        if window > newest - count:
            counts[window] = counts.get(window, 0) + 1
    return [counts.get(window, 0) for window in range(newest - count + 1, newest + 1)]


def consumed_of(events: Sequence[Feedback], config: FoldConfig) -> list[str]:
    """Consumed items, the latest first."""
    return [
        item for item, _, _ in latest_by_item([e for e in events if any(matches(s, e) for s in config.consumption)])
    ]


def roles_of(event: Feedback, config: FoldConfig) -> list[str]:
    """What the event counts for."""
    lists = {
        "negative": config.negative,
        "positive": config.positive,
        "strong": config.strong,
        "consumed": config.consumption,
    }
    return [role for role, specs in lists.items() if any(matches(spec, event) for spec in specs)]
