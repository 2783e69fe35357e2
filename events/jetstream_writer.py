"""Writing to the stream: concurrent appends in groups, each append once.

JetStream syncs each message on its own, but an atomic batch as one. So what waits while a batch is on its way goes out
together as the next one: at most 1,000 frames, in the order in which it was given. Some single frames are quicker as
single messages: for a batch the server makes a store of its own with directories and files, syncs these, and removes
them, which takes as long as a dozen messages with a sync each.

An append is one group's run of frames, so its positions are contiguous however many writers there are: JetStream
stores an atomic batch as a whole, and nothing between its parts.

Each group carries an id of its own (`Nats-Msg-Id` of its first frame). If no answer came, the same group is sent again
under the same id; a server that has it already says so and tells where. So a group is stored once, however often it
was sent, for as long as the server knows ids (`DUPLICATE_WINDOW`). One case is left: a server that is killed while it
writes a batch, and comes back with the beginning of it. Then the rest is appended, if it can follow directly, and else
the whole once more; folds admit each frame number once in any case.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from headwater.errors import (
    HeadwaterError,
    InvalidInput,
    LogTailLost,
    StoreClosed,
    StoreError,
    Unavailable,
)
from headwater.events.jetstream_api import (
    DUPLICATE_IN_BATCH,
    WRONG_LAST_SEQUENCE,
    WRONG_LAST_SEQUENCE_REPLICATED,
    JetStreamApi,
    JetStreamRefusal,
    LostContact,
)
from headwater.events.jetstream_stream import Place
from headwater.events.log import check_frames
from headwater.events.nats_options import RETRY_AFTER_MS

MAX_APPEND = 1_000
"""Frames in one append: what JetStream takes as one atomic batch."""
_GROUP_BYTES = 8 << 20
_FEW = 16
"""So many frames that need not stand together are stored one by one."""
_QUEUE_BYTES = 64 << 20
_PAUSE = 0.05

Reread = Callable[[int, int], Awaitable[list[bytes]]]
"""The frames at positions [start, stop), as far as they are there."""


Outcome = int | HeadwaterError
"""Position of a frame, or why it was not kept."""


class _Append:
    """Frames in their order and where each came to stand; `apart` from each other, or as one run."""

    __slots__ = ("apart", "done", "frames", "size")

    def __init__(self, frames: list[bytes], apart: bool) -> None:
        self.frames = frames
        self.apart = apart
        self.size = sum(map(len, frames))
        self.done: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

    def settle(self, outcomes: list[Outcome]) -> None:
        if not self.done.done():
            self.done.set_result(outcomes)

    def fail(self, error: HeadwaterError) -> None:
        """None of its frames is known to be kept."""
        self.settle([error] * len(self.frames))


class GroupWriter:
    """Appends to one stream. For use inside one event loop, by any number of tasks."""

    def __init__(self, api: JetStreamApi, place: Place, reread: Reread, patience: float) -> None:
        """`patience`: seconds for which an append is tried before `Unavailable` is raised."""
        self._api = api
        self._place = place
        self._reread = reread
        self._patience = patience
        self._name, self._numbers = secrets.token_urlsafe(12), itertools.count()
        self._queue: deque[_Append] = deque()
        self._queued = 0
        self._room = asyncio.Condition()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failed: HeadwaterError | None = None
        self.last = 0
        """The last position known to be acknowledged; the log never ends before it."""

    async def append(self, frames: Sequence[bytes]) -> int:
        """See `EventLog.append`; at most `MAX_APPEND` frames. Raises `Unavailable` too."""
        check_frames(frames)
        if len(frames) > MAX_APPEND:
            raise InvalidInput(
                f"{len(frames)} frames in one append; allowed: {MAX_APPEND}, as many as JetStream stores as a whole",
                field="frames",
                value=len(frames),
            )
        entry = _Append(list(frames), len(frames) == 1)
        await self._enqueue([entry])
        # Shielded: a caller that goes away does not take the frames of others with it.
        first = (await asyncio.shield(entry.done))[0]
        if isinstance(first, HeadwaterError):
            raise first
        return first

    async def append_each(self, frames: Sequence[bytes]) -> list[Outcome]:
        """Frames that are each an append of its own, in this order; for each its position, or why it was not kept (an
        `Unavailable` says whether that is known). Some are stored one by one, which takes less than one batch."""
        check_frames(frames)
        entries = [_Append(run, True) for run in runs(frames, _GROUP_BYTES)]
        await self._enqueue(entries)
        outcomes: list[Outcome] = []
        for entry in entries:
            outcomes += await asyncio.shield(entry.done)
        return outcomes

    async def _enqueue(self, entries: list[_Append]) -> None:
        if self._queued >= _QUEUE_BYTES and self._failed is None:
            async with self._room:
                await self._room.wait_for(lambda: self._queued < _QUEUE_BYTES or self._failed is not None)
        if self._failed is not None:
            raise self._failed
        self._queue += entries
        self._queued += sum(entry.size for entry in entries)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        self._work.set()

    async def close(self) -> None:
        """Finish what was begun, refuse the rest."""
        closed = StoreClosed("the log is closed")
        self._fail(closed)
        self._work.set()
        async with self._room:
            self._room.notify_all()
        if self._task is not None:
            await self._task

    def check(self, last: int, known: int, same: bool) -> None:
        """Refuse a log that ends at `last` though `known` was acknowledged, or that is not the `same` any more. Raises
        `LogTailLost`, now and for every later append."""
        if same and last >= known:
            return
        lost = LogTailLost(
            f"nats {self._api.url}: {self._place.stream} ends at position {last}, but frames up to {known} were "
            "acknowledged: the stream lost its tail or was made anew; restore it from a backup",
            last=last,
            expected=known,
        )
        self._fail(lost)
        raise lost

    def _fail(self, error: HeadwaterError) -> None:
        self._failed = self._failed or error

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue and self._failed is None:
                full = self._queued >= _QUEUE_BYTES
                await self._write(self._take())
                if full:
                    async with self._room:
                        self._room.notify_all()
            if self._failed is not None:
                while self._queue:
                    self._queue.popleft().fail(self._failed)
                async with self._room:
                    self._room.notify_all()
                return

    def _take(self) -> list[_Append]:
        group: list[_Append] = []
        frames = size = 0
        while self._queue and (
            not group
            or (frames + len(self._queue[0].frames) <= MAX_APPEND and size + self._queue[0].size <= _GROUP_BYTES)
        ):
            entry = self._queue.popleft()
            group.append(entry)
            frames += len(entry.frames)
            size += entry.size
        self._queued -= size
        return group

    async def _write(self, group: list[_Append]) -> None:
        """Store a group and tell its callers. Never raises."""
        frames = [frame for entry in group for frame in entry.frames]
        try:
            if len(frames) <= _FEW and all(entry.apart for entry in group):
                outcomes = await self._store_each(frames)
            else:
                first = await self._store(frames)
                outcomes = list(range(first, first + len(frames)))
        except HeadwaterError as err:
            outcomes = [err] * len(frames)
        except asyncio.CancelledError:
            for entry in group:
                entry.fail(StoreClosed("the log was closed during the append; whether it was kept is not known"))
            raise
        except Exception as err:  # noqa: BLE001 - an answer of a shape that nobody foresaw must not leave callers waiting
            unforeseen = StoreError(f"nats {self._api.url}: the append failed: {err!r}; it may have been kept")
            outcomes = [unforeseen] * len(frames)
        at = 0
        for entry in group:
            entry.settle(outcomes[at : at + len(entry.frames)])
            at += len(entry.frames)

    async def _store_each(self, frames: list[bytes]) -> list[Outcome]:
        """Store frames as messages of their own; what became of each."""
        until = asyncio.get_running_loop().time() + self._patience
        known, numbers = self.last, [self._number() for _ in frames]
        requests = [
            (self._place.subject_of(frame), frame, self._first_headers(number))
            for frame, number in zip(frames, numbers, strict=True)
        ]
        try:
            seconds = min(self._api.options.request_timeout, self._patience)
            answers = await self._api.request_each(requests, seconds)
        except Unavailable as err:
            answers = [err] * len(frames)
        outcomes = [self._plain(answer, known) for answer in answers]
        odd = [at for at, outcome in enumerate(outcomes) if outcome is None]
        # What was not plainly acknowledged is asked for again, under its own number.
        asking = [self._kept(frames[at], numbers[at], answers[at], known, until) for at in odd]
        for at, outcome in zip(odd, await asyncio.gather(*asking), strict=True):
            outcomes[at] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _plain(self, answer: bytes | HeadwaterError, known: int) -> Outcome | None:
        """The position in an answer as it mostly is, or what cannot be mended; None for all others."""
        if isinstance(answer, HeadwaterError):
            return None if isinstance(answer, Unavailable) else answer
        try:
            said = self._api.decoded(answer)
            if "error" in said or said.get("duplicate"):
                return None
            position = int(said["seq"])
            self.check(position - 1, known, True)
        except HeadwaterError as err:
            return err
        return self._noted(position, 1)

    async def _kept(
        self, frame: bytes, number: str, answer: bytes | HeadwaterError, known: int, until: float
    ) -> Outcome:
        """A frame's position after an answer that is not plain, or why it was not kept."""
        try:
            if not isinstance(answer, HeadwaterError):
                return self._noted(await self._position_in(self._api.decoded(answer), [frame], number, known), 1)
        except Unavailable as err:
            answer = err
        except HeadwaterError as err:
            return err
        await asyncio.sleep(_PAUSE)
        try:
            return await self._store([frame], number=number, kept=_kept_after(answer), until=until)
        except HeadwaterError as err:
            return err

    async def _store(
        self,
        frames: list[bytes],
        expected: int | None = None,
        *,
        number: str | None = None,
        kept: str = "no",
        until: float | None = None,
    ) -> int:
        """Position of the first frame of a stored group. `number`, `kept`, `until`: of attempts made before."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience if until is None else until
        number = number or self._number()
        while True:
            try:
                remaining = max(0.05, min(self._api.options.request_timeout, deadline - loop.time()))
                known = self.last
                answer = await self._send(frames, number, expected, remaining)
                return self._noted(await self._position_in(answer, frames, number, known), len(frames))
            except Unavailable as err:
                if isinstance(err, LostContact):
                    kept = "unknown"
                if loop.time() >= deadline:
                    raise self._gone(err, kept) from err
                await asyncio.sleep(_PAUSE)

    def _number(self) -> str:
        """An id of a group, like no other one."""
        return f"{self._name}.{next(self._numbers)}"

    def _noted(self, first: int, count: int) -> int:
        self.last = max(self.last, first + count - 1)
        return first

    def _gone(self, err: Unavailable, kept: str) -> Unavailable:
        what = (
            "nothing was kept"
            if kept == "no"
            else "whether the frames were kept is not known; send the same frames again"
        )
        return Unavailable(
            f"{err.message}; gave up after {self._patience:g} s; {what}",
            url=self._api.url,
            retry_after_ms=RETRY_AFTER_MS,
            kept=kept,
        )

    async def _position_in(self, answer: dict[str, Any], frames: list[bytes], number: str, known: int) -> int:
        """Position of a group's first frame, by the server's answer. `known`: the log did not end before it when the
        group was sent."""
        error = answer.get("error")
        if error is None:
            last = int(answer["seq"])
            first = last - int(answer.get("count", 1)) + 1
            if answer.get("duplicate"):
                return await self._found(frames, last)
            if last - first + 1 != len(frames):
                raise StoreError(f"nats {self._api.url}: {len(frames)} frames sent, {last - first + 1} acknowledged")
            self.check(first - 1, known, True)
            return first
        if int(error.get("err_code", 0)) == DUPLICATE_IN_BATCH:
            return await self._locate(frames, number)
        raise self._api.refusal(error, self._place.stream)

    def _first_headers(self, number: str) -> dict[str, str]:
        return {"Nats-Msg-Id": number, "Nats-Expected-Stream": self._place.stream}

    async def _send(self, frames: list[bytes], number: str, expected: int | None, timeout: float) -> dict[str, Any]:
        """Send a group: all but the last frame without waiting, the last as a request."""
        first = self._first_headers(number)
        if expected is not None:
            first["Nats-Expected-Last-Sequence"] = str(expected)
        if len(frames) == 1:
            return await self._ask(frames[0], first, timeout)
        # A batch that was begun and not ended is forgotten by the server; each attempt is a batch of its own.
        batch = secrets.token_urlsafe(12)
        for n, frame in enumerate(frames, 1):
            headers = {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(n)} | (first if n == 1 else {})
            if n < len(frames):
                await self._api.publish(self._place.subject_of(frame), frame, headers)
            else:
                headers["Nats-Batch-Commit"] = "1"
                return await self._ask(frame, headers, timeout)
        raise AssertionError("a group has frames")

    async def _ask(self, frame: bytes, headers: dict[str, str], timeout: float) -> dict[str, Any]:
        return self._api.decoded(await self._api.request(self._place.subject_of(frame), frame, headers, timeout))

    async def _locate(self, frames: list[bytes], number: str) -> int:
        """Where the group is that the server has already: its first frame alone, under the group's id, is a duplicate,
        and the answer tells of what."""
        answer = await self._ask(frames[0], self._first_headers(number), self._api.options.request_timeout)
        if (error := answer.get("error")) is not None:
            raise self._api.refusal(error, self._place.stream)
        return await self._found(frames, int(answer["seq"]))

    async def _found(self, frames: list[bytes], first: int) -> int:
        """After an attempt of unknown outcome: the group begins at `first`. Complete it where a crash cut it off."""
        there = await self._reread(first, first + len(frames))
        if there == frames:
            return first
        held = next((n for n, (a, b) in enumerate(zip(there, frames, strict=False)) if a != b), len(there))
        if 0 < held == len(there):
            try:
                await self._store(frames[held:], expected=first + held - 1)
                return first
            except JetStreamRefusal as err:
                if err.details["err_code"] not in (WRONG_LAST_SEQUENCE, WRONG_LAST_SEQUENCE_REPLICATED):
                    raise
        return await self._store(frames)


def _kept_after(err: HeadwaterError) -> str:
    return "unknown" if isinstance(err, LostContact) else "no"


def runs(frames: Sequence[bytes], most: int) -> Iterator[list[bytes]]:
    """Frames in pieces that one append takes, of at most so many bytes if it has more than one frame."""
    run: list[bytes] = []
    size = 0
    for frame in frames:
        if run and (len(run) == MAX_APPEND or size + len(frame) > most):
            yield run
            run, size = [], 0
        run.append(frame)
        size += len(frame)
    if run:
        yield run
