"""Logs to fold, as frames in memory: encoded once, in time order, before any clock starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from headwater import core
from headwater.config import Config
from headwater.core import Core, new_core
from headwater.errors import HeadwaterError
from headwater.events.bulk import FeedbackColumns, encode_feedback
from headwater.events.frame import FrameWriter
from headwater.events.subjects import PARTITION, Subject

FOLDED = ("applied", "rapid-repeat", "repeat-event")
"""Outcomes of sound events: whatever else happens to one would make a fold cheaper than it is."""

_CHUNK = 65_536
_BATCH_BYTES = 8 << 20


class FrameLog(NamedTuple):
    """Frames in log order, in batches as a reader of the log gets them."""

    batches: list[list[bytes]]
    events: int
    nbytes: int


def frame_log(chunks: Iterator[pl.DataFrame], partitions: int) -> FrameLog:
    """Frames of feedback: each chunk's events by partition, partitions in order, as an import writes them.

    Columns: type, user, item, ts, and any of value, event_id, session, basket.
    """
    writer = FrameWriter("bench", 1)
    batches: list[list[bytes]] = [[]]
    held = events = total = 0
    for chunk in chunks:
        for frame in _frames(chunk, partitions, writer):
            if held > _BATCH_BYTES:
                batches.append([])
                held = 0
            batches[-1].append(frame)
            held += len(frame)
            total += len(frame)
        events += len(chunk)
    return FrameLog(batches, events, total)


def chunked(events: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Rows in order, as many at a time as an import takes."""
    return events.iter_slices(_CHUNK)


def _frames(chunk: pl.DataFrame, partitions: int, writer: FrameWriter) -> Iterator[bytes]:
    owners = {user: core.stable_hash(user) % partitions for user in chunk["user"].unique().to_list()}
    users = pl.Series(list(owners)), pl.Series(list(owners.values()), dtype=pl.UInt32)
    chunk = chunk.with_columns(pl.col("user").replace_strict(*users).alias("partition"))
    for (partition,), part in sorted(chunk.group_by("partition", maintain_order=True), key=lambda pair: pair[0]):
        columns = FeedbackColumns(**{n: part[n].to_list() for n in FeedbackColumns._fields if n in part.columns})
        latest = max(columns.ts)
        for count, body in encode_feedback(columns):
            yield writer.body(Subject(PARTITION, int(partition)), count, body, latest)


def fold(config: Config, log: FrameLog, threads: int) -> Core:
    """The state of a log. Raises `HeadwaterError` unless every event was applied or is a repeat."""
    state = new_core(config, threads)
    position = 1
    for batch in log.batches:
        state.apply(position, batch)
        position += len(batch)
    outcomes = state.stats()["outcomes"]
    if sum(outcomes.get(name, 0) for name in FOLDED) != log.events:
        raise HeadwaterError(f"{log.events} events went in, outcomes are {outcomes}")
    return state
