"""Answers: slates and what explains them. Plain data that reads well in a terminal and in a notebook.

The array layouts are those of `core_rs/src/query/answer.rs`. Rendering needs `rich`, tables need `polars`; both are
imported when asked for, not before. The small structs hold no cycles, so the garbage collector need not visit them
(`gc=False`): an answer is a hundred of them.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.core import reason_sentence

if TYPE_CHECKING:
    import polars
    from rich.table import Table


class EventRef(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Names one event of the log: the frame's position and the index inside it, with type and time."""

    position: int
    index: int
    type: str
    ts: int

    @property
    def id(self) -> str:
        """`position:index`."""
        return f"{self.position}:{self.index}"


class Part(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What one source said of an item: its rank there (from 1), the raw score, its share of the fused score."""

    source: str
    rank: int
    raw: float
    share: float


class Reason(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Why an item is here: the source, the visitor's own item and event that led to it, the count behind it.

    `count` is in full-weight events, at most `error` of it may belong to neighbours that were evicted; `detail` says
    what links the two (a metric, a tag).
    """

    source: str
    seed: str | None
    event: EventRef | None
    count: float
    error: float
    detail: str | None = None

    @property
    def text(self) -> str:
        """One sentence."""
        return reason_sentence(_encoder.encode(self))


class SlateItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One slot of a slate. `parts` and `reasons` are read from the answer's bytes when they are asked for: they are
    most of an answer, and most callers want the items."""

    item: str
    score: float
    source: str
    parts_bytes: msgspec.Raw
    reasons_bytes: msgspec.Raw
    propensity: float = 1.0
    """Probability of the item in this slot, given the slots above."""
    propensity_cascade: float = 1.0
    """Probability of this slot and all above."""
    pinned: bool = False
    promoted: bool = False
    greedy: bool = True
    """Whether the slate without exploration has it in this slot."""
    factors: list[tuple[str, float]] = []
    """What the fused score was multiplied with, by name; the parts' shares have it in them."""

    @property
    def parts(self) -> list[Part]:
        """What each source said of the item, strongest first."""
        return _parts.decode(self.parts_bytes)

    @property
    def reasons(self) -> list[Reason]:
        """Why the item is here, by source, strongest first."""
        return _reasons.decode(self.reasons_bytes)

    @property
    def reason(self) -> str:
        """The strongest reason as a sentence."""
        strongest = _each.decode(self.reasons_bytes)
        return reason_sentence(bytes(strongest[0])) if strongest else self.source

    def __repr__(self) -> str:
        return f"SlateItem(item={self.item!r}, score={self.score!r}, source={self.source!r}, parts={self.parts!r})"


_parts = msgspec.msgpack.Decoder(list[Part])
_reasons = msgspec.msgpack.Decoder(list[Reason])
_each = msgspec.msgpack.Decoder(list[msgspec.Raw])
_encoder = msgspec.msgpack.Encoder()


class Exploring(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How a slate was explored: the softmax's temperature, the least probability of any allowed candidate of a slot,
    and the candidates of the pool. Temperature and floor are 0 where nothing was explored."""

    temperature: float = 0.0
    floor: float = 0.0
    pool: int = 0


class Slate(msgspec.Struct, frozen=True, kw_only=True):
    """A ranked answer. Iterates over its items; `fallback` says why it is not personal or shorter than asked.

    `recorded`: its record goes to the log, so that `explain` knows the id in other processes too. `config` is the
    version of the query configuration that answered.
    """

    kind: str
    id: str
    user: str | None
    about: list[str]
    n: int
    items: list[SlateItem]
    positions: list[int]
    now: int
    fallback: str | None = None
    degraded: list[str] = []
    config: str = ""
    recorded: bool = False
    scenario: str | None = None
    variant: str | None = None
    """`experiment/variant` that answered, where the visitor takes part in an experiment."""
    notes: list[str] = []
    """What rules did that the caller should know: a pin that could not be kept, for one."""
    exploring: Exploring = Exploring()
    feature_names: list[str] = []
    candidates: dict[str, list[float]] = {}
    """Features of every candidate of the pool, when they were asked for."""
    approximate: dict[str, list[tuple[str, float]]] = {}
    """What sources found that a graph answered: item and raw score, best first. A few of the nearest may be missing."""

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[SlateItem]:
        return iter(self.items)

    def __getitem__(self, slot: int) -> SlateItem:
        return self.items[slot]

    @property
    def item_ids(self) -> list[str]:
        """The items' ids in order."""
        return [item.item for item in self.items]

    def to_polars(self) -> polars.DataFrame:
        """One row per slot: item, score, source, reason, propensity, propensity_cascade."""
        import polars as pl

        rows = [(r.item, r.score, r.source, r.reason, r.propensity, r.propensity_cascade) for r in self.items]
        columns = {"item": pl.String, "score": pl.Float64, "source": pl.String, "reason": pl.String}
        columns |= {"propensity": pl.Float64, "propensity_cascade": pl.Float64}
        return pl.DataFrame(rows, schema=columns, orient="row")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON; every array is an object with names."""
        items = [
            {
                "item": r.item,
                "score": r.score,
                "source": r.source,
                "reason": r.reason,
                "propensity": r.propensity,
                "propensity_cascade": r.propensity_cascade,
                "pinned": r.pinned,
                "promoted": r.promoted,
                "greedy": r.greedy,
                "factors": [{"name": name, "factor": factor} for name, factor in r.factors],
                "parts": [_named(part) for part in r.parts],
                "reasons": [reason_dict(reason) for reason in r.reasons],
            }
            for r in self.items
        ]
        return {
            "kind": self.kind,
            "slate": self.id,
            "user": self.user,
            "about": self.about,
            "n": self.n,
            "items": items,
            "positions": self.positions,
            "now": self.now,
            "fallback": self.fallback,
            "degraded": self.degraded,
            "config": self.config,
            "recorded": self.recorded,
            "scenario": self.scenario,
            "variant": self.variant,
            "notes": self.notes,
            "exploring": _named(self.exploring),
            "feature_names": self.feature_names,
            "candidates": [{"item": item, "features": row} for item, row in self.candidates.items()],
            "approximate": list(self.approximate),
        }

    def _title(self) -> str:
        who = self.user or ", ".join(self.about[:3]) or "everyone"
        return f"{self.kind} for {who}" if self.kind in ("recommend", "session", "rank") else f"{self.kind}: {who}"

    def _notes(self) -> list[str]:
        """What stands below the table: the id that `explain` takes, and what is wanting."""
        recorded = [f"slate {self.id}"] if self.recorded else []
        taking_part = [f"variant {self.variant}"] if self.variant else []
        return [*recorded, *taking_part, *([self.fallback] if self.fallback else []), *self.notes, *self.degraded]

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        # Ids are text, whatever they look like: `Text` keeps them from being read as markup.
        notes = self._notes()
        table = Table(title=Text(self._title()), caption=Text("\n".join(notes)) if notes else None)
        for name in ("slot", "item", "score", "source", "why"):
            table.add_column(name, justify="right" if name in ("slot", "score") else "left")
        for slot, r in enumerate(self.items):
            table.add_row(str(slot), Text(r.item), f"{r.score:.4f}", r.source, Text(r.reason))
        return table

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{slot}</td><td>{html.escape(r.item)}</td><td>{r.score:.4f}</td>"
            f"<td>{html.escape(r.source)}</td><td>{html.escape(r.reason)}</td></tr>"
            for slot, r in enumerate(self.items)
        )
        note = f"<caption>{html.escape(self._title())}</caption>"
        notes = "<br>".join(html.escape(note) for note in self._notes())
        foot = f"<tfoot><tr><td colspan=5>{notes}</td></tr></tfoot>" if notes else ""
        head = "<tr><th>slot</th><th>item</th><th>score</th><th>source</th><th>why</th></tr>"
        return f"<table>{note}<thead>{head}</thead><tbody>{cells}</tbody>{foot}</table>"


class SessionItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An item that the user touched: whether in the current session, and the latest event on it."""

    item: str
    in_session: bool
    event: EventRef
    roles: list[str] = []
    """What the event counts for: negative, positive, strong, consumed."""


class SessionState(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a user, as the core says it (`core_rs/src/query/session_view.rs`). Times in ms."""

    session: int
    started: int
    last: int
    session_events: int
    carts: int
    purchases: int
    dwell_ms: int
    items: list[SessionItem]
    affinities: list[tuple[str, float]]
    windows: list[int]
    events: int
    consumed: list[str]


class SessionView(msgspec.Struct, frozen=True):
    """A user's current session, recent items and tastes."""

    user: str
    state: SessionState
    position: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        view = _named(self.state)
        view["items"] = [
            {
                "item": t.item,
                "in_session": t.in_session,
                "event": t.event.id,
                "type": t.event.type,
                "ts": t.event.ts,
                "roles": t.roles,
            }
            for t in self.state.items
        ]
        view["affinities"] = [{"tag": tag, "weight": weight} for tag, weight in self.state.affinities]
        return {"user": self.user, "position": self.position, **view}

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        s = self.state
        tastes = ", ".join(f"{tag} {weight:.1f}" for tag, weight in s.affinities[:6])
        title = f"{self.user}: session {s.session}, {s.session_events} events, {s.carts} carts, {s.purchases} purchases"
        table = Table(
            "item", "last event", "time", "event", title=Text(title), caption=Text(tastes) if tastes else None
        )
        for t in s.items[:20]:
            mark = "" if t.in_session else " (earlier)"
            table.add_row(Text(t.item), Text(t.event.type + mark), format_time(t.event.ts), t.event.id)
        return table


class Witness(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Another visitor who did both: the event on the seed and the one on the item."""

    user: str
    seed: EventRef
    item: EventRef


class AuditedReason(msgspec.Struct, array_like=True, frozen=True):
    """Who led from a seed to the item by one source: how often in all, of these by visitors who are forgotten, and the
    latest of the others."""

    source: str
    seed: str
    found: int
    unnamed: int
    witnesses: list[Witness]

    @property
    def text(self) -> str:
        """One sentence."""
        told = [f"{w.user} ({w.seed.type} {w.seed.id}, {w.item.type} {w.item.id})" for w in self.witnesses[:5]]
        more = self.found - self.unnamed - len(told)
        told += [f"{more} more"] if more > 0 else []
        told += [f"{self.unnamed} by forgotten visitors"] if self.unnamed else []
        return f"{self.source} from {self.seed}, {self.found} times: " + (", ".join(told) or "nobody else")


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's part of an explanation: other visitors, found in the log up to `position`. Not `complete` when
    more visitors touched the item than are followed."""

    position: int
    followed: int
    complete: bool
    reasons: list[AuditedReason]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        reasons = []
        for reason in self.reasons:
            named = _named(reason)
            named["witnesses"] = [
                {
                    "user": w.user,
                    "seed": {"id": w.seed.id, **_named(w.seed)},
                    "item": {"id": w.item.id, **_named(w.item)},
                }
                for w in reason.witnesses
            ]
            reasons.append(named)
        return {
            "position": self.position,
            "followed": self.followed,
            "complete": self.complete,
            "reasons": reasons,
        }


class ItemView(msgspec.Struct, array_like=True, frozen=True):
    """What is known of an item (`core_rs/src/query/item_view.rs`): what was put, and counts. Times in ms."""

    put: bool
    visible: bool
    categories: list[str]
    labels: dict[str, bool | int | float | str | list[str]]
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

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return _named(self)


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why an item stands in a slate, with the visitor's own events as the log holds them.

    `audit` names other visitors, and is there only when it was asked for."""

    slate: str
    user: str | None
    item: str
    slot: int | None
    score: float
    parts: list[Part]
    reasons: list[Reason]
    events: list[dict[str, Any]]
    rules: list[str]
    audit: Audit | None = None

    @property
    def text(self) -> str:
        """A paragraph."""
        if self.slot is None:
            return f"{self.item} is not in slate {self.slate}. " + " ".join(self.rules)
        lines = [f"{self.item} stands in slot {self.slot} of slate {self.slate} with score {self.score:.4f}:"]
        lines += [f"  rank {p.rank} of {p.source} (raw {p.raw:.4g}), {p.share:.4f} of the score" for p in self.parts]
        lines += [f"  because: {reason.text}" for reason in self.reasons]
        lines += [f"  rule: {rule}" for rule in self.rules]
        if self.audit is not None:
            lines += [f"  audit: {reason.text}" for reason in self.audit.reasons]
            if not self.audit.complete:
                lines.append(f"  audit: only the {self.audit.followed} visitors who touched it last were followed")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        plain = {
            "slate": self.slate,
            "user": self.user,
            "item": self.item,
            "slot": self.slot,
            "score": self.score,
            "parts": [_named(part) for part in self.parts],
            "reasons": [reason_dict(reason) for reason in self.reasons],
            "events": self.events,
            "rules": self.rules,
        }
        return plain if self.audit is None else plain | {"audit": self.audit.to_dict()}


def reason_dict(reason: Reason) -> dict[str, Any]:
    """A reason as an object with names."""
    named = _named(reason)
    named["event"] = None if reason.event is None else {"id": reason.event.id, **_named(reason.event)}
    return {"text": reason.text, **named}


def format_time(ts: int) -> str:
    """UTC, ISO 8601 to the second."""
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _named(struct: msgspec.Struct) -> dict[str, Any]:
    return {field: getattr(struct, field) for field in struct.__struct_fields__}
