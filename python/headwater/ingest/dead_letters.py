"""Dead letters: rows that were refused, kept aside with the reason."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

MAX_KEPT = 100_000
"""Letters written per import; further ones are only counted."""

MAX_SHOWN = 200


class DeadLetter(msgspec.Struct, frozen=True):
    """One refused row: its number in the source (from 1, headers not counted), why, and the value, shortened."""

    row: int
    reason: str
    field: str
    value: str


def shorten(value: object) -> str:
    """A value as text of bounded length."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


class DeadLetterFile:
    """Appends letters to `DIR/deadletters/<name>.jsonl`, created with the first one. Counts all, keeps `MAX_KEPT`."""

    def __init__(self, directory: Path | None, name: str) -> None:
        self._path = None if directory is None else directory / "deadletters" / f"{name}.jsonl"
        self._encoder = msgspec.json.Encoder()
        self.count = 0

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Write letters; without a directory they are only counted."""
        letters = list(letters)
        kept = letters[: max(0, MAX_KEPT - self.count)]
        self.count += len(letters)
        if self._path is None or not kept:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with open(self._path, "ab") as file:
            file.write(b"".join(self._encoder.encode(letter) + b"\n" for letter in kept))

    @property
    def path(self) -> str | None:
        """Where the letters are, if there are any."""
        return str(self._path) if self._path is not None and self.count else None
