"""`/v1`: the engine's verbs as JSON (or MessagePack) over HTTP.

Questions are POST requests with a body, so that ids of any content need no escaping; what belongs to one item or user
is at its own address, where the id is percent-encoded, slashes too.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote

import msgspec
from litestar import Controller, Request, Response, delete, get, patch, post, put
from litestar.openapi.spec import Example
from litestar.params import Body, PathParameter

from headwater.http import bodies, examples, replies, verbs
from headwater.http.door import Door
from headwater.http.problems import Refused
from headwater.http.strict_body import JSON, MSGPACK, StrictBody, accepts_msgpack

HttpRequest = Request[Any, Any, Any]
READER, WRITER, ADMIN = {"role": "reader"}, {"role": "writer"}, {"role": "admin"}
_NO_STORE = {"cache-control": "no-store"}

ItemId = Annotated[
    str, PathParameter(description="The item's id, percent-encoded.", min_length=1, examples=[Example(value="sku1")])
]
UserId = Annotated[
    str, PathParameter(description="The user's id, percent-encoded.", min_length=1, examples=[Example(value="bob")])
]


async def ask(request: HttpRequest, verb: str, question: msgspec.Struct) -> Response[Any]:
    """Put a question through the door; the reply as it came."""
    door: Door = request.app.state.door
    if accepts_msgpack(request):
        return Response(await door.ask(verb, question, "msgpack"), media_type=MSGPACK, headers=_NO_STORE)
    return Response(await door.ask(verb, question, "json"), media_type=JSON, headers=_NO_STORE)


def id_of(raw: str, field: str) -> str:
    """The id that a path names. Raises `Refused`."""
    try:
        return unquote(raw, errors="strict")
    except UnicodeDecodeError as err:
        rule = "percent-encoded UTF-8"
        raise Refused("bad-request", f"{field} = {raw[:80]!r}; allowed: {rule}", field=field, rule=rule) from err


def check_batch(request: HttpRequest, count: int) -> None:
    """Raises `Refused` for more rows than one request may hold."""
    limit: int = request.app.state.config.max_batch
    if count > limit:
        raise Refused("too-large", f"{count} rows; allowed: at most {limit} in one request", limit=limit)


class Questions(Controller):
    """What can be asked."""

    path = "/v1"
    tags = ["questions"]
    opt = READER
    dto = StrictBody
    return_dto = None

    @post("/recommend", status_code=200, summary="The best items for a user")
    async def recommend(
        self, request: HttpRequest, data: Annotated[bodies.RecommendBody, Body(examples=examples.RECOMMEND)]
    ) -> Response[replies.SlateReply]:
        """An unknown user gets trending and popular items, and `fallback` says so."""
        return await ask(request, "recommend", data)

    @post("/session", status_code=200, summary="The best items for a visitor without a name")
    async def session(
        self, request: HttpRequest, data: Annotated[bodies.SessionBody, Body(examples=examples.SESSION)]
    ) -> Response[replies.SlateReply]:
        """Nothing is remembered of the visitor; a record is written only under a `visitor` id."""
        return await ask(request, "session", data)

    @post("/rank", status_code=200, summary="The caller's own items, in the user's order")
    async def rank(
        self, request: HttpRequest, data: Annotated[bodies.RankBody, Body(examples=examples.RANK)]
    ) -> Response[replies.SlateReply]:
        """What may not be shown is left out, and the slate says so."""
        return await ask(request, "rank", data)

    @post("/similar", status_code=200, summary="Items that go with an item")
    async def similar(
        self, request: HttpRequest, data: Annotated[bodies.SimilarBody, Body(examples=examples.SIMILAR)]
    ) -> Response[replies.SlateReply]:
        """By one relation and metric, or by all relations fused."""
        return await ask(request, "similar", data)

    @post("/trending", status_code=200, summary="What is trending")
    async def trending(
        self, request: HttpRequest, data: Annotated[bodies.TrendingBody, Body(examples=examples.TRENDING)]
    ) -> Response[replies.SlateReply]:
        """Overall, or in a category."""
        return await ask(request, "trending", data)

    @post("/explain", status_code=200, summary="Why an item stands in a slate, or why not")
    async def explain(
        self, request: HttpRequest, data: Annotated[bodies.ExplainBody, Body(examples=examples.EXPLAIN)]
    ) -> Response[replies.ExplainReply]:
        """With `audit` (administrators only) it names the other visitors whose events led to the item."""
        if data.audit and not request.scope["state"]["caller"].may("admin"):
            raise Refused("forbidden", "audit names other visitors; it needs the role admin", needs="admin")
        return await ask(request, "explain", data)


class Events(Controller):
    """What happened. A write is durable and seen by every later question when it is answered."""

    path = "/v1"
    tags = ["events"]
    opt = WRITER
    dto = StrictBody
    return_dto = None

    @post("/track", status_code=200, summary="A user did something to an item")
    async def track(
        self, request: HttpRequest, data: Annotated[bodies.EventBody, Body(examples=examples.EVENT)]
    ) -> Response[replies.WrittenReply]:
        """A retry with the same `event_id` has no second effect."""
        return await ask(request, "track", data)

    @post("/track/batch", status_code=200, summary="Many events, all or none")
    async def track_many(
        self, request: HttpRequest, data: Annotated[bodies.EventsBody, Body(examples=examples.EVENTS)]
    ) -> Response[replies.WrittenReply]:
        """One broken event refuses the whole request, and nothing of it is kept."""
        check_batch(request, len(data.events))
        return await ask(request, "track-many", data)

    @post("/seen", status_code=200, summary="Which slots of a slate were really seen")
    async def seen(
        self, request: HttpRequest, data: Annotated[bodies.SeenBody, Body(examples=examples.SEEN)]
    ) -> Response[replies.WrittenReply]:
        """Only those can teach that an item was not wanted."""
        return await ask(request, "seen", data)

    @post("/merge", status_code=200, summary="A visitor turned out to be a known user")
    async def merge(
        self, request: HttpRequest, data: Annotated[bodies.MergeBody, Body(examples=examples.MERGE)]
    ) -> Response[replies.MergeReply]:
        """As on a login: their history joins the account, and their id means the account from here on. Made again it
        does nothing."""
        return await ask(request, "merge", data)


class Items(Controller):
    """The catalogue."""

    path = "/v1/items"
    tags = ["items"]
    opt = WRITER
    dto = StrictBody
    return_dto = None

    @get("/{item:str}", opt=READER, summary="What is known of an item")
    async def get_item(self, request: HttpRequest, item: ItemId) -> Response[replies.ItemReply]:
        """What was put, and counts."""
        return await ask(request, "item", verbs.ById(id_of(item, "item")))

    @put("/{item:str}", status_code=200, summary="Put an item")
    async def put_item(
        self, request: HttpRequest, item: ItemId, data: Annotated[bodies.ItemBody, Body(examples=examples.ITEM)]
    ) -> Response[replies.WrittenReply]:
        """Replaces what was known of it."""
        return await ask(request, "put-item", verbs.PutItem(id_of(item, "item"), data))

    @patch("/{item:str}", status_code=200, summary="Change some fields of an item")
    async def patch_item(
        self, request: HttpRequest, item: ItemId, data: Annotated[bodies.PatchBody, Body(examples=examples.PATCH)]
    ) -> Response[replies.WrittenReply]:
        """Fields that are left out stay as they are."""
        return await ask(request, "patch-item", verbs.PatchItem(id_of(item, "item"), data))

    @delete("/{item:str}", status_code=200, summary="Never show an item again")
    async def delete_item(self, request: HttpRequest, item: ItemId) -> Response[replies.WrittenReply]:
        """Until it is put anew."""
        return await ask(request, "delete-item", verbs.ById(id_of(item, "item")))

    @post("/", status_code=200, summary="Put many items")
    async def put_items(
        self, request: HttpRequest, data: Annotated[bodies.ItemsBody, Body(examples=examples.ITEMS)]
    ) -> Response[replies.WrittenReply]:
        """Each replaces what was known of it. One broken item refuses the whole request."""
        check_batch(request, len(data.items))
        return await ask(request, "put-items", data)


class Users(Controller):
    """What is known of users."""

    path = "/v1/users"
    tags = ["users"]
    dto = StrictBody
    return_dto = None

    @get("/{user:str}", opt=READER, summary="What is known of a user")
    async def get_user(self, request: HttpRequest, user: UserId) -> Response[replies.UserReply]:
        """Session, recent items, tastes."""
        return await ask(request, "user", verbs.ById(id_of(user, "user")))

    @put("/{user:str}", status_code=200, opt=WRITER, summary="Put a user")
    async def put_user(
        self, request: HttpRequest, user: UserId, data: Annotated[bodies.UserBody, Body(examples=examples.USER)]
    ) -> Response[replies.WrittenReply]:
        """Replaces what was known of them beside their events."""
        return await ask(request, "put-user", verbs.PutUser(id_of(user, "user"), data))

    @delete("/{user:str}", status_code=200, opt=ADMIN, summary="Forget a user")
    async def forget(self, request: HttpRequest, user: UserId) -> Response[replies.WrittenReply]:
        """Their state is dropped at once. Their events stay in the log until they are erased from it."""
        return await ask(request, "forget", verbs.ById(id_of(user, "user")))


@get("/v1/status", opt=ADMIN, tags=["operations"], summary="Position, counts, bytes, refusals")
async def status(request: HttpRequest) -> Response[dict[str, Any]]:
    """As `headwater status --json` prints it."""
    return await ask(request, "status", verbs.Nothing())


HANDLERS: list[Any] = [Questions, Events, Items, Users, status]
