"""Commands that show and measure: demo, bench."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.output import json_option, options, scratch_option, show, update_option

if TYPE_CHECKING:
    from headwater.bench.scale import Scale
    from headwater.engine import Engine

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
@click.option("--http", is_flag=True, help="At the end keep serving over HTTP, with simulated visitors, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), help="With --http: where. Default: 8088.")
@json_option
def demo(
    dataset: str | None,
    path: Path | None,
    events: int,
    seed: int,
    directory: Path | None,
    http: bool,
    port: int | None,
    as_json: bool,
) -> None:
    """Run a shop through the engine: import, a visitor's clicks, similar and trending items, kill -9, figures; with
    --http a live page at the end.

    Example: headwater demo --dataset ml-1m --path ../shared/data/ml-1m --json
    """
    from rich.console import Console

    from headwater.demo import check_new, dataset_scene, run_demo, simulated_scene

    if dataset is not None and path is None:
        raise click.UsageError("--dataset needs --path: where its files are")
    if directory is not None:
        check_new(directory)
    scene = simulated_scene(seed, events) if dataset is None or path is None else dataset_scene(dataset, path)
    console = Console(quiet=as_json, width=None if Console().is_terminal else 120)
    progress = not as_json and console.is_terminal

    def then(engine: Engine, place: Path, figures: dict[str, Any]) -> None:
        if as_json:
            show(True, figures, None)
        if http:
            from headwater.cli.http_commands import announce
            from headwater.http.serve import serve_engine
            from headwater.http.visitors import come

            users = [str(user) for user in scene.events["user"].unique(maintain_order=True)[:500]]
            beside = partial(come, users=users)
            serve_engine(engine, place, engine.config.http, announce(as_json), beside, port=port)

    run_demo(scene, directory, console.print, progress, then)


@click.group(invoke_without_command=True)
@_scene_options
@scratch_option
@json_option
@click.pass_context
def bench(
    context: click.Context,
    dataset: str | None,
    path: Path | None,
    events: int,
    seed: int,
    scratch: Path | None,
    as_json: bool,
) -> None:
    """Measure this machine: by itself, a whole engine; the commands below measure parts.

    By itself: import, rebuild, fold, query latency and freshness, each beside the machine's own floor.

    Example: headwater bench --events 1000000 --json
    """
    from rich.console import Console

    from headwater.bench.engine_bench import bench_table, run_bench
    from headwater.demo import dataset_scene, simulated_scene

    if context.invoked_subcommand is not None:
        return
    if dataset is not None and path is None:
        raise click.UsageError("--dataset needs --path: where its files are")
    scene = simulated_scene(seed, events) if dataset is None or path is None else dataset_scene(dataset, path)
    with Console(stderr=True).status("measuring"):
        figures = run_bench(scene, scratch)
    show(as_json, figures, bench_table(figures))


_table_options = options(
    click.option("--tiny", is_flag=True, help="Sizes that only show that everything runs."),
    update_option,
)
_kernel_options = options(
    click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        help="A folder with ml-1m/, diginetica/, retailrocket/ and online-retail/. Without it their rows say so.",
    ),
    click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it: a .png or .svg."),
    _table_options,
)
_vector_options = options(
    _table_options,
    click.option(
        "--vectors", multiple=True, type=click.IntRange(1000, 10_000_000), help="How many vectors; may be repeated."
    ),
)


def _scale(tiny: bool, data: Path | None = None, vectors: tuple[int, ...] = ()) -> Scale:
    """The sizes asked for."""
    from headwater.bench.scale import FULL, TINY

    scale = TINY if tiny else FULL
    return scale._replace(data=data, ann_vectors=vectors or scale.ann_vectors)


@bench.command()
@_kernel_options
@click.option(
    "--only", multiple=True, help="A family of kernels; may be repeated. --update then leaves the other rows."
)
@json_option
def kernels(
    data: Path | None, tiny: bool, plot: Path | None, update: Path | None, only: tuple[str, ...], as_json: bool
) -> None:
    """Every kernel beside its peers and the machine's limit: same run, same input, same threads, answers checked.

    Needs numpy (`headwater[kernels]`); peers that are not installed are named in their rows.

    Example: headwater bench kernels --data data --plot kernels.png
    """
    from rich.console import Console

    from headwater.bench import markdown
    from headwater.bench.kernel_bench import run_kernels
    from headwater.bench.machine import describe
    from headwater.bench.report import kernel_table, plot_kernels

    scale = _scale(tiny, data=data)
    if update is not None:
        markdown.check(update, markdown.kernel_sections((), {"cpu": ""}), part=bool(only))
    with Console(stderr=True).status("measuring") as status:
        rows = run_kernels(scale, only, lambda name: status.update(f"measuring: {name}"))
    if plot is not None:
        plot_kernels(rows, plot)
    if update is not None:
        markdown.update(update, markdown.kernel_sections(rows, describe()), part=bool(only))
    show(as_json, rows, None if as_json else kernel_table(rows, describe()))


@bench.command()
@_kernel_options
@click.option("--capacity", multiple=True, type=click.IntRange(8, 4096), help="A capacity C; may be repeated.")
@click.option("--only", multiple=True, help="ml-1m, retailrocket, online-retail or zipf; may be repeated.")
@json_option
def recall(
    data: Path | None,
    tiny: bool,
    plot: Path | None,
    update: Path | None,
    capacity: tuple[int, ...],
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Recall@50 of bounded co-occurrence rows against exact ones, for several capacities.

    Example: headwater bench recall --data data --plot recall.png
    """
    from rich.console import Console

    from headwater.bench import markdown
    from headwater.bench.recall_bench import CAPACITIES, run_recall
    from headwater.bench.report import plot_recall, recall_table

    scale = _scale(tiny, data=data)
    if update is not None:
        markdown.check(update, markdown.recall_sections(()), part=bool(only))
    with Console(stderr=True).status("measuring") as status:
        rows = run_recall(scale, capacity or CAPACITIES, only, lambda name: status.update(f"measuring: {name}"))
    if plot is not None:
        plot_recall(rows, plot)
    if update is not None:
        markdown.update(update, markdown.recall_sections(rows), part=bool(only))
    show(as_json, rows, None if as_json else recall_table(rows))


@bench.command()
@_vector_options
@json_option
def ann(tiny: bool, update: Path | None, vectors: tuple[int, ...], as_json: bool) -> None:
    """Approximate search against the exact scan: recall@100 and time a query, with filters that admit more or less.

    Needs usearch (`headwater[ann]`).

    Example: headwater bench ann --vectors 100000
    """
    from rich.console import Console

    from headwater.bench import markdown
    from headwater.bench.ann_bench import run_ann
    from headwater.bench.report import ann_table

    scale = _scale(tiny, vectors=vectors)
    with Console(stderr=True).status("measuring") as status:
        rows = run_ann(scale, lambda name: status.update(f"measuring: {name}"))
    if update is not None:
        markdown.update(update, markdown.ann_sections(rows))
    show(as_json, rows, None if as_json else ann_table(rows))


@bench.command()
@_vector_options
@json_option
def graph(tiny: bool, update: Path | None, vectors: tuple[int, ...], as_json: bool) -> None:
    """An engine's graph of a large embedding beside its own scan: recall@100 and time a question.

    Example: headwater bench graph --vectors 100000
    """
    from rich.console import Console

    from headwater.bench import markdown
    from headwater.bench.graph_bench import graph_table, run_graphs

    scale = _scale(tiny, vectors=vectors)
    with Console(stderr=True).status("measuring") as status:
        rows = run_graphs(scale, lambda name: status.update(f"measuring: {name}"))
    if update is not None:
        markdown.update(update, markdown.graph_sections(rows))
    show(as_json, rows, None if as_json else graph_table(rows))


@bench.command()
@click.option("--tiny", is_flag=True, help="Sizes that only show that everything runs.")
@click.option(
    "--queries", type=click.IntRange(100, 1_000_000), default=5000, show_default=True, help="Visitors that ask."
)
@scratch_option
@json_option
def recommend(tiny: bool, queries: int, scratch: Path | None, as_json: bool) -> None:
    """Whole slates on a shop of 100,000 items with vectors: every source, filters, MMR, exploration, records.

    Example: headwater bench recommend --json
    """
    from rich.console import Console

    from headwater.bench.large_shop import FULL_SHOP, TINY_SHOP
    from headwater.bench.recommend_bench import recommend_table, run_recommend

    with Console(stderr=True).status("measuring") as status:
        size = TINY_SHOP if tiny else FULL_SHOP
        figures = run_recommend(size, queries, scratch, lambda what: status.update(f"measuring: {what}"))
    show(as_json, figures, recommend_table(figures))


@bench.command()
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Where MovieLens-1M's files are.",
)
@click.option("--users", type=click.IntRange(10, 10_000), default=2000, show_default=True, help="At most so many ask.")
@update_option
@json_option
def diversity(data: Path, users: int, update: Path | None, as_json: bool) -> None:
    """What unlikeness of a slate's items gives and costs on MovieLens-1M: coverage, distance, novelty, nDCG.

    Example: headwater bench diversity --data data/ml-1m
    """
    from rich.console import Console

    from headwater.bench import markdown
    from headwater.bench.diversity_bench import diversity_table, run_diversity

    with Console(stderr=True).status("measuring") as status:
        rows = run_diversity(data, users, lambda what: status.update(f"measuring: {what}"))
    if update is not None:
        markdown.update(update, markdown.diversity_sections(rows))
    show(as_json, rows, diversity_table(rows))


@bench.command("report")
@click.option(
    "--slates", type=click.IntRange(1000, 50_000_000), default=1_000_000, show_default=True, help="Slates of the log."
)
@click.option(
    "--runs", type=click.IntRange(10, 100_000), default=2000, show_default=True, help="Simulated experiments."
)
@click.option("--users", type=click.IntRange(500, 1_000_000), default=4000, show_default=True, help="Users of each.")
@json_option
def report_bench(slates: int, runs: int, users: int, as_json: bool) -> None:
    """How long a report takes, and how often its tests claim a difference that is not there, or find one that is.

    Example: headwater bench report --slates 100000 --runs 200
    """
    from rich.console import Console

    from headwater.bench.experiment_bench import experiment_table, run_experiments

    with Console(stderr=True).status("measuring") as status:
        figures = run_experiments(slates, runs, users, lambda what: status.update(f"measuring: {what}"))
    show(as_json, figures, experiment_table(figures))


@bench.command("http")
@click.option("--rate", type=click.FloatRange(1, 100_000), default=500.0, show_default=True, help="Questions a second.")
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=10.0, show_default=True, help="Of each turn.")
@click.option("--events", type=click.IntRange(1000, 10_000_000), default=100_000, show_default=True, help="Simulated.")
@click.option(
    "--workers", type=click.IntRange(1, 64), multiple=True, default=(1, 1, 1), help="One turn each. Repeatable."
)
@json_option
def bench_http(rate: float, seconds: float, events: int, workers: tuple[int, ...], as_json: bool) -> None:
    """What HTTP adds to a question: open loop, in turns with the embedded engine at the same rate.

    Example: headwater bench http --rate 500 --workers 1 --workers 2
    """
    from rich.console import Console

    from headwater.bench.http_bench import http_table, run_http

    with Console(stderr=True).status("measuring") as status:
        figures = run_http(rate, seconds, events, workers, lambda what: status.update(f"measuring: {what}"))
    show(as_json, figures, None if as_json else http_table(figures))
