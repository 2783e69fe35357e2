"""How to reach a NATS server, and the one place that dials one.

A connection that was made once comes back by itself: it is tried again every `reconnect_wait` seconds, for ever, with
its subscriptions; meanwhile requests wait for their own time limit and then raise `Unavailable`. The first connection
is different: nobody is served yet, so whoever dials is told within `connect_timeout`.

Secrets stand in files or environment-made options, and never in a repr, a log line or an error.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from headwater.errors import AccessDenied, ConfigError, HeadwaterError, Unavailable

logger = logging.getLogger(__name__)

RETRY_AFTER_MS = 1_000
"""What `Unavailable` tells callers when nothing better is known: reconnecting takes about that long."""

_DENIED = re.compile(r"permissions violation for (publish|subscription) to \"([^\"]+)\"")
_SECRETS = ("token", "password")
# What may wait for the socket. Beyond it, publishing waits; nats-py's own 2 MiB would stall a batch of large frames.
_WRITE_BUFFER = 16 << 20


class NatsOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the servers are, who asks, and how long to wait (seconds). Files are paths as the process sees them."""

    url: str = "nats://127.0.0.1:4222"
    """One URL, or several of one cluster, separated by commas. `tls://` asks for TLS."""
    name: str = "headwater"
    """Shown in the server's list of connections."""
    token: str = ""
    user: str = ""
    password: str = ""
    nkey_seed_file: str = ""
    creds_file: str = ""
    """A user JWT with its seed, as `nsc` writes it."""
    tls_ca: str = ""
    """Certificates to trust instead of the system's."""
    tls_cert: str = ""
    tls_key: str = ""
    """With `tls_cert`: what this client shows of itself."""
    tls_hostname: str = ""
    """The name in the server's certificate, where it is not the URL's."""
    inbox_prefix: str = "_INBOX"
    """Where answers are awaited. Users with narrow permissions each have their own."""
    connect_timeout: float = 5.0
    reconnect_wait: float = 0.25
    request_timeout: float = 5.0
    """For one request to the server."""
    monitor_url: str = ""
    """The server's monitoring address, `http://host:8222`, to ask whether it syncs; see `jetstream_stream`."""

    def __post_init__(self) -> None:
        for url in self.servers:
            parts = urlsplit(url)
            if parts.scheme not in ("nats", "tls") or not parts.hostname:
                raise ConfigError(
                    f"nats url {redacted(url)!r}; allowed: nats://HOST:PORT or tls://HOST:PORT, several with commas",
                    key="url",
                    value=redacted(url),
                )
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("tls_cert and tls_key go together", key="tls_cert", value=self.tls_cert)
        if bool(self.user) != bool(self.password):
            raise ConfigError("user and password go together", key="user", value=self.user)
        ways = [bool(w) for w in (self.token, self.user, self.nkey_seed_file, self.creds_file)]
        if sum(ways) > 1:
            raise ConfigError(
                "more than one way to log in; allowed: one of token, user and password, nkey_seed_file, creds_file",
                key="token",
                value=None,
            )
        for key in ("connect_timeout", "reconnect_wait", "request_timeout"):
            if not 0 < getattr(self, key) <= 3600:
                raise ConfigError(
                    f"{key} = {getattr(self, key)}; allowed: seconds above 0, at most 3600",
                    key=key,
                    value=getattr(self, key),
                )

    @property
    def servers(self) -> list[str]:
        """The URLs, one by one."""
        return [url.strip() for url in self.url.split(",")]

    @property
    def shown(self) -> str:
        """The URLs without what they may hold of secrets."""
        return ",".join(map(redacted, self.servers))

    def __repr__(self) -> str:
        told = [f"url={self.shown!r}"]
        for field, default in zip(self.__struct_fields__[1:], self.__struct_defaults__[1:], strict=True):
            value = getattr(self, field)
            if value != default:
                told.append(f"{field}={'***' if field in _SECRETS else repr(value)}")
        return f"NatsOptions({', '.join(told)})"


def redacted(url: str) -> str:
    """A URL without user, password or token."""
    return re.sub(r"//[^/@]*@", "//***@", url)


class Hooks(NamedTuple):
    """What a connection tells its owner, beside the log."""

    lost: Callable[[], None] = lambda: None
    """The connection broke; answers that were awaited will not come."""
    back: Callable[[], None] = lambda: None
    """It is there again."""
    denied: Callable[[str, str], None] = lambda verb, subject: None
    """The server does not permit `verb` ("publish" or "subscription") to `subject`; both in small letters."""


class _Connection:
    """What nats-py tells of a connection, while it is dialled and afterwards."""

    def __init__(self, options: NatsOptions, hooks: Hooks, error_logger: logging.Logger) -> None:
        self._options = options
        self._hooks = hooks
        self._logger = error_logger
        self.dialling: asyncio.Future[Any] | None = None
        self.refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the server refused the credentials."""
        self.latest: BaseException | None = None

    async def on_error(self, err: Exception) -> None:
        from nats.errors import AuthorizationError

        self.latest = err
        denied = isinstance(err, AuthorizationError) or "authoriz" in str(err).lower()
        if denied and not self.refused.done():
            self.refused.set_result(None)
        self._logger.warning("nats %s: %s", self._options.shown, _said(err))
        if (denial := _DENIED.search(str(err).lower())) is not None:
            self._hooks.denied(denial[1], denial[2])

    async def on_disconnect(self) -> None:
        if self.dialling is not None and self.dialling.done() and self.dialling.result().is_closed:
            return  # as its owner wished
        self._hooks.lost()
        self._logger.warning("nats %s: the connection was lost; reconnecting", self._options.shown)

    async def on_reconnect(self) -> None:
        self._logger.info("nats %s: connected again", self._options.shown)
        self._hooks.back()

    def failure(self, denied: bool) -> HeadwaterError:
        """Why it was not made."""
        shown, waited = self._options.shown, self._options.connect_timeout
        why = f"no answer within {waited} s" if self.latest is None else _said(self.latest)
        if denied:
            return AccessDenied(f"nats {shown} refuses these credentials: {why}", url=shown)
        return Unavailable(
            f"nats {shown} cannot be reached: {why}; is the server running there?",
            url=shown,
            retry_after_ms=RETRY_AFTER_MS,
        )


async def connect(options: NatsOptions, *, hooks: Hooks | None = None, error_logger: logging.Logger = logger) -> Any:
    """A connected `headwater.events.direct_client.DirectClient`, which reconnects by itself.

    Raises `ConfigError` (a file that is not there or does not hold what it should), `AccessDenied` (credentials
    refused), `Unavailable` (nobody answers within `connect_timeout`).
    """
    from nats.errors import Error, InvalidUserCredentialsError

    from headwater.events.direct_client import dial

    settings, made = _settings(options), _Connection(options, hooks or Hooks(), error_logger)
    told = {"error_cb": made.on_error, "disconnected_cb": made.on_disconnect, "reconnected_cb": made.on_reconnect}
    dialling = made.dialling = asyncio.ensure_future(dial(**settings, **told))
    try:
        awaited = {dialling, made.refused}
        await asyncio.wait(awaited, timeout=options.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        if dialling.done():
            return dialling.result()
    except (OSError, ValueError, InvalidUserCredentialsError, Error) as err:
        made.latest = err
    finally:
        if not dialling.done():
            dialling.cancel()
            await asyncio.gather(dialling, return_exceptions=True)
        denied = made.refused.done()
        made.refused.cancel()
    raise made.failure(denied)


def _said(err: BaseException) -> str:
    return str(err) or type(err).__name__


def _settings(options: NatsOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "servers": options.servers,
        "name": options.name,
        "connect_timeout": options.connect_timeout,
        "reconnect_time_wait": options.reconnect_wait,
        "max_reconnect_attempts": -1,
        "ping_interval": 10,
        "max_outstanding_pings": 2,
        "pending_size": _WRITE_BUFFER,
        "inbox_prefix": options.inbox_prefix,
    }
    if options.token:
        settings["token"] = options.token
    if options.user:
        settings |= {"user": options.user, "password": options.password}
    if options.nkey_seed_file:
        seed = _text(options.nkey_seed_file, "nkey_seed_file")
        if not re.fullmatch(r"SU[A-Z2-7]{56}", seed):
            raise ConfigError(
                f"{options.nkey_seed_file} does not hold a user's nkey seed (SU...)",
                key="nkey_seed_file",
                value=options.nkey_seed_file,
            )
        settings["nkeys_seed_str"] = seed
    if options.creds_file:
        if "USER NKEY SEED" not in _text(options.creds_file, "creds_file"):
            raise ConfigError(
                f"{options.creds_file} is no credentials file (a user JWT and its nkey seed)",
                key="creds_file",
                value=options.creds_file,
            )
        settings["user_credentials"] = options.creds_file
    if options.tls_ca or options.tls_cert or any(url.startswith("tls://") for url in options.servers):
        settings["tls"] = _tls(options)
        if options.tls_hostname:
            settings["tls_hostname"] = options.tls_hostname
    return settings


def _text(path: str, key: str) -> str:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"{key}: {path} cannot be read: {err}", key=key, value=path) from err


def _tls(options: NatsOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=options.tls_ca or None)
        if options.tls_cert:
            context.load_cert_chain(options.tls_cert, options.tls_key)
    except (OSError, ssl.SSLError) as err:
        raise ConfigError(
            f"the TLS files cannot be used: {err} (tls_ca {options.tls_ca!r}, tls_cert {options.tls_cert!r})",
            key="tls_ca",
            value=options.tls_ca,
        ) from err
    return context
