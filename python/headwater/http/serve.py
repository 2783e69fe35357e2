"""`headwater serve DIR --http`: the embedded engine behind one web server, or behind several."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from headwater.config import Profile
from headwater.engine import Engine
from headwater.errors import ConfigError
from headwater.http.app import create_app
from headwater.http.door import LocalDoor
from headwater.http.gorse_verbs import gorse_verbs
from headwater.http.intake import is_loopback
from headwater.http.keys import KeyRing
from headwater.http.live import Live
from headwater.http.live_page.looks import look_verbs
from headwater.http.server import check_tls, listen, run, serve_app, url_of
from headwater.http.verbs import Service
from headwater.http.workers import serve_with_workers
from headwater.http_config import HttpConfig, validate_http

Say = Callable[[dict[str, Any]], None]
Beside = Callable[[Service, threading.Event], None]


def check_exposure(host: str, keys: KeyRing) -> None:
    """Raise `ConfigError` for a server that everybody could write to."""
    if keys.required or is_loopback(host):
        return
    rule = "a loopback address while there are no keys"
    raise ConfigError(
        f"host = {host!r}: without keys everybody who reaches this address could write; allowed: {rule}. "
        "Make a key with `headwater key add DIR NAME --role admin`",
        key="http.host",
        value=host,
        rule=rule,
    )


def checked_keys(config: HttpConfig, directory: Path | None) -> KeyRing:
    """The keys of a server that may begin so. Raises `ConfigError`: a value out of range, a certificate that cannot be
    used, an address that needs keys."""
    validate_http("options", config)
    check_tls(config)
    keys = KeyRing(directory)
    check_exposure(config.host, keys)
    return keys


def serve_directory(directory: Path, say: Say, profile: Profile | None = None, **over: Any) -> None:
    """Open a directory's engine and serve it until SIGINT or SIGTERM. `over` takes the place of keys of `[http]`;
    `say` is told once where the server listens. Raises the errors of `Engine.open`, and `ConfigError`."""
    with Engine.open(directory, profile=profile) as engine:
        serve_engine(engine, directory, engine.config.http, say, **over)


def serve_engine(
    engine: Engine, directory: Path | None, config: HttpConfig, say: Say, beside: Beside | None = None, **over: Any
) -> None:
    """Serve an engine that is open; it stays open. `beside` runs on a thread meanwhile, until its event is set. See
    `serve_directory`."""
    config = msgspec.structs.replace(config, **{name: value for name, value in over.items() if value is not None})
    keys = checked_keys(config, directory)
    with listen(config.host, config.port) as listening:
        facts = {
            "url": url_of(listening, "https" if config.tls_cert else "http"),
            "pid": os.getpid(),
            "workers": config.workers,
        }
        say({**facts, "keys": "required" if keys.required else "none", "position": engine.position})
        live = Live()
        service = Service(engine, live, gorse_verbs(engine) | look_verbs(engine, live, engine.status()["path"]))
        door = LocalDoor(service)
        with _running_beside(beside, service):
            try:
                if config.workers > 1:
                    run(serve_with_workers(door, service.verbs, listening, directory, keys.required, config))
                else:
                    run(_serve_alone(door, config, keys, listening))
            finally:
                door.close()


@contextmanager
def _running_beside(beside: Beside | None, service: Service) -> Iterator[None]:
    if beside is None:
        yield
        return
    ending = threading.Event()
    thread = threading.Thread(target=beside, args=(service, ending), name="beside")
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


async def _serve_alone(door: LocalDoor, config: HttpConfig, keys: KeyRing, listening: socket.socket) -> None:
    stopping = asyncio.Event()
    await serve_app(create_app(door, config, keys, stopping), listening, config, stopping)
