"""Answers of the core to `recommend`, `session`, `rank`, `similar` and `trending`, as Python reads them."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.core import Core
from headwater.slate import Exploring, SlateItem


class Answer(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Mirrors `Answer` of `core_rs/src/query/answer.rs`. Nobody outside gets it, so it is part of no cycle."""

    items: list[SlateItem]
    fallback: str | None
    about: list[str]
    position: int
    notes: list[str]
    exploring: Exploring
    feature_names: list[str]
    candidates: list[tuple[str, list[float]]]
    why: list[str] | None
    approximate: list[tuple[str, list[tuple[str, float]]]]


def approximate_notes(answer: Answer) -> list[str]:
    """That sources were answered from a graph, for whoever reads the slate."""
    return [graph_note(source) for source, _ in answer.approximate]


def graph_note(source: str) -> str:
    """That a source was answered from a graph."""
    return f"{source} was answered from a graph: a few of the nearest may be missing"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Answer)


def ask(core: Core, request: dict[str, Any], key: str, query: bytes | None = None) -> Answer:
    """Put a request to a state. `key`, the slate's id, is what exploration is drawn by; `query` is the JSON of another
    `[query]` than the one active in the log. Raises `InvalidQuery`."""
    asked = _encoder.encode(request | {"key": key})
    return _decoder.decode(core.recommend(asked) if query is None else core.recommend(asked, query))


def ask_similar(core: Core, request: dict[str, Any]) -> Answer:
    """Put a `similar` request to a state. Raises `InvalidQuery`."""
    return _decoder.decode(core.similar(_encoder.encode(request)))


def ask_trending(core: Core, request: dict[str, Any]) -> Answer:
    """Put a `trending` request to a state. Raises `InvalidQuery`."""
    return _decoder.decode(core.trending(_encoder.encode(request)))


def decode_answer(answer: bytes) -> Answer:
    """An answer of the core, however it was asked."""
    return _decoder.decode(answer)
