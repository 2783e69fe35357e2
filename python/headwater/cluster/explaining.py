"""`explain` on a cluster: why an item stands in a slate that this host answered, with the visitor's own events."""

from __future__ import annotations

import asyncio
from typing import Any

from headwater.actors.host_state import HostLog
from headwater.arguments import query_id
from headwater.cluster.slates import Slates
from headwater.errors import InvalidQuery
from headwater.events.frame import decode_frame
from headwater.protocol import Explain
from headwater.slate import EventRef, Explanation, SlateItem
from headwater.slate_memory import Answered

_EVENTS = 50


class Explaining:
    """Explains the latest slates of a host. Older ones need the embedded engine on the same log."""

    def __init__(self, slates: Slates, log: HostLog) -> None:
        self._slates = slates
        self._log = log

    async def explain(self, asked: Explain) -> Explanation:
        """Why an item is in a slate, or why not. Raises `InvalidQuery` for a slate that is no longer remembered."""
        known = self._slates.memory.get(asked.slate)
        if known is None:
            rule = "one of the latest 1,000 slates of the host that answered it, while that lives"
            raise InvalidQuery(
                f"slate {asked.slate!r:.80} is not remembered here; allowed: {rule}", field="slate", rule=rule
            )
        item = query_id("item", asked.item)
        chosen = next((r for r in known.slate.items if r.item == item), None)
        return await self._of(known, item, chosen)

    async def _of(self, known: Answered, item: str, chosen: SlateItem | None) -> Explanation:
        slate = known.slate
        reasons = [] if chosen is None else chosen.reasons
        refs = list(dict.fromkeys(reason.event for reason in reasons if reason.event is not None))[:_EVENTS]
        return Explanation(
            slate=slate.id,
            user=slate.user,
            item=item,
            slot=None if chosen is None else slate.items.index(chosen),
            score=0.0 if chosen is None else chosen.score,
            parts=[] if chosen is None else chosen.parts,
            reasons=reasons,
            events=list(await asyncio.gather(*map(self._event_at, refs))),
            rules=await self._slates.why(known, item)
            if chosen is None
            else _rules(chosen, slate.exploring.temperature),
        )

    async def _event_at(self, ref: EventRef) -> dict[str, Any]:
        named = {"id": ref.id, "position": ref.position, "index": ref.index}
        frame = await self._log.frame_at(ref.position)
        if frame is None:
            return {**named, "missing": True}
        event = decode_frame(frame)[1][ref.index]
        return {**named, **{f: v for f in event.__struct_fields__ if (v := getattr(event, f)) is not None}}


def _rules(chosen: SlateItem, temperature: float) -> list[str]:
    """What decided beside the sources."""
    rules = [f"{name}: score x {factor:g}" for name, factor in chosen.factors]
    if chosen.pinned:
        rules.append("pinned to this slot")
    if chosen.promoted:
        rules.append("the slot was kept for promoted items")
    if temperature > 0:
        how = "as the slate without exploration has it" if chosen.greedy else "to explore"
        rules.append(f"{how}: probability {chosen.propensity:.4g} given the slots above")
    return rules
