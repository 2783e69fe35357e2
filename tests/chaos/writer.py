"""A writer under load, made to be killed: several threads track, import, ask and snapshot until the process dies.

Run as a script it is a nursery: it imports everything once, then forks a fresh writer for each line on its standard
input, so that a round costs no interpreter start. It answers with the writer's process id and, once that has died,
with its wait status.

Notes go to a file opened for appending: the page cache outlives a killed process. An `intend` line is written before
a call, an `acked` line after it returned.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from random import Random

import msgspec
import polars as pl

import headwater as hw
from headwater.events.types import Feedback

START = 1_735_689_600_000
USERS, ITEMS = 40, 200
IMPORT_ROWS, IMPORT_CHUNK = 1000, 50


class Order(msgspec.Struct):
    """What one writer shall do: where, its seed, the import it continues and the events that it sends again."""

    directory: str
    notes: str
    seed: int
    next_import: int
    again: list[Feedback] = []


class Note(msgspec.Struct):
    """One line of the notes: `intend` with events, `acked` with their ids and a position, `imported` with a number."""

    what: str
    events: list[Feedback] = []
    ids: list[str] = []
    position: int = 0


def import_frame(number: int) -> pl.DataFrame:
    """The rows of one import: the same for the same number."""
    random = Random(number)
    rows = [
        (START + row * 1000, f"u{random.randrange(USERS)}", f"i{random.randrange(ITEMS)}", f"import-{number}-{row}")
        for row in range(IMPORT_ROWS)
    ]
    frame = pl.DataFrame(rows, schema=["ts", "user", "item", "event_id"], orient="row")
    return frame.with_columns(type=pl.lit("view"))


class _Writer:
    def __init__(self, order: Order) -> None:
        self.order = order
        self.notes = os.open(order.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.engine = hw.Engine.open(order.directory)

    def note(self, note: Note) -> None:
        os.write(self.notes, msgspec.json.encode(note) + b"\n")

    def draw(self, random: Random, name: str, number: int) -> Feedback:
        return Feedback(
            type=random.choice(("view", "view", "cart", "purchase")),
            user=f"u{random.randrange(USERS)}",
            item=f"i{random.randrange(ITEMS)}",
            ts=START + self.order.seed * 100_000 + number * 100,
            event_id=f"{self.order.seed}-{name}-{number}",
        )

    def send(self, events: list[Feedback]) -> None:
        self.note(Note("intend", events=events))
        position = self.engine.track_many(events)
        self.note(Note("acked", ids=[event.event_id or "" for event in events], position=position))

    def track(self, name: str) -> None:
        random = Random(f"{self.order.seed}-{name}")
        for number in itertools.count():
            event = self.draw(random, name, number)
            self.note(Note("intend", events=[event]))
            position = self.engine.track(
                event.type, user=event.user, item=event.item, ts=event.ts, event_id=event.event_id
            )
            self.note(Note("acked", ids=[event.event_id or ""], position=position))
            if number % 4 == 0:
                self.engine.recommend(event.user, n=5, after=position)

    def batches(self) -> None:
        random = Random(f"{self.order.seed}-batch")
        numbers = itertools.count()
        while True:
            self.send([self.draw(random, "batch", next(numbers)) for _ in range(random.randrange(1, 30))])

    def imports(self) -> None:
        number = self.order.next_import
        self.engine.ingest(import_frame(number), chunk_rows=IMPORT_CHUNK, progress=False)
        self.note(Note("imported", position=number))

    def snapshots(self) -> None:
        while True:
            self.engine.snapshot()

    def run(self) -> None:
        if self.order.again:
            self.send(self.order.again)
        works: list[Callable[[], None]] = [
            lambda: self.track("a"),
            lambda: self.track("b"),
            lambda: self.track("c"),
            self.batches,
            self.imports,
            self.snapshots,
        ]
        for work in works:
            threading.Thread(target=_or_die, args=(work,)).start()


def _write(order: Order) -> None:
    _Writer(order).run()


def _or_die(work: Callable[[], None]) -> None:
    """Nothing here may raise: what does ends the process with a status that is not the kill's."""
    try:
        work()
    except BaseException:  # noqa: BLE001 - reported, and fatal
        traceback.print_exc()
        os._exit(3)


def main() -> None:
    """Fork a writer per order until standard input ends."""
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        pid = os.fork()
        if pid == 0:
            _or_die(partial(_write, order))
            threading.Event().wait()
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
