"""Automatic snapshots: written behind the callers whose events made them due, one at a time.

A snapshot only shortens the next start. So one that cannot be written fails nobody's write: those events are durable
and folded, and a caller who was told otherwise would send them again. The failure is logged, kept for `status`, and the
next attempt comes after as many events more.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from headwater.errors import StoreError

logger = logging.getLogger(__name__)


class SnapshotRhythm:
    """Calls `write` on a thread of its own whenever `every` events were folded since the last attempt; 0: never."""

    def __init__(self, every: int, write: Callable[[], object]) -> None:
        self._every = every
        self._write = write
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._attempted_at = 0
        self._closed = False
        self.error: str | None = None
        """Why the last attempt failed; `None` after a snapshot that was written."""

    def begin_if_due(self, events: int) -> None:
        """Begin a snapshot if it is due and none is under way. `events`: folded so far, never falling."""
        if not self._every or events - self._attempted_at < self._every:
            return
        with self._mutex:
            busy = self._thread is not None and self._thread.is_alive()
            if busy or self._closed or events - self._attempted_at < self._every:
                return
            self._attempted_at = events
            # No daemon: a process that ends without closing its engine still finishes what it began.
            self._thread = threading.Thread(target=self._attempt, name="snapshot")
            try:
                self._thread.start()
            except RuntimeError as err:  # no more threads
                self._thread = None
                self._fail(str(err))

    def _attempt(self) -> None:
        try:
            self._write()
        except StoreError as err:
            self._fail(err.message)
        except Exception as err:
            logger.exception("the automatic snapshot broke off")
            self.error = repr(err)

    def _fail(self, why: str) -> None:
        self.error = why
        logger.warning(
            "the automatic snapshot was not written, the next is tried after %d events: %s", self._every, why
        )

    def written(self, events: int) -> None:
        """A snapshot of the state after `events` events was written, by whomever."""
        with self._mutex:
            self._attempted_at = max(self._attempted_at, events)
            self.error = None

    def wait(self) -> None:
        """Wait for the snapshot that is under way, if there is one."""
        with self._mutex:
            thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Begin no more, and wait for the one that is under way."""
        with self._mutex:
            self._closed = True
        self.wait()
