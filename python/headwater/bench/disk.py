"""What the disk can do: the floor beside figures of logs and snapshots. Measured in the same run, in the same place."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import msgspec

from headwater.measure import syncs_per_s

_SYNCS = 200
_BYTES = 128 << 20
_BLOCK = 4 << 20
_PAGE = b"x" * 16_384


class Disk(msgspec.Struct, frozen=True):
    """Synced writes of 512 bytes a second, and MB/s: written and synced at the end, and read back (from the cache,
    if the system keeps it)."""

    fsync_per_s: float
    write_mb_per_s: float
    read_mb_per_s: float


def measure_disk(directory: Path) -> Disk:
    """Measure in a file that is removed again; a second or two."""
    path = directory / ".disk-floor"
    try:
        with open(path, "wb", buffering=0) as file:
            syncs = syncs_per_s(file.fileno(), _SYNCS)
            block = os.urandom(_BLOCK)  # zeros would be too easy for disks that compress
            started = time.perf_counter()
            for _ in range(_BYTES // _BLOCK):
                file.write(block)
            os.fdatasync(file.fileno())
            written = time.perf_counter() - started
        started = time.perf_counter()
        with open(path, "rb", buffering=0) as file:
            while file.read(_BLOCK):
                pass
        read = time.perf_counter() - started
    finally:
        path.unlink(missing_ok=True)
    return Disk(round(syncs, 1), round(_BYTES / written / 1e6, 1), round(_BYTES / read / 1e6, 1))


class SyncedWrites:
    """What an acknowledged event costs the disk at least: a page appended to one file and a block of another written
    over, each synced, as SQLite's write-ahead log and the head record are. Safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        """Two files in `directory`, which is somebody else's to remove."""
        self._log, self._head = (
            os.open(directory / f".floor-{name}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for name in ("log", "head")
        )
        self._writes = itertools.count()

    def write(self) -> None:
        """Both writes. The first file begins anew after 1,000 pages, as after a checkpoint."""
        os.pwrite(self._log, _PAGE, next(self._writes) % 1000 * len(_PAGE))
        os.fdatasync(self._log)
        os.pwrite(self._head, _PAGE[:512], 0)
        os.fdatasync(self._head)

    def close(self) -> None:
        """Close the files."""
        os.close(self._log)
        os.close(self._head)


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
