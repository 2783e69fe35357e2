"""Slates that were answered without Python: noted before the answer is sent, read when somebody wants to know.

The core says of each what `headwater.slate.Slate` does (`core_rs/src/py/wire/served.rs`). Most are read once, for their
record, a moment after the answer; the rest is for `explain`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from headwater.answer import decode_answer
from headwater.core import UsualSlate
from headwater.events.types import SlateServed
from headwater.slate import Slate
from headwater.slate_memory import Answered, SlateMemory
from headwater.slate_record import Records, slate_record, wanting

_request = msgspec.msgpack.Decoder(dict[str, Any])


def noted_slate(memory: SlateMemory, records: Records, served: UsualSlate) -> tuple[bool, list[str]]:
    """Remember a slate and queue its record, if it wants one; whether there was room, and what is wanting."""
    queued, lacks = False, list[str]()
    if served.record:
        queued = records.record(partial(record_of, served))
        lacks = wanting(queued, records)
    memory.add_later(served.id, served.user, partial(_answered, served, queued, tuple(lacks)))
    return queued, lacks


def record_of(served: UsualSlate) -> SlateServed:
    """The record of a slate."""
    record = slate_record(slate_of(served, recorded=True, degraded=[]), request_of(served))
    if served.round is None:
        return record
    return msgspec.structs.replace(record, extra=(record.extra or {}) | {"rounds": [served.round]})


def slate_of(served: UsualSlate, *, recorded: bool, degraded: list[str]) -> Slate:
    """The slate as it was answered."""
    answer = decode_answer(served.answer)
    return Slate(
        kind="recommend",
        id=served.id,
        user=served.user,
        about=answer.about,
        n=served.n,
        items=answer.items,
        positions=served.positions,
        now=served.now,
        fallback=answer.fallback,
        degraded=degraded,
        config=served.config,
        recorded=recorded,
        notes=answer.notes,
        exploring=answer.exploring,
    )


def request_of(served: UsualSlate) -> dict[str, Any]:
    """What was asked, without what its exploration is drawn by, which is the slate's id."""
    request = _request.decode(served.request)
    del request["key"]
    return request


def _answered(served: UsualSlate, recorded: bool, degraded: tuple[str, ...]) -> Answered:
    return Answered(slate_of(served, recorded=recorded, degraded=[*degraded]), request_of(served))
