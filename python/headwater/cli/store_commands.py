"""Commands about a directory: init, status, snapshot, verify, replay, forget."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from headwater.cli.host_table import show_hosts
from headwater.cli.output import facts, json_option, show
from headwater.cli.remote import RemoteCommand, connect_remote, namespace, nats_options, remote_log, where
from headwater.config import Profile

# For commands that make the directory or say what makes it; the others take one that is there.
directory = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
existing_directory = click.argument(
    "directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False, exists=True)
)
profile_option = click.option("--profile", type=click.Choice(["shop", "media"]), help="Defaults for a new directory.")


@click.command()
@directory
@click.option("--profile", type=click.Choice(["shop", "media"]), default="shop", show_default=True)
@json_option
def init(directory: Path, profile: Profile, as_json: bool) -> None:
    """Make DIR with a commented headwater.toml. Nothing that is there already is changed.

    Example: headwater init shop --profile shop
    """
    from headwater.cli.template import write_template

    path, created = write_template(directory, profile)
    plain = {"path": str(path), "created": created}
    show(as_json, plain, f"{'wrote' if created else 'kept'} {path}; defaults work as they are")


@click.command(cls=RemoteCommand)
@existing_directory
@json_option
def status(directory: Path | None, as_json: bool) -> None:
    """Position, counts, bytes and refusals of the engine in DIR, also while another process writes to it; with --url
    every host of a cluster.

    Example: headwater status shop --json
    """
    from headwater.engine import Engine

    if directory is None:
        show_hosts(as_json)
        return

    with Engine.open(directory, read_only=True) as engine:
        plain = engine.status()
    show(as_json, plain, facts(f"{directory}", plain))


@click.command()
@existing_directory
@json_option
def snapshot(directory: Path, as_json: bool) -> None:
    """Write a snapshot, so that the next start folds only what came after it.

    Example: headwater snapshot shop
    """
    from headwater.engine import Engine
    from headwater.store import check_begun

    check_begun(directory)
    with Engine.open(directory) as engine:
        started = time.perf_counter()
        path = engine.snapshot()
        plain = {"path": path, "position": engine.position, "seconds": time.perf_counter() - started}
    show(as_json, plain, f"{path} in {plain['seconds']:.2f} s")


@click.command(cls=RemoteCommand)
@existing_directory
@click.option("--threads", type=click.IntRange(1, 256), help="Fold threads; the digests do not depend on it.")
@click.option("--slates", is_flag=True, help="Make every recorded slate again, too, and compare it with its record.")
@json_option
def verify(directory: Path | None, threads: int | None, slates: bool, as_json: bool) -> None:
    """Check every frame and snapshot in DIR, and that replay and snapshot + tail give the same state. Exits 1 if not.

    With --url: every frame of the cluster's log, and that each host's state is what a replay gives at its position.

    Example: headwater verify shop --slates --json
    """
    from headwater.progress import progress_call
    from headwater.store import directory_config
    from headwater.verify import verify_directory, verify_hosts

    with progress_call(slates and not as_json and sys.stderr.isatty(), "slates") as call:
        if directory is None:
            with connect_remote() as client:
                hosts = client.digest()
            with remote_log() as (log, config):
                threads = threads or config.engine.threads
                report = verify_hosts(log, config, threads, hosts, slates=slates, progress=call)
        else:
            config = directory_config(directory)
            report = verify_directory(directory, config, threads or config.engine.threads, slates, call)
    lines = [f"{p.where}: {p.what}" for p in report.problems] or ["all equal"]
    rows = {"frames": report.frames, "position": report.position, **report.digest}
    if report.slates is not None:
        rows["slates made again"] = f"{report.slates.identical:,} of {report.slates.slates:,}"
    rows["result"] = "\n".join(lines)
    show(as_json, report.to_dict(), facts(f"verify {where(directory)}", rows))
    if not report.equal:
        sys.exit(1)


@click.command(cls=RemoteCommand)
@existing_directory
@click.option("--until", type=click.IntRange(min=0), help="Stop after this position (not with --to).")
@click.option("--threads", type=click.IntRange(1, 256), help="Fold threads (not with --to).")
@click.option(
    "--to", "target", type=click.Path(path_type=Path, file_okay=False), help="Build the next generation here."
)
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path, dir_okay=False), help="Its headwater.toml (with --to)."
)
@click.option("--slate", help="Make this slate again from the log and its record, and compare. Exits 1 if it differs.")
@json_option
def replay(
    directory: Path | None,
    slate: str | None,
    until: int | None,
    threads: int | None,
    target: Path | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Fold the log of DIR from its first frame and print rate and digest; with --to, into a new generation; with
    --slate, up to a slate, which is made again. With --url the log of a cluster is folded here.

    Example: headwater replay shop --slate 3-17
    """
    from headwater.regenerate import regenerate, replay_directory, replay_log

    if slate is not None:
        if target is not None or config_file is not None or until is not None:
            raise click.UsageError("--slate says where to fold to: --to, --config and --until do not go with it")
        _replay_slate(directory, slate, threads, as_json)
        return
    if directory is None:
        if target is not None or config_file is not None:
            raise click.UsageError("--to takes a directory: `headwater backup --url` and `headwater restore` make one")
        with remote_log() as (log, config):
            plain = replay_log(log, config, None, until, threads)
        show(as_json, plain, facts(f"replay {where(None)}", {k: v for k, v in plain.items() if k != "parts"}))
        return
    if target is not None:
        if until is not None or threads is not None:
            raise click.UsageError("--to copies the whole log: --until and --threads do not go with it")
        plain = regenerate(directory, target, config_file, progress=not as_json and sys.stderr.isatty())
        show(as_json, plain, facts(f"{directory} -> {target}", plain))
        return
    if config_file is not None:
        raise click.UsageError("--config needs --to: running state keeps its generation")
    plain = replay_directory(directory, until, threads)
    show(as_json, plain, facts(f"replay {directory}", {k: v for k, v in plain.items() if k != "parts"}))


def _replay_slate(directory: Path | None, slate: str, threads: int | None, as_json: bool) -> None:
    from headwater.slate_replay import replay_of, replay_slate

    if directory is None:
        with remote_log() as (log, config):
            replay = replay_of(slate, log, config, threads=threads)
    else:
        replay = replay_slate(directory, slate, threads)
    show(as_json, replay.to_dict(), replay)
    if not replay.identical:
        sys.exit(1)


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("user")
@click.option("--erase", "erased", is_flag=True, help="Write the log anew without their events; prints a receipt.")
@click.option(
    "--check",
    "receipt",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="RECEIPT",
    help="Change nothing: say whether RECEIPT is this directory's, for USER.",
)
@click.option(
    "--receipts",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="With --url and --erase: where the receipt is kept, and the next log while it is built.",
)
@json_option
def forget(
    directory: Path | None, user: str, erased: bool, receipt: Path | None, receipts: Path | None, as_json: bool
) -> None:
    """Drop USER's state at once, and that of ids merged with theirs: from now on they are an unknown visitor.

    What they added to counts stays, and so do their events in the log, in exports and in copies made by `replay --to`.
    With --erase the log, snapshots and dead letters are written anew without them, and the state is the one of a log
    that never had them; copies taken before are not touched. Of a cluster (--url) the stream is made anew, and hosts do
    not answer until they have folded it.

    Example: headwater forget shop bob --erase --json
    """
    from headwater.engine import Engine
    from headwater.receipts import check
    from headwater.store import check_begun

    if directory is None:
        _forget_on_cluster(user, erased, receipts, as_json)
        return
    check_begun(directory)
    if receipt is not None:
        plain = {"user": user, "valid": True, **check(directory, receipt, user).to_dict()}
        show(as_json, plain, facts(f"{receipt}", plain))
        return
    with Engine.open(directory) as engine:
        if erased:
            done = engine.erase(user)
            plain = {"user": user, "receipt": str(done.file), **done.receipt.to_dict()}
            show(as_json, plain, facts(f"erased {user}", plain))
            return
        plain = {"user": user, "position": engine.forget(user)}
    show(as_json, plain, f"forgot {user} at position {plain['position']}")


def _forget_on_cluster(user: str, erased: bool, receipts: Path | None, as_json: bool) -> None:
    if not erased:
        with connect_remote() as client:
            plain = {"user": user, "position": client.forget(user)}
        show(as_json, plain, f"forgot {user} at position {plain['position']}")
        return
    from headwater.client.erasing import erase_from_cluster
    from headwater.wall_clock import wall_clock

    if receipts is None:
        raise click.UsageError("--erase with --url needs --receipts DIR: where the receipt and the next log are kept")

    def say(text: str) -> None:
        click.echo(text, err=True)

    with connect_remote() as client:
        done = erase_from_cluster(client, nats_options(), namespace(), user, receipts, wall_clock(), say)
    plain = {"user": user, "receipt": str(done.file), **done.receipt.to_dict()}
    show(as_json, plain, facts(f"erased {user}", plain))
