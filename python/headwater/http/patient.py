"""The HTTP protocol with the patience that uvicorn's lacks: a head must be whole in time and of bounded size.

uvicorn waits for a head as long as the other side likes, and llhttp takes one of any length; both keep a connection for
nothing (slowloris).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headwater.http.intake import raw_response
from headwater.http.problems import Refused

MAX_HEAD = 32 * 1024


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol over httptools, with a deadline and a bound for each head."""

    header_timeout_s = 10.0
    max_connections = 2048

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse what is one too many; otherwise the head's time begins."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(Refused("overloaded", f"{self.max_connections} connections are open already"))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side has gone."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and see how much of a head is there that does not end."""
        if self.transport.is_closing():
            return
        continued = self._in_head
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        # What came before a head in the same piece is not told from it, so the piece that it began in is not counted.
        self._head = self._head + len(data) if continued else 0
        if max(self._head, len(self.url)) > MAX_HEAD:
            self._refuse(Refused("head-too-large", f"more than {MAX_HEAD} bytes; allowed: at most {MAX_HEAD}"))
        elif self._deadline is None:  # a further request of a connection that was kept
            self._await_head()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._head = 0
        self._head_is_there()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, as a problem."""
        self._refuse(Refused("bad-request", msg))

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _head_is_there(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, refused: Refused) -> None:
        self._head_is_there()
        self.transport.write(raw_response(refused))
        self.transport.close()
