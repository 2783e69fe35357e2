"""One web server: an application on a listening socket, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from headwater.errors import ConfigError
from headwater.http.intake import App
from headwater.http.patient import PatientProtocol
from headwater.http_config import HttpConfig, share_of_worker

logger = logging.getLogger(__name__)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises `ConfigError` for an address that cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, proto)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(2048)
        except OSError:
            listening.close()
            raise
    except OSError as err:
        rule = "an address of this machine and a free port"
        raise ConfigError(f"{host}:{port}: {err.strerror or err}; allowed: {rule}", key="http.port", rule=rule) from err
    listening.setblocking(False)
    return listening


def check_tls(config: HttpConfig) -> None:
    """Raise `ConfigError` for a certificate and key that cannot be used together."""
    if not config.tls_cert:
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            config.tls_cert, config.tls_key, password=_no_passphrase
        )
    except (OSError, ValueError) as err:  # an SSLError is an OSError
        rule = "a PEM certificate and its key, readable, without a passphrase"
        where = f"{config.tls_cert}, {config.tls_key}"
        raise ConfigError(f"{where}: {err}; allowed: {rule}", key="http.tls_cert", value=where, rule=rule) from err


def _no_passphrase() -> str:
    """Asked for a key that has one. (OpenSSL would ask the terminal.)"""
    raise ValueError("the key has a passphrase")


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """Where a socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


class _Server(uvicorn.Server):
    """uvicorn's server, whose signals are handled by who runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_app(app: App, listening: socket.socket, config: HttpConfig, stopping: asyncio.Event) -> None:
    """Serve until SIGINT or SIGTERM; requests in progress are finished, for at most `shutdown_s`.

    `stopping` is set when it ends, so that streams end, too.
    """

    class Protocol(PatientProtocol):
        header_timeout_s = config.header_timeout_s
        max_connections = share_of_worker(config.max_connections, config)

    server = _Server(
        uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=config.tls_cert or None,
            ssl_keyfile=config.tls_key or None,
            timeout_keep_alive=int(config.keep_alive_s) or 1,
            timeout_graceful_shutdown=int(config.shutdown_s) or 1,
        )
    )

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
        server.should_exit = True
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    # What is there now stays: the collector need not look at it again and again while requests come and go.
    gc.collect()
    gc.freeze()
    await server.serve(sockets=[listening])


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on uvloop where that is installed."""
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    try:
        import uvloop
    except ImportError:  # not on every platform
        pass
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)
