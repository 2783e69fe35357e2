"""What the catalogue as it stands demands of new embeddings: a name keeps its first dimension, and names are few.

`validate` looks at an event alone; these rules depend on what was put before. Whoever writes checks them first, so that
the caller is told. The fold decides alike on what comes all the same (a frame of another producer, or two writers who
bind one name at a time): it refuses the event and counts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from headwater.errors import InvalidEvent
from headwater.events.types import Event, ItemPatch, ItemPut

MAX_NAMES = 8
"""Of a generation, as `core_rs/src/items/vectors.rs` bounds them."""
_FLOAT_BYTES = 4


class EmbeddingRules:
    """Embedding names with their dimensions, those of the events that were checked included."""

    def __init__(self, bound: Mapping[str, int]) -> None:
        """`bound`: the names that are bound already, and their dimensions."""
        self._bound = dict(bound)

    def check(self, event: Event) -> None:
        """Raise `InvalidEvent` for an embedding of another dimension than its name's, and for a name too many. A name
        that is new is bound from here on, unless the event is refused. O(embeddings)."""
        if not isinstance(event, ItemPut | ItemPatch) or not event.embeddings:
            return
        dims = {name: len(raw) // _FLOAT_BYTES for name, raw in event.embeddings.items()}
        for name, dim in dims.items():
            bound = self._bound.get(name, dim)
            if bound != dim:
                _refuse(event, name, f"{dim} numbers", f"{bound} numbers, the dimension that {name!r} is bound to")
        new = dims.keys() - self._bound.keys()
        if len(self._bound) + len(new) > MAX_NAMES:
            names = ", ".join(sorted(self._bound))
            _refuse(event, min(new), "a new name", f"at most {MAX_NAMES} names; there are {names}")
        self._bound |= {name: dims[name] for name in new}

    def first_fault(self, events: Iterable[Event]) -> str | None:
        """What `check` says of the first of the events that it refuses."""
        for event in events:
            try:
                self.check(event)
            except InvalidEvent as err:
                return err.message
        return None


def carries_embeddings(events: Iterable[Event]) -> bool:
    """Whether any of the events has one: only then these rules have anything to say."""
    return any(isinstance(event, ItemPut | ItemPatch) and event.embeddings for event in events)


def _refuse(event: ItemPut | ItemPatch, name: str, value: str, rule: str) -> NoReturn:
    field = f"embeddings[{name}]"
    raise InvalidEvent(
        f"{field} of item {event.item!r:.80}: {value}; allowed: {rule}", field=field, value=value, rule=rule
    )
