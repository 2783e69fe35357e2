"""`headwater bench recommend`: whole slates on a large shop, one caller at a time and many at once.

Every source, rules, MMR 500 -> 20 by vectors and exploration are on. What is compared is asked in turns: the same
visitors without a filter, with a broad one and with one of 1 %; with and without a record of the slate.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater import measure
from headwater.bench.large_shop import ALL, BROAD, EMBEDDING, FULL_SHOP, NARROW, START, LargeShop, ShopSize
from headwater.engine import Engine
from headwater.errors import HeadwaterError
from headwater.events.types import UserPut
from headwater.slate import Slate

if TYPE_CHECKING:
    from rich.table import Table

N = 20
_BLOCK = 250
_MANY_RUNS = 3
P50_MS, P99_MS, LOGGING, MANY_PER_S = 0.5, 2.0, 0.05, 5000
"""To reach: milliseconds of the broad filter, share of a slate's time that its record costs, slates a second."""

Progress = Callable[[str], object]


def run_recommend(
    size: ShopSize = FULL_SHOP,
    queries: int = 5000,
    directory: Path | None = None,
    starting: Progress = lambda what: None,
) -> dict[str, Any]:
    """Fill a shop in a temporary folder of `directory` and measure. Raises `HeadwaterError` for a wrong answer."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-", dir=directory) as temporary:
        place = Path(temporary)
        shop = LargeShop(size)
        figures: dict[str, Any] = {"floor": measure.machine_floor(place), "shop": size._asdict(), "queries": queries}
        with Engine.open(place / "shop", config=shop.config(), clock="log") as engine:
            starting("filling the shop")
            _fill(engine, shop)
            visitors = shop.visitors(queries)
            figures["sources"] = _sources_at_work(engine, visitors[:200])
            starting("one caller")
            figures |= _one_caller(engine, visitors)
            starting("records")
            figures["logging"] = _logging(engine, visitors)
            starting("many")
            figures["many_per_s"] = _many(engine, visitors)
            starting("a moving log")
            figures["moving_ms"] = _moving(engine, visitors)
            figures["threads"] = engine.config.engine.threads
        return figures


def _fill(engine: Engine, shop: LargeShop) -> None:
    for portion in shop.items():
        engine.put_items(portion)
    puts = [UserPut(user=user, ts=START, labels={"country": country}) for user, country in shop.countries()]
    for first in range(0, len(puts), 1000):
        engine._commit(puts[first : first + 1000])
    for frame in shop.visits():
        engine.ingest(frame, progress=False)


def _sources_at_work(engine: Engine, visitors: Sequence[str]) -> dict[str, float]:
    """Share of visitors for whom each source named an item of the slate. Checks that slates are what they should be."""
    named: dict[str, int] = dict.fromkeys(engine.config.query.scenarios[ALL].sources, 0)
    for visitor in visitors:
        slate = engine.recommend(visitor, N, scenario=ALL, filter=BROAD, record=False)
        if len(set(slate.item_ids)) != N or slate.exploring.temperature <= 0:
            raise HeadwaterError(f"{visitor}: {len(slate)} items of {N}, exploring {slate.exploring}")
        for source in {part.source for r in slate for part in r.parts}:
            named[source] = named.get(source, 0) + 1
    if not named[f"vector:{EMBEDDING}"]:
        raise HeadwaterError("no item of any slate comes from the vectors: not what is to be measured")
    return {source: round(count / len(visitors), 3) for source, count in named.items()}


def _asking(engine: Engine, filter: str | None, record: bool) -> Callable[[str], Slate]:
    return lambda visitor: engine.recommend(visitor, N, scenario=ALL, filter=filter, record=record)


def _in_turns(
    subjects: Mapping[str, Callable[[str], object]],
    visitors: Sequence[str],
    after_block: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of every question: each block of visitors is asked by each subject before the next block.

    `after_block` runs untimed after the warm-up and after every subject's block.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for ask in subjects.values():
        for visitor in visitors[:50]:
            ask(visitor)
    after_block()
    for first in range(0, len(visitors), _BLOCK):
        for name, ask in subjects.items():
            gc.collect()
            for visitor in visitors[first : first + _BLOCK]:
                started = time.perf_counter()
                ask(visitor)
                seconds[name].append(time.perf_counter() - started)
            after_block()
    return seconds


def _one_caller(engine: Engine, visitors: Sequence[str]) -> dict[str, Any]:
    filters = {"no_filter": None, "broad_filter": BROAD, "narrow_filter": NARROW}
    seconds = _in_turns({name: _asking(engine, text, False) for name, text in filters.items()}, visitors)
    default = _in_turns({"default": lambda v: engine.recommend(v, N, record=False)}, visitors)
    figures: dict[str, Any] = {f"{name}_ms": measure.percentiles(all_) for name, all_ in (seconds | default).items()}
    medians = {name: statistics.median(all_) for name, all_ in seconds.items()}
    figures["narrow_to_none"] = round(medians["narrow_filter"] / medians["no_filter"], 3)
    return figures


def _moving(engine: Engine, visitors: Sequence[str]) -> dict[str, float]:
    """Milliseconds of a question where each visitor clicks on the first item before the next one asks, untimed."""
    seconds: list[float] = []
    ask = _asking(engine, BROAD, False)
    gc.collect()
    for visitor in visitors:
        started = time.perf_counter()
        slate = ask(visitor)
        seconds.append(time.perf_counter() - started)
        engine.track("view", user=visitor, item=slate.item_ids[0])
    return measure.percentiles(seconds)


def _logging(engine: Engine, visitors: Sequence[str]) -> dict[str, float]:
    """What a record adds to the answer's own time, and to the whole of answer and write, as shares of the answer's."""
    subjects = {"without": _asking(engine, BROAD, False), "with": _asking(engine, BROAD, True)}
    writes: list[float] = []

    def flush() -> None:
        started = time.perf_counter()
        engine.flush()
        writes.append(time.perf_counter() - started)

    seconds = _in_turns(subjects, visitors, flush)
    written = sum(writes[1:])  # the first flush is the warm-up's
    if engine.status()["slates_not_recorded"]:
        raise HeadwaterError("some slates were not recorded: there is nothing to compare")
    without = sum(seconds["without"])
    medians = {name: statistics.median(all_) for name, all_ in seconds.items()}
    return {
        "median": round(medians["with"] / medians["without"] - 1, 4),
        "mean": round(sum(seconds["with"]) / without - 1, 4),
        "with_the_write": round((sum(seconds["with"]) + written) / without - 1, 4),
        "p99_with_ms": measure.percentiles(seconds["with"])["p99"],
        "p99_without_ms": measure.percentiles(seconds["without"])["p99"],
    }


def _many(engine: Engine, visitors: Sequence[str]) -> dict[str, int]:
    """Slates a second of `recommend_many`, all threads: with everything on, and by the default scenario."""
    questions: dict[str, dict[str, Any]] = {"everything": {"scenario": ALL, "filter": BROAD}, "default": {}}
    rates: dict[str, list[float]] = {name: [] for name in questions}
    for _ in range(_MANY_RUNS):
        for name, question in questions.items():
            started = time.perf_counter()
            frame = engine.recommend_many(visitors, N, **question)
            rates[name].append(len(visitors) / (time.perf_counter() - started))
            if len(frame) != N * len(visitors):
                raise HeadwaterError(f"{len(frame)} slots for {len(visitors)} visitors")
    return {name: round(statistics.median(all_)) for name, all_ in rates.items()}


def recommend_table(figures: dict[str, Any]) -> Table:
    """The figures for people, with what is to be reached."""
    from rich.table import Table

    floor, shop = figures["floor"], figures["shop"]
    title = f"{shop['items']:,} items x {shop['dim']}, {shop['events']:,} views: {floor['cores']} cores, {floor['cpu']}"
    table = Table("what", "figure", "to reach", "reached", title=title)

    def row(what: str, figure: str, target: str = "", reached: bool | None = None) -> None:
        table.add_row(what, figure, target, {True: "yes", False: "no", None: ""}[reached])

    def latency(name: str) -> str:
        ms = figures[f"{name}_ms"]
        return f"p50 {ms['p50']:.3f} ms, p99 {ms['p99']:.3f} ms"

    broad, logging = figures["broad_filter_ms"], figures["logging"]
    fast = broad["p50"] <= P50_MS and broad["p99"] <= P99_MS
    row(
        "every source, filter, MMR 500 -> 20, exploring",
        latency("broad_filter"),
        f"p50 <= {P50_MS} ms, p99 <= {P99_MS} ms",
        fast,
    )
    row("the same without a filter", latency("no_filter"))
    narrow = figures["narrow_to_none"]
    row(f"with a filter of 1 % ({narrow:.2f}x)", latency("narrow_filter"), "no more than without", narrow <= 1)
    row("the default scenario", latency("default"))
    row("every source, on a moving log", latency("moving"))
    cost = f"{logging['median']:.1%} (median), {logging['mean']:.1%} (mean), {logging['with_the_write']:.1%} and write"
    row("a record of the slate costs", cost, f"< {LOGGING:.0%}", logging["median"] < LOGGING)
    many = figures["many_per_s"]
    rate = f"{many['everything']:,} slates/s; default scenario {many['default']:,}"
    row(f"recommend_many, {figures['threads']} threads", rate, f">= {MANY_PER_S:,}", many["everything"] >= MANY_PER_S)
    row("sources with an item in the slate", ", ".join(f"{k} {v:.0%}" for k, v in figures["sources"].items()))
    return table
