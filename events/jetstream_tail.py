"""The tail of a stream as the server republishes it: each frame as soon as it is stored.

A consumer reads under the lock under which the server's file store writes *and syncs* the next message. So a frame that
is acknowledged already waits for the syncs of those behind it, as many as get in first; on a busy disk that is tens of
milliseconds. A stream that republishes has its server send each message on a subject of its own, behind the sync and
before the acknowledgement, without a look into the store:

    hw.<namespace>.tail.<generation>.{ev.<p>, cat, ctl}      nobody but the server publishes there

What comes so may have gaps (a connection made again, a route between servers that broke), and says its position. `Tail`
keeps one run of frames without a gap; the reader takes it where it follows what the reader has, and reads by a consumer
wherever it does not. All frames are heard, of whatever subject: only so is a gap seen before anything behind it is
folded.

*Forged frames.* Who may publish on the tail's subjects could put in frames that the log does not hold. Permissions
forbid it to everybody (`cluster/permissions.py`). Where there are none, the true frame of a position comes as well: two
different ones at one position are a doubt, which is settled by asking the log.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import secrets
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import xxhash

from headwater.errors import LogCorrupt
from headwater.events.jetstream_api import MESSAGE_NOT_FOUND, JetStreamApi, JetStreamRefusal, LostContact
from headwater.events.jetstream_stream import Place

logger = logging.getLogger(__name__)

_ADDED = b"\r\nNats-Stream: "
# What the server adds behind the headers of the message itself: the last of each name is the server's.
_STORED = re.compile(
    rb"\r\nNats-Stream: ([^\r\n]+)\r\nNats-Subject: ([^\r\n]+)\r\nNats-Sequence: (\d{1,19})\r\n"
    rb"Nats-Time-Stamp: [^\r\n]+\r\nNats-Last-Sequence: \d{1,19}\r\n\r\n"
)
_HELD_BYTES = 2 << 20
"""What is held at most while a consumer catches up."""
_WINDOW_SECONDS, _WINDOW_BYTES = 0.25, 2 << 20
"""More than so much in so many seconds is no tail but a load: a consumer brings it at the reader's own pace."""
_REMEMBERED = 4_096
_ANEW_SECONDS = 2.0
_SEED = secrets.randbits(64)


class Stored(NamedTuple):
    """A frame as the server says that it is stored."""

    position: int
    subject: str
    frame: bytes

    @property
    def digest(self) -> bytes:
        """Tells it from another one, also from one that was made to be taken for it: nobody knows the seed."""
        return xxhash.xxh3_128_digest(self.subject.encode() + b"\0" + self.frame, _SEED)


class _Doubt(NamedTuple):
    """Two different frames came for one position; `digest` is that of the first one, which may be `given` out."""

    position: int
    digest: bytes
    given: bool


class Tail:
    """One run of frames without a gap, as far as it was not given out yet. For one reader, inside one event loop."""

    def __init__(self, api: JetStreamApi, place: Place, changed: Callable[[], None]) -> None:
        """`changed` is called when a frame came, and when the tail cannot be followed any more."""
        self._api = api
        self._place = place
        self._changed = changed
        self._client: Any = None
        self._subscription: Any = None
        self._lives = 0
        self._again = 0.0
        self._run: deque[Stored] = deque()
        self._held = 0
        self._last = 0
        self._given: dict[int, bytes] = {}
        self._window = 0.0
        self._window_bytes = 0
        self._odd = False
        self._doubt: _Doubt | None = None
        self._flooded = False
        self._refused = False
        self.heard = 0.0
        """When the last frame came, by the loop's clock."""

    # --- the subscription ----------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why it is not to be followed at this moment; empty: nothing."""
        if self._doubt is not None:
            return f"two different frames came for position {self._doubt.position}"
        if self._refused:
            return "it is refused"
        if self._flooded:
            return "more comes than one should follow"
        return "" if self._subscription is not None and self._lives == self._api.lives else "the connection is another"

    async def listen(self, joined: bool) -> None:
        """Mend what can be mended of its `trouble`. Nothing that is stored after this is missed by the subscription, if
        the one server is asked. Raises what `JetStreamApi.client` does, and what `LogCorrupt` says of forged frames."""
        now = asyncio.get_running_loop().time()
        if self._doubt is not None:
            await self._settle(self._doubt)
        if self._refused:
            return
        if self._flooded:
            await self.leave()
        elif self._subscription is not None and self._client is not await self._api.client():
            self._subscription = None  # it went with its connection
        if self._subscription is not None:
            if self._lives != self._api.lives or (not joined and now >= self._again):
                self._begin(now)  # what came meanwhile did not fit: perhaps from here on
        elif now >= self._again:
            self._begin(now)
            self._client = await self._api.client()
            self._subscription = await self._api.listen(f"{self._place.tail}>", self.take, self._on_refused)
            self._lives = self._api.lives

    async def leave(self) -> None:
        """Hear nothing more."""
        subscription, self._subscription = self._subscription, None
        self._begin(asyncio.get_running_loop().time())
        if subscription is None:
            return
        try:
            await self._api.unsubscribe(subscription)
        except LostContact as err:  # and the subscription went with it
            logger.debug("the tail of %s could not be taken leave of: %s", self._place.stream, err)

    def _begin(self, now: float) -> None:
        self._drop()
        self._given.clear()
        self._last = self._window_bytes = 0
        self._flooded = False
        self._lives = self._api.lives
        self.heard = self._window = now
        self._again = now + _ANEW_SECONDS

    def _on_refused(self) -> None:
        self._refused = True
        logger.warning(
            "%s: these credentials do not permit to hear %s>: frames come by consumers alone, later on a busy disk; "
            "`headwater permissions` prints what a host needs",
            self._place.stream,
            self._place.tail,
        )
        self._changed()

    async def _settle(self, doubt: _Doubt) -> None:
        """Ask the log which of two frames is the true one. Raises `LogCorrupt` if another one was given out."""
        stream = self._place.stream
        try:
            held = (await self._api.call(f"STREAM.MSG.GET.{stream}", {"seq": doubt.position}))["message"]
            stored = Stored(doubt.position, held["subject"], base64.b64decode(held.get("data", "")))
        except JetStreamRefusal as err:
            if err.details["err_code"] != MESSAGE_NOT_FOUND:
                raise
            stored = Stored(doubt.position, "", b"")
        self._doubt, self._refused = None, True
        if doubt.given and stored.digest != doubt.digest:
            raise LogCorrupt(
                f"nats {self._api.url}: somebody else than the server publishes on {self._place.tail}>: at position "
                f"{doubt.position} a frame was folded that {stream} does not hold; deny it to everybody (`headwater "
                "permissions`), then start this host again",
                position=doubt.position,
                reason="forged",
            )
        logger.error(
            "%s: somebody else than the server publishes on %s>; it is not heard any more. Deny it to everybody: "
            "`headwater permissions` prints how",
            stream,
            self._place.tail,
        )
        await self.leave()

    # --- frames --------------------------------------------------------------------------------------------------

    def take(self, subject: str, _: str, frame: bytes, headers: bytes | None) -> None:
        """Hear one message."""
        stored = self._stored(subject, frame, headers)
        if stored is None:
            return
        self.heard = asyncio.get_running_loop().time()
        self._count(len(frame))
        if stored.position <= self._last:
            self._compare(stored)
        else:
            if stored.position != self._last + 1 or self._held > _HELD_BYTES:
                self._drop()
            self._run.append(stored)
            self._held += len(frame)
            self._last = stored.position
        self._changed()

    def after(self, position: int) -> list[Stored]:
        """The frames that follow a position directly, if they are here; they are given out by this."""
        run = self._run
        while run and run[0].position <= position:
            self._held -= len(run.popleft().frame)
        if not run or run[0].position != position + 1 or self.trouble:
            return []
        frames = list(run)
        self._drop()
        for stored in frames:
            self._given[stored.position] = stored.digest
            self._given.pop(stored.position - _REMEMBERED, None)
        return frames

    def skips(self, position: int) -> bool:
        """Whether a frame is here that does not follow `position` directly: those in between did not come."""
        return bool(self._run) and self._run[0].position > position + 1

    def _stored(self, subject: str, frame: bytes, headers: bytes | None) -> Stored | None:
        if headers is None:
            return None  # came before the subscription was noted
        at = headers.rfind(_ADDED)
        found = _STORED.fullmatch(headers, at) if at >= 0 else None
        if found is not None and found[1] == self._place.stream.encode():
            stored = Stored(int(found[3]), found[2].decode("utf-8", "replace"), frame)
            if subject == self._place.tail_of(stored.subject):
                return stored
        if not self._odd:
            self._odd = True
            logger.warning("%s: a message that the server did not republish is passed over", subject)
        return None

    def _compare(self, stored: Stored) -> None:
        """A position that is known already: there may be one frame only."""
        held = self._given.get(stored.position)
        given = held is not None
        if held is None and self._run and stored.position >= self._run[0].position:
            held = self._run[stored.position - self._run[0].position].digest
        if held is not None and held != stored.digest and self._doubt is None:
            self._doubt = _Doubt(stored.position, held, given)

    def _count(self, size: int) -> None:
        if self.heard - self._window >= _WINDOW_SECONDS:
            self._window, self._window_bytes = self.heard, 0
        self._window_bytes += size
        self._flooded = self._flooded or self._window_bytes > _WINDOW_BYTES

    def _drop(self) -> None:
        self._run.clear()
        self._held = 0
