"""`headwater bench guard`: is anything several times slower than it should be? Half a minute, for CI.

Only ratios are judged, each of some work to a floor of its own kind that is measured in turns with it: calls to calls,
parsing to parsing, synced writes to synced writes. They hardly depend on the machine or on its load. The bounds are
about three times what is usual, and work that is over its bound is measured again, twice: what was only disturbed is
under it then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headwater.bench.disk import SyncedWrites
from headwater.bench.event_supply import zipf_supply
from headwater.bench.large_shop import TINY_SHOP, LargeShop
from headwater.bench.logs import FrameLog, fold, frame_log
from headwater.bench.timing import Timed, clocked, interleaved
from headwater.core import frame_fault, restore_core
from headwater.engine import Engine
from headwater.errors import HeadwaterError

if TYPE_CHECKING:
    from rich.table import Table

_ROUNDS, _ATTEMPTS = 7, 3
_VISITORS, _CALLS, _TRACKS, _EVENTS = 40, 5_000, 20, 60_000

RECOMMEND, SIMILAR, TRACK, FOLD, RESTORE = 28.0, 7.0, 5.0, 45.0, 24.0
"""Usual on two cores with other work beside: 8 to 12, 1.8 to 2.7, 1.2 to 2.8, 12 to 19, 5 to 9."""

Slower = Callable[[str, Timed], Timed]
"""Replaces the work of a name by something else, for tests of the guard itself."""


class Judged(msgspec.Struct, kw_only=True):
    """One kind of work: its time over the floor's, what that may be at most, and what the floor is."""

    work: str
    floor: str
    ratio: float
    at_most: float
    attempts: int

    @property
    def kept(self) -> bool:
        """Whether the bound is kept."""
        return self.ratio <= self.at_most


class _Watch(NamedTuple):
    work: str
    timed: Timed
    floor: str
    floor_timed: Timed
    at_most: float
    typical: Callable[[list[float]], float]


def run_guard(
    directory: Path | None = None,
    *,
    slower: Slower = lambda work, timed: timed,
    rounds: int = _ROUNDS,
    attempts: int = _ATTEMPTS,
) -> list[Judged]:
    """Judge everything, each by `rounds` turns with its floor. Raises `HeadwaterError` for a wrong answer."""
    with _watches(directory) as watches:
        slowed = (watch._replace(timed=slower(watch.work, watch.timed)) for watch in watches)
        return [_judge(watch, rounds, attempts) for watch in slowed]


def _judge(watch: _Watch, rounds: int, attempts: int) -> Judged:
    def floor() -> float:
        """Floors are short: one moment's disturbance must not make everything look fast beside them."""
        return watch.typical([watch.floor_timed() for _ in range(3)])

    tried, ratio = 0, float("inf")
    while tried < attempts and ratio > watch.at_most:
        seconds = interleaved({"work": watch.timed, "floor": floor}, rounds)
        ratio = watch.typical(seconds["work"]) / watch.typical(seconds["floor"])
        tried += 1
    return Judged(work=watch.work, floor=watch.floor, ratio=round(ratio, 3), at_most=watch.at_most, attempts=tried)


@contextmanager
def _watches(directory: Path | None) -> Iterator[list[_Watch]]:
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-bench-", dir=directory)))
        shop = LargeShop(TINY_SHOP)
        engine = stack.enter_context(Engine.open(place / "shop", config=shop.config(), clock="log"))
        for portion in shop.items():
            engine.put_items(portion)
        for visits in shop.visits():
            engine.ingest(visits, progress=False)
        floor = stack.enter_context(closing(SyncedWrites(place)))
        yield [*_questions(engine, shop), _writes(engine, floor), *_folds()]


def _questions(engine: Engine, shop: LargeShop) -> list[_Watch]:
    visitors = shop.visitors(_VISITORS)
    items = [f"i{number}" for number in range(_VISITORS)]

    def recommend() -> None:
        for visitor in visitors:
            engine.recommend(visitor, 20, record=False)

    def similar() -> None:
        for item in items:
            engine.similar(item, 20)

    def calls() -> None:
        for _ in range(_CALLS):
            _ = "i1" in engine

    floor = (f"{_CALLS:,} calls that do nothing", clocked(calls))
    return [
        _Watch(f"{_VISITORS} slates", clocked(recommend), *floor, at_most=RECOMMEND, typical=min),
        _Watch(f"{_VISITORS} lists of similar items", clocked(similar), *floor, at_most=SIMILAR, typical=min),
    ]


def _writes(engine: Engine, floor: SyncedWrites) -> _Watch:
    def track() -> None:
        for _ in range(_TRACKS):
            engine.track("view", user="ann", item="i1")

    def synced() -> None:
        for _ in range(_TRACKS):
            floor.write()

    beside = f"{_TRACKS} times two synced writes"
    return _Watch(f"{_TRACKS} events tracked", clocked(track), beside, clocked(synced), TRACK, median)


def _folds() -> list[_Watch]:
    """Folding, and reading a snapshot, beside parsing the same frames."""
    engine_config = LargeShop(TINY_SHOP).config()
    log: FrameLog = frame_log(zipf_supply(_EVENTS, 5_000).tables, engine_config.generation.partitions)
    state = fold(engine_config, log, 1)
    _, parts = state.snapshot()
    whole = state.digest()["whole"]
    if restore_core(engine_config, 1, parts).digest()["whole"] != whole:
        raise HeadwaterError("a snapshot gives another state than the log")

    def parse() -> None:
        for batch in log.batches:
            for frame in batch:
                if frame_fault(frame) is not None:
                    raise HeadwaterError("a frame that was just made is faulty")

    floor = ("parsing their frames", clocked(parse, 3))
    events = f"{_EVENTS:,} events"
    return [
        _Watch(f"{events} folded", clocked(lambda: fold(engine_config, log, 1)), *floor, FOLD, min),
        _Watch(
            f"{events} from a snapshot", clocked(lambda: restore_core(engine_config, 1, parts)), *floor, RESTORE, min
        ),
    ]


def guard_table(judged: list[Judged]) -> Table:
    """The figures for people."""
    from rich.table import Table

    table = Table("work", "beside", "ratio", "at most", "measured", "kept")
    for one in judged:
        times = "once" if one.attempts == 1 else f"{one.attempts} times"
        table.add_row(one.work, one.floor, f"{one.ratio:.3g}", f"{one.at_most:g}", times, "yes" if one.kept else "NO")
    return table
