"""What goes on behind a caller: automatic snapshots and slate records. Their failures are told and cost no event."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from headwater import Config, Engine, Slate, default_config
from headwater.actors.snapshots import DirectorySnapshots
from headwater.errors import HeadwaterError, InvalidInput, StoreError, StoreFull
from headwater.events.types import SlateServed
from headwater.slate_record import QUEUE_LIMIT, SlateRecorder
from reference.cooccurrence import DAY

START = 19_000 * DAY
EVERY = 5


def config(every: int = EVERY) -> Config:
    default = default_config("shop")
    return msgspec.structs.replace(
        default, engine=msgspec.structs.replace(default.engine, snapshot_every_events=every, snapshots_kept=100)
    )


def track(engine: Engine, count: int) -> None:
    """As many views as asked; waits for the snapshot that they may have begun."""
    for _ in range(count):
        engine.track("view", user="ann", item=f"item{engine.position}", ts=START + engine.position * 60_000)
        engine.flush()


def test_a_snapshot_that_cannot_be_written_fails_no_event(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Engine.open(tmp_path, config=config()) as engine:
        (tmp_path / "snapshots").write_text("in the way")
        with caplog.at_level(logging.WARNING):
            track(engine, 2 * EVERY + 1)
        assert engine.session_of("ann", now=START).state.events == 2 * EVERY + 1
        warnings = [r.getMessage() for r in caplog.records if "automatic snapshot" in r.getMessage()]
        assert len(warnings) == 2, "once per failure, and the next try after the next interval"
        assert str(tmp_path / "snapshots") in engine.status()["snapshot_error"]
        with pytest.raises(StoreError, match="snapshots"):
            engine.snapshot()
        (tmp_path / "snapshots").unlink()
        track(engine, EVERY)
        assert engine.status()["snapshot_error"] is None
        assert len(engine.status()["snapshots"]) == 1
        digest = engine.digest()
    with Engine.open(tmp_path, config=config()) as engine:
        assert engine.status()["recovered_from_snapshot"] > 0
        assert engine.digest() == digest


def test_a_snapshot_written_on_request_clears_the_error(tmp_path: Path) -> None:
    with Engine.open(tmp_path, config=config()) as engine:
        (tmp_path / "snapshots").write_text("in the way")
        track(engine, EVERY)
        assert engine.status()["snapshot_error"] is not None
        (tmp_path / "snapshots").unlink()
        engine.snapshot()
        assert engine.status()["snapshot_error"] is None


def test_no_writer_waits_for_the_files_of_an_automatic_snapshot_and_closing_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released = threading.Event(), threading.Event()
    save, savers = DirectorySnapshots.save, []

    def slow(self: DirectorySnapshots, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        savers.append(threading.current_thread())
        begun.set()
        assert released.wait(60), "a writer waited for the disk"
        return save(self, position, parts, keep)

    monkeypatch.setattr(DirectorySnapshots, "save", slow)
    engine = Engine.open(tmp_path, config=config())
    for n in range(5 * EVERY):
        engine.track("view", user="ann", item=f"item{n}", ts=START + n * 60_000)
    assert begun.wait(60)
    assert len(savers) == 1, "one at a time"
    assert savers[0] is not threading.current_thread()
    released.set()
    engine.close()
    assert not savers[0].is_alive()
    assert len(list((tmp_path / "snapshots").iterdir())) == 1
    with Engine.open(tmp_path, config=config()) as engine:
        assert engine.status()["recovered_from_snapshot"] > 0
        assert engine.verify().equal


def test_what_breaks_an_automatic_snapshot_is_told_whatever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> str:
        raise ZeroDivisionError("what nobody thought of")

    monkeypatch.setattr(DirectorySnapshots, "save", broken)
    with Engine.open(tmp_path, config=config()) as engine:
        track(engine, EVERY)
        assert "what nobody thought of" in engine.status()["snapshot_error"]
        assert engine.session_of("ann", now=START).state.events == EVERY


def test_an_import_makes_a_snapshot_due(tmp_path: Path) -> None:
    import polars as pl

    table = pl.DataFrame({"type": ["view"] * 9, "user": ["u"] * 9, "item": ["i"] * 9, "ts": range(START, START + 9)})
    with Engine.open(tmp_path, config=config()) as engine:
        engine.ingest(table, progress=False)
        engine.flush()
        assert engine.status()["snapshots"] == [engine.position]


def served(number: int) -> SlateServed:
    return SlateServed(
        slate=f"1-{number}",
        user="ann",
        ts=START,
        request={},
        variant=None,
        config_version="c",
        scorer_version="s",
        positions=[1],
        left_out=[],
        candidates=None,
        items=[],
    )


class Refusing:
    """A commit that raises what it is told to, and keeps what it takes."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.kept: list[str] = []

    def __call__(self, group: list[SlateServed]) -> None:
        if self.error is not None:
            raise self.error
        self.kept += [record.slate for record in group]


@pytest.mark.parametrize("error", [StoreFull("full"), HeadwaterError("odd"), RuntimeError("unforeseen")])
def test_the_recorder_goes_on_after_a_failed_write(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    commit = Refusing()
    recorder = SlateRecorder(commit)
    commit.error = error
    assert recorder.record(served(1))
    recorder.flush()
    assert (recorder.dropped, str(error) in str(recorder.error)) == (1, True)
    commit.error = None
    assert recorder.record(served(2))
    recorder.flush()
    assert (commit.kept, recorder.dropped, recorder.error) == (["1-2"], 1, None)
    recorder.close()
    recorder.close()
    assert not recorder.record(served(3))


def test_a_recorder_whose_thread_dies_holds_nobody_up_and_starts_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    died: list[object] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    commit = Refusing()
    recorder = SlateRecorder(commit)
    commit.error = GeneratorExit("not even an Exception")
    recorder.record(served(1))
    recorder.flush()
    commit.error = None
    recorder.record(served(2))
    recorder.flush()
    recorder.close()
    assert (commit.kept, len(died)) == (["1-2"], 1)


def test_one_record_that_no_frame_can_hold_costs_no_other() -> None:
    gate = threading.Event()
    kept: list[str] = []

    def commit(group: list[SlateServed]) -> None:
        assert gate.wait(60)
        if any(record.slate == "1-3" for record in group):
            raise InvalidInput("too large")
        kept.extend(record.slate for record in group)

    recorder = SlateRecorder(commit)
    for number in range(6):
        recorder.record(served(number))
    gate.set()
    recorder.close()
    assert kept == [f"1-{n}" for n in range(6) if n != 3]
    assert recorder.dropped == 1


def test_a_group_gives_way_every_sixteen_records_and_keeps_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two records it would cost more than they do; never, it would hold answers up for milliseconds."""
    steps: list[str] = []
    monkeypatch.setattr("headwater.slate_record.time.sleep", lambda seconds: steps.append("gives way"))
    records = [served(number) for number in range(40)]

    def making(record: SlateServed) -> Callable[[], SlateServed]:
        def make() -> SlateServed:
            steps.append(record.slate)
            return record

        return make

    written: list[SlateServed] = []
    recorder = SlateRecorder(written.extend)
    with recorder._changed:  # the thread takes all of them at once
        for record in records:
            assert recorder.record(making(record))
    recorder.close()
    assert written == records
    assert [step for step in steps if step != "gives way"] == [record.slate for record in records]
    assert [at for at, step in enumerate(steps) if step == "gives way"] == [15, 32]


def test_a_full_queue_refuses_and_counts() -> None:
    gate, taken = threading.Event(), threading.Event()

    def commit(group: list[SlateServed]) -> None:
        taken.set()
        assert gate.wait(60)

    recorder = SlateRecorder(commit)
    recorder.record(served(0))
    assert taken.wait(60)
    assert all(recorder.record(served(n)) for n in range(QUEUE_LIMIT))
    assert not recorder.record(served(1))
    assert recorder.dropped == 1
    gate.set()
    recorder.close()


def test_slates_are_recorded_again_once_the_log_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine.open(":memory:") as engine:
        engine.track("view", user="ann", item="a", ts=START)
        append = engine.log.append

        def full(frames: Sequence[bytes]) -> int:
            raise StoreFull("the disk takes no more")

        monkeypatch.setattr(engine.log, "append", full)
        engine.recommend("ann")
        engine.flush()
        lost = engine.recommend("ann")
        engine.flush()
        assert "slate may not be recorded" in lost.degraded[0]
        assert engine.status()["slates_not_recorded"] == 2
        assert "takes no more" in engine.status()["slate_record_error"]
        monkeypatch.setattr(engine.log, "append", append)
        engine.recommend("ann")
        position = engine.flush()
        slate = engine.recommend("ann")
        assert (slate.degraded, slate.recorded) == ([], True)
        assert engine.flush() == position + 1
        assert engine.status()["slate_record_error"] is None
        assert engine.status()["outcomes"]["recorded"] == 2


@pytest.mark.parametrize("verb", ["recommend", "rank", "session"])
def test_a_slate_of_a_time_that_no_event_may_have_is_left_unrecorded(verb: str) -> None:
    with Engine.open(":memory:") as engine:
        engine.track("view", user="ann", item="a", ts=START)

        def ask(now: int) -> Slate:
            if verb == "session":
                return engine.session(["a"], visitor="ann", now=now)
            return engine.rank("ann", ["a"], now=now) if verb == "rank" else engine.recommend("ann", now=now)

        far = ask(engine.now() + 25 * 3_600_000)
        assert not far.recorded
        assert any("slate not recorded: now = " in told for told in far.degraded)
        near = ask(engine.now() + 23 * 3_600_000)
        assert (near.degraded, near.recorded) == ([], True), "one caller's time is nobody else's failure"
        engine.flush()
        assert engine.status()["slate_record_error"] is None
        assert engine.status()["slates_not_recorded"] == 0
        assert engine.status()["outcomes"]["recorded"] == 1
