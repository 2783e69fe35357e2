"""Commands that say how good the answers are: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from headwater.cli.output import json_option, show

PROTOCOLS = {"sessions": ("session-next-item",), "split": ("fixed-split",), "events": ("prequential", "leave-one-out")}


@click.command()
@click.option("--format", "shape", type=click.Choice(list(PROTOCOLS)), required=True, help="What the files hold.")
@click.option(
    "--path", type=click.Path(path_type=Path, exists=True), required=True, help="The folder, or the file of a log."
)
@click.option(
    "--protocol", type=click.Choice([p for ps in PROTOCOLS.values() for p in ps]), help="Default: the format's."
)
@click.option("--source", "sources", multiple=True, help="fused (default), one source, or last-items; may be repeated.")
@click.option("--k", type=int, default=20, show_default=True, help="Length of the list.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="headwater.toml, with an [evaluate] table if need be.",
)
@click.option(
    "--part",
    type=click.Choice(["test", "valid", "tail"]),
    default="test",
    show_default=True,
    help="sessions: what is predicted; tail: the last 10 % of training sessions.",
)
@click.option("--profile", type=click.Choice(["shop", "media"]), help="Defaults, where no --config is given.")
@json_option
def evaluate(
    shape: str,
    path: Path,
    protocol: str | None,
    sources: tuple[str, ...],
    k: int,
    config_file: Path | None,
    part: str,
    profile: str | None,
    as_json: bool,
) -> None:
    """Measure the quality of recommendations by a published protocol.

    Example: headwater evaluate --format sessions --path data/diginetica --source session-knn --json
    """
    from headwater.evaluate import configured as files
    from headwater.evaluate import page, run
    from headwater.progress import progress_call

    protocol = protocol or PROTOCOLS[shape][0]
    if protocol not in PROTOCOLS[shape]:
        raise click.UsageError(f"--format {shape} goes with --protocol {' or '.join(PROTOCOLS[shape])}")
    sources = sources or ("fused",)
    if config_file is not None:
        configured = files.load(config_file)
    elif shape == "sessions" and profile is None:
        configured = files.for_sessions()
    else:
        configured = files.shipped(profile or ("media" if shape == "split" else "shop"))  # type: ignore[arg-type]
    with progress_call(not as_json and click.get_text_stream("stderr").isatty(), "predictions") as progress:
        if shape == "sessions":
            table = run.sessions_table(path, configured, sources, k, part, progress)  # type: ignore[arg-type]
        elif shape == "split":
            table = run.splits_table(path, configured, sources, k, progress)
        else:
            table = run.leave_one_out_table(path, configured, sources, k, progress)
    show(as_json, _plain(table), None if as_json else page.accuracy_table(table))


def _plain(table: Any) -> dict[str, Any]:
    """One source: its figures at the top; several: by source."""
    extra = {"protocol": table.protocol, "notes": table.notes, "facts": table.facts}
    if len(table.rows) == 1:
        [(source, figures)] = table.rows.items()
        return {**figures, "source": source, **extra}
    return {"sources": table.rows, **extra}
