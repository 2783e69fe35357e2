"""Slates that were answered without Python: kept by the core, read when somebody wants to know.

The core says of each what `headwater.slate.Slate` does, and makes its record (`core_rs/src/py/wire/`). The rest is for
`explain`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.answer import decode_answer
from headwater.core import SlateShelf, UsualSlate
from headwater.slate import Slate
from headwater.slate_memory import KEPT, Answered

_request = msgspec.msgpack.Decoder(dict[str, Any])


class UsualMemory:
    """The latest of these slates, beside those of a `SlateMemory`."""

    def __init__(self) -> None:
        self.shelf = SlateShelf(KEPT)

    def get(self, slate: str) -> Answered | None:
        """The slate of an id, while it is remembered."""
        served = self.shelf.get(slate)
        return None if served is None else Answered(slate_of(served), request_of(served))

    def forget(self, user: str) -> None:
        """Let go of a user's slates. O(slates)."""
        self.shelf.forget(user)

    def clear(self) -> None:
        """Let go of all."""
        self.shelf.clear()


def slate_of(served: UsualSlate) -> Slate:
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
        degraded=served.degraded,
        config=served.config,
        recorded=served.recorded,
        notes=answer.notes,
        exploring=answer.exploring,
    )


def request_of(served: UsualSlate) -> dict[str, Any]:
    """What was asked, without what its exploration is drawn by, which is the slate's id."""
    request = _request.decode(served.request)
    del request["key"]
    return request
