"""What a log says about slates, collected in one pass: served, seen, answered."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import msgspec

from headwater.events.log import EventLog
from headwater.events.types import Feedback, Impression, SlateServed, UserForget, UserMerge
from headwater.learning.sound_events import sound_events


class ServedSlate(NamedTuple):
    """What a learning table needs of a slate record. `position` is the log position of the record's frame."""

    position: int
    slate: str
    user: str
    ts: int
    scenario: str | None
    variant: str | None
    config_version: str
    scorer_version: str
    items: list[tuple[str, float, str, float, float, bool]]


class SlateFacts(msgspec.Struct):
    """Slates by id in log order, the feedback and impressions that name one, and what bears on whose they are.

    `set_aside` counts what the log holds and nobody may count, by reason. `clock` is the largest event time, UTC ms, of
    feedback, impressions and slates; 0 in a log without them.
    """

    slates: dict[str, ServedSlate]
    answers: list[Feedback]
    views: list[Impression]
    merges: list[tuple[str, str]]
    """(user, the user that they turned out to be)."""
    forgotten: dict[str, int]
    """User -> position of the latest wish to be forgotten."""
    clock: int
    set_aside: Counter[str]


def collect(log: EventLog, *, start: int = 1, stop: int | None = None, max_future_ms: int = 86_400_000) -> SlateFacts:
    """The facts of frames `start` up to, not including, `stop`.

    One pass in batches; what is kept grows with slates and their answers, not with the log. An `event_id` counts once
    per user partition, the first in log order, as in the fold (here without a horizon). A slate id counts once too.
    """
    facts = SlateFacts(slates={}, answers=[], views=[], merges=[], forgotten={}, clock=0, set_aside=Counter())
    ids: set[tuple[int, str]] = set()
    for position, header, event in sound_events(log, start, stop, max_future_ms, facts.set_aside):
        if isinstance(event, Feedback | Impression | SlateServed):
            facts.clock = max(facts.clock, event.ts)
        if isinstance(event, Feedback | Impression):
            if event.slate is None:
                continue
            if event.event_id is not None:
                key = (header.subject.number, event.event_id)
                if key in ids:
                    facts.set_aside["repeat-event"] += 1
                    continue
                ids.add(key)
            if isinstance(event, Feedback):
                facts.answers.append(event)
            else:
                facts.views.append(event)
        elif isinstance(event, SlateServed):
            if event.slate in facts.slates:
                facts.set_aside["repeat-slate"] += 1
            else:
                facts.slates[event.slate] = _served(position, event)
        elif isinstance(event, UserMerge):
            facts.merges.append((event.from_user, event.into_user))
        elif isinstance(event, UserForget):
            facts.forgotten[event.user] = position
    return facts


def _served(position: int, event: SlateServed) -> ServedSlate:
    scenario = event.request.get("scenario")
    return ServedSlate(
        position,
        event.slate,
        event.user,
        event.ts,
        scenario if isinstance(scenario, str) else None,
        event.variant,
        event.config_version,
        event.scorer_version,
        event.items,
    )
