"""Explanations: why an item stands in a slate, from the slate and the log.

A slate that the engine no longer remembers is made again: its record in the log holds the request and the position,
and the state at that position is a fold away.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isclose
from typing import Any

import msgspec

from headwater.active_query import query_of
from headwater.actors.recovery import fold_log
from headwater.actors.runtime import EmbeddedRuntime
from headwater.config import QueryConfig
from headwater.core import new_core, restore_core
from headwater.errors import InvalidQuery, SnapshotInvalid
from headwater.events.frame import decode_frame
from headwater.events.log import EventLog
from headwater.events.types import SlateServed
from headwater.slate import EventRef, Explanation, SessionState, Slate

Answer = Callable[[str, dict[str, Any], str, Any], Slate]


def explain(slate: Slate, item: str, runtime: EmbeddedRuntime) -> Explanation:
    """The explanation of one item of a slate."""
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
        rules=_rules(slate, slot, runtime),
    )


def _rules(slate: Slate, slot: int | None, runtime: EmbeddedRuntime) -> list[str]:
    """The rules that the slate was made under, which need not be today's."""
    query = query_of(slate.config, runtime)
    rules = []
    if slot is None:
        rules.append(f"No source ranked it high enough for the {slate.n} slots, or a rule kept it out.")
        rules.append(
            "Items that are hidden, deleted, excluded by the request or rejected by the visitor are not shown."
        )
        if query.exclude_consumed:
            expiry = query.consumed_expiry_days
            rules.append("Consumed items come back " + ("never." if expiry is None else f"after {expiry:g} days."))
    elif query.touched_factor < 1 and _demoted(slate, slot, runtime, query):
        rules.append(f"touched before: score x {query.touched_factor:g}")
    return rules


def _demoted(slate: Slate, slot: int, runtime: EmbeddedRuntime, query: QueryConfig) -> bool:
    """Whether the score bears the factor of touched items: every part's share says so, and the user did touch it."""
    weights = [query.sources.get(part.source, 0.0) * query.touched_factor for part in slate.items[slot].parts]
    told = [part.share * (query.rrf_k + part.rank) for part in slate.items[slot].parts]
    if slate.user is None or not all(isclose(a, b, rel_tol=1e-9) for a, b in zip(told, weights, strict=True)):
        return False
    view = runtime.core.session_view(slate.user, slate.now)
    touched = [] if view is None else msgspec.msgpack.decode(view, type=SessionState).items
    return any(touch.item == slate.items[slot].item for touch in touched)


def event_at(log: EventLog, ref: EventRef) -> dict[str, Any]:
    """One event as the log holds it, with its name. Raises `LogCorrupt` if the log no longer holds it soundly."""
    for batch in log.read(ref.position, stop=ref.position + 1):
        _, events = decode_frame(batch.frames[0])
        event = events[ref.index]
        fields = {f: v for f in event.__struct_fields__ if (v := getattr(event, f)) is not None}
        return {"id": ref.id, "position": ref.position, "index": ref.index, **fields}
    return {"id": ref.id, "position": ref.position, "index": ref.index, "missing": True}


def remake(slate: str, runtime: EmbeddedRuntime, answer: Answer) -> Slate:
    """A recorded slate, answered again by the state at its position. Raises `InvalidQuery` if no record names it."""
    served = _find_record(slate, runtime.log)
    if served is None:
        raise InvalidQuery(
            f"slate {slate!r} is neither remembered nor recorded in the log",
            field="slate",
            value=slate,
            rule="a known slate",
        )
    position = served.positions[0]
    core = _state_at(position, runtime)
    remade = answer("recommend", dict(served.request), slate, core)
    return msgspec.structs.replace(remade, config=served.config_version, recorded=True)


def _find_record(slate: str, log: EventLog) -> SlateServed | None:
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


def _state_at(position: int, runtime: EmbeddedRuntime) -> Any:
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
