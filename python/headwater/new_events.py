"""What is written: events of checked arguments, alike for the engine's verbs, the client's and the hosts of a cluster.

All raise `InvalidEvent`. The rules of sizes and values are checked later, with the event (`events.validate`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from headwater.arguments import Id, categories_of, id_text, labels_of, vectors_of
from headwater.errors import InvalidEvent
from headwater.events.types import Feedback, Impression, ItemPatch, ItemPut, UserPut

_PUT = tuple(field for field in ItemPut.__struct_fields__ if field != "ts")
_PATCHED = ItemPatch.__struct_fields__[2:]


def feedback(
    type: str,
    user: Id,
    item: Id,
    ts: int,
    *,
    value: float | None = None,
    event_id: str | None = None,
    session: Id | None = None,
    basket: Id | None = None,
    slate: str | None = None,
    slot: int | None = None,
    context: dict[str, Any] | None = None,
) -> Feedback:
    """A user did something to an item."""
    return Feedback(
        type=type,
        user=id_text("user", user),
        item=id_text("item", item),
        ts=ts,
        value=value,
        event_id=event_id,
        session=None if session is None else id_text("session", session),
        basket=None if basket is None else id_text("basket", basket),
        slate=slate,
        slot=slot,
        context=context,
    )


def impression(slate: str, user: Id | None, slots: Iterable[int], ts: int, event_id: str | None) -> Impression:
    """The slots of a slate that were really seen."""
    if user is None:
        rule = "the user that the slate was for"
        raise InvalidEvent(f"user = None; allowed: {rule}", field="user", value=None, rule=rule)
    return Impression(user=id_text("user", user), slate=slate, ts=ts, slots=list(slots), event_id=event_id)


def item_put(
    item: Id,
    ts: int,
    *,
    categories: Sequence[str] = (),
    labels: Mapping[str, Any] | None = None,
    is_hidden: bool = False,
    timestamp: int | None = None,
    group_id: str | None = None,
    embeddings: Mapping[str, Sequence[float] | bytes] | None = None,
    comment: str | None = None,
) -> ItemPut:
    """All that is known of an item."""
    return ItemPut(
        item=id_text("item", item),
        ts=ts,
        categories=categories_of(categories),
        labels=labels_of(labels),
        is_hidden=is_hidden,
        timestamp=timestamp,
        group_id=group_id,
        embeddings=vectors_of(embeddings),
        comment=comment,
    )


def item_row(row: Mapping[str, Any], ts: int) -> ItemPut:
    """All that is known of an item, as a mapping with the arguments of `put_item`."""
    known = labels_of(row)
    unknown = known.keys() - set(_PUT)
    if unknown or "item" not in known:
        named = ", ".join(sorted(map(str, unknown))) or "item"
        allowed = ", ".join(_PUT)
        raise InvalidEvent(
            f"item row {row!r:.80}: unknown or missing {named}; allowed: {allowed}",
            field=named,
            value=repr(row)[:80],
            rule="the fields of put_item",
        )
    known["categories"] = known.get("categories") or ()
    return item_put(known.pop("item"), ts, **known)


def item_patch(item: Id, ts: int, changes: Mapping[str, Any]) -> ItemPatch:
    """Changes of an item; a label of `None` is removed."""
    changed = dict(changes)
    unknown = changed.keys() - set(_PATCHED)
    if unknown:
        named = ", ".join(sorted(unknown))
        rule = ", ".join(_PATCHED)
        raise InvalidEvent(f"patch_item: unknown {named}; allowed: {rule}", field=named, value=None, rule=rule)
    if "embeddings" in changed:
        changed["embeddings"] = vectors_of(changed["embeddings"])
    if changed.get("categories") is not None:
        changed["categories"] = categories_of(changed["categories"])
    if changed.get("labels") is not None:
        changed["labels"] = labels_of(changed["labels"])
    return ItemPatch(item=id_text("item", item), ts=ts, **changed)


def user_put(user: Id, ts: int, labels: Mapping[str, Any] | None, comment: str | None) -> UserPut:
    """What is known of a user beside their events."""
    return UserPut(user=id_text("user", user), ts=ts, labels=labels_of(labels), comment=comment)
