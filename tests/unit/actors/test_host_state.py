"""A host's state follows the log and writes snapshots: who waits for that, and who need not."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from headwater import Feedback
from headwater.actors.host_state import HostState
from headwater.actors.snapshots import DirectorySnapshots
from headwater.actors.topology import HostSpec, deal
from headwater.config import Config, default_config
from headwater.core import WrittenState, write_out
from headwater.events.frame import FrameWriter
from headwater.events.memory_log import MemoryLog
from headwater.events.subjects import Subject, subject_of
from headwater.short_turns import give_way

START = 1_700_000_000_000
EVERY = 5


class Batch(NamedTuple):
    positions: list[int]
    frames: list[bytes]
    reached: int


class Reading:
    """A log read to its end, and then nothing more."""

    def __init__(self, log: MemoryLog, start: int) -> None:
        self._log, self._start = log, start

    async def __aiter__(self) -> AsyncIterator[Batch]:
        for batch in self._log.read(self._start):
            yield Batch(list(batch.positions), list(batch.frames), batch.positions[-1])

    def reach(self, position: int) -> None:
        raise AssertionError("nobody asks for a position here")

    async def aclose(self) -> None:
        """Nothing was opened."""


class Log:
    """A log in memory, as a host reads one."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def bounds(self) -> tuple[int, int]:
        return self._log.first(), self._log.last()

    def follow(self, start: int, subjects: Sequence[Subject] | None) -> Reading:
        return Reading(self._log, start)


def config() -> Config:
    config = default_config("shop")
    return msgspec.structs.replace(
        config, cluster=msgspec.structs.replace(config.cluster, snapshot_every_frames=EVERY, snapshots_kept=3)
    )


def log_of(config: Config, frames: int) -> MemoryLog:
    log, writer = MemoryLog(), FrameWriter("p", 1)
    for at in range(frames):
        event = Feedback(type="view", user=f"u{at % 7}", item=f"i{at % 11}", ts=START + 60_000 * at)
        log.append(list(writer.pack(subject_of(event, config.generation.partitions), [event], START)))
    return log


def host(config: Config, log: MemoryLog, place: Path, spec: HostSpec) -> HostState:
    read: Any = Log(log)
    return HostState(spec, config, read, DirectorySnapshots(place), lambda *_: None)


def nice() -> int:
    """Of this thread."""
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def item_host(config: Config) -> HostSpec:
    return next(spec for spec in deal(config.generation.partitions, config.generation.shards, 1, 1) if spec.shards)


def test_questions_need_not_wait_for_what_a_host_that_folds_writes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = config()
    log = log_of(cfg, 2 * EVERY + 2)
    state = host(cfg, log, tmp_path, item_host(cfg))
    held: list[bool] = []

    def seen(core: Any) -> WrittenState:
        held.append(state.busy)
        return write_out(core)

    async def run() -> tuple[list[bool], list[bool]]:
        await state.recover()
        await state.follow()
        await state.saved()
        folding = held.copy()
        assert await state.snapshot() == 2 * EVERY + 2
        await state.saved()
        return folding, held[len(folding) :]

    monkeypatch.setattr("headwater.actors.host_state.write_out", seen)
    folding, asked_for = asyncio.run(run())
    state.close()
    assert folding == [False, False], "of the two that were due"
    assert asked_for == [True], "folds may come any time meanwhile"


def test_frames_are_folded_while_a_snapshot_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = config()
    log = log_of(cfg, 2 * EVERY + 3)
    state = host(cfg, log, tmp_path, item_host(cfg))
    followed = threading.Event()
    niceness: set[tuple[str, int]] = set()

    class Packing:
        """Packs once the rest of the log was folded."""

        def __init__(self, core: Any) -> None:
            self._written = write_out(core)
            self.position = self._written.position

        def pack(self) -> None:
            niceness.add(("packs", nice()))
            assert followed.wait(30), "folding waits for what is packed"
            self._written.pack()

        def take_files(self) -> list[tuple[str, bytes]]:
            niceness.add(("takes", nice()))
            return self._written.take_files()

    async def run() -> None:
        await state.recover()
        await state.follow()
        assert (state.position, state.snapshot_position) == (2 * EVERY + 3, 0), "with two that wait to be packed"
        followed.set()
        await state.saved()

    monkeypatch.setattr("headwater.actors.host_state.write_out", Packing)
    asyncio.run(run())
    assert state.snapshot_position == 2 * EVERY
    assert niceness == {("packs", max(nice(), 10)), ("takes", nice())}, (
        "who packs gives way, and holds nothing that others wait for"
    )
    again = host(cfg, log, tmp_path, item_host(cfg))

    async def restart() -> None:
        await again.recover()
        assert again.recovered_from == 2 * EVERY
        await again.follow()

    asyncio.run(restart())
    assert again.core.digest() == state.core.digest()
    for each in (state, again):
        each.close()


def test_what_is_written_out_is_packed_and_taken_once(tmp_path: Path) -> None:
    cfg = config()
    state = host(cfg, log_of(cfg, 1), tmp_path, item_host(cfg))
    asyncio.run(state.recover())
    written = write_out(state.core)
    assert written.take_files() == []
    for _ in range(2):
        written.pack()
    assert dict(written.take_files()) == dict(state.core.snapshot()[1])
    assert written.take_files() == []
    state.close()


@pytest.mark.parametrize("own", [0, 15])
def test_who_gives_way_is_that_thread_alone_and_never_gets_more_than_it_had(own: int) -> None:
    before, found = nice(), list[int]()

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), max(before, own))
        give_way()
        found.append(nice())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert (found, nice()) == ([max(before, own, 10)], before)
