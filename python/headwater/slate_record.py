"""Slate records: what was served, written to the log behind the answer.

Answers do not wait for this: records queue up, a thread of its own commits them in groups. A group is gathered for a
moment: a commit costs about the same whether it holds one record or fifty, and answers would wait for each. The queue
is bounded; a slate that finds it full is marked as not recorded instead of being held up. Records of a write that
failed are counted and given up, the next group is tried again: a disk that was full takes records as soon as it has
room.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import msgspec

from headwater.errors import InvalidInput, StoreError
from headwater.events.types import SlateServed
from headwater.events.validate import MAX_EXTRA
from headwater.slate import Slate, SlateItem

SCORER_VERSION = "rrf-3"
"""Changes whenever the same state and request would give another slate."""

QUEUE_LIMIT = 10_000
_GROUP = 500
_GATHER_SECONDS = 0.1
_MADE_AT_ONCE = 16

logger = logging.getLogger(__name__)

Making = Callable[[], SlateServed]
"""Makes a record of what it holds, later and on another thread."""


class Records(Protocol):
    """What takes records of slates and writes them behind the answers."""

    @property
    def error(self) -> str | None:
        """Why the last write failed; `None` once one succeeded."""
        ...

    def record(self, served: SlateServed | Making, /) -> bool:
        """Queue a record, or what makes it; whether there was room."""
        ...


class SlateRecorder:
    """Commits slate records in the background, in the order they were served."""

    def __init__(self, commit: Callable[[list[SlateServed]], object]) -> None:
        self._commit = commit
        self._queue: deque[SlateServed | Making] = deque()
        self._writing = False
        self._closing = False
        self._flushing = 0
        self._thread: threading.Thread | None = None
        # One condition for the queue and for everything that is said of it below.
        self._changed = threading.Condition()
        self.dropped = 0
        self.error: str | None = None
        """Why the last group was not written; `None` once one was written again."""

    def record(self, served: SlateServed | Making, *, wait: bool = False) -> bool:
        """Queue a record, or what makes it; whether there was room. With `wait` room is waited for, as long as records
        are written."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._closing or self._thread is None or len(self._queue) < QUEUE_LIMIT)
            if self._closing or len(self._queue) >= QUEUE_LIMIT:
                self.dropped += 1
                return False
            if self._thread is None and not self._start():
                self.dropped += 1
                return False
            self._queue.append(served)
            # Waking the thread costs as much as a record: only for the first of a group and for the last.
            if len(self._queue) in (1, _GROUP):
                self._changed.notify_all()
            return True

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="slate-records", daemon=True)
        try:
            thread.start()
        except RuntimeError as err:  # no more threads
            self.error = str(err)
            return False
        self._thread = thread
        return True

    def _run(self) -> None:
        try:
            while group := self._take():
                self._write(_made(group))
        finally:
            # However the thread ends: nobody may wait for it, and the next record starts another.
            with self._changed:
                self._writing, self._thread = False, None
                self._changed.notify_all()

    def _take(self) -> list[SlateServed | Making]:
        """The next records to write; none when there is nothing left and the recorder is closing."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._queue or self._closing)
            self._changed.wait_for(self._is_urgent, timeout=_GATHER_SECONDS)
            group = [self._queue.popleft() for _ in range(min(len(self._queue), _GROUP))]
            self._writing = bool(group)
            return group

    def _is_urgent(self) -> bool:
        return self._closing or self._flushing > 0 or len(self._queue) >= _GROUP

    def _write(self, group: list[SlateServed]) -> None:
        try:
            self._commit(group)
            self.error = None
        except InvalidInput as err:
            if len(group) == 1:
                self._give_up(group, err.message)
                return
            for served in group:  # one record that no frame can hold costs no other its place
                self._write([served])
        except StoreError as err:
            self._give_up(group, err.message)
        except Exception as err:
            logger.exception("slate records: the write broke off")
            self._give_up(group, repr(err))

    def _give_up(self, group: list[SlateServed], why: str) -> None:
        if self.error is None:
            logger.warning("%d slate records were not written: %s", len(group), why)
        with self._changed:
            self.error = why
            self.dropped += len(group)

    def flush(self) -> None:
        """Wait until everything queued so far is written or given up."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._thread is None or not (self._queue or self._writing))
            finally:
                self._flushing -= 1

    def close(self) -> None:
        """Write what is queued and stop. Later records are refused."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()


def _made(group: Sequence[SlateServed | Making]) -> list[SlateServed]:
    """The records of a group. Every few of them whoever answers comes first: a whole group would hold them up for
    milliseconds. Not between any two: a sleep of nothing lasts as long as twenty records, and its end takes a processor
    from whoever answers."""
    records: list[SlateServed] = []
    for made, record in enumerate(group):
        if made % _MADE_AT_ONCE == _MADE_AT_ONCE - 1:
            time.sleep(0)
        records.append(record if isinstance(record, SlateServed) else record())
    return records


def record_later(
    slate: Slate, request: dict[str, Any], context: dict[str, Any] | None, recorder: Records, latest: int
) -> Slate:
    """`recorded` of `slate_record`, of which only what may say something about the slate is done at once."""
    if slate.feature_names or slate.approximate or request["now"] > latest:
        return recorded(slate, slate_record(slate, request, context), recorder, latest)
    # The caller may change the slate's lists meanwhile; nobody else holds the request.
    parts = slate.id, slate.user or "", request, [*slate.positions], slate.config, tuple(slate.items)
    queued = recorder.record(partial(_record_of, *parts, _extra(slate, context)))
    return _with_record(slate, queued, recorder)


def _record_of(
    slate: str,
    user: str,
    request: dict[str, Any],
    positions: list[int],
    config: str,
    slots: tuple[SlateItem, ...],
    extra: dict[str, Any],
) -> SlateServed:
    items = [(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in slots]
    return served(slate, user, request, positions, config, items, extra)


def _extra(slate: Slate, context: dict[str, Any] | None) -> dict[str, Any]:
    extra: dict[str, Any] = {"kind": slate.kind}
    if context is not None:
        extra["context"] = context
    if slate.exploring.temperature > 0:
        extra["temperature"], extra["floor"] = slate.exploring.temperature, slate.exploring.floor
    return extra


def _with_record(slate: Slate, queued: bool, records: Records) -> Slate:
    slate.degraded.extend(wanting(queued, records))
    # Nobody has it yet: a copy would say the same.
    msgspec.structs.force_setattr(slate, "recorded", queued)
    return slate


def wanting(queued: bool, records: Records) -> list[str]:
    """What a slate says of its record, where something is wanting."""
    if not queued:
        return ["slate not recorded: the record queue is full"]
    if records.error is not None:
        return [f"slate may not be recorded: the last write failed ({records.error})"]
    return []


def recorded(slate: Slate, record: SlateServed, records: Records, latest: int) -> Slate:
    """Queue the record of a slate; the slate with what became of it: `recorded`, or why not in `degraded`.

    `latest`: an event of a later time would be refused by the log, and the slate's `now` is the caller's.
    """
    if record.ts > latest:
        slate.degraded.append(f"slate not recorded: now = {record.ts} is after {latest}, the latest time of an event")
        return slate
    return _with_record(slate, records.record(record), records)


def slate_record(slate: Slate, request: dict[str, Any], context: dict[str, Any] | None = None) -> SlateServed:
    """The record of a slate: with the log, all that is needed to make it again and to learn from it."""
    extra = _extra(slate, context)
    if slate.feature_names:
        features = [slate.candidates.get(r.item) for r in slate.items]
        with_features = extra | {"feature_names": slate.feature_names, "features": features}
        # A slate without its features is worth more than none.
        if len(msgspec.msgpack.encode(with_features)) <= MAX_EXTRA:
            extra = with_features
        else:
            slate.degraded.append(f"features not recorded: more than {MAX_EXTRA:,} bytes")
    slots = tuple(slate.items)
    record = _record_of(slate.id, slate.user or "", request, slate.positions, slate.config, slots, extra)
    if not slate.approximate:
        return record
    found = [(item, source, score) for source, ranked in slate.approximate.items() for item, score in ranked]
    return msgspec.structs.replace(record, candidates=found)


def recorded_request(served: SlateServed) -> dict[str, Any]:
    """The request that a record holds, as it makes the slate again: with what approximate sources found, for
    another graph would find other items."""
    request = dict(served.request)
    if served.candidates and not served.left_out:  # of a degraded slate they are what its items had
        found: dict[str, list[tuple[str, float]]] = {}
        for item, source, score in served.candidates:
            found.setdefault(source, []).append((item, score))
        request["found"] = found
    return request


def served(
    slate: str,
    user: str,
    request: dict[str, Any],
    positions: list[int],
    config: str,
    items: list[tuple[str, float, str, float, float, bool]],
    extra: dict[str, Any],
) -> SlateServed:
    """The event of a slate that today's scorer answered, nothing left out."""
    return SlateServed(
        slate=slate,
        user=user,
        ts=request["now"],
        request=request,
        variant=request.get("variant"),
        config_version=config,
        scorer_version=SCORER_VERSION,
        positions=positions,
        left_out=[],
        candidates=None,
        items=items,
        extra=extra,
    )
