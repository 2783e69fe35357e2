"""Who answers a request that came on the plain path: the owner, or whoever speaks for it."""

from __future__ import annotations

from typing import Any

from headwater.actors.topology import HostSpec
from headwater.arguments import query_id
from headwater.cluster.peers import Peers
from headwater.core import stable_hash
from headwater.errors import Unavailable
from headwater.protocol import slate_host

_RETRY_MS = 500


class Routing:
    """Claims of one host. Every answering host hears every plain request; exactly one claims it."""

    def __init__(self, peers: Peers, me: HostSpec) -> None:
        self._peers = peers
        self._me = me

    async def of_user(self, asked: Any) -> bool:
        """Requests that name a user belong to the owner. Its deputy refuses in its stead when it is gone."""
        return await self._of_owner(self._peers.topology.owner(query_id("user", asked.user)))

    async def of_visitor(self, asked: Any) -> bool:
        """A merge is made by the owner of who is merged."""
        return await self._of_owner(self._peers.topology.owner(query_id("from", asked.from_user)))

    async def of_slate(self, asked: Any) -> bool:
        """Requests that name a slate belong to the host that answered it; if there is none of that name, to anyone."""
        host = self._peers.topology.host(slate_host(asked.slate) or "")
        if host is None or not host.partitions:
            return await self._of_anyone(asked.slate)
        return await self._of_owner(host)

    async def of_item(self, asked: Any) -> bool:
        """Requests about one item: any host could answer, the item says which one does."""
        return await self._of_anyone(query_id("item", asked.item))

    async def of_items(self, asked: Any) -> bool:
        """Requests of anonymous visitors. One who has an id is answered by its owner, who knows their experiments."""
        if asked.visitor is not None:
            return await self._of_owner(self._peers.topology.owner(query_id("visitor", asked.visitor)))
        return await self._of_anyone(query_id("items", asked.items[-1]) if asked.items else "")

    async def of_category(self, asked: Any) -> bool:
        """Requests about everything or a category."""
        return await self._of_anyone(asked.category or "")

    async def of_everyone(self, _: Any) -> bool:
        """Every host answers for itself: `status`, `digest`."""
        return True

    async def of_one(self, _: Any) -> bool:
        """One host answers for all."""
        return self._peers.speaks_for_all()

    async def _of_owner(self, owner: HostSpec) -> bool:
        if owner.name == self._me.name:
            return True
        if self._peers.deputy(owner) != self._me.name or await self._peers.probe(owner.name):
            return False
        raise Unavailable(
            f"host {owner.name}, which owns what was asked for, does not answer; it is being started again",
            retry_after_ms=_RETRY_MS,
        )

    async def _of_anyone(self, key: str) -> bool:
        ring = [host.name for host in self._peers.topology.answering()]
        at = stable_hash(key) % len(ring)
        for name in ring[at:] + ring[:at]:
            if name == self._me.name:
                return True
            if self._peers.lives(name) and await self._peers.probe(name):
                return False
        return False
