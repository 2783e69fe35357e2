"""Commands about data: import, validate, export."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from headwater.cli.output import facts, json_option, options, show
from headwater.cli.remote import RemoteCommand, connect_remote, where
from headwater.cli.store_commands import directory, existing_directory, profile_option
from headwater.config import Profile, default_config

table_options = options(
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


def mapping(columns: tuple[str, ...]) -> dict[str, str]:
    mapping = {}
    for entry in columns:
        field, separator, column = entry.partition("=")
        if not separator or not column:
            raise click.BadParameter(f"{entry!r} is not FIELD=COLUMN", param_hint="--column")
        mapping[field] = column
    return mapping


@click.command("import", cls=RemoteCommand)
@directory
@table_options
@_kind_option
@click.option("--chunk-rows", type=click.IntRange(1, 65_536), default=65_536, show_default=True)
@profile_option
@json_option
def import_(
    directory: Path | None,
    file: Path,
    columns: tuple[str, ...],
    format: str | None,
    kind: str,
    chunk_rows: int,
    profile: Profile | None,
    as_json: bool,
) -> None:
    """Import FILE (CSV, JSONL, Parquet) into DIR: durable, folded, resumable. Importing it twice changes nothing. A DIR
    that is not there is made, with the defaults of the profile.

    Refused rows go to DIR/deadletters with row number and reason. With --url the table goes into a cluster, under the
    same frame numbers: an import that was interrupted continues there, too.

    Example: headwater import shop clicks.csv -c user=visitor -c type==view
    """
    table: dict[str, Any] = {
        "columns": mapping(columns),
        "kind": "items" if kind == "items" else "events",
        "format": format,
        "chunk_rows": chunk_rows,
    }
    if directory is None:
        from headwater.progress import progress_call

        with connect_remote() as client, progress_call(not as_json and sys.stderr.isatty(), "import") as call:
            report = client.ingest(file, progress=call, **table)
    else:
        from headwater.engine import Engine

        with Engine.open(directory, profile=profile) as engine:
            report = engine.ingest(file, progress=False if as_json else None, **table)
    show(as_json, report.to_dict(), facts(f"{file} -> {where(directory)}", report.to_dict()))


@click.command()
@table_options
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
    from headwater.store import directory_config
    from headwater.wall_clock import wall_clock

    table: EventTable | ItemTable
    letters: list[DeadLetter] = []
    valid = 0
    if kind == "items":
        table = ItemTable(file, columns=mapping(columns), format=format, ts=wall_clock())
        letters += table.unreadable
        for row in table.items():
            if isinstance(row, DeadLetter):
                letters.append(row)
            else:
                valid += 1
    else:
        config = default_config() if directory is None else directory_config(directory)
        latest = wall_clock() + config.generation.max_future_ms
        table = EventTable(file, columns=mapping(columns), format=format, latest=latest)
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
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@click.option(
    "--learning",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="OUT.parquet",
    help="Instead of events, one row per slot of every recorded slate: propensities, status, reward. What the columns "
    "mean stands in the file and in OUT.schema.json.",
)
@click.option(
    "--rewards",
    metavar="TYPE=NUMBER,...",
    help="What an answer is worth, by type. Default: 1 for each type in `votes`.",
)
@click.option("--window", metavar="TIME", help="How long a slate waits for answers: 90m, 24h, 7d.  [default: 24h]")
@click.option(
    "--combine", type=click.Choice(["max", "sum"]), help="Several rewards of one slot: their maximum (default) or sum."
)
@click.option("--since", type=click.IntRange(1), metavar="POSITION", help="First log position that is read.")
@click.option("--until", type=click.IntRange(1), metavar="POSITION", help="Last log position that is read.")
@json_option
def export(directory: Path, file: Path | None, learning: Path | None, as_json: bool, **slates: Any) -> None:
    """Write every event of the log in DIR to FILE: all kinds as .jsonl, feedback as .parquet or .csv.

    With --learning: what became of recorded slates, for off-policy evaluation and for training, as in
    `headwater export shop --learning slates.parquet --rewards click=1,purchase=5 --window 24h`.

    Example: headwater export shop events.jsonl
    """
    from headwater.export import export_events

    given = [f"--{name}" for name, value in slates.items() if value is not None]
    if (file is None) == (learning is None):
        raise click.UsageError("give either FILE for events or --learning OUT.parquet for slates")
    if file is not None and given:
        raise click.UsageError(f"{', '.join(given)}: only with --learning")
    started = time.perf_counter()
    plain = export_events(directory, file) if file is not None else _export_slates(directory, learning, slates)
    plain["seconds"] = round(time.perf_counter() - started, 3)
    show(as_json, plain, facts(f"{directory} -> {file or learning}", plain))


def _export_slates(directory: Path, file: Path | None, given: dict[str, Any]) -> dict[str, Any]:
    from headwater.export import export_learning
    from headwater.learning.rewards import parse_values, parse_window

    assert file is not None
    until = given["until"]
    return export_learning(
        directory,
        file,
        rewards=None if given["rewards"] is None else parse_values(given["rewards"]),
        window_hours=24.0 if given["window"] is None else parse_window(given["window"]),
        combine=given["combine"] or "max",
        start=given["since"] or 1,
        stop=None if until is None else until + 1,
    )
