"""Frames that are sent again, on each kind of subject: the second copy changes nothing, in whatever order it comes."""

from __future__ import annotations

import pytest

from headwater import Feedback, ItemPut
from headwater.core import new_core, query_json
from headwater.events.frame import FrameWriter
from headwater.events.subjects import CATALOGUE_SUBJECT, CONTROL_SUBJECT, Subject
from headwater.events.types import ConfigActivated, Event, UserPut
from replay.golden_events import NOW, SUBJECT, USER, raw_frame
from replay.golden_log import golden_config

NO_OP = raw_frame(b"\xc0", flip=1)
QUERY = golden_config().query
HISTORIES: dict[str, tuple[Subject, list[Event]]] = {
    "feedback": (SUBJECT, [Feedback("view", USER, f"i{n}", NOW + n * 60_000) for n in range(3)]),
    "user": (SUBJECT, [UserPut(USER, NOW + n, {"n": n}) for n in range(3)]),
    "item": (CATALOGUE_SUBJECT, [ItemPut("i1", NOW + n, [f"c{n}"]) for n in range(3)]),
    "configuration": (
        CONTROL_SUBJECT,
        [ConfigActivated(NOW + n, f"c{n}", query_json(QUERY).decode()) for n in range(3)],
    ),
}


@pytest.mark.parametrize("kind", HISTORIES)
@pytest.mark.parametrize("order", [(0, 1, 2, 2), (0, 1, 2, 0), (0, 0, 1, 2), (0, 2, 1, 0), (2, 1, 0, 1)])
def test_a_frame_counts_once(kind: str, order: tuple[int, ...]) -> None:
    subject, events = HISTORIES[kind]
    writer = FrameWriter("retrying", 1)
    sent = [frame for event in events for frame in writer.pack(subject, [event], event.ts)]
    seen: set[int] = set()
    once = []
    for n in order:
        once.append(NO_OP if n in seen else sent[n])
        seen.add(n)
    repeated, expected = new_core(golden_config(), 1), new_core(golden_config(), 1)
    outcomes, _ = repeated.apply(1, [sent[n] for n in order])
    expected.apply(1, once)
    assert outcomes == {"applied": 3, "repeat-frame": 1}
    assert repeated.active_config() == expected.active_config()
    # The ledger of a partition's frames is digested with it; what users see is not affected.
    skipped = {"whole", "control", f"partition-{subject.partition:02}"}
    ours, theirs = repeated.digest(), expected.digest()
    assert {p: d for p, d in ours.items() if p not in skipped} == {p: d for p, d in theirs.items() if p not in skipped}
    assert repeated.session_view(USER, NOW) == expected.session_view(USER, NOW)
