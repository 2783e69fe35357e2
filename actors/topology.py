"""Which host owns which user partitions and item shards. Plain data; every process that knows it routes alike.

A *session host* owns user partitions, an *item host* item shards, a *whole* host everything. Ownership is dealt out in
turn, so that it follows from the numbers of hosts alone.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from headwater.events.subjects import partition_of

HostKind = Literal["session", "item", "whole"]


class HostSpec(msgspec.Struct, frozen=True):
    """One host: its name (`s0`, `i1`, `w0`) and what it owns."""

    name: str
    kind: HostKind
    partitions: tuple[int, ...]
    shards: tuple[int, ...]


class Topology(msgspec.Struct, frozen=True):
    """All hosts of a namespace. `version` grows with every change (UTC ms of the change)."""

    namespace: str
    generation: str
    version: int
    partitions: int
    shards: int
    hosts: tuple[HostSpec, ...]

    def owner(self, user: str) -> HostSpec:
        """The host that owns a user."""
        return self.owner_of_partition(partition_of(user, self.partitions))

    def owner_of_partition(self, partition: int) -> HostSpec:
        """The host that owns a user partition."""
        return next(host for host in self.hosts if partition in host.partitions)

    def answering(self) -> tuple[HostSpec, ...]:
        """Hosts that visitors ask: those that own user partitions."""
        return tuple(host for host in self.hosts if host.partitions)

    def item_hosts(self) -> tuple[HostSpec, ...]:
        """Hosts that a question is scattered to; none where one host owns everything."""
        return tuple(host for host in self.hosts if host.kind == "item")

    def host(self, name: str) -> HostSpec | None:
        """A host by its name."""
        return next((host for host in self.hosts if host.name == name), None)


def deal(partitions: int, shards: int, session_hosts: int, item_hosts: int) -> tuple[HostSpec, ...]:
    """Hosts of a cluster of that size. No host is left without a part: there are at most as many as parts."""
    if item_hosts == 0:
        return (HostSpec("w0", "whole", tuple(range(partitions)), tuple(range(shards))),)
    sessions, items = min(session_hosts, partitions), min(item_hosts, shards)
    return (
        *(HostSpec(f"s{i}", "session", tuple(range(i, partitions, sessions)), ()) for i in range(sessions)),
        *(HostSpec(f"i{i}", "item", (), tuple(range(i, shards, items))) for i in range(items)),
    )
