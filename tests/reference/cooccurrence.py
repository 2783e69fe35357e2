"""The counting semantics of relations, written as plainly as possible: exact integer counts, no bounds, no decay.

It mirrors the statement in `core_rs/src/neighbourhood/user.rs`, not its code: units are lists of touches, and every
draw of an event is found by looking at all pairs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from headwater.config import FoldConfig, Relation
from headwater.events.types import Feedback

DAY = 86_400_000


@dataclass
class Counts:
    """Exact counts of one relation."""

    pair: Counter[tuple[str, str]] = field(default_factory=Counter)
    units_from: Counter[str] = field(default_factory=Counter)
    units_to: Counter[str] = field(default_factory=Counter)

    def out(self, item: str) -> int:
        """Draws from an item."""
        return sum(n for (i, _), n in self.pair.items() if i == item)

    def into(self, item: str) -> int:
        """Draws to an item."""
        return sum(n for (_, j), n in self.pair.items() if j == item)

    def total(self) -> int:
        """All draws."""
        return self.pair.total()


@dataclass
class _Run:
    last: int | None = None
    key: str | None = None
    number: int = 0

    def step(self, ts: int, key: str | None, gap: int) -> str:
        if self.last is None:
            verdict = "new"
        elif self.key is not None and key is not None:
            verdict = "same" if key == self.key else "new"
        elif ts > self.last + gap:
            verdict = "new"
        elif ts < self.last - gap:
            verdict = "late"
        else:
            verdict = "same"
        if verdict == "new":
            self.last, self.key, self.number = ts, key, self.number + 1
        elif verdict == "same":
            self.last, self.key = max(self.last or ts, ts), key or self.key
        return verdict


@dataclass
class _Unit:
    sides: dict[str, set[str]] = field(default_factory=dict)  # item -> {"from", "to"}, in order of first touch


class Reference:
    """Folds feedback one event at a time. Rapid repeats and admission are the caller's business."""

    def __init__(self, config: FoldConfig) -> None:
        self.config = config
        self.counts = {relation.name: Counts() for relation in config.relations}
        self._sessions: dict[str, _Run] = {}
        self._runs: dict[tuple[str, str], _Run] = {}
        self._units: dict[tuple[str, str], tuple[object, _Unit]] = {}

    def fold(self, event: Feedback) -> None:
        """Count one event in every relation."""
        session = self._sessions.setdefault(event.user, _Run())
        gap = int(self.config.session_gap_minutes * 60_000)
        verdict = session.step(event.ts, event.session, gap)
        for relation in self.config.relations:
            sides = {
                side
                for side, types in (("from", relation.from_types), ("to", relation.to_types))
                if any(matches(spec, event) for spec in types)
            }
            if sides:
                self._fold(relation, event, sides, verdict, session.number)

    def _fold(self, relation: Relation, event: Feedback, sides: set[str], session: str, number: int) -> None:
        key: object
        if relation.unit == "session":
            key, late = number, session == "late"
        elif relation.unit == "basket":
            if event.basket is None:
                return None
            key, late = event.basket, False
        else:
            run = self._runs.setdefault((event.user, relation.name), _Run())
            late = run.step(event.ts, None, int(relation.within_days * DAY)) == "late"
            key = run.number
        slot = (event.user, relation.name)
        if late:
            return self._enter(relation, _Unit(), event.item, sides)
        held = self._units.get(slot)
        if held is None or held[0] != key:
            held = (key, _Unit())
        if len(held[1].sides) >= relation.unit_cap and event.item not in held[1].sides:
            held = (key, _Unit())
        self._units[slot] = held
        return self._enter(relation, held[1], event.item, sides)

    def _enter(self, relation: Relation, unit: _Unit, item: str, sides: set[str]) -> None:
        counts = self.counts[relation.name]
        new = sides - unit.sides.get(item, set())
        others = [other for other in unit.sides if other != item][-relation.window :]
        for other in others:
            if "to" in new and "from" in unit.sides[other]:
                counts.pair[other, item] += 1
            if "from" in new and "to" in unit.sides[other]:
                counts.pair[item, other] += 1
        counts.units_from[item] += "from" in new
        counts.units_to[item] += "to" in new
        if new:
            unit.sides.setdefault(item, set()).update(new)


def matches(spec: str, event: Feedback) -> bool:
    """Whether an event is of a type spec."""
    for operator in (">=", "<="):
        if operator in spec:
            name, _, bound = spec.partition(operator)
            if event.type != name or event.value is None:
                return False
            return event.value >= float(bound) if operator == ">=" else event.value <= float(bound)
    return event.type == spec
