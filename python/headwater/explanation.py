"""Explanations: why an item stands in a slate, from the slate and the log.

A slate that the engine no longer remembers is made again: its record in the log holds the request and the position,
and the state at that position is a fold away (`headwater.actors.past_state`). The operator's part is
`headwater.audit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from headwater.actors.past_state import PastStates
from headwater.actors.runtime import EmbeddedRuntime
from headwater.answer import Answer, ask, graph_note
from headwater.audit import SESSION_KNN, Voter, audit_reasons
from headwater.core import Core, session_voters
from headwater.errors import InvalidQuery
from headwater.events.frame import decode_frame
from headwater.events.log import EventLog
from headwater.host_replay import of_several_positions, remade_by_hosts
from headwater.served_slates import find_record
from headwater.slate import Audit, EventRef, Explanation, Reason, Slate, SlateItem
from headwater.slate_memory import Answered
from headwater.slate_record import recorded_request

Dress = Callable[[str, Answer, dict[str, Any], list[str], str, Core], Slate]
"""Dresses an answer as a slate: kind, answer, request, what it is about, slate id, state."""


def explain(
    answered: Answered, item: str, runtime: EmbeddedRuntime, past: PastStates, audit: bool = False
) -> Explanation:
    """The explanation of one item of a slate, or of one that is not in it. With `audit` it names other users."""
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
        rules=_absence(answered, item, runtime, past) if chosen is None else _rules(chosen, slate),
        audit=_audit(answered, item, reasons, runtime, past) if audit else None,
    )


def _audit(
    answered: Answered, item: str, reasons: Sequence[Reason], runtime: EmbeddedRuntime, past: PastStates
) -> Audit:
    slate, request, voters = answered.slate, answered.request, None
    if request is not None and any(reason.source == SESSION_KNN for reason in reasons):
        asked = msgspec.msgpack.encode(request)
        with past.at(slate.positions[0]) as core:
            found = session_voters(core, asked, item)
        voters = [Voter(user, seed, frozenset(items)) for user, seed, items in found if user != slate.user]
    return audit_reasons(runtime.log, runtime.config, slate, item, reasons, voters)


def _rules(chosen: SlateItem, slate: Slate) -> list[str]:
    """What decided beside the sources."""
    rules = [f"{name}: score x {factor:g}" for name, factor in chosen.factors]
    if chosen.pinned:
        rules.append("pinned to this slot")
    rules += [graph_note(part.source) for part in chosen.parts if part.source in slate.approximate]
    if chosen.promoted:
        rules.append("the slot was kept for promoted items")
    if slate.exploring.temperature > 0:
        how = "as the slate without exploration has it" if chosen.greedy else "to explore"
        rules.append(f"{how}: probability {chosen.propensity:.4g} given the slots above")
    return rules


def _absence(answered: Answered, item: str, runtime: EmbeddedRuntime, past: PastStates) -> list[str]:
    """What kept an item out, from the state that answered."""
    slate, request = answered.slate, answered.request
    if request is None:
        return ["The slate was not recorded and is no longer remembered: what kept the item out cannot be said."]
    position, asked, key = (
        slate.positions[0],
        request | {"why": item, "found": slate.approximate},
        answered.key or slate.id,
    )
    if runtime.core.position == position:
        answer = ask(runtime.core, asked, key)
        if answer.position == position:  # it did not move on meanwhile
            return answer.why or []
    with past.at(position) as core:
        return ask(core, asked, key).why or []


def event_at(log: EventLog, ref: EventRef) -> dict[str, Any]:
    """One event as the log holds it, with its name. Raises `LogCorrupt` if the log no longer holds it soundly."""
    for batch in log.read(ref.position, stop=ref.position + 1):
        _, events = decode_frame(batch.frames[0])
        event = events[ref.index]
        fields = {f: v for f in event.__struct_fields__ if (v := getattr(event, f)) is not None}
        return {"id": ref.id, "position": ref.position, "index": ref.index, **fields}
    return {"id": ref.id, "position": ref.position, "index": ref.index, "missing": True}


def recorded(slate: str, runtime: EmbeddedRuntime, past: PastStates, dress: Dress) -> Answered | None:
    """A recorded slate, answered again by the state at its position; None if no record names it. O(log)."""
    served = find_record(slate, runtime.log)
    if served is None:
        return None
    kind, request = (served.extra or {}).get("kind", "recommend"), recorded_request(served)

    def dressed(answer: Answer, core: Core) -> Slate:
        return dress(kind, answer, request, request["items"] or answer.about, slate, core)

    if of_several_positions(served):
        [again] = remade_by_hosts([served], runtime.log, runtime.config, runtime.config.engine.threads)
        if isinstance(again.answer, str):
            raise InvalidQuery(f"slate {slate!r:.80} cannot be made again: {again.answer}", field="slate", value=slate)
        remade = dressed(again.answer, again.core)
    else:
        with past.at(served.positions[0]) as core:
            remade = dressed(ask(core, request, slate), core)
    user = served.user or None
    remade = msgspec.structs.replace(remade, user=user, config=served.config_version, recorded=True)
    return Answered(remade, request)
