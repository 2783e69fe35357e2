"""Messages out of the bytes that a NATS server sends.

nats-py's parser tries one regular expression after the other at a buffer that it shortens at its beginning, two copies
and a memmove of all that follows a message. This one has the core look for the end of the line and cut once
(`core_rs/src/wire/message.rs`), and needs no task for messages that somebody takes directly. Anything else (`INFO`,
`PING`, `-ERR`, other subscriptions' messages) stays nats-py's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

from headwater.core import Wire, message_size

Take = Callable[[int, bytes, bytes, bytes, bytes | None], bool]
"""Takes subscription, subject, reply subject, data and headers as they came; whether anybody was there to take them."""

Room = Callable[[], tuple[int, int]]
"""How many bytes may be sent now, and how large a message may be."""

Taken = Callable[[bytes], None]
"""Takes what is to be sent for messages that were taken without Python."""


class DirectParser(Parser):
    """Takes the place of a client's `_ps`."""

    def __init__(self, nc: Any, take: Take, room: Room = lambda: (0, 0), taken: Taken = lambda _: None) -> None:
        self._life = 0
        self.wire = Wire(take, room)
        """Cuts, and knows what is taken without Python."""
        super().__init__(nc)
        self._taken = taken
        self.busy = False
        """Whether `parse` is in the middle of something: what comes meanwhile must wait its turn."""

    def reset(self) -> None:
        """Begin anew, with another connection."""
        super().reset()
        self._life += 1
        self.wire.reset()

    def cut(self, data: bytes) -> bytes:
        """Hand over messages as long as they are taken; the rest from the first on that is not, for `parse`. What is
        not whole yet is kept."""
        rest, commands = self.wire.cut(data)
        if commands:
            self._taken(commands)
        return rest

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
        if data[:line_end].split(maxsplit=1)[:1] in ([b"MSG"], [b"HMSG"]):
            size = message_size(data)
            if size is None:
                raise ProtocolError("nats: malformed MSG")
            stop = size
        await super().parse(data[:stop])
        return data[stop:]
