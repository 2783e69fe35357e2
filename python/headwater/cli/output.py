"""Output: one JSON line with --json, a table otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

update_option = click.option(
    "--update",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Also put the tables into this Markdown file, where it has places for them.",
)
scratch_option = click.option(
    "--dir",
    "scratch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Measure on this directory's disk, in a temporary folder that is removed. Default: the system's.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of a table.")


def show(as_json: bool, plain: Any, rich: object) -> None:
    """Print `plain` as JSON, or `rich` for people."""
    if as_json:
        click.echo(msgspec.json.encode(plain).decode())
        return
    from rich.console import Console

    # What is shown holds names from the data: none of it is markup.
    width = None if Console().is_terminal else 140
    Console(width=width, markup=False, emoji=False, highlight=False).print(rich)


def facts(title: str, rows: Mapping[str, Any]) -> object:
    """A two-column table."""
    from rich.table import Table

    table = Table(title=title, show_header=False)
    table.add_column(justify="left")
    table.add_column(justify="left", overflow="fold")
    for key, value in rows.items():
        shown = (
            f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and not key.endswith("ts") else value
        )
        table.add_row(key, f"{shown:,.3f}" if isinstance(shown, float) else str(shown))
    return table


def options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several option decorators as one."""

    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate
