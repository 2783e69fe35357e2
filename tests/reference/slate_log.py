"""Small logs of slates, written by hand for tests of the join and the estimators."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.events.frame import FrameWriter
from headwater.events.memory_log import MemoryLog
from headwater.events.subjects import subject_of
from headwater.events.types import Event, Feedback, Impression, SlateServed

START = 1_750_000_000_000
HOUR = 3_600_000
PARTITIONS = 4


def served(
    slate: str = "s1",
    user: str = "ann",
    items: str = "abc",
    *,
    ts: int = START,
    propensities: Sequence[float] = (0.5, 0.4, 0.2),
    pinned: Sequence[int] = (),
    scenario: object = "home",
) -> SlateServed:
    """A slate of one-letter items."""
    rows, cascade = [], 1.0
    for slot, item in enumerate(items):
        cascade *= propensities[slot]
        rows.append((item, 1.0 / (slot + 1), "popular", propensities[slot], cascade, slot in pinned))
    return SlateServed(slate, user, ts, {"scenario": scenario}, "v1", "q1", "k1", [1], [], None, rows)


def seen(
    slots: Sequence[int], slate: str = "s1", user: str = "ann", *, after: int = 1000, id: str | None = None
) -> Event:
    """An impression, `after` ms behind START."""
    return Impression(user, slate, START + after, list(slots), id)


def did(
    type: str,
    item: str,
    slot: int | None = None,
    slate: str | None = "s1",
    user: str = "ann",
    *,
    after: int = 2000,
    id: str | None = None,
    value: float | None = None,
) -> Event:
    """Feedback, `after` ms behind START."""
    return Feedback(type, user, item, START + after, value, id, slate=slate, slot=slot)


def later(hours: float) -> Event:
    """Something that happened to someone else: time goes on."""
    return Feedback("view", "nobody", "x", START + round(hours * HOUR))


def frames_of(events: Sequence[Event], epoch: int = 1) -> list[bytes]:
    """One frame an event, in order."""
    writer = FrameWriter("test", epoch)
    appended = START + 1000 * HOUR
    return [frame for event in events for frame in writer.pack(subject_of(event, PARTITIONS), [event], appended)]


def log_of(*events: Event) -> MemoryLog:
    """A log of these events."""
    log = MemoryLog()
    log.append(frames_of(events))
    return log
