"""Columns to frame bodies: the same bytes as the events' structs, in the same order."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import Feedback
from headwater.errors import InvalidInput
from headwater.events.bulk import FEEDBACK_TAG, FeedbackColumns, encode_feedback
from headwater.events.frame import HEADER_LEN, MAX_EVENTS, MAX_FRAME

ID = st.text(min_size=1, max_size=12)
ROWS = st.lists(
    st.tuples(
        *(ID, ID, ID, st.integers(0, 2**53 - 1)),
        st.none() | st.floats(allow_nan=False) | st.integers(-5, 5),
        *(st.none() | ID, st.none() | ID, st.none() | ID),
    ),
    min_size=1,
    max_size=40,
)


def columns_of(rows: list[tuple[Any, ...]], names: int = 8) -> FeedbackColumns:
    return FeedbackColumns(*list(zip(*rows, strict=True))[:names])


def decoded(bodies: list[tuple[int, bytes]]) -> list[Feedback]:
    events: list[Feedback] = []
    for count, body in bodies:
        group = msgspec.msgpack.decode(body, type=list[Feedback])
        assert len(group) == count
        events += group
    return events


@given(ROWS, st.integers(4, 8))
def test_a_row_is_its_event(rows: list[tuple[Any, ...]], names: int) -> None:
    events = [Feedback(*row[:names]) for row in rows]
    assert decoded(list(encode_feedback(columns_of(rows, names)))) == events


@given(ROWS)
def test_a_row_has_the_bytes_of_its_event(rows: list[tuple[Any, ...]]) -> None:
    """A struct writes all its fields, a row ends at its last column: up to there they are equal."""
    encode = msgspec.msgpack.Encoder().encode
    for (_, body), row in zip(encode_feedback(columns_of(rows), max_events=1), rows, strict=True):
        struct = encode(Feedback(*row))
        assert body[:2] == b"\x91\x99"  # one event of nine fields: the tag and eight columns
        assert struct[:1] == b"\x9c"  # twelve
        assert body[2:] + encode(None) * 3 == struct[1:]


def test_the_tag_is_feedbacks() -> None:
    assert Feedback.__struct_config__.tag == FEEDBACK_TAG


def test_absent_columns_at_the_end_are_left_out() -> None:
    rows = [("view", "ann", "i1", 5)]
    ((_, body),) = encode_feedback(columns_of(rows, 4))
    assert msgspec.msgpack.decode(body) == [[1, "view", "ann", "i1", 5]]


def test_an_absent_column_in_between_reads_as_absent() -> None:
    columns = FeedbackColumns(["view"], ["ann"], ["i1"], [5], session=["s1"])
    ((_, body),) = encode_feedback(columns)
    assert msgspec.msgpack.decode(body) == [[1, "view", "ann", "i1", 5, None, None, "s1"]]
    assert msgspec.msgpack.decode(body, type=list[Feedback]) == [Feedback("view", "ann", "i1", 5, session="s1")]


def test_columns_of_other_lengths_are_an_error() -> None:
    with pytest.raises(InvalidInput, match="different lengths"):
        list(encode_feedback(FeedbackColumns(["view", "view"], ["ann", "ann"], ["i1"], [5, 6])))


@pytest.mark.parametrize("max_events", [1, 3, 100, 0, -1])
def test_a_frame_holds_at_most_so_many_rows(max_events: int) -> None:
    rows = [("view", "ann", f"i{n}", n) for n in range(10)]
    bodies = list(encode_feedback(columns_of(rows, 4), max_events))
    assert decoded(bodies) == [Feedback(*row) for row in rows]
    assert max(count for count, _ in bodies) == min(10, max(1, max_events))


def test_the_count_of_a_header_is_never_passed() -> None:
    count = MAX_EVENTS + 10
    columns = FeedbackColumns(["v"] * count, ["u"] * count, ["i"] * count, [0] * count)
    bodies = list(encode_feedback(columns, max_events=10**9))
    assert sum(rows for rows, _ in bodies) == count
    assert all(rows <= MAX_EVENTS and HEADER_LEN + len(body) <= MAX_FRAME for rows, body in bodies)


@pytest.mark.parametrize("length", [10, 500])
def test_large_rows_are_split_by_bytes_in_order(length: int) -> None:
    rows = [("view", "u" * length, f"{n:x}" * length, n) for n in range(1500)]
    bodies = list(encode_feedback(columns_of(rows, 4)))
    assert decoded(bodies) == [Feedback(*row) for row in rows]
    assert all(HEADER_LEN + len(body) <= MAX_FRAME for _, body in bodies)
    assert (len(bodies) > 1) == (length == 500)


def test_the_same_rows_share_the_same_frames() -> None:
    rows = [("view", "u" * 500, "i" * 500, n) for n in range(1500)]
    assert list(encode_feedback(columns_of(rows, 4))) == list(encode_feedback(columns_of(list(rows), 4)))
    tail = list(encode_feedback(columns_of(rows[:512], 4), 256))
    assert tail == list(encode_feedback(columns_of(rows, 4), 256))[: len(tail)]


def test_no_rows_make_no_frame() -> None:
    assert list(encode_feedback(FeedbackColumns([], [], [], []))) == []
