"""Records of slates between who answers and who writes."""

from __future__ import annotations

import gc
import weakref

import msgspec

from headwater.core import RecordQueue, frame_fault
from headwater.events.frame import FrameWriter, decode_frame, encode_event
from headwater.events.subjects import PARTITION, Subject, partition_of
from headwater.events.types import Event, Feedback

NOW = 1_700_000_000_000


def test_records_come_out_in_order_and_who_waits_is_told_once() -> None:
    told: list[int] = []
    queue = RecordQueue(3, 4, lambda: told.append(len(queue)))
    assert [queue.push(n) for n in range(4)] == [True, True, True, False]
    assert (len(queue), queue.dropped, told) == (3, 1, [1])
    assert queue.take() == ([0, 1, 2], [])
    assert queue.take() == ([], [])
    assert queue.push(5)
    assert told == [1, 1]


def test_a_closed_queue_gives_what_it_has_and_takes_no_more() -> None:
    queue = RecordQueue(3, 4, lambda: None)
    assert queue.push("first")
    queue.close()
    assert not queue.push("second")
    queue.drop_one()
    assert (queue.take(), queue.dropped) == ((["first"], []), 2)


def test_why_a_group_was_not_written_is_kept_until_one_was() -> None:
    queue = RecordQueue(3, 4, lambda: None)
    assert queue.error is None
    queue.error = "the disk is full"
    assert queue.error == "the disk is full"
    queue.error = None
    assert queue.error is None


def test_records_of_one_partition_make_the_frames_that_python_makes_of_them() -> None:
    partitions = 4
    queue = RecordQueue(3, partitions, lambda: None)
    sizes = [n * 37 % 300 for n in range(100)] + [90_000] * 7 + [1]
    events: list[Event] = [Feedback("view", f"u{n}", "i" * size, NOW) for n, size in enumerate(sizes)]
    users = [f"u{n}" for n in range(len(events))]
    made = [(f"s{n}", users[n], encode_event(event)) for n, event in enumerate(events)]
    found: dict[int, list[Event]] = {}
    for group in queue.grouped(made):
        subject = Subject(PARTITION, group.partition)
        frame = FrameWriter("p", 1).body(subject, len(group), group.body, NOW)
        assert frame_fault(frame) is None
        read = decode_frame(frame)[1]
        assert group.body == msgspec.msgpack.encode(read)
        assert group.slates == [f"s{events.index(event)}" for event in read]
        found.setdefault(group.partition, []).extend(read)
    assert found == {
        partition: [
            event for event, user in zip(events, users, strict=True) if partition_of(user, partitions) == partition
        ]
        for partition in range(partitions)
    }
    assert queue.grouped([]) == []


def test_a_queue_that_leads_back_to_its_owner_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.queue = RecordQueue(3, 4, self.arrived)
            self.queue.push(self.arrived)

        def arrived(self) -> None:
            pass

    owner = weakref.ref(Owner())
    gc.collect()
    assert owner() is None
