"""Pictures of the logs' benchmarks: rates of the stages, and what is held, over a growing log."""

from __future__ import annotations

from pathlib import Path

from headwater.bench.ingest_bench import STAGES, IngestRun
from headwater.bench.report import pyplot, save_figure


def plot_ingest(run: IngestRun, path: Path) -> None:
    """Events per second of each stage, and MB of log, state and process, over events; a PNG or SVG.

    Raises `HeadwaterError` without matplotlib.
    """
    plotting = pyplot()
    figure, (left, right) = plotting.subplots(1, 2, figsize=(11, 4))
    events = [interval.events / 1e6 for interval in run.intervals]
    for stage in STAGES:
        left.plot(events, [interval.per_s.get(stage, 0) / 1e6 for interval in run.intervals], marker=".", label=stage)
    left.set_ylabel("M events/s")
    left.set_yscale("log")
    for name in ("log_mb", "state_mb", "resident_mb"):
        held = [getattr(interval, name) for interval in run.intervals]
        right.plot(events, held, marker=".", label=name.removesuffix("_mb"))
    right.set_ylabel("MB")
    for axes in (left, right):
        axes.set_xlabel("million events in the log")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    save_figure(figure, plotting, path)
