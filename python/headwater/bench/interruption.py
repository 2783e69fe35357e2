"""Ctrl-C that ends a measurement after the step in hand, so that what was measured can be shown.

A handler of our own instead of `KeyboardInterrupt`: amid an operation of polars one Ctrl-C is raised by the operation
and, as the signal is left to Python too, once more wherever Python looks next, be it past the `except`
(pola-rs/polars#23988). Polars does not see the signal while another handler is installed.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interruption:
    """A context: `asked` from the first Ctrl-C on. The second one is raised as ever.

    Outside the main thread, to which Ctrl-C does not come, and where a handler is not Python's, it changes nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: signal._HANDLER = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
        if self._before is not None:
            signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._give_back()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._give_back()

    def _give_back(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            signal.signal(signal.SIGINT, before)
