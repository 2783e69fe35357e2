"""An event loop on a thread of its own, so that threads can use what is asynchronous."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """A running event loop; the thread is a daemon and ends with `stop`."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop and wait for the result. Not to be called on the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def begin(self, work: Coroutine[Any, Any, Any], then: Callable[[], None]) -> None:
        """Run on the loop without waiting; `then` is called on its thread."""
        asyncio.run_coroutine_threadsafe(work, self._loop).add_done_callback(lambda _: then())

    def stop(self, *, wait: bool = True) -> None:
        """End the loop; nothing may be running on it any more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        if wait:
            self._thread.join()
