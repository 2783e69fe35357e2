"""Commands about a cluster: serve, stop, permissions."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headwater.cli.http_commands import gateway_config, serve_http
from headwater.cli.output import json_option, show
from headwater.cli.remote import cluster_options, connect_remote, login_file, namespace, nats_options, remote
from headwater.cli.store_commands import directory, profile_option
from headwater.config import Profile

if TYPE_CHECKING:
    from headwater.events.nats_options import NatsOptions

_NATS_PORT = 4222


class _ServeCommand(click.Command):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += cluster_options(url_help="The nats-server to use, or several with commas.")


class _StopCommand(click.Command):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += cluster_options(url_help="The cluster's nats-server. Default: nats://127.0.0.1:4222.")


@click.command(cls=_ServeCommand)
@directory
@click.option(
    "--http",
    is_flag=True,
    help="Answer over HTTP (JSON, gorse's interface, a page): before the cluster, or alone: this process, no cluster.",
)
@click.option("--host", help="With --http: address to listen on. Default: http.host of headwater.toml.")
@click.option("--workers", type=click.IntRange(1, 64), help="With --http: web worker processes.")
@click.option("--https-cert", metavar="FILE", help="With --http: answer over HTTPS with this certificate (PEM).")
@click.option("--https-key", metavar="FILE", help="The certificate's key (PEM, without a passphrase).")
@click.option("--http-port", type=click.IntRange(0, 65_535), help="With --http before a cluster. Default: http.port.")
@click.option(
    "--http-login",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="How the gateway logs in to NATS, as --host-login. Default: as serve does.",
)
@click.option("--embedded-nats", is_flag=True, help="Run the packaged nats-server for this machine.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    help="Of the packaged nats-server (default 4222); with --http alone where it listens (default http.port).",
)
@click.option(
    "--nats-include",
    "includes",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="More configuration for the packaged nats-server: users, TLS. Repeatable.",
)
@click.option(
    "--host-login",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="How hosts log in to NATS, as TOML: user, password, inbox_prefix, nkey_seed_file ... Default: as serve does.",
)
@click.option("--session-hosts", type=click.IntRange(1, 1024), help="Default: cluster.session_hosts of headwater.toml.")
@click.option("--item-hosts", type=click.IntRange(0, 256), help="Default: cluster.item_hosts of headwater.toml.")
@click.option("--ray-address", metavar="HOST:PORT", help="Join this Ray cluster instead of starting Ray here.")
@click.option("--processes", is_flag=True, help="Plain processes of this machine instead of Ray.")
@profile_option
@json_option
def serve(
    directory: Path,
    http: bool,
    host: str | None,
    workers: int | None,
    https_cert: str | None,
    https_key: str | None,
    http_port: int | None,
    http_login: Path | None,
    embedded_nats: bool,
    port: int | None,
    includes: tuple[Path, ...],
    host_login: Path | None,
    session_hosts: int | None,
    item_hosts: int | None,
    ray_address: str | None,
    processes: bool,
    profile: Profile | None,
    as_json: bool,
) -> None:
    """Run the cluster of DIR until Ctrl-C or `headwater stop`: log on JetStream, hosts on Ray, answers over NATS, with
    --http over HTTP too. With --http and neither --embedded-nats nor --url: the engine of DIR in this process.

    `headwater init` makes DIR; --profile does it in one step.

    A `serve` that was killed leaves its hosts running; the next one takes them over. With other numbers of hosts the
    old ones are drained and the new ones begin from their snapshots and the log.

    Example: headwater serve shop --embedded-nats --port 4222 --session-hosts 2 --item-hosts 2

    Example: headwater serve shop --embedded-nats --http --http-port 8088

    Example: headwater serve shop --http --port 8088
    """
    from headwater.store import check_made

    clustered = embedded_nats or remote()
    _check_used(http, clustered)
    if profile is None:
        check_made(directory)
    if http and not clustered:
        serve_http(directory, host, port, workers, profile, as_json, (https_cert, https_key))
        return
    if not clustered:
        raise click.UsageError("say what to serve: a cluster (--embedded-nats, or --url of a nats-server), or --http")
    from headwater.cluster.serve import ServeSettings, Serving

    options = nats_options("headwater-serve")
    if embedded_nats:
        if remote():
            raise click.UsageError("--embedded-nats and --url: give one of the two")
        port = port or _NATS_PORT
        options = msgspec.structs.replace(options, url=f"nats://127.0.0.1:{port}")
    settings = ServeSettings(
        profile=profile,
        directory=directory,
        nats=options,
        namespace=namespace(),
        embedded_port=port if embedded_nats else None,
        includes=includes,
        host_login=None if host_login is None else login_file(host_login, options.url),
        ray_address=ray_address,
        processes=processes,
        session_hosts=session_hosts,
        item_hosts=item_hosts,
        gateway=_gateway(
            directory,
            options,
            http_login,
            profile,
            host=host,
            port=http_port,
            workers=workers,
            tls_cert=https_cert,
            tls_key=https_key,
        )
        if http
        else None,
    )
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    asyncio.run(_serve(Serving, settings, as_json))


def _check_used(http: bool, clustered: bool) -> None:
    """Raise `UsageError` for an option that would do nothing: who asks for a certificate must not be served without."""
    before_cluster = ("http_port", "http_login")
    idle = ("host", "workers", "https_cert", "https_key", *before_cluster) if not http else before_cluster
    given = click.get_current_context().params
    for name in () if http and clustered else idle:
        if given[name] is not None:
            needed = "--http" if not http else "a cluster (--embedded-nats or --url); --port says where --http listens"
            raise click.UsageError(f"--{name.replace('_', '-')} does nothing without {needed}")


def _gateway(
    directory: Path,
    options: NatsOptions,
    login: Path | None,
    profile: Profile | None,
    **over: Any,
) -> bytes:
    """What the gateway beside the hosts is told: keys and [http] of the directory, `over` in place of the latter."""
    from headwater.http.gateway import GatewayTask
    from headwater.http.serve import checked_keys

    config = gateway_config(directory, profile, **over)
    checked_keys(config, directory)  # before anything is started: the gateway itself begins last
    nats = options if login is None else login_file(login, options.url)
    where = str(directory.resolve())
    return msgspec.json.encode(GatewayTask(nats=nats, namespace=namespace(), directory=where, config=config))


async def _serve(serving_type: Any, settings: Any, as_json: bool) -> None:
    started = time.monotonic()

    def say(message: str) -> None:
        if as_json:
            click.echo(msgspec.json.encode({"at": round(time.time(), 3), "message": message}).decode())
        else:
            click.echo(f"{time.monotonic() - started:8.1f} s  {message}")
        sys.stdout.flush()

    serving = serving_type(settings, say)
    try:
        await serving.run()
        say("stopping")
    finally:
        await serving.stop()
    say("stopped; what was acknowledged is in the log")


@click.command()
@directory
@click.option("--namespace", default="default", show_default=True)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["producer", "reader", "operator", "auditor", "gateway", "host", "serve"]),
)
@json_option
def permissions(directory: Path, namespace: str, roles: tuple[Any, ...], as_json: bool) -> None:
    """Print users with the least permissions for the cluster of DIR, as nats-server configuration.

    Example: headwater permissions shop > users.conf
    """
    from headwater.cluster.permissions import ROLES, server_config
    from headwater.core import generation_of
    from headwater.store import check_made, directory_config

    check_made(directory)  # the subjects are those of its generation
    config = directory_config(directory)
    text = server_config(namespace, generation_of(config.generation), roles or ROLES)
    if as_json:
        text = msgspec.json.encode({"namespace": namespace, "config": text}).decode() + "\n"
    click.echo(text, nl=False)


@click.command(cls=_StopCommand)
@json_option
def stop(as_json: bool) -> None:
    """Drain and end a cluster: its hosts stop answering, write what is queued, write snapshots, and leave.

    Example: headwater stop --url nats://127.0.0.1:4222
    """
    with connect_remote() as client:
        plain = client.stop_cluster()
    show(as_json, plain, f"told to stop (serve is process {plain['pid']})")
