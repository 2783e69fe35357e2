"""A real cluster for tests: `headwater serve` as a process, with the packaged nats-server, on Ray or processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psutil

from headwater.client import SyncClient, connect_sync
from headwater.config import Config
from headwater.core import Core, generation_of, new_core, whole_digest
from headwater.errors import HeadwaterError
from headwater.events.jetstream_log import JetStreamLog
from headwater.events.log import EventLog
from headwater.events.nats_options import NatsOptions
from headwater.events.nats_server import free_port, running_pid
from headwater.store import directory_config

T = TypeVar("T")
HEADWATER = str(Path(sys.executable).with_name("headwater"))

PATIENT_MS = 20_000
"""Time for questions whose lateness is not what is tested: longer than a busy machine takes."""

QUICK = """
[cluster]
beat_ms = 100
silent_ms = 1500
snapshot_every_frames = 200
"""
PATIENT = f"""
[cluster]
beat_ms = 100
silent_ms = 5_000
snapshot_every_frames = 200
deadline_ms = {PATIENT_MS}
"""
"""For tests in which nobody is late by intention."""


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """Poll until `look` gives something; fail with `what` otherwise."""
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(HeadwaterError):
            found = look()
            if found is not None and found is not False:
                return found
        if time.monotonic() >= until:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


class Cluster:
    """One directory that is served, and what its `serve` said."""

    def __init__(self, directory: Path, *, port: int | None = None, toml: str = PATIENT) -> None:
        self.directory = directory
        self.port = port or free_port()
        self.url = f"nats://127.0.0.1:{self.port}"
        self.said: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "headwater.toml").write_text(toml)

    @property
    def config(self) -> Config:
        """The configuration that is served."""
        return directory_config(self.directory)

    @property
    def pid(self) -> int:
        """Process of `serve`."""
        assert self._process is not None
        return self._process.pid

    def serve(self, *options: str, seconds: float = 90.0) -> None:
        """Run `headwater serve` until it says that it serves."""
        self._process = subprocess.Popen(
            [HEADWATER, "serve", str(self.directory), "--embedded-nats", "--port", str(self.port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        begin = len(self.said)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        try:
            wait_for("serving", lambda: self._serves(begin), seconds)
        except AssertionError as err:
            raise AssertionError(f"{err}\n" + "\n".join(self.said[begin:])) from None

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self.said.append(line.rstrip())

    def _serves(self, begin: int) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"serve ended with {self._process.returncode}:\n" + "\n".join(self.said[begin:]))
        return any("  serving " in line for line in self.said[begin:])

    def heard(self, text: str, seconds: float = 30.0) -> str:
        """A line of `serve` that holds a text."""
        return wait_for(text, lambda: next((line for line in list(self.said) if text in line), None), seconds)

    def kill_serve(self) -> None:
        """kill -9 of `serve` alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self, seconds: float = 60.0) -> None:
        """SIGINT to `serve`, as Ctrl-C does, and wait for its end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(seconds)
        self._process = None
        assert code == 0, "\n".join(self.said)

    def host_pid(self, host: str) -> int:
        """Process of a host."""
        return int(self.host(host)["pid"])

    def host(self, name: str) -> dict[str, Any]:
        """What a host tells of itself."""

        def look() -> dict[str, Any] | None:
            with self.client() as client:
                return next((h for h in client.status() if h["host"] == name and h["phase"] != "silent"), None)

        return wait_for(f"{name} answers", look)

    def all_ready(self, seconds: float = 60.0) -> list[dict[str, Any]]:
        """Wait until every host is ready."""

        def look() -> list[dict[str, Any]] | None:
            with self.client() as client:
                hosts = client.status()
            return hosts if all(host["phase"] == "ready" for host in hosts) else None

        return wait_for("all hosts ready", look, seconds)

    def client(self, **settings: Any) -> SyncClient:
        """A client; wait for the cluster to answer first."""
        asked = {"deadline_ms": PATIENT_MS} | settings
        return wait_for("a client connects", lambda: connect_sync(self.url, **asked), 30.0)

    def whole_digest(self) -> tuple[int, str]:
        """See `digest_of`."""
        return digest_of(self.client, self.config)

    def log(self) -> JetStreamLog:
        """The log, for reading."""
        generation = generation_of(self.config.generation)
        return JetStreamLog(NatsOptions(url=self.url), "default", generation, read_only=True)

    def replayed(self, stop: int | None = None) -> Core:
        """The state that an embedded replay of the log makes."""
        return replay_of(self.log(), self.config, stop)

    def end(self) -> None:
        """Leave nothing running, whatever happened."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
        for process in _left(self.directory):
            with contextlib.suppress(psutil.Error):
                process.kill()
        pid = running_pid(self.directory / "nats" / "nats-server.pid")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def digest_of(connect: Callable[[], SyncClient], config: Config) -> tuple[int, str]:
    """(position, digest of the whole) of hosts, once they stand at one position."""

    def look() -> tuple[int, str] | None:
        with connect() as client:
            answers = client.digest()
        positions = {answer["position"] for answer in answers}
        if len(positions) > 1:
            return None
        return positions.pop(), whole_digest(config, [answer["digest"] for answer in answers])

    return wait_for("hosts at one position", look)


def replay_of(log: EventLog, config: Config, stop: int | None = None) -> Core:
    """The state that an embedded replay of a log makes. Closes the log."""
    core = new_core(config, 2)
    try:
        for batch in log.read(stop=stop):
            core.apply(batch.positions[0], batch.frames)
    finally:
        log.close()
    return core


def _left(directory: Path) -> list[psutil.Process]:
    """Processes that a killed `serve` left behind: Ray's, and hosts."""
    from headwater.actors.ray_runtime import ray_processes

    found = ray_processes(directory)
    for file in (directory / "hosts").glob("*.pid"):
        with contextlib.suppress(psutil.Error, ValueError, OSError):
            found.append(psutil.Process(int(file.read_text().split()[0])))
    return found


@contextlib.contextmanager
def cluster(directory: Path, *options: str, toml: str = PATIENT) -> Iterator[Cluster]:
    """A cluster that is served, ended whatever happens."""
    served = Cluster(directory, toml=toml)
    try:
        served.serve(*options)
        yield served
    finally:
        served.end()
