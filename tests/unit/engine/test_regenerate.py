"""The next generation of a directory: whole, numbered on from the old one, ready to be written to."""

import json
import logging
import os
import sqlite3
from pathlib import Path

import pytest

from headwater import Engine
from headwater.errors import GenerationMismatch, InvalidInput, LogCorrupt
from headwater.events.frame import decode_frame
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import SlateServed
from headwater.regenerate import regenerate
from headwater.store import begin
from reference.cooccurrence import DAY

START = 19_000 * DAY


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory that three writers wrote to, each with a recorded slate."""
    for life in range(3):
        with Engine.open(tmp_path / "old", clock="log") as engine:
            for n in range(4):
                engine.track("view", user=f"u{n}", item=f"item{life}", ts=START + life * DAY + n * 60_000)
            engine.recommend("u1")
    return tmp_path


@pytest.mark.parametrize("partitions", [16, 4])
def test_writers_of_the_copy_are_numbered_on(partitions: int, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    (place / "new.toml").write_text(f"[generation]\npartitions = {partitions}\n")
    report = regenerate(place / "old", place / "new", place / "new.toml", progress=False)
    with caplog.at_level(logging.WARNING), Engine.open(place / "new", clock="log") as engine:
        assert report["digest"] == engine.digest()["whole"]
        before = engine.status()["outcomes"]
        for n in range(20):
            engine.track("cart", user=f"u{n}", item=f"new{n}", ts=START + 5 * DAY + n * 60_000)
        slate = engine.recommend("u1")
        engine.flush()
        after = engine.status()["outcomes"]
        assert {k: n - before.get(k, 0) for k, n in after.items() if n != before.get(k, 0)} == {
            "applied": 20,
            "recorded": 1,
        }
        assert caplog.messages == []
        slates = [
            event.slate
            for batch in engine.log.read()
            for frame in batch.frames
            for event in decode_frame(frame)[1]
            if isinstance(event, SlateServed)
        ]
        assert slates == ["1-1", "2-1", "3-1", "4-1"]
        assert slate.id == "4-1"
        assert engine.verify().equal


# What `[generation]` has now and had not when the fold had version 1.
NEW_KEYS = ("fresh_days", "positive", "strong", "segments")


def make_older(directory: Path) -> None:
    """What a directory looks like to a fold that became another one: the log's generation, and keys that it lacks."""
    generation = json.loads((directory / "generation.json").read_bytes())
    for key in NEW_KEYS:
        del generation[key]
    (directory / "generation.json").write_text(json.dumps(generation))
    with sqlite3.connect(directory / "log.sqlite3") as log:
        log.execute("UPDATE meta SET value = ? WHERE key = 'generation'", ("0" * 32,))
    log.close()


@pytest.mark.parametrize("toml", [None, "[generation]\npartitions = 4\n"])
def test_a_directory_of_an_older_fold_is_refused_and_moved(toml: str | None, place: Path) -> None:
    old, new = place / "old", place / "new"
    with Engine.open(old, clock="log") as engine:
        engine.snapshot()
        slate, digest = engine.recommend("u1", record=False).item_ids, engine.digest()["whole"]
    make_older(old)
    for read_only in (False, True):
        with pytest.raises(GenerationMismatch, match="headwater replay DIR --to"):
            Engine.open(old, read_only=read_only)
    config = None
    if toml is not None:
        config = place / "next.toml"
        config.write_text(toml)
    report = regenerate(old, new, config, progress=False)
    with Engine.open(new, clock="log") as engine:
        assert engine.digest()["whole"] == report["digest"]
        assert engine.recommend("u1", record=False).item_ids == slate
        assert (report["digest"] == digest) == (toml is None)
        assert engine.track("view", user="u1", item="item0", ts=START + 9 * DAY) > report["position"]
    with Engine.open(new, read_only=True) as engine:
        assert engine.verify().equal


def test_a_target_that_holds_something_is_refused(place: Path) -> None:
    (place / "full").mkdir()
    (place / "full" / "x").write_text("x")
    (place / "file").write_text("x")
    for target in ("full", "file", "old"):
        with pytest.raises(InvalidInput, match="not empty"):
            regenerate(place / "old", place / target, None, progress=False)
    (place / "empty").mkdir()
    regenerate(place / "old", place / "empty", None, progress=False)
    with Engine.open(place / "empty", read_only=True) as engine:
        assert engine.status()["users"] == 4


def test_a_copy_that_breaks_off_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise LogCorrupt("broke off")

    monkeypatch.setattr(SqliteLog, "append", broken)
    before = sorted(os.listdir(place))
    with pytest.raises(LogCorrupt, match="broke off"):
        regenerate(place / "old", place / "new", None, progress=False)
    assert sorted(os.listdir(place)) == before


def test_a_new_directory_outlives_a_power_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it has its name, then its directory, and every new directory in its parent."""
    from headwater import default_config

    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        calls.append(("sync", str(path.relative_to(tmp_path))))
        fsync(fd)

    def noted_replace(self: Path, target: Path) -> Path:
        calls.append(("name", str(target.relative_to(tmp_path))))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    begin(tmp_path / "a" / "b", default_config())
    named = calls.index(("name", "a/b/generation.json"))
    assert set(calls[:named]) == {("sync", "a"), ("sync", "."), ("sync", f"a/b/.generation.json.{os.getpid()}")}
    assert calls[named + 1 :] == [("sync", "a/b")]
    calls.clear()
    begin(tmp_path / "a" / "b", default_config())
    assert calls == []
