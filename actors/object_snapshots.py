"""Snapshots in the object store of JetStream: hosts on several machines share them.

One object per part, named `<position>/<part>`, laid out as any NATS client reads it (ADR-20 of NATS: chunks, then one
message that describes them and makes the object visible). A snapshot that was saved whole has one object more,
`<position>/whole`, written last, which lists its parts.

The chunks' subject begins with position and part, so that what a host left behind half written is found by its
successor. Nothing here is read through a consumer: each chunk is asked for by its subject and place.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from headwater.errors import SnapshotInvalid, StoreClosed, StoreError, Unavailable
from headwater.events.jetstream_api import STREAM_EXISTS, STREAM_NOT_FOUND, JetStreamApi, JetStreamRefusal
from headwater.events.jetstream_stream import place_of
from headwater.events.loop_thread import LoopThread
from headwater.events.nats_options import NatsOptions

CHUNK = 512 << 10
_WHOLE = "whole"
_UNDERWAY = 8
_LOADS = 4
_PAUSE = 0.1
T = TypeVar("T")
_PART = re.compile(r"[A-Za-z0-9-]{1,64}")


class ObjectSnapshots:
    """A `SnapshotStore` in the bucket `HW_<namespace>_<generation>`. Safe to use from many threads."""

    def __init__(
        self,
        options: NatsOptions,
        namespace: str,
        generation: str,
        *,
        replicas: int = 1,
        max_bytes: int | None = None,
        patience: float = 10.0,
    ) -> None:
        """Connect and make the bucket if it is missing. `patience`: seconds for which a server that is gone is asked
        again, before `Unavailable` is raised. Raises `ConfigError`, `Unavailable`, `StoreError`."""
        self.bucket = place_of(namespace, generation).stream
        self._stream = f"OBJ_{self.bucket}"
        self._api = JetStreamApi(options)
        self._loop = LoopThread("headwater-snapshots")
        self._closed = False
        self._patience = patience
        try:
            self._loop.wait(self._ensure(replicas, max_bytes))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect. Closing twice is allowed."""
        if not self._closed:
            self._closed = True
            self._loop.wait(self._api.close())
            self._loop.stop()

    # --- SnapshotStore ---

    def save(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """See `SnapshotStore.save`. Raises `StoreFull`, `StoreError`, `Unavailable`; a position that was not finished
        is not among `positions()`."""
        self._check_open()
        return self._loop.wait(self._save(position, parts, keep))

    def save_parts(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        """See `SnapshotStore.save_parts`. Raises `StoreFull`, `StoreError`, `Unavailable`; what was written stays."""
        self._check_open()
        return self._loop.wait(self._save_parts(position, parts, keep))

    def positions(self, parts: Collection[str] | None = None) -> list[int]:
        """See `SnapshotStore.positions`."""
        self._check_open()
        held = self._loop.wait(self._held())
        wanted = {_WHOLE} if parts is None else set(parts)
        return _newest_first(held, wanted)

    def load(self, position: int, parts: Collection[str] | None = None) -> list[tuple[str, bytes]]:
        """See `SnapshotStore.load`. Raises `SnapshotInvalid` (a chunk is missing or damaged), `Unavailable`."""
        self._check_open()
        return self._loop.wait(self._load(position, parts))

    def saved_at(self, position: int, parts: Collection[str] | None = None) -> float | None:
        """See `SnapshotStore.saved_at`. Raises `Unavailable`, `StoreError`."""
        self._check_open()
        return self._loop.wait(self._saved_at(position, parts))

    # --- on the loop ---

    async def _ensure(self, replicas: int, max_bytes: int | None) -> None:
        config = {
            "name": self._stream,
            "description": "Headwater snapshots",
            "subjects": [f"$O.{self.bucket}.C.>", f"$O.{self.bucket}.M.>"],
            "storage": "file",
            "retention": "limits",
            "discard": "new",
            "max_bytes": -1 if max_bytes is None else max_bytes,
            "num_replicas": replicas,
            "allow_rollup_hdrs": True,
            "allow_direct": True,
        }
        try:
            await self._api.call(f"STREAM.INFO.{self._stream}")
        except JetStreamRefusal as err:
            if err.details["err_code"] != STREAM_NOT_FOUND:
                raise
            try:
                await self._api.call(f"STREAM.CREATE.{self._stream}", config)
            except JetStreamRefusal as late:
                if late.details["err_code"] != STREAM_EXISTS:
                    raise

    async def _save(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        names = {name for name, _ in parts}
        await self._hide(position, [_WHOLE])
        before = (await self._held()).get(position, set())
        for name, content in parts:
            await self._put(position, name, content)
        await self._hide(position, before - names)
        await self._put(position, _WHOLE, json.dumps(sorted(names)).encode())
        held = await self._held()
        kept = _newest_first(held, {_WHOLE})
        oldest = kept[:keep][-1]
        dropped = names | before | {_WHOLE}
        for old in [position for position in held if position < oldest]:
            # Older snapshots, and what a writer left of one that it did not finish.
            gone = held[old] if _WHOLE in held[old] else held[old] & names
            await self._hide(old, sorted(gone, key=lambda part: part != _WHOLE))
            dropped |= gone
        await self._sweep(dropped, oldest)
        return f"nats object {self.bucket}/{position:020d}"

    async def _save_parts(self, position: int, parts: Sequence[tuple[str, bytes]], keep: int) -> str:
        names = {name for name, _ in parts}
        for name, content in parts:
            await self._put(position, name, content)
        held = await self._held()
        kept = _newest_first(held, names)
        for old in kept[keep:]:
            if _WHOLE not in held[old]:  # that belongs to whoever saved it whole
                await self._hide(old, names)
        await self._sweep(names, kept[:keep][-1])
        return f"nats object {self.bucket}/{position:020d}"

    async def _load(self, position: int, parts: Collection[str] | None) -> list[tuple[str, bytes]]:
        found: list[tuple[str, bytes]] = []
        ordered = await self._names(position, parts)
        for at in range(0, len(ordered), _LOADS):
            some = ordered[at : at + _LOADS]
            found += zip(some, await asyncio.gather(*(self._get(position, name) for name in some)), strict=True)
        return found

    async def _saved_at(self, position: int, parts: Collection[str] | None) -> float | None:
        times: list[float] = []
        for name in await self._names(position, parts):
            meta = await self._described(position, name)
            if meta is not None:
                times.append(datetime.fromisoformat(meta["mtime"]).timestamp())
        return min(times, default=None)

    async def _names(self, position: int, parts: Collection[str] | None) -> list[str]:
        """Which parts of a position there are, or which of `parts`, in order."""
        there = (await self._held()).get(position, set())
        if parts is not None:
            there &= set(parts)
        elif _WHOLE in there:
            there = set(json.loads(await self._get(position, _WHOLE)))
        return sorted(there)

    async def _held(self) -> dict[int, set[str]]:
        """Parts of each position, by the objects that describe them."""
        subjects = await self._subjects(f"$O.{self.bucket}.M.>")
        held: dict[int, set[str]] = {}
        for subject in subjects:
            name = _decoded(subject.rsplit(".", 1)[1])
            number, _, part = name.partition("/")
            if number.isdecimal() and _PART.fullmatch(part):  # others may keep objects here too
                held.setdefault(int(number), set()).add(part)
        return held

    async def _subjects(self, pattern: str) -> list[str]:
        found: list[str] = []
        while True:
            info = await self._call("STREAM.INFO", {"subjects_filter": pattern, "offset": len(found)})
            page = info["state"].get("subjects") or {}
            found += page
            if not page or len(found) >= int(info.get("total", 0)):
                return found

    async def _put(self, position: int, part: str, content: bytes) -> None:
        """Store an object: its chunks, then its description, which makes it visible in place of an earlier one."""
        if not _PART.fullmatch(part):
            raise StoreError(f"part {part!r}; allowed: 1 to 64 letters, digits and -", part=part)
        before = await self._described(position, part)
        number = f"{position:020d}_{part}_{secrets.token_hex(6)}"
        subject = self._chunk_subject(number)
        chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
        for at in range(0, len(chunks), _UNDERWAY):
            await asyncio.gather(*(self._publish(subject, chunk, None) for chunk in chunks[at : at + _UNDERWAY]))
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
        meta = {
            "name": f"{position:020d}/{part}",
            "bucket": self.bucket,
            "nuid": number,
            "size": len(content),
            "chunks": len(chunks),
            "digest": f"SHA-256={digest}",
            "mtime": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "options": {"max_chunk_size": CHUNK},
        }
        await self._publish(self._meta_subject(position, part), json.dumps(meta).encode(), {"Nats-Rollup": "sub"})
        if before is not None:
            await self._purge(self._chunk_subject(before["nuid"]))

    async def _publish(self, subject: str, payload: bytes, headers: dict[str, str] | None) -> None:
        """Store one message. It is sent again if no answer came: under an id, so that it is there once."""
        headers = (headers or {}) | {"Nats-Msg-Id": secrets.token_urlsafe(12)}
        answer = self._api.decoded(await self._patiently(lambda: self._api.request(subject, payload, headers)))
        if (error := answer.get("error")) is not None:
            raise self._api.refusal(error, self._stream)

    async def _get(self, position: int, part: str) -> bytes:
        place = f"snapshot {position}, {part}"
        meta = await self._described(position, part)
        if meta is None:
            raise SnapshotInvalid(f"{place}: it is gone", path=place, reason="missing")
        subject, at = self._chunk_subject(meta["nuid"]), 1
        chunks: list[bytes] = []
        for _ in range(int(meta["chunks"])):
            found = await self._fetch({"seq": at, "next_by_subj": subject})
            if found is None:
                raise SnapshotInvalid(f"{place}: a chunk is missing", path=place, reason="missing")
            at = found[0] + 1
            chunks.append(found[1])
        content = b"".join(chunks)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
        if len(content) != meta["size"] or meta["digest"].removeprefix("SHA-256=") != digest:
            raise SnapshotInvalid(f"{place}: its bytes do not match their digest", path=place, reason="checksum")
        return content

    async def _described(self, position: int, part: str) -> dict[str, Any] | None:
        """The description of an object; `None` if there is no such object."""
        found = await self._fetch({"last_by_subj": self._meta_subject(position, part)})
        return None if found is None else dict(json.loads(found[1]))

    async def _fetch(self, which: dict[str, Any]) -> tuple[int, bytes] | None:
        """One message with its sequence; `None` if there is none."""
        subject, body = f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(which).encode()
        headers, data = await self._patiently(lambda: self._api.ask(subject, body))
        if headers.get("Status") == "404":
            return None
        if "Nats-Sequence" not in headers:
            raise StoreError(f"nats {self._api.url}: {self._stream}: {headers.get('Description', 'an odd answer')}")
        return int(headers["Nats-Sequence"]), data

    async def _hide(self, position: int, parts: Collection[str]) -> None:
        """Delete the descriptions of objects: nobody takes them for objects any more. `_sweep` takes the rest."""
        for part in parts:
            await self._purge(self._meta_subject(position, part))

    async def _sweep(self, parts: Collection[str], oldest: int) -> None:
        """Delete chunks of these parts at positions before the oldest kept one: of what was dropped, and of writers
        that died before they described what they wrote. Younger ones may belong to a host that is writing now."""
        held = await self._held()
        for subject in await self._subjects(f"$O.{self.bucket}.C.>"):
            position, _, rest = subject.rsplit(".", 1)[1].partition("_")
            part = rest.partition("_")[0]
            if (
                position.isdecimal()
                and int(position) < oldest
                and part in parts
                and part not in held.get(int(position), ())
            ):
                await self._purge(subject)

    async def _purge(self, subject: str) -> None:
        await self._call("STREAM.PURGE", {"filter": subject})

    async def _call(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._patiently(lambda: self._api.call(f"{name}.{self._stream}", body))

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again while the server is gone, for as long as patience lasts. Whatever is asked may be repeated."""
        deadline = asyncio.get_running_loop().time() + self._patience
        while True:
            try:
                return await ask()
            except Unavailable:
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(_PAUSE)

    def _chunk_subject(self, number: str) -> str:
        return f"$O.{self.bucket}.C.{number}"

    def _meta_subject(self, position: int, part: str) -> str:
        name = base64.urlsafe_b64encode(f"{position:020d}/{part}".encode()).decode()
        return f"$O.{self.bucket}.M.{name}"

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed(f"nats {self._api.url}: the snapshot store is closed", url=self._api.url)


def _newest_first(held: dict[int, set[str]], wanted: set[str]) -> list[int]:
    return sorted((position for position, parts in held.items() if parts >= wanted), reverse=True)


def _decoded(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError:
        return ""
