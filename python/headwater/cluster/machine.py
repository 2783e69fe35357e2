"""What a host knows of the machine that it runs on."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

from headwater.actors.topology import HostSpec

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


def own_cores() -> list[int]:
    """The cores that this process may run on; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def core_of(host: HostSpec, hosts: Sequence[HostSpec]) -> int | None:
    """The core that an item host keeps to where all hosts share this machine and there are fewer cores than hosts, yet
    one for each item host; None: any.

    A question goes to all item hosts at once. Left alone, the scheduler mostly wakes two of them on one core, where the
    second waits for the first, although the core of the session host that asked has just become idle.
    """
    items, cores = [other.name for other in hosts if other.kind == "item"], own_cores()
    if host.kind != "item" or not len(items) <= len(cores) < len(hosts):
        return None
    return cores[items.index(host.name)]


def memory_bytes() -> int:
    """Resident memory of this process; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        import psutil

        return int(psutil.Process().memory_info().rss)


@functools.cache
def node_name() -> str:
    """Names this machine's current boot, so that a process id of another machine is not taken for one of this."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]
    except OSError:
        import socket

        return socket.gethostname()
