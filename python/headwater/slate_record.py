"""Slate records: what was served, written to the log behind the answer.

Answers do not wait for this: records queue up, a thread of its own commits them in groups. The queue is bounded; a
slate that finds it full is marked as not recorded instead of being held up.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from headwater.errors import HeadwaterError
from headwater.events.types import SlateServed
from headwater.slate import Slate

QUEUE_LIMIT = 10_000
_GROUP = 500


class SlateRecorder:
    """Commits slate records in the background, in the order they were served."""

    def __init__(self, commit: Callable[[list[SlateServed]], object]) -> None:
        self._commit = commit
        self._queue: queue.Queue[SlateServed | None] = queue.Queue(QUEUE_LIMIT)
        self._thread: threading.Thread | None = None
        self._mutex = threading.Lock()
        self.dropped = 0
        self.error: HeadwaterError | None = None

    def record(self, served: SlateServed) -> bool:
        """Queue a record; whether there was room and the log still takes them."""
        if self._thread is None:
            self._start()
        if self.error is None:
            try:
                self._queue.put_nowait(served)
                return True
            except queue.Full:
                pass
        self.dropped += 1
        return False

    def _start(self) -> None:
        with self._mutex:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="slate-records", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        done = False
        while not done:
            group: list[SlateServed] = []
            served = self._queue.get()
            while True:
                if served is None:
                    done = True
                    break
                group.append(served)
                if len(group) == _GROUP:
                    break
                try:
                    served = self._queue.get_nowait()
                except queue.Empty:
                    break
            self._write(group)

    def _write(self, group: list[SlateServed]) -> None:
        try:
            if group and self.error is None:
                self._commit(group)
        except HeadwaterError as err:
            # Kept for status and for the next caller: the log no longer takes records.
            self.error = err
            self.dropped += len(group)
        finally:
            for _ in group:
                self._queue.task_done()

    def flush(self) -> None:
        """Wait until everything queued so far is written."""
        if self._thread is not None:
            self._queue.join()

    def close(self) -> None:
        """Write what is queued and stop."""
        with self._mutex:
            if self._thread is not None:
                self._queue.join()
                self._queue.put(None)
                self._thread.join()
                self._thread = None


def slate_record(slate: Slate, request: dict[str, Any], scorer: str) -> SlateServed:
    """The record of a slate: with the log, all that is needed to make it again."""
    return SlateServed(
        slate=slate.id,
        user=slate.user or "",
        ts=slate.now,
        request=request,
        variant=None,
        config_version=slate.config,
        scorer_version=scorer,
        positions=slate.positions,
        left_out=[],
        candidates=None,
        items=[(r.item, r.score, r.source, r.propensity, r.propensity_cascade, r.pinned) for r in slate.items],
    )
