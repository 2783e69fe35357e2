"""The engine under trial: a core in memory, fed with frames as a log would hand them to it, and asked as `Engine` asks.

Events become frames by the code that imports use; nothing of the engine is written again here. What is left out are the
disk, because nothing of it shows in an answer, and slate records, which would be events of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import polars as pl

from headwater import core
from headwater.config import Config
from headwater.core import new_core
from headwater.errors import InvalidInput
from headwater.events.bulk import FeedbackColumns, encode_feedback
from headwater.events.frame import FrameWriter
from headwater.events.subjects import CATALOGUE_SUBJECT, PARTITION, Subject
from headwater.events.types import ItemPut

CHUNK = 65_536
_BATCH = 2_000


class Asked(NamedTuple):
    """One answer: the items that sources named, best first, those that only filled the slate up, and its time."""

    items: list[str]
    filling: list[str]
    micros: float


class _Batch(msgspec.Struct, array_like=True, frozen=True):
    """Mirrors `BatchAnswer` of `core_rs/src/query/batch.rs`."""

    position: int
    counts: list[int]
    filled: list[int]
    items: list[str]
    micros: list[float]


_decoder = msgspec.msgpack.Decoder(_Batch)
_encoder = msgspec.msgpack.Encoder()


def frames_of(chunk: pl.DataFrame, partitions: int, writer: FrameWriter) -> Iterator[bytes]:
    """Frames of feedback, partition by partition, as an import writes a chunk. Columns: those of `FeedbackColumns`."""
    names = chunk["user"].unique().to_list()
    owners = (
        pl.Series(names, dtype=pl.String),
        pl.Series([core.stable_hash(user) % partitions for user in names], dtype=pl.UInt32),
    )
    chunk = chunk.with_columns(pl.col("user").replace_strict(*owners).alias("partition"))
    for (partition,), part in sorted(chunk.group_by("partition", maintain_order=True), key=lambda pair: pair[0]):
        columns = FeedbackColumns(**{n: part[n].to_list() for n in FeedbackColumns._fields if n in part.columns})
        yield from _numbered(columns, int(partition), writer)


def _numbered(columns: FeedbackColumns, partition: int, writer: FrameWriter) -> Iterator[bytes]:
    latest = max(columns.ts)
    for count, body in encode_feedback(columns):
        yield writer.body(Subject(PARTITION, partition), count, body, latest)


class Trial:
    """One configuration, one state. Not thread-safe; questions of a batch are answered on the configured threads."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.core = new_core(config, config.engine.threads)
        self._partitions = config.generation.partitions
        self._owners: dict[str, int] = {}
        self._writer = FrameWriter("evaluate", 1)
        self._position = 1

    def feed(self, events: pl.DataFrame) -> None:
        """Fold events (type, user, item, ts, and what else `FeedbackColumns` has) in the order of their rows.

        Raises `InvalidInput` when the fold refuses any of them: a figure of half a log would be another figure.
        """
        for chunk in events.iter_slices(CHUNK):
            self._apply(list(frames_of(chunk, self._partitions, self._writer)))

    def feed_groups(self, groups: Iterable[FeedbackColumns]) -> None:
        """Fold groups of events, each of one user, in their order: a frame or more for each of them."""
        frames: list[bytes] = []
        for columns in groups:
            user = columns.user[0]
            owner = self._owners.get(user)
            if owner is None:
                owner = self._owners[user] = core.stable_hash(user) % self._partitions
            frames += _numbered(columns, owner, self._writer)
        self._apply(frames)

    def put(self, items: list[ItemPut]) -> None:
        """Fold facts of the catalogue."""
        if items:
            latest = max(item.ts for item in items)
            self._apply(list(self._writer.pack(CATALOGUE_SUBJECT, list(items), latest)))

    def _apply(self, frames: list[bytes]) -> None:
        if not frames:
            return
        counts, refusals = self.core.apply(self._position, frames)
        self._position += len(frames)
        if refusals:
            codes = ", ".join(sorted({code for _, _, code in refusals}))
            raise InvalidInput(f"the fold refuses {len(refusals)} events ({codes}): {counts}", field="events")

    def ask(self, requests: Sequence[Mapping[str, Any]], n: int) -> Iterator[Asked]:
        """Answers to requests (`user` or `items`, and what else a `recommend` takes), `n` items each, in order."""
        rest = {"n": n, "brief": True}
        for first in range(0, len(requests), _BATCH):
            asked = [{**rest, "now": self.core.clock, **request} for request in requests[first : first + _BATCH]]
            answer = _decoder.decode(self.core.recommend_batch(_encoder.encode(asked)))
            start = 0
            for count, filled, micros in zip(answer.counts, answer.filled, answer.micros, strict=True):
                end = start + count
                yield Asked(answer.items[start : end - filled], answer.items[end - filled : end], micros)
                start = end
