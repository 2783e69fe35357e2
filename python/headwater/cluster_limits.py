"""`[cluster]` of `headwater.toml`: how many hosts, and what each of them accepts.

Like `[engine]` it is never visible in state or digest. Every queue, rate and size of a host has its bound here.
"""

from __future__ import annotations

from typing import Literal

from headwater.scenario import Strict, in_range


class ClusterConfig(Strict, frozen=True, kw_only=True):
    """`[cluster]`: hosts and their limits."""

    session_hosts: int = 2
    """Hosts that own user partitions, answer visitors and write the log."""
    item_hosts: int = 2
    """Hosts that own item shards. With one session host and 0 of these, that host owns everything."""
    deadline_ms: int = 1000
    """How long a question may take that names no deadline of its own."""
    max_pending: int = 512
    """Requests a host has begun or queued; further ones are refused as `overloaded`."""
    max_request_bytes: int = 262_144
    requests_per_second: int = 0
    """Requests a host takes per second, with bursts of one second; 0: no limit."""
    events_per_second: int = 0
    """Events a host takes per second, with bursts of one second; 0: no limit."""
    max_queued_bytes: int = 33_554_432
    """Frames a host holds that the log has not acknowledged yet."""
    beat_ms: int = 250
    """A host tells this often that it lives."""
    silent_ms: int = 5000
    """A host that told nothing for this long is killed and started again."""
    snapshot_every_frames: int = 200_000
    """A host writes a snapshot after this many log positions; 0: only when it is asked to."""
    snapshots_kept: int = 2
    snapshots: Literal["directory", "object-store"] = "directory"
    """Where hosts keep them: in the served directory, which all machines must see, or in JetStream."""
    replicas: Literal[1, 3, 5] = 1
    """Copies that a NATS cluster keeps of the log, of its count of writers, and of snapshots in its object store."""
    log_max_bytes: int = 0
    """The stream takes no more than this (`store-full`); 0: what the server allows."""


def validate_cluster(where: str, cluster: ClusterConfig) -> None:
    """Check ranges. Raises `ConfigError`."""
    in_range(where, "cluster.session_hosts", cluster.session_hosts, 1, 1024)
    in_range(where, "cluster.item_hosts", cluster.item_hosts, 0 if cluster.session_hosts == 1 else 1, 256)
    in_range(where, "cluster.deadline_ms", cluster.deadline_ms, 1, 60_000)
    in_range(where, "cluster.max_pending", cluster.max_pending, 1, 65_536)
    in_range(where, "cluster.max_request_bytes", cluster.max_request_bytes, 1024, 1_048_576)
    in_range(where, "cluster.requests_per_second", cluster.requests_per_second, 0, 10_000_000)
    in_range(where, "cluster.events_per_second", cluster.events_per_second, 0, 100_000_000)
    in_range(where, "cluster.max_queued_bytes", cluster.max_queued_bytes, 1 << 20, 1 << 34)
    in_range(where, "cluster.beat_ms", cluster.beat_ms, 20, 10_000)
    in_range(where, "cluster.silent_ms", cluster.silent_ms, 2 * cluster.beat_ms, 600_000)
    in_range(where, "cluster.snapshot_every_frames", cluster.snapshot_every_frames, 0, 1 << 50)
    in_range(where, "cluster.snapshots_kept", cluster.snapshots_kept, 1, 100)
    in_range(where, "cluster.log_max_bytes", cluster.log_max_bytes, 0, 1 << 60)
