"""Floors of a cluster: services that answer at once, on the target's own server, in the shape of its answers.

    PREFIX.echo.<reply bytes>                                        answered by `echo`
    PREFIX.scatter.<legs>.<reply bytes>.<leg request>.<leg reply>    heard by every `front`, answered by one, after it
                                                                     asked that many `leg`s, all at once
    PREFIX.front.<number>.<legs>. ... as above                       heard by one `front`: for those who know the owner
    PREFIX.leg.<number>.<leg reply>                                  answered by `leg` number so and so

As in the cluster, a request names a user, and on the plain path every front hears it and the owner by hash answers.
Each service is a process of its own: `python -m headwater.bench.latency.nats_echo URL PREFIX ROLE NUMBER COUNT`. Only
sizes are imitated, nothing is computed.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import zlib
from typing import Any

import msgspec
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from headwater.bench.latency.event_loop import new_event_loop

_LEG_TIMEOUT_S = 5.0


class _Asked(msgspec.Struct):
    user: str = ""
    item: str = ""


_asked = msgspec.json.Decoder(_Asked)


class Service:
    """One of the services."""

    def __init__(self, nc: Client, prefix: str, number: int, count: int) -> None:
        self._nc = nc
        self._prefix = prefix
        self._number = number
        self._count = count
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, role: str) -> None:
        """Listen."""
        if role == "echo":
            await self._nc.subscribe(f"{self._prefix}.echo.*", cb=self._echo)
        elif role == "leg":
            await self._nc.subscribe(f"{self._prefix}.leg.{self._number}.*", cb=self._echo)
        else:
            await self._nc.subscribe(f"{self._prefix}.scatter.*.*.*.*", cb=self._front)
            await self._nc.subscribe(f"{self._prefix}.front.{self._number}.*.*.*.*", cb=self._owned)
        await self._nc.flush()

    async def _echo(self, message: Msg) -> None:
        await message.respond(bytes(int(message.subject.rpartition(".")[2])))

    async def _front(self, message: Msg) -> None:
        asked = _asked.decode(message.data)
        if zlib.crc32((asked.user or asked.item).encode()) % self._count == self._number:
            await self._owned(message)

    async def _owned(self, message: Msg) -> None:
        task = asyncio.ensure_future(self._scatter(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _scatter(self, message: Msg) -> None:
        legs, reply, leg_request, leg_reply = map(int, message.subject.split(".")[-4:])
        body = bytes(leg_request)
        asked = (
            self._nc.request(f"{self._prefix}.leg.{leg}.{leg_reply}", body, timeout=_LEG_TIMEOUT_S)
            for leg in range(legs)
        )
        try:
            await asyncio.gather(*asked)
        except NatsError:
            return  # a leg is gone: the question stays unanswered, and counts as such
        await message.respond(bytes(reply))


async def _serve(url: str, prefix: str, role: str, number: str, count: str) -> None:
    async def on_error(err: Exception) -> None:
        print(f"{role} {number}: {err}", file=sys.stderr)  # noqa: T201

    nc = await nats.connect(url, allow_reconnect=False, connect_timeout=3, error_cb=on_error)
    await Service(nc, prefix, int(number), int(count)).start(role)
    print("ready", flush=True)  # noqa: T201
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C reaches the command too, which then ends this
    await ended.wait()
    await nc.close()


def main(arguments: list[Any]) -> None:
    """Serve until SIGTERM."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_serve(*arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
