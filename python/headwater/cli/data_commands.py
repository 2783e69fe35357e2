"""Commands about data: import, validate, export."""

from __future__ import annotations

import time
from pathlib import Path

import click

from headwater.cli.output import facts, json_option, options, show
from headwater.cli.store_commands import directory, existing_directory, profile_option
from headwater.config import Profile, default_config

_table_options = options(
    click.argument("file", type=click.Path(path_type=Path, dir_okay=False)),
    click.option(
        "--column",
        "-c",
        "columns",
        multiple=True,
        metavar="FIELD=COLUMN",
        help='Which column a field is in; "type==view" is the constant view. Repeatable.',
    ),
    click.option("--format", "format", type=click.Choice(["csv", "jsonl", "parquet"]), help="Default: by the name."),
)

_kind_option = click.option("--kind", type=click.Choice(["events", "items"]), default="events", show_default=True)


def _mapping(columns: tuple[str, ...]) -> dict[str, str]:
    mapping = {}
    for entry in columns:
        field, separator, column = entry.partition("=")
        if not separator or not column:
            raise click.BadParameter(f"{entry!r} is not FIELD=COLUMN", param_hint="--column")
        mapping[field] = column
    return mapping


@click.command("import")
@directory
@_table_options
@_kind_option
@click.option("--chunk-rows", type=click.IntRange(1, 65_536), default=65_536, show_default=True)
@profile_option
@json_option
def import_(
    directory: Path,
    file: Path,
    columns: tuple[str, ...],
    format: str | None,
    kind: str,
    chunk_rows: int,
    profile: Profile | None,
    as_json: bool,
) -> None:
    """Import FILE (CSV, JSONL, Parquet) into DIR: durable, folded, resumable. Importing it twice changes nothing.

    Refused rows go to DIR/deadletters with row number and reason.

    Example: headwater import shop clicks.csv -c user=visitor -c type==view
    """
    from headwater.engine import Engine

    with Engine.open(directory, profile=profile) as engine:
        report = engine.ingest(
            file,
            columns=_mapping(columns),
            kind="items" if kind == "items" else "events",
            format=format,
            chunk_rows=chunk_rows,
            progress=False if as_json else None,
        )
    show(as_json, report.to_dict(), facts(f"{file} -> {directory}", report.to_dict()))


@click.command()
@_table_options
@_kind_option
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Judge event times by this engine's max_future_hours. Default: at most 24 hours ahead of now.",
)
@json_option
def validate(
    file: Path, columns: tuple[str, ...], format: str | None, kind: str, directory: Path | None, as_json: bool
) -> None:
    """Read FILE as `import` would, write nothing, and say which rows would be refused and why.

    Example: headwater validate clicks.csv --json
    """
    from headwater.ingest.dead_letters import DeadLetter
    from headwater.ingest.event_table import EventTable
    from headwater.ingest.item_table import ItemTable
    from headwater.questions import wall_clock
    from headwater.store import directory_config

    table: EventTable | ItemTable
    letters: list[DeadLetter] = []
    valid = 0
    if kind == "items":
        table = ItemTable(file, columns=_mapping(columns), format=format, ts=wall_clock())
        letters += table.unreadable
        for row in table.items():
            if isinstance(row, DeadLetter):
                letters.append(row)
            else:
                valid += 1
    else:
        config = default_config() if directory is None else directory_config(directory)
        latest = wall_clock() + int(config.generation.max_future_hours * 3_600_000)
        table = EventTable(file, columns=_mapping(columns), format=format, latest=latest)
        for piece in table.chunks():
            valid += len(piece.frame)
            letters += piece.refused
    reasons: dict[str, int] = {}
    for letter in letters:
        reasons[letter.reason] = reasons.get(letter.reason, 0) + 1
    first = [{"row": x.row, "reason": x.reason, "field": x.field, "value": x.value} for x in letters[:20]]
    plain = {"rows": table.rows, "valid": valid, "refused": len(letters), "reasons": reasons, "first_refused": first}
    show(as_json, plain, facts(f"{file}", plain))


@click.command()
@existing_directory
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@json_option
def export(directory: Path, file: Path, as_json: bool) -> None:
    """Write every event of the log in DIR to FILE: all kinds as .jsonl, feedback as .parquet or .csv.

    Example: headwater export shop events.jsonl
    """
    from headwater.export import export_events

    started = time.perf_counter()
    plain = export_events(directory, file)
    plain["seconds"] = round(time.perf_counter() - started, 3)
    show(as_json, plain, facts(f"{directory} -> {file}", plain))
