"""Requests of merged users: what they do or ask, their account does, on the host that owns it.

A merge is known in the partition of the user who was merged, so the host that a request names first is the one that
knows where it belongs. Rare, so the way may be longer: one question from host to host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from headwater.actors.host_state import HostState
from headwater.actors.topology import Topology
from headwater.cluster.peers import Peers
from headwater.core import knows_event, merged_users
from headwater.errors import InvalidEvent
from headwater.merging import known_as
from headwater.protocol import Question, Request

OF_ACCOUNT = {
    "recommend": "user",
    "rank": "user",
    "session": "visitor",
    "session_of": "user",
    "variant_of": "user",
    "track": "user",
    "seen": "user",
    "forget": "user",
}
"""Verb -> the field of its request that names who asks."""


class Accounts:
    """Merged users of one host's partitions."""

    def __init__(self, state: HostState, peers: Peers, topology: Topology, deadline_ms: int) -> None:
        self._state = state
        self._peers = peers
        self._topology = topology
        self._deadline_ms = deadline_ms
        self.settle: Callable[[str], Awaitable[int | None]] | None = None
        """Carries what is left with a merged user (`HostMerges.settle`), once the host can write."""

    def is_merged(self, user: str) -> bool:
        """Whether a user turned out to be another one: then `elsewhere` says where a request of theirs belongs."""
        return bool(merged_users(self._state.core, [user]))

    async def elsewhere(self, verb: str, asked: Request) -> Any:
        """The whole answer to a request of a merged user, if it is not made here; `None` for all others.

        A request that goes on here names the account afterwards. Raises `InvalidEvent` for a put of a merged user: it
        would replace what is known of the account.
        """
        field = OF_ACCOUNT.get(verb)
        named = getattr(asked, field or "user", None) if field or verb == "user" else None
        if named is None:
            return None
        user = str(named)
        account = known_as(self._state.core, [user]).get(user)
        if account is None:
            return None
        if field is None:
            rule = f"the account {account!r}, which the user is merged into"
            raise InvalidEvent(f"user = {user!r}; allowed: {rule}", field="user", value=user, rule=rule)
        if isinstance(asked, Question):
            await self._settled(user, asked)
        event_id = getattr(asked, "event_id", None)
        if event_id is not None and knows_event(self._state.core, user, event_id):
            return {"position": self._state.position}  # a repeat of what came before the merge
        setattr(asked, field, account)
        owner = self._topology.owner(account)
        return None if owner.name == self._state.spec.name else await self._forwarded(owner.name, verb, asked)

    async def _settled(self, user: str, asked: Question) -> None:
        """What the visitor did since the merge is the account's before anything is asked of it."""
        if asked.after is not None:
            await self._state.reach(asked.after, (asked.deadline_ms or self._deadline_ms) / 1000)
        position = None if self.settle is None else await self.settle(user)
        if position is not None:
            asked.after = max(asked.after or 0, position)

    async def _forwarded(self, host: str, verb: str, asked: Request) -> object:
        wait = (asked.deadline_ms or self._deadline_ms) / 1000
        data = msgspec.msgpack.encode({f: v for f, v in msgspec.to_builtins(asked).items() if v is not None})
        return msgspec.msgpack.decode(await self._peers.ask(host, verb, data, wait))
