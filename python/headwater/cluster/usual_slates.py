"""Slates that were answered without Python: noted before the answer is sent, read when somebody wants to know.

The core says of each what `headwater.slate.Slate` does (`core_rs/src/py/wire/served.rs`), and makes its record. The
rest is for `explain`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from headwater.answer import decode_answer
from headwater.cluster.records import EncodedRecord, RecordWriter
from headwater.core import UsualSlate
from headwater.slate import Slate
from headwater.slate_memory import Answered, SlateMemory
from headwater.slate_record import wanting

_request = msgspec.msgpack.Decoder(dict[str, Any])


def noted_slate(memory: SlateMemory, records: RecordWriter, served: UsualSlate) -> tuple[bool, list[str]]:
    """Remember a slate and queue its record, if it wants one; whether there was room, and what is wanting."""
    queued, lacks = False, list[str]()
    if (event := served.take_event()) is not None:
        queued = records.record(EncodedRecord(served.id, served.user, event))
        lacks = wanting(queued, records)
    memory.add_later(served.id, served.user, partial(_answered, served, queued, tuple(lacks)))
    return queued, lacks


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
