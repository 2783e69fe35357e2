"""Records of slates between who answers and who writes."""

from __future__ import annotations

import gc
import weakref

from headwater.core import RecordQueue


def test_records_come_out_in_order_and_who_waits_is_told_once() -> None:
    told: list[int] = []
    queue = RecordQueue(3, lambda: told.append(len(queue)))
    assert [queue.push(n) for n in range(4)] == [True, True, True, False]
    assert (len(queue), queue.dropped, told) == (3, 1, [1])
    assert queue.take(2) == [0, 1]
    assert queue.push(4)
    assert told == [1], "one was still there"
    assert queue.take(10) == [2, 4]
    assert queue.take(10) == []
    assert queue.push(5)
    assert told == [1, 1]


def test_a_closed_queue_gives_what_it_has_and_takes_no_more() -> None:
    queue = RecordQueue(3, lambda: None)
    assert queue.push("first")
    queue.close()
    assert not queue.push("second")
    queue.drop_one()
    assert (queue.take(3), queue.dropped) == (["first"], 2)


def test_why_a_group_was_not_written_is_kept_until_one_was() -> None:
    queue = RecordQueue(3, lambda: None)
    assert queue.error is None
    queue.error = "the disk is full"
    assert queue.error == "the disk is full"
    queue.error = None
    assert queue.error is None


def test_a_queue_that_leads_back_to_its_owner_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.queue = RecordQueue(3, self.arrived)
            self.queue.push(self.arrived)

        def arrived(self) -> None:
            pass

    owner = weakref.ref(Owner())
    gc.collect()
    assert owner() is None
