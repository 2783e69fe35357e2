"""A gateway as a process: the command `headwater serve --http`, as a user starts it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from headwater.cli.template import write_template
from headwater.store import CONFIG_FILE, GENERATION_FILE

HEADWATER = str(Path(sys.executable).parent / "headwater")


class Served:
    """`headwater serve DIR --http --port 0`, stopped by Ctrl-C when it is left. What `init` does for DIR is done."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        if not any((directory / name).exists() for name in (CONFIG_FILE, GENERATION_FILE)):
            write_template(directory, "shop")
        command = [HEADWATER, "serve", str(directory), "--http", "--port", "0", "--json", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith("{"):
            raise AssertionError(f"did not start: {line}{self.process.communicate(timeout=30)[1]}")
        self.facts: dict[str, Any] = json.loads(line)
        self.url: str = self.facts["url"]
        self.stderr = ""

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.removeprefix("http://").rpartition(":")
        return host, int(port)

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """End it; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, self.stderr = self.process.communicate(timeout=60)
        return self.process.returncode

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
