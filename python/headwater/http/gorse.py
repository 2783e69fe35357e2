"""`/api`: the part of gorse's interface that its clients use most, over the same verbs.

What gorse has and an event log has not (deleting one feedback) is answered with the problem `not-supported`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Controller, Response, delete, get, patch, post, put
from litestar.openapi.spec import Example
from litestar.params import Body, HeaderParameter, JSONBody, PathParameter, QueryParameter

from headwater.events.types import UserPut
from headwater.http import bodies, gorse_verbs, verbs
from headwater.http.door import Door
from headwater.http.gorse_shapes import (
    FeedbackPage,
    GorseFeedback,
    GorseItem,
    GorseItemPatch,
    GorseScore,
    GorseSessionFeedback,
    GorseUser,
    GorseUserPatch,
    ItemsPage,
    RowAffected,
    UsersPage,
    duration_ms,
    labels_in,
    retry_id,
    time_of,
)
from headwater.http.problems import Refused
from headwater.http.replies import SlateReply, WrittenReply
from headwater.http.strict_body import StrictBody
from headwater.http.v1 import ADMIN, READER, WRITER, HttpRequest, ask, check_batch, id_of

_slates = msgspec.json.Decoder(SlateReply)
_written = msgspec.json.Decoder(WrittenReply)

N = Annotated[int, QueryParameter(ge=1, le=1000, description="How many.")]
Offset = Annotated[int, QueryParameter(ge=0, le=999, description="How many to leave out first.")]
Category = Annotated[str | None, QueryParameter(max_length=256)]
InCategory = Annotated[str | None, PathParameter()]
Cursor = Annotated[str, QueryParameter(max_length=32, description="From the last page; empty: the first.")]
PathId = Annotated[str, PathParameter(min_length=1, description="An id, percent-encoded.")]
_FEEDBACK = [
    Example(value=[{"FeedbackType": "like", "UserId": "bob", "ItemId": "sku1", "Timestamp": "2026-01-31T12:00:00Z"}])
]


async def _door(request: HttpRequest, verb: str, question: msgspec.Struct) -> bytes:
    door: Door = request.app.state.door
    return await door.ask(verb, question)


async def _affected(request: HttpRequest, verb: str, question: msgspec.Struct) -> RowAffected:
    return RowAffected(row_affected=_written.decode(await _door(request, verb, question)).count)


def _item_row(item: GorseItem) -> bodies.ItemRow:
    labels, embeddings = labels_in(item.labels)
    return bodies.ItemRow(
        item=item.item_id,
        categories=item.categories or [],
        labels=labels,
        embeddings=embeddings,
        is_hidden=bool(item.is_hidden),
        timestamp=time_of(item.timestamp),
        comment=item.comment or None,
    )


def _user_put(user: GorseUser) -> UserPut:
    labels, embeddings = labels_in(user.labels)
    if embeddings:
        raise Refused("invalid-event", "Labels; allowed: users have no embeddings", field="Labels")
    return UserPut(user=user.user_id, ts=0, labels=labels, comment=user.comment or None)


def _event(feedback: GorseFeedback) -> bodies.EventBody:
    ts = time_of(feedback.timestamp)
    return bodies.EventBody(
        type=feedback.feedback_type,
        user=feedback.user_id,
        item=feedback.item_id,
        ts=ts,
        value=feedback.value or None,
        event_id=retry_id(feedback, ts),
    )


def _filter(category: str | None) -> dict[str, Any]:
    return {} if not category else {"filter": "$category in categories", "params": {"category": category}}


class Gorse(Controller):
    """gorse's interface."""

    path = "/api"
    tags = ["gorse"]
    opt = READER
    dto = StrictBody
    return_dto = None

    # --- feedback ------------------------------------------------------------------------------------------------

    @post("/feedback", status_code=200, opt=WRITER, summary="Insert feedback")
    async def insert_feedback(
        self, request: HttpRequest, data: Annotated[list[GorseFeedback], Body(examples=_FEEDBACK)]
    ) -> RowAffected:
        """All of it or none. The same feedback with the same timestamp counts once."""
        return await self._track(request, data)

    @put("/feedback", status_code=200, opt=WRITER, summary="Insert feedback")
    async def overwrite_feedback(
        self, request: HttpRequest, data: Annotated[list[GorseFeedback], Body(examples=_FEEDBACK)]
    ) -> RowAffected:
        """As POST: what happened is not overwritten, the latest counts."""
        return await self._track(request, data)

    async def _track(self, request: HttpRequest, data: list[GorseFeedback]) -> RowAffected:
        check_batch(request, len(data))
        if not data:
            return RowAffected(row_affected=0)
        return await _affected(request, "track-many", bodies.EventsBody(events=[_event(row) for row in data]))

    @get("/feedback", opt=ADMIN, summary="Feedback, page by page")
    async def feedback(self, request: HttpRequest, n: N = 100, cursor: Cursor = "") -> Response[FeedbackPage]:
        """In the order of the log."""
        return await ask(request, "gorse-feedback", gorse_verbs.Page(n, cursor))

    @get("/feedback/{type_:str}", opt=ADMIN, summary="Feedback of one type, page by page")
    async def feedback_of_type(
        self, request: HttpRequest, type_: PathId, n: N = 100, cursor: Cursor = ""
    ) -> Response[FeedbackPage]:
        """In the order of the log."""
        return await ask(request, "gorse-feedback", gorse_verbs.Page(n, cursor, type=id_of(type_, "type")))

    @delete(
        ["/feedback/{user:str}/{item:str}", "/feedback/{type_:str}/{user:str}/{item:str}"],
        status_code=200,
        opt=ADMIN,
        include_in_schema=False,
    )
    async def delete_feedback(
        self, request: HttpRequest, user: PathId, item: PathId, type_: InCategory = None
    ) -> RowAffected:
        """What happened stays in the log. Insert feedback that rejects the item, or forget the user."""
        raise Refused(
            "not-supported",
            "one feedback cannot be deleted from a log; insert one that rejects the item (dislike, hide), or "
            "DELETE /api/user/{user}",
        )

    # --- items ---------------------------------------------------------------------------------------------------

    @post("/item", status_code=200, opt=WRITER, summary="Insert an item")
    async def insert_item(self, request: HttpRequest, data: JSONBody[GorseItem]) -> RowAffected:
        """Replaces what was known of it."""
        return await _affected(request, "put-items", bodies.ItemsBody(items=[_item_row(data)]))

    @post("/items", status_code=200, opt=WRITER, summary="Insert items")
    async def insert_items(self, request: HttpRequest, data: JSONBody[list[GorseItem]]) -> RowAffected:
        """All of them or none."""
        check_batch(request, len(data))
        if not data:
            return RowAffected(row_affected=0)
        return await _affected(request, "put-items", bodies.ItemsBody(items=[_item_row(row) for row in data]))

    @get("/items", summary="Items, page by page")
    async def items(
        self,
        request: HttpRequest,
        n: N = 100,
        cursor: Cursor = "",
        q: Annotated[str | None, QueryParameter(max_length=256, description="Text in id or comment.")] = None,
    ) -> Response[ItemsPage]:
        """In the order of their first appearance."""
        return await ask(request, "gorse-items", gorse_verbs.Page(n, cursor, query=q))

    @get("/item/{item:str}", summary="An item")
    async def item(self, request: HttpRequest, item: PathId) -> Response[dict[str, Any]]:
        """What was put."""
        return await ask(request, "gorse-item", verbs.ById(id_of(item, "item")))

    @patch("/item/{item:str}", status_code=200, opt=WRITER, summary="Change an item")
    async def update_item(
        self, request: HttpRequest, item: PathId, data: JSONBody[GorseItemPatch]
    ) -> Response[RowAffected]:
        """Null leaves a field as it is."""
        changes: dict[str, Any] = {"is_hidden": data.is_hidden, "categories": data.categories, "comment": data.comment}
        changes["timestamp"] = time_of(data.timestamp)
        if data.labels is not None:
            changes["labels"], changes["embeddings"] = labels_in(data.labels)
        changes = {field: value for field, value in changes.items() if value is not None}
        return await ask(request, "gorse-patch-item", gorse_verbs.PatchItem(id_of(item, "item"), changes))

    @delete("/item/{item:str}", status_code=200, opt=WRITER, summary="Delete an item")
    async def delete_item(self, request: HttpRequest, item: PathId) -> RowAffected:
        """It is never shown again, until it is put anew."""
        return await _affected(request, "delete-item", verbs.ById(id_of(item, "item")))

    # --- users ---------------------------------------------------------------------------------------------------

    @post("/user", status_code=200, opt=WRITER, summary="Insert a user")
    async def insert_user(self, request: HttpRequest, data: JSONBody[GorseUser]) -> Response[RowAffected]:
        """Replaces what was known of them beside their feedback."""
        return await ask(request, "gorse-put-users", gorse_verbs.PutUsers([_user_put(data)]))

    @post("/users", status_code=200, opt=WRITER, summary="Insert users")
    async def insert_users(self, request: HttpRequest, data: JSONBody[list[GorseUser]]) -> Response[RowAffected]:
        """All of them or none."""
        check_batch(request, len(data))
        if not data:
            return Response(RowAffected(row_affected=0))
        return await ask(request, "gorse-put-users", gorse_verbs.PutUsers([_user_put(row) for row in data]))

    @get("/users", opt=ADMIN, summary="Users, page by page")
    async def users(self, request: HttpRequest, n: N = 100, cursor: Cursor = "") -> Response[UsersPage]:
        """In the order of their first appearance."""
        return await ask(request, "gorse-users", gorse_verbs.Page(n, cursor))

    @get("/user/{user:str}", summary="A user")
    async def user(self, request: HttpRequest, user: PathId) -> Response[dict[str, Any]]:
        """What was put."""
        return await ask(request, "gorse-user", verbs.ById(id_of(user, "user")))

    @patch("/user/{user:str}", status_code=200, opt=WRITER, summary="Change a user")
    async def update_user(
        self, request: HttpRequest, user: PathId, data: JSONBody[GorseUserPatch]
    ) -> Response[RowAffected]:
        """Null leaves a field as it is."""
        name = id_of(user, "user")
        labels = None if data.labels is None else labels_in(data.labels)[0]
        return await ask(request, "gorse-patch-user", gorse_verbs.PatchUser(name, labels, data.comment))

    @delete("/user/{user:str}", status_code=200, opt=ADMIN, summary="Forget a user")
    async def delete_user(self, request: HttpRequest, user: PathId) -> RowAffected:
        """Their state is dropped at once."""
        return await _affected(request, "forget", verbs.ById(id_of(user, "user")))

    @get(["/user/{user:str}/feedback", "/user/{user:str}/feedback/{type_:str}"], summary="What a user did")
    async def user_feedback(
        self, request: HttpRequest, user: PathId, type_: Annotated[str | None, PathParameter()] = None
    ) -> Response[list[dict[str, Any]]]:
        """The latest of each type and item."""
        kind = None if type_ is None else id_of(type_, "type")
        return await ask(request, "gorse-user-feedback", gorse_verbs.UserFeedback(id_of(user, "user"), kind))

    # --- recommendations -----------------------------------------------------------------------------------------

    @get(["/recommend/{user:str}", "/recommend/{user:str}/{in_category:str}"], summary="Recommendations for a user")
    async def recommend(
        self,
        request: HttpRequest,
        user: PathId,
        in_category: InCategory = None,
        category: Category = None,
        n: N = 10,
        offset: Offset = 0,
        write_back_type: Annotated[str | None, QueryParameter(name="write-back-type", max_length=64)] = None,
        write_back_delay: Annotated[str | None, QueryParameter(name="write-back-delay", max_length=20)] = None,
        version: Annotated[str | None, HeaderParameter(name="X-API-Version", max_length=8)] = None,
    ) -> list[GorseScore] | list[str]:
        """Ids, or ids with scores under X-API-Version: 2. With `write-back-type` (role writer) what is answered is
        also written as feedback of that type, dated after `write-back-delay`."""
        name = id_of(user, "user")
        chosen = _chosen(in_category, category)
        if write_back_type and not request.scope["state"]["caller"].may("writer"):
            raise Refused("forbidden", "write-back-type writes; it needs the role writer", needs="writer")
        delay = duration_ms(write_back_delay) if write_back_delay else 0
        question = bodies.RecommendBody(user=name, n=_wanted(n, offset), **_filter(chosen))
        slate = _slates.decode(await _door(request, "recommend", question))
        scores = _cut(slate, offset)
        if write_back_type and scores:
            when = slate.now + delay
            rows = [bodies.EventBody(type=write_back_type, user=name, item=s.id, ts=when) for s in scores]
            await _door(request, "track-many", bodies.EventsBody(events=rows))
        return scores if version == "2" else [score.id for score in scores]

    @get(
        ["/item/{item:str}/neighbors", "/item/{item:str}/neighbors/{in_category:str}"], summary="Neighbours of an item"
    )
    async def neighbors(
        self,
        request: HttpRequest,
        item: PathId,
        in_category: InCategory = None,
        category: Category = None,
        n: N = 10,
        offset: Offset = 0,
    ) -> Response[list[GorseScore]]:
        """None for an item that nothing ever named."""
        chosen = _chosen(in_category, category)
        _wanted(n, offset)
        asked = gorse_verbs.Neighbours(id_of(item, "item"), n, offset, chosen or None)
        return await ask(request, "gorse-neighbours", asked)

    @get(["/popular", "/popular/{in_category:str}"], summary="Popular items")
    async def popular(
        self,
        request: HttpRequest,
        in_category: InCategory = None,
        category: Category = None,
        n: N = 10,
        offset: Offset = 0,
    ) -> list[GorseScore]:
        """By decayed votes."""
        return await self._ranked(request, "popular", in_category, category, n, offset)

    @get(["/latest", "/latest/{in_category:str}"], summary="New items")
    async def latest(
        self,
        request: HttpRequest,
        in_category: InCategory = None,
        category: Category = None,
        n: N = 10,
        offset: Offset = 0,
    ) -> list[GorseScore]:
        """Items that came within `query.fresh_days`, and were served less than `query.fresh_budget` times."""
        return await self._ranked(request, "fresh", in_category, category, n, offset)

    async def _ranked(
        self, request: HttpRequest, source: str, in_category: str | None, category: str | None, n: int, offset: int
    ) -> list[GorseScore]:
        chosen = _chosen(in_category, category)
        question = bodies.SessionBody(items=[], n=_wanted(n, offset), sources={source: 1.0}, **_filter(chosen))
        slate = _slates.decode(await _door(request, "session", question))
        return _cut(slate, offset, source)

    @post(
        ["/session/recommend", "/session/recommend/{in_category:str}"],
        status_code=200,
        summary="Recommendations for a visitor without a name",
    )
    async def session_recommend(
        self,
        request: HttpRequest,
        data: JSONBody[list[GorseSessionFeedback]],
        in_category: InCategory = None,
        category: Category = None,
        n: N = 10,
        offset: Offset = 0,
    ) -> list[GorseScore]:
        """From the items that the visitor touched, in the order of their timestamps."""
        check_batch(request, len(data))
        chosen = _chosen(in_category, category)
        touched = sorted(data, key=lambda row: time_of(row.timestamp) or 0)
        items = [row.item_id for row in touched]
        question = bodies.SessionBody(items=items, n=_wanted(n, offset), **_filter(chosen))
        return _cut(_slates.decode(await _door(request, "session", question)), offset)


def _chosen(in_category: str | None, category: str | None) -> str | None:
    """The category that the path names, or else the query."""
    return id_of(in_category, "category") if in_category else category


def _wanted(n: int, offset: int) -> int:
    if n + offset > 1000:
        rule = "n + offset at most 1000"
        raise Refused("invalid-query", f"n = {n}, offset = {offset}; allowed: {rule}", field="offset", rule=rule)
    return n + offset


def _cut(slate: SlateReply, offset: int, source: str | None = None) -> list[GorseScore]:
    """The scores of a slate; of one source, where only that was asked for and the catalogue filled up."""
    slots = [slot for slot in slate.items if source is None or slot.source == source]
    return [GorseScore(id=slot.item, score=slot.score) for slot in slots[offset:]]
