"""`[http]`: where the HTTP gateway listens and what it bears.

Decoded by `headwater.config`. This process only: nothing of it is visible in state or digest, and nothing here imports
a web framework.
"""

from __future__ import annotations

import re

from headwater.scenario import Strict, in_range, refuse

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?")
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|\[[0-9a-fA-F:]+\]")


class HttpConfig(Strict, frozen=True, kw_only=True):
    """`[http]`: what `headwater serve --http` does when its options do not say otherwise. Limits hold for all of
    its web workers together."""

    host: str = "127.0.0.1"
    """Address to listen on. Another than a loopback one needs keys."""
    port: int = 8088
    workers: int = 1
    """Web worker processes before the one engine; 1: the engine's own process answers."""
    hosts: tuple[str, ...] = ()
    """Names beside the loopback ones that a request may call this server while it has no keys."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call `/v1` from a browser; none: no CORS headers at all."""
    tls_cert: str = ""
    """File of the certificate and its chain, PEM; empty: plain HTTP, for a proxy in front or this machine alone."""
    tls_key: str = ""
    """File of the certificate's key, PEM, without a passphrase."""
    max_body_kib: int = 2048
    max_batch: int = 1000
    """Events or items of one request."""
    max_concurrent: int = 256
    """Requests in progress; further ones are told to come back (503)."""
    max_connections: int = 2048
    rate_per_key: float = 0.0
    """Requests a second that each key (or address, without keys) may make in the long run; 0: no limit."""
    rate_burst: int = 100
    """Requests that may come at once before `rate_per_key` counts."""
    header_timeout_s: float = 10.0
    """A connection that has not sent its whole head by then is closed."""
    body_timeout_s: float = 20.0
    """A body that is not whole by then is refused (408)."""
    keep_alive_s: float = 75.0
    shutdown_s: float = 10.0
    """Requests in progress are given this long when the server stops."""


def share_of_worker(limit: int, http: HttpConfig) -> int:
    """What one worker may have of what all together may have, rounded up."""
    return -(-limit // http.workers)


def validate_http(where: str, http: HttpConfig) -> None:
    """Check ranges. Raises `ConfigError` for the first broken rule."""
    if not http.host or len(http.host) > 253 or any(c.isspace() or c in "/@" for c in http.host):
        refuse(where, "http.host", http.host, "a host name or address")
    in_range(where, "http.port", http.port, 0, 65535)
    in_range(where, "http.workers", http.workers, 1, 64)
    for name in http.hosts:
        if not _HOST.fullmatch(name):
            refuse(where, "http.hosts", name, "host names without port")
    for origin in http.cors_origins:
        if not _ORIGIN.fullmatch(origin):
            refuse(where, "http.cors_origins", origin, "origins such as https://shop.example")
    for key, other in (("tls_cert", http.tls_key), ("tls_key", http.tls_cert)):
        if other and not getattr(http, key):
            refuse(where, f"http.{key}", "", "a file, where the other of tls_cert and tls_key is given")
    in_range(where, "http.max_body_kib", http.max_body_kib, 1, 65_536)
    in_range(where, "http.max_batch", http.max_batch, 1, 10_000)
    in_range(where, "http.max_concurrent", http.max_concurrent, 1, 65_536)
    in_range(where, "http.max_connections", http.max_connections, 1, 65_536)
    in_range(where, "http.rate_per_key", http.rate_per_key, 0, 1e6)
    in_range(where, "http.rate_burst", http.rate_burst, 1, 1_000_000)
    for key in ("header_timeout_s", "body_timeout_s", "keep_alive_s", "shutdown_s"):
        in_range(where, f"http.{key}", getattr(http, key), 0.1, 3600)
