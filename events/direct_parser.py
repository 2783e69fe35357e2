"""Messages out of the bytes that a NATS server sends.

nats-py's parser tries one regular expression after the other at a buffer that it shortens at its beginning, two copies
and a memmove of all that follows a message. This one looks for the end of the line and cuts once, and needs no task for
messages that somebody takes directly. Anything else (`INFO`, `PING`, `-ERR`, other subscriptions' messages) stays
nats-py's.

    MSG <subject> <sid> [reply] <bytes>\\r\\n<data>\\r\\n
    HMSG <subject> <sid> [reply] <bytes of headers> <bytes>\\r\\n<headers><data>\\r\\n
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nats.errors import ProtocolError
from nats.protocol.parser import MAX_CONTROL_LINE_SIZE, Parser

_MOST_DIGITS = 8
"""Of a size or a subscription's number. What is not whole is kept, and no server lets more than 64 MiB pass as one."""

Take = Callable[[int, bytes, bytes, bytes, bytes | None], bool]
"""Takes subscription, subject, reply subject, data and headers as they came; whether anybody was there to take them."""


class DirectParser(Parser):
    """Takes the place of a client's `_ps`."""

    def __init__(self, nc: Any, take: Take) -> None:
        self._life = 0
        super().__init__(nc)
        self._take = take
        self.busy = False
        """Whether `parse` is in the middle of something: what comes meanwhile must wait its turn."""

    def reset(self) -> None:
        """Begin anew, with another connection."""
        super().reset()
        self._life += 1
        self._pieces: list[bytes] = []
        self._held = self._wanted = 0

    def cut(self, data: bytes) -> bytes:
        """Hand over messages as long as they are taken; the rest from the first on that is not, for `parse`. What is
        not whole yet is kept."""
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._wanted:  # in the middle of a large message: nothing is copied until it is whole
                return b""
            data = b"".join(self._pieces)
            self._pieces.clear()
        at, end, life = 0, len(data), self._life
        self._wanted = 0
        while at < end:
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                if end - at > MAX_CONTROL_LINE_SIZE and not data.startswith(b"INFO", at):
                    return data[at:]
                break
            tokens = data[at:line_end].split()
            split = _is_split(tokens)
            if split is None:
                return data[at:]
            start = line_end + 2
            stop = start + int(tokens[-1])
            if stop + 2 > end:
                self._wanted = stop + 2 - at
                break
            if not self._take_one(tokens, split, data, start, stop):
                return data[at:]
            if life != self._life:  # what is left came over a connection that is gone
                return b""
            at = stop + 2
        if at < end:
            self._pieces.append(data[at:] if at else data)
            self._held = end - at
        return b""

    def _take_one(self, tokens: list[bytes], split: bool, data: bytes, start: int, stop: int) -> bool:
        middle = start + int(tokens[-2]) if split else start
        reply = tokens[3] if len(tokens) == 5 + split else b""
        headers = data[start:middle] if split else None
        return self._take(int(tokens[2]), tokens[1], reply, data[middle:stop], headers)

    async def parse(self, data: bytes = b"") -> None:
        """As nats-py's. Raises `ProtocolError`."""
        self.busy, life = True, self._life
        try:
            rest = self.cut(data)
            while rest:
                rest = await self._one(rest)
                if life != self._life:
                    return
                rest = self.cut(rest)
        finally:
            self.busy = False

    async def _one(self, data: bytes) -> bytes:
        """Have nats-py look at the first thing in `data`, which is whole; what comes after it."""
        line_end = data.find(b"\r\n")
        if line_end < 0:
            raise ProtocolError("nats: a line without end")
        stop = line_end + 2
        tokens = data[:line_end].split()
        if tokens and tokens[0] in (b"MSG", b"HMSG"):
            if _is_split(tokens) is None:
                raise ProtocolError("nats: malformed MSG")
            stop += int(tokens[-1]) + 2
        await super().parse(data[:stop])
        return data[stop:]


def _is_split(tokens: list[bytes]) -> bool | None:
    """Whether a line is that of a message with headers; `None` if it is no message's, or not a sound one's."""
    count = len(tokens)
    if not 4 <= count <= 6 or not _is_number(tokens[2]) or not _is_number(tokens[-1]):
        return None
    if tokens[0] == b"MSG" and count <= 5:
        return False
    if tokens[0] == b"HMSG" and count >= 5 and _is_number(tokens[-2]) and int(tokens[-2]) <= int(tokens[-1]):
        return True
    return None


def _is_number(token: bytes) -> bool:
    return len(token) <= _MOST_DIGITS and token.isdigit()
