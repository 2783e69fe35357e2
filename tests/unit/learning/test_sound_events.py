"""Learning reads the events that the fold takes, no others."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from headwater.config import default_config
from headwater.core import new_core
from headwater.events.frame import encode_frame
from headwater.events.memory_log import MemoryLog
from headwater.events.subjects import Subject, partition_of
from headwater.events.types import Feedback
from headwater.learning.sound_events import FRAME_WINDOW, sound_events
from reference.slate_log import HOUR, START

DAY = 24 * HOUR
USER = "ann"


def frame(sequence: int, *events: object) -> bytes:
    partition = partition_of(USER, default_config().generation.partitions)
    body = msgspec.msgpack.encode(list(events))
    return encode_frame(Subject(0, partition), 1, 1, sequence, START, len(events), body)


def view(item: str, ts: int = START) -> Feedback:
    return Feedback("view", USER, item, ts)


def taken(frames: list[bytes]) -> tuple[list[str], dict[str, int]]:
    """Items of the events that are taken, and what was set aside; the core must agree on both."""
    log = MemoryLog()
    log.append(frames)
    set_aside: Counter[str] = Counter()
    events = [event for _, _, event in sound_events(log, 1, None, DAY, set_aside)]
    items = [event.item for event in events if isinstance(event, Feedback)]
    core = new_core(default_config(), 1)
    core.apply(1, frames)
    outcomes = core.stats()["outcomes"]
    assert outcomes.get("applied", 0) == len(items)
    assert {code: n for code, n in outcomes.items() if code != "applied"} == set_aside
    return items, dict(set_aside)


def test_events_that_the_fold_refuses_are_counted_alone() -> None:
    future = view("b", START + 2 * DAY)
    assert taken([frame(1, view("a"), future, view("c"))]) == (["a", "c"], {"future-ts": 1})
    bad = [1, "view", USER, "b", "noon", None, None, None, None, None, None, None]
    assert taken([frame(1, view("a"), bad, view("c"))])[0] == ["a", "c"]


def test_a_damaged_frame_costs_no_other() -> None:
    damaged = bytearray(frame(2, view("b")))
    damaged[-1] ^= 1
    assert taken([frame(1, view("a")), bytes(damaged), frame(3, view("c"))]) == (["a", "c"], {"bad-crc": 1})


def test_repeats_are_told_as_the_fold_tells_them() -> None:
    frames = [frame(1, view("a")), frame(3, view("b")), frame(2, view("c")), frame(3, view("b")), frame(2, view("c"))]
    assert taken(frames) == (["a", "b", "c"], {"repeat-frame": 2})


@pytest.mark.parametrize("behind", [FRAME_WINDOW - 1, FRAME_WINDOW])
def test_a_number_far_below_the_highest_is_set_aside(behind: int) -> None:
    high = 5000
    items, aside = taken([frame(high, view("a")), frame(high - behind, view("b"))])
    assert (items, aside) == ((["a", "b"], {}) if behind < FRAME_WINDOW else (["a"], {"beyond-frame-window": 1}))


def test_long_runs_of_frames_keep_few_numbers() -> None:
    count = 5 * FRAME_WINDOW - 20
    frames = [frame(n, view(f"i{n}")) for n in range(1, count + 1)]
    items, aside = taken([*frames, frames[-FRAME_WINDOW], frames[0]])
    assert (len(items), aside) == (count, {"repeat-frame": 1, "beyond-frame-window": 1})
