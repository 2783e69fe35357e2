"""Dead letters: rows that were refused, kept aside with the reason."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from headwater.errors import StoreError, StoreFull
from headwater.events.sync import sync_directory

MAX_KEPT = 100_000
"""Letters kept of one import; further ones are only counted."""

MAX_SHOWN = 200


class DeadLetter(msgspec.Struct, frozen=True):
    """One refused row: its number in the source (from 1, headers not counted), why, and the value, shortened."""

    row: int
    reason: str
    field: str
    value: str


_decoder = msgspec.json.Decoder(DeadLetter)


def shorten(value: object) -> str:
    """A value as text of bounded length."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


class DeadLetterFile:
    """The letters of one import in `DIR/deadletters/<name>.jsonl`, made with the first one and synced.

    `name` identifies the import, so a later run of it finds what an earlier one wrote: each row has one letter,
    however often it is looked at. Counts all, keeps `MAX_KEPT`.
    """

    def __init__(self, directory: Path | None, name: str) -> None:
        self._path = None if directory is None else directory / "deadletters" / f"{name}.jsonl"
        self._encoder = msgspec.json.Encoder()
        self._rows: set[int] | None = None
        self.count = 0

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Write the letters that are not there yet; without a directory they are only counted. Raises `StoreError`."""
        letters = list(letters)
        self.count += len(letters)
        if self._path is None or not letters:
            return
        try:
            self._write(self._path, letters)
        except OSError as err:
            kind = StoreFull if err.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StoreError
            raise kind(f"{self._path}: refused rows cannot be kept: {err.strerror}", path=str(self._path)) from err

    def _write(self, path: Path, letters: list[DeadLetter]) -> None:
        if self._rows is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = _kept_rows(path)
        room = max(0, MAX_KEPT - len(self._rows))
        new = [letter for letter in letters if letter.row not in self._rows][:room]
        if not new:
            return
        made = not path.exists()
        with open(path, "ab") as file:
            file.write(b"".join(self._encoder.encode(letter) + b"\n" for letter in new))
            file.flush()
            os.fsync(file.fileno())
        if made:
            sync_directory(path.parent)
        self._rows.update(letter.row for letter in new)

    @property
    def path(self) -> str | None:
        """Where the letters are, if there are any: of this run or of an earlier one of the same import."""
        return str(self._path) if self._path is not None and self._path.exists() else None


def _kept_rows(path: Path) -> set[int]:
    """Rows whose letters are in the file. A last line that was cut off (its writer was killed) is taken away."""
    if not path.exists():
        return set()
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        os.truncate(path, len(whole))
    try:
        return {_decoder.decode(line).row for line in whole.split(b"\n") if line}
    except msgspec.DecodeError as err:
        raise StoreError(f"{path}: not the dead letters of an import ({err}); move it away", path=str(path)) from err
