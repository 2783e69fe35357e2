"""Short turns on a processor, for processes that answer visitors.

Linux gives whoever runs up to 3 ms before another's turn, and a question passes five processes: where other work
shares the cores, it waits at each. A thread that asks for shorter turns gets no more of a processor than before, but
sooner (EEVDF, custom slices: Linux 6.12). Older kernels pass over the wish, other systems have none.

Nor does one that wakes interrupt who is at work (`SCHED_BATCH`): a question's part in one process is a tenth of a
millisecond, and whoever goes on after an interruption finds the caches filled by others.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_SET_ATTR = {"x86_64": 314, "aarch64": 274}
"""Number of `sched_setattr`, which the C library has no function for."""
_ATTR = struct.Struct("=IIQiIQQQ")
"""Size, policy, flags, nice, priority, runtime (the slice, ns; 0: the system's own), deadline, period."""
SLICE_NS = 500_000
"""A question's part in one host fits, mostly; shorter ones (0.1 ms is the least) only change places more often."""
_NICE = 10


def take_short_turns(slice_ns: int = SLICE_NS) -> bool:
    """Ask for short turns of this thread and of all threads and processes that it starts, which interrupt nobody; 0:
    the system's own again, and its way to take them. Whether the system heard it."""
    number = _SET_ATTR.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return False
    if os.sched_getscheduler(0) not in (os.SCHED_OTHER, os.SCHED_BATCH):
        return False  # somebody gave it another rank
    policy = os.SCHED_BATCH if slice_ns else os.SCHED_OTHER
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attr = _ATTR.pack(_ATTR.size, policy, 0, nice, 0, slice_ns, 0, 0)
    return ctypes.CDLL(None).syscall(number, 0, attr, 0) == 0  # type: ignore[no-any-return]


def give_way() -> None:
    """Leave the processors to others wherever they want them: of one that is shared this thread gets a tenth, in
    turns of the system's own length. It had better hold nothing that others wait for, not even the interpreter. Nothing
    happens where threads have no priority of their own, or where this one has less already."""
    take_short_turns(0)
    thread = threading.get_native_id()
    if sys.platform == "linux" and os.getpriority(os.PRIO_PROCESS, thread) < _NICE:
        os.setpriority(os.PRIO_PROCESS, thread, _NICE)


@contextmanager
def short_turns() -> Iterator[None]:
    """Processes that are started meanwhile have short turns."""
    take_short_turns()
    try:
        yield
    finally:
        take_short_turns(0)
