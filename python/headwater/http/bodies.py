"""What callers send to `/v1`: one strict struct per request body.

Types and bounds are those of the SDK's arguments, so the OpenAPI document says what the engine accepts. A field that is
not named here is refused. Rules that a schema cannot say (bytes of an id, sense of a filter) are the engine's.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headwater.arguments import MAX_N
from headwater.events.types import Scalar
from headwater.events.validate import MAX_COMMENT, MAX_DIMENSIONS, MAX_EMBEDDINGS, MAX_ID, MAX_TYPE
from headwater.scenario import Metric

PLAIN = r"^[^\x00-\x1f\x7f]+$"
"""Text without control characters."""
Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID,
        pattern=PLAIN,
        description=f"1 to {MAX_ID} bytes of UTF-8 without control characters.",
        examples=["sku1"],
    ),
]
Count = Annotated[int, Meta(ge=1, le=MAX_N, description=f"How many items: 1 to {MAX_N}.")]
Share = Annotated[float, Meta(ge=0, le=1)]
Time = Annotated[int, Meta(ge=0, lt=1 << 53, description="UTC milliseconds.")]
Position = Annotated[int, Meta(ge=0, lt=1 << 53, description="A log position, as a write returned it.")]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
FilterText = Annotated[
    str,
    Meta(max_length=4096, description="Which items may be shown.", examples=["price < max and 'shoes' in categories"]),
]
Integer = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
ParamScalar = str | Integer | float | bool
Label = str | Integer | float | bool | list[str] | None
Embedding = Annotated[list[float], Meta(min_length=1, max_length=MAX_DIMENSIONS)]
Slot = Annotated[int, Meta(ge=0, lt=1024, description="Place in the slate, from 0.")]
Slots = Annotated[list[Slot], Meta(max_length=1024)]
Embeddings = Annotated[dict[str, Embedding], Meta(max_length=MAX_EMBEDDINGS)]


class Body(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A request body; fields that it does not name are refused."""


class Asked(Body, kw_only=True, frozen=True):
    """What every question about a slate may say."""

    scenario: str | None = None
    filter: FilterText | None = None
    params: dict[str, ParamScalar | list[ParamScalar]] | None = None
    """Values for the names that the filter leaves open."""
    diversity: Share | None = None
    exploration: Share | None = None
    sources: dict[str, Weight] | None = None
    """Weights of sources in place of the scenario's."""
    features: bool = False
    """Give every candidate's features, too."""
    now: Time | None = None
    after: Position | None = None
    """Answer from the state at this position or later: read your own writes."""
    as_of: Position | Id | None = None
    """Ask the past: a slate's id, or a log position."""
    details: bool = False
    """Give every part of the score and every reason of each slot."""


class RecommendBody(Asked, kw_only=True, frozen=True):
    """The `n` best items for a user."""

    user: Id
    n: Count = 10
    exclude: Annotated[list[Id], Meta(max_length=1000)] = []
    context: dict[str, Scalar] | None = None
    """Kept in the slate's record."""
    record: bool | None = None
    """Whether the slate's record goes to the log; by default as `[engine]` says."""


class SessionBody(Asked, kw_only=True, frozen=True):
    """The `n` best items for a visitor without a name who touched `items`, latest last."""

    items: Annotated[list[Id], Meta(max_length=1000)]
    n: Count = 10
    exclude: Annotated[list[Id], Meta(max_length=1000)] = []
    visitor: Id | None = None
    """An id that stays the same from question to question (a cookie's): it takes part in experiments, and the slates
    are recorded under it."""
    record: bool | None = None


class RankBody(Asked, kw_only=True, frozen=True):
    """The caller's own items in the order that suits the user."""

    user: Id
    items: Annotated[list[Id], Meta(min_length=1, max_length=1000)]
    n: Count | None = None
    context: dict[str, Scalar] | None = None
    record: bool | None = None


class SimilarBody(Body, kw_only=True, frozen=True):
    """The `n` items most associated with an item."""

    item: Id
    n: Count = 10
    relation: str | None = None
    """One relation of the configuration; without it all are fused."""
    metric: Metric | None = None
    exclude: Annotated[list[Id], Meta(max_length=1000)] = []
    now: Time | None = None
    after: Position | None = None
    as_of: Position | Id | None = None
    details: bool = False


class TrendingBody(Body, kw_only=True, frozen=True):
    """The `n` items whose recent votes most exceed what their past lets expect."""

    category: str | None = None
    n: Count = 10
    now: Time | None = None
    after: Position | None = None
    as_of: Position | Id | None = None
    details: bool = False


class EventBody(Body, kw_only=True, frozen=True):
    """A user did something to an item."""

    type: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_TYPE,
            pattern=PLAIN,
            description="view, click, cart, purchase, like, rating, ... : what the configuration names, or any other.",
            examples=["view"],
        ),
    ]
    user: Id
    item: Id
    ts: Time | None = None
    """When; by default now."""
    value: float | None = None
    event_id: Id | None = None
    """A retry with the same id has no second effect."""
    session: Id | None = None
    basket: Id | None = None
    slate: Id | None = None
    """The slate that this event answers, and the slot in it."""
    slot: Slot | None = None
    context: dict[str, Scalar] | None = None


class EventsBody(Body, kw_only=True, frozen=True):
    """Many events: all are kept, or none."""

    events: Annotated[list[EventBody], Meta(min_length=1, max_length=10_000)]


class SeenBody(Body, kw_only=True, frozen=True):
    """Which slots of a slate were really seen."""

    slate: Id
    user: Id
    slots: Slots
    ts: Time | None = None
    event_id: Id | None = None


class ItemBody(Body, kw_only=True, frozen=True):
    """All that is known of an item; replaces what was known."""

    categories: list[Text] = []
    labels: dict[Text, Label] = {}
    is_hidden: bool = False
    timestamp: Time | None = None
    """When the item came."""
    group_id: Id | None = None
    """Variants of one product share it."""
    embeddings: Embeddings | None = None
    comment: Annotated[str, Meta(max_length=MAX_COMMENT)] | None = None


class ItemRow(ItemBody, kw_only=True, frozen=True):
    """An item with its id."""

    item: Id


class ItemsBody(Body, kw_only=True, frozen=True):
    """Many items."""

    items: Annotated[list[ItemRow], Meta(min_length=1, max_length=10_000)]


class PatchBody(Body, kw_only=True, frozen=True):
    """Changes of an item: fields that are left out stay, a label of null is removed."""

    categories: list[Text] | UnsetType = UNSET
    labels: dict[Text, Label] | UnsetType = UNSET
    is_hidden: bool | UnsetType = UNSET
    timestamp: Time | UnsetType = UNSET
    group_id: Id | UnsetType = UNSET
    embeddings: Embeddings | UnsetType = UNSET
    comment: Annotated[str, Meta(max_length=MAX_COMMENT)] | UnsetType = UNSET


class UserBody(Body, kw_only=True, frozen=True):
    """What is known of a user beside their events."""

    labels: dict[Text, Label] = {}
    comment: Annotated[str, Meta(max_length=MAX_COMMENT)] | None = None


class MergeBody(Body, kw_only=True, frozen=True, rename={"from_user": "from"}):
    """An anonymous visitor turned out to be a known user."""

    from_user: Id
    into: Id
    event_id: Id | None = None


class ExplainBody(Body, kw_only=True, frozen=True):
    """Why an item stands in a slate, or why not."""

    slate: Id
    item: Id
    audit: bool = False
    """Also name the other visitors whose events led to it. For administrators."""
