"""Erasure from a cluster: its log written anew without one person's events, and put in the old one's place.

1. The person is forgotten, so that no answer knows them any longer.
2. The next log is built in a directory of the operator's, from the stream, while the cluster answers and writes.
3. The hosts are drained: they write what is queued and answer `unavailable` from here on.
4. What came last is added. The stream is deleted and made anew with the next log's frames, closed to everybody until
   the last one is there; the object store with its snapshots goes, too.
5. The hosts leave and are started again by who looks after them. They take no snapshot of the old log, delete those
   that lie in their directory, and fold the new one.

Between deleting and filling the only copy is the directory's: it is kept until all is done, and the same command goes
on where it was cut short. Nobody's frames are renumbered: a client that sends one again must be known by its number.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import msgspec

from headwater.client.sync import SyncClient
from headwater.cluster_backup import check_contiguous
from headwater.cluster_log import cluster_log, find_log
from headwater.core import new_core
from headwater.errors import StoreError
from headwater.events.jetstream_api import JetStreamApi
from headwater.events.jetstream_log import AsyncJetStreamLog, JetStreamLog
from headwater.events.jetstream_stream import (
    NoSuchLog,
    Place,
    StreamSettings,
    finish_rewriting,
    place_of,
    replace_stream,
    stream_state,
)
from headwater.events.nats_options import NatsOptions
from headwater.events.sqlite_log import SqliteLog
from headwater.events.sync import write_whole
from headwater.receipts import Receipt, issue, subject_of
from headwater.rewriting import Rewriter, merged_ids

Say = Callable[[str], None]

_NEXT = "next"
_MARK = "erasing.json"


class _Mark(msgspec.Struct, frozen=True):
    """The next log is whole: what is left is to put it in its place."""

    namespace: str
    generation: str
    log_id: str
    """Of the old log."""
    config: str
    max_bytes: int | None
    replicas: int
    receipt: Receipt


class ErasedFromCluster(msgspec.Struct, frozen=True):
    """The signed receipt and its file."""

    receipt: Receipt
    file: Path


def erase_from_cluster(
    client: SyncClient, options: NatsOptions, namespace: str, user: str, directory: Path, now_ms: int, say: Say
) -> ErasedFromCluster:
    """Erase a user; `directory` keeps the receipt, the key that signs it, and the next log while it is built.

    O(log). The cluster does not answer from the moment its hosts stop until they have folded the new log. Raises
    `StoreError` (a trimmed log, several generations, no room), `AccessDenied` (of the stream), `Unavailable`; where the
    directory says that an erasure was cut short when the stream was gone already, that one is finished and its receipt
    is given.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stopped:  # hosts that were stopped begin again, also where this fails
        mark = _left(options, namespace, directory)
        if mark is None:
            mark = _build(client, options, namespace, user, directory, now_ms, say, stopped)
        else:
            stopped.callback(client.dismiss)
        if asyncio.run(_standing(options, mark)) != "new":
            asyncio.run(_exchange(options, mark, directory, say))
    say("the hosts leave; whoever looks after them starts them on the new log")
    receipt, file = issue(directory, mark.receipt)
    (directory / _MARK).unlink()
    shutil.rmtree(directory / _NEXT)
    return ErasedFromCluster(receipt, file)


def _left(options: NatsOptions, namespace: str, directory: Path) -> _Mark | None:
    """What an erasure that was cut short left to be done. One that had not touched the stream is begun anew: the
    cluster may have gone on since."""
    path = directory / _MARK
    if not path.exists():
        return None
    mark = msgspec.json.decode(path.read_bytes(), type=_Mark)
    if mark.namespace != namespace:
        raise StoreError(
            f"{directory} holds an erasure of namespace {mark.namespace!r} that was cut short; finish that"
        )
    if asyncio.run(_standing(options, mark)) == "old":
        path.unlink()
        return None
    return mark


async def _standing(options: NatsOptions, mark: _Mark) -> Literal["old", "between", "new"]:
    """Which log the stream holds. Raises `StoreError` for one that is neither: it is not ours to delete, and while it
    stands there the directory's is the only copy."""
    api, place = JetStreamApi(options), place_of(mark.namespace, mark.generation)
    try:
        state = await stream_state(api, place, rewriting=True)
    except NoSuchLog:  # deleted, and not made anew
        return "between"
    finally:
        await api.close()
    if state.rewriting:
        return "between"
    if state.log_id == mark.log_id:
        return "old"
    if not state.rewritten:
        raise StoreError(
            f"stream {place.stream} holds a log of {state.last} frames that was begun when the old one was deleted and "
            "the next one was not yet in its place: stop the hosts, save what is in it, delete it "
            f"(nats stream rm {place.stream}), and run the command again",
            stream=place.stream,
        )
    return "new"


def _build(
    client: SyncClient,
    options: NatsOptions,
    namespace: str,
    user: str,
    directory: Path,
    now_ms: int,
    say: Say,
    stopped: ExitStack,
) -> _Mark:
    started = time.perf_counter()
    place, state, _ = find_log(options, namespace)
    if state.first > 1:
        raise StoreError(f"the log begins at position {state.first}: without its beginning nothing can be rewritten")
    subject_of(directory, user)  # the key is there before anything is done that a receipt must be given for
    known = client.forget_person(user)
    shutil.rmtree(directory / _NEXT, ignore_errors=True)  # of an erasure that was cut short before it was whole
    (directory / _NEXT).mkdir()
    with cluster_log(options, namespace) as (log, config):
        ids = merged_ids(log, known[0], known)
        sink = SqliteLog(directory / _NEXT, place.generation)
        try:
            rewriter = Rewriter(new_core(config, config.engine.threads), sink.append, ids)
            before = _copy(client, log, rewriter, say, stopped)
        finally:
            sink.close()
    receipt = Receipt(
        subject=subject_of(directory, known[0]),
        ids=len(ids),
        events=rewriter.removed.events,
        frames=rewriter.removed.frames,
        dead_letters=0,
        erased_at=now_ms,
        generation=place.generation,
        position_before=before,
        position=rewriter.core.position,
        digest=rewriter.core.digest()["whole"],
        seconds=time.perf_counter() - started,
    )
    mark = _Mark(namespace, place.generation, state.log_id, state.config, state.max_bytes, state.replicas, receipt)
    write_whole(directory / _MARK, msgspec.json.encode(mark))
    return mark


def _copy(client: SyncClient, log: JetStreamLog, rewriter: Rewriter, say: Say, stopped: ExitStack) -> int:
    """All frames of the log, the last of them while nobody writes; where the old log ended."""
    done = rewriter.follow(log)
    say(f"the next log is built up to position {done:,}; the hosts stop")
    stopped.callback(client.dismiss)
    client.drain()
    return rewriter.catch_up(log)


async def _exchange(options: NatsOptions, mark: _Mark, directory: Path, say: Say) -> None:
    """Make the stream anew with the next log's frames."""
    place: Place = place_of(mark.namespace, mark.generation)
    source = SqliteLog(directory / _NEXT, mark.generation, read_only=True)
    settings = StreamSettings(
        max_bytes=mark.max_bytes, replicas=mark.replicas, config=mark.config, rewritten=mark.receipt.position
    )
    try:
        log = await AsyncJetStreamLog.open(
            options, mark.namespace, mark.generation, create=settings, producer="erase", rewriting=True
        )
        try:
            await replace_stream(log.api, place, settings)
            log = await _reopened(log, options, mark)
            done = 0
            for frames in _batches(source):
                done = check_contiguous(await log.append_many(frames), done)
            if done != mark.receipt.position:
                raise StoreError(f"the new log ends at {done}, not at {mark.receipt.position}; run the command again")
            await finish_rewriting(log.api, place)
            say(f"the new log holds {done:,} frames")
        finally:
            await log.close()
    finally:
        source.close()


async def _reopened(log: AsyncJetStreamLog, options: NatsOptions, mark: _Mark) -> AsyncJetStreamLog:
    """The log that stands in the old one's place."""
    await log.close()
    return await AsyncJetStreamLog.open(options, mark.namespace, mark.generation, producer="erase", rewriting=True)


def _batches(source: SqliteLog) -> Iterator[list[bytes]]:
    for batch in source.read():
        yield batch.frames
