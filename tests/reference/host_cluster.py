"""Session hosts and item hosts in one process, fed from one log: what a cluster computes, without its network."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from headwater.config import Config
from headwater.core import Core, Ownership, new_core, restore_core, whole_digest
from headwater.errors import LogCorrupt
from headwater.events.frame import decode_header
from headwater.events.log import EventLog
from headwater.events.subjects import PARTITION, partition_of, stable_hash


def dealt(count: int, hosts: int) -> list[tuple[int, ...]]:
    """The numbers 0 .. count - 1, dealt to hosts."""
    return [tuple(range(host, count, hosts)) for host in range(hosts)]


class Host:
    """One core and what of the log it is fed."""

    def __init__(self, config: Config, owned: Ownership, core: Core | None = None) -> None:
        self.config = config
        self.owned = owned
        self.core = core or new_core(config, 1, owned)

    def feed(self, positions: Sequence[int], frames: Sequence[bytes]) -> None:
        """Fold the frames of this host's subjects, and reach the last position."""
        if self.owned.shards:
            self.core.apply_at(positions, frames)
            return
        own = [(at, frame) for at, frame in zip(positions, frames, strict=True) if self._reads(frame)]
        if own:
            self.core.apply_at([at for at, _ in own], [frame for _, frame in own])
        if positions:
            self.core.reached(positions[-1])

    def _reads(self, frame: bytes) -> bool:
        try:
            subject = decode_header(frame).subject
        except LogCorrupt:
            return True  # whoever reads it must pass over it
        return subject.kind != PARTITION or subject.partition in self.owned.partitions

    def restored(self) -> Host:
        """The host that its snapshot makes."""
        position, parts = self.core.snapshot()
        core = restore_core(self.config, 1, parts, self.owned)
        assert core.position == position == self.core.position
        return Host(self.config, self.owned, core)


class HostCluster:
    """So many session hosts and item hosts, each with its share of partitions and shards."""

    def __init__(self, config: Config, sessions: int, items: int) -> None:
        fold = config.generation
        self.config = config
        self.sessions = [Host(config, Ownership.session(own)) for own in dealt(fold.partitions, sessions)]
        self.items = [Host(config, Ownership.item(own)) for own in dealt(fold.shards, items)]

    @classmethod
    def of(cls, log: EventLog, config: Config, sessions: int, items: int) -> HostCluster:
        """A cluster that has folded a log."""
        cluster = cls(config, sessions, items)
        for batch in log.read():
            cluster.feed(batch.positions, batch.frames)
        return cluster

    def feed(self, positions: Sequence[int], frames: Sequence[bytes]) -> None:
        """Fold frames on all hosts."""
        for host in (*self.sessions, *self.items):
            host.feed(positions, frames)

    def digest(self) -> str:
        """The digest of the whole."""
        return whole_digest(self.config, [host.core.digest() for host in (*self.sessions, *self.items)])

    def restored(self) -> HostCluster:
        """The cluster that the hosts' snapshots make."""
        cluster = HostCluster(self.config, len(self.sessions), len(self.items))
        cluster.sessions = [host.restored() for host in self.sessions]
        cluster.items = [host.restored() for host in self.items]
        return cluster

    def recommend(self, request: bytes, left_out: Collection[int] = ()) -> bytes:
        """`recommend`, `session` or `rank`; the answers of item hosts `left_out` do not arrive."""
        session = self.session_of(msgspec.msgpack.decode(request).get("user"))
        scatter: bytes | None = session.scatter(request)
        for _ in range(2):
            assert scatter is not None
            replies = [h.core.candidates(scatter) for n, h in enumerate(self.items) if n not in left_out]
            answer, scatter = session.gather(scatter, replies)
            if answer is not None:
                return answer
        raise AssertionError("asked for more twice")

    def session_of(self, user: str | None) -> Core:
        """The session host that owns a user; any of them for nobody."""
        partition = 0 if user is None else partition_of(user, self.config.generation.partitions)
        return self.sessions[partition % len(self.sessions)].core

    def owner_of(self, item: str) -> int:
        """Number of the item host that owns an item."""
        return stable_hash(item) % self.config.generation.shards % len(self.items)

    def similar(self, request: bytes) -> bytes:
        """`similar`, put together by the first session host."""
        return self.sessions[0].core.gather_similar(request, [h.core.similar_candidates(request) for h in self.items])

    def trending(self, request: bytes) -> bytes:
        """`trending`, put together by the first session host."""
        replies = [h.core.trending_candidates(request) for h in self.items]
        return self.sessions[0].core.gather_trending(request, replies)

    def item_view(self, item: str, now: int) -> bytes | None:
        """What the item's owner knows of it."""
        return self.items[self.owner_of(item)].core.item_view(item, now)
