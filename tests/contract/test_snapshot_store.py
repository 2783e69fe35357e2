"""The suite of `SnapshotStore`, on the backends that this package has."""

from __future__ import annotations

from pathlib import Path

from contract.snapshot_store import FileSnapshotsContract
from headwater.actors.snapshots import DirectorySnapshots, SnapshotStore


class TestDirectorySnapshots(FileSnapshotsContract):
    def open_store(self, place: Path) -> SnapshotStore:
        return DirectorySnapshots(place)

    def files(self, place: Path, position: int) -> list[Path]:
        return sorted(DirectorySnapshots(place).path(position).iterdir())

    def code_to_open(self, place: Path) -> str:
        return (
            "from pathlib import Path; from headwater.actors.snapshots import DirectorySnapshots; "
            f"store = DirectorySnapshots(Path({str(place)!r}))"
        )
