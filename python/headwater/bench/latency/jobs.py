"""The talk between the command and its load process: one line of JSON each way per job.

    load process -> Ready | Failed          once
    command      -> Job                      then, for every turn
    load process -> Done | Failed

Results of single requests are not in it: they are in `headwater.bench.latency.records`, which survives a kill.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Self

import msgspec

from headwater.bench.latency.records import Records
from headwater.bench.latency.schedule import Turn
from headwater.errors import HeadwaterError, InvalidInput, TargetFailed

TARGET = "target"
"""The subject that is measured; every other one is a floor."""


class Ready(msgspec.Struct, tag="ready", kw_only=True):
    """The target answers. `floors`: what else can be asked by the same generator; `facts`: of the target;
    `generator_apart`: whether the load process holds nothing of the target, so that its CPU is the generator's."""

    floors: list[str]
    facts: dict[str, Any]
    generator_apart: bool = False


class Job(msgspec.Struct, tag="job", kw_only=True):
    """Put one turn of load on a subject. `probes`: freshness probes a second beside it. A request that could not be
    sent, or was not answered, `patience_s` after it was due is given up."""

    turn: Turn
    subject: str = TARGET
    probes: float = 0.0
    patience_s: float = 5.0


class Probe(msgspec.Struct, array_like=True):
    """One freshness probe: ns of the monotonic clock when the write was acknowledged and when an answer that knows it
    was there (0: never), and how many answers were asked for."""

    acknowledged: int
    visible: int
    answers: int


class Done(msgspec.Struct, tag="done", kw_only=True):
    """The turn is over; `started` is the monotonic ns that due times count from. `cpu_s`: of the load process."""

    started: int
    ended: int
    cpu_s: float
    probes: list[Probe] = []
    error_messages: list[str] = []


class Failed(msgspec.Struct, tag="failed", kw_only=True):
    """It cannot be done: a value that the user must correct, or a target that does not answer."""

    code: str
    message: str
    correctable: bool = False


Reply = Ready | Done | Failed


def serve(open_target: Callable[[], tuple[Ready, Callable[[Job], Done]]]) -> None:
    """What a load process does: open the target, say so, then do jobs until the command goes away."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the command too, which then closes our input
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever a library prints is no reply
    encoder = msgspec.json.Encoder()
    try:
        ready, work = open_target()
        replies.write(encoder.encode(ready) + b"\n")
        for line in sys.stdin.buffer:
            replies.write(encoder.encode(work(msgspec.json.decode(line, type=Job))) + b"\n")
    except HeadwaterError as err:
        failed = Failed(code=err.code, message=err.message, correctable=isinstance(err, InvalidInput))
        replies.write(encoder.encode(failed) + b"\n")
        sys.exit(1)


class LoadProcess:
    """The process that puts load on the target, as the command sees it."""

    def __init__(self, module: str, options: msgspec.Struct, ready_within_s: float) -> None:
        """Start it and wait until its target answers. Raises `InvalidInput` or `TargetFailed`."""
        self.records = Records.create()
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`: it lives as long as the process
        self._buffer = b""
        command = [sys.executable, "-m", module, str(self.records.fd), msgspec.json.encode(options).decode()]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            pass_fds=[self.records.fd],
        )
        try:
            ready = self._reply(ready_within_s)
        except BaseException:
            self.close()
            raise
        assert isinstance(ready, Ready)
        self.ready = ready

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def run(self, job: Job) -> Done:
        """Do a job. Raises `TargetFailed` if the process ends or does not finish in time."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(job) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None
        done = self._reply(job.turn.seconds + 2 * job.patience_s + 30)
        assert isinstance(done, Done)
        return done

    def _reply(self, within_s: float) -> Reply:
        line = self._line(time.monotonic() + within_s)
        if line is None:
            raise TargetFailed(f"the load process did not answer within {within_s:.0f} s: the target hangs")
        if not line:
            raise self._ended()
        reply: Reply = msgspec.json.decode(line, type=Reply)
        if isinstance(reply, Failed):
            if reply.correctable:
                raise InvalidInput(reply.message)
            raise TargetFailed(reply.message, reason=reply.code)
        return reply

    def _line(self, deadline: float) -> bytes | None:
        """The next line; empty at the end, None when the deadline has passed."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if select.select([fd], [], [], left)[0]:
                some = os.read(fd, 1 << 16)
                if not some:
                    return b""
                self._buffer += some
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _ended(self) -> TargetFailed:
        code = self._process.wait()
        how = f"killed by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._stderr.seek(0)
        said = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        more = f": {said[-1][:300]}" if said else ""
        return TargetFailed(f"the load process ended ({how}){more}", exit_code=code)

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # it ended before it read all: nothing is lost
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()
        self.records.close()
