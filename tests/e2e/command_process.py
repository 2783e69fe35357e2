"""The command `headwater`, each call as a process of its own, without paying for its imports each time.

One process imports the command once and forks for every call: own working directory, arguments, files as output, locks,
exit code and end of the interpreter. Run as a program this module is that process.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

_PATIENCE_S = 120


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
    with tempfile.TemporaryDirectory() as temporary:
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        out, err = Path(temporary, "out"), Path(temporary, "err")
        call = {"place": str(place), "arguments": [*map(str, arguments)], "out": str(out), "err": str(err)}
        server.stdin.write(json.dumps(call) + "\n")
        server.stdin.flush()
        hung = threading.Timer(_PATIENCE_S, server.kill)
        hung.start()
        answer = server.stdout.readline()
        hung.cancel()
        assert answer, f"headwater {arguments} took more than {_PATIENCE_S} s, or the forking process died"
        return Result(int(answer), out.read_text(), err.read_text())


def ok(place: Path, *arguments: str | int) -> Any:
    """What `headwater ARGUMENTS --json` prints; it must succeed and say nothing else."""
    result = headwater(place, *arguments, "--json")
    assert result.code == 0, result
    assert result.err == ""
    return result.json


@cache
def _server() -> subprocess.Popen[str]:
    # A session of its own: killing it kills what it forked.
    server = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    return server


def _serve() -> None:
    """Fork for each line of standard input; answer with the exit code. A child returns from here."""
    import rich.console
    import rich.table  # noqa: F401

    import headwater.cli
    import headwater.engine  # noqa: F401

    # Threads do not survive a fork, and what they held stays locked: nothing that starts some may be imported here.
    assert len(os.listdir("/proc/self/task")) == 1, "a thread runs before the fork"
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    os._exit(0)


def _become(call: dict[str, Any]) -> None:
    os.chdir(call["place"])
    sys.argv = ["headwater", *call["arguments"]]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "out"), (2, "err")):
        file = os.open(call[name], os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)


if __name__ == "__main__":
    _serve()
    from headwater.cli import main

    main()
