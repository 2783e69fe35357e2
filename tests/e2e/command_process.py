"""The command `headwater`, each call as a process of its own, without paying for its imports each time.

One process imports the command once and forks for every call: own working directory, environment, arguments, standard
files, locks, exit code and end of the interpreter. Run as a program this module is that process; a call comes over its
socket.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple

_PATIENCE_S = 120

_CALLER = """#!{python} -SEI
import json, os, socket, sys
call = json.dumps({{"place": os.getcwd(), "environment": dict(os.environ), "arguments": sys.argv[1:]}})
with socket.socket(socket.AF_UNIX) as server:
    server.connect({path!r})
    socket.send_fds(server, [b"!"], [0, 1, 2])
    server.sendall(call.encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(16)))
"""


class Result(NamedTuple):
    """What a call left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be exactly one line of JSON."""
        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


def headwater(place: Path, *arguments: str | int) -> Result:
    """`headwater ARGUMENTS` in the directory `place`."""
    with open(os.devnull) as null, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        call = {"place": str(place), "environment": dict(os.environ), "arguments": [*map(str, arguments)]}
        code = _asked(call, [null.fileno(), out.fileno(), err.fileno()])
        return Result(code, _written(out), _written(err))


def ok(place: Path, *arguments: str | int) -> Any:
    """What `headwater ARGUMENTS --json` prints; it must succeed and say nothing else."""
    result = headwater(place, *arguments, "--json")
    assert result.code == 0, result
    assert result.err == ""
    return result.json


def on_path(directory: Path) -> str:
    """A PATH on which `headwater` is such a call; `directory` receives it."""
    command = directory / "headwater"
    command.write_text(_CALLER.format(python=sys.executable, path=str(_socket())))
    command.chmod(0o755)
    return os.pathsep.join((str(directory), str(Path(sys.executable).parent), os.environ["PATH"]))


def _asked(call: dict[str, Any], files: Sequence[int]) -> int:
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(_PATIENCE_S)
        server.connect(str(_socket()))
        socket.send_fds(server, [b"!"], files)
        server.sendall(json.dumps(call).encode())
        server.shutdown(socket.SHUT_WR)
        answer = server.recv(16)
    assert answer, f"no exit code: {call['arguments']}"
    return int(answer)


def _written(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


@cache
def _socket() -> Path:
    """The socket of the forking process, which lives as long as the tests do."""
    folder = tempfile.TemporaryDirectory(prefix="hw-")
    path = Path(folder.name, "socket")
    server = subprocess.Popen([sys.executable, __file__, str(path)])
    atexit.register(folder.cleanup)
    atexit.register(server.kill)
    deadline = time.monotonic() + _PATIENCE_S
    while not path.exists():
        assert server.poll() is None, "the forking process ended"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return path


def _serve(path: str) -> None:
    """Fork for each connection. Returns in each of the processes that are to be the command."""
    import rich.console
    import rich.table  # noqa: F401

    import headwater.cli
    import headwater.engine  # noqa: F401

    # Threads do not survive a fork, and what they held stays locked: nothing that starts some may be imported here.
    assert len(os.listdir("/proc/self/task")) == 1, "a thread runs before the fork"
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path + "~")
        listening.listen(64)
        os.rename(path + "~", path)
        while True:
            caller, _ = listening.accept()
            if os.fork() == 0:
                break
            caller.close()
    # Whoever calls is told by a process that only waits; so calls that read each other's output run side by side.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, files, _, _ = socket.recv_fds(caller, 1, 3)
    call = json.loads(b"".join(iter(lambda: caller.recv(1 << 16), b"")))
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        _, status = os.waitpid(child, 0)
        caller.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    caller.close()
    for standard, file in enumerate(files):
        os.dup2(file, standard)
        os.close(file)
    os.chdir(call["place"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = ["headwater", *call["arguments"]]


if __name__ == "__main__":
    _serve(sys.argv[1])
    from headwater.cli import main

    main()
