"""The door over a Unix socket: several web workers, one engine.

A message is a length (4 bytes, little endian) and a MessagePack array. A question is `[number, verb, form, body]`, an
answer `[number, problem or null, bytes]`; answers come in any order. The socket lies in a directory that only its owner
may enter. A worker that loses the engine ends: there is nothing that it could answer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from headwater.http.door import Door
from headwater.http.problems import Refused, invalid_body
from headwater.http.verbs import Form, Verb

logger = logging.getLogger(__name__)

MAX_MESSAGE = 256 << 20
_LENGTH = struct.Struct("<I")


class _Question(msgspec.Struct, array_like=True, frozen=True):
    number: int
    verb: str
    form: Form
    body: msgspec.Raw


class _Answer(msgspec.Struct, array_like=True, frozen=True):
    number: int
    problem: tuple[str, str, dict[str, Any]] | None
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_questions = msgspec.msgpack.Decoder(_Question)
_answers = msgspec.msgpack.Decoder(_Answer)


class _Messages(asyncio.BufferedProtocol):
    """Cuts a stream into messages."""

    def __init__(self, on_message: Callable[[memoryview], None], on_end: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._buffer = bytearray(1 << 16)
        self._filled = 0
        self.transport: asyncio.Transport | None = None
        self._writable: asyncio.Event = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._writable.set()
        self._on_end()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        if len(self._buffer) - self._filled < 1 << 14:
            grown = bytearray(max(len(self._buffer) * 2, self._filled + (1 << 16)))
            grown[: self._filled] = self._buffer[: self._filled]
            self._buffer = grown
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        at, view = 0, memoryview(self._buffer)
        while self._filled - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(view, at)
            if length > MAX_MESSAGE:
                logger.error("a message of %d bytes between worker and engine", length)
                assert self.transport is not None
                self.transport.abort()
                return
            end = at + _LENGTH.size + length
            if end > self._filled:
                break
            self._on_message(view[at + _LENGTH.size : end])
            at = end
        if at:
            rest = self._filled - at
            view[:rest] = bytes(view[at : self._filled])
            self._filled = rest
            if rest == 0 and len(self._buffer) > 1 << 20:
                del view
                self._buffer = bytearray(1 << 16)

    async def send(self, message: bytes) -> None:
        """Send one message once the other side takes more."""
        await self._writable.wait()
        if self.transport is None or self.transport.is_closing():
            raise Refused("store-closed", "the engine's process has gone")
        self.transport.writelines((_LENGTH.pack(len(message)), message))


async def answer_over(path: str, door: Door, verbs: dict[str, Verb]) -> asyncio.Server:
    """Answer workers on a Unix socket from a door to the engine."""
    decoders = {name: msgspec.msgpack.Decoder(verb.question) for name, verb in verbs.items()}
    running: set[asyncio.Task[None]] = set()

    def connected() -> _Messages:
        def on_message(raw: memoryview) -> None:
            question = _questions.decode(raw)
            body: msgspec.Struct | Refused
            try:
                body = decoders[question.verb].decode(question.body)
            except msgspec.ValidationError as err:  # a worker makes bodies of addresses and of gorse's rows, too
                body = invalid_body(err)
            task = asyncio.ensure_future(answer(question, body))
            running.add(task)
            task.add_done_callback(running.discard)

        async def answer(question: _Question, body: msgspec.Struct | Refused) -> None:
            try:
                if isinstance(body, Refused):
                    raise body
                reply = _Answer(question.number, None, await door.ask(question.verb, body, question.form))
            except Refused as err:
                reply = _Answer(question.number, (err.code, err.detail, err.members), b"")
            try:
                await messages.send(_encoder.encode(reply))
            except Refused:
                logger.info("a web worker went away before its answer")

        messages = _Messages(on_message, lambda: None)
        return messages

    return await asyncio.get_running_loop().create_unix_server(connected, path)


class PipeDoor:
    """A door to an engine in another process."""

    def __init__(self, on_end: Callable[[], None]) -> None:
        """`on_end` is called when the engine's process has gone."""
        self._on_end = on_end
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._messages: _Messages | None = None

    async def connect(self, path: str) -> None:
        """Reach the engine's process."""
        loop = asyncio.get_running_loop()
        connect: Callable[..., Awaitable[tuple[Any, _Messages]]] = loop.create_unix_connection
        _, self._messages = await connect(lambda: _Messages(self._answered, self._ended), path)

    async def ask(self, verb: str, question: msgspec.Struct, form: Form = "json") -> bytes:
        """The reply's bytes. Raises `Refused`."""
        assert self._messages is not None
        try:
            body = msgspec.Raw(_encoder.encode(question))
        except OverflowError as err:
            raise invalid_body(msgspec.ValidationError("Expected integers of 64 bits")) from err
        number = next(self._numbers)
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        try:
            await self._messages.send(_encoder.encode(_Question(number, verb, form, body)))
            return await waiting
        finally:
            del self._waiting[number]

    def _answered(self, raw: memoryview) -> None:
        answer = _answers.decode(raw)
        waiting = self._waiting.get(answer.number)
        if waiting is None or waiting.done():  # the caller went away
            return
        if answer.problem is None:
            waiting.set_result(answer.body)
        else:
            code, detail, members = answer.problem
            waiting.set_exception(Refused(code, detail, **members))

    def _ended(self) -> None:
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Refused("store-closed", "the engine's process has gone"))
        self._on_end()
