"""A process that erases users is killed at any moment: the directory opens, whole, and who was erased stays so."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

import headwater as hw
from headwater.events import replacement
from headwater.events.log import decode_frames
from headwater.events.types import Feedback

ROUNDS = 40
START = 1_735_689_600_000


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_directory_outlives_killed_erasures(tmp_path: Path) -> None:
    random = Random(1)
    with hw.Engine.open(tmp_path / "shop", clock="log") as engine:
        for n in range(400):
            engine.track_many(
                [hw.Feedback("view", f"u{u}", f"i{random.randrange(50)}", START + n * 1000 + u) for u in range(5)]
            )
    gone, decided = -1, 0
    for _ in range(ROUNDS):
        command = [sys.executable, str(Path(__file__).with_name("eraser.py")), str(tmp_path / "shop"), str(gone + 1)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            time.sleep(random.random() * 0.4)  # the moment of the kill is what varies, nothing is waited for
            process.send_signal(signal.SIGKILL)
            said = process.stdout.read().split("\n")
        gone = max([gone, *(int(line) for line in said[:-1])])
        decided += replacement.is_decided(tmp_path / "shop")
        with hw.Engine.open(tmp_path / "shop", clock="log") as engine:
            assert engine.verify().equal
            users = {
                event.user
                for batch in engine.log.read()
                for _, _, events in decode_frames(batch)
                for event in events
                if isinstance(event, Feedback)
            }
            assert not users & {f"u{user}" for user in range(gone + 1)}
            assert users >= {f"u{user}" for user in range(gone + 2, 5)}
            assert not (tmp_path / "shop" / replacement.NEXT).exists()
            for user in range(5):
                engine.track("view", user=f"u{user}", item="i1", ts=engine.now() + 60_000)
            gone = -1
    print(f"\n{decided} of {ROUNDS} were killed between decision and end")
