"""Snapshots in the object store when something breaks: a chunk, a writer, the server, the space."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from contract.snapshot_store import folded, full_log, parts
from headwater.actors.object_snapshots import CHUNK, ObjectSnapshots
from headwater.actors.recovery import recover
from headwater.errors import SnapshotInvalid, StoreClosed, StoreFull
from headwater.events.nats_options import NatsOptions, connect
from headwater.events.nats_server import NatsServer
from nats_server import GENERATION, fresh_namespace, nats_server, options, own_server
from replay.golden_log import golden_config

__all__ = ["nats_server", "own_server"]


@pytest.fixture
def store(nats_server: NatsServer) -> Iterator[ObjectSnapshots]:
    store = ObjectSnapshots(options(nats_server), fresh_namespace(), GENERATION)
    yield store
    store.close()


def ask(server: NatsServer, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request to JetStream beside the store."""

    async def request() -> dict[str, Any]:
        client = await connect(NatsOptions(url=server.url))
        answer = await client.request(subject, json.dumps(body).encode(), timeout=5)
        await client.close()
        return dict(json.loads(answer.data))

    return run(request())


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def chunk_subjects(server: NatsServer, store: ObjectSnapshots) -> dict[str, int]:
    body = {"subjects_filter": f"$O.{store.bucket}.C.>"}
    return dict(ask(server, f"$JS.API.STREAM.INFO.OBJ_{store.bucket}", body)["state"].get("subjects") or {})


def test_other_clients_read_its_objects(nats_server: NatsServer, store: ObjectSnapshots) -> None:
    content = bytes(range(256)) * 3_000
    store.save(12, [("shard-0", content)], 2)

    async def get() -> tuple[bytes, list[str]]:
        client = await connect(NatsOptions(url=nats_server.url))
        bucket = await client.jetstream().object_store(store.bucket)
        found = await bucket.get(f"{12:020d}/shard-0")
        names = [entry.name for entry in await bucket.list()]
        await client.close()
        return found.data, names

    data, names = run(get())
    assert data == content
    assert sorted(names) == [f"{12:020d}/shard-0", f"{12:020d}/whole"]


def test_a_lost_chunk_is_told_and_an_older_snapshot_taken(nats_server: NatsServer, store: ObjectSnapshots) -> None:
    log = full_log()
    expected = recover(log, None, golden_config(), 1).core.digest()
    store.save(100, folded(100), 2)
    core = recover(log, store, golden_config(), 1).core
    store.save(core.position, core.snapshot()[1], 2)
    [lost, *_] = [s for s in chunk_subjects(nats_server, store) if f"{core.position:020d}_partition-" in s]
    ask(nats_server, f"$JS.API.STREAM.PURGE.OBJ_{store.bucket}", {"filter": lost})
    with pytest.raises(SnapshotInvalid, match="a chunk is missing"):
        store.load(core.position)
    recovered = recover(log, store, golden_config(), 1)
    assert recovered.snapshot == 100
    assert len(recovered.passed_over) == 1
    assert recovered.core.digest() == expected


def test_a_foreign_chunk_is_told(nats_server: NatsServer, store: ObjectSnapshots) -> None:
    content = bytes(CHUNK) + b"tail"
    store.save(3, [("shard-0", content)], 2)
    [subject] = [s for s in chunk_subjects(nats_server, store) if "_shard-0_" in s]

    async def replace() -> None:
        client = await connect(NatsOptions(url=nats_server.url))
        await client.request(
            f"$JS.API.STREAM.PURGE.OBJ_{store.bucket}", json.dumps({"filter": subject, "keep": 1}).encode()
        )
        await client.request(subject, bytes(CHUNK))
        await client.close()

    run(replace())
    with pytest.raises(SnapshotInvalid, match="do not match their digest"):
        store.load(3)


def test_a_full_bucket_refuses_and_keeps_what_it_has(nats_server: NatsServer) -> None:
    store = ObjectSnapshots(options(nats_server), fresh_namespace(), GENERATION, max_bytes=2_000_000)
    store.save(1, parts("one"), 2)
    with pytest.raises(StoreFull):
        store.save(2, [("shard-0", bytes(3_000_000))], 2)
    assert store.positions() == [1]
    assert sorted(store.load(1)) == sorted(parts("one"))
    store.close()
    with pytest.raises(StoreClosed):
        store.positions()


def test_a_writer_that_is_killed_leaves_no_half_snapshot_and_no_litter(
    nats_server: NatsServer, store: ObjectSnapshots
) -> None:
    """It dies between the chunks and the description; when the position has passed, the chunks are cleared away."""
    store.save(1, parts("one"), 2)
    namespace = store.bucket.split("_")[1]
    code = f"""
import os, signal
from headwater.actors.object_snapshots import ObjectSnapshots
from headwater.events.nats_options import NatsOptions
store = ObjectSnapshots(NatsOptions(url={nats_server.url!r}), {namespace!r}, {GENERATION!r})
publish, count = store._publish, 0
async def killing(subject, payload, headers):
    global count
    if headers:
        count += 1
        if count == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    await publish(subject, payload, headers)
store._publish = killing
store.save(2, {parts("two")!r}, 2)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert store.positions() == [1]
    assert any(f"{2:020d}_partition-00_" in subject for subject in chunk_subjects(nats_server, store))
    for position in (3, 4):
        store.save(position, parts(str(position)), 2)
    assert store.positions() == [4, 3]
    positions = {int(subject.rsplit(".", 1)[1].split("_")[0]) for subject in chunk_subjects(nats_server, store)}
    assert positions == {3, 4}
    assert store.load(2) == []


def test_a_server_that_is_killed_while_a_snapshot_is_saved(own_server: NatsServer) -> None:
    """The save goes on where the server comes back."""
    store = ObjectSnapshots(options(own_server), "killed", GENERATION, patience=60)
    content = [(f"shard-{n}", bytes([n]) * 3_000_000) for n in range(4)]
    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(store.save, 9, content, 2)
        deadline = time.monotonic() + 30
        while not chunk_subjects(own_server, store):
            assert time.monotonic() < deadline
        own_server.kill()
        own_server.start()
        saving.result(timeout=90)
    assert store.positions() == [9]
    assert sorted(store.load(9)) == content
    store.close()
