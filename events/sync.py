"""Durable names: a file that was synced is still lost with a power failure if its directory's entry was not."""

from __future__ import annotations

import os
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Make what was made, renamed or removed in a directory durable. Raises `OSError`."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Make a file that is whole or not there: written under another name, synced, then given its own.

    Durable when it returns. `mode`, less the umask, is the new file's. Raises `OSError`; what was there before stays
    then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)
