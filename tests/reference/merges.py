"""What merges make of pair counts, written as plainly as possible; the statement is in ADR 0024.

A merge counts nothing. It says which session, run and unit the account's next event meets: one of the two, or both as
one, in the order in which their items came in.
"""

from __future__ import annotations

from headwater.config import FoldConfig, Relation
from headwater.events.types import Feedback
from reference.cooccurrence import DAY, Reference, _Run, _Unit


def joined(own: _Run, their: _Run, gap: int) -> str:
    """`both` if the two runs are one, else whose goes on."""
    if own.last is None or their.last is None:
        return "own" if their.last is None else "their"
    if own.key is not None and their.key is not None:
        one = own.key == their.key
    else:
        one = abs(own.last - their.last) <= gap
    if one:
        return "both"
    return "their" if their.last > own.last else "own"


def join(own: _Run, their: _Run, gap: int) -> str:
    """Make `own` the run that goes on; which that was."""
    which = joined(own, their, gap)
    if which == "both":
        own.key, own.last = own.key or their.key, max(own.last or 0, their.last or 0)
    elif which == "their":
        own.key, own.last, own.number = their.key, their.last, own.number + 1
    return which


class MergingReference(Reference):
    """`Reference` in which users may turn out to be others."""

    def __init__(self, config: FoldConfig) -> None:
        super().__init__(config)
        self._ts = 0
        self._came: dict[int, dict[tuple[str, str], int]] = {}
        """By unit: when an item came in on a side, in seconds."""
        self._alive: list[_Unit] = []  # so that no two units share an id

    def fold(self, event: Feedback) -> None:
        self._ts = event.ts
        super().fold(event)

    def _enter(self, relation: Relation, unit: _Unit, item: str, sides: set[str]) -> None:
        came = self._came_in(unit)
        for side in sides:
            came.setdefault((item, side), self._ts // 1000)
        super()._enter(relation, unit, item, sides)

    def _came_in(self, unit: _Unit) -> dict[tuple[str, str], int]:
        if id(unit) not in self._came:
            self._alive.append(unit)
        return self._came.setdefault(id(unit), {})

    def merge(self, old: str, new: str) -> None:
        """Everything that `old`'s next event would have met is met by `new`'s."""
        own, their = self._sessions.setdefault(new, _Run()), self._sessions.pop(old, _Run())
        numbers = own.number, their.number
        session = join(own, their, int(self.config.session_gap_minutes * 60_000))
        for relation in self.config.relations:
            held = self._units.get((new, relation.name))
            brought = self._units.pop((old, relation.name), None)
            if relation.unit == "session":
                kept = self._of_session(held, brought, numbers, own.number, session, relation)
            elif relation.unit == "user":
                kept = self._of_user(held, brought, old, new, relation)
            else:
                kept = self._of_basket(held, brought, relation)
            if kept is not None:
                self._units[new, relation.name] = kept

    def _of_session(self, held, brought, numbers, number, session, relation):  # type: ignore[no-untyped-def]
        theirs = brought is not None and brought[0] == numbers[1]
        owns = held is not None and held[0] == numbers[0]
        if session == "both" and theirs and owns:
            return number, self._union(held[1], brought[1], relation)
        if session != "own" and theirs:
            return number, brought[1]
        return held

    def _of_user(self, held, brought, old, new, relation):  # type: ignore[no-untyped-def]
        own, their = (
            self._runs.setdefault((new, relation.name), _Run()),
            self._runs.pop((old, relation.name), _Run()),
        )
        which = join(own, their, int(relation.within_days * DAY))
        if which == "their":
            return own.number, brought[1]
        if which == "both":
            return own.number, self._union(held[1], brought[1], relation)
        return held

    def _of_basket(self, held, brought, relation):  # type: ignore[no-untyped-def]
        if held is None or brought is None:
            return held or brought
        if held[0] == brought[0]:
            return held[0], self._union(held[1], brought[1], relation)
        latest = [max(self._came_in(unit).values()) for _, unit in (held, brought)]
        return brought if latest[1] > latest[0] else held

    def _union(self, own: _Unit, their: _Unit, relation: Relation) -> _Unit:
        union = _Unit()
        came = self._came_in(union)
        left, right = list(own.sides), list(their.sides)

        def first(unit: _Unit, item: str) -> int:
            return min(ts for (known, _), ts in self._came_in(unit).items() if known == item)

        while left or right:
            from_right = not left or (right and first(their, right[0]) < first(own, left[0]))
            unit, item = (their, right.pop(0)) if from_right else (own, left.pop(0))
            union.sides.setdefault(item, set()).update(unit.sides[item])
            for side in unit.sides[item]:
                ts = self._came_in(unit)[item, side]
                came[item, side] = min(ts, came.get((item, side), ts))
        union.sides = dict(list(union.sides.items())[-relation.unit_cap :])
        return union
