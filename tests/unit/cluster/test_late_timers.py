"""Timers that may be late: who is started meanwhile has them, who starts them goes on as before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headwater.late_timers import late_timers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timer slack is Linux's")

SLACK = Path("/proc/self/timerslack_ns")


def slack_of_a_process() -> int:
    return int(subprocess.run(["cat", SLACK], capture_output=True, check=True).stdout)


def test_a_process_that_is_started_meanwhile_has_late_timers() -> None:
    before = int(SLACK.read_text())
    with late_timers(3_000_000):
        assert slack_of_a_process() == 3_000_000
    assert int(SLACK.read_text()) == before
    assert slack_of_a_process() == before


def test_timers_are_as_before_when_it_did_not_start() -> None:
    before = int(SLACK.read_text())
    with pytest.raises(FileNotFoundError), late_timers(3_000_000):
        subprocess.Popen(["/nowhere/to/be/found"])
    assert int(SLACK.read_text()) == before
