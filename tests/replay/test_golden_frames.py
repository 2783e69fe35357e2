"""Both sides of the frame format against bytes that are checked in."""

from __future__ import annotations

import msgspec
import pytest

from headwater.core import event_faults, frame_fault, new_core
from headwater.events.frame import FORMAT_VERSION, FrameWriter, decode_frame, encode_frame
from headwater.events.subjects import PARTITION, subject_of
from headwater.events.types import Event
from headwater.events.validate import check_event
from replay.golden_events import (
    MAX_FUTURE_MS,
    NOW,
    PARTITIONS,
    PRODUCER,
    GoldenFrame,
    events_by_name,
    golden_frames,
    older_frames,
)
from replay.golden_log import golden_config
from replay.make_golden import read_frames

SOUND = {g.name: g for g in golden_frames()}
OLDER = {g.name: g for g in older_frames()}
CHECKED_IN = {name: entry["frame"] for name, entry in read_frames("frames").items()}
RECORDED = {"Impression", "SlateServed", "ModelActivated", "UserMerge"}


def test_every_golden_frame_is_checked_in() -> None:
    assert CHECKED_IN.keys() == SOUND.keys() | OLDER.keys()


def test_every_event_type_and_every_optional_field_is_there() -> None:
    events = [event for _, group in events_by_name().values() for event in group]
    assert {type(event) for event in events} == set(Event.__args__)
    for kind in Event.__args__:
        for field in kind.__struct_fields__:
            values = [getattr(event, field) for event in events if type(event) is kind]
            assert any(value not in (None, [], {}, False) for value in values), f"{kind.__name__}.{field} is never set"


@pytest.mark.parametrize("name", SOUND)
def test_python_writes_exactly_these_bytes(name: str) -> None:
    golden = SOUND[name]
    # Through the writer where its numbers allow it, through `encode_frame` with the golden epoch otherwise.
    body = msgspec.msgpack.encode(golden.events)
    epoch = int.from_bytes(CHECKED_IN[name][16:24], "little")
    written = encode_frame(golden.subject, PRODUCER, epoch, 1, NOW, len(golden.events), body)
    assert written == CHECKED_IN[name]
    assert list(FrameWriter("golden", epoch).pack(golden.subject, golden.events, NOW)) == [CHECKED_IN[name]]


@pytest.mark.parametrize("name", [*SOUND, *OLDER])
def test_python_reads_them(name: str) -> None:
    golden = (SOUND | OLDER)[name]
    header, events = decode_frame(CHECKED_IN[name])
    assert header.version == FORMAT_VERSION
    assert (header.subject, header.producer, header.sequence) == (golden.subject, PRODUCER, 1)
    assert (header.appended, header.events) == (NOW, len(golden.events))
    assert events == golden.events
    assert [type(event) for event in events] == [type(event) for event in golden.events]


@pytest.mark.parametrize("name", [*SOUND, *OLDER])
def test_rust_accepts_them(name: str) -> None:
    golden, frame = (SOUND | OLDER)[name], CHECKED_IN[name]
    assert frame_fault(frame) is None
    assert event_faults(frame, MAX_FUTURE_MS) == []
    outcomes, refusals = new_core(golden_config(), 1).apply(1, [frame])
    refused = {"config-activated": [(1, 0, "bad-config")], "merge-carried": [(1, 0, "bad-carried-state")]}
    assert refusals == refused.get(name, [])
    assert outcomes == expected_outcomes(golden)


def expected_outcomes(golden: GoldenFrame) -> dict[str, int]:
    if golden.name == "config-activated":  # its body is text to the frame, and no query configuration to the fold
        return {"bad-config": 1}
    if golden.name == "merge-carried":  # its state is no state that this fold sealed
        return {"bad-carried-state": 1}
    if golden.name == "merge-settled":  # nothing is sealed
        return {"repeat-event": 1}
    kind = type(golden.events[0]).__name__
    if kind == "UserMerge" and golden.subject.kind == PARTITION:
        return {"applied": 1}
    return {"recorded" if kind in RECORDED else "applied": len(golden.events)}


@pytest.mark.parametrize("name", SOUND)
def test_they_keep_the_rules_of_writers(name: str) -> None:
    for event in SOUND[name].events:
        check_event(event, NOW, MAX_FUTURE_MS)
        assert subject_of(event, PARTITIONS) == SOUND[name].subject


@pytest.mark.parametrize("name", OLDER)
def test_an_older_frame_folds_like_todays(name: str) -> None:
    """The upcast seam: trailing fields that a writer did not know read as absent."""
    golden = OLDER[name]
    today = list(FrameWriter("today", 1).pack(golden.subject, golden.events, NOW))
    moved = golden.subject != subject_of(golden.events[0], PARTITIONS)  # a merge in control, where it once stood
    assert moved or len(CHECKED_IN[name]) < len(today[0]), "the older frame is not shorter than today's"
    old_core, new = new_core(golden_config(), 1), new_core(golden_config(), 1)
    assert old_core.apply(1, [CHECKED_IN[name]]) == new.apply(1, today)
    differing = {part for part, digest in old_core.digest().items() if digest != new.digest()[part]}
    # Producers differ, and the partition remembers them; of the catalogue and of control, control does.
    ledger = f"partition-{golden.subject.partition:02}" if golden.subject.kind == PARTITION else "control"
    assert differing <= {"whole", ledger}


def test_golden_frames_hold_for_one_format_version() -> None:
    assert {frame[3] for frame in CHECKED_IN.values()} == {FORMAT_VERSION}, (
        "a new format version: keep these frames, they must stay readable, and add golden frames of the new version"
    )
