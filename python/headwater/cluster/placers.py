"""Where hosts run: as Ray actors, or as processes of this machine. The supervisor knows no more than this protocol."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

import psutil

from headwater.actors.ray_runtime import RayRuntime
from headwater.cluster.launch import ENTRY

_LEAVE_SECONDS = 10.0


class Placer(Protocol):
    """Starts and ends hosts by name. Its calls block; they are made on a thread."""

    def place(self, name: str, launch: bytes) -> None:
        """Start a host; one of that name is ended first."""
        ...

    def alive(self, name: str) -> bool:
        """Whether a host is placed and will come back by itself if its process dies."""
        ...

    def remove(self, name: str) -> None:
        """End a host for good."""
        ...

    def names(self) -> list[str]:
        """Hosts that are placed."""
        ...

    def kill(self, name: str) -> None:
        """Kill a host that runs on another machine and does not react."""
        ...


class RayPlacer:
    """Hosts as detached actors. They outlive this process, and Ray starts one again when its process dies."""

    def __init__(self, runtime: RayRuntime, environment: dict[str, str]) -> None:
        self._runtime = runtime
        self._environment = environment

    def place(self, name: str, launch: bytes) -> None:
        """See `Placer.place`."""
        self._runtime.place(name, ENTRY, launch, self._environment)

    def alive(self, name: str) -> bool:
        """See `Placer.alive`."""
        return name in self._runtime.names()

    def remove(self, name: str) -> None:
        """See `Placer.remove`."""
        self._runtime.remove(name)

    def names(self) -> list[str]:
        """See `Placer.names`."""
        return self._runtime.names()

    def kill(self, name: str) -> None:
        """See `Placer.kill`."""
        self._runtime.kill_process(name)


class ProcessPlacer:
    """Hosts as processes of this machine, without Ray. Their process ids are kept in files, so that another supervisor
    finds them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def place(self, name: str, launch: bytes) -> None:
        """See `Placer.place`."""
        self.remove(name)
        self._directory.mkdir(parents=True, exist_ok=True)
        with open(self._directory / f"{name}.out", "ab") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "headwater.cluster.launch"],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        assert child.stdin is not None
        child.stdin.write(launch)
        child.stdin.close()
        self._children[name] = child
        (self._directory / f"{name}.pid").write_text(f"{child.pid} {psutil.Process(child.pid).create_time()}")

    def _process(self, name: str) -> psutil.Process | None:
        if (child := self._children.get(name)) is not None:
            child.poll()  # a dead child would otherwise stay as a zombie
        try:
            pid, created = (self._directory / f"{name}.pid").read_text().split()
            process = psutil.Process(int(pid))
            same = process.create_time() == float(created) and process.status() != psutil.STATUS_ZOMBIE
            return process if same else None
        except (OSError, ValueError, psutil.Error):
            return None

    def alive(self, name: str) -> bool:
        """See `Placer.alive`."""
        return self._process(name) is not None

    def remove(self, name: str) -> None:
        """See `Placer.remove`."""
        process = self._process(name)
        if process is not None:
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGTERM)
                process.wait(_LEAVE_SECONDS)
            with contextlib.suppress(psutil.Error):
                process.kill()
                process.wait(_LEAVE_SECONDS)
        (self._directory / f"{name}.pid").unlink(missing_ok=True)
        self._children.pop(name, None)

    def names(self) -> list[str]:
        """See `Placer.names`."""
        files = sorted(self._directory.glob("*.pid")) if self._directory.is_dir() else []
        return [file.stem for file in files if self.alive(file.stem)]

    def kill(self, name: str) -> None:
        """See `Placer.kill`."""
        process = self._process(name)
        if process is not None:
            process.kill()


def kill_pid(pid: int, seen_at_ms: int) -> bool:
    """Kill a process of this machine that told something at a time (UTC ms); not another one that got its number."""
    try:
        process = psutil.Process(pid)
        if process.create_time() * 1000 > seen_at_ms + 1000:
            return False
        os.kill(pid, signal.SIGKILL)
        process.wait(5)
    except (psutil.Error, ProcessLookupError):
        return False
    return True


def wait_gone(pid: int, seconds: float) -> bool:
    """Whether a process of this machine is gone within some seconds."""
    until = time.monotonic() + seconds
    while psutil.pid_exists(pid):
        if time.monotonic() >= until:
            return False
        time.sleep(0.02)
    return True
