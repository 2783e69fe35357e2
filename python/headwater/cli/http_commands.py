"""Commands about the HTTP gateway: key, and `serve --http`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from headwater.cli.output import json_option, show
from headwater.cli.remote import cluster_options, namespace, nats_options
from headwater.cli.store_commands import existing_directory
from headwater.config import Profile

if TYPE_CHECKING:
    from headwater.http_config import HttpConfig

Say = Callable[[dict[str, Any]], None]
_ROLES = ("reader", "writer", "admin")


def serve_http(
    directory: Path,
    host: str | None,
    port: int | None,
    workers: int | None,
    profile: Profile | None,
    as_json: bool,
    tls: tuple[str | None, str | None] = (None, None),
) -> None:
    """Open the engine in a directory and answer over HTTP until Ctrl-C.

    Without keys (`headwater key add`) it answers everybody, so it listens on a loopback address only.
    `tls`: files of the certificate and of its key.
    """
    from headwater.http.serve import serve_directory

    over = dict(zip(("tls_cert", "tls_key"), tls, strict=True))
    serve_directory(directory, announce(as_json), profile, host=host, port=port, workers=workers, **over)


def announce(as_json: bool) -> Say:
    """What tells where a server listens."""

    def say(facts: dict[str, Any]) -> None:
        if as_json:
            click.echo(msgspec.json.encode(facts).decode())
            sys.stdout.flush()
            return
        click.echo(
            f"live page  {facts['url']}/\nquestions  {facts['url']}/v1/...\ndocument   {facts['url']}/openapi.json"
        )
        if facts["keys"] == "none":
            click.echo(
                "WARNING: there are no API keys. Every program on this machine can read, write and forget.\n"
                "         headwater key add DIR NAME --role admin   makes one.",
                err=True,
            )
        click.echo("Ctrl-C stops it; what was acknowledged is kept.")
        sys.stdout.flush()

    return say


class _GatewayCommand(click.Command):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += cluster_options(url_help="The cluster's nats-server. Default: nats://127.0.0.1:4222.")


@click.command(cls=_GatewayCommand)
@click.option(
    "--keys",
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Directory of the API keys (`headwater key add DIR`) and of a headwater.toml with [http]. Default: no keys.",
)
@click.option("--host", help="Address to listen on. Default: http.host, 127.0.0.1.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Where it listens. Default: http.port, 8088; 0: a free one."
)
@click.option("--workers", type=click.IntRange(1, 64), help="Web worker processes. Default: http.workers, 1.")
@click.option("--https-cert", metavar="FILE", help="Answer over HTTPS with this certificate (PEM).")
@click.option("--https-key", metavar="FILE", help="The certificate's key (PEM, without a passphrase).")
@json_option
def gateway(
    directory: Path | None,
    host: str | None,
    port: int | None,
    workers: int | None,
    https_cert: str | None,
    https_key: str | None,
    as_json: bool,
) -> None:
    """Answer over HTTP in front of a running cluster, until Ctrl-C: the addresses of `serve --http`, the same keys and
    limits. Any number of gateways may stand before one cluster; each web worker asks the hosts itself.

    Example: headwater gateway --url nats://127.0.0.1:4222 --keys shop --workers 2
    """
    from headwater.http.gateway import GatewayTask, serve_gateway

    over: dict[str, Any] = {"tls_cert": https_cert, "tls_key": https_key}
    config = gateway_config(directory, host=host, port=port, workers=workers, **over)
    where = None if directory is None else str(directory)
    task = GatewayTask(nats=nats_options("headwater-gateway"), namespace=namespace(), directory=where, config=config)
    serve_gateway(task, announce(as_json))


def gateway_config(directory: Path | None, profile: Profile | None = None, **over: Any) -> HttpConfig:
    """`[http]` of a directory's headwater.toml, with what options say in its place."""
    from headwater.http_config import HttpConfig
    from headwater.store import directory_config

    config = HttpConfig() if directory is None else directory_config(directory, profile).http
    return msgspec.structs.replace(config, **{name: value for name, value in over.items() if value is not None})


@click.group()
def key() -> None:
    """API keys of the HTTP gateway: made, listed, taken away. Only their hashes are kept."""


@key.command("add")
@existing_directory
@click.argument("name")
@click.option("--role", type=click.Choice(_ROLES), default="reader", show_default=True, help="What it may do.")
@json_option
def key_add(directory: Path, name: str, role: Any, as_json: bool) -> None:
    """Make the key NAME and print it, once.

    reader: asks. writer: also writes. admin: also sees the live page and metrics of the engine, audits, forgets users.

    Example: headwater key add shop php-site --role writer
    """
    from headwater.http.keys import add_key

    secret = add_key(directory, name, role)
    show(as_json, {"name": name, "role": role, "key": secret}, secret)


@key.command("list")
@existing_directory
@json_option
def key_list(directory: Path, as_json: bool) -> None:
    """Names and roles of the keys.

    Example: headwater key list shop
    """
    from headwater.http.keys import read_keys

    keys = [{"name": key.name, "role": key.role, "created": key.created} for key in read_keys(directory)]
    show(as_json, {"keys": keys}, "\n".join(f"{key['name']}  {key['role']}" for key in keys) or "no keys")


@key.command("remove")
@existing_directory
@click.argument("name")
@json_option
def key_remove(directory: Path, name: str, as_json: bool) -> None:
    """Take the key NAME away; a running server refuses it within a second.

    Example: headwater key remove shop php-site
    """
    from headwater.http.keys import remove_key

    remove_key(directory, name)
    show(as_json, {"removed": name}, f"removed {name}")
