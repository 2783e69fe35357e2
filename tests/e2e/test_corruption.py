"""Damaged logs: nothing is silently wrong. `verify` says what is broken and where; opening refuses or says so.

A flip in a byte that carries nothing (free space, an older copy of a page) may go unnoticed; then the state must be the
one that was acknowledged.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import headwater as hw
from e2e.damaged_store import (
    Store,
    change_database,
    closed,
    config,
    flipped,
    frames_in,
    make_store,
    path,
    says_broken,
    verify,
    verify_command,
)
from headwater.errors import GenerationMismatch, HeadwaterError, LogCorrupt, LogTailLost, StoreError
from headwater.events.frame import HEADER_LEN

__all__ = ["closed", "path"]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A directory as a killed writer leaves it."""
    return make_store(tmp_path_factory.mktemp("crashed"), closed=False)


def opened(path: Path, expected: str) -> str:
    """Open for writing: `refused`, `same` state, or `other` state."""
    try:
        with hw.Engine.open(path, threads=1, config=config()) as engine:
            return "same" if engine.digest()["whole"] == expected else "other"
    except StoreError:
        return "refused"


def test_sound_directories_are_equal(closed: Store, crashed: Store, path: Path) -> None:
    status, report = verify_command(path)
    assert (status, report["equal"], report["problems"]) == (0, True, [])
    assert report["digest"] == {"replay": closed.digest, "snapshot_tail": closed.digest}
    assert verify(crashed.path).digest["replay"] == crashed.digest
    assert closed.snapshots == crashed.snapshots
    assert len(closed.snapshots) == 2


# --- frames in the database ------------------------------------------------------------------------------------------


def frame_bytes(store: Store) -> list[tuple[int, int]]:
    """(position, offset in the database file): all header bytes of three frames, a sample of all other bytes."""
    content = (store.path / "log.sqlite3").read_bytes()
    frames = frames_in(store)
    starts = {position: content.index(frame) for position, frame in frames.items()}
    assert all(content.count(frame) == 1 for frame in frames.values())
    whole = [(p, starts[p] + k) for p in (1, store.last // 2, store.last) for k in range(HEADER_LEN)]
    rest = [(p, starts[p] + k) for p, frame in frames.items() for k in range(len(frame))]
    return whole + Random(1).sample(rest, 250)


def test_any_flipped_byte_of_a_frame_is_named(closed: Store) -> None:
    random = Random(2)
    for position, offset in frame_bytes(closed):
        with flipped(closed.path / "log.sqlite3", offset, 1 << random.randrange(8)):
            report = verify(closed.path)
        assert not report.equal
        assert f"frame {position}" in [problem.where for problem in report.problems], (position, report.problems)
    assert verify(closed.path).equal


def test_a_damaged_frame_is_told_when_the_directory_is_opened(
    path: Path, closed: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a no-op that every reader decides alike: counted, in the status, and said aloud."""
    frame = frames_in(closed)[closed.last - 1]
    offset = (path / "log.sqlite3").read_bytes().index(frame)
    with flipped(path / "log.sqlite3", offset + HEADER_LEN + 5, 0xFF), caplog.at_level(logging.WARNING):
        says_broken(path, f"frame {closed.last - 1}", "bad-crc")
        with hw.Engine.open(path, config=config()) as engine:
            status = engine.status()
    assert {"position": closed.last - 1, "index": 0, "reason": "bad-crc"} in status["refusals"]
    assert status["outcomes"]["bad-crc"] == 1
    assert f"frame {closed.last - 1} is damaged" in caplog.text


def test_flips_anywhere_in_the_database_are_found_or_harmless(closed: Store, tmp_path: Path) -> None:
    size = (closed.path / "log.sqlite3").stat().st_size
    random = Random(3)
    found = 0
    for offset in [*range(100), *random.sample(range(100, size), 250)]:
        with flipped(closed.path / "log.sqlite3", offset, 1 << random.randrange(8)):
            report = verify(closed.path)
            found += not report.equal
            if report.equal:
                assert report.digest["replay"] == closed.digest, offset
            if offset % 10 == 0:
                copy = closed.copy(tmp_path / f"at-{offset}")
                outcome = opened(copy, closed.digest)
                assert outcome in ("refused", "same") or not report.equal, (offset, outcome)
                shutil.rmtree(copy)
    assert found > 50


# --- the write-ahead log ---------------------------------------------------------------------------------------------


def test_flips_in_the_write_ahead_log_are_found_or_harmless(crashed: Store, tmp_path: Path) -> None:
    """A flip there silently ends the log for SQLite. The head record tells."""
    wal = crashed.path / "log.sqlite3-wal"
    content = wal.read_bytes()
    # The newest copy of each page counts; these bytes surely do: frames that were written once.
    random = Random(4)
    frames = frames_in(crashed)
    telling = [content.rindex(frames[p]) + random.randrange(len(frames[p])) for p in random.sample(sorted(frames), 60)]
    found = 0
    for offset in [*range(32), *telling, *random.sample(range(32, len(content)), 120)]:
        with flipped(wal, offset, 1 << random.randrange(8)):
            report = verify(crashed.path)
            found += not report.equal
            if report.equal:
                assert report.digest["replay"] == crashed.digest, offset
            if offset % 7 == 0:
                copy = tmp_path / f"at-{offset}"
                shutil.copytree(crashed.path, copy, ignore=shutil.ignore_patterns("*-shm"))
                outcome = opened(copy, crashed.digest)
                assert outcome == "refused" if not report.equal else outcome == "same", (offset, outcome, report)
                shutil.rmtree(copy)
    assert found > 60
    assert verify(crashed.path).equal


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_write_ahead_log_is_a_lost_tail(crashed: Store, tmp_path: Path, share: float) -> None:
    path = tmp_path / "store"
    shutil.copytree(crashed.path, path, ignore=shutil.ignore_patterns("*-shm"))
    wal = path / "log.sqlite3-wal"
    with open(wal, "r+b") as file:
        file.truncate(int(wal.stat().st_size * share))
    with pytest.raises(StoreError):
        hw.Engine.open(path, config=config())
    report = verify(path)
    assert not report.equal
    assert [problem.where for problem in report.problems] == ["log"]


# --- the log's ends --------------------------------------------------------------------------------------------------


def cut_last(path: Path, store: Store) -> None:
    change_database(path, f"DELETE FROM frames WHERE position > {store.last - 3}")


def cut_middle(path: Path, store: Store) -> None:
    change_database(path, f"DELETE FROM frames WHERE position BETWEEN {store.last - 9} AND {store.last - 7}")


def cut_first(path: Path, store: Store) -> None:
    shutil.rmtree(path / "snapshots")
    change_database(path, "DELETE FROM frames WHERE position < 4")


def begin_after_snapshots(path: Path, store: Store) -> None:
    change_database(path, f"DELETE FROM frames WHERE position <= {store.snapshots[0] + 2}")


def swap_two(path: Path, store: Store) -> None:
    a, b = store.last - 4, store.last - 3
    change_database(
        path,
        f"UPDATE frames SET position = -1 WHERE position = {a}",
        f"UPDATE frames SET position = {a} WHERE position = {b}",
        f"UPDATE frames SET position = {b} WHERE position = -1",
    )


def lose_database(path: Path, store: Store) -> None:
    (path / "log.sqlite3").unlink()


def cut_file(path: Path, store: Store) -> None:
    with open(path / "log.sqlite3", "r+b") as file:
        file.truncate(20_000)


def empty_file(path: Path, store: Store) -> None:
    (path / "log.sqlite3").write_bytes(b"")


def foreign_file(path: Path, store: Store) -> None:
    (path / "log.sqlite3").write_bytes(b"This is a letter to my aunt. " * 999)


def foreign_database(path: Path, store: Store) -> None:
    (path / "log.sqlite3").unlink()
    change_database(path, "CREATE TABLE recipes(name TEXT)")


def other_column(path: Path, store: Store) -> None:
    change_database(path, f"UPDATE frames SET subject = subject + 1 WHERE position = {store.last - 2}")


def text_frame(path: Path, store: Store) -> None:
    change_database(path, f"UPDATE frames SET frame = 'text' WHERE position = {store.last - 2}")


def no_epoch(path: Path, store: Store) -> None:
    change_database(path, "DELETE FROM meta WHERE key = 'epoch'")


LOG_DAMAGE: list[tuple[Callable[[Path, Store], None], str, str, type[HeadwaterError] | None]] = [
    (cut_last, "log", "lost its tail", LogTailLost),
    (cut_middle, "frame 100", "frames are missing", LogCorrupt),
    (cut_first, "frame 1", "begins after", LogCorrupt),
    (begin_after_snapshots, "frame 1", "begins after", LogCorrupt),
    (swap_two, "frame 109", "not those that were acknowledged", None),
    (lose_database, "log", "holds no log", LogTailLost),
    (cut_file, "log", "malformed", LogCorrupt),
    (empty_file, "log", "holds no log", LogTailLost),
    (foreign_file, "log", "not a database", LogCorrupt),
    (foreign_database, "log", "not a Headwater log", LogCorrupt),
    (other_column, "frame 107", "is filed under subject", None),
    (text_frame, "frame 107", "is not bytes", LogCorrupt),
]


@pytest.mark.parametrize(("damage", "where", "what", "error"), LOG_DAMAGE, ids=lambda v: getattr(v, "__name__", ""))
def test_a_damaged_log_is_named_and_refused(
    path: Path,
    closed: Store,
    damage: Callable[[Path, Store], None],
    where: str,
    what: str,
    error: type[HeadwaterError] | None,
) -> None:
    damage(path, closed)
    says_broken(path, where, what)
    if error is not None:
        with pytest.raises(error):
            hw.Engine.open(path, config=config())
        with pytest.raises(StoreError):
            hw.Engine.open(path, config=config(), read_only=True)


def test_an_older_copy_of_the_database_is_a_lost_tail(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with hw.Engine.open(path) as engine:
        engine.track("view", user="ann", item="kettle")
    shutil.copyfile(path / "log.sqlite3", tmp_path / "backup")
    with hw.Engine.open(path) as engine:
        acknowledged = engine.track("view", user="ann", item="teapot")
    shutil.copyfile(tmp_path / "backup", path / "log.sqlite3")
    says_broken(path, "log", "lost its tail")
    with pytest.raises(LogTailLost) as refused:
        hw.Engine.open(path)
    assert refused.value.details == {"last": acknowledged - 1, "expected": acknowledged}


def test_a_log_shorter_than_its_snapshot_is_refused(path: Path, closed: Store) -> None:
    """Even when database and head record agree, as after restoring both from an old backup."""
    change_database(path, f"DELETE FROM frames WHERE position > {closed.snapshots[1]}")
    (path / "head").unlink()
    with pytest.raises(LogTailLost) as refused:
        hw.Engine.open(path, config=config())
    assert refused.value.details["expected"] == closed.snapshots[0]
    says_broken(path, f"snapshot {closed.snapshots[0]}", "it lost its tail")


def test_a_lost_epoch_is_refused_and_a_damaged_one_is_not_used_twice(path: Path, closed: Store) -> None:
    """An epoch that comes again would make new frames look like repeats of old ones."""
    change_database(path, "UPDATE meta SET value = '0' WHERE key = 'epoch'")
    with hw.Engine.open(path, config=config()) as engine:
        before = engine.status()["outcomes"]["applied"]
        engine.track("view", user="u1", item="new")
        assert "new" in engine
        assert engine.status()["outcomes"]["applied"] == before + 1
        assert engine.verify().equal
    no_epoch(path, closed)
    with pytest.raises(LogCorrupt, match="epoch"):
        hw.Engine.open(path, config=config())


# --- the head record -------------------------------------------------------------------------------------------------


def test_any_flipped_byte_of_the_head_is_named(closed: Store) -> None:
    head = closed.path / "head"
    assert head.stat().st_size == 1024
    for offset in range(0, 1024, 3):
        with flipped(head, offset, 0x20):
            report = verify(closed.path)
        assert report.problems, offset
        assert report.problems[0].where == "head", (offset, report.problems)
        assert report.problems[0].what == f"slot {offset // 512} is damaged"


def test_one_damaged_slot_is_made_good_two_are_refused(path: Path, closed: Store) -> None:
    head = path / "head"
    content = head.read_bytes()
    for slot in range(2):
        head.write_bytes(content[: slot * 512] + b"\xaa" * 512 + content[(slot + 1) * 512 :])
        says_broken(path, "head", f"slot {slot} is damaged")
        assert opened(path, closed.digest) == "same"
        with hw.Engine.open(path, config=config()) as engine:
            engine.track("view", user="u1", item="i1")
            engine.track("view", user="u1", item="i2")
        assert verify(path).equal
        shutil.rmtree(path)
        closed.copy(path)
    head.write_bytes(b"\xaa" * 1024)
    says_broken(path, "log", "neither slot of the head record is sound")
    with pytest.raises(LogCorrupt):
        hw.Engine.open(path, config=config())


def test_a_cut_or_missing_head_is_told(path: Path, closed: Store, caplog: pytest.LogCaptureFixture) -> None:
    (path / "head").write_bytes(b"")
    says_broken(path, "log", "is empty")
    with pytest.raises(LogCorrupt, match="a lost tail of the log cannot be told"):
        hw.Engine.open(path, config=config())
    (path / "head").unlink()  # what the message names as the way to accept the log as it is
    says_broken(path, "head", "a lost tail of the log cannot be told")
    with caplog.at_level(logging.WARNING):
        assert opened(path, closed.digest) == "same"
    assert "no head record" in caplog.text
    assert verify(path).equal


def test_another_generation_is_refused(path: Path) -> None:
    with pytest.raises(GenerationMismatch):
        hw.Engine.open(path, profile=None, config=hw.config.default_config("media"))
    change_database(path, "UPDATE meta SET value = '0123' WHERE key = 'generation'")
    says_broken(path, "log", "is of generation 0123")
    with pytest.raises(GenerationMismatch):
        hw.Engine.open(path, config=config())
