"""Connections that the core reads and writes itself, past the event loop's transport.

What comes is mostly for the core: questions, candidates, answers. The loop only says that there is something. The
transport stays: it has what the core leaves, what there was no room for, the end of the connection and its closing.
Whatever it reads goes the same way as before, so it may be given back the reading at any time.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from headwater.core import Wire


class Client(Protocol):
    """What a `DirectSocket` is a part of."""

    def may_send(self) -> tuple[int, int, bool]:
        """How many bytes may be sent, how large a message may be, and whether nothing waits to be written before."""
        ...

    def busy(self) -> bool:
        """Whether something that came before is still looked at: what comes now must wait its turn."""
        ...

    def turned(self, unsent: bytes) -> bool:
        """What the core took was dealt with; `unsent` is still to be sent. Whether nothing waits to be written."""
        ...


class DirectSocket:
    """The reading side of one connection. For one event loop."""

    def __init__(self, wire: Wire, reader: asyncio.StreamReader, transport: asyncio.Transport, client: Client) -> None:
        """What `wire` does not take goes to `reader`."""
        self._wire = wire
        self._reader: Any = reader
        self._transport = transport
        self._client = client
        self._watched: int | None = None
        self._number = _plain(transport)
        self._over = self._number is None

    def begin(self) -> None:
        """Read here from now on, if this is a plain socket; else the transport goes on."""
        # Once the transport is closed, its number may be another file's.
        self._over = self._over or self._transport.is_closing()
        if self._over or self._number is None or self._watched is not None or self._reader._paused:
            return
        try:
            watched = self._wire.attach(self._number, self._look, self._left)
        except OSError:  # not on this system: the transport reads
            self._over = True
            return
        self._transport.pause_reading()
        self._watched = watched
        asyncio.get_running_loop().add_reader(watched, self._wire.readable)

    def end(self) -> None:
        """Read no more: the connection is over."""
        self._over = True
        self._leave()

    def _leave(self) -> None:
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = None
            self._wire.detach()

    def _give_back(self) -> None:
        self._leave()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _look(self) -> None:
        """Read where something may wait. If nothing does any longer, the core reads by itself from then on, until the
        client says otherwise."""
        client = self._client
        if client.busy():
            data = self._wire.read()
            if data is not None:
                self._feed(data, ended=not data)
            return
        room, largest, direct = client.may_send()
        left, unsent, clear = None, b"", False
        try:
            left = self._wire.pump(room, largest, direct)
            if left is not None and direct:
                # The rest of a command that was begun goes before anything else, and over no other connection.
                self._write(left[1])
            elif left is not None:
                unsent = left[1]
        finally:
            clear = client.turned(unsent)
        if left is not None:
            self._feed(left[0], ended=left[2])
        elif direct and clear:
            self._wire.trust(room, largest)

    def _left(self, data: bytes, unsent: bytes, ended: bool) -> None:
        self._write(unsent)
        self._feed(data, ended=ended)

    def _write(self, command: bytes) -> None:
        if command and not self._transport.is_closing():
            self._transport.write(command)

    def _feed(self, data: bytes, *, ended: bool) -> None:
        if data:
            self._reader.feed_data(data)
        if ended:  # the transport finds that, too, and says so to everybody
            self._over = True
        if ended or self._reader._paused:
            self._give_back()


def _plain(transport: asyncio.Transport) -> int | None:
    """The descriptor of a transport that writes what it is given as it is."""
    if transport.is_closing() or transport.get_extra_info("sslcontext") is not None:
        return None
    socket = transport.get_extra_info("socket")
    return None if socket is None else int(socket.fileno())
