"""Hosts as Ray actors. The only file that knows Ray; no question and no event passes through here.

Ray runs as a process of its own (`ray start --head`): a driver that called `ray.init()` without one would take its
detached actors with it when it is killed. Actors are named, detached and restarted by Ray whenever their process dies,
also while nobody supervises. Their constructor only starts a thread and never raises, because an exception there is
final despite `max_restarts=-1`.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwater.errors import ConfigError, Unavailable

logger = logging.getLogger(__name__)

_CPUS = 0.01
"""Of a CPU that Ray reckons with for each host: placement is by the host's own counts, not by Ray's."""
_START_SECONDS = 120


def _run(entry: str, launch: bytes) -> None:
    module, _, function = entry.partition(":")
    run: Callable[[bytes], None] = getattr(importlib.import_module(module), function)
    try:
        run(launch)
    except Exception:
        logger.exception("the host ended")


class HostActor:
    """Runs `entry` (`module:function`) with its launch bytes on a thread."""

    def __init__(self, entry: str, launch: bytes) -> None:
        self._thread = threading.Thread(target=_run, args=(entry, launch), name="host", daemon=True)
        self._thread.start()

    def process(self) -> int:
        """The process id, once the actor runs."""
        return os.getpid()

    def running(self) -> bool:
        """Whether the host is still there; one that left is not."""
        return self._thread.is_alive()


def _ray() -> Any:
    # Ray reports use over the network unless told not to, and warns of features that nobody here uses.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as err:
        raise ConfigError(
            "ray is not installed; install headwater[cluster], or use --processes", key="ray", rule="headwater[cluster]"
        ) from err
    return ray


class RayRuntime:
    """A connection to a Ray cluster, in one Ray namespace."""

    def __init__(self, address: str, namespace: str) -> None:
        """Join. Raises `Unavailable`."""
        ray = _ray()
        self._namespace = f"headwater-{namespace}"
        try:
            ray.init(
                address=address,
                namespace=self._namespace,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
            )
        except (ConnectionError, RuntimeError, ValueError) as err:
            raise Unavailable(f"ray at {address} cannot be joined: {err}", url=address) from err

    def place(self, name: str, entry: str, launch: bytes, environment: dict[str, str]) -> int:
        """Start a host as a detached, named actor; the process id. Ends one of that name first."""
        ray = _ray()
        self.remove(name)
        actor: Any = ray.remote(HostActor).options(
            name=name,
            lifetime="detached",
            namespace=self._namespace,
            max_restarts=-1,
            max_task_retries=-1,
            num_cpus=_CPUS,
            runtime_env={"env_vars": environment},
        )
        return int(ray.get(actor.remote(entry, launch).process.remote(), timeout=_START_SECONDS))

    def remove(self, name: str) -> bool:
        """End an actor for good; whether there was one."""
        ray = _ray()
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(name, namespace=self._namespace), no_restart=True)
            return True
        return False

    def names(self) -> list[str]:
        """Hosts that are placed, dead ones that Ray is about to restart included."""
        ray = _ray()
        listed = ray.util.list_named_actors(all_namespaces=True)
        return sorted(entry["name"] for entry in listed if entry["namespace"] == self._namespace)

    def kill_process(self, name: str) -> None:
        """Kill the process of an actor that does not react any more; Ray then starts it again. Ray's own `kill` asks
        the process to exit, which one that is stopped (SIGSTOP) does not hear."""
        ray = _ray()
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(name, namespace=self._namespace), no_restart=False)

    def leave(self) -> None:
        """Disconnect; detached actors stay."""
        _ray().shutdown()


def start_head(directory: Path, port: int) -> str:
    """Start Ray's head on the loopback address as processes of its own; its address. Raises `Unavailable`.

    Without dashboard; little memory for objects, because none are passed. Ray's sockets need a short path, so its
    session lies in the temporary directory, by user.
    """
    sessions = Path(tempfile.gettempdir()) / f"headwater-ray-{os.getuid()}-{port}"
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--include-dashboard=false", "--disable-usage-stats", "--object-store-memory=80000000",
        f"--temp-dir={sessions}", "--num-cpus=4",
    ]  # fmt: skip
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_START_SECONDS, env=environment, start_new_session=True
        )
    except subprocess.TimeoutExpired as err:
        raise Unavailable(f"ray did not start within {_START_SECONDS} s", url=f"127.0.0.1:{port}") from err
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Unavailable(f"ray did not start: {' '.join(told)}", url=f"127.0.0.1:{port}")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ray-address").write_text(f"127.0.0.1:{port}")
    return f"127.0.0.1:{port}"
