"""Commands that say what was earned: report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.cli.output import json_option, show
from headwater.cli.store_commands import existing_directory
from headwater.errors import InvalidInput


@click.command()
@existing_directory
@click.option("--experiment", help="Only this experiment. Default: all that the log knows.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page with plots (.html).")
@click.option("--since", type=click.IntRange(1), default=1, show_default=True, help="First log position.")
@click.option("--until", type=click.IntRange(1), help="Last log position. Default: the log's end.")
@click.option("--baseline", help="The variant to compare with. Default: control, else one that changes nothing.")
@click.option("--conversions", metavar="TYPES", help="Types of purchases, e.g. purchase,buy. Default: consumption.")
@click.option("--clicks", metavar="TYPES", help="Types of clicks. Default: all but exposure and rejection.")
@click.option("--window", default="7d", show_default=True, help="How long a click is credited, e.g. 24h, 7d.")
@click.option("--view-window", default="24h", show_default=True, help="How long a mere view is.")
@click.option(
    "--match",
    type=click.Choice(["item", "any"]),
    default="item",
    show_default=True,
    help="Whether a click is credited with purchases of its item or of any.",
)
@click.option("--price-label", metavar="LABEL", help="Revenue is this label of the item. Default: the event's value.")
@click.option("--outcome-days", type=float, help="Days after a user's first slate that count. Default: 7.")
@click.option("--before-days", type=float, help="Days before it that CUPED adjusts by. Default: 28.")
@click.option("--retention-days", type=float, help="Days within which a user may come back. Default: 7.")
@click.option("--confidence", type=float, help="Of all intervals. Default: 0.95.")
@click.option("--resamples", type=int, help="Of the bootstrap. Default: 1000.")
@click.option("--seed", type=int, help="Of the bootstrap. Default: 0.")
@click.option("--planned-users", type=int, help="Where always-valid intervals are narrowest. Default: 10000.")
@json_option
def report(
    directory: Path,
    experiment: str | None,
    html: Path | None,
    since: int,
    until: int | None,
    conversions: str | None,
    clicks: str | None,
    window: str,
    view_window: str,
    as_json: bool,
    **given: Any,
) -> None:
    """What slates earned, by variant, scenario, source and segment, and what each experiment says.

    Works beside a running writer and writes nothing to the directory. Needs numpy (`headwater[learning]`), the page
    also matplotlib (`headwater[report]`).

    Example: headwater report shop --experiment ranking --html ranking.html
    """
    try:
        from headwater.experiments.report import report_directory
        from headwater.experiments.report_html import report_page
        from headwater.experiments.report_table import report_table
    except ModuleNotFoundError as err:
        raise click.ClickException(f"{err.name} is missing: pip install 'headwater[learning,report]'") from err
    from headwater.learning.rewards import parse_window
    from headwater.report_page import check_page_name, write_page

    if html is not None:
        check_page_name(html)
    if until is not None and until < since:
        raise InvalidInput(f"until = {until}; allowed: {since} or more", field="until", value=until)
    changes = {name: value for name, value in given.items() if value is not None}
    changes |= {"window_hours": parse_window(window), "view_hours": parse_window(view_window)}
    for name, text in (("conversions", conversions), ("clicks", clicks)):
        if text is not None:
            changes[name] = tuple(part.strip() for part in text.split(","))
    found = report_directory(directory, experiment=experiment, since=since, until=until, **changes)
    if html is not None:
        write_page(html, report_page(found))
    show(as_json, found.to_dict(), None if as_json else report_table(found))
