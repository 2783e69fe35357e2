"""Several web workers before one engine, or before a cluster: the processes, their start and their end.

The parent holds the engine and a Unix socket; each worker is a process of its own (`python -m
headwater.http.workers`) that takes connections from the listening socket that all share. One that dies is started
anew. What a worker must know it reads from its standard input, for that may hold secrets; the parent keeps the other
end open, so workers end with the parent, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from headwater.http.door import Door, LocalDoor
from headwater.http.metrics import SHARED
from headwater.http.pipe import PipeDoor, answer_over
from headwater.http.verbs import Verb
from headwater.http_config import HttpConfig

logger = logging.getLogger(__name__)

_RESTART_AFTER_S = 1.0


class WorkerTask(msgspec.Struct, frozen=True):
    """What a worker is told: the listening socket's descriptor, where the engine is, where keys are."""

    socket: int
    engine: str | None
    """The engine's Unix socket."""
    directory: str | None
    keys_required: bool
    config: HttpConfig
    cluster: dict[str, Any] | None = None
    """In the place of an engine: a `headwater.http.gateway.ClusterPlace` as plain data."""


async def serve_with_workers(
    door: LocalDoor,
    verbs: dict[str, Verb],
    listening: socket.socket,
    directory: Path | None,
    keys_required: bool,
    config: HttpConfig,
) -> None:
    """Answer workers until SIGINT or SIGTERM, and end them then."""
    with tempfile.TemporaryDirectory(prefix="headwater-http-") as place:
        path = f"{place}/engine"
        where = None if directory is None else str(directory.resolve())
        task = WorkerTask(listening.fileno(), path, where, keys_required, config)
        server = await answer_over(path, door, verbs)
        async with supervise(task) as ended:
            await ended
        server.close()


@asynccontextmanager
async def supervise(task: WorkerTask) -> AsyncIterator[asyncio.Task[None]]:
    """Workers that run, and are started anew, until the task that this gives is done: at SIGINT or SIGTERM."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    with (
        tempfile.TemporaryDirectory(prefix="headwater-http-") as metrics,
        _processes(task.config.workers, task, metrics, task.config.shutdown_s) as processes,
    ):

        async def watch() -> None:
            while not stopping.is_set():
                try:
                    await asyncio.wait_for(stopping.wait(), _RESTART_AFTER_S)
                except TimeoutError:
                    _restart(processes, task, metrics)

        watching = asyncio.ensure_future(watch())
        try:
            yield watching
        finally:
            watching.cancel()


def _start(task: WorkerTask, metrics: str) -> subprocess.Popen[bytes]:
    """A worker in a session of its own: Ctrl-C reaches the parent, which ends the workers in order."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater.http.workers"],
        pass_fds=(task.socket,),
        start_new_session=True,
        stdin=subprocess.PIPE,
        env={**os.environ, SHARED: metrics},
    )
    assert process.stdin is not None
    with suppress(OSError):  # it ended at once: whoever looks after it sees that
        process.stdin.write(msgspec.json.encode(task) + b"\n")
        process.stdin.flush()
    return process


def _restart(processes: list[subprocess.Popen[bytes]], task: WorkerTask, metrics: str) -> None:
    for at, process in enumerate(processes):
        if process.poll() is not None:
            logger.warning(
                "web worker %d ended with status %d; another takes its place", process.pid, process.returncode
            )
            _let_go(process)
            processes[at] = _start(task, metrics)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with suppress(OSError):  # what it did not read
        process.stdin.close()


@contextmanager
def _processes(
    count: int, task: WorkerTask, metrics: str, patience_s: float
) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes = [_start(task, metrics) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + patience_s + 2
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _let_go(process)


def main() -> None:
    """A worker's whole life."""
    from headwater.http.app import create_app
    from headwater.http.keys import KeyRing
    from headwater.http.server import run, serve_app

    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerTask)
    listening = socket.socket(fileno=task.socket)
    keys = KeyRing(None if task.directory is None else Path(task.directory), task.keys_required)

    async def serve() -> None:
        end_with_parent()
        stopping = asyncio.Event()
        async with _door_of(task) as door:
            await serve_app(create_app(door, task.config, keys, stopping), listening, task.config, stopping)

    run(serve())


def end_with_parent() -> None:
    """Be told to stop when the standard input ends: nothing more comes on it while the parent lives."""
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _stop)


def _stop() -> None:
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    os.kill(os.getpid(), signal.SIGTERM)


@asynccontextmanager
async def _door_of(task: WorkerTask) -> AsyncIterator[Door]:
    if task.cluster is None:
        pipe = PipeDoor(lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert task.engine is not None
        await pipe.connect(task.engine)
        yield pipe
        return
    from headwater.http.gateway import ClusterPlace, cluster_door

    door = await cluster_door(msgspec.convert(task.cluster, ClusterPlace))
    try:
        yield door
    finally:
        await door.close()


if __name__ == "__main__":
    main()
