"""Old events leave the log as Parquet, the state stays, and they can be brought back."""

from __future__ import annotations

import contextlib
import json
import os
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from headwater import Engine
from headwater import archive as archive_module
from headwater.archive import archived_frames, read_file
from headwater.backup import restore
from headwater.errors import ArchiveInvalid, InvalidQuery, LogCorrupt, StoreError
from headwater.events import replacement
from headwater.events.sqlite_log import SqliteLog
from headwater.progress import ignore_progress
from headwater.regenerate import regenerate, replay_directory

START = 1_700_000_000_000


def shop(directory: Path) -> Engine:
    """A shop with two snapshots and events behind each."""
    engine = Engine.open(directory, clock="log")
    for n in range(5):
        engine.put_item(f"i{n}", categories=[f"c{n % 2}"], embeddings={"text": [1.0, float(n)]})
    more(engine, 0, 20)
    engine.merge("u1", "u2")
    engine.snapshot()
    more(engine, 20, 20)
    engine.forget("u3")
    engine.snapshot()
    more(engine, 40, 10)
    return engine


def more(engine: Engine, first: int, clicks: int) -> None:
    for n in range(first, first + clicks):
        engine.track("view", user=f"u{n % 7}", item=f"i{n % 5}", ts=START + n * 60_000, value=n if n % 2 else n / 2)


def frames_of(engine: Engine, start: int, stop: int | None = None) -> list[bytes]:
    return [frame for batch in engine.log.read(start, stop=stop) for frame in batch.frames]


def test_the_log_begins_behind_the_oldest_snapshot(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        digest, last = engine.digest(), engine.position
        base = engine.status()["snapshots"][-1]
        before = frames_of(engine, 1, base + 1)
        report = engine.archive()
        assert (report.first, report.base, report.frames) == (1, base, base)
        assert (engine.log.first(), engine.log.last()) == (base + 1, last)
        assert engine.digest() == digest
        assert engine.verify().equal
        assert [f for batch in archived_frames(tmp_path / "shop", base) for f in batch.frames] == before
        assert engine.archive().first == base + 1, "the next snapshot is the next base"
        assert engine.archive().files == []
        more(engine, 50, 5)
        after = engine.digest()
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        assert engine.digest() == after
        assert engine.verify().equal
    assert replay_directory(tmp_path / "shop", None, 1)["digest"] == after["whole"]


def test_a_snapshot_at_the_very_end_leaves_the_last_frame(tmp_path: Path) -> None:
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        more(engine, 0, 9)
        engine.snapshot()
        last, digest = engine.position, engine.digest()
        report = engine.archive()
        assert (report.first, report.last, report.base) == (1, last - 1, last)
        assert (engine.log.first(), engine.archive().files) == (last, [])
        assert engine.verify().equal
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        more(engine, 9, 3)
        engine.snapshot()
        more(engine, 12, 3)
        for n in range(2):
            engine.snapshot()
            more(engine, 15 + n, 1)
        assert engine.archive().first == last, "and an earlier base does not stay in the way"
        assert engine.unarchive().frames > last
        assert engine.log.first() == 1
        assert engine.verify().equal
        assert engine.digest() != digest


def test_other_tools_read_it(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        [file] = engine.archive().files
    table = pl.read_parquet(file)
    views = table.filter(pl.col("kind") == "Feedback")
    assert views["user"][0] == "u0"
    assert views["ts"][:3].to_list() == [START + n * 60_000 for n in range(3)]
    assert views["value"][:3].to_list() == [0.0, 1.0, 1.0]
    assert json.loads(views["event"][1]) == {
        "type": "view",
        "user": "u1",
        "item": "i1",
        "ts": START + 60_000,
        "value": 1,
    }
    assert set(table["kind"].to_list()) >= {"ItemPut", "UserMerge", "MergeCarried", "ConfigActivated"}


def test_the_base_is_kept_whatever_comes(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        base = engine.archive().base
        for n in range(4):
            more(engine, 50 + n, 1)
            engine.snapshot()
        kept = engine.status()["snapshots"]
        assert base in kept
        assert len(kept) == 3
        report = engine.archive()
        assert report.base == kept[1] > base
        digest = engine.digest()
    [control] = (tmp_path / "shop" / "snapshots" / f"{kept[0]:020d}").glob("control.hws")
    control.write_bytes(control.read_bytes()[:-1])
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        assert engine.digest() == digest
        assert engine.status()["recovered_from_snapshot"] == report.base
        assert base not in engine.status()["snapshots"], "let go of: another one is the base"


def test_what_was_archived_comes_back(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        digest, before = engine.digest(), frames_of(engine, 1)
        engine.archive()
        more(engine, 50, 3)
        back = engine.unarchive()
        assert back.frames == 1 + 5 + 20 + 3
        assert engine.log.first() == 1
        assert frames_of(engine, 1)[: len(before)] == before
        assert engine.verify().equal
        assert engine.recommend("u5", 3, as_of=10).positions == [10]
        more(engine, 53, 3)
        assert "repeat-frame" not in engine.status()["outcomes"]
        assert engine.digest() != digest
        assert list((tmp_path / "shop" / "archive").iterdir()) == []
    with Engine.open(tmp_path / "shop", clock="log") as engine:
        assert engine.verify().equal


def test_what_needs_the_beginning_says_so(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        base = engine.archive().base
        with pytest.raises(InvalidQuery, match=f"positions from {base} on"):
            engine.recommend("u5", 3, as_of=3)
        assert engine.recommend("u5", 3, as_of=base + 2).positions == [base + 2]
        with pytest.raises(StoreError, match="archive --restore"):
            engine.erase("u5")
        engine.unarchive()
        engine.erase("u5")
        with pytest.raises(InvalidQuery, match="no state"):
            engine.session_of("u5")
        engine.snapshot()
        engine.archive()
    with pytest.raises(StoreError, match="archive DIR --restore"):
        regenerate(tmp_path / "shop", tmp_path / "next", None, progress=False)


def test_a_backup_of_a_trimmed_log_is_restored(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.backup(tmp_path / "before")
        engine.archive()
        more(engine, 50, 5)
        engine.backup(tmp_path / "before")
        engine.backup(tmp_path / "after")
        digest, first = engine.digest(), engine.log.first()
    for name, begins in (("before", 1), ("after", first)):
        restore(tmp_path / name, tmp_path / f"from-{name}", 1, ignore_progress)
        with Engine.open(tmp_path / f"from-{name}", clock="log") as engine:
            assert (engine.digest(), engine.log.first()) == (digest, begins)
            assert engine.verify().equal


@pytest.mark.parametrize("what", ["snapshot", "no snapshot"])
def test_nothing_is_trimmed_without_a_sound_base(tmp_path: Path, what: str) -> None:
    with shop(tmp_path / "shop") as engine:
        base = engine.status()["snapshots"][-1]
        folder = tmp_path / "shop" / "snapshots"
        if what == "snapshot":
            # A sound snapshot of another history at this position.
            with Engine.open(tmp_path / "other", clock="log") as other:
                for n in range(base - 1):
                    other.track("view", user="x", item=f"j{n}", ts=START + n)
                assert other.position == base
                other.snapshot()
            for file in (tmp_path / "other" / "snapshots" / f"{base:020d}").iterdir():
                (folder / f"{base:020d}" / file.name).write_bytes(file.read_bytes())
            with pytest.raises(LogCorrupt, match="is not what the log gives"):
                engine.archive()
        else:
            for position in engine.status()["snapshots"]:
                (folder / f"{position:020d}").rename(folder / f"gone-{position}")
            with pytest.raises(StoreError, match="no snapshot to trim to"):
                engine.archive()
        assert engine.log.first() == 1


def test_frames_that_hold_no_sound_events_are_kept_too(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        [frame] = frames_of(engine, 8, 9)
        engine._runtime.append_frames([frame[:-3] + b"\0\0\0", frame])
        engine._runtime.fold()
        before = frames_of(engine, 1)
        for _ in range(2):
            engine.snapshot()
            more(engine, 60, 1)
        [file] = engine.archive().files
        assert [f for batch in read_file(Path(file)) for f in batch.frames] == before
        assert pl.read_parquet(file)["whole"].sum() == 1
        assert engine.unarchive().frames == len(before)


def test_a_damaged_archive_does_not_come_back(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        [file] = engine.archive().files
        digest, first = engine.digest(), engine.log.first()
        content = Path(file).read_bytes()
        table = pl.read_parquet(file)
        Path(file).write_bytes(content[: len(content) // 2])
        with pytest.raises(ArchiveInvalid, match="not a readable archive"):
            engine.unarchive()
        table.with_columns(sequence=pl.col("sequence") + 1).write_parquet(file)
        with pytest.raises(ArchiveInvalid, match="checksum chain"):
            engine.unarchive()
        Path(file).rename(tmp_path / "elsewhere.parquet")
        with pytest.raises(ArchiveInvalid, match="ends at position 0"):
            engine.unarchive()
        assert (engine.digest(), engine.log.first()) == (digest, first)
        Path(file).write_bytes(content)
        engine.unarchive()
        assert engine.verify().equal


def test_an_archiving_that_was_cut_short_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with shop(tmp_path / "shop") as engine:
        before = frames_of(engine, 1)

        def killed(log: SqliteLog, below: int) -> int:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(SqliteLog, "trim", killed)
            with pytest.raises(KeyboardInterrupt):
                engine.archive()
        assert engine.log.first() == 1
        for n in range(2):
            more(engine, 50 + n, 1)
            engine.snapshot()
        report = engine.archive()
        assert report.last > len(before) - 10, "another base than that of the first attempt"
        assert [f for batch in archived_frames(tmp_path / "shop", report.last) for f in batch.frames][:40] == before[
            :40
        ]
        assert engine.unarchive().frames == report.last
        assert frames_of(engine, 1)[: len(before)] == before


def test_the_base_does_not_go_while_it_is_archived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = archive_module._verified
    with shop(tmp_path / "shop") as engine, ThreadPoolExecutor(1) as writer:
        under_way: list[Future[object]] = []

        def meanwhile(*args: Any) -> str:
            for n in range(engine.config.engine.snapshots_kept):
                more(engine, 50 + n, 1)
                under_way.append(writer.submit(engine.snapshot))
            with contextlib.suppress(TimeoutError):  # they wait, or all are written before the archiving goes on
                under_way[-1].result(0.5)
            return verified(*args)

        monkeypatch.setattr(archive_module, "_verified", meanwhile)
        report = engine.archive()
        for snapshot in under_way:
            snapshot.result(60)
        assert report.base in engine.status()["snapshots"]
        assert engine.recommend("u5", 3, as_of=report.base + 1).positions == [report.base + 1]


@pytest.mark.parametrize("place", ["snapshots", "archive"])
def test_a_place_that_cannot_be_written_is_an_error_of_the_store(tmp_path: Path, place: str) -> None:
    with shop(tmp_path / "shop") as engine:
        if place == "archive":
            (tmp_path / "shop" / place).touch()
        else:
            (tmp_path / "shop" / place / f".base.{os.getpid()}").mkdir()
        with pytest.raises(StoreError, match="cannot be written"):
            engine.archive()
        assert engine.log.first() == 1


def test_a_next_log_that_cannot_be_built_is_an_error_of_the_store(tmp_path: Path) -> None:
    with shop(tmp_path / "shop") as engine:
        engine.archive()
        (tmp_path / "shop" / replacement.NEXT).touch()
        with pytest.raises(StoreError, match="the next log cannot be built"):
            engine.unarchive()
        assert engine.log.first() > 1


def test_memory_has_no_archive() -> None:
    with Engine.open(":memory:") as engine, pytest.raises(StoreError, match="directory"):
        engine.archive()
