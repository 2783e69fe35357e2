"""Columns to frame bodies, without a Python loop over events.

A tuple that begins with an event's tag has the same bytes as the event's struct (a test holds that), so whole columns
are zipped and encoded in C.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import msgspec

from headwater.errors import InvalidInput
from headwater.events.frame import HEADER_LEN, MAX_EVENTS, MAX_FRAME
from headwater.events.types import Scalar

FEEDBACK_TAG = 1

_encoder = msgspec.msgpack.Encoder()


class FeedbackColumns(NamedTuple):
    """Equally long columns of valid feedback, in the order of `Feedback`; `None` for a column that is absent.

    Absent columns at the end cost nothing: they are not written.
    """

    type: Sequence[str]
    user: Sequence[str]
    item: Sequence[str]
    ts: Sequence[int]
    value: Sequence[float | None] | None = None
    event_id: Sequence[str | None] | None = None
    session: Sequence[str | None] | None = None
    basket: Sequence[str | None] | None = None
    slate: Sequence[str | None] | None = None
    slot: Sequence[int | None] | None = None
    context: Sequence[dict[str, Scalar] | None] | None = None


def encode_feedback(columns: FeedbackColumns, max_events: int = 4096) -> Iterator[tuple[int, bytes]]:
    """(count, body) of each frame that the rows need, in order. About 1 us an event on one core.

    A frame holds at most `max_events` rows and never more bytes than a frame may have. Which rows share a frame
    depends on the rows alone, so that a repeated import repeats its frames. Raises `InvalidInput` for columns of
    different lengths.
    """
    lengths = {name: len(column) for name, column in columns._asdict().items() if column is not None}
    if len(set(lengths.values())) > 1:
        raise InvalidInput(f"columns of different lengths: {lengths}", field="columns", value=lengths)
    present = list(columns)
    while present and present[-1] is None:
        present.pop()
    rows = list(zip(repeat(FEEDBACK_TAG), *(repeat(None) if column is None else column for column in present)))
    step = max(1, min(max_events, MAX_EVENTS))
    for start in range(0, len(rows), step):
        yield from _bodies(rows[start : start + step])


def _bodies(rows: list[tuple[object, ...]]) -> Iterator[tuple[int, bytes]]:
    body = _encoder.encode(rows)
    if HEADER_LEN + len(body) <= MAX_FRAME or len(rows) == 1:
        yield len(rows), body
        return
    half = len(rows) // 2
    yield from _bodies(rows[:half])
    yield from _bodies(rows[half:])
