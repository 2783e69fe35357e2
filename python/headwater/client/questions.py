"""The questions of a client: the verbs of `headwater.questions.Questions`, awaitable."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headwater.actors.topology import HostSpec, Topology
from headwater.arguments import Id, Param, context_of, ids_of, query_id
from headwater.events.types import Scalar
from headwater.protocol import slate_host
from headwater.request import asked_beside, similar_request, slate_request, trending_request
from headwater.slate import Explanation, ItemView, SessionView, Slate

_MANY = 64

_slates = msgspec.msgpack.Decoder(Slate)
_items = msgspec.msgpack.Decoder(ItemView)
_views = msgspec.msgpack.Decoder(SessionView)
_explanations = msgspec.msgpack.Decoder(Explanation)


class ClientQuestions(ABC):
    """What can be asked of a cluster. Arguments are checked here; what only the state knows is checked there."""

    @property
    @abstractmethod
    def topology(self) -> Topology:
        """Who owns what, as last heard."""

    @abstractmethod
    def owner_of(self, user: Id) -> HostSpec:
        """The host that owns a user."""

    @abstractmethod
    def anyone(self, key: str) -> HostSpec:
        """A host for what any of them answers; the same for the same key."""

    @abstractmethod
    async def ask(
        self, verb: str, host: HostSpec, asked: Mapping[str, Any], deadline_ms: int | None, *, compact: bool = True
    ) -> bytes:
        """The answer of a host, as it came. What is None is not asked."""

    async def recommend(
        self,
        user: Id,
        n: int = 10,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        exclude: Sequence[Id] = (),
        context: Mapping[str, Scalar] | None = None,
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        record: bool | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.recommend`. An answer without an item host's part names it in `degraded`."""
        asked = slate_request(query_id("user", user), [], n, exclude, now, sources)
        asked |= asked_beside(scenario, filter, params, diversity, exploration, features)
        asked |= {"items": None, "context": context_of(context), "after": after, "record": record}
        return _slates.decode(await self.ask("recommend", self.owner_of(user), asked, deadline_ms))

    async def session(
        self,
        items: Sequence[Id],
        n: int = 10,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        exclude: Sequence[Id] = (),
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        visitor: Id | None = None,
        record: bool | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.session`."""
        asked = slate_request(None, ids_of("items", items), n, exclude, now, sources)
        asked |= asked_beside(scenario, filter, params, diversity, exploration, features)
        asked |= {"after": after, "visitor": visitor, "record": record}
        host = self.anyone(str(items[-1:])) if visitor is None else self.owner_of(visitor)
        return _slates.decode(await self.ask("session", host, asked, deadline_ms))

    async def rank(
        self,
        user: Id,
        items: Sequence[Id],
        n: int | None = None,
        *,
        scenario: str | None = None,
        filter: str | None = None,
        params: Mapping[str, Param] | None = None,
        context: Mapping[str, Scalar] | None = None,
        diversity: float | None = None,
        exploration: float | None = None,
        sources: Mapping[str, float] | None = None,
        features: bool = False,
        now: int | None = None,
        after: int | None = None,
        record: bool | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.rank`."""
        listed = list(dict.fromkeys(ids_of("items", items)))
        count = len(listed) if n is None else n
        asked = slate_request(query_id("user", user), listed, count, (), now, sources)
        asked |= asked_beside(scenario, filter, params, diversity, exploration, features)
        asked |= {"exclude": None, "context": context_of(context), "after": after, "record": record}
        return _slates.decode(await self.ask("rank", self.owner_of(user), asked, deadline_ms))

    async def similar(
        self,
        item: Id,
        n: int = 10,
        *,
        relation: str | None = None,
        metric: str | None = None,
        exclude: Sequence[Id] = (),
        now: int | None = None,
        after: int | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.similar`."""
        asked = similar_request(item, n, relation, metric, exclude, now) | {"after": after}
        return _slates.decode(await self.ask("similar", self.anyone(str(item)), asked, deadline_ms))

    async def trending(
        self,
        category: str | None = None,
        n: int = 10,
        *,
        now: int | None = None,
        after: int | None = None,
        deadline_ms: int | None = None,
    ) -> Slate:
        """See `Engine.trending`."""
        asked = trending_request(category, n, now) | {"after": after}
        return _slates.decode(await self.ask("trending", self.anyone(category or ""), asked, deadline_ms))

    async def session_of(
        self, user: Id, *, now: int | None = None, after: int | None = None, deadline_ms: int | None = None
    ) -> SessionView:
        """See `Engine.session_of`."""
        asked = {"user": user, "now": now, "after": after}
        return _views.decode(await self.ask("session_of", self.owner_of(user), asked, deadline_ms))

    async def item(
        self, item: Id, *, now: int | None = None, after: int | None = None, deadline_ms: int | None = None
    ) -> ItemView:
        """See `Engine.item`."""
        asked = {"item": item, "now": now, "after": after}
        return _items.decode(await self.ask("item_of", self.anyone(str(item)), asked, deadline_ms))

    async def variant_of(
        self,
        user: Id,
        experiment: str,
        *,
        now: int | None = None,
        after: int | None = None,
        deadline_ms: int | None = None,
    ) -> str | None:
        """See `Engine.variant_of`."""
        asked = {"user": user, "experiment": experiment, "now": now, "after": after}
        data = await self.ask("variant_of", self.owner_of(user), asked, deadline_ms)
        variant: str | None = msgspec.msgpack.decode(data)["variant"]
        return variant

    async def explain(self, slate: Slate | str, item: Id, *, deadline_ms: int | None = None) -> Explanation:
        """See `Engine.explain`. The host that answered a slate remembers its latest 1,000; for older ones see
        `headwater explain --url`."""
        name = slate if isinstance(slate, str) else slate.id
        host = self.topology.host(slate_host(name) or "") or self.anyone(name)
        asked = {"slate": name, "item": query_id("item", item)}
        return _explanations.decode(await self.ask("explain", host, asked, deadline_ms))

    async def recommend_many(self, users: Sequence[Id], n: int = 10, **asked: Any) -> list[Slate]:
        """`recommend` for many users, some at a time; slates in their order."""
        underway = asyncio.Semaphore(_MANY)

        async def one(user: Id) -> Slate:
            async with underway:
                return await self.recommend(user, n, **asked)

        return list(await asyncio.gather(*map(one, users)))
