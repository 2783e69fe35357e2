"""Timers that may be late, for programs that wake far more often than anything happens.

Go's runtime has a thread that looks for goroutines which hold up others. While there is work it sleeps for 20
microseconds at a time, which for nats-server were two thirds of its switches of threads and a sixth of its processor
time at 800 questions a second. Linux lets timers of a thread be late by its *slack* (50 microseconds unless told
otherwise, prctl(2)); threads and processes that it starts inherit it.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SET_SLACK, _GET_SLACK = 29, 30


@contextmanager
def late_timers(slack_ns: int) -> Iterator[None]:
    """Processes that are started meanwhile may have their timers ring so much later. Nothing happens where the system
    has no such thing."""
    if sys.platform != "linux":
        yield
        return
    prctl = ctypes.CDLL(None).prctl
    before = prctl(_GET_SLACK, 0, 0, 0, 0)
    prctl(_SET_SLACK, ctypes.c_ulong(slack_ns), 0, 0, 0)
    try:
        yield
    finally:
        prctl(_SET_SLACK, ctypes.c_ulong(before), 0, 0, 0)
