"""One question for many users: asked in portions, answered as one frame."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.active_query import active_version
from headwater.core import Core
from headwater.errors import NotReady
from headwater.merging import known_as
from headwater.slate_record import SlateRecorder, served

if TYPE_CHECKING:
    import polars

PORTION = 1000


class _Portion(msgspec.Struct, array_like=True, frozen=True):
    """Mirrors `ManyAnswer` of `core_rs/src/query/many.rs`."""

    position: int
    counts: list[int]
    fallbacks: list[str | None]
    variants: list[str | None]
    temperatures: list[float]
    floors: list[float]
    items: list[str]
    scores: list[float]
    sources: list[str]
    propensities: list[float]
    cascades: list[float]
    pinned: list[bool]


_decoder = msgspec.msgpack.Decoder(_Portion)


def recommend_many(
    core: Core,
    users: list[str],
    request: dict[str, Any],
    next_id: Callable[[], str],
    recorder: SlateRecorder | None,
    opened_with: str,
) -> polars.DataFrame:
    """The frame of `Questions.recommend_many`. With a `recorder` every slate is recorded; raises `NotReady` when that
    cannot be."""
    import polars as pl

    def question(first: int) -> Callable[[], _Asked]:
        portion = users[first : first + PORTION]
        merged = known_as(core, portion)
        accounts = [merged.get(user, user) for user in portion] if merged else portion
        return partial(_ask, core, request, portion, accounts, [next_id() for _ in portion])

    def frame(asked: _Asked) -> polars.DataFrame:
        return _answered(*asked, core, request, recorder, opened_with)

    if not users:
        return _frame(_Portion(0, *([] for _ in _Portion.__struct_fields__[1:])), [], [])
    if len(users) <= PORTION:
        return frame(question(0)())
    frames = []
    # The core's threads answer the next portion while this one makes a frame of the last.
    with ThreadPoolExecutor(1, thread_name_prefix="many") as ahead:
        under_way = ahead.submit(question(0))
        for first in range(PORTION, len(users), PORTION):
            following = ahead.submit(question(first))
            frames.append(frame(under_way.result()))
            under_way = following
        frames.append(frame(under_way.result()))
    return pl.concat(frames)


_Asked = tuple[list[str], list[str], list[str], bytes]
"""Users of a portion, who they are now, keys of their slates, the answer."""


def _ask(core: Core, request: dict[str, Any], users: list[str], accounts: list[str], keys: list[str]) -> _Asked:
    asked = msgspec.msgpack.encode({"request": request, "users": accounts, "keys": keys})
    return users, accounts, keys, core.recommend_many(asked)


def _answered(
    users: list[str],
    accounts: list[str],
    keys: list[str],
    answered: bytes,
    core: Core,
    request: dict[str, Any],
    recorder: SlateRecorder | None,
    opened_with: str,
) -> polars.DataFrame:
    """The frame of one portion, its slates recorded if there is a recorder."""
    answer = _decoder.decode(answered)
    if recorder is None:
        return _frame(answer, users, [None] * len(users))
    _record(answer, accounts, keys, request, recorder, active_version(core, opened_with))
    return _frame(answer, users, keys)


def _frame(answer: _Portion, users: list[str], slates: list[str] | list[None]) -> polars.DataFrame:
    import polars as pl

    owners = pl.DataFrame(
        {
            "user": users,
            "slate": slates,
            "fallback": answer.fallbacks,
            "variant": answer.variants,
            "slots": answer.counts,
        },
        schema={
            "user": pl.String,
            "slate": pl.String,
            "fallback": pl.String,
            "variant": pl.String,
            "slots": pl.Int64,
        },
    )
    # A user without any slot has no row. Places made by polars: from Python's lists it takes ten times as long.
    places = pl.int_ranges(pl.col("slots"))
    rows = owners.filter(pl.col("slots") > 0).with_columns(slot=places).explode("slot")
    slots = pl.DataFrame(
        {
            "item": answer.items,
            "score": answer.scores,
            "source": answer.sources,
            "propensity": answer.propensities,
            "propensity_cascade": answer.cascades,
            "pinned": answer.pinned,
        },
        schema={
            "item": pl.String,
            "score": pl.Float64,
            "source": pl.String,
            "propensity": pl.Float64,
            "propensity_cascade": pl.Float64,
            "pinned": pl.Boolean,
        },
    )
    return rows.select("user", "slate", "slot").hstack(slots).hstack(rows.select("fallback", "variant"))


def _record(
    answer: _Portion,
    users: list[str],
    keys: list[str],
    request: dict[str, Any],
    recorder: SlateRecorder,
    config: str,
) -> None:
    columns = (
        answer.items,
        answer.scores,
        answer.sources,
        answer.propensities,
        answer.cascades,
        answer.pinned,
    )
    slots = list(zip(*columns, strict=True))
    first = 0
    answered = zip(answer.counts, answer.variants, answer.temperatures, answer.floors, strict=True)
    for user, key, (count, variant, temperature, floor) in zip(users, keys, answered, strict=True):
        extra: dict[str, Any] = {"kind": "recommend"}
        if temperature > 0:
            extra["temperature"], extra["floor"] = temperature, floor
        asked = request | {"user": user} | ({} if variant is None else {"variant": variant})
        record = served(key, user, asked, [answer.position], config, slots[first : first + count], extra)
        first += count
        if not recorder.record(record, wait=True):
            raise NotReady("slate records cannot be written: " + (recorder.error or "the engine is closing"))
