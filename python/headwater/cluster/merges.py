"""Merges on a cluster: the engine's (`headwater.merging`), where no host knows all users (ADR 0033).

The host that owns the visitor makes the merge: it seals what it knows of them, and carries it into the partition of the
account, whoever owns that. Who is who elsewhere it asks the hosts that own the others. What writers that died left
behind, and what came for merged users on a way that does not know of merges (frames of clients), is carried by the same
host a moment after it was folded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from headwater.actors.host_state import HostState
from headwater.actors.topology import HostSpec, Topology
from headwater.arguments import id_text
from headwater.cluster.held_back import HeldBack
from headwater.cluster.ingest import Clock, Ingest
from headwater.cluster.peers import Peers
from headwater.core import all_merged, is_forgotten, merged_users, moving_state
from headwater.errors import DeadlineExceeded, HeadwaterError
from headwater.events.types import MergeCarried, MergeSettled, UserForget, UserMerge
from headwater.merging import MergeReport, check_merge, ends_of
from headwater.protocol import Forget, Merge

logger = logging.getLogger(__name__)

_PAUSE_SECONDS = 0.25
_SHARE = 20
"""Looking for what is left takes at most one part in so many of the time."""
_RETRY_MS = 250
_HELD_DEADLINES = 3
"""A person is forgotten within so many deadlines, or whoever does it has given up."""


class _Known(msgspec.Struct, array_like=True, frozen=True):
    """What one host knows: of its own users who they are now (one step) and who was forgotten; and which of its own
    users are merged into any of those that were asked about, if that was asked."""

    into: dict[str, str]
    forgotten: list[str]
    merged: dict[str, str]


_known = msgspec.msgpack.Decoder(_Known)
_users = msgspec.msgpack.Decoder(list[str])
_asked = msgspec.msgpack.Decoder(tuple[list[str], bool])
_encoder = msgspec.msgpack.Encoder()


class HostMerges:
    """Makes the merges of the users that one host owns, and forgets whole people."""

    def __init__(
        self,
        state: HostState,
        peers: Peers,
        topology: Topology,
        ingest: Ingest,
        clock: Clock,
        deadline_ms: int,
        forget_slates: Callable[[str], None],
    ) -> None:
        """`forget_slates` lets go of the slates of a user that this host remembers."""
        self._state = state
        self._peers = peers
        self._topology = topology
        self._ingest = ingest
        self._clock = clock
        self._deadline_ms = deadline_ms
        self._forget_slates = forget_slates
        self._lock = asyncio.Lock()
        self._held_back = HeldBack(_HELD_DEADLINES * deadline_ms / 1000)

    # --- verbs ---------------------------------------------------------------------------------------------------

    async def merge(self, asked: Merge) -> dict[str, Any]:
        """See `Engine.merge`. Asked again it does nothing. Raises `InvalidEvent`, `MergeConflict`, `Unavailable`."""
        visitor, into = id_text("from", asked.from_user), id_text("into", asked.into)
        report: MergeReport = await self._in_time(self._merge(visitor, into, asked.event_id), asked.deadline_ms)
        return report.to_dict()

    async def forget(self, asked: Forget) -> dict[str, Any]:
        """See `Engine.forget`: the account and every id that is merged into it, all or none; `users` are these ids, the
        account first."""
        name = id_text("user", asked.user)
        ts = self._clock() if asked.ts is None else asked.ts
        position, ids = await self._in_time(self._forget(name, ts), asked.deadline_ms)
        return {"position": position, "users": ids}

    async def _in_time(self, work: Any, deadline_ms: int | None) -> Any:
        wait = deadline_ms or self._deadline_ms
        try:
            return await asyncio.wait_for(work, wait / 1000)
        except TimeoutError:
            raise DeadlineExceeded(
                f"not done within {wait} ms; how far it came is not known: ask the same again",
                retry_after_ms=_RETRY_MS,
                kept="unknown",
            ) from None

    async def _merge(self, visitor: str, into: str, event_id: str | None) -> MergeReport:
        async with self._lock:
            known = await self._known_as([visitor, into])
            account = known.get(into, into)
            check_merge(visitor, into, account, known.get(visitor), await self._is_forgotten(account))
            repeated = visitor in known
            moved = False
            if not repeated:
                self._held_back.let_go([visitor])
                await self._seal(visitor, account, event_id)
                moved = await self._carry(visitor)
            moved = await self._settle([visitor]) or moved
            return MergeReport(
                from_user=visitor,
                into_user=account,
                moved=moved,
                repeated=repeated,
                position=self._state.position,
            )

    async def _forget(self, name: str, ts: int) -> tuple[int, list[str]]:
        async with self._lock:
            ids = await self._ids_of(name)
            position = await self._write([UserForget(user=known, ts=ts) for known in ids])
        await self._forgotten_everywhere(ids)
        return position, ids

    # --- leftovers -----------------------------------------------------------------------------------------------

    async def settle(self, user: str) -> int | None:
        """Carry what is left with a merged user; the position of that, None if nothing was."""
        if not any(left for _, _, left in merged_users(self._state.core, [user])):
            return None
        async with self._lock:
            return self._state.position if await self._settle([user]) else None

    async def watch(self) -> None:
        """Carry what is left with any merged user of this host, now and whenever something was folded."""
        seen, pause = -1, 0.0
        while True:
            await asyncio.sleep(pause)
            started, position = time.monotonic(), self._state.position
            if position == seen:
                continue
            try:
                async with self._lock:
                    left = [user for user, _, left in await self._all_merged() if left]
                    await self._settle(left)
                seen = -1 if any(user in self._held_back for user in left) else position
            except HeadwaterError as err:  # the log or a host is away: what is left stays where it is
                logger.info("merged users are not settled yet: %s", err.message)
            pause = max(_PAUSE_SECONDS, _SHARE * (time.monotonic() - started))

    async def _all_merged(self) -> list[tuple[str, str, bool]]:
        """O(merges), beside the answers."""
        merged = await asyncio.get_running_loop().run_in_executor(None, all_merged, self._state.core)
        return [entry for entry in merged if self._owns(entry[0])]

    async def _settle(self, users: Iterable[str]) -> bool:
        """See `Merges.settle`; for users of this host. Where a way goes on at another host, that one goes on."""
        moved, new = False, list(users)
        while new:
            merged = merged_users(self._state.core, [user for user in new if self._owns(user)])
            new = []
            for user, into, left in merged:
                if not left or user in self._held_back:
                    continue
                if not await self._carry(user):
                    if user not in await self._known_as([user]):
                        continue  # the end of a circle keeps what it has
                    if not self._is_left(user):
                        continue  # meanwhile somebody forgot them, or is about to
                    await self._seal(user, into, None)
                    await self._carry(user)
                moved = True
                new += [user, into]
        return moved

    def _is_left(self, user: str) -> bool:
        return user not in self._held_back and any(left for _, _, left in merged_users(self._state.core, [user]))

    async def _seal(self, visitor: str, into: str, event_id: str | None) -> None:
        with self._held_back.writing(visitor):
            await self._write([UserMerge(from_user=visitor, into_user=into, ts=self._clock(), event_id=event_id)])

    async def _carry(self, visitor: str) -> bool:
        moving = None if visitor in self._held_back else moving_state(self._state.core, visitor)
        if moving is None:
            return False
        into, sealed, state = moving
        ts = self._clock()
        carried = MergeCarried(from_user=visitor, into_user=into, ts=ts, sealed=sealed, state=state)
        with self._held_back.writing(visitor):
            await self._write([carried, MergeSettled(from_user=visitor, ts=ts, sealed=sealed)])
        return True

    async def _write(self, events: Sequence[Any]) -> int:
        """Write events, each in a frame of its own, all or none, and wait until this host's state has them."""
        position = await self._ingest.write_apart(events, self._clock())
        await self._state.reach(position, self._deadline_ms / 1000)
        return position

    # --- who is who ----------------------------------------------------------------------------------------------

    def _owns(self, user: str) -> bool:
        return self._topology.owner(user).name == self._state.spec.name

    async def answer(self, data: bytes) -> bytes:
        """What this host knows of users, for other hosts (`_Known`), from all that was acknowledged until now. Who asks
        for the joined is going to forget them: see `HeldBack`."""
        await self._state.reach(await self._state.learn_end(), self._deadline_ms / 1000)
        users, joined = _asked.decode(data)
        own = [user for user in users if self._owns(user)]
        core, wanted = self._state.core, set(users)
        merged = [entry for entry in await self._all_merged() if entry[1] in wanted] if joined else []
        await self._held_back.hold(user for user, _, _ in merged)
        return _encoder.encode(
            _Known(
                {user: into for user, into, _ in merged_users(core, own)},
                [user for user in own if is_forgotten(core, user)],
                {user: into for user, into, _ in merged},
            )
        )

    async def forgotten(self, data: bytes) -> bytes:
        """Other hosts say who was forgotten: their slates are not remembered any longer."""
        users = _users.decode(data)
        for user in users:
            self._forget_slates(user)
        await self._state.reach(await self._state.learn_end(), self._deadline_ms / 1000)
        self._held_back.let_go(users)  # not before this state knows it, too
        return _encoder.encode(None)

    async def _told(self, host: HostSpec, users: Sequence[str], *, joined: bool = False) -> _Known:
        """What a host knows of users; with `joined` also who of its own is merged into them."""
        data = _encoder.encode((users, joined))
        if host.name == self._state.spec.name:
            return _known.decode(await self.answer(data))
        return _known.decode(await self._peers.ask(host.name, "identities", data, self._deadline_ms / 1000))

    async def _steps(self, users: Iterable[str]) -> dict[str, str]:
        by_owner: dict[str, list[str]] = {}
        for user in users:
            by_owner.setdefault(self._topology.owner(user).name, []).append(user)
        hosts = [host for host in self._topology.answering() if host.name in by_owner]
        told = await asyncio.gather(*(self._told(host, by_owner[host.name]) for host in hosts))
        return {user: into for known in told for user, into in known.into.items()}

    async def _known_as(self, users: Sequence[str]) -> dict[str, str]:
        """See `merging.known_as`."""
        step = await self._steps(users)
        asked = list(step)
        new = set(step.values())
        while new := new - step.keys():
            found = await self._steps(new)
            step |= found
            new = set(found.values())
        return ends_of(asked, step)

    async def _is_forgotten(self, user: str) -> bool:
        return user in (await self._told(self._topology.owner(user), [user])).forgotten

    async def _ids_of(self, user: str) -> list[str]:
        """See `merging.ids_of`: asks every host, merge by merge."""
        account = (await self._known_as([user])).get(user, user)
        ids, new = [account], [account]
        while new:
            told = await asyncio.gather(*(self._told(host, new, joined=True) for host in self._topology.answering()))
            new = sorted({known for answer in told for known in answer.merged} - set(ids))
            ids += new
        return ids

    async def _forgotten_everywhere(self, ids: Sequence[str]) -> None:
        data = _encoder.encode(list(ids))
        others = [host.name for host in self._topology.answering() if host.name != self._state.spec.name]
        for user in ids:
            self._forget_slates(user)
        self._held_back.let_go(ids)
        asked = (self._peers.ask(host, "forgotten", data, self._deadline_ms / 1000) for host in others)
        for host, done in zip(others, await asyncio.gather(*asked, return_exceptions=True), strict=True):
            if isinstance(done, BaseException) and not isinstance(done, HeadwaterError):
                raise done
            if isinstance(done, HeadwaterError):  # a host that comes back remembers no slates
                logger.info("host %s was not told whose slates to forget: %s", host, done.message)
