"""A storm over a cluster: producers and visitors go on while processes are killed, stopped and cut off.

Every outcome is written down: which event was acknowledged at which position, which was refused and how, how long a
visitor's questions failed. Nothing is asserted here; `test_cluster.py` reads the notes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from pathlib import Path
from random import Random

import psutil

from chaos.flaky_proxy import FlakyProxy
from cluster_rig import Cluster
from headwater import connect
from headwater.client import Client
from headwater.core import generation_of
from headwater.errors import HeadwaterError, NotReady, StoreFull, Unavailable
from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.nats_options import NatsOptions
from headwater.events.nats_server import running_pid

TYPED = (Unavailable, NotReady, StoreFull)
USERS, ITEMS = 400, 120
HOSTS = ("s0", "s1", "i0", "i1")
FAULTS = (
    "kill session host",
    "kill session host",
    "kill item host",
    "kill item host",
    "stop session host",
    "stop item host",
    "kill nats-server",
    "kill serve",
    "cut connections",
    "fill the log",
)


class Notes:
    """What was seen."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, int] = {}
        self.unknown: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.untyped: list[str] = []
        self.wrong: list[str] = []
        self.answers = self.degraded = 0
        self.faults: Counter[str] = Counter()
        self.worst_seconds = 0.0

    def summary(self) -> dict[str, object]:
        """For people."""
        return {
            "faults": dict(self.faults),
            "events acknowledged": len(self.acknowledged),
            "events of unknown outcome": len(self.unknown),
            "answers": self.answers,
            "degraded": self.degraded,
            "refusals": dict(self.refused),
            "worst unavailability of a visitor, s": round(self.worst_seconds, 2),
        }


class Storm:
    """One storm, drawn by a seed."""

    def __init__(self, cluster: Cluster, seed: int, seconds: float, disk: Path | None = None) -> None:
        """`disk`: the file system that the server writes to, if it is one of its own that may be filled."""
        self._cluster = cluster
        self._disk = disk
        self._random = Random(seed)
        self._seconds = seconds
        self._coming: list[str] = []
        self._over = asyncio.Event()
        self.notes = Notes()

    async def rage(self) -> Notes:
        """Producers, visitors and faults for the given time; then wait until all is well again."""
        proxy = FlakyProxy(self._cluster.port)
        await proxy.start()
        through = f"nats://127.0.0.1:{proxy.port}"
        async with connect(through, patience=20.0) as one, connect(self._cluster.url, patience=20.0) as two:
            work = [
                *(asyncio.ensure_future(self._produce(client, f"p{n}")) for n, client in enumerate((one, two))),
                *(asyncio.ensure_future(self._visit(client, n)) for n, client in enumerate((one, two, two))),
            ]
            until = time.monotonic() + self._seconds
            while time.monotonic() < until:
                await asyncio.sleep(self._random.uniform(0.5, 2.5))
                fault = self._next_fault()
                if fault == "fill the log" and self._disk is not None:
                    fault = "fill the disk"
                self.notes.faults[fault] += 1
                await self._strike(fault, proxy)
            await asyncio.to_thread(self._cluster.all_ready, 120.0)
            self._over.set()
            await asyncio.gather(*work)
        await proxy.stop()
        return self.notes

    def _next_fault(self) -> str:
        """Each of them once in drawn order, then anew: a storm of a minute knows all kinds."""
        if not self._coming:
            self._coming = self._random.sample(FAULTS, len(FAULTS))
        return self._coming.pop()

    # --- those who go on ---

    async def _produce(self, client: Client, name: str) -> None:
        drawn = Random(name)
        number = 0
        underway: set[asyncio.Task[None]] = set()
        while not self._over.is_set():
            for _ in range(drawn.randint(1, 20)):
                number += 1
                task = asyncio.ensure_future(self._track(client, drawn, f"{name}-{number}"))
                underway.add(task)
                task.add_done_callback(underway.discard)
            await asyncio.sleep(drawn.uniform(0.0, 0.05))
            while len(underway) > 2000:
                await asyncio.sleep(0.01)
        await asyncio.gather(*underway)

    async def _track(self, client: Client, drawn: Random, event: str) -> None:
        user, item = f"u{drawn.randrange(USERS)}", f"i{drawn.randrange(ITEMS)}"
        try:
            position = await client.track("view", user=user, item=item, event_id=event)
            self.notes.acknowledged[event] = position
        except TYPED as err:
            self.notes.refused[f"track: {err.code}"] += 1
            if err.details.get("kept", "no") != "no":
                self.notes.unknown.add(event)
        except Exception as err:  # noqa: BLE001 - whatever it is, it is what the storm looks for
            self.notes.untyped.append(f"track: {err!r}")

    async def _visit(self, client: Client, number: int) -> None:
        drawn = Random(number)
        failing: dict[int, float] = {}
        while not self._over.is_set():
            bucket = drawn.randrange(8)
            user = f"visitor-{number}-{bucket}"
            try:
                await self._look(client, user, drawn)
                failing.pop(bucket, None)
            except TYPED as err:
                self.notes.refused[f"ask: {err.code}"] += 1
                since = failing.setdefault(bucket, time.monotonic())
                self.notes.worst_seconds = max(self.notes.worst_seconds, time.monotonic() - since)
            except Exception as err:  # noqa: BLE001 - see above
                self.notes.untyped.append(f"ask: {err!r}")
            await asyncio.sleep(0.02)

    async def _look(self, client: Client, user: str, drawn: Random) -> None:
        """Ask for what must hold of the answer whatever happens around; now and then after a write."""
        position = None
        if drawn.random() < 0.2:
            item = f"i{drawn.randrange(ITEMS)}"
            position = await client.track("view", user=user, item=item)
            view = await client.session_of(user, after=position)
            if item not in [touched.item for touched in view.state.items]:
                self.notes.wrong.append(f"{user} viewed {item} at {position}, session: {view.state.items}")
        slate = await client.recommend(user, 5, after=position, filter="price < 50")
        self.notes.answers += 1
        self.notes.degraded += bool(slate.degraded)
        if len(set(slate.item_ids)) != len(slate):
            self.notes.wrong.append(f"{user}: an item twice: {slate.item_ids}")
        if any(int(name[1:]) >= 50 for name in slate.item_ids):
            self.notes.wrong.append(f"{user}: a filter was broken: {slate.item_ids}")
        if len(slate) < 5 and not slate.fallback and not slate.degraded:
            self.notes.wrong.append(f"{user}: a short slate that does not say why: {slate.item_ids}")

    # --- the faults ---

    async def _strike(self, fault: str, proxy: FlakyProxy) -> None:
        what, _, whom = fault.partition(" ")
        if fault == "cut connections":
            proxy.cut()
        elif fault == "kill nats-server":
            pid = running_pid(self._cluster.directory / "nats" / "nats-server.pid")
            if pid is not None:
                os.kill(pid, signal.SIGKILL)
        elif fault == "kill serve":
            await asyncio.to_thread(self._cluster.kill_serve)
            await asyncio.sleep(self._random.uniform(0.0, 2.0))
            await asyncio.to_thread(self._cluster.serve)
        elif fault == "fill the log":
            await self._fill()
        elif fault == "fill the disk":
            assert self._disk is not None
            await self._fill_disk(self._disk)
        else:
            host = self._random.choice([h for h in HOSTS if h.startswith("s" if "session" in whom else "i")])
            pid = await asyncio.to_thread(self._living, host)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if what == "kill" else signal.SIGSTOP)

    def _living(self, host: str) -> int | None:
        """The process of a host, if it tells of itself just now."""
        try:
            with self._cluster.client() as client:
                told = next((h for h in client.status() if h["host"] == host), None)
        except (HeadwaterError, AssertionError):
            return None
        pid = None if told is None else told.get("pid")
        return pid if pid is not None and psutil.pid_exists(pid) else None

    async def _fill_disk(self, disk: Path) -> None:
        """Leave no byte of the server's file system free, for a moment."""
        ballast = disk / "ballast"
        try:
            with open(ballast, "wb") as file, contextlib.suppress(OSError):  # what is written meanwhile takes its part
                while True:
                    free = os.statvfs(disk)
                    os.posix_fallocate(file.fileno(), file.tell(), max(4096, free.f_bavail * free.f_bsize))
                    file.seek(0, os.SEEK_END)
            await asyncio.sleep(self._random.uniform(0.5, 2.0))
        finally:
            ballast.unlink()

    async def _fill(self) -> None:
        """Bound the stream to what it holds, as a full disk does, and after a moment lift the bound again."""
        generation = generation_of(self._cluster.config.generation)
        options = NatsOptions(url=self._cluster.url)
        with contextlib.suppress(HeadwaterError):
            log = await AsyncJetStreamLog.open(options, "default", generation, read_only=True)
            size = await log.size_bytes()
            await log.close()
            await self._bound(options, generation, size + 2000)
            await asyncio.sleep(self._random.uniform(0.5, 2.0))
        while True:
            with contextlib.suppress(HeadwaterError):
                await self._bound(options, generation, None)
                return
            await asyncio.sleep(0.2)

    @staticmethod
    async def _bound(options: NatsOptions, generation: str, limit: int | None) -> None:
        create = StreamSettings(max_bytes=limit)
        log = await AsyncJetStreamLog.open(options, "default", generation, create=create, read_only=True)
        await log.close()
