"""What can be measured: a copy of an engine's directory, or a cluster on this machine. Opens it, with its floors."""

from __future__ import annotations

import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from headwater.bench.latency.embedded_load import EmbeddedOptions
from headwater.bench.latency.jobs import LoadProcess
from headwater.bench.latency.nats_options import NatsOptions, loopback_address
from headwater.bench.latency.population import Pairs, sampled_pairs
from headwater.core import generation_of
from headwater.errors import TargetFailed
from headwater.events.lock import WriterLock
from headwater.events.sqlite_log import SqliteLog
from headwater.store import check_begun, directory_config

_PACKAGE = "headwater.bench.latency"
_SERVICE_WITHIN_S = 30.0
_OPEN_WITHIN_S = 3600.0
FRONTS = 2
"""Processes that answer the no-op scatter, where the target does not say how many session hosts it has."""


class Target(NamedTuple):
    """An open target. `name` is shown and holds no credentials; `processes`: names by process id, of what takes CPU
    and memory for it."""

    name: str
    load: LoadProcess
    processes: Callable[[], dict[int, str]]


@contextmanager
def embedded_target(directory: Path, options: EmbeddedOptions, scratch: Path | None) -> Iterator[Target]:
    """A copy of an engine's directory: what is measured writes, and the original stays as it is.

    Raises `StoreLocked` while another process writes to it, `StoreError` for a directory without a log.
    """
    check_begun(directory)
    with tempfile.TemporaryDirectory(prefix="headwater-bench-", dir=scratch) as temporary:
        copy = Path(temporary) / "copy"
        lock = WriterLock(directory)
        try:
            shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("lock", "deadletters"))
        finally:
            lock.release()
        options = msgspec.structs.replace(options, directory=str(copy))
        with LoadProcess(f"{_PACKAGE}.embedded_load", options, _OPEN_WITHIN_S) as load:
            yield Target(str(directory), load, lambda: {load.pid: "engine and callers"})


@contextmanager
def nats_target(options: NatsOptions, population: Path | None, *, floors: bool) -> Iterator[Target]:
    """A cluster behind a NATS server on this machine, with services of its floors on the same server. `population`: an
    engine's directory to draw users and items from, instead of the cluster's log.

    Raises `InvalidInput` for a server elsewhere, `TargetFailed` for one that does not answer.
    """
    address = loopback_address(options.url)
    with ExitStack() as stack:
        if population is not None:
            file = stack.enter_context(tempfile.NamedTemporaryFile(prefix="headwater-bench-"))
            file.write(msgspec.json.encode(_pairs_of(population)))
            file.flush()
            options = msgspec.structs.replace(options, pairs=file.name)
        if floors:
            prefix = f"hwbench-{secrets.token_hex(4)}"
            options = msgspec.structs.replace(options, floors=prefix)
        with LoadProcess(f"{_PACKAGE}.nats_load", options, _OPEN_WITHIN_S) as load:
            hosts = load.ready.facts["hosts"]
            services: list[int] = []
            if floors:
                legs = load.ready.facts["shape"]["legs"]
                for role, count in (("echo", 1), ("front", hosts.get("session", FRONTS)), ("leg", max(1, legs))):
                    services += [stack.enter_context(_service(options, role, number, count)) for number in range(count)]
            ours = {os.getpid(), load.pid, *services}
            yield Target(address.shown, load, lambda: _processes(address.port, ours, load.pid))


def _pairs_of(directory: Path) -> Pairs:
    check_begun(directory)
    config = directory_config(directory)
    log = SqliteLog(directory, generation_of(config.generation), read_only=True)
    try:
        return sampled_pairs(log)
    finally:
        log.close()


@contextmanager
def _service(options: NatsOptions, role: str, number: int, count: int) -> Iterator[int]:
    """One service of the floors, while it is needed: its process id."""
    arguments = [options.url, options.floors, role, str(number), str(count)]
    command = [sys.executable, "-m", f"{_PACKAGE}.nats_echo", *arguments]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            _wait_until_ready(process, role)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_ready(process: subprocess.Popen[bytes], role: str) -> None:
    assert process.stdout is not None
    deadline = time.monotonic() + _SERVICE_WITHIN_S
    while not select.select([process.stdout], [], [], 0.2)[0]:
        if time.monotonic() > deadline:
            break
    else:
        if process.stdout.readline().strip() == b"ready":
            return
    raise TargetFailed(f"the floor's service {role} did not start", reason="floor")


def _processes(port: int, ours: set[int], generator: int) -> dict[int, str]:
    """The server, everything that is connected to it and is not ours, and the generator."""
    import psutil

    names = {generator: "generator"}
    for connection in psutil.net_connections("tcp"):
        pid = connection.pid
        if pid is None or pid in ours:
            continue
        if connection.laddr and connection.laddr.port == port:
            names[pid] = "nats-server"
        elif connection.raddr and connection.raddr.port == port:
            names.setdefault(pid, "hosts")
    return names
