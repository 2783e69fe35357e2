"""The fold of everything, frames in memory to state: ML-1M repeated with fresh ids, and a log with a long tail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from headwater.bench.event_supply import repetition
from headwater.bench.logs import FrameLog, chunked, fold, frame_log, held_bytes
from headwater.bench.machine import stream_bytes_per_s
from headwater.bench.row import Row, Target, absent_row, make_row
from headwater.bench.scale import Scale
from headwater.bench.timing import clocked, interleaved
from headwater.bench.zipf import ZipfLog
from headwater.config import Config, default_config
from headwater.datasets import load

_THREADS = 2
_RUNS = 3
_KERNEL = "fold of everything"
_TARGET = Target(at_most_us=1 / 1.16, shown=">= 1.16 M events/s on two cores")
_NETFLIX = "no peer folds events; 1.16 M/s is Netflix's published 100 billion events a day"


def rows(scale: Scale) -> list[Row]:
    """ML-1M repeated, and the Zipf log."""
    return [_ml_1m(scale), _zipf(scale)]


def _ml_1m(scale: Scale) -> Row:
    if scale.data is None or not (scale.data / "ml-1m").is_dir():
        why = "ML-1M is not there: --data names a folder with ml-1m/"
        return absent_row(_KERNEL, "ML-1M repeated", why, _TARGET.shown)
    config = default_config("media")
    log = frame_log(_repeated(scale.data / "ml-1m", scale.fold_events), config.generation.partitions)
    return _row("ML-1M repeated with fresh users and event ids, media profile", config, log, _TARGET)


def _repeated(folder: Path, least: int) -> Iterator[pl.DataFrame]:
    """The dataset as often as is needed, whole, each time with users and event ids of its own."""
    events = load("ml-1m", folder).events
    if least == 1:
        events = events.head(20_000)
    first, last = events["ts"].item(0), events["ts"].item(-1)
    period = int(last) - int(first) + 86_400_000
    for turn in range(-(-least // len(events))):
        yield from chunked(repetition(events, turn, period))


def _zipf(scale: Scale) -> Row:
    made = ZipfLog(scale.zipf_events, scale.zipf_items)
    config = default_config("shop")
    log = frame_log(made.chunks(), config.generation.partitions)
    return _row(f"Zipf log over {scale.zipf_items:,} items, shop profile", config, log, None)


def _row(what: str, config: Config, log: FrameLog, target: Target | None) -> Row:
    cpu: list[float] = []

    def measured() -> object:
        started = time.process_time()
        state = fold(config, log, _THREADS)
        cpu.append(time.process_time() - started)
        return state

    seconds = interleaved({"ours": clocked(measured)}, runs=_RUNS, warm_up=0)
    one, two = (fold(config, log, n).digest()["whole"] for n in (1, _THREADS))
    assert one == two, "one thread and two fold to different digests"
    ours = float(np.median(seconds["ours"]))
    held = held_bytes(fold(config, log, _THREADS))
    return make_row(
        _KERNEL,
        f"{what}: {log.events:,} events, {log.nbytes / 1e6:,.0f} MB of frames",
        seconds,
        units=log.events,
        threads=_THREADS,
        per="event",
        limit_us=log.nbytes / log.events / stream_bytes_per_s() * 1e6,
        limit="the frames' bytes at the measured bandwidth",
        target=target,
        note=_NETFLIX,
        facts={
            "M_events_per_s": log.events / ours / 1e6,
            "cpu_us_per_event": float(np.median(cpu)) / log.events * 1e6,
            "state_mb": held / 1e6,
        },
    )
