"""Arguments of the SDK as the engine holds them: ids as text, counts and times within bounds, vectors as bytes."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence

from headwater.errors import InvalidEvent, InvalidQuery
from headwater.events.validate import MAX_ID, is_text, text_rule

Id = str | int
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


def vectors_of(embeddings: Mapping[str, Sequence[float] | bytes] | None) -> dict[str, bytes] | None:
    """Embeddings as little-endian float32 bytes. Raises `InvalidEvent` for what is not a number."""
    if embeddings is None:
        return None
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
