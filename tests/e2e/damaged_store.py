"""A small real directory, taken while its writer has it open, ways to damage copies, and what `verify` says of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

import headwater as hw
from headwater.config import Config, default_config
from headwater.events.types import Feedback
from headwater.verify import VerifyReport, verify_directory

START = 1_735_689_600_000
HEADWATER = str(Path(sys.executable).with_name("headwater"))


class Store(NamedTuple):
    """A directory, the digest of its state, its last position and the positions of its snapshots, newest first."""

    path: Path
    digest: str
    last: int
    snapshots: list[int]

    def copy(self, to: Path) -> Path:
        """The same in a place of its own."""
        shutil.copytree(self.path, to)
        return to


def make_store(place: Path, *, closed: bool) -> Store:
    """A directory with two snapshots and a tail. Closed, its frames are in the database; taken from under its writer
    (as a crash leaves it), they are in the write-ahead log."""
    random = Random(11)
    live = place / "live"
    with hw.Engine.open(live, threads=1) as engine:
        for number in range(12):
            engine.put_item(f"i{number}", categories=["a", "b"][: number % 2 + 1], labels={"brand": f"b{number % 3}"})
        for number in range(48):
            events = [
                Feedback(
                    type=random.choice(("view", "cart", "purchase")),
                    user=f"u{random.randrange(9)}",
                    item=f"i{random.randrange(12)}",
                    ts=START + number * 60_000 + k * 7_000,
                    event_id=f"e{number}-{k}",
                )
                for k in range(random.randrange(1, 5))
            ]
            engine.track_many(events)
            if number in (20, 35):
                engine.snapshot()
        engine.recommend("u1", n=3)
        engine.flush()
        digest, last = engine.digest()["whole"], engine.position
        snapshots = engine.status()["snapshots"]
        if not closed:
            shutil.copytree(live, place / "store", ignore=shutil.ignore_patterns("*-shm"))
    if closed:
        live.rename(place / "store")
    return Store(place / "store", digest, last, snapshots)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A directory whose writer closed it."""
    return make_store(tmp_path_factory.mktemp("closed"), closed=True)


@pytest.fixture
def path(closed: Store, tmp_path: Path) -> Path:
    """A copy of the closed directory to be damaged."""
    return closed.copy(tmp_path / "store")


def config() -> Config:
    """What `make_store` is made with."""
    return default_config("shop")


def verify(path: Path) -> VerifyReport:
    """What `headwater verify` would say."""
    return verify_directory(path, config(), threads=1)


def verify_command(path: Path) -> tuple[int, dict[str, object]]:
    """Exit status and JSON of `headwater verify DIR --json`."""
    ran = subprocess.run([HEADWATER, "verify", str(path), "--json"], capture_output=True, text=True, check=False)
    assert "Traceback" not in ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def says_broken(path: Path, where: str, what: str) -> None:
    """The command exits 1 and names the place and the damage."""
    status, report = verify_command(path)
    assert status == 1
    assert report["equal"] is False
    problems = report["problems"]
    assert isinstance(problems, list)
    assert any(problem["where"] == where and what in problem["what"] for problem in problems), problems


@contextlib.contextmanager
def flipped(file: Path, at: int, mask: int) -> Iterator[None]:
    """One byte of a file XORed, and put back afterwards."""
    with open(file, "r+b", buffering=0) as handle:
        handle.seek(at)
        (byte,) = handle.read(1)
        handle.seek(at)
        handle.write(bytes([byte ^ mask]))
        try:
            yield
        finally:
            handle.seek(at)
            handle.write(bytes([byte]))


def frames_in(store: Store) -> dict[int, bytes]:
    """Frames by position, as the database gives them."""
    with contextlib.closing(sqlite3.connect(f"{store.path.as_uri()}/log.sqlite3?mode=ro", uri=True)) as database:
        return dict(database.execute("SELECT position, frame FROM frames"))


def change_database(path: Path, *statements: str) -> None:
    """Run SQL behind the engine's back."""
    with contextlib.closing(sqlite3.connect(path / "log.sqlite3", isolation_level=None)) as database:
        for statement in statements:
            database.execute(statement)
