"""Bulk imports into a cluster: the frames of an embedded import, sent to the owners of their partitions.

Their numbers follow from source and chunk, so every partition's own ledger knows how far the import came: a repeated
call sends what is missing, and importing a table twice changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

from headwater.client.connection import Client
from headwater.events.frame import decode_header
from headwater.events.subjects import stable_hash
from headwater.events.types import ItemPut
from headwater.importer import CHUNK_STRIDE, ImportReport, chunk_frames
from headwater.ingest.dead_letters import DeadLetter, DeadLetterFile
from headwater.wall_clock import wall_clock

if TYPE_CHECKING:
    from headwater.ingest.event_table import Chunk, EventTable
    from headwater.ingest.item_table import ItemTable
    from headwater.ingest.source import TableSource

_CHUNKS_UNDERWAY = 3
_ITEMS_UNDERWAY = 2000

ProgressCall = Callable[[int, int], None]


async def ingest(
    client: Client,
    source: TableSource,
    *,
    columns: Mapping[str, str] | None = None,
    kind: Literal["events", "items"] = "events",
    format: str | None = None,
    progress: ProgressCall | None = None,
    chunk_rows: int = 65_536,
) -> ImportReport:
    """See `Engine.ingest`. Refused rows are counted and, in the report, not kept: `headwater validate` names them.

    `outcomes` is empty: the hosts fold behind the acknowledgement and count for themselves.
    """
    from headwater.ingest.event_table import EventTable
    from headwater.ingest.item_table import ItemTable

    call = progress or (lambda done, rows: None)
    if kind == "items":
        items = await asyncio.to_thread(ItemTable, source, columns=columns, format=format, ts=wall_clock())
        return await _items(client, items, call)
    latest = wall_clock() + client.max_future_ms
    table = await asyncio.to_thread(
        EventTable, source, columns=columns, format=format, chunk_rows=chunk_rows, latest=latest
    )
    return await _events(client, table, call, chunk_rows)


async def _events(client: Client, table: EventTable, progress: ProgressCall, chunk_rows: int) -> ImportReport:
    started = time.perf_counter()
    partitions = client.topology.partitions
    producer = stable_hash(f"import:{table.fingerprint}")
    marks = await client.high_water(producer, 0)
    # A partition that received nothing yet may have frames in the first chunk; the others say how far they came.
    first = min((mark // CHUNK_STRIDE for mark in marks.values()), default=0) if len(marks) == partitions else 0
    letters = DeadLetterFile(None, f"import-{table.fingerprint}")
    events = resumed = position = 0
    underway: list[tuple[int, asyncio.Task[int]]] = []

    def made(piece: Chunk) -> tuple[list[bytes], int]:
        frames, _ = chunk_frames(piece, producer, partitions, wall_clock())
        headers = [decode_header(frame) for frame in frames]
        new = [h.sequence > marks.get(h.subject.partition, 0) for h in headers]
        return (
            [frame for frame, wanted in zip(frames, new, strict=True) if wanted],
            sum(h.events for h, wanted in zip(headers, new, strict=True) if wanted),
        )

    chunks = table.chunks(first)
    while (piece := await asyncio.to_thread(next, chunks, None)) is not None:
        frames, count = await asyncio.to_thread(made, piece)
        letters.add(piece.refused)
        resumed += len(piece.frame) - count
        events += count
        if frames:
            underway.append((piece.number, asyncio.ensure_future(client.append_frames(frames))))
        while len(underway) >= _CHUNKS_UNDERWAY:
            number, oldest = underway.pop(0)
            position = max(position, await oldest)
            progress(min((number + 1) * chunk_rows, table.rows), table.rows)
    for _, task in underway:
        position = max(position, await task)
    progress(table.rows, table.rows)
    seconds = time.perf_counter() - started
    return ImportReport(
        source=table.name,
        rows=table.rows,
        events=events,
        refused=letters.count,
        resumed_rows=min(first * chunk_rows, table.rows) + resumed,
        seconds=seconds,
        events_per_s=events / seconds if seconds else 0.0,
        outcomes={},
        dead_letters=None,
        position=max(position, client.position),
    )


async def _items(client: Client, table: ItemTable, progress: ProgressCall) -> ImportReport:
    started = time.perf_counter()
    refused = len(table.unreadable)
    events = position = 0
    rows = iter(table.items())
    while group := await asyncio.to_thread(_some, rows):
        puts = [row for row in group if not isinstance(row, DeadLetter)]
        refused += len(group) - len(puts)
        positions: Sequence[int] = await asyncio.gather(*(client.write(put) for put in puts))
        events += len(puts)
        position = max([position, *positions])
        progress(min(events + refused, table.rows), table.rows)
    seconds = time.perf_counter() - started
    return ImportReport(
        source=table.name,
        rows=table.rows,
        events=events,
        refused=refused,
        resumed_rows=0,
        seconds=seconds,
        events_per_s=events / seconds if seconds else 0.0,
        outcomes={},
        dead_letters=None,
        position=position,
    )


def _some(rows: Iterator[ItemPut | DeadLetter]) -> list[ItemPut | DeadLetter]:
    return list(islice(rows, _ITEMS_UNDERWAY))
