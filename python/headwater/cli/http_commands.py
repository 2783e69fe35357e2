"""Commands about the HTTP gateway: key, and `serve --http`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from headwater.cli.output import json_option, show
from headwater.cli.store_commands import existing_directory
from headwater.config import Profile

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
    """Open the engine in a directory (made if absent) and answer over HTTP until Ctrl-C.

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
