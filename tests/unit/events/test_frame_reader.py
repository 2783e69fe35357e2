"""The Rust reader on bytes that nobody meant: it always answers, and the header decides the same on both sides."""

from __future__ import annotations

import struct

import google_crc32c
import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from headwater import default_config
from headwater.core import event_faults, frame_fault, new_core
from headwater.errors import LogCorrupt
from headwater.events.frame import HEADER_LEN, decode_frame, decode_header
from replay.golden_events import MAX_FUTURE_MS, golden_frames, older_frames, raw_frame, refused_frames

FRAME_CODES = {
    *("short-header", "bad-magic", "unknown-version", "unknown-flags", "unknown-subject", "too-large"),
    *("length-mismatch", "bad-crc", "bad-count", "bad-body"),
}
EVENT_CODES = {"bad-event", "bad-id", "bad-type", "bad-value", "bad-ts", "future-ts", "bad-field"}
IN_BODY = {"bad-count", "bad-body"}
SOUND = [golden.frame for golden in (*golden_frames(), *older_frames())]
SEEDS = SOUND + [refused.frame for refused in refused_frames() if len(refused.frame) < 2000]


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes] = SEEDS) -> bytes:
    """A known frame with bytes changed, cut out, put in or repeated."""
    frame = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(frame))), draw(st.integers(0, 8))
        what = draw(st.sampled_from(("change", "cut", "insert", "repeat", "end")))
        if what == "change" and at < len(frame):
            frame[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del frame[at : at + length]
        elif what == "insert":
            frame[at:at] = draw(st.binary(max_size=8))
        elif what == "repeat":
            frame[at:at] = frame[at : at + length]
        elif what == "end":
            del frame[at:]
    return bytes(frame)


def resealed(frame: bytes) -> bytes:
    """The frame with the length and checksum that fit it, so that what lies behind those checks is reached."""
    if len(frame) < HEADER_LEN:
        return frame
    head, body = frame[:44] + struct.pack("<I", len(frame) - HEADER_LEN), frame[HEADER_LEN:]
    return head + struct.pack("<I", google_crc32c.value(head + body)) + body


def header_reason(frame: bytes) -> str | None:
    try:
        decode_header(frame)
    except LogCorrupt as err:
        return str(err.details["reason"])
    return None


def check_readers(frame: bytes) -> None:
    """Every reader answers, in the words that are agreed on, and they do not contradict each other."""
    whole = frame_fault(frame)
    faults = event_faults(frame, MAX_FUTURE_MS)
    assert whole is None or whole in FRAME_CODES
    assert {code for _, code in faults} <= EVENT_CODES
    assert not (whole and faults)
    reason = header_reason(frame)
    if reason is not None:
        assert reason == whole, "the header decides on both sides alike"
    else:
        assert whole is None or whole in IN_BODY
    if whole is None:
        assert [index for index, _ in faults] == sorted({index for index, _ in faults})
        assert all(index < decode_header(frame).events for index, _ in faults)
    else:
        try:
            decode_frame(frame)
        except LogCorrupt:
            return
        raise AssertionError(f"the fold refuses the frame ({whole}), Python's reader reads it")


@given(st.binary(max_size=300))
@example(b"")
@example(b"HWF")
@example(bytes(HEADER_LEN))
def test_arbitrary_bytes(content: bytes) -> None:
    check_readers(content)


@given(st.binary(max_size=200), st.integers(0, 70_000))
def test_arbitrary_bodies_in_a_sound_header(body: bytes, count: int) -> None:
    check_readers(raw_frame(body, count=count))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text(max_size=5)
        | st.binary(max_size=5),
        lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    ),
    st.sampled_from([1, 2, 3, 10, 11, 12, 13, 14, 20, 30, 31, 99]),
)
def test_arbitrary_values_as_events(value: object, tag: int) -> None:
    """Whatever stands in an event, it costs that event at most: the sound one behind it is read."""
    fields = value if isinstance(value, list) else [value]
    body = msgspec.msgpack.encode([[tag, *fields], [1, "view", "ann", "i1", 0]])
    frame = raw_frame(body, count=2)
    check_readers(frame)
    assert frame_fault(frame) is None
    assert {index for index, _ in event_faults(frame, MAX_FUTURE_MS)} <= {0}


@given(mutated())
def test_mutated_frames(frame: bytes) -> None:
    check_readers(frame)


@given(mutated().map(resealed))
def test_mutated_frames_with_a_checksum_that_fits(frame: bytes) -> None:
    check_readers(frame)


@given(mutated(SOUND))
def test_a_change_is_noticed(frame: bytes) -> None:
    assert frame in SEEDS or frame_fault(frame) is not None


@given(st.lists(mutated().map(resealed) | st.binary(max_size=80), max_size=6))
def test_the_fold_counts_them_all_and_goes_on(frames: list[bytes]) -> None:
    """No frame stops the fold, and every frame and event is counted under one outcome."""
    core = new_core(default_config("shop"), 1)
    outcomes, _ = core.apply(1, frames)
    assert core.position == len(frames)
    expected = 0
    for frame in frames:
        sound = frame_fault(frame) is None and "unknown-subject" not in partition_fault(frame)
        expected += decode_header(frame).events if sound else 1
    assert sum(outcomes.values()) == expected
    restored, _ = new_core(default_config("shop"), 1).apply(1, frames)
    assert restored == outcomes


def partition_fault(frame: bytes) -> str:
    """Partitions that the configuration does not have are known to the fold alone."""
    subject = decode_header(frame).subject
    return "unknown-subject" if subject.partition >= default_config("shop").generation.partitions else ""
