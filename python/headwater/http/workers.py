"""Several web workers before one engine: the processes, their start and their end.

The parent holds the engine and a Unix socket; each worker is a process of its own (`python -m
headwater.http.workers`) that takes connections from the listening socket that all share. One that dies is started
anew. Workers end with the parent, however it ends: their Unix socket does.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from headwater.http.door import LocalDoor
from headwater.http.metrics import SHARED
from headwater.http.pipe import PipeDoor, answer_over
from headwater.http.verbs import Verb
from headwater.http_config import HttpConfig

logger = logging.getLogger(__name__)

_RESTART_AFTER_S = 1.0


class WorkerTask(msgspec.Struct, frozen=True):
    """What a worker is told: the listening socket's descriptor, where the engine is, where keys are."""

    socket: int
    engine: str
    directory: str | None
    keys_required: bool
    config: HttpConfig


async def serve_with_workers(
    door: LocalDoor,
    verbs: dict[str, Verb],
    listening: socket.socket,
    directory: Path | None,
    keys_required: bool,
    config: HttpConfig,
) -> None:
    """Answer workers until SIGINT or SIGTERM, and end them then."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    with tempfile.TemporaryDirectory(prefix="headwater-http-") as place:
        path = f"{place}/engine"
        where = None if directory is None else str(directory.resolve())
        task = WorkerTask(listening.fileno(), path, where, keys_required, config)
        server = await answer_over(path, door, verbs)
        (Path(place) / "metrics").mkdir()
        with _processes(config.workers, task, f"{place}/metrics", config.shutdown_s) as processes:
            while not stopping.is_set():
                try:
                    await asyncio.wait_for(stopping.wait(), _RESTART_AFTER_S)
                except TimeoutError:
                    _restart(processes, task, f"{place}/metrics")
        server.close()


def _start(task: WorkerTask, metrics: str) -> subprocess.Popen[bytes]:
    """A worker in a session of its own: Ctrl-C reaches the parent, which ends the workers in order."""
    return subprocess.Popen(
        [sys.executable, "-m", "headwater.http.workers", msgspec.json.encode(task).decode()],
        pass_fds=(task.socket,),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, SHARED: metrics},
    )


def _restart(processes: list[subprocess.Popen[bytes]], task: WorkerTask, metrics: str) -> None:
    for at, process in enumerate(processes):
        if process.poll() is not None:
            logger.warning(
                "web worker %d ended with status %d; another takes its place", process.pid, process.returncode
            )
            processes[at] = _start(task, metrics)


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


def main(argument: str) -> None:
    """A worker's whole life."""
    from headwater.http.app import create_app
    from headwater.http.keys import KeyRing
    from headwater.http.server import run, serve_app

    task = msgspec.json.decode(argument, type=WorkerTask)
    listening = socket.socket(fileno=task.socket)
    keys = KeyRing(None if task.directory is None else Path(task.directory), task.keys_required)

    async def serve() -> None:
        stopping = asyncio.Event()
        door = PipeDoor(lambda: os.kill(os.getpid(), signal.SIGTERM))
        await door.connect(task.engine)
        await serve_app(create_app(door, task.config, keys, stopping), listening, task.config, stopping)

    run(serve())


if __name__ == "__main__":
    main(sys.argv[1])
