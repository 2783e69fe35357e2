"""Commands of a shop's operation: merge, sync, backup, restore, archive."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.data_commands import mapping, table_options
from headwater.cli.output import facts, json_option, show
from headwater.cli.remote import RemoteCommand, connect_remote, namespace, nats_options, remote_log, where
from headwater.cli.store_commands import existing_directory

if TYPE_CHECKING:
    from headwater.backup import BackupReport


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("from_user", metavar="FROM")
@click.argument("into_user", metavar="INTO")
@json_option
def merge(directory: Path | None, from_user: str, into_user: str, as_json: bool) -> None:
    """Say that the visitor FROM turned out to be the user INTO: their history joins, and FROM means INTO from now on.

    Example: headwater merge shop anon-81f2 bob --json
    """
    from headwater.engine import Engine
    from headwater.store import check_begun

    if directory is None:
        with connect_remote() as client:
            report = client.merge(from_user, into_user)
    else:
        check_begun(directory)
        with Engine.open(directory) as engine:
            report = engine.merge(from_user, into_user)
    plain = report.to_dict()
    show(as_json, plain, facts(f"{report.from_user} is {report.into_user}", plain))


@click.command(cls=RemoteCommand)
@existing_directory
@table_options
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@click.option("--allow-shrink", is_flag=True, help="Go on even if most of the visible items would vanish.")
@json_option
def sync(
    directory: Path | None,
    file: Path,
    columns: tuple[str, ...],
    format: str | None,
    dry_run: bool,
    allow_shrink: bool,
    as_json: bool,
) -> None:
    """Make the catalogue of DIR what the full product feed FILE (CSV, JSONL, Parquet) says.

    New items are put, changed ones patched, those that the feed no longer has are hidden until they are back. A feed
    without more than 30 % of the visible items is refused. The same feed again writes nothing.

    Example: headwater sync shop feed.csv -c item=sku --dry-run
    """
    from headwater.engine import Engine
    from headwater.feed_sync import MAX_SHRINK, shown
    from headwater.store import check_begun

    if directory is not None:
        check_begun(directory)
    with connect_remote() if directory is None else Engine.open(directory) as engine:
        report = engine.sync_items(
            file,
            columns=mapping(columns),
            format=format,
            dry_run=dry_run,
            max_shrink=1.0 if allow_shrink else MAX_SHRINK,
        )
    plain = report.to_dict()
    rows = plain | {"examples": "\n".join(f"{kind}: {shown(some)}" for kind, some in report.examples.items() if some)}
    show(as_json, plain, facts(f"{file} -> {where(directory)}", rows))


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("destination", metavar="DEST", type=click.Path(path_type=Path, file_okay=False))
@json_option
def backup(directory: Path | None, destination: Path, as_json: bool) -> None:
    """Copy the log of DIR and a snapshot to DEST, also while another process writes. Again: only what came since.

    DEST says the digest of the state at its position; `headwater restore` compares it. With --url the log of a cluster:
    its state is folded here, and compared with that of the hosts.

    Example: headwater backup shop /mnt/backup/shop
    """
    from headwater.engine import Engine
    from headwater.store import check_begun

    if directory is None:
        report = _backup_cluster(destination, not as_json and sys.stderr.isatty())
    else:
        check_begun(directory)
        with Engine.open(directory, read_only=True) as engine:
            report = engine.backup(destination)
    show(as_json, report.to_dict(), facts(f"{where(directory)} -> {destination}", report.to_dict()))


def _backup_cluster(destination: Path, progress: bool) -> BackupReport:
    from headwater.cluster_backup import backup_cluster
    from headwater.progress import progress_call
    from headwater.wall_clock import wall_clock

    with connect_remote() as client:
        hosts = client.digest()
    with remote_log() as (log, config), progress_call(progress, "backup") as call:
        return backup_cluster(log, config, hosts, destination, wall_clock(), call)


@click.command(cls=RemoteCommand)
@click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path, file_okay=False))
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--threads", type=click.IntRange(1, 256), help="Fold threads; the digest does not depend on it.")
@json_option
def restore(source: Path, directory: Path | None, threads: int | None, as_json: bool) -> None:
    """Make the new directory DIR from the backup SOURCE: every frame checked, the log folded, the digest compared.

    DIR appears when all of that is done. With --url a new log on JetStream is made instead, for `headwater serve`.

    Example: headwater restore /mnt/backup/shop shop
    """
    from headwater.backup import restore as restore_backup
    from headwater.progress import progress_call

    if not source.exists():
        raise click.BadParameter(f"Directory '{source}' does not exist.", param_hint="SOURCE")
    with progress_call(not as_json and sys.stderr.isatty(), "restore") as call:
        if directory is None:
            from headwater.cluster_backup import restore_to_cluster

            report = restore_to_cluster(source, nats_options(), namespace(), threads, call)
        else:
            report = restore_backup(source, directory, threads, call)
    show(as_json, report.to_dict(), facts(f"{source} -> {where(directory)}", report.to_dict()))


@click.command(cls=RemoteCommand)
@existing_directory
@click.option("--restore", "back", is_flag=True, help="Put archived events back below the log instead.")
@json_option
def archive(directory: Path | None, back: bool, as_json: bool) -> None:
    """Move events that the state no longer needs from the log of DIR to Parquet files in DIR/archive.

    Everything up to the oldest kept snapshot goes; without a snapshot one is written. Snapshot and files are verified
    before anything is trimmed.

    Not of a cluster (--url): see the guide on operations for what to do there.

    Example: headwater archive shop --json
    """
    from headwater.engine import Engine
    from headwater.errors import StoreError
    from headwater.store import check_begun

    if directory is None:
        raise StoreError(
            "the log of a cluster is not archived: hosts, erasures and questions about the past need its first frame. "
            "Copy it with `headwater backup --url NATS DEST`, and give the stream room"
        )
    check_begun(directory)
    with Engine.open(directory) as engine:
        if back:
            plain = engine.unarchive().to_dict()
        else:
            if not engine.status()["snapshots"]:
                engine.snapshot()
            plain = engine.archive().to_dict()
    show(as_json, plain, facts(f"archive {directory}", plain))
