"""The demonstration: a shop (simulated, or a public dataset) through the real engine, with this machine's figures."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from headwater import measure, story
from headwater.config import Profile, default_config
from headwater.engine import Engine
from headwater.errors import StoreError

Say = Callable[[object], None]
Then = Callable[[Engine, Path, dict[str, Any]], None]

_PROBES = 1000
_WRITES = 300
_CHILD_EVENTS = 200


class Scene(NamedTuple):
    """What the demonstration runs on."""

    name: str
    profile: Profile
    events: pl.DataFrame
    items: list[dict[str, Any]]


def run_demo(
    scene: Scene, directory: Path | None, say: Say, progress: bool, then: Then | None = None
) -> dict[str, Any]:
    """Run the whole demonstration; the figures. Without a directory a temporary one is used and removed.

    `then` is called at the end with the engine, its directory and the figures, while both are there.
    """
    with _workplace(directory) as place:
        figures: dict[str, Any] = {"dataset": scene.name, "floor": measure.machine_floor(place.parent)}
        config = default_config(scene.profile)
        with Engine.open(place, config=config, clock="log") as engine:
            figures |= _import(engine, scene, say, progress)
            figures["story"] = story.tell(engine, say)
            engine.snapshot()
            figures |= _latencies(engine, scene)
        killed = _kill_and_reopen(place, say)
        with Engine.open(place, config=config, clock="log") as engine:
            figures |= _rebuild(engine, killed, say)
            _table(figures, say)
            if then is not None:
                then(engine, place, figures)
        return figures


def check_new(directory: Path) -> None:
    """Raise `StoreError` unless a demonstration may be kept there: before a scene is made, which takes a while."""
    if directory.exists() and any(directory.iterdir()):
        raise StoreError(f"{directory} is not empty; the demo wants a new directory", path=str(directory))


@contextmanager
def _workplace(directory: Path | None) -> Iterator[Path]:
    if directory is not None:
        check_new(directory)
        directory.mkdir(parents=True, exist_ok=True)
        yield directory
        return
    temporary = Path(tempfile.mkdtemp(prefix="headwater-demo-"))
    try:
        (temporary / "shop").mkdir()
        yield temporary / "shop"
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _import(engine: Engine, scene: Scene, say: Say, progress: bool) -> dict[str, Any]:
    say(
        f"[bold]1. Bulk import[/bold] of {scene.name}: {len(scene.events):,} events, "
        f"{len(scene.items):,} items with metadata"
    )
    if scene.items:
        engine.put_items(scene.items)
    report = engine.ingest(scene.events, progress=progress)
    status = engine.status()
    say(
        f"   {report.events:,} events durable and folded in {report.seconds:.2f} s: "
        f"[bold]{report.events_per_s:,.0f} events/s[/bold]; {report.refused} rows refused"
    )
    return {
        "events": report.events,
        "users": status["users"],
        "items": status["items"],
        "ingest_events_per_s": round(report.events_per_s),
        "bytes_per": measure.bytes_per(status),
    }


def _latencies(engine: Engine, scene: Scene) -> dict[str, Any]:
    users = scene.events["user"].unique(maintain_order=True)
    items = scene.events["item"].unique(maintain_order=True)
    some_users = [str(user) for user in users.gather_every(max(1, len(users) // _PROBES))]
    some_items = [str(item) for item in items.gather_every(max(1, len(items) // _PROBES))]
    known = [item for item in some_items if item in engine]
    queries = measure.query_latency(engine, some_users, known)
    return {**queries, **measure.write_latency(engine, known, _WRITES)}


_CHILD = f"""
import sys
from headwater import Engine
engine = Engine.open(sys.argv[1], clock="log")
for i in range({_CHILD_EVENTS}):
    position = engine.track("view", user=f"late-{{i % 7}}", item=f"late-item-{{i % 11}}", event_id=f"late-{{i}}")
print(position, engine.digest()["whole"], flush=True)
sys.stdin.read()
"""


def _kill_and_reopen(place: Path, say: Say) -> str:
    """Let another process write, kill it with SIGKILL while it holds the directory; the digest that it had."""
    say("\n[bold]7. kill -9[/bold] of a process that writes")
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    line = child.stdout.readline().split()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    if len(line) != 2:
        raise StoreError("the writing process ended before it was killed", path=str(place))
    say(f"   {_CHILD_EVENTS} events acknowledged up to position {line[0]}, then killed; digest {line[1]}")
    return line[1]


def _rebuild(engine: Engine, killed: str, say: Say) -> dict[str, Any]:
    report = engine.verify()
    live = report.digest["live"]
    say(f"   reopened from snapshot + tail: digest {live} ({'equal' if live == killed else 'NOT EQUAL'})")
    if live != killed or not report.equal:
        raise StoreError(f"digests differ after kill -9: {killed} before, {report.digest} after; {report.problems}")
    rates = measure.rebuild_rates(engine, engine.log, engine.config.engine.threads)
    return {**rates, "digest": report.digest, "digest_before_kill": killed}


def _table(figures: dict[str, Any], say: Say) -> None:
    from rich.table import Table

    table = Table("what", "p50", "p90", "p99", "max", title="Latency, ms (one caller, Python API)")
    for name in ("recommend_ms", "similar_ms", "track_ms", "freshness_ms"):
        table.add_row(name.removesuffix("_ms"), *(f"{figures[name][p]:.3f}" for p in ("p50", "p90", "p99", "max")))
    say("")
    say(table)
    floor, per = figures["floor"], figures["bytes_per"]
    rates = Table("rate", "events/s", "the machine's floor", title="Throughput")
    rates.add_row(
        "import, durable and folded", f"{figures['ingest_events_per_s']:,}", f"{floor['fsync_per_s']:,} fsync/s"
    )
    rates.add_row("rebuild from the log", f"{figures['rebuild_events_per_s']:,}", f"{floor['read_gb_per_s']} GB/s read")
    rates.add_row(
        "fold of frames in memory", f"{figures['fold_events_per_s']:,}", f"{floor['cores']} cores, {floor['cpu']}"
    )
    say(rates)
    say(f"State: {per['user']:,} bytes a user, {per['item']:,} an item, {per['pair']:,} a co-occurrence pair")
    say(f"Digests: {figures['digest']}")


def simulated_scene(seed: int, events: int) -> Scene:
    """The simulated shop."""
    from headwater.simulate import simulate_shop

    shop = simulate_shop(seed=seed, events=events)
    return Scene(f"simulated shop (seed {seed})", "shop", shop.events, shop.items)


def dataset_scene(name: str, path: Path) -> Scene:
    """A public dataset. Raises `UnknownDataset`."""
    from headwater.datasets import load

    dataset = load(name, path)
    items = [] if dataset.items is None else [_item(row) for row in dataset.items.iter_rows(named=True)]
    return Scene(dataset.name, dataset.profile, dataset.events, items)


def _item(row: dict[str, Any]) -> dict[str, Any]:
    labels = {key: value for key, value in row.items() if key not in ("item", "categories") and value is not None}
    return {"item": row["item"], "categories": row.get("categories") or [], "labels": labels}
