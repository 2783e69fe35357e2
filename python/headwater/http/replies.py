"""What `/v1` answers: one struct per reply body, and how an engine's answers become them."""

from __future__ import annotations

import math
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headwater.errors import InvalidQuery
from headwater.slate import Slate, SlateItem, reason_dict


class Reply(msgspec.Struct, kw_only=True, frozen=True):
    """A reply body."""


class PartReply(Reply, kw_only=True, frozen=True):
    """What one source said of an item."""

    source: str
    rank: int
    raw: float
    share: float
    """Its share of the fused score."""


class FactorReply(Reply, kw_only=True, frozen=True):
    """What the fused score was multiplied with."""

    name: str
    factor: float


class SlotReply(Reply, kw_only=True, frozen=True, gc=False):
    """One slot of a slate."""

    item: str
    score: float
    source: str
    """The source that weighs most."""
    reason: str
    """Why, as a sentence."""
    propensity: float
    """Probability of the item in this slot, given the slots above."""
    propensity_cascade: float
    pinned: bool
    promoted: bool
    greedy: bool
    factors: list[FactorReply] | UnsetType = UNSET
    """With `details`."""
    parts: list[PartReply] | UnsetType = UNSET
    """With `details`."""
    reasons: list[dict[str, Any]] | UnsetType = UNSET
    """With `details`."""


class ExploringReply(Reply, kw_only=True, frozen=True):
    """How a slate was explored."""

    temperature: float
    floor: float
    pool: int


class CandidateReply(Reply, kw_only=True, frozen=True):
    """A candidate's features, in the order of `feature_names`."""

    item: str
    features: list[float]


class SlateReply(Reply, kw_only=True, frozen=True):
    """A ranked answer. Send `slate` back with the events that answer it."""

    kind: str
    slate: Annotated[str, Meta(examples=["3-17"])]
    user: str | None
    about: list[str]
    n: int
    items: list[SlotReply]
    positions: list[int]
    now: int
    fallback: str | None
    """Why the answer is not personal, or shorter than asked."""
    degraded: list[str]
    config: str
    recorded: bool
    scenario: str | None
    variant: str | None
    """`experiment/variant` that answered, where the visitor takes part in an experiment."""
    notes: list[str]
    exploring: ExploringReply
    feature_names: list[str] | UnsetType = UNSET
    candidates: list[CandidateReply] | UnsetType = UNSET


class WrittenReply(Reply, kw_only=True, frozen=True):
    """The write is durable, and every later question sees it."""

    position: Annotated[int, Meta(description="Give it as `after` to read your own writes.", examples=[1284])]
    count: int = 1
    """Events or items that were written."""


class MergeReply(Reply, kw_only=True, frozen=True):
    """What a merge did: where the history is now, whether there was any, whether the merge had been made before."""

    from_user: str
    into_user: str
    moved: bool
    repeated: bool
    position: int


class ItemReply(Reply, kw_only=True, frozen=True):
    """What is known of an item."""

    item: str
    put: bool
    visible: bool
    categories: list[str]
    labels: dict[str, Any]
    is_hidden: bool
    timestamp: int | None
    group_id: str | None
    comment: str | None
    embeddings: dict[str, int]
    """Name -> dimension."""
    born: int | None
    votes: int
    popularity: float
    trend: float
    served: int


class TouchReply(Reply, kw_only=True, frozen=True):
    """An item that the user touched, and the latest event on it."""

    item: str
    in_session: bool
    event: str
    type: str
    ts: int
    roles: list[str]


class AffinityReply(Reply, kw_only=True, frozen=True):
    """A tag that the user likes."""

    tag: str
    weight: float


class UserReply(Reply, kw_only=True, frozen=True):
    """A user's session, recent items and tastes."""

    user: str
    position: int
    session: int
    started: int
    last: int
    session_events: int
    carts: int
    purchases: int
    dwell_ms: int
    items: list[TouchReply]
    affinities: list[AffinityReply]
    windows: list[int]
    events: int
    consumed: list[str]


class ExplainReply(Reply, kw_only=True, frozen=True):
    """Why an item stands in a slate, with the visitor's own events as the log holds them."""

    slate: str
    user: str | None
    item: str
    slot: int | None
    score: float
    text: str
    """All of it as a paragraph."""
    parts: list[PartReply]
    reasons: list[dict[str, Any]]
    events: list[dict[str, Any]]
    rules: list[str]
    audit: dict[str, Any] | UnsetType = UNSET
    """With `audit`."""


def slate_reply(slate: Slate, details: bool) -> SlateReply:
    """A slate as `/v1` gives it. Raises `InvalidQuery` for scores that JSON has no numbers for: votes grow without
    bound when they are looked at from long before they came."""
    if not all(math.isfinite(slot.score) for slot in slate.items):
        rule = "a time that is not long before the events"
        raise InvalidQuery(f"now = {slate.now}; allowed: {rule}", field="now", value=slate.now, rule=rule)
    exploring = slate.exploring
    return SlateReply(
        kind=slate.kind,
        slate=slate.id,
        user=slate.user,
        about=slate.about,
        n=slate.n,
        items=[_slot(slot, details) for slot in slate.items],
        positions=slate.positions,
        now=slate.now,
        fallback=slate.fallback,
        degraded=slate.degraded,
        config=slate.config,
        recorded=slate.recorded,
        scenario=slate.scenario,
        variant=slate.variant,
        notes=slate.notes,
        exploring=ExploringReply(temperature=exploring.temperature, floor=exploring.floor, pool=exploring.pool),
        feature_names=slate.feature_names or UNSET,
        candidates=[CandidateReply(item=item, features=row) for item, row in slate.candidates.items()] or UNSET,
    )


def _slot(slot: SlateItem, details: bool) -> SlotReply:
    reasons = slot.reasons
    return SlotReply(
        item=slot.item,
        score=slot.score,
        source=slot.source,
        reason=reasons[0].text if reasons else slot.source,
        propensity=slot.propensity,
        propensity_cascade=slot.propensity_cascade,
        pinned=slot.pinned,
        promoted=slot.promoted,
        greedy=slot.greedy,
        factors=[FactorReply(name=name, factor=factor) for name, factor in slot.factors] if details else UNSET,
        parts=[PartReply(source=p.source, rank=p.rank, raw=p.raw, share=p.share) for p in slot.parts]
        if details
        else UNSET,
        reasons=[reason_dict(reason) for reason in reasons] if details else UNSET,
    )
