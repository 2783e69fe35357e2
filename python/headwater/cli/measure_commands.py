"""Commands that show and measure: demo, bench."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.output import json_option, options, show

_scene_options = options(
    click.option("--dataset", help="retailrocket, ml-1m or online-retail. Default: a simulated shop."),
    click.option("--path", type=click.Path(path_type=Path), help="Where the dataset's files are."),
    click.option(
        "--events", type=click.IntRange(1000, 50_000_000), default=500_000, show_default=True, help="Simulated events."
    ),
    click.option("--seed", type=int, default=7, show_default=True, help="Seed of the simulator."),
)


@click.command()
@_scene_options
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the engine here, in a new directory. Default: a temporary one that is removed.",
)
@json_option
def demo(dataset: str | None, path: Path | None, events: int, seed: int, directory: Path | None, as_json: bool) -> None:
    """Run a shop through the engine: import, a visitor's clicks, similar and trending items, kill -9, figures.

    Example: headwater demo --dataset ml-1m --path ../shared/data/ml-1m --json
    """
    from rich.console import Console

    from headwater.demo import dataset_scene, run_demo, simulated_scene

    if dataset is not None and path is None:
        raise click.UsageError("--dataset needs --path: where its files are")
    scene = simulated_scene(seed, events) if dataset is None or path is None else dataset_scene(dataset, path)
    console = Console(quiet=as_json, width=None if Console().is_terminal else 120)
    figures = run_demo(scene, directory, console.print, progress=not as_json and console.is_terminal)
    if as_json:
        show(True, figures, None)


@click.command()
@_scene_options
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Measure on this directory's disk, in a temporary folder that is removed. Default: the system's.",
)
@json_option
def bench(
    dataset: str | None, path: Path | None, events: int, seed: int, directory: Path | None, as_json: bool
) -> None:
    """Measure this machine: import, rebuild, fold, query latency and freshness, each beside the machine's own floor.

    Example: headwater bench --events 1000000 --json
    """
    from rich.console import Console

    from headwater.bench import bench_table, run_bench
    from headwater.demo import dataset_scene, simulated_scene

    if dataset is not None and path is None:
        raise click.UsageError("--dataset needs --path: where its files are")
    scene = simulated_scene(seed, events) if dataset is None or path is None else dataset_scene(dataset, path)
    with Console(stderr=True).status("measuring"):
        figures = run_bench(scene, directory)
    show(as_json, figures, bench_table(figures))
