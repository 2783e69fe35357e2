"""Explanations: why an item stands in a slate, from the slate and the log.

A slate that the engine no longer remembers is made again: its record in the log holds the request and the position,
and the state at that position is a fold away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from headwater.actors.recovery import fold_log
from headwater.actors.runtime import EmbeddedRuntime
from headwater.core import new_core, restore_core
from headwater.errors import InvalidQuery, SnapshotInvalid
from headwater.events.frame import decode_frame
from headwater.events.log import EventLog
from headwater.events.types import SlateServed
from headwater.slate import EventRef, Explanation, Slate, SlateItem

Answer = Callable[[str, dict[str, Any], str, Any], Slate]


class Answered(msgspec.Struct, frozen=True):
    """A slate and the request that it answered; no request for one that is neither remembered nor recorded."""

    slate: Slate
    request: dict[str, Any] | None


def explain(answered: Answered, item: str, runtime: EmbeddedRuntime) -> Explanation:
    """The explanation of one item of a slate, or of one that is not in it."""
    slate = answered.slate
    slot = next((i for i, r in enumerate(slate.items) if r.item == item), None)
    chosen = None if slot is None else slate.items[slot]
    reasons = [] if chosen is None else chosen.reasons
    refs = list(dict.fromkeys(reason.event for reason in reasons if reason.event is not None))
    return Explanation(
        slate=slate.id,
        user=slate.user,
        item=item,
        slot=slot,
        score=0.0 if chosen is None else chosen.score,
        parts=[] if chosen is None else chosen.parts,
        reasons=reasons,
        events=[event_at(runtime.log, ref) for ref in refs],
        rules=_absence(answered, item, runtime) if chosen is None else _rules(chosen, slate),
    )


def _rules(chosen: SlateItem, slate: Slate) -> list[str]:
    """What decided beside the sources."""
    rules = [f"{name}: score x {factor:g}" for name, factor in chosen.factors]
    if chosen.pinned:
        rules.append("pinned to this slot")
    if chosen.promoted:
        rules.append("the slot was kept for promoted items")
    if slate.exploring.temperature > 0:
        how = "as the slate without exploration has it" if chosen.greedy else "to explore"
        rules.append(f"{how}: probability {chosen.propensity:.4g} given the slots above")
    return rules


def _absence(answered: Answered, item: str, runtime: EmbeddedRuntime) -> list[str]:
    """What kept an item out, from the state that answered."""
    slate, request = answered.slate, answered.request
    if request is None:
        return ["The slate was not recorded and is no longer remembered: what kept the item out cannot be said."]
    position = slate.positions[0]
    core = runtime.core if runtime.core.position == position else state_at(position, runtime)
    asked = msgspec.msgpack.encode(request | {"key": slate.id, "why": item})
    return list(msgspec.msgpack.decode(core.recommend(asked))[-1])


def event_at(log: EventLog, ref: EventRef) -> dict[str, Any]:
    """One event as the log holds it, with its name. Raises `LogCorrupt` if the log no longer holds it soundly."""
    for batch in log.read(ref.position, stop=ref.position + 1):
        _, events = decode_frame(batch.frames[0])
        event = events[ref.index]
        fields = {f: v for f in event.__struct_fields__ if (v := getattr(event, f)) is not None}
        return {"id": ref.id, "position": ref.position, "index": ref.index, **fields}
    return {"id": ref.id, "position": ref.position, "index": ref.index, "missing": True}


def unknown_slate(slate: str) -> InvalidQuery:
    """The error for a slate of which nothing is known."""
    return InvalidQuery(
        f"slate {slate!r} is neither remembered nor recorded in the log",
        field="slate",
        value=slate,
        rule="a known slate",
    )


def recorded(slate: str, runtime: EmbeddedRuntime, answer: Answer) -> Answered | None:
    """A recorded slate, answered again by the state at its position; None if no record names it. O(log)."""
    served = find_record(slate, runtime.log)
    if served is None:
        return None
    core = state_at(served.positions[0], runtime)
    kind = (served.extra or {}).get("kind", "recommend")
    remade = answer(kind, dict(served.request), slate, core)
    remade = msgspec.structs.replace(remade, config=served.config_version, recorded=True)
    return Answered(remade, dict(served.request))


def find_record(slate: str, log: EventLog) -> SlateServed | None:
    """The record of a slate. O(log)."""
    # The id's own bytes stand in the frame that holds the record: most frames are passed over without decoding.
    needle = msgspec.msgpack.encode(slate)
    for batch in log.read():
        for frame in batch.frames:
            if needle not in frame:
                continue
            for event in decode_frame(frame)[1]:
                if isinstance(event, SlateServed) and event.slate == slate:
                    return event
    return None


def state_at(position: int, runtime: EmbeddedRuntime) -> Any:
    """State after the frame at `position`: the nearest snapshot before it, or nothing, and what follows."""
    threads = runtime.config.engine.threads
    core = new_core(runtime.config, threads)
    for stored in [] if runtime.snapshots is None else runtime.snapshots.positions():
        if stored > position:
            continue
        try:
            core = restore_core(runtime.config, threads, runtime.snapshots.load(stored))  # type: ignore[union-attr]
            break
        except SnapshotInvalid:
            continue  # an older snapshot, or the whole log, gives the same state
    fold_log(core, runtime.log, stop=position + 1)
    return core
