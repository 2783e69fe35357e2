"""Hosts as Ray actors. The only file that knows Ray; no question and no event passes through here.

Ray runs as a process of its own (`ray start --head`): a driver that called `ray.init()` without one would take its
detached actors with it when it is killed. Actors are named, detached and restarted by Ray whenever their process dies,
also while nobody supervises. Their constructor only starts a thread and never raises, because an exception there is
final despite `max_restarts=-1`; a host that fails ends its process instead.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwater.errors import ConfigError, Unavailable
from headwater.events.subjects import stable_hash

logger = logging.getLogger(__name__)

_CPUS = 0.01
"""Of a CPU that Ray reckons with for each host: placement is by the host's own counts, not by Ray's."""
_LEAST_LIFE_SECONDS = 5.0
"""A host that fails sooner keeps its process until then: one that cannot begin is not started over and over."""
_START_SECONDS = 120
_END_SECONDS = 10
_OBJECT_BYTES = 80_000_000
_ADDRESS_FILE = "ray-address"
_TOKEN_FILE = "ray-token"


def _run(entry: str, launch: bytes) -> None:
    module, _, function = entry.partition(":")
    until = time.monotonic() + _LEAST_LIFE_SECONDS
    try:
        run: Callable[[bytes], None] = getattr(importlib.import_module(module), function)
        run(launch)
    except BaseException:
        # An actor whose host is gone would look alive to Ray. One whose process ended is started again by Ray, also
        # while nobody supervises.
        logger.exception("the host failed; its process ends")
        time.sleep(max(0.0, until - time.monotonic()))
        os._exit(1)


def _lead_session() -> None:
    """Make this process a session of its own.

    Linux shares processors out by session (`sched_autogroup`) before it does by process, and all that Ray starts is one
    session: all hosts together would get as much as any one other program, and each wait for the turns of the others.
    """
    with contextlib.suppress(OSError):  # only worse shares
        # Ray makes each worker the leader of a process group, who may not begin a session.
        os.setpgid(0, os.getpgid(os.getppid()))
        os.setsid()


class HostActor:
    """Runs `entry` (`module:function`) with its launch bytes on a thread."""

    def __init__(self, entry: str, launch: bytes) -> None:
        _lead_session()
        self._thread = threading.Thread(target=_run, args=(entry, launch), name="host", daemon=True)
        self._thread.start()

    def process(self) -> int:
        """The process id, once the actor runs."""
        return os.getpid()

    def hold(self) -> None:
        """Keep the actor's own thread from looking for calls and signals a hundred times a second: each look takes the
        interpreter from the host. Nothing calls an actor after this; Ray ends it as before."""
        self._thread.join()


def _ray() -> Any:
    # Read when ray is imported. Reports of use go nowhere, and Ray's own words about actors that end do not go to
    # standard output, where a program may read ours; ports: see `_environment`.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
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

    def __init__(self, address: str, namespace: str, directory: Path | None = None) -> None:
        """Join; `directory`: the one whose head this is. Raises `Unavailable`."""
        loopback = directory is not None
        if directory is not None:
            os.environ |= _environment(directory)
        ray = _ray()
        self._namespace = f"headwater-{namespace}"
        try:
            ray.init(
                address=address,
                _node_ip_address="127.0.0.1" if loopback else None,
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
        host = actor.remote(entry, launch)
        process = int(ray.get(host.process.remote(), timeout=_START_SECONDS))
        host.hold.remote()
        return process

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


def _environment(directory: Path) -> dict[str, str]:
    """What Ray's own head and those who join it are told, before they import ray.

    Ray listens on the loopback address alone only when it believes that it may not form a cluster; otherwise its ports
    are open to the network, whatever `--node-ip-address` says. Whoever reaches them must show the token of this
    directory: without one, whether Ray asks for any depends on a file in the user's home.
    """
    return {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str((directory / _TOKEN_FILE).resolve()),
        "RAY_worker_niceness": "0",  # 15 by default, for batch jobs: visitors wait for these processes
    }


def _make_token(directory: Path) -> None:
    """A token that only this user can read."""
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        file = os.open(directory / _TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as token:
            token.write(secrets.token_hex(32))


def _session_directory(directory: Path) -> Path:
    """Ray's sockets need a short path, so its files lie in the temporary directory, by this directory's name."""
    name = stable_hash(str(directory.resolve()))
    return Path(tempfile.gettempdir()) / f"hw-ray-{os.getuid()}-{name:016x}"


def start_head(directory: Path, port: int) -> str:
    """Start Ray's head on the loopback address as processes of its own; its address. Raises `Unavailable`.

    Without dashboard, and with little memory for objects, because none are passed.
    """
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--include-dashboard=false", "--disable-usage-stats", f"--object-store-memory={_OBJECT_BYTES}",
        f"--temp-dir={_session_directory(directory)}", "--num-cpus=2",
    ]  # fmt: skip
    _make_token(directory)
    environment = {**os.environ, **_environment(directory)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_START_SECONDS, env=environment, start_new_session=True
        )
    except subprocess.TimeoutExpired as err:
        raise Unavailable(f"ray did not start within {_START_SECONDS} s", url=f"127.0.0.1:{port}") from err
    if done.returncode != 0:
        told = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise Unavailable(f"ray did not start: {' '.join(told)}", url=f"127.0.0.1:{port}")
    address = f"127.0.0.1:{port}"
    (directory / _ADDRESS_FILE).write_text(address)
    return address


def joinable(directory: Path) -> str | None:
    """The address of a head that `start_head` left running for this directory."""
    try:
        address = (directory / _ADDRESS_FILE).read_text().strip()
        host, _, port = address.partition(":")
        with socket.create_connection((host, int(port)), timeout=1):
            return address if ray_processes(directory) else None
    except (OSError, ValueError):
        return None


def ray_processes(directory: Path) -> list[Any]:
    """Ray's processes for this directory: they name its session on their command line; workers are their children."""
    import psutil

    session = str(_session_directory(directory))
    found: dict[int, Any] = {}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and any(session in part for part in process.cmdline()):
                found[process.pid] = process
                found |= {child.pid: child for child in process.children(recursive=True)}
        except psutil.Error:
            continue
    return list(found.values())


def end_head(directory: Path) -> None:
    """End the head of `start_head` with everything that runs under it."""
    import psutil

    processes = ray_processes(directory)
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()  # its actors were ended before; it keeps nothing that anybody needs
    until = time.monotonic() + _END_SECONDS
    while any(_runs(process) for process in processes) and time.monotonic() < until:
        time.sleep(0.02)
    (directory / _ADDRESS_FILE).unlink(missing_ok=True)
    shutil.rmtree(_session_directory(directory), ignore_errors=True)


def _runs(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
