"""Directories that appear when they are whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from headwater.errors import InvalidInput, StoreError
from headwater.events.sync import sync_directory


@contextmanager
def appearing_whole(target: Path, field: str = "to") -> Iterator[Path]:
    """A directory beside the target that takes its name at the end, and is removed when the block does not get there.

    Raises `InvalidInput` if the target holds something already, `StoreError` where it cannot be made.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput(f"{target} is not empty; allowed: a new directory", field=field, value=str(target))
    place = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield place
        place.replace(target)
        sync_directory(target.parent)
    except OSError as err:
        raise StoreError(f"{target}: cannot be written: {err.strerror or err}", path=str(target)) from err
    finally:
        shutil.rmtree(place, ignore_errors=True)
