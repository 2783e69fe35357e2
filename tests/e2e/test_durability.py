"""What is acknowledged stays: kill -9, syncs before acknowledgement, full disks, two processes, Ctrl-C."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from chaos.rounds import Rounds
from e2e import full_disk, sync_order
from headwater.actors.committer import Committer
from headwater.actors.snapshots import DirectorySnapshots
from headwater.errors import StoreError, StoreLocked
from headwater.events.frame import decode_frame
from headwater.events.head import HeadFile
from headwater.events.sqlite_log import SqliteLog
from headwater.events.types import Feedback
from headwater.simulate import simulate_shop
from headwater.verify import verify, verify_directory

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
HEADWATER = str(Path(sys.executable).with_name("headwater"))


def test_a_directory_outlives_writers_killed_under_load(tmp_path: Path) -> None:
    with Rounds(tmp_path, seed=2) as rounds:
        for _ in range(8):
            rounds.play()
    summary = rounds.summary()
    assert summary["refusals"] == 0
    assert summary["acknowledged"] > 100
    assert summary["sent_again"] > 0


def test_a_snapshot_half_deleted_or_half_written_is_not_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may die in the middle of dropping an old snapshot, or of writing a new one."""
    store = tmp_path / "store"

    def die_deleting(folder: Path, ignore_errors: bool = False) -> None:
        next(iter(sorted(folder.iterdir()))).unlink()
        raise KeyboardInterrupt

    def die_writing(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise KeyboardInterrupt

    with hw.Engine.open(store) as engine:
        for name in ("kettle", "teapot", "lamp"):
            engine.track("view", user="ann", item=name)
            if name != "lamp":
                engine.snapshot()
        for name, step in (("shutil.rmtree", die_deleting), ("_write_synced", die_writing)):
            monkeypatch.setattr(f"headwater.actors.snapshots.{name}", step)
            with pytest.raises(KeyboardInterrupt):
                engine.snapshot()
            monkeypatch.undo()
            report = verify_directory(store, engine.config, threads=1)
            assert report.problems == []
            engine.track("view", user="ann", item="kettle")
        engine.snapshot()
        assert len(list((store / "snapshots").iterdir())) == 2  # what the dead left is swept


# --- the sync before each acknowledgement ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sync_order.build_tracer(tmp_path_factory.mktemp("tracer"))


def traced(tracer: Path, directory: Path, broken: str = "") -> list[sync_order.Call]:
    """The calls of `tracked.py`, as the preloaded library saw them."""
    trace = directory / "trace"
    command = [sys.executable, str(HERE / "tracked.py"), str(directory / "store"), str(directory / "marks"), broken]
    env = {**os.environ, "LD_PRELOAD": str(tracer), "SYNC_TRACE": str(trace)}
    subprocess.run(command, check=True, env=env, timeout=120)
    return sync_order.read_trace(trace)


def test_frames_and_head_are_synced_in_order_before_a_write_returns(tracer: Path, tmp_path: Path) -> None:
    calls = traced(tracer, tmp_path)
    assert sync_order.faults(calls) == []
    marks = [call.file for call in calls if call.what == "mark"]
    assert len(marks) == 2 * 4 * 6
    # One caller alone needs one sync of each file, no more.
    syncs = Counter(call.file for call in calls if call.what == "sync")
    assert syncs[sync_order.HEAD] >= 24


@pytest.mark.parametrize("broken", ["no-log-sync", "no-head-sync"])
def test_a_missing_sync_would_be_noticed(tracer: Path, tmp_path: Path, broken: str) -> None:
    faults = sync_order.faults(traced(tracer, tmp_path, broken))
    file = sync_order.WAL if broken == "no-log-sync" else sync_order.HEAD
    assert len(faults) == 24
    assert all(f"no sync of {file}" in fault for fault in faults)


def test_strace_sees_the_same_order(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not on PATH; the preloaded library above shows the same")
    trace = tmp_path / "strace"
    script = [sys.executable, str(HERE / "tracked.py"), str(tmp_path / "store"), str(tmp_path / "marks")]
    command = [strace, "-f", "-y", "-o", str(trace), "-e", "trace=write,pwrite64,fsync,fdatasync", *script]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if ran.returncode and "ptrace" in ran.stderr:
        pytest.skip(f"strace may not trace here: {ran.stderr.strip()[:200]}")
    assert ran.returncode == 0, ran.stderr
    calls = sync_order.read_strace(trace)
    assert sync_order.faults(calls) == []
    assert sum(call.what == "mark" for call in calls) == 48


# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 12 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root; the test with a limit on file sizes runs without")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def ballast(disk: Path, spare: int) -> Iterator[None]:
    """Leave about `spare` bytes of a disk free."""
    usage = os.statvfs(disk)
    weight = disk / "ballast"
    with open(weight, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, usage.f_bavail * usage.f_bsize - spare))
    try:
        yield
    finally:
        weight.unlink()


def test_a_full_disk_refuses_and_forgets_nothing(small_disk: Path) -> None:
    story = full_disk.live_through(small_disk / "store", lambda spare: ballast(small_disk, spare))
    assert story["tracked"] > 10


def test_a_limit_on_file_sizes_refuses_and_forgets_nothing(tmp_path: Path) -> None:
    script = [sys.executable, str(HERE / "full_disk.py"), str(tmp_path / "store")]
    ran = subprocess.run(script, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr


# --- two processes on one directory ----------------------------------------------------------------------------------

HOLDER = """
import sys
import headwater as hw
with hw.Engine.open(sys.argv[1], threads=1) as engine:
    engine.track("view", user="ann", item="kettle")
    for line in sys.stdin:
        print(engine.track("view", user=line.strip(), item="kettle"), engine.digest()["whole"], flush=True)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that writes to `store`: one event per user named on its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process


def tell(holder: subprocess.Popen[str], user: str) -> tuple[int, str]:
    """Position and digest after one more event."""
    assert holder.stdin is not None
    assert holder.stdout is not None
    holder.stdin.write(f"{user}\n")
    holder.stdin.flush()
    position, digest = holder.stdout.readline().split()
    return int(position), digest


def test_a_second_writer_is_refused_and_a_reader_follows(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    store = tmp_path / "store"
    position, digest = tell(holder, "ben")
    with pytest.raises(StoreLocked, match=rf"process {holder.pid};") as refused:
        hw.Engine.open(store)
    assert refused.value.details["pid"] == str(holder.pid)
    command = subprocess.run(
        [HEADWATER, "track", str(store), "view", "--user", "bob", "--item", "kettle"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert command.returncode == 1
    assert f"process {holder.pid}" in command.stderr
    assert len(command.stderr.splitlines()) == 1
    with hw.Engine.open(store, read_only=True) as reader:
        assert (reader.position, reader.digest()["whole"]) == (position, digest)
        position, digest = tell(holder, "cem")
        assert reader.position == position - 1
        assert reader.refresh() == position
        assert reader.digest()["whole"] == digest
        position, digest = tell(holder, "dan")
        assert reader.recommend("dan", n=1, after=position).positions == [position]
        with pytest.raises(StoreError):
            reader.track("view", user="bob", item="kettle")
    holder.kill()
    holder.wait()
    with hw.Engine.open(store) as engine:
        assert engine.digest()["whole"] == digest


def test_readers_never_mistake_a_busy_writer_for_a_damaged_log(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    tell(holder, "ben")
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            tell(holder, f"u{number}")
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    opened = 0
    while not done.is_set():
        with hw.Engine.open(tmp_path / "store", read_only=True, threads=1) as reader:
            assert reader.position >= 2
            opened += 1
    writer.join()
    assert opened > 0


def test_a_snapshot_written_while_a_reader_opens_is_no_lost_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a busy writer does between two steps of a reader, done at the worst moment."""
    with hw.Engine.open(tmp_path / "store") as engine:
        engine.track("view", user="ann", item="kettle")
        positions, load = DirectorySnapshots.positions, DirectorySnapshots.load

        def overtaken(snapshots: DirectorySnapshots) -> list[int]:
            monkeypatch.undo()
            engine.track("view", user="ben", item="kettle")
            engine.snapshot()
            return positions(snapshots)

        def dropped(snapshots: DirectorySnapshots, position: int) -> list[tuple[str, bytes]]:
            monkeypatch.undo()
            for user in ("cem", "dan"):
                engine.track("view", user=user, item="kettle")
                engine.snapshot()
            return load(snapshots, position)

        for name, step in (("positions", overtaken), ("load", dropped)):
            monkeypatch.setattr(DirectorySnapshots, name, step)
            with hw.Engine.open(tmp_path / "store", read_only=True) as reader:
                assert reader.digest() == engine.digest()
            monkeypatch.setattr(DirectorySnapshots, name, step)
            report = verify_directory(tmp_path / "store", engine.config, threads=1)
            assert report.problems == []


def test_verify_of_a_moving_engine_compares_one_moment(tmp_path: Path) -> None:
    with hw.Engine.open(tmp_path / "store") as engine:
        done = threading.Event()

        def write(name: str) -> None:
            for number in range(150):
                engine.track("view", user=f"{name}{number}", item=f"i{number % 9}")
            done.set()

        threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        while not done.is_set():
            report = engine.verify()
            assert report.equal, report.problems
            engine.snapshot()
        for thread in threads:
            thread.join()


class Overtaken:
    """A live state that moves on between the questions for its position and its digest."""

    def __init__(self, engine: hw.Engine) -> None:
        self._engine = engine
        self._core = engine._runtime.core
        self.snapshot = self._core.snapshot

    @property
    def position(self) -> int:
        return self._core.position

    def digest(self) -> dict[str, str]:
        self._engine.track("view", user="ann", item="teapot")
        return self._core.digest()


def test_verify_asks_a_moving_state_for_position_and_digest_at_once(tmp_path: Path) -> None:
    with hw.Engine.open(tmp_path / "store") as engine:
        engine.track("view", user="ann", item="kettle")
        live: Any = Overtaken(engine)
        report = verify(engine.log, None, engine.config, 1, live)
        assert report.problems == []
        assert report.digest["live"] == engine.digest()["whole"]


# --- Ctrl-C during an import -----------------------------------------------------------------------------------------


def import_command(store: Path, file: Path) -> list[str]:
    return [HEADWATER, "import", str(store), str(file), "--chunk-rows", "200", "--json"]


def test_an_interrupted_import_continues_without_counting_twice(tmp_path: Path) -> None:
    events = simulate_shop(seed=3, events=40_000).events.drop("session", "basket")
    events.write_csv(tmp_path / "events.csv")
    store, whole = tmp_path / "store", tmp_path / "whole"
    interrupted = 0
    for wanted in (2_000, 9_000):
        with hw.Engine.open(store):
            pass  # so that there is a head record to watch
        process = subprocess.Popen(
            import_command(store, tmp_path / "events.csv"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        head = HeadFile(store / "head", read_only=True)
        begun = head.read().last
        while head.read().last < begun + wanted // 200 and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        head.close()
        assert process.returncode == 130, out
        lines = [line for line in err.splitlines() if line]  # the terminal shows ^C on a line of its own
        assert lines == ["headwater: interrupted; what was acknowledged is kept, the same command continues"]
        interrupted += 1
    ran = subprocess.run(
        import_command(store, tmp_path / "events.csv"), capture_output=True, text=True, timeout=60, check=True
    )
    report = json.loads(ran.stdout)
    assert interrupted == 2
    assert 0 < report["resumed_rows"] < 40_000
    assert report["resumed_rows"] + report["events"] == 40_000
    with hw.Engine.open(whole) as engine:
        engine.ingest(tmp_path / "events.csv", chunk_rows=200, progress=False)
        expected = engine.status()["outcomes"]
        digest = engine.digest()
    with hw.Engine.open(store) as engine:
        assert engine.status()["outcomes"] == expected
        # Append times differ, and so do positions where they stand in the state; users and items must not.
        assert engine.verify().equal
        assert [part for part, value in engine.digest().items() if value != digest[part]] == []


def test_an_append_that_is_interrupted_is_settled_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C mostly lands in a sync: between commit and head record, or between log and fold."""
    with hw.Engine.open(tmp_path / "store") as engine:
        engine.track("view", user="ann", item="kettle")

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        for owner, name in ((SqliteLog, "_write_head"), (Committer, "_fold_queued"), (SqliteLog, "_commit")):
            with monkeypatch.context() as patched:
                patched.setattr(owner, name, interrupt)
                with pytest.raises(KeyboardInterrupt):
                    engine.track("view", user=f"interrupted-in{name}", item="kettle")
            position = engine.track("view", user=f"after{name}", item="kettle")
            assert engine.position == position
        report = engine.verify()
        assert report.equal, report.problems
        users = [
            e.user for b in engine.log.read() for f in b.frames for e in decode_frame(f)[1] if isinstance(e, Feedback)
        ]
        # Nothing of the last one had been written, the others were kept though nobody was told so.
        assert users == [
            "ann",
            "interrupted-in_write_head",
            "after_write_head",
            "interrupted-in_fold_queued",
            "after_fold_queued",
            "after_commit",
        ]
        digest = engine.digest()["whole"]
    with hw.Engine.open(tmp_path / "store") as engine:
        assert engine.digest()["whole"] == digest


def test_followers_of_an_interrupted_leader_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the log free writes for all. If that one is interrupted, nobody may wait for ever."""
    with hw.Engine.open(tmp_path / "store", threads=1) as engine:
        leading, queued = threading.Event(), threading.Event()
        append = SqliteLog.append
        outcomes: list[BaseException | int] = []

        def interrupted(log: SqliteLog, frames: list[bytes]) -> int:
            if len(frames) == 1:  # the first, alone: hold the log until the others have queued up
                leading.set()
                queued.wait(30)
                return append(log, frames)
            raise KeyboardInterrupt

        def track(user: str) -> None:
            try:
                outcomes.append(engine.track("view", user=user, item="kettle"))
            except BaseException as err:  # noqa: BLE001 - collected
                outcomes.append(err)

        monkeypatch.setattr(SqliteLog, "append", interrupted)
        committer = engine._runtime._committer
        threads = [threading.Thread(target=track, args=(f"u{number}",), daemon=True) for number in range(6)]
        threads[0].start()
        assert leading.wait(30)
        for thread in threads[1:]:
            thread.start()
        while len(committer._queue) < 5:
            time.sleep(0.001)
        queued.set()
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
        kinds = Counter(type(outcome) for outcome in outcomes)
        assert kinds == {int: 1, KeyboardInterrupt: 1, StoreError: 4}
        monkeypatch.undo()
        engine.track("view", user="after", item="kettle")
        assert engine.verify().equal
