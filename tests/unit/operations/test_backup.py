"""Backups while the engine runs, only what is new the second time, and restores that are compared."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headwater import Engine
from headwater import backup as backup_module
from headwater.backup import MANIFEST, restore
from headwater.errors import BackupInvalid, GenerationMismatch, InvalidInput, StoreError
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import Feedback
from headwater.progress import ignore_progress

START = 1_700_000_000_000


def restored(source: Path, directory: Path) -> str:
    return restore(source, directory, 1, ignore_progress).digest


def shop(directory: Path, clicks: int = 60) -> Engine:
    engine = Engine.open(directory, clock="log")
    for n in range(5):
        engine.put_item(f"i{n}", categories=[f"c{n % 2}"])
    more(engine, 0, clicks)
    return engine


def more(engine: Engine, first: int, clicks: int) -> None:
    for n in range(first, first + clicks):
        engine.track("view", user=f"u{n % 7}", item=f"i{n % 5}", ts=START + n * 60_000)


def test_a_restored_directory_is_the_one_that_was_backed_up(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.merge("u1", "u2")
        engine.forget("u3")
        report = engine.backup(tmp_path / "backup")
        digest = engine.digest()
        assert (report.position, report.digest) == (engine.position, digest["whole"])
        assert (report.frames, report.frames_held) == (engine.position, engine.position)
    assert restored(tmp_path / "backup", tmp_path / "again") == digest["whole"]
    with Engine.open(tmp_path / "again", clock="log") as engine:
        assert engine.digest() == digest
        assert engine.verify().equal
        assert engine.status()["recovered_from_snapshot"] == engine.position
        more(engine, 60, 5)
        assert engine.status()["outcomes"].get("repeat-frame") is None, "a restored writer takes a new epoch"


def test_a_second_backup_copies_what_is_new(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        first = engine.backup(tmp_path / "backup")
        again = engine.backup(tmp_path / "backup")
        assert (again.frames, again.bytes, again.snapshot_written) == (0, 0, False)
        more(engine, 60, 9)
        files = {file: file.read_bytes() for file in (tmp_path / "backup" / "frames").iterdir()}
        second = engine.backup(tmp_path / "backup")
        assert (second.frames, second.frames_held) == (9, first.frames + 9)
        assert {file: file.read_bytes() for file in files} == files
        assert len(list((tmp_path / "backup" / "snapshots").iterdir())) == 1
        digest = engine.digest()["whole"]
    assert restored(tmp_path / "backup", tmp_path / "again") == digest


def test_it_is_consistent_while_the_engine_runs(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        stop = threading.Event()
        done = []

        def write() -> None:
            n = 1000
            while not stop.is_set():
                more(engine, n, 1)
                n += 1
            done.append(n)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            reports = [engine.backup(tmp_path / "backup") for _ in range(4)]
            with Engine.open(tmp_path / "shop", read_only=True) as reader:
                reports.append(reader.backup(tmp_path / "backup"))
        finally:
            stop.set()
            writer.join()
        assert reports[0].position < reports[-1].position < engine.position
    assert restored(tmp_path / "backup", tmp_path / "again") == reports[-1].digest


def test_a_backup_that_was_cut_short_does_no_harm(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.backup(tmp_path / "backup")
        digest = engine.digest()["whole"]
        manifest = (tmp_path / "backup" / MANIFEST).read_bytes()
        more(engine, 60, 5)
        engine.backup(tmp_path / "backup")
        last = engine.digest()["whole"]
        # As if the second had been killed before its last step. Its snapshot has taken the first one's place.
        (tmp_path / "backup" / MANIFEST).write_bytes(manifest)
        (tmp_path / "backup" / "frames" / ".half").write_bytes(b"half")
        report = engine.backup(tmp_path / "backup")
        assert report.frames == 5
    assert sorted(f.name[:2] for f in (tmp_path / "backup" / "frames").iterdir()) == ["00", "00"]
    assert digest != last
    assert restored(tmp_path / "backup", tmp_path / "again") == last


@pytest.mark.parametrize("what", ["frame", "length", "missing", "snapshot", "manifest", "digest"])
def test_damage_is_found_and_nothing_appears(tmp_path: Path, what: str) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.backup(tmp_path / "backup")
    [segment] = (tmp_path / "backup" / "frames").iterdir()
    [snapshot] = (tmp_path / "backup" / "snapshots").iterdir()
    damaged = {
        "frame": segment,
        "length": segment,
        "snapshot": snapshot / "control.hws",
        "manifest": tmp_path / "backup" / MANIFEST,
    }.get(what)
    if what == "missing":
        segment.unlink()
    elif what == "digest":
        manifest = tmp_path / "backup" / MANIFEST
        text = manifest.read_text()
        at = text.index('"whole"') + 12
        manifest.write_text(text[:at] + ("1" if text[at] == "0" else "0") + text[at + 1 :])
    elif damaged is not None:
        content = bytearray(damaged.read_bytes())
        content[-40 if what == "frame" else 0] ^= 0x40
        damaged.write_bytes(bytes(content))
    with pytest.raises(BackupInvalid):
        restored(tmp_path / "backup", tmp_path / "again")
    assert {p.name for p in tmp_path.iterdir()} == {"shop", "backup"}


def test_a_damaged_log_does_not_replace_a_good_backup(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.backup(tmp_path / "backup")
        digest = engine.digest()["whole"]
        more(engine, 60, 5)
        log = engine.log
        assert isinstance(log, SqliteLog)
        assert log._connection is not None
        log._connection.execute(
            "UPDATE frames SET frame = (SELECT frame FROM frames WHERE position = 3) WHERE position = 68"
        )
        with pytest.raises(BackupInvalid, match="checksum chain"):
            engine.backup(tmp_path / "backup")
    assert restored(tmp_path / "backup", tmp_path / "again") == digest


def test_backups_of_two_logs_are_not_mixed(tmp_path: Path) -> None:
    with shop(tmp_path / "a") as a, shop(tmp_path / "b", 70) as b, shop(tmp_path / "c", 3) as c:
        a.backup(tmp_path / "backup")
        with pytest.raises(BackupInvalid, match="another log"):
            b.backup(tmp_path / "backup")
        with pytest.raises(BackupInvalid, match="do not join"):
            c.backup(tmp_path / "backup")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with shop(tmp_path / "d") as d, pytest.raises(BackupInvalid, match="neither empty nor a backup"):
        d.backup(tmp_path / "full")


def test_a_backup_is_not_continued_after_an_erasure(tmp_path: Path) -> None:
    """Also where it left all positions as they were, and the backup's last frame too."""
    events = [Feedback("view", f"u{n}", "i1", START + n) for n in range(200)]  # several of them in each frame
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        engine.track_many(events)
        engine.track("view", user="last", item="i1", ts=START + 1000)
        before = engine.backup(tmp_path / "backup")
        engine.erase("u7")
        assert engine.position >= before.position
        with pytest.raises(BackupInvalid, match="another log: an earlier frame differs, as after an erasure"):
            engine.backup(tmp_path / "backup")
        engine.backup(tmp_path / "new")


def test_a_restore_overwrites_nothing(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.backup(tmp_path / "backup")
    with pytest.raises(InvalidInput, match="not empty"):
        restored(tmp_path / "backup", tmp_path / "shop")
    with pytest.raises(BackupInvalid, match="holds no backup"):
        restored(tmp_path / "shop", tmp_path / "again")


def test_a_backup_of_another_fold_version_says_so(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.backup(tmp_path / "backup")
        generation = engine.status()["generation"]
    manifest = tmp_path / "backup" / MANIFEST
    manifest.write_text(manifest.read_text().replace(generation, "0" * 32))
    with pytest.raises(GenerationMismatch, match="replay DIR --to"):
        restored(tmp_path / "backup", tmp_path / "again")


def test_the_log_is_not_written_anew_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_frames = backup_module._copy_frames
    with shop(tmp_path / "shop") as engine, ThreadPoolExecutor(1) as other:
        erasures: list[Future[object]] = []

        def meanwhile(*args: Any) -> Any:
            erasures.append(other.submit(engine.erase, "u1"))
            with contextlib.suppress(TimeoutError):  # it waits, or is done before the copying goes on
                erasures[0].result(0.5)
            return copy_frames(*args)

        monkeypatch.setattr(backup_module, "_copy_frames", meanwhile)
        report = engine.backup(tmp_path / "backup")
        erasures[0].result(60)
    assert restored(tmp_path / "backup", tmp_path / "again") == report.digest


def test_memory_has_no_backup(tmp_path: Path) -> None:
    with Engine.open(":memory:") as engine, pytest.raises(StoreError, match="in memory"):
        engine.backup(tmp_path / "backup")
