"""Short turns: told to the system, inherited by what is started, and given back."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from headwater.short_turns import _ATTR, SLICE_NS, short_turns, take_short_turns

_GET_ATTR = {"x86_64": 315, "aarch64": 275}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or tuple(map(int, platform.release().split(".")[:2])) < (6, 12) or os.cpu_count() is None,
    reason="custom slices are Linux 6.12's",
)


def slice_ns() -> int:
    attr = ctypes.create_string_buffer(_ATTR.size)
    assert ctypes.CDLL(None).syscall(_GET_ATTR[platform.machine()], 0, attr, _ATTR.size, 0) == 0
    return int(_ATTR.unpack(attr.raw)[5])


def turns() -> tuple[int, int]:
    return os.sched_getscheduler(0), slice_ns()


def turns_of_a_child() -> tuple[int, int]:
    code = "from tests.unit.cluster.test_short_turns import turns; print(*turns())"
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout
    policy, length = said.split()
    return int(policy), int(length)


def test_who_is_started_meanwhile_has_short_turns_and_interrupts_nobody() -> None:
    usual, nice, short = slice_ns(), os.getpriority(os.PRIO_PROCESS, 0), (os.SCHED_BATCH, SLICE_NS)
    assert usual > SLICE_NS
    with short_turns():
        assert turns() == short
        assert turns_of_a_child() == short
    assert turns() == (os.SCHED_OTHER, usual)
    assert take_short_turns()
    assert take_short_turns()  # again, of one that has them
    assert turns() == short
    assert take_short_turns(0)
    assert turns() == (os.SCHED_OTHER, usual)
    assert os.getpriority(os.PRIO_PROCESS, 0) == nice


def test_another_rank_is_left_as_it_is() -> None:
    code = (
        "import os; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0));"
        "from headwater.short_turns import take_short_turns;"
        "print(take_short_turns(), os.sched_getscheduler(0) == os.SCHED_IDLE)"
    )
    said = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert said.split() == ["False", "True"]
