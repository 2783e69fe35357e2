"""The HTTP gateway that `headwater serve --http` runs beside the hosts: a process of its own, started again if it ends.

It asks the hosts over NATS as any client does; questions never pass through `serve`.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from headwater.errors import HeadwaterError

_MODULE = "headwater.http.gateway"
_AGAIN_SECONDS = 2.0
_END_SECONDS = 15.0


class GatewayProcess:
    """Started by `run`, which looks after it until it is cancelled."""

    def __init__(self, task: bytes, say: Callable[[str], None]) -> None:
        """`task`: a `headwater.http.gateway.GatewayTask` as JSON."""
        self._task = task
        self._say = say

    async def run(self) -> None:
        """Keep the gateway running. It is told to stop when this is cancelled."""
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", _MODULE, stdin=PIPE, stdout=PIPE, start_new_session=True
            )
            try:
                await self._begin(process)
                code = await process.wait()
                self._say(f"http: the gateway ended with status {code}; it is started again")
            except HeadwaterError as err:
                self._say(f"http: the gateway does not start: {err.message}")
            finally:
                await _end(process)
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _begin(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):  # it ended at once; what it said is read below
            process.stdin.write(self._task + b"\n")
            await process.stdin.drain()
        told: dict[str, Any] = msgspec.json.decode(await process.stdout.readline() or b"{}")
        if "url" not in told:
            raise HeadwaterError(str(told.get("error", "it said nothing")))
        self._say(f"http: {told['url']}, process {told['pid']}, keys {told['keys']}")


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
