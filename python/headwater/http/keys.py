"""API keys: who may call, and in which role. Only hashes are kept, in `DIR/http-keys.json`.

A key is 32 random bytes, so one SHA-256 of it cannot be turned round and needs no salt. Roles hold one another:
`reader` asks, `writer` also writes, `admin` also sees the live page, audits and forgets users.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from pathlib import Path
from typing import Literal, get_args

import msgspec

from headwater.errors import ConfigError, StoreError
from headwater.events.sync import write_whole

Role = Literal["reader", "writer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
KEYS_FILE = "http-keys.json"
MAX_KEYS = 1000
_PREFIX = "hw_"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_CHECK_EVERY_S = 1.0


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One key: its name, what it may do, the hex SHA-256 of it, and when it was made (UTC ms)."""

    name: str
    role: Role
    sha256: str
    created: int = 0


class Caller(msgspec.Struct, frozen=True):
    """Who makes a request."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this role holds the other."""
        return ROLES.index(self.role) >= ROLES.index(role)


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_keys(directory: Path) -> list[Key]:
    """The keys of a directory; none without a file. Raises `ConfigError` for a file that is not one of keys."""
    path = directory / KEYS_FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as err:
        raise StoreError(f"{path}: cannot be read: {err.strerror}", path=str(path)) from err
    try:
        keys = msgspec.json.decode(raw, type=list[Key])
    except msgspec.DecodeError as err:
        rule = "what `headwater key add` writes"
        raise ConfigError(f"{path}: {err}; allowed: {rule}", key=KEYS_FILE, rule=rule) from err
    for key in keys:
        if not re.fullmatch("[0-9a-f]{64}", key.sha256):
            rule = "64 hex digits"
            raise ConfigError(f"{path}: sha256 of {key.name!r:.80}; allowed: {rule}", key=KEYS_FILE, rule=rule)
    return keys


def add_key(directory: Path, name: str, role: Role) -> str:
    """Make a key, keep its hash, and return it: nobody can tell it again. Raises `ConfigError` for a name in use."""
    if not _NAME.fullmatch(name):
        rule = "1 to 64 letters, digits, '_', '.' or '-', the first a letter or digit"
        raise ConfigError(f"name = {name!r:.80}; allowed: {rule}", key="name", value=name[:80], rule=rule)
    keys = read_keys(directory)
    if any(key.name == name for key in keys) or len(keys) >= MAX_KEYS:
        rule = f"another name, at most {MAX_KEYS} keys; `headwater key remove` takes one away"
        raise ConfigError(f"name = {name!r}: there is such a key, or there are too many; allowed: {rule}", key="name")
    secret = _PREFIX + secrets.token_urlsafe(32)
    _write(directory, [*keys, Key(name, role, hash_key(secret), time.time_ns() // 1_000_000)])
    return secret


def remove_key(directory: Path, name: str) -> None:
    """Take a key away; a running server notices within a second. Raises `ConfigError` for an unknown name."""
    keys = read_keys(directory)
    left = [key for key in keys if key.name != name]
    if len(left) == len(keys):
        rule = ", ".join(key.name for key in keys) or "none: there are no keys"
        raise ConfigError(f"name = {name!r:.80}: no such key; allowed: {rule}", key="name", value=name[:80], rule=rule)
    _write(directory, left)


def _write(directory: Path, keys: list[Key]) -> None:
    path = directory / KEYS_FILE
    try:
        write_whole(path, msgspec.json.format(msgspec.json.encode(keys), indent=1) + b"\n", 0o600)
    except OSError as err:
        raise StoreError(f"{path}: cannot be written: {err.strerror}", path=str(path)) from err


class KeyRing:
    """The keys in force; a changed file is read again within a second.

    Once a server was started with keys, it never falls back to none: with an empty or broken file it answers nobody.
    """

    def __init__(self, directory: Path | None, required: bool | None = None) -> None:
        """`required` says whether a key is needed; by default whether there are any. A worker is told what its parent
        found: one that starts late must not find an emptied file and answer everybody."""
        self._directory = directory
        self._keys = [] if directory is None else read_keys(directory)
        self.required = bool(self._keys) if required is None else required
        self._stamp = self._stat()
        self._checked = time.monotonic()

    def caller(self, presented: str) -> Caller | None:
        """Who a key belongs to. Compares with every key, in constant time each."""
        self._refresh()
        digest = hash_key(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return None if found is None else Caller(found.name, found.role)

    def _stat(self) -> tuple[int, int, int] | None:
        if self._directory is None:
            return None
        try:
            stat = (self._directory / KEYS_FILE).stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._checked < _CHECK_EVERY_S or self._directory is None:
            return
        self._checked = now
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = read_keys(self._directory)
        except (ConfigError, StoreError):
            self._keys = []
            raise
