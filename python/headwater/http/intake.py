"""The first thing a request meets: who calls, how often, how many at once, how much, how slowly.

Plain ASGI in front of Litestar, because it must be cheap and must answer before anything of a body is read. Everything
it refuses is a problem (`headwater.http.problems`).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import logging
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from headwater.errors import HeadwaterError
from headwater.http.buckets import Buckets
from headwater.http.keys import Caller, KeyRing
from headwater.http.metrics import Metrics
from headwater.http.problems import MEDIA_TYPE, Refused
from headwater.http_config import HttpConfig, share_of_worker

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = ("/health/", "/api/health/", "/problems/")
_UNCOUNTED = ("/health/", "/api/health/", "/metrics", "/live/stream")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
ANYONE = Caller("anyone", "admin")
"""Who calls a server without keys: it listens on a loopback address only."""


class Intake:
    """Wraps an ASGI application."""

    def __init__(self, app: App, keys: KeyRing, config: HttpConfig, metrics: Metrics, buckets: Buckets) -> None:
        self._app = app
        self._keys = keys
        self._config = config
        self._metrics = metrics
        self._max_body = config.max_body_kib * 1024
        self._max_concurrent = share_of_worker(config.max_concurrent, config)
        self._in_progress = 0
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's life."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        # Ids stand in paths percent-encoded, so that an id may hold a slash; they are decoded by who wants them.
        scope["path"] = scope["raw_path"].decode("ascii", "replace")
        started = time.perf_counter()
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), _NOSNIFF]
            await send(message)

        counting = not scope["path"].startswith(_UNCOUNTED)
        try:
            self._admit(scope, counting)
        except Refused as refused:
            await respond(refused, counted)
            self._metrics.request(scope, status, time.perf_counter() - started)
            return
        self._in_progress += counting
        try:
            await self._app(scope, self._bounded(scope, receive), counted)
        finally:
            self._in_progress -= counting
            self._metrics.request(scope, status, time.perf_counter() - started)

    def _admit(self, scope: Scope, counting: bool) -> None:
        """Raise `Refused`, or note the caller in the scope's state."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        path: str = scope["path"]
        if counting and self._in_progress >= self._max_concurrent:
            raise Refused("overloaded", f"{self._in_progress} requests are in progress already")
        asks_first = scope["method"] == "OPTIONS" and b"access-control-request-method" in headers
        caller = self._caller(headers, path, asks_first and bool(self._config.cors_origins))
        if self._config.rate_per_key > 0 and counting:
            address = (scope.get("client") or ("-",))[0]
            self._spend(caller.name if self._keys.required and caller.name != "-" else f"@{address}")
        length = headers.get(b"content-length")
        if length is not None and (not length.isdigit() or int(length) > self._max_body):
            raise self._too_large(length.decode("latin-1")[:20])
        scope.setdefault("state", {})["caller"] = caller

    def _caller(self, headers: dict[bytes, bytes], path: str, asks_first: bool) -> Caller:
        """`asks_first`: a browser that asks whether a page of another origin may call; it sends no key with that."""
        if not self._keys.required:
            self._check_host(headers.get(b"host", b"").decode("latin-1"))
            return ANYONE
        presented = _presented(headers)
        if path.startswith(_OPEN) or asks_first:
            return Caller("-", "reader")
        if presented is None:
            raise Refused("missing-key", "No API key was sent; allowed: X-API-Key, Authorization: Bearer or Basic")
        try:
            caller = self._keys.caller(presented)
        except HeadwaterError as err:  # the file of keys was broken while the server ran: nobody is let in
            logger.error("%s", err.message)
            raise Refused("store-error", "The keys cannot be read; the server's log says why") from err
        if caller is None:
            raise Refused("wrong-key", "The API key is not one of this server's")
        return caller

    def _check_host(self, host: str) -> None:
        """Without keys any page in the operator's browser could reach a loopback server by a name that it made point
        here; such a page cannot choose the Host header."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if is_loopback(name) or name in self._config.hosts:
            return
        raise Refused("wrong-host", f"Host {host[:80]!r} is not a name of this server", host=host[:80])

    def _spend(self, who: str) -> None:
        """A token for each request of a key, or of an address without keys."""
        wait = self._buckets.spend(who)
        if wait is None:
            return
        if math.isinf(wait):
            raise Refused("rate-limited", "Too many callers at once")
        told = f"More than {self._config.rate_per_key:g} requests a second"
        raise Refused("rate-limited", told, retry_after=max(1, math.ceil(wait)))

    def _too_large(self, length: str) -> Refused:
        return Refused("too-large", f"body of {length} bytes; allowed: at most {self._max_body}", limit=self._max_body)

    def _bounded(self, scope: Scope, receive: Receive) -> Receive:
        """`receive` that refuses a body that is too large or too slow."""
        taken = 0
        deadline = asyncio.get_running_loop().time() + self._config.body_timeout_s
        whole = False

        async def bounded() -> Message:
            nonlocal taken, whole
            if whole:  # what comes now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as err:
                raise Refused("body-timeout", f"not whole after {self._config.body_timeout_s:g} s") from err
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                whole = not message.get("more_body", False)
                if taken > self._max_body:
                    raise self._too_large(f"more than {self._max_body}")
            return message

        return bounded


def _presented(headers: dict[bytes, bytes]) -> str | None:
    """The key that a request carries: X-API-Key, a bearer token, or the password of Basic (for browsers)."""
    own = headers.get(b"x-api-key")
    if own is not None:
        return own.decode("latin-1")
    scheme, _, value = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return None


def is_loopback(name: str) -> bool:
    """Whether only this machine can reach a host name or address."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


async def respond(refused: Refused, send: Send) -> None:
    """Answer a request with a problem."""
    body = refused.body()
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **refused.headers()}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def raw_response(refused: Refused) -> bytes:
    """A problem as the bytes of an HTTP/1.1 response that ends its connection."""
    body = refused.body()
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), "connection": "close"}
    lines = [f"HTTP/1.1 {refused.status} {HTTPStatus(refused.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in {**headers, **refused.headers()}.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
