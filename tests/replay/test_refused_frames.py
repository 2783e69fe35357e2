"""Frames that must be refused, and how: every code, by every reader alike, and nothing around them is touched."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from headwater import Feedback
from headwater.core import event_faults, frame_fault, new_core
from headwater.errors import LogCorrupt
from headwater.events.frame import HEADER_LEN, FrameWriter, decode_frame, decode_header
from replay.golden_events import MAX_FUTURE_MS, NOW, PARTITIONS, SUBJECT, USER, raw_frame, refused_frames
from replay.golden_log import golden_config
from replay.make_golden import read_frames

REFUSED = read_frames("refused")
WHOLE = [name for name, entry in REFUSED.items() if entry["frame_code"]]
SINGLE = [name for name, entry in REFUSED.items() if not entry["frame_code"]]

FRAME_CODES = {
    *("short-header", "bad-magic", "unknown-version", "unknown-flags", "unknown-subject", "too-large"),
    *("length-mismatch", "bad-crc", "bad-count", "bad-body"),
}
EVENT_CODES = {"bad-event", "bad-id", "bad-type", "bad-value", "bad-ts", "future-ts", "bad-field"}
FOLD_CODES = {"wrong-subject", "unknown-subject", "wrong-dimension", "too-many-embeddings"}
# Found by their body, not by their header.
IN_BODY = [name for name in WHOLE if REFUSED[name]["frame_code"] in ("bad-body", "bad-count")]
NO_OP = raw_frame(b"\xc0", flip=1)


def neighbours() -> tuple[bytes, bytes]:
    """Two sound frames of one user."""
    writer = FrameWriter("neighbours", 1)
    first, second = (
        frame
        for n in (1, 2)
        for frame in writer.pack(SUBJECT, [Feedback("view", USER, f"n{n}", NOW + n * 60_000)], NOW + n * 60_000)
    )
    return first, second


def codes_of(entry: dict[str, Any]) -> dict[int, str]:
    """What the fold reports of a frame: codes by event index."""
    if entry["frame_code"]:
        return {0: entry["frame_code"]}
    return {int(index): code for index, code in (entry["event_codes"] | entry["fold_codes"]).items()}


def test_the_files_hold_what_the_rules_make() -> None:
    made = {r.name: (r.frame_code, r.event_codes, r.fold_codes, r.frame) for r in refused_frames()}
    assert REFUSED.keys() == made.keys()
    for name, entry in REFUSED.items():
        frame_code, event_codes, fold_codes, frame = made[name]
        assert entry["frame"] == frame, name
        assert codes_of(entry) == ({0: frame_code} if frame_code else event_codes | fold_codes), name


def test_every_code_is_there() -> None:
    assert {REFUSED[name]["frame_code"] for name in WHOLE} == FRAME_CODES
    assert {code for entry in REFUSED.values() for code in entry["event_codes"].values()} == EVENT_CODES
    assert {code for entry in REFUSED.values() for code in entry["fold_codes"].values()} == FOLD_CODES


@pytest.mark.parametrize("name", WHOLE)
def test_whole_frames_are_refused_by_both_sides_for_one_reason(name: str) -> None:
    entry = REFUSED[name]
    assert frame_fault(entry["frame"]) == entry["frame_code"]
    assert event_faults(entry["frame"], MAX_FUTURE_MS) == []
    with pytest.raises(LogCorrupt) as refused:
        decode_frame(entry["frame"])
    assert refused.value.details["reason"] == entry["frame_code"]
    if name not in IN_BODY:
        with pytest.raises(LogCorrupt):
            decode_header(entry["frame"])


@pytest.mark.parametrize("name", SINGLE)
def test_single_events_are_refused_in_a_sound_frame(name: str) -> None:
    entry = REFUSED[name]
    assert frame_fault(entry["frame"]) is None
    faults = event_faults(entry["frame"], MAX_FUTURE_MS)
    assert faults == [(int(index), code) for index, code in entry["event_codes"].items()]
    assert decode_header(entry["frame"]).events >= 1


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_a_counted_no_op(name: str) -> None:
    """The refused is counted and named by position, index and code; neighbours before, after and inside count."""
    entry, (before, after) = REFUSED[name], neighbours()
    core = new_core(golden_config(), 1)
    outcomes, refusals = core.apply(1, [before, entry["frame"], after])
    codes = codes_of(entry)
    assert refusals == [(2, index, code) for index, code in codes.items()]
    assert {code: outcomes[code] for code in codes.values()} == dict.fromkeys(codes.values(), 1)
    inside = (
        0 if entry["frame_code"] or "unknown-subject" in codes.values() else decode_header(entry["frame"]).events - 1
    )
    assert outcomes.get("applied", 0) + outcomes.get("recorded", 0) == 2 + inside
    assert core.position == 3
    assert core.stats()["outcomes"] == outcomes


@pytest.mark.parametrize("name", WHOLE)
def test_a_refused_frame_changes_nothing_but_its_count(name: str) -> None:
    before, after = neighbours()
    states = []
    for bad in (REFUSED[name]["frame"], NO_OP):
        core = new_core(golden_config(), 1)
        core.apply(1, [before, bad, after])
        states.append((core.clock, {part: d for part, d in core.digest().items() if part not in ("whole", "control")}))
    assert states[0] == states[1]


@pytest.mark.parametrize("name", SINGLE)
def test_a_refused_event_changes_nothing_but_its_count(name: str) -> None:
    """As if another refused event stood in its place."""
    frame = REFUSED[name]["frame"]
    events = msgspec.msgpack.decode(frame[HEADER_LEN:], type=list[msgspec.Raw])
    for index in codes_of(REFUSED[name]):
        events[index] = msgspec.Raw(b"\xc0")
    subject = decode_header(frame).subject
    replaced = raw_frame(msgspec.msgpack.encode(events), count=len(events), subject=subject, name="replaced")
    if subject.partition >= PARTITIONS:
        replaced = NO_OP
    states = []
    for bad in (frame, replaced):
        core = new_core(golden_config(), 1)
        core.apply(1, [bad])
        found = core.session_view(USER, NOW), core.knows_item("i9"), core.clock
        shared = {part: d for part, d in core.digest().items() if part[:5] not in ("whole", "contr", "parti")}
        states.append((found, shared))
    assert states[0] == states[1]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_reader_decides_alike(threads: int) -> None:
    """All refused frames in one log: the same counts, refusals and state, however the frames are handed over."""
    before, after = neighbours()
    log = [before, *(entry["frame"] for entry in REFUSED.values()), after]
    expected = new_core(golden_config(), 1)
    whole = expected.apply(1, log)
    for step in (1, 7, len(log)):
        core = new_core(golden_config(), threads)
        outcomes: dict[str, int] = {}
        refusals = []
        for at in range(0, len(log), step):
            counted, refused = core.apply(at + 1, log[at : at + step])
            refusals += refused
            for outcome, times in counted.items():
                outcomes[outcome] = outcomes.get(outcome, 0) + times
        assert (outcomes, refusals, core.digest()) == (*whole, expected.digest())
