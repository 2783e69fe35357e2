"""Messages out of the bytes that a NATS server sends.

nats-py's parser tries one regular expression after the other at a buffer that it shortens at its beginning, two copies
and a memmove of all that follows a message. This one looks for the end of the line and cuts once. Anything but a
message (`INFO`, `PING`, `-ERR` ...) is rare and stays nats-py's.

    MSG <subject> <sid> [reply] <bytes>\r\n<data>\r\n
    HMSG <subject> <sid> [reply] <bytes of headers> <bytes>\r\n<headers><data>\r\n
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nats.errors import ProtocolError
from nats.protocol.parser import MAX_CONTROL_LINE_SIZE, Parser

Take = Callable[[int, bytes, bytes, bytes, bytes | None], bool]
"""Takes subscription, subject, reply subject, data and headers as they came; whether anybody was there to take them."""


class DirectParser(Parser):
    """Takes the place of a client's `_ps`."""

    def __init__(self, nc: Any, take: Take) -> None:
        self._life = 0
        super().__init__(nc)
        self._take = take

    def reset(self) -> None:
        """Begin anew, with another connection."""
        super().reset()
        self._life += 1
        self._pieces: list[bytes] = []
        self._held = self._wanted = 0

    async def parse(self, data: bytes = b"") -> None:
        """Hand over the messages that are whole, keep the rest. Raises nats-py's `ProtocolError`."""
        if self._pieces:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._wanted:  # in the middle of a large message: nothing is copied until it is whole
                return
            data = b"".join(self._pieces)
            self._pieces.clear()
        at, end, life = 0, len(data), self._life
        self._wanted = 0
        while at < end:
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                if end - at > MAX_CONTROL_LINE_SIZE and not data.startswith(b"INFO", at):
                    raise ProtocolError("nats: a line without end")
                break
            has_headers = data.startswith(b"HMSG ", at)
            if not has_headers and not data.startswith(b"MSG ", at):
                await super().parse(data[at : line_end + 2])
                if life != self._life:  # what is left came over a connection that is gone
                    return
                at = line_end + 2
                continue
            tokens = data[at:line_end].split()
            replied = len(tokens) - (5 if has_headers else 4)
            try:
                if not 0 <= replied <= 1:
                    raise ValueError
                size = int(tokens[-1])
                split = int(tokens[-2]) if has_headers else 0
                reply = tokens[3] if replied else b""
                sid = int(tokens[2])
            except ValueError as err:
                raise ProtocolError("nats: malformed MSG") from err
            start = line_end + 2
            stop = start + size
            if stop + 2 > end:
                self._wanted = stop + 2 - at
                break
            headers = data[start : start + split] if has_headers else None
            payload = data[start + split : stop]
            at = stop + 2
            if not self._take(sid, tokens[1], reply, payload, headers):
                await self.nc._process_msg(sid, tokens[1], reply, payload, headers)
        if at < end and life == self._life:
            self._pieces.append(data[at:] if at else data)
            self._held = end - at
