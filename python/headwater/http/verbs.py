"""The verbs of `/v1`: which body asks what of an engine, and what it answers.

`Service` puts a body to an engine and gives the reply as bytes. It works on whatever has the verbs of
`headwater.Engine`: the embedded engine, or a client of a cluster. It is called from several threads.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from headwater.arguments import query_id
from headwater.errors import HeadwaterError, InvalidQuery
from headwater.events.types import Feedback
from headwater.http import bodies, replies
from headwater.http.live import Live
from headwater.http.problems import Refused, refusal
from headwater.merging import MergeReport
from headwater.slate import Explanation, ItemView, SessionView, Slate

logger = logging.getLogger(__name__)

Form = Literal["json", "msgpack"]


class Verbs(Protocol):
    """What a gateway needs of an engine: these methods of `headwater.Engine`, with its arguments and errors."""

    @property
    def recommend(self) -> Callable[..., Slate]: ...
    @property
    def session(self) -> Callable[..., Slate]: ...
    @property
    def rank(self) -> Callable[..., Slate]: ...
    @property
    def similar(self) -> Callable[..., Slate]: ...
    @property
    def trending(self) -> Callable[..., Slate]: ...
    @property
    def explain(self) -> Callable[..., Explanation]: ...
    @property
    def item(self) -> Callable[..., ItemView]: ...
    @property
    def session_of(self) -> Callable[..., SessionView]: ...
    @property
    def merge(self) -> Callable[..., MergeReport]: ...
    @property
    def status(self) -> Callable[..., dict[str, Any]]: ...
    @property
    def track(self) -> Callable[..., int]: ...
    @property
    def track_many(self) -> Callable[..., int]: ...
    @property
    def seen(self) -> Callable[..., int]: ...
    @property
    def put_item(self) -> Callable[..., int]: ...
    @property
    def put_items(self) -> Callable[..., int]: ...
    @property
    def patch_item(self) -> Callable[..., int]: ...
    @property
    def delete_item(self) -> Callable[..., int]: ...
    @property
    def put_user(self) -> Callable[..., int]: ...
    @property
    def forget(self) -> Callable[..., int]: ...
    @property
    def now(self) -> Callable[..., int]: ...


class ById(msgspec.Struct, frozen=True):
    """Names one item or user: what the path of a request says."""

    id: str


class PutItem(msgspec.Struct, frozen=True):
    """All that is known of the item of this id."""

    id: str
    body: bodies.ItemBody


class PatchItem(msgspec.Struct, frozen=True):
    """Changes of the item of this id."""

    id: str
    body: bodies.PatchBody


class PutUser(msgspec.Struct, frozen=True):
    """What is known of the user of this id."""

    id: str
    body: bodies.UserBody


class Nothing(msgspec.Struct, frozen=True):
    """A question without arguments."""


class Verb(NamedTuple):
    """One verb: the struct that asks, what answers, and how its cost is counted."""

    question: Any
    ask: Callable[[Verbs, Any], Any]
    kind: Literal["question", "write", "other"] = "question"
    reads_log: bool = False
    """O(log) instead of O(answer)."""


def fields_of(body: msgspec.Struct, *without: str) -> dict[str, Any]:
    """The fields of a body as keyword arguments."""
    return {f: getattr(body, f) for f in body.__struct_fields__ if f not in without}


def events_of(body: bodies.EventsBody, now: int) -> list[Feedback]:
    """The events of a batch; those without a time have `now`."""
    return [Feedback(**(fields_of(event) | {"ts": now if event.ts is None else event.ts})) for event in body.events]


def changes_of(body: bodies.PatchBody) -> dict[str, Any]:
    """What a patch says, as keyword arguments."""
    return {field: value for field, value in fields_of(body).items() if value is not msgspec.UNSET}


def _slate(verb: str, *positional: str) -> Callable[[Verbs, Any], replies.SlateReply]:
    def ask(engine: Verbs, body: Any) -> replies.SlateReply:
        first = [getattr(body, name) for name in positional]
        slate: Slate = getattr(engine, verb)(*first, **fields_of(body, "details", *positional))
        return replies.slate_reply(slate, body.details)

    return ask


def _track(engine: Verbs, body: bodies.EventBody) -> replies.WrittenReply:
    return replies.WrittenReply(position=engine.track(body.type, **fields_of(body, "type")))


def _track_many(engine: Verbs, body: bodies.EventsBody) -> replies.WrittenReply:
    events = events_of(body, engine.now())
    return replies.WrittenReply(position=engine.track_many(events), count=len(events))


def _seen(engine: Verbs, body: bodies.SeenBody) -> replies.WrittenReply:
    position = engine.seen(body.slate, body.slots, **fields_of(body, "slate", "slots"))
    return replies.WrittenReply(position=position)


def _put_item(engine: Verbs, named: PutItem) -> replies.WrittenReply:
    return replies.WrittenReply(position=engine.put_item(named.id, **fields_of(named.body)))


def _put_items(engine: Verbs, body: bodies.ItemsBody) -> replies.WrittenReply:
    position = engine.put_items([fields_of(row) for row in body.items])
    return replies.WrittenReply(position=position, count=len(body.items))


def _patch_item(engine: Verbs, named: PatchItem) -> replies.WrittenReply:
    return replies.WrittenReply(position=engine.patch_item(named.id, **changes_of(named.body)))


def _delete_item(engine: Verbs, named: ById) -> replies.WrittenReply:
    return replies.WrittenReply(position=engine.delete_item(named.id))


def known_item(engine: Verbs, id: str) -> tuple[str, ItemView]:
    """An item and what is known of it. Raises `InvalidQuery` for what is no id, `Refused` for an unknown item."""
    name = query_id("item", id)
    try:
        return name, engine.item(name)
    except InvalidQuery as err:  # the id keeps the rules, so what is wrong is that nothing named it
        raise Refused("unknown-item", err.message, item=name) from err


def _item(engine: Verbs, named: ById) -> replies.ItemReply:
    name, view = known_item(engine, named.id)
    return replies.ItemReply(item=name, **view.to_dict())


def _put_user(engine: Verbs, named: PutUser) -> replies.WrittenReply:
    return replies.WrittenReply(position=engine.put_user(named.id, **fields_of(named.body)))


def _user(engine: Verbs, named: ById) -> replies.UserReply:
    name = query_id("user", named.id)
    try:
        view = engine.session_of(name)
    except InvalidQuery as err:
        raise Refused("unknown-user", err.message, user=name) from err
    return msgspec.convert(view.to_dict(), replies.UserReply)


def _forget(engine: Verbs, named: ById) -> replies.WrittenReply:
    return replies.WrittenReply(position=engine.forget(named.id))


def _merge(engine: Verbs, body: bodies.MergeBody) -> replies.MergeReply:
    report = engine.merge(body.from_user, body.into, event_id=body.event_id)
    return replies.MergeReply(**report.to_dict())


def explained(engine: Verbs, slate: str, item: str, audit: bool = False) -> Explanation:
    """Why an item stands in a slate. Raises `InvalidQuery` for what is no id, `Refused` for an unknown slate."""
    name = query_id("item", item)
    try:
        return engine.explain(slate, name, audit=audit)
    except InvalidQuery as err:
        raise Refused("unknown-slate", err.message, slate=slate) from err


def _explain(engine: Verbs, body: bodies.ExplainBody) -> replies.ExplainReply:
    told = explained(engine, body.slate, body.item, body.audit)
    return replies.ExplainReply(text=told.text, **told.to_dict())


def _status(engine: Verbs, _: Nothing) -> dict[str, Any]:
    return engine.status()


VERBS: dict[str, Verb] = {
    "recommend": Verb(bodies.RecommendBody, _slate("recommend", "user", "n")),
    "session": Verb(bodies.SessionBody, _slate("session", "items", "n")),
    "rank": Verb(bodies.RankBody, _slate("rank", "user", "items", "n")),
    "similar": Verb(bodies.SimilarBody, _slate("similar", "item", "n")),
    "trending": Verb(bodies.TrendingBody, _slate("trending", "category", "n")),
    "explain": Verb(bodies.ExplainBody, _explain, reads_log=True),
    "track": Verb(bodies.EventBody, _track, "write"),
    "track-many": Verb(bodies.EventsBody, _track_many, "write"),
    "seen": Verb(bodies.SeenBody, _seen, "write"),
    "put-item": Verb(PutItem, _put_item, "write"),
    "put-items": Verb(bodies.ItemsBody, _put_items, "write"),
    "patch-item": Verb(PatchItem, _patch_item, "write"),
    "delete-item": Verb(ById, _delete_item, "write"),
    "item": Verb(ById, _item),
    "put-user": Verb(PutUser, _put_user, "write"),
    "user": Verb(ById, _user),
    "merge": Verb(bodies.MergeBody, _merge, "write"),
    "forget": Verb(ById, _forget, "write"),
    "status": Verb(Nothing, _status, "other"),
    "ready": Verb(Nothing, _status, "other"),
}


@contextmanager
def as_problems(live: Live, verb: str) -> Iterator[None]:
    """Whatever an engine raises is raised as `Refused`, and counted."""
    try:
        yield
    except Refused:
        live.refused(verb)
        raise
    except HeadwaterError as err:
        live.refused(verb)
        problem = refusal(err)
        if problem.status >= 500:
            logger.error("%s: %s", verb, err.message)
        raise problem from err
    except Exception as err:
        incident = secrets.token_hex(8)
        logger.exception("%s failed; incident %s", verb, incident)
        raise Refused("internal", "The server failed; its log says more.", instance=incident) from err


def encoded(reply: Any, form: Form) -> bytes:
    """A reply's bytes."""
    return msgspec.json.encode(reply) if form == "json" else msgspec.msgpack.encode(reply)


class Service:
    """Puts bodies to an engine and encodes what it answers. Safe to use from many threads."""

    def __init__(self, engine: Verbs, live: Live, more: dict[str, Verb] | None = None) -> None:
        """`more` are verbs beside those of `/v1`, by their name."""
        self.engine = engine
        self.live = live
        self.verbs = VERBS | (more or {})

    def answer(self, verb: str, question: msgspec.Struct, form: Form) -> bytes:
        """The reply's bytes. Raises `Refused`, and nothing else."""
        entry = self.verbs[verb]
        started = time.perf_counter()
        with as_problems(self.live, verb):
            reply = entry.ask(self.engine, question)
        self.live.answered(verb, entry.kind, time.perf_counter() - started, reply)
        return encoded(reply, form)
