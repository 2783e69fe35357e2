"""The suite of `SnapshotStore`, on the backends that this package has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.snapshot_store import FileSnapshotsContract, SnapshotStoreContract
from headwater.actors.object_snapshots import ObjectSnapshots
from headwater.actors.snapshots import DirectorySnapshots, SnapshotStore
from headwater.events.nats_server import NatsServer
from nats_server import GENERATION, fresh_namespace, nats_server, options

__all__ = ["nats_server"]


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


class TestObjectSnapshots(SnapshotStoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, nats_server: NatsServer) -> Iterator[None]:
        self.server = nats_server
        self.places: dict[Path, str] = {}
        self.stores: list[ObjectSnapshots] = []
        yield
        for store in self.stores:
            store.close()

    def open_store(self, place: Path) -> ObjectSnapshots:
        namespace = self.places.setdefault(place, fresh_namespace())
        self.stores.append(ObjectSnapshots(options(self.server), namespace, GENERATION))
        return self.stores[-1]
