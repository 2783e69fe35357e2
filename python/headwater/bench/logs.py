"""Logs to fold, as frames in memory: encoded once, in time order, before any clock starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from headwater.config import Config
from headwater.core import Core, new_core
from headwater.errors import HeadwaterError
from headwater.evaluate.trial import CHUNK, frames_of
from headwater.events.frame import FrameWriter

_FOLDED = ("applied", "rapid-repeat", "repeat-event")
"""Outcomes of sound events: whatever else happens to one would make a fold cheaper than it is."""

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
        for frame in frames_of(chunk, partitions, writer):
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
    return events.iter_slices(CHUNK)


def fold(config: Config, log: FrameLog, threads: int) -> Core:
    """The state of a log. Raises `HeadwaterError` unless every event was applied or is a repeat."""
    state = new_core(config, threads)
    position = 1
    for batch in log.batches:
        state.apply(position, batch)
        position += len(batch)
    check_outcomes(state, log.events)
    return state


def check_outcomes(state: Core, events: int) -> None:
    """Raise `HeadwaterError` unless all of so many events were applied or are repeats."""
    outcomes = state.stats()["outcomes"]
    if sum(outcomes.get(name, 0) for name in _FOLDED) != events:
        raise HeadwaterError(f"{events:,} events went in, outcomes are {outcomes}")


def held_bytes(state: Core) -> int:
    """Bytes that a state holds, as it counts itself."""
    return sum(size for name, size in state.stats().items() if name.startswith("bytes_"))
