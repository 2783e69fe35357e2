"""One log takes another's place in a directory, whatever is killed when.

The next log is made whole in `DIR/next`. `decide` writes a mark into it: from there on it is the log, and whoever opens
the directory to write brings it to its place, name by name (`finish`). Without the mark it is what a broken attempt
left behind, and is taken away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import StoreError
from headwater.events.sync import sync_directory

NEXT = "next"
_MARK = "complete"
_LOG = "log.sqlite3"
_STALE = (f"{_LOG}-wal", f"{_LOG}-shm")
_FOLDERS = ("snapshots", "deadletters", "archive")
"""What belongs to a log beside its own files, and goes with it."""


def is_decided(directory: Path) -> bool:
    """Whether a replacement was decided and not brought to its end yet."""
    return (directory / NEXT / _MARK).exists()


@contextmanager
def building(directory: Path) -> Iterator[Path]:
    """An empty directory for the next log, taken away again if the block ends before it was decided.

    Raises `StoreError` for an `OSError` of the block.
    """
    place = directory / NEXT
    try:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        yield place
    except OSError as err:
        raise StoreError(f"{directory}: the next log cannot be built: {err}", path=str(directory)) from err
    finally:
        if not is_decided(directory):
            shutil.rmtree(place, ignore_errors=True)


def decide(directory: Path) -> None:
    """The next log is whole and closed: it is the log from here on. Durable when it returns. Raises `OSError`."""
    place = directory / NEXT
    for name in _STALE:
        (place / name).unlink(missing_ok=True)
    # Whatever is not there has been moved: so all of it must be there once.
    for name in _FOLDERS:
        (place / name).mkdir(exist_ok=True)
    with open(place / _MARK, "wb") as file:
        os.fsync(file.fileno())
    sync_directory(place)
    sync_directory(directory)


def finish(directory: Path) -> None:
    """Bring a decided replacement to its end; take away one that was not decided. Can be repeated. Raises `OSError`."""
    place = directory / NEXT
    if not is_decided(directory):
        shutil.rmtree(place, ignore_errors=True)
        return
    if (place / _LOG).exists():
        # Before the new file has its name: pages of the old log must not be read into it.
        for name in _STALE:
            (directory / name).unlink(missing_ok=True)
    for name in (_LOG, "head", *_FOLDERS):
        if (place / name).exists():
            if name in _FOLDERS:
                shutil.rmtree(directory / name, ignore_errors=True)
            (place / name).replace(directory / name)
    sync_directory(directory)
    (place / _MARK).unlink()
    shutil.rmtree(place, ignore_errors=True)
    sync_directory(directory)
