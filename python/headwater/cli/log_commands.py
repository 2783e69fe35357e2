"""Commands that measure logs and watch for regressions: bench ingest, rebuild, operations, guard."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.errors import FAILURE, INTERRUPTED
from headwater.cli.output import json_option, options, scratch_option, show, update_option

if TYPE_CHECKING:
    from headwater.bench.event_supply import Supply

_log_options = options(
    click.option(
        "--events", type=click.IntRange(1000, 50_000_000), default=1_000_000, show_default=True, help="How many."
    ),
    click.option("--dataset", help="retailrocket, ml-1m or online-retail, repeated with fresh users. Default: Zipf."),
    click.option("--path", type=click.Path(path_type=Path, exists=True), help="Where the dataset's files are."),
    click.option(
        "--items",
        type=click.IntRange(10, 10_000_000),
        default=100_000,
        show_default=True,
        help="Items of the Zipf log.",
    ),
    click.option("--seed", type=int, default=11, show_default=True, help="Of the Zipf log."),
    click.option("--threads", type=click.IntRange(1, 256), default=2, show_default=True, help="Threads that fold."),
    scratch_option,
)


def _supply(events: int, dataset: str | None, path: Path | None, items: int, seed: int) -> Callable[[], Supply]:
    """What gives the events, each time it is called from their beginning."""
    from headwater.bench.event_supply import dataset_supply, zipf_supply

    if dataset is None:
        return partial(zipf_supply, events, items, seed)
    if path is None:
        raise click.UsageError("--dataset needs --path: where its files are")
    return partial(dataset_supply, dataset, path, events)


@click.command()
@_log_options
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it: a .png or .svg.")
@update_option
@json_option
def ingest(
    events: int,
    dataset: str | None,
    path: Path | None,
    items: int,
    seed: int,
    threads: int,
    scratch: Path | None,
    plot: Path | None,
    update: Path | None,
    as_json: bool,
) -> None:
    """Events per second of each stage of an import (encode, append, decode, fold) over a growing log, beside the disk;
    memory and bytes an event. Ctrl-C shows what was measured until then.

    Example: headwater bench ingest --events 1000000 --json
    """
    from headwater.bench import markdown
    from headwater.bench.ingest_bench import ingest_table, run_ingest
    from headwater.bench.log_plots import plot_ingest
    from headwater.progress import progress_call

    supply = _supply(events, dataset, path, items, seed)
    with progress_call(sys.stderr.isatty(), "events") as progress:
        run = run_ingest(supply(), threads, scratch, progress)
    if plot is not None:
        plot_ingest(run, plot)
    if update is not None:
        markdown.update(update, markdown.ingest_sections(run))
    show(as_json, run, None if as_json else ingest_table(run))
    if not run.complete:
        click.echo(f"headwater: interrupted after {run.events:,} of {events:,} events", err=True)
        sys.exit(INTERRUPTED)


@click.command()
@_log_options
@click.option("--tail", type=click.IntRange(0), help="Events after the snapshot. Default: one in ten.")
@click.option("--runs", type=click.IntRange(1, 20), default=3, show_default=True, help="Of each rebuild.")
@update_option
@json_option
def rebuild(
    events: int,
    dataset: str | None,
    path: Path | None,
    items: int,
    seed: int,
    threads: int,
    scratch: Path | None,
    tail: int | None,
    runs: int,
    update: Path | None,
    as_json: bool,
) -> None:
    """A log to state, from zero and from a snapshot with a tail, each in a process of its own: seconds, memory, equal
    digests; size and time of the snapshot.

    Example: headwater bench rebuild --events 1000000 --tail 100000 --json
    """
    from headwater.bench import markdown
    from headwater.bench.rebuild_bench import rebuild_table, run_rebuild
    from headwater.progress import progress_call

    supply = _supply(events, dataset, path, items, seed)
    after = events // 10 if tail is None else tail
    if after >= events:
        raise click.UsageError(f"--tail {after:,} leaves no event before the snapshot: --events is {events:,}")
    with progress_call(sys.stderr.isatty(), "making the log") as progress:
        run = run_rebuild(supply, tail=after, threads=threads, runs=runs, scratch=scratch, progress=progress)
    if update is not None:
        markdown.update(update, markdown.rebuild_sections(run))
    show(as_json, run, None if as_json else rebuild_table(run))


@click.command()
@click.option(
    "--events", type=click.IntRange(1000, 50_000_000), default=1_000_000, show_default=True, help="Of the log."
)
@click.option("--items", type=click.IntRange(10, 10_000_000), default=20_000, show_default=True, help="Of the log.")
@click.option("--rate", type=click.FloatRange(1, 10_000), default=100.0, show_default=True, help="Questions a second.")
@scratch_option
@update_option
@json_option
def operations(events: int, items: int, rate: float, scratch: Path | None, update: Path | None, as_json: bool) -> None:
    """Backup, incremental backup, restore and the erasure of a user, while the same engine answers questions.

    Example: headwater bench operations --events 1000000 --json
    """
    from rich.console import Console

    from headwater.bench import markdown
    from headwater.bench.operations_bench import operations_table, run_operations

    with Console(stderr=True).status("measuring") as status:
        run = run_operations(events, items, rate, scratch, lambda what: status.update(f"measuring: {what}"))
    if update is not None:
        markdown.update(update, markdown.operations_sections(run))
    show(as_json, run, None if as_json else operations_table(run))


@click.command()
@scratch_option
@json_option
def guard(scratch: Path | None, as_json: bool) -> None:
    """Whether anything is several times slower than it should be, by ratios to floors of the same run; half a minute.
    Exit code 1 if a bound is not kept.

    Example: headwater bench guard --json
    """
    from headwater.bench.guard import guard_table, run_guard

    judged = run_guard(scratch)
    show(as_json, judged, None if as_json else guard_table(judged))
    broken = [one.work for one in judged if not one.kept]
    if broken:
        click.echo(f"headwater: slower than it may be: {'; '.join(broken)}", err=True)
        sys.exit(FAILURE)
