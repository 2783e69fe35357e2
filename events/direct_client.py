"""nats-py's client with a direct way in and out, for those who answer or ask thousands of times a second.

nats-py gives each message to a queue, wakes a task that takes it from there, and sends by waking another task; a
request has a task, a timer and an inbox of random letters of its own. That is right for programs that do little else
and costs more than most answers. Connecting, logging in, TLS, keeping alive, dialling again and renewing
subscriptions stay nats-py's; only these change:

* messages are cut out of what was read where it arrives, without a task and regular expressions (`direct_parser`),
  and those of some subscriptions are answered there without Python (`wire`), which reads and writes the socket itself
  (`direct_socket`);
* `hear`: a function is called with each message of a subscription, where it is read. It must not take long.
* `send`: a message goes to the socket in the same turn, together with all that is sent in it;
* `ask`: a request without a task or a timer: whoever asks has a time limit of its own, often one for many requests.

It reaches into nats-py (`_ps`, `_read_loop`, `_remove_sub`, `_pending`, `_transport`);
`tests/contract/test_direct_client.py` holds what it relies on. Where one of these is not as expected, messages go
nats-py's way.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.errors import ConnectionClosedError, MaxPayloadError, OutboundBufferLimitError

from headwater.core import Wire
from headwater.events.direct_parser import DirectParser
from headwater.events.direct_socket import DirectSocket

logger = logging.getLogger(__name__)

Heard = Callable[[str, str, bytes, bytes | None], None]
"""Takes subject, reply subject ("" for none), data and the headers as they came, `None` for none."""

Answered = Callable[[bytes, bytes | None], None]
"""Takes the data of an answer, and its headers as they came: see `is_nobody`."""

_NOBODY = b"NATS/1.0 503"


class DirectClient(Client):
    """A client of nats-py. For one event loop."""

    def __init__(self) -> None:
        self._counted: dict[str, int] = {}
        super().__init__()
        self._ps: DirectParser = DirectParser(self, self._take, self._room, self.put)
        self._takers: dict[int, Heard] = {}
        self._out: list[bytes] = []
        self._out_size = 0
        self._reading = False
        self._busy: Callable[[], bool] = lambda: False
        self._asked: dict[str, Answered] = {}
        self._numbers = itertools.count()
        self._inbox = ""
        self._inbox_made: asyncio.Task[Subscription] | None = None

    # --- in ------------------------------------------------------------------------------------------------------

    async def hear(self, subject: str, take: Heard, queue: str = "") -> Subscription:
        """Subscribe; `take` is called with each message."""

        async def late(message: Msg) -> None:  # what came before the subscription was noted
            take(message.subject, message.reply, message.data, None)

        subscription = await self.subscribe(subject, queue=queue, cb=late)
        self.divert(subscription, take)
        return subscription

    def divert(self, subscription: Subscription, take: Heard) -> None:
        """Have `take` called with the messages of a subscription, instead of what it was made with."""
        self._takers[subscription._id] = take

    @property
    def wire(self) -> Wire:
        """Where routes are added for what is answered without Python."""
        return self._ps.wire

    async def _read_loop(self) -> None:
        self._read_directly()
        await super()._read_loop()

    def _read_directly(self) -> None:
        """Have what the socket brings cut where it arrives. Only what is not taken directly goes to nats-py's task."""
        if type(self._transport) is not TcpTransport:
            return
        reader, writer, parser = self._transport._io_reader, self._transport._io_writer, self._ps
        assert reader is not None
        assert writer is not None
        protocol: Any = writer.transport.get_protocol()
        waiting = reader._buffer  # type: ignore[attr-defined]

        self._busy = lambda: bool(waiting) or parser.busy
        transport: Any = writer.transport
        socket = DirectSocket(self.wire, reader, transport, self)
        lost = protocol.connection_lost

        def received(data: bytes) -> None:
            if not self.busy():
                self._reading = True
                try:
                    data = parser.cut(data)
                finally:
                    self._reading = False
                    self._write_out()
            if data:
                reader.feed_data(data)
            socket.begin()

        def connection_lost(error: Exception | None) -> None:
            socket.end()
            lost(error)

        protocol.data_received, protocol.connection_lost = received, connection_lost
        writer.transport.set_protocol(protocol)
        socket.begin()

    def may_send(self) -> tuple[int, int, bool]:
        """See `direct_socket.Client`. Until `turned`, what is sent waits for the end of the turn."""
        self._reading = True
        writer = self._writer()
        if writer is None or self._out or writer.transport.get_write_buffer_size():
            return max(0, self._max_pending_size - self._waiting(writer)), self._max_payload, False
        return self._max_pending_size, self._max_payload, True

    def busy(self) -> bool:
        """See `direct_socket.Client`."""
        return self._busy()

    def turned(self, unsent: bytes) -> bool:
        """See `direct_socket.Client`."""
        if unsent:
            self._put(unsent, self._writer())
        self._reading = False
        clear = not self._out
        self._write_out()
        return clear

    @property
    def stats(self) -> dict[str, int]:
        """nats-py's counts, with what was taken without Python."""
        names = ("in_msgs", "in_bytes", "out_msgs", "out_bytes")
        for name, more in zip(names, self.wire.take_counts(), strict=True):
            self._counted[name] += more
        return self._counted

    @stats.setter
    def stats(self, counted: dict[str, int]) -> None:
        self._counted = counted

    def _take(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> bool:
        """Hand a message over; whether there is anybody to take it."""
        take = self._takers.get(sid)
        if take is None:
            return False
        self._counted["in_msgs"] += 1
        self._counted["in_bytes"] += len(data)
        try:
            take(subject.decode(), reply.decode(), data, headers)
        except Exception:  # a defect in one place must not make the whole connection deaf
            logger.exception("%s: a message was not taken", subject.decode())
        return True

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._takers.pop(sid, None)  # what still comes finds no subscription in nats-py, which drops it
        self.wire.leave(sid)

    # --- out -----------------------------------------------------------------------------------------------------

    def send(self, subject: str, data: bytes, reply: str = "", headers: bytes = b"") -> None:
        """Publish; `headers`, if any, as `header_lines` makes them. While the connection is being made again it waits,
        as far as there is room. Subjects are not looked at: the caller made them. Raises nats-py's errors
        (`MaxPayloadError`, `OutboundBufferLimitError`, `ConnectionClosedError`)."""
        size = len(headers) + len(data)
        if size > self._max_payload:
            raise MaxPayloadError
        if self.is_closed:
            raise ConnectionClosedError
        to = f"{subject} {reply}" if reply else subject
        line = f"HPUB {to} {len(headers)} {size}\r\n" if headers else f"PUB {to} {size}\r\n"
        command = b"%b%b%b\r\n" % (line.encode(), headers, data)
        self._counted["out_msgs"] += 1
        self._counted["out_bytes"] += len(data)
        writer = self._writer()
        if self._waiting(writer) + (len(command) if writer is None else 0) > self._max_pending_size:
            raise OutboundBufferLimitError
        self._put(command, writer)

    def _waiting(self, writer: asyncio.StreamWriter | None) -> int:
        """Bytes that were sent and not written yet."""
        if writer is None:
            return self._pending_data_size
        return writer.transport.get_write_buffer_size() + self._out_size

    def _put(self, command: bytes, writer: asyncio.StreamWriter | None) -> None:
        self.wire.distrust()  # until it is written
        if writer is None:
            self._queue(command)
            return
        self._out.append(command)
        self._out_size += len(command)
        if not self._reading and len(self._out) == 1:
            asyncio.get_running_loop().call_soon(self._write_out)

    def _room(self) -> tuple[int, int]:
        return max(0, self._max_pending_size - self._waiting(self._writer())), self._max_payload

    def put(self, commands: bytes) -> None:
        """Send commands as they are: the caller made them. While the connection is being made again they wait."""
        self._put(commands, self._writer())

    def _writer(self) -> asyncio.StreamWriter | None:
        """Where to write to directly; `None` where nats-py must."""
        if self._pending or not self.is_connected or type(self._transport) is not TcpTransport:
            return None
        return self._transport._io_writer

    def _write_out(self) -> None:
        """Write what was sent in this turn, at once: each write wakes the server, and it wakes those whom it is for."""
        if not self._out:
            return
        out, self._out, self._out_size = self._out, [], 0
        if (writer := self._writer()) is not None and not writer.is_closing():
            writer.transport.writelines(out)
            return
        for command in out:  # the connection went meanwhile
            self._queue(command)

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.wire.distrust()
        self._write_out()  # what was sent first goes first
        await super()._send_command(cmd, priority)

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        self.wire.distrust()
        self._write_out()
        if self._pending and self.is_connected and self._transport is not None and not self._is_lost():
            # nats-py writes a ping ahead of what waits for its flusher: whoever flushed after subscribing would have
            # the answer before the server knows the subscription, and miss what is published then.
            self._transport.writelines(self._pending[:])
            self._pending, self._pending_data_size = [], 0
        await super()._send_ping(future)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        self._write_out()
        self.wire.close()
        if self._is_lost():
            # nats-py would write what waits for the next connection to this one; asyncio may take that amiss.
            self._pending, self._pending_data_size = [], 0
        await super()._close(status, do_cbs)

    def _is_lost(self) -> bool:
        """Whether the connection is gone, which nats-py may not have noticed yet."""
        writer = self._transport._io_writer if type(self._transport) is TcpTransport else None
        return writer is not None and bool(writer.is_closing())

    def _queue(self, command: bytes) -> None:
        self._pending.append(command)
        self._pending_data_size += len(command)
        queue = self._flush_queue
        if self.is_connected and not self._is_lost() and queue is not None and queue.empty():
            queue.put_nowait(asyncio.get_running_loop().create_future())

    # --- requests ------------------------------------------------------------------------------------------------

    async def ready_to_ask(self) -> None:
        """Listen for answers: once before the first `ask`."""
        if self._inbox_made is None:
            self._inbox = f"{self.new_inbox()}."
            self._inbox_made = asyncio.ensure_future(self.hear(f"{self._inbox}*", self._answer))
        if not self._inbox_made.done():
            await asyncio.shield(self._inbox_made)

    async def inbox(self) -> tuple[int, str]:
        """The subscription that answers come to, and what their subjects begin with."""
        await self.ready_to_ask()
        assert self._inbox_made is not None
        return self._inbox_made.result()._id, self._inbox

    def ask(self, subject: str, data: bytes, answered: Answered, headers: bytes = b"") -> str:
        """Send a request; `answered` is called once with the answer. The request's name, for `forget`. Raises as
        `send`."""
        name = f"{self._inbox}{next(self._numbers)}"
        self.send(subject, data, name, headers)
        self._asked[name] = answered
        return name

    def forget(self, name: str) -> None:
        """Wait no longer for the answer to a request."""
        self._asked.pop(name, None)

    def _answer(self, subject: str, _: str, data: bytes, headers: bytes | None) -> None:
        answered = self._asked.pop(subject, None)
        if answered is not None:
            answered(data, headers)


def is_nobody(data: bytes, headers: bytes | None) -> bool:
    """Whether an answer says that nobody is there who could answer."""
    return headers is not None and not data and headers.startswith(_NOBODY)


def header_lines(headers: Mapping[str, str]) -> bytes:
    """Headers as they go over the wire. Names and values are not looked at: the caller made them, without line ends."""
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    return f"NATS/1.0\r\n{lines}\r\n".encode()


async def dial(**settings: Any) -> DirectClient:
    """As `nats.connect`."""
    client = DirectClient()
    await client.connect(**settings)
    return client
