"""Rounds of kill -9: start a writer, kill it at a drawn moment, compare what it left with what it acknowledged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from types import TracebackType
from typing import IO, Self

import msgspec

import headwater as hw
from chaos.writer import IMPORT_ROWS, Note, Order
from headwater.events.frame import decode_frame
from headwater.events.types import Feedback

WRITER = Path(__file__).with_name("writer.py")
LONGEST_LIFE_S = 0.5
"""Opening takes a few hundredths of a second: most writers die under load, some while they recover."""

NOT_REFUSED = frozenset(("applied", "repeat-event", "rapid-repeat", "recorded", "exposure"))


class Rounds:
    """One directory through many killed writers. Use as a context manager; `play` is one round."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._store = directory / "store"
        self._directory = directory
        self._random = Random(seed)
        self._seed = seed
        self._nursery = subprocess.Popen(
            [sys.executable, str(WRITER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
        )
        self._log_read = 0
        self._intended: dict[str, Feedback] = {}
        self._acked: dict[str, int] = {}
        self._imported: set[int] = set()
        self.sends: Counter[str] = Counter()
        self.copies: Counter[str] = Counter()
        self.played = self.killed_before_first = 0
        self.outcomes: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._nursery.stdin is not None
        assert self._nursery.stdout is not None
        self._nursery.stdin.close()
        self._nursery.stdout.close()
        self._nursery.wait(30)

    def play(self) -> None:
        """One writer's life and death, then everything that must be true."""
        self.played += 1
        pending = [event for id, event in self._intended.items() if id not in self._acked]
        order = Order(
            directory=str(self._store),
            notes=str(self._notes()),
            seed=self._seed * 10_000 + self.played,
            next_import=len(self._imported),
            again=pending[:200],
        )
        acked = len(self._acked)
        self._live_and_die(order)
        self._read_notes()
        self.killed_before_first += len(self._acked) == acked
        if (self._store / "log.sqlite3").exists():
            self._compare()

    def _live_and_die(self, order: Order) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(msgspec.json.encode(order) + b"\n")
        self._nursery.stdin.flush()
        pid = int(_line(self._nursery.stdout))
        time.sleep(self._random.uniform(0, LONGEST_LIFE_S))  # the moment of death is the test's input
        os.kill(pid, signal.SIGKILL)
        status = int(_line(self._nursery.stdout))
        assert os.WIFSIGNALED(status), f"round {self.played}: the writer ended by itself, status {status}"
        assert os.WTERMSIG(status) == signal.SIGKILL

    def _notes(self) -> Path:
        return self._directory / f"notes-{self.played}.jsonl"

    def _read_notes(self) -> None:
        if not self._notes().exists():
            return  # killed before it began
        for line in self._notes().read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):  # a last line cut short was not written: nothing was sent, or not acknowledged
                self._take(msgspec.json.decode(line, type=Note))
        self._notes().unlink()

    def _take(self, note: Note) -> None:
        if note.what == "intend":
            for event in note.events:
                assert event.event_id is not None
                self._intended[event.event_id] = event
                self.sends[event.event_id] += 1
        elif note.what == "acked":
            self._acked.update(dict.fromkeys(note.ids, note.position))
        else:
            self._imported.add(note.position)
            self._acked.update((f"import-{note.position}-{row}", 0) for row in range(IMPORT_ROWS))

    def _compare(self) -> None:
        # A reader leaves the write-ahead log as the dead left it, for the next writer to recover.
        with hw.Engine.open(self._store, read_only=self.played % 2 == 0) as engine:
            self._read_log(engine)
            missing = [id for id in self._acked if not self.copies[id]]
            assert not missing, f"round {self.played}: acknowledged and lost: {missing[:5]} of {len(missing)}"
            for id, copies in self.copies.items():
                assert copies <= max(1, self.sends[id]), f"round {self.played}: {id} stands in the log {copies} times"
            assert max(self._acked.values(), default=0) <= engine.log.last()
            self.outcomes = engine.status()["outcomes"]
            twice = sum(self.copies.values()) - len(self.copies)
            assert self.outcomes.get("repeat-event", 0) == twice
            counted = self.outcomes.get("applied", 0) + self.outcomes.get("rapid-repeat", 0)
            assert counted == len(self.copies) + self._controls(engine)
            report = engine.verify()
            assert report.equal, f"round {self.played}: {report.problems}"
            assert len(set(report.digest.values())) == 1
            assert report.digest["live"] == report.digest["replay"]

    def _read_log(self, engine: hw.Engine) -> None:
        for batch in engine.log.read(self._log_read + 1):
            for frame in batch.frames:
                for event in decode_frame(frame)[1]:
                    if isinstance(event, Feedback):
                        assert event.event_id is not None
                        self.copies[event.event_id] += 1
            self._log_read = batch.positions[-1]

    def _controls(self, engine: hw.Engine) -> int:
        """`ConfigActivated` is applied too: once, when the directory is begun."""
        return 1 if engine.status()["config_version"] is not None else 0

    @property
    def refusals(self) -> int:
        """Events that the fold refused or set aside for another reason than being a repeat."""
        return sum(count for outcome, count in self.outcomes.items() if outcome not in NOT_REFUSED)

    def summary(self) -> dict[str, int]:
        """What the rounds amounted to."""
        return {
            "rounds": self.played,
            "killed_before_an_acknowledgement": self.killed_before_first,
            "events": len(self.copies),
            "acknowledged": len(self._acked),
            "sent_again": sum(count - 1 for count in self.sends.values()),
            "twice_in_log_once_in_state": self.outcomes.get("repeat-event", 0),
            "imports_finished": len(self._imported),
            "slates_recorded": self.outcomes.get("recorded", 0),
            "refusals": self.refusals,
        }


def _line(stream: IO[bytes] | None) -> bytes:
    assert stream is not None
    line = stream.readline()
    assert line, "the nursery died; see its standard error"
    return line


def _environment() -> dict[str, str]:
    paths = [str(WRITER.parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
