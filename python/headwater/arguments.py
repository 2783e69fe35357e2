"""Arguments of the SDK as the engine holds them: ids as text, counts and times within bounds, vectors as bytes."""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from headwater.errors import InvalidEvent, InvalidQuery
from headwater.events.validate import MAX_CONTEXT, MAX_ID, is_text, text_rule

Id = str | int
Param = str | int | float | bool | Sequence[str | int | float | bool]
"""What a filter's parameter may be."""
MAX_N = 1000


def id_text(field: str, value: Id) -> str:
    """An id as text; integers become decimal strings. The rules of ids are checked with the event that it goes into."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        rule = "text or an integer"
        raise InvalidEvent(f"{field} = {value!r:.80}; allowed: {rule}", field=field, value=repr(value)[:80], rule=rule)
    return value


def query_id(field: str, value: Id) -> str:
    """An id that a question names. Raises `InvalidQuery` for one that no event could have."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not is_text(text, MAX_ID):
        rule = text_rule(MAX_ID)
        raise InvalidQuery(f"{field} = {value!r:.80}; allowed: {rule}", field=field, value=repr(value)[:80], rule=rule)
    return str(text)


def count_of(n: int) -> int:
    """How many items are asked for: 1 to `MAX_N`. Raises `InvalidQuery`."""
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MAX_N:
        raise InvalidQuery(f"n = {n!r:.80}; allowed: 1 to {MAX_N}", field="n", value=repr(n)[:80], rule=f"1 to {MAX_N}")
    return n


def time_of(field: str, value: int) -> int:
    """A time of a question in UTC milliseconds. Raises `InvalidQuery`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        rule = "UTC milliseconds, 0 to 2^53 - 1"
        raise InvalidQuery(f"{field} = {value!r:.80}; allowed: {rule}", field=field, value=repr(value)[:80], rule=rule)
    return value


def position_of(field: str, value: int) -> int:
    """A log position that a question names. Raises `InvalidQuery`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        rule = "a position that a write returned"
        raise InvalidQuery(f"{field} = {value!r:.80}; allowed: {rule}", field=field, value=repr(value)[:80], rule=rule)
    return value


def ids_of(field: str, values: Sequence[Id]) -> list[str]:
    """Ids that a question lists. Raises `InvalidQuery`, also for one text, whose letters would pass for ids."""
    if type(values) is tuple and not values:
        return []  # nearly always
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        rule = "a sequence of ids"
        shown = repr(values)[:80]
        raise InvalidQuery(f"{field} = {shown}; allowed: {rule}", field=field, value=shown, rule=rule)
    return [query_id(field, value) for value in values]


def name_of(field: str, value: str | None) -> str | None:
    """A name that a question may give: of a category, relation or metric. Raises `InvalidQuery`."""
    if value is not None and not isinstance(value, str):
        raise InvalidQuery(f"{field} = {value!r:.80}; allowed: text", field=field, value=repr(value)[:80], rule="text")
    return value


def weights_of(sources: Mapping[str, float] | None) -> dict[str, float]:
    """Source weights of one question. Raises `InvalidQuery` for what is not a number."""
    if sources is None:
        return {}
    rule = "a mapping of source names to finite numbers >= 0"
    if not isinstance(sources, Mapping):
        shown = repr(sources)[:80]
        raise InvalidQuery(f"sources = {shown}; allowed: {rule}", field="sources", value=shown, rule=rule)
    out = {}
    for name, weight in sources.items():
        sound = isinstance(name, str) and isinstance(weight, int | float) and not isinstance(weight, bool)
        if not sound or not math.isfinite(weight) or weight < 0:
            shown = f"{name!r:.80}: {weight!r:.80}"
            raise InvalidQuery(f"sources = {{{shown}}}; allowed: {rule}", field="sources", value=shown, rule=rule)
        out[name] = float(weight)
    return out


def share_of(field: str, value: float | None) -> float | None:
    """A share of 0 to 1 that a question may give. Raises `InvalidQuery`."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise InvalidQuery(
            f"{field} = {value!r:.80}; allowed: 0 to 1", field=field, value=repr(value)[:80], rule="0 to 1"
        )
    return float(value)


def params_of(params: Mapping[str, Param] | None) -> dict[str, Any]:
    """Parameters of a filter: numbers, texts, truth values, or lists of them. Raises `InvalidQuery`."""
    if params is None:
        return {}
    rule = "a mapping of names to numbers, texts, truth values or lists of them"
    if not isinstance(params, Mapping):
        shown = repr(params)[:80]
        raise InvalidQuery(f"params = {shown}; allowed: {rule}", field="params", value=shown, rule=rule)
    out: dict[str, Any] = {}
    for name, value in params.items():
        listed = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        values = list(value) if listed else [value]  # type: ignore[arg-type]
        if not isinstance(name, str) or not all(map(_is_scalar, values)):
            shown = f"{name!r:.80}: {value!r:.80}"
            raise InvalidQuery(f"params = {{{shown}}}; allowed: {rule}", field="params", value=shown, rule=rule)
        out[name] = values if listed else value
    return out


def _is_scalar(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return -(1 << 63) <= value < 1 << 63
    return isinstance(value, str | bool) or (isinstance(value, float) and math.isfinite(value))


def context_of(context: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a question keeps in its record beside everything else. Raises `InvalidQuery`."""
    rule = "a mapping of names to texts, finite numbers, truth values or None, at most 4,096 bytes as MessagePack"
    if context is None:
        return None
    sound = isinstance(context, Mapping) and all(
        isinstance(name, str) and (value is None or _is_scalar(value)) for name, value in context.items()
    )
    if not sound or len(msgspec.msgpack.encode(dict(context))) > MAX_CONTEXT:
        shown = repr(context)[:80]
        raise InvalidQuery(f"context = {shown}; allowed: {rule}", field="context", value=shown, rule=rule)
    return dict(context)


def categories_of(values: Sequence[str]) -> list[str]:
    """Categories as a list. Raises `InvalidEvent` for one text, whose letters would pass for categories."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        rule = "a list of texts"
        shown = repr(values)[:80]
        raise InvalidEvent(f"categories = {shown}; allowed: {rule}", field="categories", value=shown, rule=rule)
    return list(values)


def labels_of(labels: Mapping[str, Any] | None) -> dict[str, Any]:
    """Labels as a dictionary. Raises `InvalidEvent`."""
    if labels is not None and not isinstance(labels, Mapping):
        rule = "a mapping of names to values"
        shown = repr(labels)[:80]
        raise InvalidEvent(f"labels = {shown}; allowed: {rule}", field="labels", value=shown, rule=rule)
    return dict(labels or {})


def vectors_of(embeddings: Mapping[str, Sequence[float] | bytes] | None) -> dict[str, bytes] | None:
    """Embeddings as little-endian float32 bytes. Raises `InvalidEvent` for what is not a number."""
    if embeddings is None:
        return None
    if not isinstance(embeddings, Mapping):
        rule = "a mapping of names to vectors"
        shown = repr(embeddings)[:80]
        raise InvalidEvent(f"embeddings = {shown}; allowed: {rule}", field="embeddings", value=shown, rule=rule)
    out = {}
    for name, vector in embeddings.items():
        if isinstance(vector, bytes):
            out[name] = vector
            continue
        try:
            values = array("f", [float(x) for x in vector])
        except (TypeError, ValueError, OverflowError) as err:
            field = f"embeddings[{name}]"
            raise InvalidEvent(f"{field}: {err}; allowed: finite numbers", field=field, rule="finite numbers") from err
        if sys.byteorder == "big":
            values.byteswap()
        out[name] = values.tobytes()
    return out
