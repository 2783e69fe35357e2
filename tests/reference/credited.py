"""Which slate is credited with a purchase, worked out the slow and obvious way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headwater.events.types import Event, Feedback, Impression, SlateServed
from headwater.experiments.settings import ReportSettings

HOUR = 3_600_000


class Credit(NamedTuple):
    """Slate, slot and how ("click", "view"); None without."""

    slate: str | None
    slot: int | None
    how: str | None


def credits(events: Sequence[Event], settings: ReportSettings) -> tuple[set[tuple[str, int]], list[Credit]]:
    """Slots that were clicked, and for each purchase in order who is credited."""
    slates = {event.slate: event for event in events if isinstance(event, SlateServed)}
    clicks: list[tuple[int, int, Feedback, str, int]] = []
    for order, event in enumerate(events):
        if isinstance(event, Feedback) and (slot := clicked(event, slates, settings)) is not None:
            assert event.slate is not None
            clicks.append((event.ts, order, event, event.slate, slot))
    found = [
        credit(order, event, slates, clicks, events, settings)
        for order, event in enumerate(events)
        if isinstance(event, Feedback) and event.type in settings.conversions
    ]
    return {(slate, slot) for _, _, _, slate, slot in clicks}, found


def clicked(event: Feedback, slates: dict[str, SlateServed], settings: ReportSettings) -> int | None:
    """The slot that an answer is about, if it counts."""
    slate = slates.get(event.slate or "")
    if slate is None or event.type in settings.ignored or slate.user != event.user:
        return None
    if not slate.ts <= event.ts <= slate.ts + settings.window_hours * HOUR:
        return None
    fitting = [slot for slot, (item, *_) in enumerate(slate.items) if item == event.item and event.slot in (None, slot)]
    return fitting[0] if fitting else None


def credit(
    order: int,
    bought: Feedback,
    slates: dict[str, SlateServed],
    clicks: list[tuple[int, int, Feedback, str, int]],
    events: Sequence[Event],
    settings: ReportSettings,
) -> Credit:
    """Its own slate, else the last click, else what was seen last."""
    for _, at, _, slate, slot in clicks:
        if at == order:
            return Credit(slate, slot, "click")
    before = [
        click
        for click in clicks
        if click[2].user == bought.user
        and (settings.match == "any" or click[2].item == bought.item)
        and bought.ts - settings.window_hours * HOUR <= click[0] <= bought.ts
    ]
    if before:
        _, _, _, slate, slot = max(before, key=lambda click: click[:2])
        return Credit(slate, slot, "click")
    seen: dict[str, set[int]] = {}
    for event in events:
        if isinstance(event, Impression):
            seen.setdefault(event.slate, set()).update(event.slots)
    shown = [
        (served.ts, served.slate, slot)
        for served in slates.values()
        for slot, (item, *_) in enumerate(served.items)
        if served.user == bought.user
        and item == bought.item
        and bought.ts - settings.view_hours * HOUR <= served.ts <= bought.ts
        and (served.slate not in seen or slot in seen[served.slate])
    ]
    if shown:
        _, slate, slot = max(shown)
        return Credit(slate, slot, "view")
    return Credit(None, None, None)
