"""The command `shadow`: logged requests under another configuration."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from headwater.cli.output import json_option, show
from headwater.cli.store_commands import existing_directory


@click.command()
@existing_directory
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="A headwater.toml with the other [query]; without [generation] the log's holds.",
)
@click.option("--since", type=click.IntRange(min=1), default=1, show_default=True, help="First answering position.")
@click.option("--until", type=click.IntRange(min=1), help="Last answering position. Default: the log's end.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many slates, the first of them.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Write a page (.html) or plots (.svg).")
@json_option
def shadow(
    directory: Path,
    config_file: Path,
    since: int,
    until: int | None,
    limit: int | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Answer the logged requests of DIR again under another [query], by the states that answered them, and report the
    differences: they say how much would change, not whether it would be better.

    Example: headwater shadow shop --config new.toml --since 5000 --plot differences.html
    """
    from headwater.progress import progress_call
    from headwater.shadow import shadow_directory
    from headwater.shadow_page import check_plot_name, shadow_table, write_plot

    if plot is not None:
        check_plot_name(plot)
    with progress_call(not as_json and sys.stderr.isatty(), "slates") as call:
        report = shadow_directory(directory, config_file, since=since, until=until, limit=limit, progress=call)
    if plot is not None:
        write_plot(report, plot)
    show(as_json, report.to_dict(), shadow_table(report))
