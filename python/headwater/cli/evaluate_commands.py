"""Commands that say how good the answers are: evaluate, tune."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.output import json_option, options, show

if TYPE_CHECKING:
    from headwater.evaluate.configured import Configured
    from headwater.evaluate.run import Part, Replayed, Table

PROTOCOLS = {"sessions": ("session-next-item",), "split": ("fixed-split",), "events": ("prequential", "leave-one-out")}

_toml = click.Path(path_type=Path, exists=True, dir_okay=False)
_data_options = options(
    click.option("--format", "shape", type=click.Choice(list(PROTOCOLS)), required=True, help="What the files hold."),
    click.option(
        "--path", type=click.Path(path_type=Path, exists=True), required=True, help="The folder, or the file of a log."
    ),
    click.option(
        "--protocol",
        type=click.Choice([p for ps in PROTOCOLS.values() for p in ps]),
        help="Default: the format's first.",
    ),
    click.option("--k", type=int, default=20, show_default=True, help="Length of the list."),
    click.option("--profile", type=click.Choice(["shop", "media"]), help="Defaults where no --config is given."),
    click.option("--seed", type=int, default=7, show_default=True, help="Of the sample and the intervals."),
    click.option("--sample", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="events: share of users."),
)


@click.command()
@_data_options
@click.option("--source", "sources", multiple=True, help="fused (default), one source, or last-items; may be repeated.")
@click.option("--config", "config_file", type=_toml, help="headwater.toml, with an [evaluate] table if need be.")
@click.option("--compare", type=_toml, nargs=2, help="events: two configurations, paired target by target.")
@click.option(
    "--part",
    type=click.Choice(["test", "valid", "tail"]),
    help="sessions: what is predicted; tail: the last 10 % of training sessions. Default: test.",
)
@click.option("--from", "start", type=click.FloatRange(0, 1), default=0.0, help="events: only fold before this share.")
@click.option("--until", "end", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="events: stop there.")
@click.option("--only-new", is_flag=True, help="events: nothing that the user touched before is listed or a target.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Also write a report: a name in .html.")
@json_option
def evaluate(
    shape: str,
    path: Path,
    protocol: str | None,
    k: int,
    profile: str | None,
    seed: int,
    sample: float,
    sources: tuple[str, ...],
    config_file: Path | None,
    compare: tuple[Path, Path] | None,
    part: Part | None,
    start: float,
    end: float,
    only_new: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Measure the quality of recommendations: published protocols, or a replay of a log.

    \b
    sessions  session-next-item: the next click at every place of unseen sessions
    split     fixed-split: items of a test part, training items masked
    events    prequential: every event is predicted by the state before it, then folded
              leave-one-out: each user's last item

    Example: headwater evaluate --format sessions --path data/diginetica --source session-knn --json
    """
    from headwater.evaluate import page, run
    from headwater.evaluate.events import load_events
    from headwater.evaluate.replay import Plan
    from headwater.progress import progress_call
    from headwater.report_page import check_page_name, write_page

    if html is not None:
        check_page_name(html)
    protocol = protocol_of(shape, protocol)
    of_replay = {"--compare": compare, "--only-new": only_new, "--sample": sample < 1, "--from": start > 0}
    _refuse_beside(protocol, "prequential", of_replay | {"--until": end < 1}, "--format events --protocol prequential")
    _refuse_beside(shape, "sessions", {"--part": part}, "--format sessions")
    if compare and config_file:
        raise click.UsageError("--compare names both configurations; --config is not asked beside it")
    sources = tuple(dict.fromkeys(sources)) or ("fused",)
    result: Table | Replayed
    with progress_call(not as_json and sys.stderr.isatty(), protocol) as progress:
        if protocol == "session-next-item":
            configured = configuration(config_file, shape, profile)
            result = run.sessions_table(path, configured, sources, k, part or "test", progress)
        elif protocol == "fixed-split":
            result = run.splits_table(path, configuration(config_file, shape, profile), sources, k, progress)
        elif protocol == "leave-one-out":
            result = run.leave_one_out_table(path, configuration(config_file, shape, profile), sources, k, progress)
        else:
            log = load_events(path)
            files = list(compare) if compare else [config_file]
            configured_all = [configuration(file, shape, profile or log.profile) for file in files]
            if compare and compare[0].stem == compare[1].stem:
                configured_all = [
                    one._replace(name=str(file)) for one, file in zip(configured_all, compare, strict=True)
                ]
            plan = Plan(k, sample, seed, start, end, only_new)
            result = run.replay_log(log, configured_all, sources, plan, progress)
    if html is not None:
        write_page(html, page.report_page(result, shlex.join(["headwater", *sys.argv[1:]])))
    if isinstance(result, run.Replayed):
        show(as_json, _replayed_json(result), None if as_json else page.replay_table(result))
    else:
        show(as_json, _table_json(result), None if as_json else page.accuracy_table(result))


def protocol_of(shape: str, protocol: str | None) -> str:
    """The protocol, which must be one of the format's."""
    if protocol is not None and protocol not in PROTOCOLS[shape]:
        raise click.UsageError(f"--format {shape} goes with --protocol {' or '.join(PROTOCOLS[shape])}")
    return protocol or PROTOCOLS[shape][0]


def configuration(file: Path | None, shape: str, profile: str | None) -> Configured:
    """The file's configuration, or what holds without one."""
    from headwater.evaluate import configured as files

    if file is not None:
        return files.load(file)
    if shape == "sessions" and profile is None:
        return files.for_sessions()
    return files.shipped(profile or "media")  # type: ignore[arg-type]


def _table_json(table: Table) -> dict[str, Any]:
    """One source: its figures at the top; several: by source."""
    extra = {"protocol": table.protocol, "notes": table.notes, "facts": table.facts}
    if len(table.rows) == 1:
        [(source, figures)] = table.rows.items()
        return {**figures, "source": source, **extra}
    return {"sources": table.rows, **extra}


def _refuse_beside(asked: str, needed: str, given: Mapping[str, object], where: str) -> None:
    """Options that would be passed over: the figures would not be those that were asked for."""
    for option, value in given.items():
        if value and asked != needed:
            raise click.UsageError(f"{option} goes with {where}")


def _replayed_json(result: Replayed) -> dict[str, Any]:
    """The first contender's figures at the top, everything below `report`."""
    report, first = result.report, result.contenders[0]
    figures = report.overall[first]
    top: dict[str, Any] = {f"{metric}@{report.k}": figures[metric] for metric in ("hr", "mrr", "ndcg")}
    top |= {"evaluations": report.targets, "skipped": result.facts["skipped"], "cold": report.cold}
    top |= {"query_us": figures["query_us"], "source": first, "protocol": result.protocol}
    return {**top, "notes": result.notes, "facts": result.facts, "report": report}


@click.command()
@click.option(
    "--format", "shape", type=click.Choice(["sessions", "split", "events"]), required=True, help="What the files hold."
)
@click.option("--path", type=click.Path(path_type=Path, exists=True), required=True, help="The folder or file.")
@click.option("--space", type=_toml, required=True, help="A configuration with a table [tune].")
@click.option("--source", default="fused", show_default=True, help="Which source answers.")
@click.option("--trials", type=click.IntRange(1, 100_000), default=50, show_default=True, help="Trials in all.")
@click.option(
    "--study", type=click.Path(path_type=Path, dir_okay=False), required=True, help="SQLite file of the study."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the best configuration here.")
@click.option("--k", type=int, default=20, show_default=True, help="Length of the list.")
@click.option(
    "--part", type=click.Choice(["valid", "tail"]), help="sessions: on what. Default: tail, the last 10 % of training."
)
@click.option(
    "--until", type=click.FloatRange(0, 0.9, min_open=True), help="events: a prefix of the log. Default: 0.3."
)
@click.option(
    "--sample", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Share of predictions, or users."
)
@click.option("--only-new", is_flag=True, help="events: nothing that the user touched before is listed or a target.")
@click.option("--seed", type=int, default=7, show_default=True)
@json_option
def tune(
    shape: str,
    path: Path,
    space: Path,
    source: str,
    trials: int,
    study: Path,
    out: Path | None,
    k: int,
    part: Part | None,
    until: float | None,
    sample: float,
    only_new: bool,
    seed: int,
    as_json: bool,
) -> None:
    """Search for a better configuration, never on the test part.

    \b
    sessions  on the validation part, or the last 10 % of training sessions
    split     on a tenth of the training rows, by the rest of them; of several splits the mean
    events    on a prefix of the log

    Interrupted, the same command goes on where it was; with more --trials, too.

    Example: headwater tune --format sessions --path data/diginetica --space space.toml --study study.sqlite3
    """
    from headwater.cli.output import facts
    from headwater.evaluate import run, tuning
    from headwater.progress import progress_call

    _refuse_beside(shape, "events", {"--only-new": only_new, "--until": until}, "--format events")
    _refuse_beside(shape, "sessions", {"--part": part}, "--format sessions")
    part, until = part or "tail", until or 0.3
    tried = tuning.load_space(space)
    measure = run.tuning_measure(
        shape,  # type: ignore[arg-type]
        path,
        source,
        tried.metric,
        k,
        part,
        sample,
        until,
        seed,
        only_new=only_new,
    )
    of_what = {"sessions": part, "split": "held-out", "events": f"{until}{' only new' * only_new}"}[shape]
    asked = f"{shape} {source} k={k} {of_what} sample={sample} seed={seed}"
    with progress_call(not as_json and sys.stderr.isatty(), "trials") as progress:
        found = tuning.search(tried, measure, asked, trials, study, seed, progress)
    if out is not None:
        comment = (
            f"best of {found.trials} trials, {asked}: {found.metric}@{k} {found.value:.4f} (base {found.base:.4f})"
        )
        out.write_text(tuning.as_toml(tried.table(found.values), comment), encoding="utf-8")
    rows = {f"{found.metric}@{k}": found.value, "of the base": found.base, "trials": found.trials, **found.values}
    show(as_json, found, None if as_json else facts("the best found", rows))
