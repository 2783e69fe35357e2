"""Requests to JetStream as JSON, with Headwater's errors. It knows the wire, not what is stored.

nats-py's own JetStream context is not used: its consumers lose and repeat messages in the cases that matter here (see
`jetstream_reader`), and it knows no atomic batches.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.errors import (
    AccessDenied,
    HeadwaterError,
    StoreClosed,
    StoreError,
    StoreFull,
    Unavailable,
)
from headwater.events.nats_options import RETRY_AFTER_MS, Hooks, NatsOptions, connect

if TYPE_CHECKING:
    from headwater.events.direct_client import Heard

logger = logging.getLogger(__name__)

# Codes of JetStream's errors (err_code), as the server's own table names them.
STREAM_NOT_FOUND = 10059
STREAM_EXISTS = 10058
MESSAGE_NOT_FOUND = 10037
CONSUMER_NOT_FOUND = 10014
WRONG_LAST_SEQUENCE = 10071
WRONG_LAST_SEQUENCE_REPLICATED = 10164
DUPLICATE_IN_BATCH = 10201
BATCH_INCOMPLETE = 10176
BATCHES_IN_FLIGHT = 10210
_FULL = {
    10077,  # maximum messages or bytes of the stream exceeded
    10002,  # resource limits of the account exceeded
    10023,  # insufficient resources
    10028,  # memory resources exceeded
    10047,  # storage resources exceeded
    10120,  # maximum stream bytes of the account exceeded
}
_PASSING = {
    10008,  # JetStream system temporarily unavailable
    10009,  # no quorum of peers
    10004,  # incomplete results
    10074,  # stream offline
    10118,  # stream offline, with a reason
    10167,  # too many requests
    10076,  # JetStream is not enabled (a server that is shutting down says so)
    10039,  # nor for this account
    BATCHES_IN_FLIGHT,
    BATCH_INCOMPLETE,
}


class JetStreamRefusal(StoreError):
    """JetStream answered with an error that has no better class here. Details: `err_code`, `code`."""

    code = "jetstream"


class LostContact(Unavailable):
    """No answer: the server, the connection or the time was gone. Whether the request was carried out is not known."""


Answer = tuple[bytes, bytes | None]
"""Data and headers as they came."""


class _Asked:
    """Requests that were sent together and what became of each: its answer, or why it has none."""

    __slots__ = ("_open", "done", "outcomes", "subjects")

    def __init__(self, subjects: list[str]) -> None:
        self.subjects = subjects
        self.outcomes: list[Answer | HeadwaterError | None] = [None] * len(subjects)
        self._open = len(subjects)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def open(self) -> list[tuple[int, str]]:
        """Place and subject of those that nothing came of yet."""
        return [(at, subject) for at, subject in enumerate(self.subjects) if self.outcomes[at] is None]

    def answer(self, at: int, data: bytes, headers: bytes | None) -> None:
        """One was answered."""
        self._settle(at, (data, headers))

    def fail(self, err: HeadwaterError, at: int) -> None:
        """One will not be."""
        self._settle(at, err)

    def _settle(self, at: int, outcome: Answer | HeadwaterError) -> None:
        if self.outcomes[at] is not None:
            return
        self.outcomes[at] = outcome
        self._open -= 1
        if self._open == 0 and not self.done.done():
            self.done.set_result(None)


class JetStreamApi:
    """One connection of its own, dialled again should nats-py give it up. For use inside one event loop."""

    def __init__(self, options: NatsOptions) -> None:
        self.options = options
        self._client: Any = None
        self._dialling = asyncio.Lock()
        self._closed = False
        self._awaited: set[_Asked] = set()
        self._deaf = ""
        # Subscriptions that one can do without, in small letters, and who is to be told when one is refused.
        self._optional: dict[str, Callable[[], None]] = {}
        self.back: set[Callable[[], None]] = set()
        """Called when the connection was made again."""

    async def client(self) -> Any:
        """The nats client, connected or reconnecting. Raises as `connect` does, and `StoreClosed`."""
        if self._client is not None and not self._client.is_closed:
            return self._client
        async with self._dialling:
            if self._closed:
                raise StoreClosed("the log is closed")
            if self._client is None or self._client.is_closed:
                self._client = await connect(
                    self.options, hooks=Hooks(self._on_lost, self._on_back, self._on_denied), error_logger=logger
                )
            return self._client

    async def close(self) -> None:
        """Close the connection; whoever waits for an answer is told."""
        self._closed = True
        for asked in list(self._awaited):
            for at, _ in asked.open():
                asked.fail(StoreClosed("the log is closed"), at)
        if self._client is not None:
            await self._client.close()

    @property
    def url(self) -> str:
        """The servers, for messages."""
        return self.options.shown

    @property
    def connected(self) -> bool:
        """Whether the connection stands at this moment."""
        return self._client is not None and bool(self._client.is_connected)

    @property
    def lives(self) -> int:
        """How often the connection was made: subscriptions outlive a reconnection, consumers and pulls may not."""
        return 0 if self._client is None else int(self._client.stats["reconnects"]) + id(self._client)

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> bytes:
        """One request, one answer. Raises `LostContact`, `Unavailable`."""
        return (await self._asked(subject, payload, headers, timeout))[0]

    async def ask(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> tuple[dict[str, str], bytes]:
        """As `request`, with the answer's headers."""
        data, lines = await self._asked(subject, payload, headers, timeout)
        return headers_of(lines), data

    async def request_each(
        self, requests: Sequence[tuple[str, bytes, Mapping[str, str]]], timeout: float
    ) -> list[bytes | HeadwaterError]:
        """Requests (subject, payload, headers) that leave together; the answer to each, or why there is none. Raises
        `Unavailable`, `AccessDenied`, `StoreClosed` before anything was sent."""
        return [
            outcome if isinstance(outcome, HeadwaterError) else outcome[0]
            for outcome in await self._asked_each(requests, timeout)
        ]

    async def _asked(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, timeout: float | None
    ) -> Answer:
        request = (subject, payload, headers)
        (outcome,) = await self._asked_each([request], timeout or self.options.request_timeout)
        if isinstance(outcome, HeadwaterError):
            raise outcome
        return outcome

    async def _asked_each(
        self, requests: Sequence[tuple[str, bytes, Mapping[str, str] | None]], timeout: float
    ) -> list[Answer | HeadwaterError]:
        from nats.errors import Error

        from headwater.events.direct_client import header_lines

        client = await self.client()
        if self._deaf:
            raise self._denial("subscription", self._deaf)
        loop = asyncio.get_running_loop()
        asked = _Asked([subject for subject, _, _ in requests])
        self._awaited.add(asked)
        timer = loop.call_later(timeout, self._too_late, asked)
        names: list[str] = []
        try:
            await self._ready(client)
            for at, (subject, payload, headers) in enumerate(requests):
                lines = header_lines(headers) if headers else b""
                try:
                    names.append(client.ask(subject, payload, functools.partial(asked.answer, at), lines))
                except (Error, OSError) as err:
                    asked.fail(self._lost(f"no answer to {subject}", err), at)
            await asked.done
        finally:
            timer.cancel()
            self._awaited.discard(asked)
            for name in names:
                client.forget(name)
        return [self._said(subject, outcome) for subject, outcome in zip(asked.subjects, asked.outcomes, strict=True)]

    async def _ready(self, client: Any) -> None:
        from nats.errors import Error

        try:
            await client.ready_to_ask()
        except (Error, OSError) as err:
            raise self._lost("answers cannot be listened for", err) from err

    def _said(self, subject: str, outcome: Answer | HeadwaterError | None) -> Answer | HeadwaterError:
        from headwater.events.direct_client import is_nobody

        assert outcome is not None
        if not isinstance(outcome, HeadwaterError) and is_nobody(*outcome):
            return self._absent(f"nobody answers {subject}: JetStream is starting, off, or not permitted", "no")
        return outcome

    def _too_late(self, asked: _Asked) -> None:
        for at, subject in asked.open():
            asked.fail(self._lost(f"no answer to {subject}", TimeoutError()), at)

    def _on_lost(self) -> None:
        for asked in list(self._awaited):
            for at, subject in asked.open():
                asked.fail(self._lost(f"the connection broke before {subject} was answered"), at)

    def _on_back(self) -> None:
        for told in list(self.back):
            told()

    def _on_denied(self, verb: str, subject: str) -> None:
        if verb == "subscription" and (told := self._optional.get(subject)) is not None:
            told()
            return
        if verb == "subscription":
            self._deaf = subject
        for asked in list(self._awaited):
            for at, sent in asked.open():
                # Without the right to listen to its inbox no request has an answer.
                if verb == "subscription" or sent.lower() == subject:
                    asked.fail(self._denial(verb, subject), at)

    def _denial(self, verb: str, subject: str) -> AccessDenied:
        return AccessDenied(
            f"nats {self.url}: these credentials do not permit {verb} to {subject}", url=self.url, subject=subject
        )

    async def publish(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Send without waiting for anyone. Raises `LostContact`, `Unavailable`."""
        from nats.errors import Error

        from headwater.events.direct_client import header_lines

        client = await self.client()
        try:
            client.send(subject, payload, reply, header_lines(headers) if headers else b"")
        except (Error, OSError) as err:
            raise self._lost(f"{subject} could not be sent", err) from err

    async def subscribe(self, take: Heard) -> tuple[str, Any]:
        """A fresh inbox and its subscription. Nothing waits in between, so nothing is dropped: whoever asks bounds what
        it asks for."""
        client = await self.client()
        inbox = client.new_inbox()
        return inbox, await client.hear(inbox, take)

    async def listen(self, subject: str, take: Heard, refused: Callable[[], None]) -> Any:
        """A subscription that one can do without: `refused` is called when the server does not permit it."""
        self._optional[subject.lower()] = refused
        return await (await self.client()).hear(subject, take)

    async def unsubscribe(self, subscription: Any) -> None:
        """Hear nothing more. Raises `LostContact`: the connection that it was made on is closed or closing."""
        from nats.errors import Error

        try:
            await subscription.unsubscribe()
        except (Error, OSError) as err:
            raise self._lost("a subscription was not given up", err) from err

    async def call(
        self, name: str, body: Mapping[str, Any] | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """A request to `$JS.API.<name>`. Raises what `refusal` makes of an error, `LostContact`, `Unavailable`."""
        subject = f"$JS.API.{name}"
        answer = self.decoded(
            await self.request(subject, b"" if body is None else json.dumps(body).encode(), timeout=timeout)
        )
        if (error := answer.get("error")) is not None:
            raise self.refusal(error, subject)
        return answer

    def decoded(self, data: bytes) -> dict[str, Any]:
        """An answer's JSON. Raises `StoreError` if it is none: another service answers on this subject."""
        try:
            answer = msgspec.json.decode(data)
        except msgspec.DecodeError as err:
            raise StoreError(f"nats {self.url}: an answer that is no JSON: {data[:60]!r}", url=self.url) from err
        if not isinstance(answer, dict):
            raise StoreError(f"nats {self.url}: an answer that is no JSON object: {data[:60]!r}", url=self.url)
        return answer

    def refusal(self, error: Mapping[str, Any], subject: str) -> HeadwaterError:
        """The error of an answer's `error` field."""
        number, said = int(error.get("err_code", 0)), str(error.get("description", "no reason given"))
        if number in _FULL:
            return StoreFull(
                f"nats {self.url}: the stream takes no more ({said}); nothing of this write was kept; free space, "
                "raise max_bytes, and retry",
                url=self.url,
                err_code=number,
            )
        if number in _PASSING or error.get("code") == 503:
            return self._absent(f"JetStream cannot answer now: {said}", "no")
        return JetStreamRefusal(
            f"nats {self.url}: {subject}: {said}", url=self.url, err_code=number, code=error.get("code")
        )

    def _lost(self, what: str, err: Exception | None = None) -> LostContact:
        why = "" if err is None else f": {str(err) or type(err).__name__}"
        return LostContact(f"nats {self.url}: {what}{why}", url=self.url, retry_after_ms=RETRY_AFTER_MS, kept="unknown")

    def _absent(self, why: str, kept: str) -> Unavailable:
        return Unavailable(f"nats {self.url}: {why}", url=self.url, retry_after_ms=RETRY_AFTER_MS, kept=kept)


def headers_of(lines: bytes | None) -> dict[str, str]:
    """Headers by name, with what the first line tells as `Status` and `Description`."""
    if lines is None:
        return {}
    first, *others = lines.decode("utf-8", "replace").split("\r\n")
    _, status, said = (*first.split(" ", 2), "", "")[:3]
    headers = {"Status": status, "Description": said.strip()} if status else {}
    for line in others:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip()] = value.strip()
    return headers
