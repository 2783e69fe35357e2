"""The streams that hold one generation: their names, settings, state, and the count of writers.

    HW_<namespace>_<generation>           the log: subjects hw.<namespace>.log.<generation>.{ev.<p>, cat, ctl}
    HW_<namespace>_<generation>_epochs    one message per writer start: its sequence is the writer's epoch

    hw.<namespace>.tail.<generation>.{ev.<p>, cat, ctl}: what the server republishes of the log (see `jetstream_tail`)

<generation> is the first 16 hexadecimal digits, so that the next generation stands beside this one: JetStream refuses
streams whose subjects overlap. Namespaces share nothing, but only accounts keep them apart from each other's eyes.

The log's settings: file storage; limits retention with new messages refused at the limit, never old ones dropped;
single messages cannot be deleted (a gap would be damage). Purging stays possible, because a log is trimmed by purging
up to a position, and neither refusal could be lifted again. Who may purge is a matter of permissions.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
import secrets
import urllib.request
from typing import Any, NamedTuple

from headwater.errors import ConfigError, GenerationMismatch, HeadwaterError, LogCorrupt, StoreError, Unavailable
from headwater.events.frame import MAX_FRAME
from headwater.events.jetstream_api import (
    MESSAGE_NOT_FOUND,
    STREAM_EXISTS,
    STREAM_NOT_FOUND,
    JetStreamApi,
    JetStreamRefusal,
)
from headwater.events.log import subject_number
from headwater.events.subjects import CONTROL, Subject

logger = logging.getLogger(__name__)

FORMAT = "1"
_REWRITING = "hw_rewriting"
SYNC_TAG = "headwater-sync-always"
"""A server with this tag (`server_tags`) promises `sync_interval: always`: the one setting that a plain client cannot
read, and the one without which an acknowledged frame may be lost with the power."""
_HEADERS = 1_024  # room for batch, number and id beside a frame
DUPLICATE_WINDOW = 120
"""Seconds for which the server knows an append again by its id; retries end long before (`append_timeout`)."""


class Place(NamedTuple):
    """Where a generation's log is: names only."""

    namespace: str
    generation: str

    @property
    def short(self) -> str:
        """The generation as it stands in names."""
        return self.generation[:16]

    @property
    def stream(self) -> str:
        """The log's stream."""
        return f"HW_{self.namespace}_{self.short}"

    @property
    def epochs(self) -> str:
        """The stream that counts writers."""
        return f"{self.stream}_epochs"

    @property
    def prefix(self) -> str:
        """What the subjects of the log begin with."""
        return f"hw.{self.namespace}.log.{self.short}."

    @property
    def tail(self) -> str:
        """What the subjects begin with on which the server republishes the log."""
        return f"hw.{self.namespace}.tail.{self.short}."

    def tail_of(self, subject: str) -> str:
        """Where the server republishes what stands under a subject of the log; empty for any other subject."""
        return self.tail + subject[len(self.prefix) :] if subject.startswith(self.prefix) else ""

    @property
    def epoch_subject(self) -> str:
        """Where a writer reports its start."""
        return f"{self.prefix}epoch"

    def subject(self, subject: Subject) -> str:
        """The NATS subject of a frame's subject."""
        return self.prefix + subject.name

    def subject_of(self, frame: bytes) -> str:
        """The NATS subject under which a frame stands, from its header. A kind that nobody knows is filed under
        control: every reader sees it there and passes over it alike."""
        number = subject_number(frame)
        kind = number >> 16
        return self.prefix + (Subject(kind, number & 0xFFFF).name if kind <= CONTROL else "ctl")


def place_of(namespace: str, generation: str) -> Place:
    """A place, after a look at its parts. Raises `ConfigError`."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", namespace):
        raise ConfigError(
            f"namespace {namespace!r}; allowed: 1 to 32 letters, digits, - and _", key="namespace", value=namespace
        )
    if not re.fullmatch(r"[0-9a-f]{32}", generation):
        raise ConfigError(
            f"generation {generation!r}; allowed: 32 hexadecimal digits", key="generation", value=generation
        )
    return Place(namespace, generation)


class StreamState(NamedTuple):
    """What the server says of the log. `log_id` was drawn when the stream was made: another one is another log."""

    first: int
    last: int
    bytes: int
    log_id: str
    generation: str
    config: str
    max_bytes: int | None
    replicas: int = 1
    rewritten: int = 0
    """Where the log ended when a user was last erased from it; 0: never."""
    rewriting: bool = False
    """It is being written anew and not whole yet."""
    republished: bool = False
    """Each frame is sent on the tail's subjects when it is stored."""


class StreamSettings(NamedTuple):
    """What a new stream is made with. `max_bytes` bounds the log; `first_epoch` lies beyond an earlier log's writers;
    `config` is the `[generation]` table as JSON, from which tools read the log."""

    max_bytes: int | None = None
    replicas: int = 1
    first_epoch: int = 1
    config: str = ""
    rewritten: int | None = None
    """Begin a log that is written anew: nobody else opens it before `finish_rewriting`."""


async def ensure_stream(
    api: JetStreamApi, place: Place, settings: StreamSettings, *, rewriting: bool = False
) -> StreamState:
    """Make the streams where they are missing, set what changed of an existing one, and check it.

    Raises `GenerationMismatch`, `LogCorrupt`, `StoreError`, `Unavailable`.
    """
    await _check_server(api)
    try:
        config = (await api.call(f"STREAM.INFO.{place.stream}"))["config"]
    except JetStreamRefusal as err:
        if err.details["err_code"] != STREAM_NOT_FOUND:
            raise
        # The count first: a log that holds frames has always had one.
        await _create(api, _epochs_config(place, settings))
        await _create(api, _log_config(place, settings))
    else:
        wanted = -1 if settings.max_bytes is None else settings.max_bytes
        changes = {"max_bytes": wanted, "num_replicas": settings.replicas, "republish": _republish(place)}
        if config | changes != config:
            config |= changes
            await api.call(f"STREAM.UPDATE.{place.stream}", config)
        await _replicate_epochs(api, place, settings.replicas)
    return await stream_state(api, place, check_epochs=True, rewriting=rewriting)


async def _replicate_epochs(api: JetStreamApi, place: Place, replicas: int) -> None:
    """The count of writers has as many copies as the log: without it nobody could write."""
    try:
        config = (await api.call(f"STREAM.INFO.{place.epochs}"))["config"]
    except JetStreamRefusal as err:
        if err.details["err_code"] != STREAM_NOT_FOUND:
            raise
        return  # `stream_state` says what that means
    if config.get("num_replicas", 1) != replicas:
        await api.call(f"STREAM.UPDATE.{place.epochs}", config | {"num_replicas": replicas})


class NoSuchLog(StoreError):
    """The server holds no log of this namespace and generation."""


async def stream_state(
    api: JetStreamApi, place: Place, *, check_epochs: bool = False, rewriting: bool = False
) -> StreamState:
    """The log's state now. Raises `NoSuchLog`, `StoreError`, `GenerationMismatch`, `LogCorrupt`, `Unavailable` (also
    while it is written anew, unless `rewriting`)."""
    try:
        info = await api.call(f"STREAM.INFO.{place.stream}")
        if check_epochs:
            await api.call(f"STREAM.INFO.{place.epochs}")
    except JetStreamRefusal as err:
        if err.details["err_code"] != STREAM_NOT_FOUND:
            raise
        if place.epochs in err.message:
            raise LogCorrupt(
                f"nats {api.url}: {place.stream} is there, but {place.epochs}, which counts its writers, is not: new "
                "frames could be taken for repeats; restore it, or copy the log into the next generation",
                reason="epochs",
            ) from err
        raise NoSuchLog(
            f"nats {api.url} holds no log {place.stream}; `headwater serve` makes it", url=api.url, stream=place.stream
        ) from err
    return _checked(api, place, info, rewriting)


async def places(api: JetStreamApi, namespace: str) -> list[Place]:
    """The generations whose logs stand in a namespace."""
    found: list[Place] = []
    named = await api.call("STREAM.NAMES", {"subject": f"hw.{namespace}.log.*.cat"})
    for stream in named.get("streams") or []:
        info = await api.call(f"STREAM.INFO.{stream}")
        generation = (info["config"].get("metadata") or {}).get("hw_generation", "")
        if stream == f"HW_{namespace}_{generation[:16]}":
            found.append(place_of(namespace, generation))
    return found


def _checked(api: JetStreamApi, place: Place, info: dict[str, Any], rewriting: bool) -> StreamState:
    config, state = info["config"], info["state"]
    meta = config.get("metadata") or {}
    if meta.get("hw_format") != FORMAT:
        raise LogCorrupt(
            f"nats {api.url}: stream {place.stream} has log format {meta.get('hw_format')!r}; this code reads "
            f"{FORMAT!r}",
            reason="format",
        )
    if meta.get("hw_generation") != place.generation:
        raise GenerationMismatch(
            f"nats {api.url}: stream {place.stream} is of generation {meta.get('hw_generation')}, configuration and "
            f"fold version make {place.generation}: restore the old [generation] table or version",
            found=meta.get("hw_generation"),
            expected=place.generation,
        )
    if meta.get(_REWRITING) and not rewriting:
        raise Unavailable(
            f"nats {api.url}: the log {place.stream} is being written anew, without the events of a user; ask again",
            url=api.url,
            retry_after_ms=1000,
            kept="no",
        )
    if not config.get("allow_atomic"):
        raise StoreError(
            f"nats {api.url}: stream {place.stream} takes no atomic batches: nats-server 2.12 or newer is needed",
            url=api.url,
        )
    last = int(state["last_seq"])
    max_bytes = int(config.get("max_bytes", -1))
    return StreamState(
        first=int(state["first_seq"]) if last else 0,
        last=last,
        bytes=int(state["bytes"]),
        log_id=str(meta.get("hw_log")),
        generation=place.generation,
        config=str(meta.get("hw_config", "")),
        max_bytes=None if max_bytes < 0 else max_bytes,
        replicas=int(config.get("num_replicas", 1)),
        rewritten=int(meta.get("hw_rewritten", 0)),
        rewriting=_REWRITING in meta,
        republished=config.get("republish") == _republish(place),
    )


def _republish(place: Place) -> dict[str, str]:
    return {"src": f"{place.prefix}>", "dest": f"{place.tail}>"}


async def _create(api: JetStreamApi, config: dict[str, Any]) -> None:
    try:
        await api.call(f"STREAM.CREATE.{config['name']}", config)
    except JetStreamRefusal as err:
        if err.details["err_code"] != STREAM_EXISTS:  # made by another host in this moment
            raise


def _log_config(place: Place, settings: StreamSettings) -> dict[str, Any]:
    return {
        "name": place.stream,
        "subjects": [f"{place.prefix}ev.*", f"{place.prefix}cat", f"{place.prefix}ctl"],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_bytes": -1 if settings.max_bytes is None else settings.max_bytes,
        "max_msg_size": MAX_FRAME + _HEADERS,
        "num_replicas": settings.replicas,
        "duplicate_window": DUPLICATE_WINDOW * 1_000_000_000,
        "deny_delete": True,
        "allow_atomic": True,
        "republish": _republish(place),
        "metadata": {
            "hw_format": FORMAT,
            "hw_generation": place.generation,
            "hw_log": secrets.token_hex(8),
            "hw_config": settings.config,
            **({} if settings.rewritten is None else {_REWRITING: "1", "hw_rewritten": str(settings.rewritten)}),
        },
    }


def _epochs_config(place: Place, settings: StreamSettings) -> dict[str, Any]:
    return {
        "name": place.epochs,
        "subjects": [place.epoch_subject],
        "storage": "file",
        "retention": "limits",
        "discard": "old",
        "max_msgs": 1_000,  # who started when, for people; the sequence goes on
        "max_msg_size": 1_024,
        "num_replicas": settings.replicas,
        "deny_delete": True,
        "deny_purge": True,
        **({"first_seq": settings.first_epoch} if settings.first_epoch > 1 else {}),
    }


async def replace_stream(api: JetStreamApi, place: Place, settings: StreamSettings) -> None:
    """Delete the log and begin an empty one in its place, which nobody opens before `finish_rewriting`. The count of
    writers stays. Needs the rights to delete and create the stream; none of Headwater's own roles has them."""
    await delete_stream(api, place.stream)
    await delete_stream(api, f"OBJ_{place.stream}")
    await api.call(f"STREAM.CREATE.{place.stream}", _log_config(place, settings))


async def delete_stream(api: JetStreamApi, stream: str) -> None:
    """Delete a stream, if it is there."""
    try:
        await api.call(f"STREAM.DELETE.{stream}")
    except JetStreamRefusal as err:
        if err.details["err_code"] != STREAM_NOT_FOUND:
            raise


async def finish_rewriting(api: JetStreamApi, place: Place) -> None:
    """Let the new log be opened."""
    config = (await api.call(f"STREAM.INFO.{place.stream}"))["config"]
    config["metadata"] = {name: told for name, told in config["metadata"].items() if name != _REWRITING}
    await api.call(f"STREAM.UPDATE.{place.stream}", config)


async def epochs_taken(api: JetStreamApi, place: Place) -> int:
    """The last epoch that a writer took."""
    return int((await api.call(f"STREAM.INFO.{place.epochs}"))["state"]["last_seq"])


async def take_epoch(api: JetStreamApi, place: Place, producer: str, patience: float) -> int:
    """The next epoch: greater than any that was given out before. Raises `StoreError`, `Unavailable`."""
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            answer = api.decoded(await api.request(place.epoch_subject, producer.encode()[:256]))
            if (error := answer.get("error")) is not None:
                raise api.refusal(error, place.epoch_subject)
            return int(answer["seq"])
        except Unavailable:
            # An epoch of which nobody heard is merely skipped.
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(0.1)


async def is_inside_batch(api: JetStreamApi, place: Place, position: int) -> bool:
    """Whether the frame at a position is part of an atomic batch and not its last."""
    if position < 1:
        return False
    try:
        message = (await api.call(f"STREAM.MSG.GET.{place.stream}", {"seq": position}))["message"]
    except JetStreamRefusal as err:
        if err.details["err_code"] == MESSAGE_NOT_FOUND:  # trimmed meanwhile
            return False
        raise
    headers = base64.b64decode(message.get("hdrs", ""))
    return b"\r\nNats-Batch-Id:" in headers and b"\r\nNats-Batch-Commit:" not in headers


async def _check_server(api: JetStreamApi) -> None:
    limit = (await api.client()).max_payload
    if limit < MAX_FRAME + _HEADERS:
        raise ConfigError(
            f"nats {api.url} takes messages of at most {limit} bytes; needed: max_payload of {MAX_FRAME + _HEADERS} or "
            "more",
            key="max_payload",
            value=limit,
        )


async def syncs_always(api: JetStreamApi) -> bool | None:
    """Whether the server syncs each write before it acknowledges it; `None` when that cannot be known.

    The monitoring address tells (`monitor_url`); without one, the server's tag `SYNC_TAG` is its operator's word.
    """
    if api.options.monitor_url:
        try:
            told = await asyncio.to_thread(_jsz, api.options.monitor_url.rstrip("/") + "/jsz")
            return bool(told["config"].get("sync_always", False))
        except (OSError, ValueError, KeyError, TypeError) as err:
            logger.warning("%s does not answer as a NATS monitor: %s", api.options.monitor_url, err)
    try:
        told = api.decoded(await api.request("$SYS.REQ.USER.INFO", timeout=2))
    except HeadwaterError:  # not permitted: not known
        return None
    return True if SYNC_TAG in (told.get("server", {}).get("tags") or []) else None


def _jsz(url: str) -> Any:
    if not url.startswith(("http://", "https://")):
        raise ValueError("no http address")
    with urllib.request.urlopen(url, timeout=2) as answer:
        return json.loads(answer.read(1 << 20))


def warn_of_syncs(api: JetStreamApi, syncs: bool | None) -> None:
    """Say it loudly when an acknowledgement is less than it should be."""
    if syncs is False:
        logger.warning(
            "nats %s does not sync each write: frames that were acknowledged can be lost when the machine stops. Set "
            "`sync_interval: always` in its `jetstream` block",
            api.url,
        )
    elif syncs is None:
        logger.warning(
            "nats %s does not say whether it syncs each write before it acknowledges it; without `sync_interval: "
            "always` in its `jetstream` block, frames that were acknowledged can be lost when the machine stops. Set "
            'it, and tell clients with `server_tags: ["%s"]`, or give `monitor_url`',
            api.url,
            SYNC_TAG,
        )
