"""The command `headwater`.

* `output`: JSON or tables, one way for all commands.
* `errors`: exceptions to one line and an exit code: 2 for a value that must be corrected, 1 for a failure.
* `store_commands`: init, status, snapshot, verify, replay, forget.
* `operations_commands`: merge, sync, backup, restore, archive.
* `travel_commands`: shadow.
* `data_commands`: import, validate, export.
* `query_commands`: track, recommend, similar, session, trending, explain.
* `measure_commands`: demo, bench. `load_commands`: bench latency. `log_commands`: bench ingest, rebuild,
  operations, guard.
* `cluster_commands`: serve, stop, permissions; `remote`: `--url` in the place of DIR; `host_table`: its status.
* `report_commands`: report.
* `evaluate_commands`: evaluate, tune.
* `http_commands`: gateway, key, and `serve --http`.

Commands only read arguments, call the library and show what it returns.
"""

from __future__ import annotations

import click

from headwater.cli.cluster_commands import permissions, serve, stop
from headwater.cli.data_commands import export, import_, validate
from headwater.cli.errors import ErrorReportingGroup
from headwater.cli.evaluate_commands import evaluate, tune
from headwater.cli.http_commands import gateway, key
from headwater.cli.load_commands import latency
from headwater.cli.log_commands import guard, ingest, operations, rebuild
from headwater.cli.measure_commands import bench, demo
from headwater.cli.operations_commands import archive, backup, merge, restore, sync
from headwater.cli.query_commands import explain, rank, recommend, session, similar, track, trending
from headwater.cli.report_commands import report
from headwater.cli.store_commands import forget, init, replay, snapshot, status, verify
from headwater.cli.travel_commands import shadow


@click.group(cls=ErrorReportingGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="headwater")
def main() -> None:
    """Real-time recommendations from one event log.

    \b
    headwater init shop                                  make a directory with a commented headwater.toml
    headwater import shop events.csv                     bulk import, resumable
    headwater recommend shop bob -n 10                   ten items for bob, with reasons
    headwater demo                                       all of it on a simulated shop

    Every command takes --json and explains itself with --help.
    """


for command in (
    init,
    demo,
    import_,
    export,
    validate,
    track,
    recommend,
    rank,
    similar,
    session,
    trending,
    explain,
    status,
    snapshot,
    verify,
    replay,
    shadow,
    sync,
    merge,
    backup,
    restore,
    archive,
    report,
    forget,
    serve,
    gateway,
    stop,
    permissions,
    evaluate,
    tune,
    key,
    bench,
):
    main.add_command(command)
for measurement in (latency, ingest, rebuild, operations, guard):
    bench.add_command(measurement)
