"""What the tests of `headwater bench latency` share: a small shop, the command, and a look at its load process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from headwater.bench.latency.records import NOT_SENT, Records
from headwater.engine import Engine

COMMAND = [sys.executable, "-c", "from headwater.cli import main; main()", "bench", "latency"]
START = 1_700_000_000_000


def shop_in(directory: Path) -> Path:
    """A shop of 50 items and 20 users."""
    with Engine.open(directory / "shop", clock="log") as engine:
        engine.put_items([{"item": f"i{number}"} for number in range(50)])
        for number in range(400):
            engine.track("view", user=f"u{number % 20}", item=f"i{number * 7 % 50}", ts=START + number * 60_000)
    return directory / "shop"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command, to its end."""
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=120)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition, a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.01)


def load_process(parent: int, module: str) -> psutil.Process:
    """The command's load process, once it is there."""
    found: list[psutil.Process] = []

    def there() -> bool:
        found.extend(
            child
            for child in psutil.Process(parent).children()
            if f"headwater.bench.latency.{module}" in child.cmdline()
        )
        return bool(found)

    until(there, "no load process")
    return found[0]


def wait_for_answers(process: psutil.Process, count: int) -> None:
    """Until so many requests of a turn are over, by the records that the process shares with the command."""
    records = Records(os.open(f"/proc/{process.pid}/fd/{process.cmdline()[3]}", os.O_RDWR))
    until(lambda: bool(records.rows(count)["outcome"].min() != NOT_SENT), "no load within a minute")
    records.close()
