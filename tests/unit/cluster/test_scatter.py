"""Hosts of different versions refuse each other, and say what to do."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.actors.topology import Topology, deal
from headwater.cluster import scatter
from headwater.cluster.item_answers import ItemAnswers
from headwater.cluster.scatter import LAYOUT, Scatter, Sent, pack, unpack
from headwater.errors import OtherVersion
from headwater.protocol import encode_error

OTHERS = [
    struct.pack("<HqI", LAYOUT + 1, 0, 100) + b"body",
    struct.pack("<qI", 7, 100) + b"body",  # before there were layouts
    b"",
]


def test_a_request_between_hosts_survives_its_bytes() -> None:
    assert unpack(pack(7, 0.25, b"body")) == Sent(7, 0.25, b"body")
    assert unpack(pack(None, 0.0, b"")) == Sent(0, 0.001, b"")


@pytest.mark.parametrize("data", OTHERS, ids=["newer", "older", "nothing"])
def test_an_item_host_refuses_who_speaks_another_layout(data: bytes) -> None:
    untouched: Any = SimpleNamespace()
    with pytest.raises(OtherVersion, match="`headwater stop` and `headwater serve`") as raised:
        ItemAnswers(untouched).candidates_now(data)
    assert f"speaks layout {LAYOUT} (headwater 0." in raised.value.message
    assert f"asked in layout {int.from_bytes(data[:2], 'little')}:" in raised.value.message


def test_who_asked_is_told_which_host_it_was() -> None:
    nobody: Any = SimpleNamespace()
    hosts = Scatter(nobody, Topology("default", "g", 1, 4, 4, deal(4, 4, 1, 2)))
    with pytest.raises(OtherVersion) as refused:
        unpack(OTHERS[0])
    answers: list[tuple[bytes, bytes | None]] = [(b"\x90", None), (encode_error(refused.value, "msgpack"), None)]
    with pytest.raises(OtherVersion, match=f"^{hosts.hosts[1].name}: this host speaks layout"):
        hosts.sorted_out([scatter._outcome(answer, None) for answer in answers])
