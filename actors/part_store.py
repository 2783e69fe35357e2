"""Snapshots that many hosts write: each its own parts, readable by all.

Hosts of one layout (the same parts) share a folder, in which `DirectorySnapshots` keeps whole positions. Because hosts
write at the same positions, the union of the folders at one position holds every part, and a cluster of another size
can begin from it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from headwater.actors.snapshots import DirectorySnapshots
from headwater.errors import StoreError


class PartStore(Protocol):
    """Snapshots of parts. Its calls block; hosts make them on a thread."""

    def positions(self) -> list[int]:
        """Positions at which anything is stored, newest first."""
        ...

    def load(self, position: int, needed: Collection[str]) -> list[tuple[str, bytes]]:
        """Of the parts that are needed those that are stored for a position, each once."""
        ...

    def save(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """Store parts of a position; of this layout's positions the `keep` newest stay."""
        ...


class DirectoryParts:
    """Parts as files `DIR/<layout>/<position>/<part>.hws`, for hosts of one machine or a shared file system."""

    def __init__(self, directory: Path, layout: str) -> None:
        self._directory = directory
        self._own = DirectorySnapshots(directory / layout)

    def positions(self) -> list[int]:
        """See `PartStore.positions`."""
        return sorted({p for store in self._layouts() for p in store.positions()}, reverse=True)

    def _layouts(self) -> list[DirectorySnapshots]:
        if not self._directory.is_dir():
            return []
        return [DirectorySnapshots(entry) for entry in sorted(self._directory.iterdir()) if entry.is_dir()]

    def load(self, position: int, needed: Collection[str]) -> list[tuple[str, bytes]]:
        """See `PartStore.load`. Raises `StoreError` if a file cannot be read."""
        parts: dict[str, bytes] = {}
        for store in [self._own, *self._layouts()]:
            folder = store.path(position)
            for name in needed:
                file = folder / f"{name}.hws"
                if name not in parts and file.exists():
                    try:
                        parts[name] = file.read_bytes()
                    except OSError as err:
                        raise StoreError(f"{file}: {err}", path=str(file)) from err
        return list(parts.items())

    def save(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """See `PartStore.save`. Raises `StoreFull`, `StoreError`."""
        return self._own.save(position, parts, keep)
