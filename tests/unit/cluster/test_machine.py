"""Which core an item host keeps to."""

from __future__ import annotations

import os
import threading

import pytest

from headwater.actors.topology import deal
from headwater.cluster import machine
from headwater.cluster.launch import keep_to
from headwater.cluster.machine import core_of, own_cores


@pytest.mark.parametrize(
    ("cores", "items", "kept"),
    [
        ([0, 1], 2, [0, 1]),
        ([4, 7], 2, [4, 7]),
        ([0, 1, 2], 2, [0, 1]),
        ([0, 1, 2, 3], 2, [None, None]),  # a core for each host: the scheduler finds one
        ([0], 2, [None, None]),  # fewer than item hosts
        ([], 2, [None, None]),
    ],
)
def test_item_hosts_keep_apart_where_cores_are_few(
    monkeypatch: pytest.MonkeyPatch, cores: list[int], items: int, kept: list[int | None]
) -> None:
    monkeypatch.setattr(machine, "own_cores", lambda: cores)
    hosts = deal(16, 8, 2, items)
    assert [core_of(host, hosts) for host in hosts] == [None, None, *kept]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not tell a process its cores")
def test_a_thread_keeps_to_a_core_with_all_that_it_begins() -> None:
    told: list[list[int]] = []

    def host() -> None:
        keep_to(None)
        told.append(own_cores())
        keep_to(1_000_000)  # none of this machine
        told.append(own_cores())
        keep_to(told[0][-1])
        inner = threading.Thread(target=lambda: told.append(own_cores()))
        inner.start()
        inner.join()

    thread = threading.Thread(target=host)
    thread.start()
    thread.join()
    assert told == [own_cores(), own_cores(), own_cores()[-1:]]
