"""Which moment a question is put to: a slate that was answered then, or a position of the log.

`as_of` is the id of a slate (or the slate), a position, or a list with one position, which is the position vector of an
embedded engine. The state at that position answers, under the configuration that was active there; nothing that came
later is known to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headwater.actors.past_state import PastStates
from headwater.errors import InvalidQuery, NotReady
from headwater.events.log import EventLog
from headwater.served_slates import find_record
from headwater.slate import Slate
from headwater.slate_memory import Answered
from headwater.slate_record import recorded_request

AsOf = Slate | str | int | Sequence[int]

_RULE = "the id of a slate, a log position, or a list with one position"


class Moment(NamedTuple):
    """A position; of a slate also its `now`, its id, by which exploration is drawn, and the request that it answered,
    with what approximate sources found, where that is known."""

    position: int
    now: int | None = None
    slate: str | None = None
    request: dict[str, Any] | None = None

    def found_for(self, request: dict[str, Any]) -> dict[str, Any]:
        """What approximate sources found when the same question was answered; empty for another question."""
        mine = dict(self.request or {})
        found: dict[str, Any] = mine.pop("found", {})
        alike = {name: value for name, value in request.items() if name != "features"}
        mine.pop("features", None)
        return found if found and mine == alike else {}


def moment_of(as_of: AsOf, log: EventLog, past: PastStates, remembered: Callable[[str], Answered | None]) -> Moment:
    """The moment that `as_of` names. O(log) for a slate that `remembered` does not know.

    Raises `InvalidQuery` for a slate that is neither remembered nor recorded, for a position before the log's start and
    for anything else; `NotReady` for a position beyond the log's end.
    """
    moment = _of_slate(as_of, log, remembered) if isinstance(as_of, Slate | str) else Moment(_position(as_of))
    earliest = past.earliest()
    if moment.position < earliest:
        rule = f"positions from {earliest} on: the log holds nothing before"
        raise _invalid(as_of, rule)
    last = log.last()
    if moment.position > last:
        raise NotReady(
            f"as_of = {moment.position}, but the log ends at {last}; ask again, or check where the position comes from",
            position=last,
            after=moment.position,
        )
    return moment


def _of_slate(as_of: Slate | str, log: EventLog, remembered: Callable[[str], Answered | None]) -> Moment:
    name = as_of if isinstance(as_of, str) else as_of.id
    known = remembered(name)
    if known is None and isinstance(as_of, Slate):
        known = Answered(as_of, None)
    if known is not None:
        slate = known.slate
        request = None if known.request is None else known.request | {"found": slate.approximate}
        return Moment(slate.positions[0], slate.now, name, request)
    served = find_record(name, log)
    if served is None:
        raise unknown_slate(name, "as_of")
    # The request's own time: it is what the slate was answered at.
    return Moment(served.positions[0], served.ts, name, recorded_request(served))


def _position(as_of: int | Sequence[int]) -> int:
    parts = [as_of] if isinstance(as_of, int) else as_of
    sound = isinstance(parts, Sequence) and len(parts) == 1
    if not sound or not isinstance(parts[0], int) or isinstance(parts[0], bool):
        raise _invalid(as_of, _RULE)
    return parts[0]


def _invalid(as_of: object, rule: str) -> InvalidQuery:
    shown = as_of.id if isinstance(as_of, Slate) else repr(as_of)[:80]
    return InvalidQuery(f"as_of = {shown}; allowed: {rule}", field="as_of", value=shown, rule=rule)


def unknown_slate(slate: str, field: str = "slate") -> InvalidQuery:
    """The error for a slate of which nothing is known."""
    return InvalidQuery(
        f"{field} = {slate!r:.80}: the slate is neither remembered nor recorded in the log; a record follows its "
        "answer, mostly within a second: ask again, or check the id",
        field=field,
        value=slate,
        rule="a known slate",
    )
