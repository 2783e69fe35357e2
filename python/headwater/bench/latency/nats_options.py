"""Where a cluster is, and how it is asked: what the load process and the floors' services are started with."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import msgspec

from headwater.bench.latency.asking import Asking
from headwater.errors import InvalidInput

_DEFAULT_PORT = 4222


class NatsOptions(Asking, kw_only=True):
    """`verbs`: those that will be asked for. `pairs`: a JSON file of users and items instead of the target's log.
    `owners`: ask the host that owns the user instead of the plain subject. `sdk`: track with `headwater.connect`,
    which packs what is under way into frames, instead of a request an event. `floors`: the prefix under which the
    floors' services listen, "" without them. `leg_bytes`: request and reply between the hosts of the no-op scatter,
    where they cannot be seen on the server."""

    url: str
    namespace: str = "default"
    verbs: list[str] = []
    pairs: str | None = None
    owners: bool = False
    sdk: bool = False
    floors: str = ""
    leg_bytes: tuple[int, int] = (1024, 8192)


class Address(msgspec.Struct, frozen=True):
    """A NATS server on this machine. `shown`: without credentials."""

    url: str
    shown: str
    port: int


def is_address(target: str) -> bool:
    """Whether a target is an address; otherwise it is a directory."""
    return "://" in target


def loopback_address(url: str) -> Address:
    """The server of a `nats://` or `tls://` address. Raises `InvalidInput` unless it is this very machine: load on
    another one is for its owner to make."""
    rule = "nats://127.0.0.1:PORT, nats://[::1]:PORT or nats://localhost:PORT, with user:password@ or token@ if needed"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
    except ValueError:
        host, port = "", 0
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local or parts.scheme not in ("nats", "tls"):
        shown = url.rpartition("@")[2][:80]
        raise InvalidInput(f"target = {shown!r}; allowed: {rule}", field="target", value=shown, rule=rule)
    bracketed = f"[{host}]" if ":" in host else host
    return Address(url, f"{parts.scheme}://{bracketed}:{port}", port)
