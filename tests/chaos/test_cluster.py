"""G2, G3, G8 under fire: a cluster whose processes are killed, stopped, cut off and starved while it is used."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.cluster_storm import ITEMS, Storm
from cluster_rig import QUICK, Cluster, cluster, wait_for
from headwater.events.frame import decode_frame
from headwater.events.types import Feedback

SECONDS = float(os.environ.get("HEADWATER_CHAOS_SECONDS", "90"))
DISK_MB = 256
SEED = int(os.environ.get("HEADWATER_CHAOS_SEED", "1"))


@contextmanager
def small_disk(place: Path) -> Iterator[Path | None]:
    """A file system of its own at `place`, which can be filled without harm; `None` where none may be mounted. Then the
    storm bounds the stream instead."""
    place.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
# nats-py leaves the sockets of connections that broke to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_cluster_outlives_a_storm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with small_disk(tmp_path / "shop" / "nats") as disk, cluster(tmp_path / "shop", toml=QUICK) as served:
        with served.client() as client:
            put = client.put_items({"item": f"i{n}", "labels": {"price": n}} for n in range(ITEMS))
            # Visitors ask by price from the first moment on, and a host that does not know of any yet refuses that.
            wait_for("all hosts know the items", lambda: all(host["position"] >= put for host in client.status()))
        notes = asyncio.run(Storm(served, SEED, SECONDS, disk).rage())
        gc.collect()
        alone = restarted_by_ray(served)
        with capsys.disabled():
            print("\n" + "\n".join(f"{name}: {value}" for name, value in notes.summary().items()))
            print(f"Ray alone restarted a host, s: {alone:.1f}")
            print(f"filled: {'the stream, by a bound' if disk is None else 'a file system of its own'}")
        assert notes.untyped == []
        assert notes.wrong == []
        counted = log_counts(served)
        assert {event: counted[event] for event in notes.acknowledged if counted[event] != 1} == {}
        assert {event: counted[event] for event in notes.unknown if counted[event] > 1} == {}
        position, digest = served.whole_digest()
        core = served.replayed(position + 1)
        assert core.digest()["whole"] == digest
        # Otherwise the storm did not blow.
        assert len(notes.acknowledged) > 20 * SECONDS
        assert notes.answers > 2 * SECONDS
        assert len(notes.faults) >= min(6, SECONDS / 8)


def restarted_by_ray(served: Cluster) -> float:
    """Kill a host while nobody supervises: seconds until another process answers for it. Then supervise again."""
    served.kill_serve()
    before = served.host_pid("s0")
    os.kill(before, signal.SIGKILL)
    killed = time.monotonic()

    def back() -> bool:
        told = served.host("s0")
        return told["pid"] != before and told["phase"] == "ready"

    wait_for("Ray starts s0 again", back, 60.0)
    took = time.monotonic() - killed
    served.serve()
    served.all_ready()
    return took


def log_counts(served: Cluster) -> Counter[str]:
    """How often each event id stands in the log, repeats of whole frames not counted. Every frame must be sound."""
    seen: set[tuple[object, ...]] = set()
    counted: Counter[str] = Counter()
    log = served.log()
    try:
        for batch in log.read():
            for frame in batch.frames:
                header, events = decode_frame(frame)
                number = (header.subject, header.producer, header.epoch, header.sequence)
                if number in seen:
                    continue
                seen.add(number)
                counted.update(e.event_id for e in events if isinstance(e, Feedback) and e.event_id is not None)
    finally:
        log.close()
    return counted
