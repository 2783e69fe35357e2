"""A consumer on the server: made behind a position, asked for portions, taken leave of.

It is *ephemeral, pulls, and acknowledges nothing*: it is worth no more than the frames on their way from it, and at any
doubt it is `lost`, with the reason. Whether what came from it is whole and in order is for its reader to say.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from typing import TYPE_CHECKING, Any

from headwater.events.frame import MAX_FRAME
from headwater.events.jetstream_api import JetStreamApi, LostContact

if TYPE_CHECKING:
    from headwater.events.direct_client import Heard

logger = logging.getLogger(__name__)

_PULL_FRAMES = 1_024
_PULL_LEAST = 2 * MAX_FRAME
_HEARTBEAT = 1.0
_SILENCE = 2.5 * _HEARTBEAT
_EXPIRES = 30.0
_ENDED = {"404", "408"}
_LEFT = ("consumer deleted", "server shutdown", "leadership change", "consumer is push based")


class Consumer:
    """One consumer of a stream and what is known of it. For one reader, inside one event loop."""

    def __init__(self, api: JetStreamApi, stream: str) -> None:
        self._api = api
        self._stream = stream
        self._name = f"r{secrets.token_hex(8)}"
        self._lives = api.lives
        self._inbox = ""
        self._subscription: Any = None
        self._heard = asyncio.get_running_loop().time()
        self.received = 0
        """Frames that came from it: the number of the last one."""
        self.wanted = 0
        """Frames still to come of the portion that was asked for; 0: nothing is asked for."""
        self.lost = ""
        """Why it is not to be used any more."""

    async def listen(self, take: Heard) -> None:
        """Have `take` called with what comes: frames, and words about the portion, which are for `hear`."""
        self._inbox, self._subscription = await self._api.subscribe(take)
        self._heard = asyncio.get_running_loop().time()

    async def make(self, start: int, subjects: list[str] | None, inactive: float) -> int:
        """Make it on the server, for what stands at `start` and behind; how many frames are stored there.

        `inactive`: seconds without a question after which the server forgets it by itself. Raises as
        `JetStreamApi.call`.
        """
        config: dict[str, Any] = {
            "name": self._name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": start,
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": int(inactive * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
        }
        if subjects is not None:
            config["filter_subjects"] = subjects
        body = {"stream_name": self._stream, "action": "create", "config": config}
        answer = await self._api.call(f"CONSUMER.CREATE.{self._stream}.{self._name}", body)
        return int(answer["num_pending"])

    async def ask(self, size: int) -> None:
        """Ask for a portion of about `size` bytes; its frames come one by one as they are written. Raises as
        `JetStreamApi.publish`."""
        self.wanted = _PULL_FRAMES
        self._heard = asyncio.get_running_loop().time()
        pull = {
            "batch": _PULL_FRAMES,
            "max_bytes": max(size, _PULL_LEAST),
            "expires": int(_EXPIRES * 1e9),
            "idle_heartbeat": int(_HEARTBEAT * 1e9),
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._name}"
        await self._api.publish(subject, json.dumps(pull).encode(), reply=self._inbox)

    def came(self) -> None:
        """Something came from it."""
        self._heard = asyncio.get_running_loop().time()

    def count(self) -> None:
        """A frame came from it, the next one."""
        self.received += 1
        self.wanted = max(0, self.wanted - 1)

    def hear(self, headers: bytes) -> bool:
        """A word about the portion; whether it changes anything."""
        # NATS/1.0 409 Message Size Exceeds MaxBytes
        _, _, told = headers.partition(b"\r\n")[0].decode("utf-8", "replace").partition(" ")
        status, _, said = told.lower().partition(" ")
        if status == "100":
            return False
        if status in _ENDED or (status == "409" and not said.startswith(_LEFT)):
            self.wanted = 0
        else:
            self.lost = f"status {status} {said}"
        return True

    def look(self, now: float, grace: float) -> None:
        """Find out whether it is lost; `grace`: seconds by which the caller may be late itself."""
        if self.lost:
            return
        if self._lives != self._api.lives:
            self.lost = "the connection was made again"
        elif self.wanted and now - self._heard > _SILENCE + grace:
            self.lost = "it is silent"

    async def forget(self) -> None:
        """Have the server forget it, without waiting. Raises as `JetStreamApi.publish`."""
        await self._api.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{self._name}")

    async def leave(self) -> None:
        """Hear nothing more from it. Should the connection be gone it is gone too, soon: the server forgets it."""
        self.lost = self.lost or "left"
        try:
            if self._subscription is not None:
                await self._api.unsubscribe(self._subscription)
            if self._api.connected:
                await self.forget()
        except LostContact as err:
            logger.debug("consumer %s could not be taken leave of: %s", self._name, err)
