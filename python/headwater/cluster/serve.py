"""`headwater serve`: bring a cluster up, look after it, and take it down in order.

What is there already is used: a nats-server of this directory that runs, hosts of the same topology that an earlier
`serve` left behind when it was killed. Hosts of another topology are drained first.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from nats.errors import Error as NatsError

from headwater import store
from headwater.actors.ray_runtime import RayRuntime, end_head, joinable, start_head
from headwater.actors.topology import Topology, deal
from headwater.cluster.gateway_process import GatewayProcess
from headwater.cluster.launch import Launch, encode_launch
from headwater.cluster.machine import core_of
from headwater.cluster.placers import Placer, ProcessPlacer, RayPlacer
from headwater.cluster.stopping import drain
from headwater.cluster.supervisor import Supervisor
from headwater.cluster_limits import ClusterConfig
from headwater.config import Config, EngineConfig, Profile
from headwater.core import generation_of, query_json
from headwater.errors import HeadwaterError, Unavailable
from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.jetstream_stream import StreamSettings
from headwater.events.nats_options import NatsOptions, connect
from headwater.events.nats_server import NatsServer, NatsServerOptions, free_port, running_pid
from headwater.protocol import check_namespace, host_subject, plain_subject, raise_refusal
from headwater.wall_clock import wall_clock

Say = Callable[[str], None]

_READY_SECONDS = 3600.0
_ASK_SECONDS = 10.0
_LOOK_SECONDS = 0.2
_AGAIN_SECONDS = 2.0
_DISK_LOOKS = 10
_FULL_BYTES, _ROOM_BYTES = 64 << 10, 64 << 20


class ServeSettings(msgspec.Struct, kw_only=True, frozen=True):
    """What `serve` was asked for."""

    directory: Path
    nats: NatsOptions
    namespace: str = "default"
    embedded_port: int | None = None
    """Run the packaged nats-server on this port; None: use the server at `nats.url`."""
    includes: tuple[Path, ...] = ()
    """Further configuration of that server: users, TLS."""
    host_login: NatsOptions | None = None
    """How hosts log in, if not as `nats` says."""
    ray_address: str | None = None
    """Join this Ray cluster; None: start one on this machine."""
    processes: bool = False
    """Plain processes instead of Ray."""
    profile: Profile | None = None
    """Of a new directory without `headwater.toml`."""
    session_hosts: int | None = None
    item_hosts: int | None = None
    gateway: bytes | None = None
    """What an HTTP gateway beside the hosts is told (`GatewayProcess`); None: there is none."""


class Serving:
    """One `serve`, from `start` to `stop`."""

    def __init__(self, settings: ServeSettings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._server: NatsServer | None = None
        self._nc: Any = None
        self._ray: RayRuntime | None = None
        self._own_ray: str | None = None
        self._starting_ray: asyncio.Future[str] | None = None
        self._supervisor: Supervisor | None = None
        self._placer: Placer | None = None
        self._topology: Topology | None = None
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._gateway: asyncio.Task[None] | None = None

    @property
    def topology(self) -> Topology:
        """Who owns what. Only after `start`."""
        assert self._topology is not None
        return self._topology

    async def start(self) -> None:
        """Bring everything up; every host answers when it returns. Raises errors of the tree."""
        settings = self._settings
        check_namespace(settings.namespace)
        config = self._config()
        store.begin(settings.directory, config)
        await asyncio.to_thread(self._start_server)
        self._nc = await connect(msgspec.structs.replace(settings.nats, name="headwater-serve"))
        generation = generation_of(config.generation)
        await self._ensure_stream(generation, config)
        hosts = deal(
            config.generation.partitions,
            config.generation.shards,
            config.cluster.session_hosts,
            config.cluster.item_hosts,
        )
        topology = Topology(
            settings.namespace, generation, wall_clock(), config.generation.partitions, config.generation.shards, hosts
        )
        self._placer = await self._make_placer()
        running, limits = await self._running()
        adopted = (
            running is not None
            and msgspec.structs.replace(running, version=topology.version) == topology
            and limits == config.cluster
        )
        self._topology = topology = running if adopted and running is not None else topology
        config = msgspec.structs.replace(config, engine=self._engine_of_hosts(config, len(hosts)))
        launches = {
            host.name: encode_launch(
                Launch(
                    host=host.name,
                    topology=topology,
                    config=config,
                    nats=settings.host_login or settings.nats,
                    snapshots=self._snapshots_in(config),
                    log_file=str((settings.directory / "logs" / f"{host.name}.jsonl").resolve()),
                    core=None if settings.ray_address is not None else core_of(host, hosts),
                )
            )
            for host in hosts
        }
        (settings.directory / "logs").mkdir(exist_ok=True)
        self._supervisor = Supervisor(self._nc, topology, config.cluster, self._placer, launches, self._say)
        await self._supervisor.start()
        await self._place(adopted, running)
        await self._supervisor.ready(_READY_SECONDS)
        await self._activate(config)
        await self._nc.subscribe(plain_subject(settings.namespace, "stop"), cb=self._told_to_stop)
        self._tasks.append(asyncio.ensure_future(self._supervisor.run()))
        if self._server is not None:
            self._tasks.append(asyncio.ensure_future(self._watch_server(self._server)))

    def _engine_of_hosts(self, config: Config, hosts: int) -> EngineConfig:
        """Hosts that share one machine share its cores too: threads beyond those only wake each other."""
        if self._settings.ray_address is not None:
            return config.engine
        share = max(1, (os.cpu_count() or 1) // hosts)
        return msgspec.structs.replace(config.engine, threads=min(config.engine.threads, share))

    def _snapshots_in(self, config: Config) -> str:
        if config.cluster.snapshots == "object-store":
            return ""
        return str((self._settings.directory / "snapshots").resolve())

    def _config(self) -> Config:
        settings = self._settings
        config = store.directory_config(settings.directory, settings.profile)
        cluster = config.cluster
        if settings.session_hosts is not None:
            cluster = msgspec.structs.replace(cluster, session_hosts=settings.session_hosts)
        if settings.item_hosts is not None:
            cluster = msgspec.structs.replace(cluster, item_hosts=settings.item_hosts)
        config = msgspec.structs.replace(config, cluster=cluster)
        from headwater.config import validate_config

        validate_config(config)
        return config

    def _start_server(self) -> None:
        settings = self._settings
        if settings.embedded_port is None:
            return
        options = NatsServerOptions(
            directory=settings.directory / "nats", port=settings.embedded_port, include=settings.includes
        )
        server = NatsServer(options, die_with_parent=False)
        if (pid := running_pid(server.pid_file)) is not None:
            self._say(f"nats-server: runs already, process {pid}")
        else:
            server.start()
            self._say(f"nats-server: listens on {server.url}, process {server.pid}, files in {options.directory}")
        self._server = server

    async def _watch_server(self, server: NatsServer) -> None:
        """Start the packaged server again when it ended without being told to, or when a full disk silenced its stream
        and there is room again."""
        looks = 0
        refused: str | None = None
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            looks += 1
            if server.pid is None and running_pid(server.pid_file) is None:
                server.kill()  # takes leave of a child that ended by itself
                await self._start_again(server, "had ended")
                continue
            free = shutil.disk_usage(server.options.directory).free
            if free < _FULL_BYTES:
                refused = "the disk was full"  # its log may lie there too, and not say so
            elif refused is None and server.pid is not None and looks % _DISK_LOOKS == 0:
                refused = await asyncio.to_thread(server.write_error)
            if refused is not None and free > _ROOM_BYTES:
                await asyncio.to_thread(stop_server, server)
                await self._start_again(server, f"could not write ({refused})")
                refused = None

    async def _start_again(self, server: NatsServer, why: str) -> None:
        try:
            await asyncio.to_thread(server.start)
            self._say(f"nats-server: {why}; started again, process {server.pid}")
        except HeadwaterError as err:
            self._say(f"nats-server: {why} and does not start: {err.message}")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _ensure_stream(self, generation: str, config: Config) -> None:
        log = await AsyncJetStreamLog.open(
            self._settings.nats,
            self._settings.namespace,
            generation,
            create=StreamSettings(
                config=msgspec.json.encode(config.generation).decode(),
                replicas=config.cluster.replicas,
                max_bytes=config.cluster.log_max_bytes or None,
            ),
            read_only=True,
        )
        try:
            state = await log.state()
            self._say(f"log: {log.place.stream}, positions {state.first:,} to {state.last:,}, {state.bytes:,} bytes")
        finally:
            await log.close()

    async def _make_placer(self) -> Placer:
        settings = self._settings
        if settings.processes:
            return ProcessPlacer(settings.directory / "hosts")
        address = settings.ray_address
        if address is None:
            address = joinable(settings.directory)
            if address is None:
                self._starting_ray = asyncio.ensure_future(
                    asyncio.to_thread(start_head, settings.directory, free_port())
                )
                address = await asyncio.shield(self._starting_ray)
                self._say(f"ray: started on {address}")
            else:
                self._say(f"ray: runs already on {address}")
            self._own_ray = address
        own = settings.directory if self._own_ray is not None else None
        self._ray = RayRuntime(address, settings.namespace, own)  # on the main thread: Ray sets a signal handler
        return RayPlacer(self._ray, {})

    async def _running(self) -> tuple[Topology | None, ClusterConfig | None]:
        """The topology and limits of hosts that answer in this namespace."""
        try:
            message = await self._nc.request(plain_subject(self._settings.namespace, "cluster"), b"\x80", timeout=2.0)
            raise_refusal(message.data)
            told = msgspec.msgpack.decode(message.data)
            return msgspec.convert(told["topology"], Topology), msgspec.convert(told["limits"], ClusterConfig)
        except (NatsError, TimeoutError, HeadwaterError, msgspec.MsgspecError):
            return None, None

    async def _place(self, adopted: bool, running: Topology | None) -> None:
        assert self._supervisor is not None
        assert self._placer is not None
        placed = set(await asyncio.to_thread(self._placer.names))
        if running is not None and not adopted:
            self._say("hosts of another topology or with other limits answer; they are drained first")
            await drain(self._nc, self._settings.namespace, [host.name for host in running.hosts], self._say)
        keep = {host.name for host in self.topology.hosts} if adopted else set()
        for name in sorted(placed - keep):
            await asyncio.to_thread(self._placer.remove, name)
        for host in self.topology.hosts:
            if host.name in placed and host.name in keep:
                self._say(f"{host.name}: runs already")
                self._supervisor.adopt(host.name)
            else:
                self._say(f"{host.name}: starting")
                await self._supervisor.place(host.name)

    async def _activate(self, config: Config) -> None:
        """Answer under the `[query]` of the directory: an event in the log, if another one is active."""
        first = self.topology.answering()[0].name
        subject = host_subject(self._settings.namespace, first, "activate")
        body = msgspec.msgpack.encode({"query": query_json(config.query).decode()})
        until = time.monotonic() + _ASK_SECONDS
        while True:
            try:
                message = await self._nc.request(subject, body, timeout=_ASK_SECONDS)
                raise_refusal(message.data)
                return
            except (NatsError, TimeoutError, Unavailable) as err:
                if time.monotonic() >= until:
                    raise Unavailable(f"host {first} does not take the [query]: {err}") from err
                await asyncio.sleep(0.2)

    async def _told_to_stop(self, message: Any) -> None:
        self._say("told to stop")
        if message.reply:
            await message.respond(msgspec.json.encode({"stopping": True, "pid": os.getpid()}))
        self._stopping.set()

    async def run(self) -> None:
        """`start`, then look after the cluster until SIGINT, SIGTERM or `headwater stop`; what happens first ends it.

        Raises as `start`. The caller calls `stop` in either case.
        """
        self._listen_to_signals()
        told = asyncio.ensure_future(self._stopping.wait())
        starting = asyncio.ensure_future(self.start())
        try:
            await asyncio.wait({told, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return
            await starting
            self._listen_to_signals()  # Ray took SIGTERM for itself
            names = ", ".join(host.name for host in self.topology.hosts)
            if self._settings.gateway is not None:
                self._gateway = asyncio.ensure_future(GatewayProcess(self._settings.gateway, self._say).run())
            self._say(f"serving {self._settings.nats.shown}, namespace {self._settings.namespace}, hosts {names}")
            await told
        finally:
            told.cancel()
            starting.cancel()
            await asyncio.gather(told, starting, return_exceptions=True)

    def _listen_to_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)

    async def stop(self) -> None:
        """Drain and end what `start` brought up. Also after a `start` that failed half way."""
        if self._gateway is not None:
            self._gateway.cancel()
            await asyncio.gather(self._gateway, return_exceptions=True)
            self._say("http: ended")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._topology is not None and self._nc is not None and self._placer is not None:
            names = [host.name for host in self._topology.hosts]
            if self._nc.is_connected:
                await drain(self._nc, self._settings.namespace, names, self._say)
            for name in names:
                await asyncio.to_thread(self._placer.remove, name)
        if self._ray is not None:
            await asyncio.to_thread(self._ray.leave)
        if self._starting_ray is not None:
            await asyncio.wait([self._starting_ray])  # interrupted while it started: it is ended, not left behind
        if self._own_ray is not None or self._starting_ray is not None:
            await asyncio.to_thread(end_head, self._settings.directory)
            self._say("ray: ended")
        if self._nc is not None:
            await self._nc.close()
        if self._server is not None:
            await asyncio.to_thread(stop_server, self._server)
            self._say("nats-server: ended")


def stop_server(server: NatsServer) -> None:
    """End a nats-server of this directory, whoever started it."""
    if server.pid is not None:
        server.stop()
        return
    pid = running_pid(server.pid_file)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
