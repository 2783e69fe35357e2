"""The suite that every `EventLog` passes. A backend subclasses it and says how a log is opened.

* `EventLogContract`: what holds for every backend.
* `DurableLogContract`: and for one whose frames outlive the object.
* `DirectoryLogContract`: and for one that keeps them in a directory with one writer.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from headwater import Feedback, default_config
from headwater.config import Config
from headwater.core import new_core
from headwater.errors import InvalidInput, StoreClosed, StoreError, StoreLocked
from headwater.events.frame import HEADER_LEN, MAX_FRAME, FrameWriter, decode_header, encode_frame
from headwater.events.log import EventLog
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject, partition_of

NOW = 1_700_000_000_000
EV0, EV1 = Subject(0, 0), Subject(0, 1)


def frame(number: int, subject: Subject = EV0, producer: int = 7, size: int = 1) -> bytes:
    """A frame that can be told from others by producer and number. A log does not look into its body."""
    return encode_frame(subject, producer, 1, number, NOW, 1, b"\xc0" * size)


def frames(numbers: range, subject: Subject = EV0, producer: int = 7) -> list[bytes]:
    """Frames with these numbers."""
    return [frame(n, subject, producer) for n in numbers]


def contents(log: EventLog, start: int = 1, stop: int | None = None) -> list[bytes]:
    """All frames of a range, after checking that their positions are contiguous."""
    found: list[bytes] = []
    for batch in log.read(start, stop=stop):
        assert batch.positions == list(range(start + len(found), start + len(found) + len(batch.frames)))
        found += batch.frames
    return found


def fold(log: EventLog, config: Config | None = None) -> tuple[Counter[str], str]:
    """Outcomes and digest of everything in a log."""
    core = new_core(config or default_config("shop"), 1)
    outcomes: Counter[str] = Counter()
    for batch in log.read():
        outcomes.update(core.apply(batch.positions[0], batch.frames)[0])
    return outcomes, core.digest()["whole"]


class EventLogContract:
    """What holds for every log. `open_log` opens one at a place that is empty at first."""

    def open_log(self, place: Path) -> EventLog:
        """A log that may be appended to."""
        raise NotImplementedError

    @pytest.fixture
    def log(self, tmp_path: Path) -> Iterator[EventLog]:
        log = self.open_log(tmp_path)
        yield log
        log.close()

    # --- positions ---

    def test_an_empty_log_has_no_positions(self, log: EventLog) -> None:
        assert (log.first(), log.last()) == (0, 0)
        assert list(log.read()) == []
        assert list(log.read(5, stop=9)) == []

    def test_positions_are_contiguous_from_one(self, log: EventLog) -> None:
        assert log.append(frames(range(1, 4))) == 1
        assert log.append([frame(4)]) == 4
        assert log.append(frames(range(5, 7))) == 5
        assert (log.first(), log.last()) == (1, 6)
        assert contents(log) == frames(range(1, 7))

    def test_equal_frames_get_positions_of_their_own(self, log: EventLog) -> None:
        assert log.append([frame(1), frame(1)]) == 1
        assert log.append([frame(1)]) == 3
        assert contents(log) == [frame(1)] * 3

    def test_what_was_given_may_be_changed_afterwards(self, log: EventLog) -> None:
        given = frames(range(1, 4))
        log.append(given)
        given.clear()
        assert contents(log) == frames(range(1, 4))

    # --- reading ---

    @pytest.mark.parametrize(
        ("start", "stop", "expected"),
        [
            (1, None, range(1, 11)),
            (4, None, range(4, 11)),
            (10, None, range(10, 11)),
            (11, None, range(0)),
            (99, None, range(0)),
            (0, 3, range(1, 3)),
            (-5, 3, range(1, 3)),
            (3, 3, range(0)),
            (5, 2, range(0)),
            (9, 99, range(9, 11)),
            (2, 10, range(2, 10)),
        ],
    )
    def test_ranges(self, log: EventLog, start: int, stop: int | None, expected: range) -> None:
        log.append(frames(range(1, 11)))
        read = [(p, f) for batch in log.read(start, stop=stop) for p, f in zip(*batch, strict=True)]
        assert read == [(n, frame(n)) for n in expected]

    @pytest.mark.parametrize("per_batch", [1, 3, 10])
    def test_batches_end_when_their_bytes_are_reached(self, log: EventLog, per_batch: int) -> None:
        log.append(frames(range(1, 11)))
        limit = len(frame(1)) * (per_batch - 1) + 1
        sizes = [len(batch.frames) for batch in log.read(batch_bytes=limit)]
        assert sizes == [per_batch] * (10 // per_batch) + [10 % per_batch] * (10 % per_batch > 0)

    def test_a_batch_holds_a_frame_however_small_its_limit(self, log: EventLog) -> None:
        log.append(frames(range(1, 4)))
        assert [batch.positions for batch in log.read(batch_bytes=0)] == [[1], [2], [3]]

    def test_many_batches_of_large_frames(self, log: EventLog) -> None:
        large = [frame(n, size=MAX_FRAME - HEADER_LEN) for n in range(1, 41)]
        log.append(large)
        batches = list(log.read(batch_bytes=1 << 20))
        assert [f for batch in batches for f in batch.frames] == large
        assert {len(batch.frames) for batch in batches} == {4}

    def test_subjects_are_told_apart(self, log: EventLog) -> None:
        subjects = [EV0, EV1, CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject(0, 65_535), Subject(0, 256)]
        by_position = {n: subjects[n % len(subjects)] for n in range(1, 31)}
        log.append([frame(n, subject) for n, subject in by_position.items()])
        for wanted in ({EV0}, {EV1, CATALOGUE_SUBJECT}, {CONTROL_SUBJECT}, {Subject(0, 256)}, set(subjects)):
            read = [(p, f) for batch in log.read(subjects=wanted) for p, f in zip(*batch, strict=True)]
            assert read == [(n, frame(n, s)) for n, s in by_position.items() if s in wanted]
        assert list(log.read(subjects=set())) == []
        assert list(log.read(subjects=[Subject(0, 3)])) == []
        within = [batch.positions for batch in log.read(10, stop=20, subjects=[EV0])]
        assert within == [[12, 18]]

    def test_a_reader_ends_where_the_log_ended_when_it_began(self, log: EventLog) -> None:
        log.append(frames(range(1, 6)))
        reader = log.read(2, batch_bytes=1)
        unread = log.read(2)
        log.append(frames(range(6, 9)))
        assert [p for batch in reader for p in batch.positions] == [2, 3, 4, 5]
        assert [p for batch in unread for p in batch.positions] == [2, 3, 4, 5]

    def test_an_idle_reader_goes_on_where_it_stood(self, log: EventLog) -> None:
        log.append(frames(range(1, 301)))
        reader = log.read(batch_bytes=1)
        assert next(reader).frames == [frame(1)]
        for n in range(301, 401):
            log.append([frame(n)])
        rest = [f for batch in reader for f in batch.frames]
        assert rest == frames(range(2, 301))
        assert contents(log, 301) == frames(range(301, 401))

    def test_an_unfinished_reader_holds_up_nobody(self, log: EventLog) -> None:
        log.append(frames(range(1, 11)))
        readers = [log.read(batch_bytes=1) for _ in range(20)]
        assert [next(reader).positions for reader in readers] == [[1]] * 20
        assert log.append([frame(11)]) == 11
        del readers
        assert contents(log) == frames(range(1, 12))

    # --- threads ---

    def test_concurrent_appends_are_whole_and_in_order(self, log: EventLog) -> None:
        threads, rounds = 8, 15
        start = threading.Barrier(threads)

        def write(producer: int) -> dict[int, bytes]:
            start.wait()
            acknowledged: dict[int, bytes] = {}
            for n in range(rounds):
                sent = [frame(3 * n + i, producer=producer) for i in range(1 + n % 3)]
                first = log.append(sent)
                acknowledged |= dict(enumerate(sent, first))
            return acknowledged

        with ThreadPoolExecutor(threads) as pool:
            results = list(pool.map(write, range(threads)))
        expected = {position: sent for result in results for position, sent in result.items()}
        assert len(expected) == sum(map(len, results)), "one position was given to two callers"
        assert contents(log) == [expected[p] for p in range(1, len(expected) + 1)]
        for producer, result in enumerate(results):
            numbers = [decode_header(result[p]).sequence for p in sorted(result)]
            assert numbers == sorted(numbers), f"the frames of caller {producer} changed their order"

    def test_readers_see_whole_prefixes_while_a_writer_writes(self, log: EventLog) -> None:
        total, group = 120, 4
        done = threading.Event()

        def read() -> int:
            seen = rounds = 0
            while True:
                last_round = done.is_set()
                found = [decode_header(f).sequence for f in contents(log)]
                assert found == list(range(1, len(found) + 1))
                assert len(found) % group == 0, "half of an append was seen"
                assert len(found) >= seen, "what was there before is gone"
                seen, rounds = len(found), rounds + 1
                if last_round:
                    return seen

        with ThreadPoolExecutor(4) as pool:
            reads = [pool.submit(read) for _ in range(3)]
            for n in range(1, total, group):
                log.append(frames(range(n, n + group)))
            done.set()
            assert [future.result() for future in reads] == [total] * 3

    def test_a_reader_slower_than_the_writer_misses_nothing(self, log: EventLog) -> None:
        """Between any two batches the writer goes on; the reader begins again behind what it has, as the fold does."""
        written = count(1)
        read: list[bytes] = []
        log.append(frames(range(1, 4)))
        total = 3
        for _ in range(30):
            for batch in log.read(len(read) + 1, batch_bytes=1):
                assert batch.positions[0] == len(read) + 1
                read += batch.frames
                if total < 60:
                    log.append([frame(next(written), EV1)])
                    total += 1
            if len(read) == total:
                break
        assert read == frames(range(1, 4)) + frames(range(1, 58), EV1)

    # --- refusals ---

    @pytest.mark.parametrize(
        "bad",
        [
            pytest.param(b"", id="nothing"),
            pytest.param(b"HWF", id="only magic"),
            pytest.param(frame(1)[:HEADER_LEN], id="only a header"),
            pytest.param(b"hwf" + frame(1)[3:], id="another magic"),
            pytest.param(frame(1, size=MAX_FRAME - HEADER_LEN) + b"\xc0", id="a byte too large"),
        ],
    )
    def test_what_is_no_frame_is_refused_with_its_whole_append(self, log: EventLog, bad: bytes) -> None:
        log.append([frame(1)])
        for batch in ([bad], [frame(2), bad], [bad, frame(2)]):
            with pytest.raises(InvalidInput, match="not a frame"):
                log.append(batch)
        assert log.last() == 1
        assert log.append([frame(2)]) == 2
        assert contents(log) == frames(range(1, 3))

    def test_an_append_of_nothing_is_refused(self, log: EventLog) -> None:
        with pytest.raises(InvalidInput, match="nothing to append"):
            log.append([])
        assert log.last() == 0

    def test_a_frame_is_kept_unjudged(self, log: EventLog) -> None:
        """Whether a frame is sound is for the fold to say: a log that dropped it would not be replayed alike."""
        torn = frame(2)[:-1] + b"\x00"
        log.append([frame(1), torn])
        assert contents(log) == [frame(1), torn]

    # --- size, close ---

    def test_size_grows_with_what_is_held(self, log: EventLog) -> None:
        log.append([frame(1)])
        before = log.size_bytes()
        log.append([frame(n, size=100_000) for n in range(2, 12)])
        assert log.size_bytes() >= before + 1_000_000

    @pytest.mark.parametrize(
        "use",
        [
            lambda log: log.append([frame(2)]),
            lambda log: log.read(),
            lambda log: log.first(),
            lambda log: log.last(),
            lambda log: log.size_bytes(),
        ],
        ids=["append", "read", "first", "last", "size_bytes"],
    )
    def test_a_closed_log_says_so(self, log: EventLog, use: Callable[[EventLog], object]) -> None:
        log.append([frame(1)])
        log.close()
        log.close()
        with pytest.raises(StoreClosed, match="closed"):
            use(log)

    def test_a_reader_that_was_begun_outlives_the_close(self, log: EventLog) -> None:
        log.append(frames(range(1, 401)))
        reader = log.read(batch_bytes=1)
        next(reader)
        log.close()
        assert [f for batch in reader for f in batch.frames] == frames(range(2, 401))

    # --- retries ---

    def test_retries_out_of_order_fold_once(self, tmp_path: Path) -> None:
        """A log keeps every copy; the fold counts each frame's number once, in whatever order copies arrive."""
        config = default_config("shop")
        subject = Subject(0, partition_of("ann", config.generation.partitions))
        writer = FrameWriter("shop-1", 1)
        sent = [
            packed
            for n in range(6)
            for packed in writer.pack(subject, [Feedback("view", "ann", f"i{n}", NOW + n * 60_000)], NOW + n * 60_000)
        ]
        with_retries = [sent[i] for i in (0, 2, 1, 2, 0, 5, 3, 3, 4, 1, 5)]
        log = self.open_log(tmp_path)
        try:
            log.append(with_retries[:4])
            log.append(with_retries[4:])
            assert contents(log) == with_retries
            outcomes, _ = fold(log, config)
        finally:
            log.close()
        assert outcomes == {"applied": 6, "repeat-frame": 5}


class DurableLogContract(EventLogContract):
    """What holds for a log whose frames outlive the object."""

    def test_everything_is_there_after_reopening(self, tmp_path: Path) -> None:
        for n in range(1, 10, 3):
            log = self.open_log(tmp_path)
            assert log.last() == n - 1
            assert log.append(frames(range(n, n + 3))) == n
            log.close()
        log = self.open_log(tmp_path)
        assert (log.first(), log.last()) == (1, 9)
        assert contents(log) == frames(range(1, 10))
        log.close()

    def test_the_same_state_is_folded_after_reopening(self, tmp_path: Path) -> None:
        config = default_config("shop")
        writer = FrameWriter("shop-1", 1)
        log = self.open_log(tmp_path)
        for n in range(40):
            user = f"u{n % 7}"
            subject = Subject(0, partition_of(user, config.generation.partitions))
            event = Feedback("view", user, f"i{n % 5}", NOW + n * 60_000)
            log.append(list(writer.pack(subject, [event], NOW + n * 60_000)))
        before = fold(log, config)
        log.close()
        log = self.open_log(tmp_path)
        assert fold(log, config) == before
        assert before[0] == {"applied": 40}
        log.close()

    def test_a_refused_append_leaves_no_trace(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path)
        log.append([frame(1)])
        with pytest.raises(InvalidInput):
            log.append([frame(2), b"no frame"])
        log.close()
        log = self.open_log(tmp_path)
        assert contents(log) == [frame(1)]
        log.close()


class DirectoryLogContract(DurableLogContract):
    """What holds for a log in a directory: one writing process, any number of reading ones."""

    def open_reader(self, place: Path) -> EventLog:
        """The same log, opened read-only."""
        raise NotImplementedError

    def code_to_open(self, place: Path) -> str:
        """Python that opens the log for writing as `log`, for another process."""
        raise NotImplementedError

    def test_a_second_writer_is_refused_and_named(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path)
        log.append([frame(1)])
        with pytest.raises(StoreLocked, match="is being written by process"):
            self.open_log(tmp_path)
        assert log.append([frame(2)]) == 2
        log.close()
        log = self.open_log(tmp_path)
        assert contents(log) == frames(range(1, 3))
        log.close()

    def test_a_second_writing_process_is_refused(self, tmp_path: Path) -> None:
        code = f"""
            import sys
            {self.code_to_open(tmp_path)}
            print("open", flush=True)
            sys.stdin.read()
        """
        holder = subprocess.Popen(
            [sys.executable, "-c", "\n".join(line.strip() for line in code.splitlines())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "open\n"
            with pytest.raises(StoreLocked, match=f"process {holder.pid}") as refused:
                self.open_log(tmp_path)
            assert refused.value.details["pid"] == str(holder.pid)
            holder.kill()
        log = self.open_log(tmp_path)  # the kernel dropped the lock with the process
        log.close()

    def test_readers_need_no_lock_and_see_what_is_written(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path)
        log.append([frame(1)])
        readers = [self.open_reader(tmp_path) for _ in range(3)]
        log.append([frame(2)])
        for reader in readers:
            assert (reader.first(), reader.last()) == (1, 2)
            assert contents(reader) == frames(range(1, 3))
            assert reader.size_bytes() > 0
        log.close()
        for reader in readers:
            assert contents(reader) == frames(range(1, 3))
            reader.close()
            with pytest.raises(StoreClosed):
                reader.last()

    def test_a_reader_writes_nothing(self, tmp_path: Path) -> None:
        log = self.open_log(tmp_path)
        log.append([frame(1)])
        log.close()
        reader = self.open_reader(tmp_path)
        with pytest.raises(StoreClosed, match="read-only"):
            reader.append([frame(2)])
        assert contents(reader) == [frame(1)]
        reader.close()

    def test_there_is_nothing_to_read_where_nothing_was_written(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="holds no log"):
            self.open_reader(tmp_path)
        with pytest.raises(StoreError):
            self.open_log(tmp_path / "missing")
        assert list(tmp_path.iterdir()) == []

    def test_readers_may_come_at_any_moment_of_writing(self, tmp_path: Path) -> None:
        """A reader that opens in the middle of an append does not take the log for a damaged one."""
        log = self.open_log(tmp_path)
        log.append([frame(1)])
        stop = threading.Event()

        def write() -> int:
            for n in count(2):
                log.append([frame(n)])
                if stop.is_set():
                    return n
            raise AssertionError

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            try:
                for _ in range(150):
                    reader = self.open_reader(tmp_path)
                    found = contents(reader)
                    reader.close()
                    assert found == frames(range(1, len(found) + 1))
            finally:
                stop.set()
            written = writer.result()
            assert log.last() == written
        log.close()
