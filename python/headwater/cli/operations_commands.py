"""Commands of a shop's operation: merge, sync, backup, restore, archive."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.output import facts, json_option, show
from headwater.cli.store_commands import existing_directory


@click.command()
@existing_directory
@click.argument("from_user", metavar="FROM")
@click.argument("into_user", metavar="INTO")
@json_option
def merge(directory: Path, from_user: str, into_user: str, as_json: bool) -> None:
    """Say that the visitor FROM turned out to be the user INTO: their history joins, and FROM means INTO from now on.

    Example: headwater merge shop anon-81f2 bob --json
    """
    from headwater.engine import Engine
    from headwater.store import check_begun

    check_begun(directory)
    with Engine.open(directory) as engine:
        report = engine.merge(from_user, into_user)
    plain = report.to_dict()
    show(as_json, plain, facts(f"{report.from_user} is {report.into_user}", plain))
