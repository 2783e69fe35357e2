"""Snapshots: one file per part, a folder per position.

One owner of everything saves all parts at once: the folder is written under a temporary name, synced and renamed, and
renamed again before it is deleted, so a folder with a position's name is complete. Several hosts, each with parts of
its own, save theirs beside each other in `<position>.parts`, each file whole or not at all; who looks for parts is told
the positions at which all of them are. Files carry checksums of their own, which are checked when they are restored.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from headwater.errors import StoreError, StoreFull
from headwater.events.sync import sync_directory, write_whole

_BASE = "base"
_NAME = re.compile(r"^\d{20}$")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SnapshotStore(Protocol):
    """Where snapshots are kept."""

    def save(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """Store all parts of one position, then drop all but the `keep` newest. A name for people to read."""
        ...

    def save_parts(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """Store some parts of one position beside those that others store there, each part whole or not at all. Then
        drop these parts at all but the `keep` newest positions at which all of them are. A name for people to read.

        A part has one owner at a time; control and catalogue, which every host has alike, may be stored by several.
        """
        ...

    def positions(self, parts: Collection[str] | None = None) -> list[int]:
        """Positions of snapshots that were stored whole; of `parts`: those at which all of these are, by whomever they
        were stored. Newest first."""
        ...

    def load(self, position: int, parts: Collection[str] | None = None) -> list[tuple[str, bytes]]:
        """All parts stored for a position, or those of `parts` that are there."""
        ...

    def saved_at(self, position: int, parts: Collection[str] | None = None) -> float | None:
        """When the first of these parts was stored, in seconds since 1970 (UTC); `None` if none of them is there."""
        ...


class DirectorySnapshots:
    """Snapshots as folders `DIR/<position>/<part>.hws` and `DIR/<position>.parts/<part>.hws`."""

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
            raise _not_written(final, err) from err
        return str(final)

    def pin(self, position: int) -> None:
        """Keep a position, whatever else is dropped, until another one is pinned: a trimmed log begins there.

        Durable when it returns. Raises `OSError`."""
        write_whole(self._directory / _BASE, str(position).encode())

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

    def save_parts(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """See `SnapshotStore.save_parts`. Raises `StoreFull` or `StoreError`; parts that were written stay."""
        folder = self._parts_path(position)
        names = [name for name, _ in parts]
        try:
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                sync_directory(self._directory)
            for name, content in parts:
                # A part has one owner, so what lies under this name was left by a process that died of it.
                temporary = folder / f".writing-{name}"
                _write_synced(temporary, content)
                temporary.rename(folder / f"{name}.hws")
            sync_directory(folder)
            for old in self.positions(names)[keep:]:
                self._drop_parts(old, names)
        except OSError as err:
            raise _not_written(folder, err) from err
        return str(folder)

    def _drop_parts(self, position: int, names: Sequence[str]) -> None:
        folder = self._parts_path(position)
        for name in names:
            (folder / f"{name}.hws").unlink(missing_ok=True)
            (folder / f".writing-{name}").unlink(missing_ok=True)
        if folder.is_dir() and not any(folder.iterdir()):
            with contextlib.suppress(OSError):  # another host writes there in this moment
                folder.rmdir()

    def _parts_path(self, position: int) -> Path:
        return self._directory / f"{position:020d}.parts"

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

    def positions(self, parts: Collection[str] | None = None) -> list[int]:
        """See `SnapshotStore.positions`."""
        if not self._directory.is_dir():
            return []
        names = [entry.name for entry in self._directory.iterdir()]
        if parts is None:
            found = {int(name) for name in names if _NAME.match(name)}
        else:
            some = {int(name.removesuffix(".parts")) for name in names if _NAME.match(name.removesuffix(".parts"))}
            found = {position for position in some if self._files(position, parts).keys() >= set(parts)}
        return sorted(found, reverse=True)

    def _files(self, position: int, parts: Collection[str] | None) -> dict[str, Path]:
        """The files of a position by part."""
        folders = (self._parts_path(position), self.path(position))
        files = {file.stem: file for folder in folders for file in sorted(folder.glob("[!.]*.hws"))}
        if parts is None:
            whole = self.path(position).is_dir()
            return {name: file for name, file in files.items() if not whole or file.parent == self.path(position)}
        return {name: file for name, file in files.items() if name in parts}

    def load(self, position: int, parts: Collection[str] | None = None) -> list[tuple[str, bytes]]:
        """See `SnapshotStore.load`. Raises `StoreError` if a file cannot be read."""
        try:
            return [(name, file.read_bytes()) for name, file in sorted(self._files(position, parts).items())]
        except OSError as err:
            raise StoreError(f"{self.path(position)}: {err}", path=str(self.path(position))) from err

    def saved_at(self, position: int, parts: Collection[str] | None = None) -> float | None:
        """See `SnapshotStore.saved_at`. Raises `StoreError` if a file cannot be looked at."""
        try:
            return min((file.stat().st_mtime for file in self._files(position, parts).values()), default=None)
        except OSError as err:
            raise StoreError(f"{self.path(position)}: {err}", path=str(self.path(position))) from err


def _not_written(path: Path, err: OSError) -> StoreError:
    kind = StoreFull if err.errno in _FULL else StoreError
    return kind(f"{path}: the snapshot could not be written: {err}", path=str(path))


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
