"""The packaged server: it starts, it stops, it says why not, and it leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headwater.errors import ConfigError, StoreLocked
from headwater.events.nats_server import NatsServer, NatsServerOptions, free_port, running_pid
from nats_server import server_options


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def gone(pid: int, limit: float = 20.0) -> bool:
    deadline = time.monotonic() + limit
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def test_it_starts_and_stops(tmp_path: Path) -> None:
    with NatsServer(server_options(tmp_path)) as server:
        pid = server.pid
        assert pid is not None
        assert running_pid(server.pid_file) == pid
        with socket.create_connection(("127.0.0.1", server.options.port), timeout=5) as connection:
            assert connection.recv(5) == b"INFO "
        assert "sync_interval: always" in (tmp_path / "nats-server.conf").read_text()
    assert server.pid is None
    assert not alive(pid)
    assert not server.pid_file.exists()
    assert "Server is ready" in server.log_file.read_text()
    with server:
        assert server.pid not in (None, pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_go_is_told_what_the_environment_does_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> dict[str, str]:
        with NatsServer(server_options(tmp_path)) as server:
            lines = Path(f"/proc/{server.pid}/environ").read_text().split("\0")
        return {name: value for name, _, value in (line.partition("=") for line in lines) if name.startswith("GO")}

    for name in ("GOGC", "GODEBUG", "GOMEMLIMIT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOMAXPROCS", "7")
    for memory, bound in ((64 << 30, 1 << 30), (1 << 30, 256 << 20)):
        monkeypatch.setattr("headwater.events.nats_server.memory_limit", lambda memory=memory: memory)
        assert told() == {"GOGC": "400", "GOMAXPROCS": "7", "GOMEMLIMIT": str(bound), "GODEBUG": "madvdontneed=0"}
    own = {"GOGC": "50", "GOMEMLIMIT": "1GiB", "GODEBUG": "madvdontneed=1"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("GOMAXPROCS")
    assert told() == own | {"GOMAXPROCS": str((os.cpu_count() or 1) + 1)}


def test_it_listens_where_it_should(tmp_path: Path) -> None:
    """Nothing but the loopback address, unless another is asked for."""
    with NatsServer(server_options(tmp_path)) as server:
        listening = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == server.options.port
        ]
        assert listening == [f"0100007F:{server.options.port:04X}"]
        assert f":{server.options.port:04X} " not in Path("/proc/net/tcp6").read_text()


def test_a_directory_has_one_server(tmp_path: Path) -> None:
    with NatsServer(server_options(tmp_path)) as server:
        with pytest.raises(StoreLocked, match=f"process {server.pid}"):
            NatsServer(server_options(tmp_path)).start()
        assert server.pid is not None


def test_a_server_that_was_killed_does_not_hold_its_directory(tmp_path: Path) -> None:
    server = NatsServer(server_options(tmp_path)).start()
    server.kill()
    assert server.pid_file.exists()
    with server:
        assert server.pid is not None


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with NatsServer(server_options(tmp_path / "one")) as server:
        options = NatsServerOptions(directory=tmp_path / "two", port=server.options.port)
        with pytest.raises(ConfigError, match="is taken"):
            NatsServer(options).start()


@pytest.mark.parametrize(
    ("settings", "said"), [("max_payload: banana", "nats-server.conf:10"), ("authorization {", "nats-server")]
)
def test_a_configuration_that_is_refused_is_said(tmp_path: Path, settings: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        NatsServer(server_options(tmp_path, settings=settings)).start()
    assert "did not start" in refused.value.message


def test_included_files_are_read(tmp_path: Path) -> None:
    extra = tmp_path / "auth.conf"
    extra.write_text('authorization { token: "t" }')
    with (
        NatsServer(server_options(tmp_path / "data", include=(extra,))) as server,
        socket.create_connection(("127.0.0.1", server.options.port), timeout=5) as connection,
    ):
        assert b'"auth_required":true' in connection.recv(4096)


@pytest.mark.parametrize("with_parent", [True, False], ids=["dies with its parent", "outlives it"])
def test_when_its_parent_is_killed(tmp_path: Path, with_parent: bool) -> None:
    code = f"""
import sys
from pathlib import Path
from headwater.events.nats_server import NatsServer, NatsServerOptions
options = NatsServerOptions(directory=Path({str(tmp_path)!r}), port={free_port()})
print(NatsServer(options, die_with_parent={with_parent}).start().pid, flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    if with_parent:
        assert gone(pid)
    else:
        assert alive(pid)
        os.kill(pid, signal.SIGTERM)
        assert gone(pid)
