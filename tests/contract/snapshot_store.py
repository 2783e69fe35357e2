"""The suite that every `SnapshotStore` passes. A backend subclasses it and says how a store is opened.

* `SnapshotStoreContract`: what holds for every backend.
* `FileSnapshotsContract`: and for one that keeps each part in a file, whose failures a test can make.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headwater.actors.recovery import recover
from headwater.actors.snapshots import SnapshotStore
from headwater.core import new_core, restore_core
from headwater.errors import LogTailLost, SnapshotInvalid, StoreError, StoreFull
from headwater.events.memory_log import MemoryLog
from replay.golden_log import golden_config
from replay.make_golden import read_log, read_state

Parts = list[tuple[str, bytes]]
LOG = read_log()


def parts(mark: str) -> Parts:
    """Parts that can be told from another snapshot's."""
    return [
        ("control", mark.encode()),
        ("partition-00", bytes(1000)),
        ("shard-0", b""),
        ("shard-1", mark.encode() * 99),
    ]


def folded(position: int) -> Parts:
    """The parts of a real state: the golden log up to a position."""
    core = new_core(golden_config(), 1)
    core.apply(1, LOG[:position])
    return core.snapshot()[1]


def full_log() -> MemoryLog:
    """The golden log."""
    log = MemoryLog()
    log.append([frame for frame in LOG if len(frame) > 52 and frame[:3] == b"HWF"])
    return log


class SnapshotStoreContract:
    """What holds for every store. `open_store` opens one at a place that is empty at first."""

    def open_store(self, place: Path) -> SnapshotStore:
        """A store, seeing what earlier ones saved at the same place."""
        raise NotImplementedError

    def test_an_empty_store_has_no_positions(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        assert store.positions() == []
        assert store.load(7) == []

    def test_what_was_saved_is_loaded(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        assert "42" in store.save(42, parts("a"), 2)
        assert store.positions() == [42]
        assert sorted(store.load(42)) == sorted(parts("a"))
        assert sorted(self.open_store(tmp_path).load(42)) == sorted(parts("a"))
        assert store.load(41) == []

    def test_it_tells_when_a_snapshot_was_saved(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        began = time.time()
        store.save(42, parts("a"), 2)
        store.save_parts(43, parts("b")[:2], 2)
        ended = time.time()
        other = self.open_store(tmp_path)
        for told in (other.saved_at(42), other.saved_at(42, ["shard-0"]), other.saved_at(43, ["control", "shard-1"])):
            assert told is not None
            assert began - 1 <= told <= ended + 1  # clocks of files tick more slowly
        assert other.saved_at(41) is None
        assert other.saved_at(43, ["shard-1"]) is None

    @pytest.mark.parametrize("keep", [1, 2, 3, 10])
    def test_the_newest_are_kept(self, tmp_path: Path, keep: int) -> None:
        store = self.open_store(tmp_path)
        saved = [5, 9, 10, 99, 100, 2**40]
        for n, position in enumerate(saved, 1):
            store.save(position, parts(str(position)), keep)
            assert store.positions() == saved[max(0, n - keep) : n][::-1]
        for position in store.positions():
            assert dict(store.load(position))["control"] == str(position).encode()
        for position in saved[:-keep]:
            assert store.load(position) == []

    def test_a_position_saved_again_is_replaced_as_a_whole(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.save(7, [*parts("old"), ("shard-9", b"old")], 2)
        store.save(7, parts("new"), 2)
        assert store.positions() == [7]
        assert sorted(store.load(7)) == sorted(parts("new"))

    def test_an_older_position_may_be_saved_late(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.save(9, parts("nine"), 2)
        store.save(7, parts("seven"), 2)
        assert store.positions() == [9, 7]
        store.save(8, parts("eight"), 2)
        assert store.positions() == [9, 8]

    def test_a_state_is_restored_from_it(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.save(100, folded(100), 2)
        core = restore_core(golden_config(), 1, self.open_store(tmp_path).load(100))
        assert core.position == 100
        core.apply(101, LOG[100:])
        assert core.digest() == read_state().digest

    def test_a_snapshot_without_a_part_is_not_restored(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        whole = folded(50)
        for missing in range(len(whole)):
            store.save(50, whole[:missing] + whole[missing + 1 :], 2)
            with pytest.raises(SnapshotInvalid):
                restore_core(golden_config(), 1, store.load(50))
        with pytest.raises(SnapshotInvalid):
            restore_core(golden_config(), 1, store.load(49))

    def test_recovery_begins_with_the_newest(self, tmp_path: Path) -> None:
        store, log = self.open_store(tmp_path), full_log()
        expected = recover(log, None, golden_config(), 1).core.digest()
        for position in (100, 200):
            core = new_core(golden_config(), 1)
            core.apply(1, [frame for batch in log.read(stop=position + 1) for frame in batch.frames])
            store.save(position, core.snapshot()[1], 2)
        recovered = recover(log, store, golden_config(), 1)
        assert (recovered.snapshot, recovered.passed_over) == (200, [])
        assert recovered.core.digest() == expected

    def test_a_snapshot_ahead_of_the_log_is_refused(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.save(100, folded(100), 2)
        log = MemoryLog()
        log.append(LOG[:50])
        with pytest.raises(LogTailLost, match="ends at 50"):
            recover(log, store, golden_config(), 1)

    # --- parts of several hosts ---

    def test_parts_of_several_hosts_make_a_position(self, tmp_path: Path) -> None:
        one, two = self.open_store(tmp_path), self.open_store(tmp_path)
        whole = parts("a")
        assert "30" in one.save_parts(30, whole[:2], 2)
        names = [name for name, _ in whole]
        assert two.positions(names) == []
        assert two.positions(names[:2]) == two.positions(names[:1]) == [30]
        assert two.positions() == []
        two.save_parts(30, whole[2:], 2)
        for store in (one, two, self.open_store(tmp_path)):
            assert store.positions(names) == [30]
            assert sorted(store.load(30, names)) == sorted(store.load(30)) == sorted(whole)
            assert store.load(30, ["shard-1", "control", "other"]) == [whole[0], whole[3]]
            assert store.load(31, names) == store.load(30, []) == []
            assert store.positions() == []
            assert store.positions([*names, "other"]) == []

    def test_each_host_drops_its_own_old_parts(self, tmp_path: Path) -> None:
        """The slow host is one position behind; what it has not saved yet holds nobody up."""
        fast, slow = self.open_store(tmp_path), self.open_store(tmp_path)
        for position in range(10, 60, 10):
            fast.save_parts(position, [("shard-0", f"f{position}".encode()), ("control", b"c")], 2)
            if position > 10:
                slow.save_parts(position - 10, [("shard-1", f"s{position - 10}".encode())], 2)
        assert fast.positions(["shard-0"]) == [50, 40]
        assert fast.positions(["shard-1"]) == [40, 30]
        assert fast.positions(["shard-0", "shard-1", "control"]) == [40]
        assert fast.load(40) == [("control", b"c"), ("shard-0", b"f40"), ("shard-1", b"s40")]
        assert fast.load(30) == [("shard-1", b"s30")]
        assert fast.load(20) == []

    def test_a_part_saved_again_is_replaced_alone(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.save_parts(5, [("shard-0", b"old" * 9), ("shard-1", b"one")], 2)
        store.save_parts(5, [("shard-0", b"new")], 2)
        assert store.load(5) == [("shard-0", b"new"), ("shard-1", b"one")]

    def test_parts_of_a_whole_snapshot_are_found_too(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.save(7, parts("whole"), 1)
        store.save_parts(8, [("shard-0", b"eight")], 1)
        assert store.positions(["shard-0"]) == [8, 7]
        assert store.positions(["shard-0", "control"]) == [7]
        assert store.load(7, ["control"]) == [("control", b"whole")]
        assert store.positions() == [7]
        assert sorted(store.load(7)) == sorted(parts("whole"))

    def test_a_large_part_comes_back_whole(self, tmp_path: Path) -> None:
        large = bytes(range(256)) * 5_000
        store = self.open_store(tmp_path)
        store.save(3, [("shard-0", large), ("shard-1", large[:524_288])], 1)
        assert store.load(3) == [("shard-0", large), ("shard-1", large[:524_288])]


class FileSnapshotsContract(SnapshotStoreContract):
    """What holds for a store of files in folders."""

    def files(self, place: Path, position: int) -> list[Path]:
        """The files of a snapshot."""
        raise NotImplementedError

    def code_to_open(self, place: Path) -> str:
        """Python that opens the store as `store`, for another process."""
        raise NotImplementedError

    @pytest.mark.parametrize(
        ("code", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreError)]
    )
    @pytest.mark.parametrize("at", range(6))
    def test_a_disk_that_refuses_leaves_what_was_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StoreError], at: int
    ) -> None:
        """The sync of each file and folder in turn fails: parts, the new folder, the store's folder."""
        store = self.open_store(tmp_path)
        store.save(1, parts("one"), 2)
        calls, sync = 0, os.fsync

        def failing(fd: int) -> None:
            nonlocal calls
            calls += 1
            if calls == at + 1:
                raise OSError(code, os.strerror(code))
            sync(fd)

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(kind) as refused:
            store.save(2, parts("two"), 2)
        monkeypatch.undo()
        assert calls == at + 1
        assert type(refused.value) is kind
        reopened = self.open_store(tmp_path)
        assert sorted(reopened.load(1)) == sorted(parts("one"))
        # The last sync is of the name alone: the folder is whole by then, or it is not there.
        assert reopened.positions() in ([1], [2, 1])
        assert at == 5 or reopened.positions() == [1]
        reopened.save(3, parts("three"), 2)
        assert sorted(reopened.load(3)) == sorted(parts("three"))

    @pytest.mark.parametrize("at", range(1, 7))
    def test_a_writer_that_is_killed_leaves_no_half_snapshot(self, tmp_path: Path, at: int) -> None:
        self.open_store(tmp_path).save(1, parts("one"), 2)
        code = f"""
import os, signal
{self.code_to_open(tmp_path)}
calls, sync = 0, os.fsync
def killing(fd):
    global calls
    calls += 1
    if calls == {at}:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(fd)
os.fsync = killing
store.save(2, {parts("two")!r}, 2)
"""
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
        store = self.open_store(tmp_path)
        assert store.positions() in ([1], [2, 1])
        assert at == 6 or store.positions() == [1]
        for position, mark in ((1, "one"), (2, "two")):
            if position in store.positions():
                assert sorted(store.load(position)) == sorted(parts(mark))
        store.save(3, parts("three"), 2)
        assert store.positions()[0] == 3
        left = [path for path in tmp_path.rglob("*") if "writing" in path.name]
        assert left == [], "what a dead writer left behind is cleared away"

    @pytest.mark.parametrize("damage", ["flip", "cut", "empty", "missing"])
    def test_a_damaged_snapshot_is_passed_over_for_an_older_one(self, tmp_path: Path, damage: str) -> None:
        store, log = self.open_store(tmp_path), full_log()
        expected = recover(log, None, golden_config(), 1).core.digest()
        for position in (100, 200):
            core = new_core(golden_config(), 1)
            core.apply(1, [frame for batch in log.read(stop=position + 1) for frame in batch.frames])
            store.save(position, core.snapshot()[1], 2)
        for file in self.files(tmp_path, 200):
            whole = file.read_bytes()
            if damage == "missing":
                file.unlink()
            else:
                middle = len(whole) // 2
                flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
                file.write_bytes({"flip": flipped, "cut": whole[:-1], "empty": b""}[damage])
            recovered = recover(log, store, golden_config(), 1)
            assert recovered.snapshot == 100, f"{file.name} was damaged"
            assert [f"position {200}" in message for message in recovered.passed_over] == [True]
            assert recovered.core.digest() == expected
            file.write_bytes(whole)
        assert recover(log, store, golden_config(), 1).snapshot == 200

    def test_other_files_are_no_snapshots(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        store.save(5, parts("five"), 2)
        (tmp_path / "notes.txt").write_text("mine")
        (tmp_path / "123").mkdir()
        (tmp_path / f"{7:020d}.bak").mkdir()
        assert store.positions() == [5]
        store.save(6, parts("six"), 1)
        assert store.positions() == [6]
        assert (tmp_path / "notes.txt").read_text() == "mine"
        assert (tmp_path / "123").is_dir()

    def test_a_place_that_cannot_be_written_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreError, match="could not be written"):
            self.open_store(tmp_path / "file").save(1, parts("one"), 2)
