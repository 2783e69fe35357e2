"""Heartbeats: what a host tells of itself, a few times a second, to whoever listens."""

from __future__ import annotations

from typing import Literal

import msgspec

HostPhase = Literal["recovering", "ready", "draining", "refused"]


class Beat(msgspec.Struct, kw_only=True):
    """One heartbeat. `incarnation` names one life of a host; times in UTC ms, ages in seconds."""

    host: str
    kind: str
    incarnation: str
    topology: int
    phase: HostPhase
    pid: int
    node: str
    """Names the machine's current boot: a process id means something only there."""
    at: int
    position: int
    lag: int
    partitions: list[int]
    shards: list[int]
    memory_bytes: int
    snapshot_position: int
    snapshot_age_s: float | None
    config: str | None
    """Version of the query configuration that answers."""
    answered: int
    refused: dict[str, int]
    degraded: int
    events_written: int
    dead_letters: int
    queries_per_s: float
    events_per_s: float
    pending: int
    http: str | None
    message: str | None = None
    """Why it is not ready, or what is wrong although it is."""
    passed_over: list[str] = []
    """Snapshots that were not used, and why."""


_decoder = msgspec.msgpack.Decoder(Beat)


def decode_beat(data: bytes) -> Beat:
    """A heartbeat. Raises `msgspec.MsgspecError`."""
    return _decoder.decode(data)
