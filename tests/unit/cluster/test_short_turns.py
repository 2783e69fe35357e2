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


def child_slice_ns() -> int:
    code = "from tests.unit.cluster.test_short_turns import slice_ns; print(slice_ns())"
    return int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, text=True).stdout)


def test_who_is_started_meanwhile_has_short_turns() -> None:
    usual, nice = slice_ns(), os.getpriority(os.PRIO_PROCESS, 0)
    assert usual > SLICE_NS
    with short_turns():
        assert slice_ns() == SLICE_NS
        assert child_slice_ns() == SLICE_NS
    assert slice_ns() == usual
    assert take_short_turns()
    assert slice_ns() == SLICE_NS
    assert take_short_turns(0)
    assert os.getpriority(os.PRIO_PROCESS, 0) == nice
