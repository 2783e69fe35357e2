"""A host's whole setting as bytes, and the process that runs it: a Ray actor's thread, or `python -m` of this module.

python -m headwater.cluster.launch < launch.json
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec

from headwater.actors.host_log import StreamLog
from headwater.actors.object_snapshots import ObjectSnapshots
from headwater.actors.snapshots import DirectorySnapshots, SnapshotStore
from headwater.actors.topology import HostSpec, Topology
from headwater.cluster.host import Host
from headwater.cluster.logs import log_as_json
from headwater.config import Config
from headwater.errors import AccessDenied, ConfigError, Unavailable
from headwater.events.jetstream_log import AsyncJetStreamLog
from headwater.events.nats_options import NatsOptions, connect
from headwater.short_turns import take_short_turns

logger = logging.getLogger(__name__)

ENTRY = "headwater.cluster.launch:run_host"
_AGAIN_SECONDS = 1.0
_SWITCH_SECONDS = 0.0005
"""A thread that folds must not keep the loop waiting for 5 ms, the interpreter's default."""
_GC_THRESHOLDS = (20_000, 50, 100)


class Launch(msgspec.Struct, kw_only=True):
    """Everything a host needs to know."""

    host: str
    topology: Topology
    config: Config
    nats: NatsOptions
    snapshots: str | None
    """A directory; empty: JetStream's object store; None: no snapshots."""
    http_port: int | None = 0
    log_file: str | None = None
    core: int | None = None
    """The only core that the host runs on; None: any."""

    @property
    def spec(self) -> HostSpec:
        """The host's own entry. Raises `ConfigError`."""
        spec = self.topology.host(self.host)
        if spec is None:
            raise ConfigError(f"host {self.host!r} is not in the topology", key="host", value=self.host)
        return spec


def encode_launch(launch: Launch) -> bytes:
    """For a process's standard input or an actor's argument. It may hold secrets: never logged."""
    return msgspec.json.encode(launch)


def decode_launch(data: bytes) -> Launch:
    """What `encode_launch` made."""
    return msgspec.json.decode(data, type=Launch)


def run_host(data: bytes) -> None:
    """Run a host until it leaves. Blocks."""
    launch = decode_launch(data)
    log_as_json(launch.host, launch.topology.namespace, launch.log_file)
    keep_to(launch.core)
    take_short_turns()
    sys.setswitchinterval(_SWITCH_SECONDS)
    # A host makes few cycles and many answers. By default the collector walks all that it remembers of slates every
    # few hundred answers, and every visitor who asks meanwhile waits.
    gc.set_threshold(*_GC_THRESHOLDS)
    gc.freeze()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(launch))


def keep_to(core: int | None) -> None:
    """Run on one core alone, threads that are begun later included; where that cannot be, on any."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        try:
            os.sched_setaffinity(0, {core})
        except OSError as err:
            logger.info("core %d is not for this process: %s", core, err)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # not on this system: asyncio's own loop does the same, slower
        return None
    return uvloop.new_event_loop


async def _run(launch: Launch) -> None:
    nc, log = await _joined(launch)
    snapshots = await _snapshots(launch, log.snapshots)
    host = Host(
        launch.spec, launch.topology, launch.config, nc, log, snapshots, epoch=log.epoch, http_port=launch.http_port
    )
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, host.leave)
    try:
        await host.run()
    finally:
        await log.close()
        await nc.close()


async def _snapshots(launch: Launch, folder: str) -> SnapshotStore | None:
    if launch.snapshots is None:
        return None
    if launch.snapshots:
        root = Path(launch.snapshots)
        if folder:  # the log was written anew without somebody: what the old one made of them goes
            await asyncio.to_thread(_let_go, root, folder)
        return DirectorySnapshots(root / folder)
    topology = launch.topology
    while True:
        try:
            return await asyncio.to_thread(
                ObjectSnapshots,
                launch.nats,
                topology.namespace,
                topology.generation,
                replicas=launch.config.cluster.replicas,
            )
        except Unavailable as err:
            logger.warning("host %s waits for the object store: %s", launch.host, err.message)
            await asyncio.sleep(_AGAIN_SECONDS)


def _let_go(root: Path, keep: str) -> None:
    """Delete snapshots of logs that are no more. All hosts of a directory do that at once."""
    for entry in root.iterdir() if root.is_dir() else ():
        if entry.name != keep:
            shutil.rmtree(entry, ignore_errors=True)


async def _joined(launch: Launch) -> tuple[Any, StreamLog]:
    """Connections for questions and for the log. Waits for a server that is not there yet: nobody else would."""
    nats = msgspec.structs.replace(launch.nats, name=f"headwater-{launch.host}")
    while True:
        nc = None
        try:
            nc = await connect(nats)
            log = await AsyncJetStreamLog.open(
                nats, launch.topology.namespace, launch.topology.generation, producer=f"host:{launch.host}"
            )
            return nc, StreamLog(log)
        except AccessDenied:
            raise
        except Unavailable as err:
            logger.warning("host %s waits for the server: %s", launch.host, err.message)
            if nc is not None:
                with contextlib.suppress(OSError):
                    await nc.close()
            await asyncio.sleep(_AGAIN_SECONDS)


if __name__ == "__main__":
    run_host(sys.stdin.buffer.read())
