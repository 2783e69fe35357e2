"""A cluster for tests without processes: real hosts on one event loop of this process, on a real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from cluster_rig import PATIENT_MS, digest_of, replay_of
from headwater.actors.host_log import StreamLog
from headwater.actors.snapshots import DirectorySnapshots
from headwater.actors.topology import Topology, deal
from headwater.client import SyncClient, connect_sync
from headwater.cluster.host import Host
from headwater.cluster_limits import ClusterConfig
from headwater.config import Config
from headwater.core import Core, generation_of, query_json
from headwater.events.jetstream_log import AsyncJetStreamLog, JetStreamLog
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.nats_options import connect
from headwater.events.nats_server import NatsServer
from headwater.protocol import host_subject, raise_refusal
from nats_server import fresh_namespace, options

T = TypeVar("T")


def _patient(config: Config) -> Config:
    """The same, with time for questions that name no deadline unless the test says how much."""
    if config.cluster.deadline_ms != ClusterConfig().deadline_ms:
        return config
    return msgspec.structs.replace(config, cluster=msgspec.structs.replace(config.cluster, deadline_ms=PATIENT_MS))


class Hosts:
    """Hosts of one namespace that live until `close`."""

    def __init__(
        self,
        server: NatsServer,
        config: Config,
        session_hosts: int = 2,
        item_hosts: int = 2,
        *,
        namespace: str | None = None,
        snapshots: Path | None = None,
    ) -> None:
        self.namespace = namespace or fresh_namespace()
        self.config = _patient(config)
        self.options = options(server)
        self.generation = generation_of(config.generation)
        self._snapshots = None if snapshots is None else DirectorySnapshots(snapshots)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="hosts", daemon=True)
        self._thread.start()
        partitions, shards = config.generation.partitions, config.generation.shards
        specs = deal(partitions, shards, session_hosts, item_hosts)
        self.topology = Topology(self.namespace, self.generation, 1, partitions, shards, specs)
        self._running: list[asyncio.Task[None]] = []
        self.hosts: dict[str, Host] = {}
        self.wait(self._start(specs))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the hosts' loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self, specs: Sequence[Any]) -> None:
        for spec in specs:
            await self.begin(spec.name)
        first = self.topology.answering()[0].name
        async with asyncio.timeout(30):
            while any(host.phase == "recovering" for host in self.hosts.values()):
                await asyncio.sleep(0.01)
        nc = self.hosts[first]._nc
        body = msgspec.msgpack.encode({"query": query_json(self.config.query).decode()})
        raise_refusal((await nc.request(host_subject(self.namespace, first, "activate"), body, timeout=10)).data)

    async def begin(self, name: str) -> None:
        """Start one host; again after it left."""
        spec = self.topology.host(name)
        assert spec is not None
        generation = msgspec.json.encode(self.config.generation).decode()
        nc = await connect(msgspec.structs.replace(self.options, name=name))
        log = await AsyncJetStreamLog.open(
            self.options, self.namespace, self.generation, create=StreamSettings(config=generation), producer=name
        )
        host = Host(spec, self.topology, self.config, nc, StreamLog(log), self._snapshots, epoch=log.epoch)

        async def live() -> None:
            try:
                await host.run()
            finally:
                await log.close()
                await nc.close()

        self.hosts[name] = host
        self._running.append(asyncio.ensure_future(live()))

    def shut(self, *names: str) -> None:
        """From now on all requests to these hosts (to all of them) go through Python, where a test can reach them."""
        for name in names or self.hosts:
            self.hosts[name]._endpoint.door.open = False

    def client(self, **settings: Any) -> SyncClient:
        """A client of these hosts."""
        asked = {"deadline_ms": PATIENT_MS} | settings
        return connect_sync(namespace=self.namespace, options=self.options, **asked)

    def log(self) -> JetStreamLog:
        """The log, for reading."""
        return JetStreamLog(self.options, self.namespace, self.generation, read_only=True)

    def replayed(self, stop: int | None = None) -> Core:
        """The state that an embedded replay of the log makes."""
        return replay_of(self.log(), self.config, stop)

    def whole_digest(self) -> tuple[int, str]:
        """See `digest_of`."""
        return digest_of(self.client, self.config)

    def close(self) -> None:
        """All leave."""

        async def end() -> None:
            for host in self.hosts.values():
                host.leave()
            await asyncio.gather(*self._running)

        self.wait(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextlib.contextmanager
def hosts(
    server: NatsServer, config: Config, session_hosts: int = 2, item_hosts: int = 2, **more: Any
) -> Iterator[Hosts]:
    """Hosts, ended whatever happens."""
    running = Hosts(server, config, session_hosts, item_hosts, **more)
    try:
        yield running
    finally:
        running.close()
