"""Snapshots: one file per part, a folder per position, written whole or not at all.

A folder is written under a temporary name, synced and renamed, and renamed again before it is deleted, so a folder with
a position's name is complete; its files carry checksums of their own, which are checked when it is restored.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from headwater.errors import StoreError, StoreFull
from headwater.events.sync import sync_directory

_BASE = "base"
_NAME = re.compile(r"^\d{20}$")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SnapshotStore(Protocol):
    """Where snapshots are kept."""

    def save(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """Store all parts of one position, then drop all but the `keep` newest. A name for people to read."""
        ...

    def positions(self) -> list[int]:
        """Positions of stored snapshots, newest first."""
        ...

    def load(self, position: int) -> list[tuple[str, bytes]]:
        """All parts stored for a position."""
        ...


class DirectorySnapshots:
    """Snapshots as folders `DIR/<position>/<part>.hws`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """See `SnapshotStore.save`. Raises `StoreFull` or `StoreError`; nothing half written remains visible."""
        final = self.path(position)
        temporary = self._directory / f".writing-{position:020d}-{os.getpid()}"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            # There is one writer, so whatever is being written here was left by a process that died of it.
            for left in self._directory.glob(".*-*"):
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir()
            for name, content in parts:
                _write_synced(temporary / f"{name}.hws", content)
            sync_directory(temporary)
            self._drop(position)
            temporary.rename(final)
            sync_directory(self._directory)
            for old in self.positions()[keep:]:
                if old != self.pinned():
                    self._drop(old)
        except OSError as err:
            shutil.rmtree(temporary, ignore_errors=True)
            kind = StoreFull if err.errno in _FULL else StoreError
            raise kind(f"{final}: the snapshot could not be written: {err}", path=str(final)) from err
        return str(final)

    def pin(self, position: int) -> None:
        """Keep a position, whatever else is dropped, until another one is pinned: a trimmed log begins there.

        Durable when it returns. Raises `OSError`."""
        _write_synced(self._directory / f".{_BASE}", str(position).encode())
        (self._directory / f".{_BASE}").replace(self._directory / _BASE)
        sync_directory(self._directory)

    def pinned(self) -> int:
        """The position that is pinned, 0 for none."""
        try:
            return int((self._directory / _BASE).read_bytes())
        except (FileNotFoundError, ValueError):
            return 0

    def drop_before(self, position: int) -> None:
        """Delete the snapshots before a position: a log that was trimmed there does not go on from them."""
        for old in self.positions():
            if old < position:
                self._drop(old)

    def _drop(self, position: int) -> None:
        """Delete a position's folder, if there is one: first its name, so that nobody takes the rest for a snapshot."""
        path = self.path(position)
        if path.exists():
            nameless = path.with_name(f".dropped-{path.name}")
            path.rename(nameless)
            shutil.rmtree(nameless, ignore_errors=True)

    def path(self, position: int) -> Path:
        """Folder of a position."""
        return self._directory / f"{position:020d}"

    def positions(self) -> list[int]:
        """See `SnapshotStore.positions`."""
        if not self._directory.is_dir():
            return []
        names = (entry.name for entry in self._directory.iterdir() if _NAME.match(entry.name))
        return sorted((int(name) for name in names), reverse=True)

    def load(self, position: int) -> list[tuple[str, bytes]]:
        """See `SnapshotStore.load`. Raises `StoreError` if a file cannot be read."""
        try:
            return [(file.stem, file.read_bytes()) for file in sorted(self.path(position).glob("*.hws"))]
        except OSError as err:
            raise StoreError(f"{self.path(position)}: {err}", path=str(self.path(position))) from err


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
