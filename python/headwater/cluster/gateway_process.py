"""The HTTP gateway that `headwater serve --http` runs beside the hosts: a process of its own, started again if it ends.

It asks the hosts over NATS as any client does; questions never pass through `serve`.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress

import msgspec

from headwater.errors import HeadwaterError

_MODULE = "headwater.http.gateway"
_AGAIN_SECONDS = 2.0
_BEGIN_SECONDS = 60.0
_END_SECONDS = 15.0


class _Told(msgspec.Struct):
    """What the process says once it listens, or why it does not."""

    url: str | None = None
    pid: int | None = None
    keys: str | None = None
    error: str = "it said nothing"


class GatewayProcess:
    """Started by `run`, which looks after it until it is cancelled."""

    def __init__(self, task: bytes, say: Callable[[str], None]) -> None:
        """`task`: a `headwater.http.gateway.GatewayTask` as JSON."""
        self._task = task
        self._say = say

    async def run(self) -> None:
        """Keep the gateway running. It is told to stop when this is cancelled."""
        while True:
            try:
                await self._live()
            except HeadwaterError as err:
                self._say(f"http: the gateway does not start: {err.message}")
            except OSError as err:
                self._say(f"http: the gateway does not start: {err}")
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _live(self) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", _MODULE, stdin=PIPE, stdout=PIPE, start_new_session=True
        )
        try:
            await self._begin(process)
            code = await process.wait()
            self._say(f"http: the gateway ended with status {code}; it is started again")
        finally:
            await _end(process)

    async def _begin(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):  # it ended at once; what it said is read below
            process.stdin.write(self._task + b"\n")
            await process.stdin.drain()
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _BEGIN_SECONDS)
        except TimeoutError:
            raise HeadwaterError(f"it said nothing within {_BEGIN_SECONDS:g} s") from None
        try:
            told = msgspec.json.decode(line or b"{}", type=_Told)
        except msgspec.DecodeError as err:
            raise HeadwaterError(f"it said {line[:80]!r}") from err
        if told.url is None:
            raise HeadwaterError(told.error)
        self._say(f"http: {told.url}, process {told.pid}, keys {told.keys}")


async def _end(process: Process) -> None:
    """Have it finish what is in progress; its input stays open until then, for that ending tells it the same."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()
    assert process.stdin is not None
    process.stdin.close()
