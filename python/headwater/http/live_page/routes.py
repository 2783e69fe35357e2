"""Addresses of the live page. Administrators only, where there are keys: it shows what visitors do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter
from litestar.response import ServerSentEvent

from headwater.http.live_page import explorers, looks
from headwater.http.live_page.frame import page
from headwater.http.live_page.live_view import live_view
from headwater.http.live_page.markup import el
from headwater.http.problems import KINDS, Refused
from headwater.http.v1 import ADMIN, HttpRequest
from headwater.http.verbs import Nothing

MAX_STREAMS = 32
_EVERY_S = 1.0
Id = Annotated[str, QueryParameter(description="An id.")]


async def _look(request: HttpRequest, verb: str, question: msgspec.Struct) -> Any:
    return msgspec.json.decode(await request.app.state.door.ask(verb, question))


async def _experiments(request: HttpRequest) -> bool:
    return bool((await _look(request, "experiments-look", Nothing()))["experiments"])


@get("/", include_in_schema=False, opt=ADMIN)
async def live(request: HttpRequest) -> Response[str]:
    """What happens now."""
    view = await _look(request, "live-look", Nothing())
    shown = live_view(view, request.app.state.keys_required, str(request.base_url))
    return page("Live", "/", el("div", shown, id="live"), experiments=view["experiments"], live=True)


@get("/live/stream", include_in_schema=False, opt=ADMIN)
async def stream(request: HttpRequest) -> ServerSentEvent:
    """The first page's content, renewed every second."""
    state, base = request.app.state, str(request.base_url)
    if state.streams >= MAX_STREAMS:
        raise Refused("overloaded", f"{MAX_STREAMS} live pages are open already")

    async def renew() -> AsyncIterator[str]:
        state.streams += 1
        try:
            while not state.stopping.is_set():
                view = await _look(request, "live-look", Nothing())
                yield msgspec.json.encode(str(live_view(view, state.keys_required, base))).decode()
                try:
                    await asyncio.wait_for(state.stopping.wait(), _EVERY_S)
                except TimeoutError:
                    continue
        finally:
            state.streams -= 1

    return ServerSentEvent(renew())


@get("/item", include_in_schema=False, opt=ADMIN)
async def item(request: HttpRequest, id: Id = "", metric: Id = "cosine") -> Response[str]:
    """An item."""
    chosen = metric if metric in looks.METRICS else "cosine"
    look = None
    if id:
        try:
            look = await _look(request, "item-look", looks.ItemLook(id, chosen))
        except Refused as err:
            if err.status >= 500:
                raise
    return explorers.item_page(id, chosen, look, await _experiments(request))


@get("/user", include_in_schema=False, opt=ADMIN)
async def user(request: HttpRequest, id: Id = "") -> Response[str]:
    """A user."""
    look = None
    if id:
        try:
            look = await _look(request, "user-look", looks.UserLook(id))
        except Refused as err:
            return explorers.problem_page(KINDS[err.code].title, err.detail, err.status)
    return explorers.user_page(id, look, await _experiments(request))


@get("/why", include_in_schema=False, opt=ADMIN)
async def why(request: HttpRequest, slate: Id = "", item: Id = "") -> Response[str]:
    """Why an item stands in a slate."""
    try:
        told = await _look(request, "why-look", looks.WhyLook(slate, item))
    except Refused as err:
        return explorers.problem_page(KINDS[err.code].title, err.detail, err.status)
    return explorers.why_page(told, await _experiments(request))


@get("/letters", include_in_schema=False, opt=ADMIN)
async def letters(request: HttpRequest) -> Response[str]:
    """What was refused."""
    return explorers.letters_page(await _look(request, "letters-look", Nothing()), await _experiments(request))


@get("/experiments", include_in_schema=False, opt=ADMIN)
async def experiments(request: HttpRequest) -> Response[str]:
    """What is tried. There is no such page where nothing is."""
    look = await _look(request, "experiments-look", Nothing())
    if not look["experiments"]:
        raise Refused("not-found", "The configuration has no experiments")
    return explorers.experiments_page(look)


HANDLERS = [live, stream, item, user, why, letters, experiments]
