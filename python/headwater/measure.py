"""Measurements of an engine, each beside the machine's own floor.

Latencies are measured one call at a time, from the caller's side of the Python API; percentiles are of all calls,
none left out. Rates on a shared machine vary from run to run: compare figures of one run with each other, not with
another run's.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headwater.actors.recovery import fold_log
from headwater.core import new_core
from headwater.engine import Engine
from headwater.errors import HeadwaterError
from headwater.events.log import EventLog

_FSYNCS = 300
_READ_BYTES = 64 << 20


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Milliseconds: p50, p90, p99, max of a list of seconds (nearest rank)."""
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3, 4)

    return {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": round(ordered[-1] * 1e3, 4)}


def timed(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each call."""
    seconds = []
    for call in calls:
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return seconds


def machine_floor(directory: Path) -> dict[str, Any]:
    """What the machine itself does: synced 512-byte writes per second, sequential cached reads in GB/s."""
    # A name of its own: who measures in the same directory at the same time has another.
    with tempfile.NamedTemporaryFile(prefix=".floor-", dir=directory, buffering=0) as file:
        fsyncs = syncs_per_s(file.fileno(), _FSYNCS)
        os.pwrite(file.fileno(), bytes(_READ_BYTES), 0)
        started = time.perf_counter()
        Path(file.name).read_bytes()
        bandwidth = _READ_BYTES / (time.perf_counter() - started) / 1e9
    cpu = next(
        (line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    return {
        "fsync_per_s": round(fsyncs),
        "read_gb_per_s": round(bandwidth, 2),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }


def syncs_per_s(fd: int, times: int) -> float:
    """Writes of 512 bytes over the same place of a file, each synced, a second."""
    os.pwrite(fd, bytes(4096), 0)
    os.fsync(fd)
    started = time.perf_counter()
    for _ in range(times):
        os.pwrite(fd, b"x" * 512, 0)
        os.fdatasync(fd)
    return times / (time.perf_counter() - started)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def query_latency(engine: Engine, users: Sequence[str], items: Sequence[str]) -> dict[str, dict[str, float]]:
    """Percentiles of `recommend` and `similar` in ms, one call per user and item, after one warm-up call each."""
    engine.recommend(users[0], record=False)
    engine.similar(items[0])
    recommend = timed([lambda user=user: engine.recommend(user, record=False) for user in users])  # type: ignore[misc]
    similar = timed([lambda item=item: engine.similar(item) for item in items])  # type: ignore[misc]
    return {"recommend_ms": percentiles(recommend), "similar_ms": percentiles(similar)}


def write_latency(engine: Engine, items: Sequence[str], times: int) -> dict[str, dict[str, float]]:
    """Percentiles in ms of a durable `track`, and of freshness: from its acknowledgement to an answer that knows the
    click.

    Raises `HeadwaterError` if an answer does not know the click: then there is nothing to measure.
    """
    track, fresh = [], []
    for i in range(times):
        user, item = f"probe-{i % 50}", items[i % len(items)]
        started = time.perf_counter()
        position = engine.track("view", user=user, item=item, ts=engine.now())
        acknowledged = time.perf_counter()
        slate = engine.recommend(user, after=position, record=False)
        answered = time.perf_counter()
        if item not in slate.about:
            raise HeadwaterError(f"the answer at position {slate.positions} does not know the click at {position}")
        track.append(acknowledged - started)
        fresh.append(answered - acknowledged)
    return {"track_ms": percentiles(track), "freshness_ms": percentiles(fresh)}


def rebuild_rates(engine: Engine, log: EventLog, threads: int) -> dict[str, float]:
    """Events per second of a rebuild (log on disk to state) and of the fold alone (frames in memory to state)."""
    core = new_core(engine.config, threads)
    started = time.perf_counter()
    fold_log(core, log)
    rebuild = time.perf_counter() - started
    events = sum(core.stats()["outcomes"].values())
    batches = list(log.read())
    core = new_core(engine.config, threads)
    started = time.perf_counter()
    for batch in batches:
        core.apply(batch.positions[0], batch.frames)
    fold = time.perf_counter() - started
    return {"rebuild_events_per_s": round(events / rebuild), "fold_events_per_s": round(events / fold)}


def bytes_per(status: dict[str, Any]) -> dict[str, float]:
    """Bytes of state per user, item and co-occurrence pair, from an engine's status."""
    return {
        "user": round(status["bytes_users"] / max(1, status["users"]), 1),
        "item": round(status["bytes_items"] / max(1, status["items"]), 1),
        "pair": round(status["bytes_pairs"] / max(1, status["pairs"]), 1),
    }
