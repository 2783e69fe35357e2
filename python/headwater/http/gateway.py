"""`headwater gateway` and `headwater serve --http` before a cluster: web workers that ask it over NATS.

python -m headwater.http.gateway < task.json        what `headwater serve` starts beside the hosts
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from headwater.client import connect
from headwater.errors import HeadwaterError
from headwater.events.nats_options import NatsOptions
from headwater.http.app import create_app
from headwater.http.cluster_door import ClusterDoor
from headwater.http.cluster_engine import ClusterEngine
from headwater.http.door import LocalDoor
from headwater.http.gorse_verbs import gorse_verbs
from headwater.http.keys import KeyRing
from headwater.http.live import Live
from headwater.http.live_page.looks import look_verbs
from headwater.http.serve import checked_keys
from headwater.http.server import listen, run, serve_app, url_of
from headwater.http.verbs import Service
from headwater.http.workers import WorkerTask, end_with_parent, supervise
from headwater.http_config import HttpConfig

Say = Callable[[dict[str, Any]], None]
_PATIENCE_SECONDS = 5.0
"""For which a worker sends writes again; who waits for a web page does not wait longer."""


class ClusterPlace(msgspec.Struct, frozen=True):
    """Where a cluster is, and how to log in there."""

    nats: NatsOptions
    namespace: str


class GatewayTask(msgspec.Struct, frozen=True, kw_only=True):
    """Where a gateway listens and what stands behind it. May hold secrets: never logged."""

    nats: NatsOptions
    namespace: str = "default"
    directory: str | None = None
    """Whose keys are used; None: there are none."""
    config: HttpConfig = HttpConfig()


def serve_gateway(task: GatewayTask, say: Say, begin: Callable[[], None] | None = None) -> None:
    """Answer over HTTP until SIGINT or SIGTERM; `begin` is called in the event loop first.

    Raises `ConfigError`, `AccessDenied`, `Unavailable`.
    """
    keys = checked_keys(task.config, None if task.directory is None else Path(task.directory))
    place = ClusterPlace(task.nats, task.namespace)
    with listen(task.config.host, task.config.port) as listening:

        async def serve() -> None:
            if begin is not None:
                begin()
            await _serve(task, place, keys, listening, say)

        run(serve())


async def _serve(task: GatewayTask, place: ClusterPlace, keys: KeyRing, listening: socket.socket, say: Say) -> None:
    config = task.config
    door = await cluster_door(place)  # also with several workers: what cannot be reached is told before it is promised
    facts = {
        "url": url_of(listening, "https" if config.tls_cert else "http"),
        "pid": os.getpid(),
        "workers": config.workers,
    }
    facts |= {"keys": "required" if keys.required else "none", "cluster": place.nats.shown}
    if config.workers > 1:
        await door.close()
        where = None if task.directory is None else str(Path(task.directory).resolve())
        worker = WorkerTask(listening.fileno(), None, where, keys.required, config, msgspec.to_builtins(place))
        async with supervise(worker) as ended:
            say(facts)
            await ended
        return
    stopping = asyncio.Event()
    try:
        app = create_app(door, config, keys, stopping)
        say(facts)
        await serve_app(app, listening, config, stopping)
    finally:
        await door.close()


async def cluster_door(place: ClusterPlace) -> ClusterDoor:
    """The door of one web worker."""
    client = await connect(namespace=place.namespace, options=place.nats, patience=_PATIENCE_SECONDS)
    try:
        engine = ClusterEngine(client, await client.config(), place.nats, place.namespace)
    except BaseException:
        await client.close()
        raise
    live = Live()
    # On a thread: this opens the log.
    more = await asyncio.to_thread(lambda: gorse_verbs(engine) | look_verbs(engine, live, None))
    rest = LocalDoor(Service(engine, live, more))
    return ClusterDoor(client, engine, live, rest)


def _say(facts: dict[str, Any]) -> None:
    print(msgspec.json.encode(facts).decode(), flush=True)  # noqa: T201 - read by who started this


def main() -> int:
    """The gateway of `headwater serve`: ends with it, since its input does."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=GatewayTask)
    try:
        serve_gateway(task, _say, end_with_parent)
    except HeadwaterError as err:
        _say({"error": err.message})
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
