"""Bulk imports: tables to durable, folded frames, resumable without counting twice.

Three stages overlap: this thread validates and encodes, SQLite syncs, the core folds on a thread of its own. A chunk
is one commit. Its frames are numbered by the chunk under a producer named after the source's fingerprint, so the log
itself knows which chunks it has: an interrupted import continues after the last one, and importing a source twice
changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.actors.runtime import EmbeddedRuntime, SubjectEvents
from headwater.errors import InvalidInput
from headwater.events.bulk import encode_feedback
from headwater.events.frame import encode_frame
from headwater.events.subjects import CATALOGUE_SUBJECT, PARTITION, Subject, stable_hash
from headwater.events.types import Event, ItemPut
from headwater.ingest.dead_letters import DeadLetter, DeadLetterFile

if TYPE_CHECKING:
    from headwater.ingest.event_table import Chunk, EventTable
    from headwater.ingest.item_table import ItemTable

FRAME_EVENTS = 512
"""Rows per frame: small enough that a segment of the fold holds frames of every partition."""

CHUNK_STRIDE = 4096
"""Frame numbers reserved per chunk and partition: more than its rows can need."""

_UNFOLDED_CHUNKS = 2
_ITEMS_PER_COMMIT = 2000

ProgressCall = Callable[[int, int], None]
"""Called with (rows done, rows in all)."""


class ImportReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import did. `events` were written now, `resumed_rows` had been written by an earlier run of the same
    import.

    `applied`, `repeats` and others are the fold's outcomes of the events written now.
    """

    source: str
    rows: int
    events: int
    refused: int
    resumed_rows: int
    seconds: float
    events_per_s: float
    outcomes: dict[str, int]
    dead_letters: str | None
    position: int

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        return {field: getattr(self, field) for field in self.__struct_fields__}


def import_events(
    runtime: EmbeddedRuntime, table: EventTable, progress: ProgressCall, now_ms: Callable[[], int], chunk_rows: int
) -> ImportReport:
    """Import a table of feedback. Raises `StoreError`s; an interruption leaves whole chunks behind."""
    started = time.perf_counter()
    before = runtime.counts
    partitions = runtime.config.generation.partitions
    producer = stable_hash(f"import:{table.fingerprint}")
    start = _chunks_received(runtime, producer, partitions)
    letters = DeadLetterFile(runtime.directory, f"import-{table.fingerprint}")
    resumed = min(start * chunk_rows, table.rows)
    events = 0
    with ThreadPoolExecutor(1, thread_name_prefix="fold") as folder:
        folding: deque[Future[None]] = deque()
        for piece in table.chunks(start):
            frames, count = chunk_frames(piece, producer, partitions, now_ms())
            # Before the chunk is in the log: a crash in between repeats letters, it loses none.
            letters.add(piece.refused)
            if frames:
                runtime.append_frames(frames)
                events += count
                folding.append(folder.submit(runtime.fold))
            while len(folding) > _UNFOLDED_CHUNKS:
                folding.popleft().result()
            progress(min((piece.number + 1) * chunk_rows, table.rows), table.rows)
        for pending in folding:
            pending.result()
    seconds = time.perf_counter() - started
    outcomes = {name: count - before.get(name, 0) for name, count in runtime.counts.items()}
    return ImportReport(
        source=table.name,
        rows=table.rows,
        events=events,
        refused=letters.count,
        resumed_rows=resumed,
        seconds=seconds,
        events_per_s=events / seconds if seconds else 0.0,
        outcomes={name: count for name, count in outcomes.items() if count},
        dead_letters=letters.path,
        position=runtime.core.position,
    )


def _chunks_received(runtime: EmbeddedRuntime, producer: int, partitions: int) -> int:
    """Chunks of this import that the log already holds; a chunk is one commit, so any of its frames stands for it."""
    marks = (runtime.core.high_water(p, producer, 0) for p in range(partitions))
    return max((mark // CHUNK_STRIDE + 1 for mark in marks if mark is not None), default=0)


def chunk_frames(piece: Chunk, producer: int, partitions: int, appended: int) -> tuple[list[bytes], int]:
    """Frames of a chunk, taken from the partitions in turn so that neighbours in the log are neighbours in time."""
    if piece.frame.is_empty():
        return [], 0
    by_partition: list[list[bytes]] = []
    for partition, columns in piece.by_partition(partitions).items():
        subject = Subject(PARTITION, partition)
        number = piece.number * CHUNK_STRIDE
        frames = []
        for index, (count, body) in enumerate(encode_feedback(columns, FRAME_EVENTS), 1):
            if index >= CHUNK_STRIDE:
                raise InvalidInput(
                    f"a chunk needs more than {CHUNK_STRIDE} frames; use smaller chunk_rows", field="chunk_rows"
                )
            frames.append(encode_frame(subject, producer, 0, number + index, appended, count, body))
        by_partition.append(frames)
    in_turn = chain.from_iterable(zip_longest(*by_partition))
    return [frame for frame in in_turn if frame is not None], len(piece.frame)


def import_items(
    runtime: EmbeddedRuntime, table: ItemTable, progress: ProgressCall, now_ms: Callable[[], int]
) -> ImportReport:
    """Import a table of items as puts: importing it again puts the same again."""
    letters = DeadLetterFile(runtime.directory, f"items-{table.fingerprint}")
    letters.add(table.unreadable)

    def puts() -> Iterator[ItemPut]:
        for row in table.items():
            if isinstance(row, DeadLetter):
                letters.add([row])
            else:
                yield row

    started = time.perf_counter()
    before = runtime.counts
    events = put_items(runtime, puts(), now_ms, lambda done: progress(done, table.rows))
    seconds = time.perf_counter() - started
    outcomes = {name: count - before.get(name, 0) for name, count in runtime.counts.items()}
    return ImportReport(
        source=table.name,
        rows=table.rows,
        events=events,
        refused=letters.count,
        resumed_rows=0,
        seconds=seconds,
        events_per_s=events / seconds if seconds else 0.0,
        outcomes={name: count for name, count in outcomes.items() if count},
        dead_letters=letters.path,
        position=runtime.core.position,
    )


def put_items(
    runtime: EmbeddedRuntime, puts: Iterable[ItemPut], now_ms: Callable[[], int], done: Callable[[int], None]
) -> int:
    """Commit items in groups; how many there were."""
    count = 0
    source = iter(puts)
    while group := list(islice(source, _ITEMS_PER_COMMIT)):
        events: list[Event] = list(group)
        runtime.commit([SubjectEvents(CATALOGUE_SUBJECT, events)], now_ms())
        count += len(group)
        done(count)
    return count
