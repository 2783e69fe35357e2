"""Ctrl-C that a measurement takes notice of between its steps."""

import signal
import threading
from collections.abc import Callable, Iterator

import polars as pl
import pytest

from headwater.bench.event_supply import ROWS, Supply, zipf_supply
from headwater.bench.ingest_bench import run_ingest
from headwater.bench.interruption import Interruption
from headwater.progress import ignore_progress
from interrupts import press, press_amid_polars


def test_the_first_is_noted_and_the_second_raised() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert not interruption.asked
        signal.raise_signal(signal.SIGINT)
        assert interruption.asked
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_without_one_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        assert signal.getsignal(signal.SIGINT) is not before
    assert not interruption.asked
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_it_does_nothing() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with Interruption() as interruption:
            seen.append((interruption.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


def interrupted(supply: Supply, table: int, how: Callable[[], None]) -> Supply:
    """Ctrl-C comes while a table is made."""

    def tables() -> Iterator[pl.DataFrame]:
        for number, rows in enumerate(supply.tables):
            if number == table:
                how()
            yield rows

    return supply._replace(tables=tables())


def test_an_import_ends_after_the_table_in_hand() -> None:
    shown: list[tuple[int, int]] = []
    supply = interrupted(zipf_supply(5 * ROWS, 1000), 1, press)
    run = run_ingest(supply, 1, None, lambda done, total: shown.append((done, total)))
    assert not run.complete
    assert run.events == 2 * ROWS
    assert run.disk_after is None
    assert run.imported == 0
    assert sum(run.outcomes.values()) == 2 * ROWS
    assert [interval.events for interval in run.intervals] == [ROWS, 2 * ROWS]
    assert shown == [(ROWS, 5 * ROWS)]


def test_an_import_interrupted_amid_polars_shows_what_was_measured() -> None:
    before = signal.getsignal(signal.SIGINT)
    run = run_ingest(interrupted(zipf_supply(5 * ROWS, 1000), 1, press_amid_polars), 1, None, ignore_progress)
    assert (run.complete, run.events) == (False, ROWS)
    assert signal.getsignal(signal.SIGINT) is before
