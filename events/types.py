"""Events as frozen msgspec structs: arrays on the wire, an integer tag first.

Field order is the format (see `frame`): new fields go to the end with a default, nothing is ever reordered. All ids are
strings, all times UTC milliseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

Scalar = str | int | float | bool | None
Label = str | int | float | bool | list[str] | None


class Feedback(msgspec.Struct, tag_field="tag", tag=1, array_like=True, frozen=True):
    """A user did something to an item. `type` is free: view, click, cart, purchase, like, rating, read ..."""

    type: str
    user: str
    item: str
    ts: int
    value: float | None = None
    event_id: str | None = None
    session: str | None = None
    basket: str | None = None
    slate: str | None = None
    slot: int | None = None
    context: dict[str, Scalar] | None = None


class Impression(msgspec.Struct, tag_field="tag", tag=2, array_like=True, frozen=True):
    """The slots of a slate that were really seen."""

    user: str
    slate: str
    ts: int
    slots: list[int]
    event_id: str | None = None


class UserMerge(msgspec.Struct, tag_field="tag", tag=3, array_like=True, frozen=True):
    """An anonymous user turned out to be a known one: in the partition of `from_user`, whose state is sealed.

    In a control frame, where it stood before version 3 of the fold, it is recorded and moves nothing.
    """

    from_user: str
    into_user: str
    ts: int
    event_id: str | None = None


class MergeCarried(msgspec.Struct, tag_field="tag", tag=4, array_like=True, frozen=True):
    """What a merge moves, in the partition of `into_user`; alone in its frame.

    `sealed` names the sealing event (`position << 16 | index`), `state` is what the fold sealed there, for the fold.
    """

    from_user: str
    into_user: str
    ts: int
    sealed: int
    state: bytes


class MergeSettled(msgspec.Struct, tag_field="tag", tag=5, array_like=True, frozen=True):
    """What was sealed by the event `sealed` has been carried: the partition of `from_user` lets go of it."""

    from_user: str
    ts: int
    sealed: int


class ItemPut(msgspec.Struct, tag_field="tag", tag=10, array_like=True, frozen=True):
    """All that is known of an item; replaces what was known. `embeddings` hold little-endian float32 bytes."""

    item: str
    ts: int
    categories: list[str] = []
    labels: dict[str, Label] = {}
    is_hidden: bool = False
    timestamp: int | None = None
    group_id: str | None = None
    embeddings: dict[str, bytes] | None = None
    comment: str | None = None


class ItemPatch(msgspec.Struct, tag_field="tag", tag=11, array_like=True, frozen=True):
    """Changes of an item: `None` leaves a field as it is, a label set to `None` is removed."""

    item: str
    ts: int
    categories: list[str] | None = None
    labels: dict[str, Label] | None = None
    is_hidden: bool | None = None
    timestamp: int | None = None
    group_id: str | None = None
    embeddings: dict[str, bytes] | None = None
    comment: str | None = None


class ItemDelete(msgspec.Struct, tag_field="tag", tag=12, array_like=True, frozen=True):
    """The item is gone and never shown again, unless it is put anew."""

    item: str
    ts: int


class UserPut(msgspec.Struct, tag_field="tag", tag=13, array_like=True, frozen=True):
    """What is known of a user beside their events."""

    user: str
    ts: int
    labels: dict[str, Label] = {}
    comment: str | None = None


class UserForget(msgspec.Struct, tag_field="tag", tag=14, array_like=True, frozen=True):
    """The user's state is dropped here. Their events stay in the log, and copies of it carry them along."""

    user: str
    ts: int


class SlateServed(msgspec.Struct, tag_field="tag", tag=20, array_like=True, frozen=True):
    """A slate that the engine answered, with what is needed to make it again and to learn from it.

    `items` holds per slot `[item, score, source, propensity, propensity_cascade, pinned]`; `positions` one log
    position per part that was asked; `candidates` is given when retrieval was approximate or degraded; `extra` holds
    what scorers and explorers keep beside all that.
    """

    slate: str
    user: str
    ts: int
    request: dict[str, Any]
    variant: str | None
    config_version: str
    scorer_version: str
    positions: list[int]
    left_out: list[str]
    candidates: list[tuple[str, str, float]] | None
    items: list[tuple[str, float, str, float, float, bool]]
    extra: dict[str, Any] | None = None


class ConfigActivated(msgspec.Struct, tag_field="tag", tag=30, array_like=True, frozen=True):
    """From here on queries are answered under this configuration (`body`: JSON of `[query]`)."""

    ts: int
    version: str
    body: str


class ModelActivated(msgspec.Struct, tag_field="tag", tag=31, array_like=True, frozen=True):
    """From here on this model, named by its content's hash, is in use."""

    ts: int
    kind: str
    uri: str
    content_hash: str


Event = (
    Feedback
    | Impression
    | UserMerge
    | MergeCarried
    | MergeSettled
    | ItemPut
    | ItemPatch
    | ItemDelete
    | UserPut
    | UserForget
    | SlateServed
    | ConfigActivated
    | ModelActivated
)
