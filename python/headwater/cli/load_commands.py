"""Commands that measure under load: bench latency."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from headwater.cli.errors import FAILURE
from headwater.cli.output import json_option, options, show, update_option

_asking = options(
    click.option(
        "--mix",
        help="Verbs and their weights; also session, trending. Default: recommend=0.7,similar=0.1,track=0.2; of a "
        "cluster without track, which writes to its log, and so without freshness.",
    ),
    click.option(
        "--arrivals",
        type=click.Choice(["poisson", "constant"]),
        default="poisson",
        show_default=True,
        help="Gaps between requests: random as of independent visitors, or all alike.",
    ),
    click.option("--n", type=click.IntRange(1, 1000), default=10, show_default=True, help="Items asked for."),
    click.option("--scenario", help="A scenario of the target's configuration."),
    click.option("--filter", "filter_text", help="A filter for every slate."),
    click.option(
        "--record/--no-record", default=None, help="Whether slates are recorded. Default: as the target does."
    ),
    click.option("--seed", type=int, default=1, show_default=True, help="Of arrival times, verbs, users and items."),
)
_population = options(
    click.option(
        "--users",
        "choice",
        type=click.Choice(["log", "zipf", "uniform"]),
        default="log",
        show_default=True,
        help="Users and items as often as in the target's log, by Zipf's law over their rank there, or all alike.",
    ),
    click.option(
        "--exponent", type=click.FloatRange(0, 5), default=1.0, show_default=True, help="Zipf's exponent, for zipf."
    ),
    click.option(
        "--strangers",
        type=click.FloatRange(0, 1),
        default=0.05,
        show_default=True,
        help="Share of the users whom nobody knows.",
    ),
)


@click.command()
@click.option(
    "--target",
    required=True,
    help="An engine's directory, of which a copy is measured, or nats://127.0.0.1:PORT, a cluster on this machine.",
)
@click.option("--rate", default="200,500,1000", show_default=True, help="Requests a second, one after the other.")
@click.option(
    "--duration",
    type=click.FloatRange(0.5, 3600),
    default=20.0,
    show_default=True,
    help="Seconds of load at each rate; as many again for each floor.",
)
@_asking
@_population
@click.option("--namespace", default="default", show_default=True, help="Cluster: which one on that server.")
@click.option("--owners", is_flag=True, help="Cluster: ask the host that owns the user, as the Python client does.")
@click.option(
    "--sdk", is_flag=True, help="Cluster: track with the Python client, which packs what is under way into frames."
)
@click.option(
    "--population",
    type=click.Path(path_type=Path, exists=True),
    help="Cluster: users and items of this engine's directory, where the server holds no log to draw them from.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="Embedded: threads that ask, as an application has them.",
)
@click.option(
    "--clock",
    type=click.Choice(["log", "wall"]),
    default="log",
    show_default=True,
    help="Embedded: what is now. The log's last event, or the wall clock.",
)
@click.option("--floors/--no-floors", default=True, show_default=True, help="Measure the floors in turns with it.")
@click.option(
    "--probes", type=click.FloatRange(0, 1000), default=50.0, show_default=True, help="Freshness probes a second."
)
@click.option(
    "--patience",
    type=click.FloatRange(0.1, 600),
    default=5.0,
    show_default=True,
    help="Seconds after which a request is given up.",
)
@click.option(
    "--dir",
    "scratch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Where the copy lies, in a temporary folder that is removed. Default: the system's.",
)
@click.option(
    "--saturation", is_flag=True, help="Also look for the highest rate that it keeps up with, and measure half."
)
@click.option(
    "--overload", type=click.FloatRange(1, 20), help="Also put so many times that rate on it, then half of it again."
)
@click.option(
    "--compare",
    "earlier",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="An earlier run's JSON, to be set beside this one.",
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Also write a page: a .html.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it: a .png or .svg.")
@update_option
@json_option
def latency(
    target: str,
    rate: str,
    duration: float,
    mix: str | None,
    arrivals: str,
    n: int,
    scenario: str | None,
    filter_text: str | None,
    record: bool | None,
    seed: int,
    choice: str,
    exponent: float,
    strangers: float,
    namespace: str,
    owners: bool,
    sdk: bool,
    population: Path | None,
    workers: int,
    clock: str,
    floors: bool,
    probes: float,
    patience: float,
    scratch: Path | None,
    saturation: bool,
    overload: float | None,
    earlier: Path | None,
    report: Path | None,
    plot: Path | None,
    update: Path | None,
    as_json: bool,
) -> None:
    """Open-loop latency at several rates: percentiles by verb from when each request was due, beside floors of the
    same shape in the same run, with freshness, CPU and memory.

    Example: headwater bench latency --target shop --rate 200,500 --duration 20 --json
    """
    from rich.console import Console

    from headwater.bench import markdown
    from headwater.bench.latency.charts import latency_page, plot_latency
    from headwater.bench.latency.compare import check_comparable, compare, read_run
    from headwater.bench.latency.embedded_load import EmbeddedOptions
    from headwater.bench.latency.nats_options import NatsOptions, is_address
    from headwater.bench.latency.run import LoadSettings, machine_of, run_latency
    from headwater.bench.latency.schedule import DEFAULT_MIX, READING_MIX, mix_of, rates_of
    from headwater.bench.latency.show import latency_tables
    from headwater.bench.latency.targets import embedded_target, nats_target
    from headwater.report_page import check_page_name, write_page

    if report is not None:
        check_page_name(report, "report")
    cluster = is_address(target)
    shares = mix_of(mix, READING_MIX if cluster else DEFAULT_MIX)
    common: dict[str, Any] = {"n": n, "scenario": scenario, "filter": filter_text, "record": record}
    common |= {"choice": choice, "exponent": exponent, "strangers": strangers}
    rates = rates_of(rate)
    before = None if earlier is None else read_run(earlier)
    if before is not None:
        check_comparable(rates, before, str(earlier))
    settings = LoadSettings(
        rates=rates,
        mix=shares,
        duration_s=duration,
        arrivals=arrivals,  # type: ignore[arg-type]
        seed=seed,
        floors=floors,
        probes=probes if "track" in shares else 0.0,
        patience_s=patience,
        saturation=saturation,
        overload=overload,
        asking=common,
    )
    if cluster:
        asked = NatsOptions(**common, url=target, namespace=namespace, owners=owners, sdk=sdk, verbs=list(shares))
        opening = nats_target(asked, population, floors=floors)
    else:
        embedded = EmbeddedOptions(**common, directory="", workers=workers, clock=clock)  # type: ignore[arg-type]
        opening = embedded_target(Path(target), embedded, scratch)
    status = Console(stderr=True).status("opening the target")
    with status, opening as opened:
        run = run_latency(opened, settings, machine_of(scratch), lambda what: status.update(f"measuring: {what}"))
    if before is not None and run.complete:
        run.compared = compare(run, before, str(earlier))
    if report is not None:
        write_page(report, latency_page(run))
    if plot is not None:
        plot_latency(run, plot)
    if update is not None:
        markdown.update(update, markdown.latency_sections(run))
    show(as_json, run, None if as_json else latency_tables(run))
    if not run.complete:
        click.echo(f"headwater: {run.ended}; what is shown is partial", err=True)
        sys.exit(FAILURE)
