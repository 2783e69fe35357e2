"""One writer per directory: an advisory lock that the kernel drops when the process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from headwater.errors import StoreError, StoreLocked


class WriterLock:
    """Holds `DIR/lock`; the file names the holder's process id for people to read.

    The lock belongs to the open file, not to the process: a child made by `os.fork` (or by multiprocessing's `fork`
    method) inherits it, and the directory stays locked until the child too has closed its copy or ended, even after a
    kill of the parent. Start workers with `spawn` or `forkserver`, or before the engine is opened; in a forked child
    use no engine of the parent. Programs started with `exec` do not inherit it.

    Raises `StoreLocked` if another holds it, `StoreError` if the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        try:
            self._fd: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as err:
            raise StoreError(
                f"{directory}: cannot be written: {err.strerror}; name an existing directory that may be written",
                path=str(directory),
            ) from err
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            self._fd = None
            raise StoreLocked(
                f"{directory} is being written by process {holder}; close that engine, or open with read_only=True",
                path=str(directory),
                pid=holder,
            ) from err
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next writer in."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None
