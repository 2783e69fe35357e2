"""One writer per directory, for as long as its process lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.errors import StoreError, StoreLocked
from headwater.events.lock import WriterLock

HOLD = "import sys, pathlib; from headwater.events.lock import WriterLock; lock = WriterLock(pathlib.Path(sys.argv[1]))"


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    with pytest.raises(StoreLocked, match=f"process {os.getpid()}") as refused:
        WriterLock(tmp_path)
    assert refused.value.details == {"path": str(tmp_path), "pid": str(os.getpid())}
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_refused_lock_does_not_free_the_held_one(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    for _ in range(3):
        with pytest.raises(StoreLocked):
            WriterLock(tmp_path)
    lock.release()
    WriterLock(tmp_path).release()


def test_release_lets_the_next_in(tmp_path: Path) -> None:
    for _ in range(3):
        lock = WriterLock(tmp_path)
        lock.release()
        lock.release()
    assert (tmp_path / "lock").read_text() == ""


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    code = f"{HOLD}; print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=f"process {holder.pid}"):
            WriterLock(tmp_path)
        holder.kill()
    lock = WriterLock(tmp_path)  # though the file still names the dead process
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_child_process_does_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = WriterLock(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        close_fds=False,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        lock.release()
        WriterLock(tmp_path).release()
        child.communicate(b"\n")


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "file":
        place.write_text("")
    with pytest.raises(StoreError, match="cannot be written") as refused:
        WriterLock(place)
    assert refused.value.details["path"] == str(place)
