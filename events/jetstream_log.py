"""The log on NATS JetStream: one stream per generation, whose sequence is the order.

* `AsyncJetStreamLog`: for hosts, inside their event loop.
* `JetStreamLog`: the same as an `EventLog`, on a thread with a loop of its own.

Durable when an append returns means: as durable as the server makes it. With `sync_interval: always` it is synced; the
packaged server (`nats_server`) always runs so, for others see `jetstream_stream.syncs_always`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from typing import Any

from headwater.errors import HeadwaterError, StoreClosed, StoreError
from headwater.events.jetstream_api import JetStreamApi
from headwater.events.jetstream_reader import LogReader, ReadBatch
from headwater.events.jetstream_stream import (
    Place,
    StreamSettings,
    StreamState,
    ensure_stream,
    epochs_taken,
    is_inside_batch,
    place_of,
    stream_state,
    syncs_always,
    take_epoch,
    warn_of_syncs,
)
from headwater.events.jetstream_writer import GroupWriter, runs
from headwater.events.log import READ_BATCH_BYTES, LogBatch
from headwater.events.loop_thread import LoopThread
from headwater.events.nats_options import NatsOptions
from headwater.events.subjects import Subject

_SPLIT_BYTES = 4 << 20
_UNDERWAY = 4
_TORN_LOOKS, _TORN_WAIT = 20, 0.01


class AsyncJetStreamLog:
    """The log of one namespace and generation. For one event loop; safe to use from many tasks.

    Made by `open`. `epoch` is this writer's (0 for a reader).
    """

    def __init__(self, api: JetStreamApi, place: Place, state: StreamState, epoch: int, patience: float) -> None:
        self.api = api
        self.place = place
        self.generation = place.generation
        self.log_id = state.log_id
        self.rewritten = state.rewritten
        self._rewriting = False
        self.epoch = epoch
        self._read_only = epoch == 0
        self._patience = patience
        self._closed = False
        self._writer = GroupWriter(api, place, self._reread, patience)
        self._writer.last = state.last

    @classmethod
    async def open(
        cls,
        options: NatsOptions,
        namespace: str,
        generation: str,
        *,
        create: StreamSettings | None = None,
        read_only: bool = False,
        producer: str = "headwater",
        patience: float = 10.0,
        rewriting: bool = False,
    ) -> AsyncJetStreamLog:
        """Connect, make the streams if they are missing (`create`), and take the next epoch unless `read_only`.

        `producer` is noted beside the epoch, for people. `patience`: seconds for which a read or append waits for a
        server that is gone, before it raises `Unavailable`. `rewriting`: open a log that is being written anew; to
        all others it is `Unavailable`.

        Raises `ConfigError`, `AccessDenied`, `Unavailable`, `GenerationMismatch`, `LogCorrupt`, `StoreError` (no log).
        """
        place = place_of(namespace, generation)
        api = JetStreamApi(options)
        try:
            if create is not None:
                state = await ensure_stream(api, place, create, rewriting=rewriting)
            else:
                state = await stream_state(api, place, check_epochs=not read_only, rewriting=rewriting)
            epoch = 0 if read_only else await take_epoch(api, place, producer, patience)
            if not read_only:
                warn_of_syncs(api, await syncs_always(api))
        except BaseException:
            await api.close()
            raise
        log = cls(api, place, state, epoch, patience)
        log._rewriting = rewriting
        return log

    async def append(self, frames: Sequence[bytes]) -> int:
        """See `EventLog.append`; at most `MAX_APPEND` (1,000) frames, stored as one atomic batch.

        Calls that wait at the same time share batches. Raises `Unavailable` after `patience`: its `kept` says whether
        something may be there.
        """
        self._check_writable()
        return await self._writer.append(frames)

    async def append_each(self, frames: Sequence[bytes]) -> list[int | HeadwaterError]:
        """Frames that need not stand together, in this order: for each its position, or why it was not kept."""
        self._check_writable()
        return await self._writer.append_each(frames)

    async def append_many(self, frames: Sequence[bytes]) -> list[int]:
        """Any number of frames; the position of each, ascending. Other writers' frames may stand between.

        Stored in atomic batches of at most 1,000 frames. When it raises, some of them may be there and others not: send
        the same frames again; by their numbers each counts once.
        """
        self._check_writable()
        pieces = list(runs(frames, _SPLIT_BYTES))
        positions: list[int] = []
        underway: list[asyncio.Task[int]] = []
        try:
            for n, run in enumerate(pieces):
                underway.append(asyncio.create_task(self._writer.append(run)))
                if n >= _UNDERWAY:
                    await underway[n - _UNDERWAY]
            for task, run in zip(underway, pieces, strict=True):
                first = await task
                positions.extend(range(first, first + len(run)))
        except BaseException:
            await asyncio.gather(*underway, return_exceptions=True)
            raise
        return positions

    def follow(
        self,
        start: int = 1,
        subjects: Collection[Subject] | None = None,
        *,
        batch_bytes: int = READ_BATCH_BYTES,
        idle: float = 1.0,
        tail: bool = True,
    ) -> LogReader:
        """All frames from `start` on, for ever: an asynchronous iterator of `ReadBatch(positions, frames, reached)`.

        It waits while the server is gone. `reader.reach(position)` asks it to say soon that it got there; without
        frames of its subjects it says by itself how far the log went, every `idle` seconds. `reader.aclose()` ends
        it. `tail`: take frames from the stream's tail where that is whole (see `jetstream_tail`).
        """
        self.check_open()
        return LogReader(
            self.api,
            self.place,
            start,
            subjects,
            log_id=self.log_id,
            batch_bytes=batch_bytes,
            idle=idle,
            tail=tail,
        )

    async def read(
        self,
        start: int = 1,
        *,
        stop: int | None = None,
        subjects: Collection[Subject] | None = None,
        batch_bytes: int = READ_BATCH_BYTES,
    ) -> AsyncIterator[ReadBatch]:
        """See `EventLog.read`: up to what is there now. `batch.reached` as in `follow`."""
        last = await self.last()
        end = last + 1 if stop is None else min(stop, last + 1)
        reader = self.reader(start, end, subjects, batch_bytes)
        if reader is not None:
            async for batch in reader:
                if batch.frames:
                    yield batch

    def reader(
        self, start: int, end: int, subjects: Collection[Subject] | None, batch_bytes: int = READ_BATCH_BYTES
    ) -> LogReader | None:
        """A reader of [start, end), which must have been written; `None` if there is nothing to read."""
        if end <= max(start, 1) or (subjects is not None and not subjects):
            return None
        return LogReader(
            self.api,
            self.place,
            start,
            subjects,
            log_id=self.log_id,
            stop=end,
            batch_bytes=batch_bytes,
            patience=self._patience,
        )

    async def _reread(self, start: int, stop: int) -> list[bytes]:
        return [frame async for batch in self.read(start, stop=stop) for frame in batch.frames]

    async def state(self) -> StreamState:
        """The log's first and last position and size, asked of the server. Raises `LogTailLost` if it ends before what
        was acknowledged here, `StoreClosed`, `Unavailable`."""
        self.check_open()
        known = self._writer.last
        state = await stream_state(self.api, self.place, rewriting=self._rewriting)
        self._writer.check(state.last, known, state.log_id == self.log_id)
        return state

    @property
    def last_known(self) -> int:
        """The last position that was acknowledged here; the log ends there or later."""
        return self._writer.last

    async def first(self) -> int:
        """See `EventLog.first`."""
        return (await self.state()).first

    async def last(self) -> int:
        """See `EventLog.last`. Never in the middle of an append that is being stored: the server shows the frames of a
        batch one by one, so this waits for its end."""
        last, looked = 0, 0
        while True:
            state = await self.state()
            if state.last != last:
                last, looked = state.last, 0
            if looked >= _TORN_LOOKS or not await is_inside_batch(self.api, self.place, last):
                return last
            # A server that was killed inside a batch leaves its beginning for good; those are frames like others.
            looked += 1
            await asyncio.sleep(_TORN_WAIT)

    async def size_bytes(self) -> int:
        """See `EventLog.size_bytes`: as the server counts them."""
        return (await self.state()).bytes

    async def epochs(self) -> int:
        """The last epoch that a writer took."""
        self.check_open()
        return await epochs_taken(self.api, self.place)

    async def trim(self, before: int) -> StreamState:
        """Drop all frames before a position for good; at least the last frame stays. The caller has a verified snapshot
        that reaches `before - 1`. Needs the right to purge the stream."""
        self._check_writable()
        state = await self.state()
        if not 1 <= before <= max(state.last, 1):
            raise StoreError(f"trim before {before}: the log ends at {state.last}; allowed: 1 to {max(state.last, 1)}")
        if before > state.first:
            await self.api.call(f"STREAM.PURGE.{self.place.stream}", {"seq": before})
        return await self.state()

    async def close(self) -> None:
        """Finish the appends that are on their way, refuse the others, disconnect. Readers end with `StoreClosed`."""
        if not self._closed:
            await self.stop_writing()
            await self.api.close()

    async def stop_writing(self) -> None:
        """Close for everyone but readers that were begun."""
        self._closed = True
        await self._writer.close()

    def check_open(self) -> None:
        """Raises `StoreClosed` after `close`."""
        if self._closed:
            raise StoreClosed(f"nats {self.api.url}: the log is closed", url=self.api.url)

    def _check_writable(self) -> None:
        self.check_open()
        if self._read_only:
            raise StoreClosed(f"nats {self.api.url}: the log was opened read-only", url=self.api.url)


class JetStreamLog:
    """An `EventLog` on JetStream, for threads: `AsyncJetStreamLog` on a loop of its own.

    Any number of processes may write: positions of one append are contiguous all the same. An append takes at most
    1,000 frames (`append_many` of the asynchronous log splits).
    """

    def __init__(
        self,
        options: NatsOptions,
        namespace: str,
        generation: str,
        *,
        create: StreamSettings | None = None,
        read_only: bool = False,
        producer: str = "headwater",
        patience: float = 10.0,
    ) -> None:
        """See `AsyncJetStreamLog.open`."""
        self._loop = LoopThread("headwater-jetstream")
        self._mutex = threading.Lock()
        # The log itself, and each reader that was begun: the last one closes the connection.
        self._users = 1
        self._closed = False
        try:
            self._log = self._loop.wait(
                AsyncJetStreamLog.open(
                    options,
                    namespace,
                    generation,
                    create=create,
                    read_only=read_only,
                    producer=producer,
                    patience=patience,
                )
            )
        except BaseException:
            self._loop.stop()
            raise
        self.generation = self._log.generation
        self.epoch = self._log.epoch
        self.rewritten = self._log.rewritten
        """Where the log ended when a user was last erased from it; 0: never."""

    def _call(self, name: str, *args: Any) -> Any:
        with self._mutex:
            if self._closed:
                raise StoreClosed("the log is closed")
            self._users += 1
        try:
            return self._loop.wait(getattr(self._log, name)(*args))
        finally:
            self._release()

    def append(self, frames: Sequence[bytes]) -> int:
        """See `EventLog.append`."""
        return int(self._call("append", frames))

    def read(
        self,
        start: int = 1,
        *,
        stop: int | None = None,
        subjects: Collection[Subject] | None = None,
        batch_bytes: int = READ_BATCH_BYTES,
    ) -> Iterator[LogBatch]:
        """See `EventLog.read`."""
        last = self.last()
        end = last + 1 if stop is None else min(stop, last + 1)
        reader = self._log.reader(start, end, subjects, batch_bytes)
        if reader is None:
            return iter(())
        with self._mutex:
            self._users += 1
        return _Batches(self, reader)

    def first(self) -> int:
        """See `EventLog.first`."""
        return int(self._call("first"))

    def last(self) -> int:
        """See `EventLog.last`."""
        return int(self._call("last"))

    def size_bytes(self) -> int:
        """See `EventLog.size_bytes`."""
        return int(self._call("size_bytes"))

    def epochs(self) -> int:
        """See `AsyncJetStreamLog.epochs`."""
        return int(self._call("epochs"))

    def trim(self, before: int) -> None:
        """See `AsyncJetStreamLog.trim`."""
        self._call("trim", before)

    def close(self) -> None:
        """See `EventLog.close`."""
        with self._mutex:
            if self._closed:
                return
            self._closed = True
        self._loop.wait(self._log.stop_writing())
        self._release()

    def _release(self, *, wait: bool = True) -> None:
        with self._mutex:
            self._users -= 1
            if self._users:
                return
        if wait:
            self._loop.wait(self._log.api.close())
            self._loop.stop()
        else:
            self._loop.begin(self._log.api.close(), lambda: self._loop.stop(wait=False))

    def next_batch(self, reader: LogReader) -> ReadBatch | None:
        """The reader's next batch; `None` at its end."""
        return self._loop.wait(_next(reader))

    def leave(self, reader: LogReader) -> None:
        """A reader is done with."""
        self._loop.wait(reader.aclose())
        self._release()

    def abandon(self, reader: LogReader) -> None:
        """A reader was dropped: in whatever thread that is noticed, nobody may wait there."""
        self._loop.begin(reader.aclose(), lambda: self._release(wait=False))


class _Batches:
    """The batches of one read; it holds the connection until it is used up, closed or dropped."""

    def __init__(self, log: JetStreamLog, reader: LogReader) -> None:
        self._log: JetStreamLog | None = log
        self._reader = reader

    def __iter__(self) -> Iterator[LogBatch]:
        return self

    def __next__(self) -> LogBatch:
        while self._log is not None:
            try:
                batch: ReadBatch | None = self._log.next_batch(self._reader)
            except BaseException:
                self.close()
                raise
            if batch is None:
                self.close()
            elif batch.frames:
                return LogBatch(batch.positions, batch.frames)
        raise StopIteration

    def close(self) -> None:
        """Leave the consumer and let go of the connection."""
        log, self._log = self._log, None
        if log is not None:
            log.leave(self._reader)

    def __del__(self) -> None:
        log, self._log = self._log, None
        if log is not None:
            log.abandon(self._reader)


async def _next(reader: LogReader) -> ReadBatch | None:
    return await anext(reader, None)
