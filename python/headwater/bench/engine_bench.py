"""The benchmark of the embedded engine: medians of repeated runs, each beside the machine's floor of the same run."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headwater import measure
from headwater.config import default_config
from headwater.demo import Scene
from headwater.engine import Engine

if TYPE_CHECKING:
    from rich.table import Table

_RUNS = 3


def run_bench(scene: Scene, directory: Path | None) -> dict[str, Any]:
    """Measure import, rebuild, fold, snapshot, queries and freshness on a scene: medians of three runs."""
    with tempfile.TemporaryDirectory(prefix="headwater-bench-", dir=directory) as temporary:
        place = Path(temporary)
        figures: dict[str, Any] = {"dataset": scene.name, "floor": measure.machine_floor(place)}
        imports = []
        for run in range(_RUNS):
            with Engine.open(place / f"run-{run}", config=default_config(scene.profile), clock="log") as engine:
                if scene.items:
                    engine.put_items(scene.items)
                imports.append(engine.ingest(scene.events, progress=False).events_per_s)
        figures["ingest_events_per_s"] = round(statistics.median(imports))
        with Engine.open(place / "run-0", clock="log") as engine:
            rates = [measure.rebuild_rates(engine, engine.log, engine.config.engine.threads) for _ in range(_RUNS)]
            for name in rates[0]:
                figures[name] = statistics.median(rate[name] for rate in rates)
            figures["snapshot_s"] = round(statistics.median(measure.timed([engine.snapshot] * _RUNS)), 4)
            figures |= _latencies(engine, scene)
            status = engine.status()
            figures |= {"events": len(scene.events), "users": status["users"], "items": status["items"]}
            figures |= {"pairs": status["pairs"], "bytes_per": measure.bytes_per(status)}
        return figures


def _latencies(engine: Engine, scene: Scene) -> dict[str, Any]:
    users = [str(user) for user in scene.events["user"].unique(maintain_order=True).head(2000)]
    items = [str(item) for item in scene.events["item"].unique(maintain_order=True).head(2000)]
    known = [item for item in items if item in engine]
    return {**measure.query_latency(engine, users, known), **measure.write_latency(engine, known, 500)}


def bench_table(figures: dict[str, Any]) -> Table:
    """The figures for people."""
    from rich.table import Table

    floor = figures["floor"]
    table = Table("what", "figure", "beside", title=f"{figures['dataset']}: {floor['cores']} cores, {floor['cpu']}")
    table.add_row(
        "import, durable and folded",
        f"{figures['ingest_events_per_s']:,} events/s",
        f"{floor['fsync_per_s']:,} fsync/s",
    )
    table.add_row(
        "rebuild from the log", f"{figures['rebuild_events_per_s']:,} events/s", f"{floor['read_gb_per_s']} GB/s read"
    )
    table.add_row("fold of frames in memory", f"{figures['fold_events_per_s']:,} events/s", "")
    table.add_row("snapshot", f"{figures['snapshot_s']:.3f} s", "")
    for name in ("recommend_ms", "similar_ms", "track_ms", "freshness_ms"):
        shown = figures[name]
        table.add_row(name.removesuffix("_ms"), f"p50 {shown['p50']:.3f} ms, p99 {shown['p99']:.3f} ms", "")
    per = figures["bytes_per"]
    table.add_row("state", f"{per['user']:,} B/user, {per['item']:,} B/item, {per['pair']:,} B/pair", "")
    return table
