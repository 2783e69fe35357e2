"""Commands on a cluster instead of a directory: `--url` takes the place of DIR.

headwater recommend shop bob                               the directory shop
headwater recommend --url nats://127.0.0.1:4222 bob        the cluster there
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headwater.client import SyncClient
    from headwater.config import Config
    from headwater.engine import Engine
    from headwater.events.jetstream_log import JetStreamLog
    from headwater.events.nats_options import NatsOptions

_SETTINGS = "headwater.cluster"
_LOGIN = {
    "inbox_prefix": "inbox_prefix",
    "nats_token": "token",
    "nats_user": "user",
    "nats_password": "password",
    "nkey": "nkey_seed_file",
    "creds": "creds_file",
    "tls_ca": "tls_ca",
    "tls_cert": "tls_cert",
    "tls_key": "tls_key",
    "tls_hostname": "tls_hostname",
}
"""Option -> field of `NatsOptions`."""


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        ctx.meta.setdefault(_SETTINGS, {})[str(param.name)] = value


def cluster_options(*, url_help: str) -> list[click.Option]:
    """`--url` and everything that goes with it. They are kept in the context, not passed to the command."""

    def option(names: list[str], **more: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=_remember, **more)

    return [
        option(["--url"], metavar="NATS", help=url_help),
        option(["--namespace"], help="Namespace of the cluster. Default: default."),
        option(["--nats-token"], envvar="HEADWATER_NATS_TOKEN", show_envvar=True, help="Token to log in with."),
        option(["--nats-user"], envvar="HEADWATER_NATS_USER", help="User to log in as."),
        option(["--nats-password"], envvar="HEADWATER_NATS_PASSWORD", show_envvar=True, help="Its password."),
        option(["--nkey"], metavar="FILE", help="An nkey seed to log in with."),
        option(["--creds"], metavar="FILE", help="A credentials file to log in with."),
        option(["--tls-ca"], metavar="FILE", help="Certificates to trust."),
        option(["--tls-cert"], metavar="FILE", help="This client's certificate."),
        option(["--tls-key"], metavar="FILE", help="Its key."),
        option(["--inbox-prefix"], help="Where answers are awaited, for users with narrow permissions."),
        option(["--tls-hostname"], help="Name in the server's certificate, where it is not the URL's."),
    ]


class RemoteCommand(click.Command):
    """A command whose DIR is left out when `--url` names a cluster."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params += cluster_options(url_help="Ask the cluster there instead of DIR.")

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """All parameters, without DIR where a URL stands for it."""
        params = super().get_params(ctx)
        return [p for p in params if p.name != "directory"] if ctx.meta.get(f"{_SETTINGS}.given") else params

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look for `--url` first: whether the first argument is a directory depends on it."""
        before = args[: args.index("--")] if "--" in args else args
        ctx.meta[f"{_SETTINGS}.given"] = any(arg == "--url" or arg.startswith("--url=") for arg in before)
        rest = super().parse_args(ctx, args)
        ctx.params.setdefault("directory", None)
        return rest


def remote() -> bool:
    """Whether the running command was given a cluster."""
    return "url" in click.get_current_context().meta.get(_SETTINGS, {})


def nats_options(name: str = "headwater-cli") -> NatsOptions:
    """How to reach the cluster that the running command was given. Raises `ConfigError`."""
    from headwater.events.nats_options import NatsOptions

    given = click.get_current_context().meta.get(_SETTINGS, {})
    login = {field: given[option] for option, field in _LOGIN.items() if option in given}
    url = {"url": given["url"]} if "url" in given else {}
    return NatsOptions(name=name, **url, **login)


def login_file(path: Path, url: str) -> NatsOptions:
    """`NatsOptions` of a TOML file, for servers at `url` unless it names others. Raises `ConfigError`."""
    import msgspec

    from headwater.config import load_table
    from headwater.errors import ConfigError
    from headwater.events.nats_options import NatsOptions

    try:
        return msgspec.convert({"url": url, **load_table(path)}, NatsOptions)
    except msgspec.ValidationError as err:
        rule = ", ".join(NatsOptions.__struct_fields__)
        raise ConfigError(f"{path}: {err}; allowed: {rule}", key=str(path), rule=rule) from err


def namespace() -> str:
    """The namespace that the running command was given."""
    return str(click.get_current_context().meta.get(_SETTINGS, {}).get("namespace", "default"))


def connect_remote(deadline_ms: int = 5000) -> SyncClient:
    """The cluster that the running command was given."""
    from headwater.client import connect_sync

    return connect_sync(namespace=namespace(), options=nats_options(), deadline_ms=deadline_ms)


@contextmanager
def remote_log() -> Iterator[tuple[JetStreamLog, Config]]:
    """The log of the cluster that the running command was given, for reading, with its configuration."""
    from headwater.cluster_log import cluster_log

    with cluster_log(nats_options(), namespace()) as found:
        yield found


@contextmanager
def remote_past() -> Iterator[Engine]:
    """An engine for questions about the past of the cluster that the running command was given."""
    from headwater.engine import Engine

    with remote_log() as (log, config), Engine.of_log(log, config) as engine:
        yield engine


def where(directory: Path | None) -> str:
    """What the running command works on, for messages."""
    return nats_options().shown if directory is None else str(directory)
