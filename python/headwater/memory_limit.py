"""How much memory this process and its children may take: the machine's, or what their control groups allow of it.

A container sees all of its machine's memory, and is ended when it takes more than its group's limit (cgroups(7):
`memory.max` of version 2, `memory.limit_in_bytes` of version 1).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_GROUPS = Path("/proc/self/cgroup")
_MOUNTED = Path("/sys/fs/cgroup")
_UNIFIED = ("", "unified")
"""Where version 2 is mounted: by itself, or beside version 1."""


def memory_limit(groups: Path = _GROUPS, mounted: Path = _MOUNTED) -> int:
    """Bytes; the least of the machine's memory and the limits of this process's groups and of those above them.

    `groups` and `mounted` are where the system shows them; limits that cannot be read do not count.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min((machine, *_limits(groups, mounted)))


def _limits(groups: Path, mounted: Path) -> Iterator[int]:
    for file in _files(groups, mounted):
        try:
            said = file.read_text().strip()
        except OSError:  # not mounted, or a group that this container does not see
            continue
        if said.isdecimal():  # else "max"
            yield int(said)


def _files(groups: Path, mounted: Path) -> Iterator[Path]:
    """Those that hold limits if they are there. In a container the mounted root can be the group itself, while
    its path is the one that its machine knows: hence all folders above, which are limits of this process, too."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        within = PurePosixPath(path.lstrip("/"))
        for folder in (within, *within.parents):
            if controllers == "":
                yield from (mounted / place / folder / "memory.max" for place in _UNIFIED)
            elif "memory" in controllers.split(","):
                yield mounted / "memory" / folder / "memory.limit_in_bytes"
