"""A log that lets go of its beginning, and one that begins behind another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.event_log import contents, frames
from headwater import default_config
from headwater.core import generation_of
from headwater.errors import LogCorrupt, StoreError
from headwater.events.head import Head
from headwater.events.sqlite_log import SqliteLog

GENERATION = generation_of(default_config("shop").generation)


def opened(directory: Path) -> SqliteLog:
    return SqliteLog(directory, GENERATION)


@pytest.mark.parametrize(("below", "gone"), [(0, 0), (1, 0), (2, 1), (40, 39), (100, 99), (101, 99), (500, 99)])
def test_a_trimmed_log_holds_the_rest(tmp_path: Path, below: int, gone: int) -> None:
    tmp_path = tmp_path / "log"
    tmp_path.mkdir()
    log = opened(tmp_path)
    log.append(frames(range(1, 101)))
    chain = log.acknowledged().chain
    assert log.trim(below) == gone
    assert (log.first(), log.last(), log.base.last) == (gone + 1, 100, gone)
    assert contents(log, gone + 1) == frames(range(gone + 1, 101))
    assert log.check_chain() == 100 - gone
    assert log.append(frames(range(101, 103))) == 101
    log.close()
    again = opened(tmp_path)
    assert (again.first(), again.last(), again.check_chain()) == (gone + 1, 102, 102 - gone)
    assert again.trim(min(below, 100)) == 0
    if gone:
        with pytest.raises(LogCorrupt, match="begins after"):
            contents(again, gone)
    assert again.acknowledged().last == 102
    assert chain != again.acknowledged().chain
    again.close()


def test_trimming_gives_space_back(tmp_path: Path) -> None:
    log = opened(tmp_path)
    for n in range(20):
        log.append(frames(range(n * 100 + 1, n * 100 + 101), producer=7))
    before = log.size_bytes()
    log.trim(1900)
    assert log.size_bytes() < before / 3
    log.close()


def test_a_log_may_begin_behind_anothers_beginning(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    log, copy = opened(tmp_path / "a"), opened(tmp_path / "b")
    log.append(frames(range(1, 11)))
    log.trim(6)
    copy.begin_after(log.base)
    assert copy.append(contents(log, 6)) == 6
    assert copy.check_chain() == 5
    assert copy.acknowledged()[1:] == log.acknowledged()[1:]
    with pytest.raises(StoreError, match="holds frames already"):
        copy.begin_after(Head(0, 3, 1))
    copy.close()
    copy = opened(tmp_path / "b")
    assert (copy.first(), copy.last()) == (6, 10)
    copy.close()
    log.close()


def test_an_exchanged_frame_of_a_trimmed_log_is_found(tmp_path: Path) -> None:
    log = opened(tmp_path)
    log.append(frames(range(1, 11)))
    log.trim(6)
    assert log._connection is not None
    log._connection.execute("UPDATE frames SET frame = ? WHERE position = 8", [frames(range(99, 100))[0]])
    with pytest.raises(LogCorrupt, match="not those that were acknowledged"):
        log.check_chain()
    log.close()
