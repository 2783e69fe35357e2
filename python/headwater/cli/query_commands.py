"""Commands that track or ask: track, recommend, rank, similar, session, trending, explain.

Questions open the directory read-only, so they work beside a running writer; `recommend --record` writes the slate's
record.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import msgspec

from headwater.cli.output import json_option, options, show
from headwater.cli.remote import RemoteCommand, connect_remote, remote_past
from headwater.cli.store_commands import directory, existing_directory, profile_option
from headwater.config import Profile
from headwater.engine import Engine
from headwater.errors import InvalidQuery, Unavailable
from headwater.scenario import Metric
from headwater.slate import Explanation, Slate
from headwater.store import check_begun, check_made

_METRICS = Metric.__args__  # type: ignore[attr-defined]


def _position_or_slate(ctx: click.Context, param: click.Parameter, value: str | None) -> int | str | None:
    """Digits are a log position, anything else the id of a slate."""
    return int(value) if value is not None and value.isdecimal() else value


_as_of_option = click.option(
    "--as-of",
    metavar="POS|SLATE",
    callback=_position_or_slate,
    help="Ask the state after this log position, or the one that answered this slate.",
)
_query_options = options(
    click.option("-n", "n", type=int, default=10, show_default=True, help="How many items."),
    click.option("--now", type=int, help="Time of the question, UTC ms. Default: the last event's time."),
    click.option("--exclude", multiple=True, metavar="ITEM", help="Never show this item. Repeatable."),
    _as_of_option,
)


_slate_options = options(
    click.option("--scenario", help="Which scenario of the configuration answers."),
    click.option(
        "--filter",
        "filter_",
        metavar="EXPR",
        help="Only items that pass, e.g. \"price < 50 and 'shoes' in categories\".",
    ),
    click.option(
        "--param", "params", multiple=True, metavar="NAME=VALUE", help="A parameter of the filter. Repeatable."
    ),
    click.option("--diversity", type=float, help="0 (by score alone) to 1."),
    click.option("--exploration", type=float, help="Expected share of slots that differ from the best slate, 0 to 1."),
    click.option("--features", is_flag=True, help="Give the features of every candidate (with --json)."),
)


class Asked(msgspec.Struct, frozen=True):
    """What `_slate_options` gave."""

    scenario: str | None
    filter_: str | None
    params: tuple[str, ...]
    diversity: float | None
    exploration: float | None
    features: bool

    def arguments(self) -> dict[str, Any]:
        """As arguments of `Engine.recommend`. A value that reads as JSON is what it reads as, any other is text."""
        params = {}
        for entry in self.params:
            name, equals, value = entry.partition("=")
            if not equals:
                raise click.UsageError(f"--param {entry}: NAME=VALUE is needed, e.g. --param max=50")
            try:
                params[name] = json.loads(value)
            except json.JSONDecodeError:
                params[name] = value
        return {
            "scenario": self.scenario,
            "filter": self.filter_,
            "params": params,
            "diversity": self.diversity,
            "exploration": self.exploration,
            "features": self.features,
        }


def _open(directory: Path | None, record: bool = False, as_of: int | str | None = None) -> Any:
    """The engine of DIR, or with `--url` a client of the cluster: both have the verbs. The past is asked of its log."""
    if directory is None:
        return connect_remote() if as_of is None else remote_past()
    check_begun(directory)
    return Engine.open(directory, read_only=not record, clock="log")


def _show_slate(as_json: bool, slate: Slate) -> None:
    show(as_json, slate.to_dict(), slate)


@click.command(cls=RemoteCommand)
@directory
@click.argument("type")
@click.option("--user", required=True)
@click.option("--item", required=True)
@click.option("--ts", type=int, help="Event time, UTC ms. Default: now.")
@click.option("--value", type=float)
@click.option("--event-id", help="A retry with the same id has no second effect.")
@click.option("--session")
@click.option("--basket")
@click.option("--slate", help="The slate that this answers.")
@click.option("--slot", type=int)
@profile_option
@json_option
def track(
    directory: Path | None,
    type: str,
    user: str,
    item: str,
    ts: int | None,
    value: float | None,
    event_id: str | None,
    session: str | None,
    basket: str | None,
    slate: str | None,
    slot: int | None,
    profile: Profile | None,
    as_json: bool,
) -> None:
    """Record one event of TYPE (view, cart, purchase, like, rating ...) in DIR; prints its position once it is durable.

    `headwater init` makes DIR; --profile does it in one step.

    Example: headwater track shop view --user bob --item sku1
    """
    if directory is not None and profile is None:
        check_made(directory)
    with connect_remote() if directory is None else Engine.open(directory, profile=profile) as engine:
        position = engine.track(
            type,
            user=user,
            item=item,
            ts=ts,
            value=value,
            event_id=event_id,
            session=session,
            basket=basket,
            slate=slate,
            slot=slot,
        )
    show(as_json, {"position": position}, f"position {position}")


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("user")
@_query_options
@_slate_options
@click.option("--record", is_flag=True, help="Write the slate to the log and show its id for `explain`.")
@json_option
def recommend(
    directory: Path | None,
    user: str,
    n: int,
    now: int | None,
    exclude: tuple[str, ...],
    as_of: int | str | None,
    record: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """The best items for USER, with reasons.

    Example: headwater recommend shop bob -n 5 --filter "price < max" --param max=50 --exploration 0.1
    """
    arguments = Asked(**asked).arguments()
    with _open(directory, record, as_of) as engine:
        slate = engine.recommend(user, n, now=now, exclude=exclude, as_of=as_of, record=record, **arguments)
    _show_slate(as_json, slate)


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("user")
@click.argument("items", nargs=-1, required=True)
@click.option("-n", "n", type=int, help="How many of them. Default: all.")
@click.option("--now", type=int, help="Time of the question, UTC ms. Default: the last event's time.")
@_as_of_option
@_slate_options
@click.option("--record", is_flag=True, help="Write the slate to the log and show its id for `explain`.")
@json_option
def rank(
    directory: Path | None,
    user: str,
    items: tuple[str, ...],
    n: int | None,
    now: int | None,
    as_of: int | str | None,
    record: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Your own ITEMS in the order that suits USER.

    Example: headwater rank shop bob sku1 sku4 sku7
    """
    arguments = Asked(**asked).arguments()
    with _open(directory, record, as_of) as engine:
        slate = engine.rank(user, items, n, now=now, as_of=as_of, record=record, **arguments)
    _show_slate(as_json, slate)


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("item")
@_query_options
@click.option("--relation", help="One relation, e.g. also_bought. Default: all, fused.")
@click.option("--metric", type=click.Choice(_METRICS))
@json_option
def similar(
    directory: Path | None,
    item: str,
    n: int,
    now: int | None,
    exclude: tuple[str, ...],
    as_of: int | str | None,
    relation: str | None,
    metric: Metric | None,
    as_json: bool,
) -> None:
    """The items most associated with ITEM.

    Example: headwater similar shop sku1 --relation also_bought --metric llr
    """
    with _open(directory, as_of=as_of) as engine:
        slate = engine.similar(item, n, relation=relation, metric=metric, exclude=exclude, now=now, as_of=as_of)
    _show_slate(as_json, slate)


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("items", nargs=-1)
@_query_options
@_slate_options
@click.option("--user", help="Show what is known of this user's session instead of asking for items.")
@json_option
def session(
    directory: Path | None,
    items: tuple[str, ...],
    n: int,
    now: int | None,
    exclude: tuple[str, ...],
    as_of: int | str | None,
    user: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """The best items for an anonymous visitor who touched ITEMS, latest last; or, with --user, that user's session.

    Example: headwater session shop sku1 sku4
    """
    if (user is None) == (not items):
        raise click.UsageError("give ITEMS or --user, one of the two")
    if user is not None and as_of is not None:
        raise click.UsageError("--as-of goes with ITEMS, not with --user")
    arguments = Asked(**asked).arguments()
    with _open(directory, as_of=as_of) as engine:
        if user is not None:
            view = engine.session_of(user, now=now)
            show(as_json, view.to_dict(), view)
        else:
            _show_slate(as_json, engine.session(items, n, exclude=exclude, now=now, as_of=as_of, **arguments))


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("category", required=False)
@click.option("-n", "n", type=int, default=10, show_default=True, help="How many items.")
@click.option("--now", type=int, help="Time of the question, UTC ms. Default: the last event's time.")
@_as_of_option
@json_option
def trending(
    directory: Path | None, category: str | None, n: int, now: int | None, as_of: int | str | None, as_json: bool
) -> None:
    """Items whose recent votes exceed what their past lets expect, overall or in CATEGORY.

    Example: headwater trending shop shoes
    """
    with _open(directory, as_of=as_of) as engine:
        _show_slate(as_json, engine.trending(category, n, now=now, as_of=as_of))


@click.command(cls=RemoteCommand)
@existing_directory
@click.argument("slate")
@click.argument("item")
@click.option("--audit", is_flag=True, help="For operators: name the other visitors whose events led to it, too.")
@json_option
def explain(directory: Path | None, slate: str, item: str, audit: bool, as_json: bool) -> None:
    """Why ITEM stands in SLATE (an id that `recommend --record` or the application got), with the visitor's own events.

    With --url the host that answered is asked; a slate that it no longer remembers, and an audit, are worked out here
    from the cluster's log.

    Example: headwater explain shop 3-17 sku7
    """
    explanation = _explained_by_host(slate, item) if directory is None and not audit else None
    if explanation is None:
        with remote_past() if directory is None else _open(directory) as engine:
            explanation = engine.explain(slate, item, audit=audit)
    show(as_json, explanation.to_dict(), explanation.text)


def _explained_by_host(slate: str, item: str) -> Explanation | None:
    """What the host says that answered; None if it does not remember the slate, or does not answer."""
    with suppress(Unavailable), connect_remote() as client:
        try:
            return client.explain(slate, item)
        except InvalidQuery as err:
            if err.details.get("field") != "slate":
                raise
    return None
