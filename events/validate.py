"""The rules that an event must keep before it is written. The fold checks them again: other producers exist."""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import msgspec

from headwater.errors import InvalidEvent
from headwater.events.types import (
    Event,
    Feedback,
    Impression,
    ItemPatch,
    ItemPut,
    MergeCarried,
    MergeSettled,
    SlateServed,
    UserMerge,
    UserPut,
)

MAX_ID = 512
MAX_TYPE = 64
MAX_CONTEXT = 4096
MAX_EXTRA = 65_536
MAX_CARRIED = 200_000
MAX_LIST = 64
MAX_EMBEDDINGS = 8
MAX_DIMENSIONS = 4096
MAX_MAGNITUDE = 1e15
"""Of a number in an embedding: beyond it products could leave the range of float32."""
MAX_COMMENT = 4096
MAX_NESTING = 15
"""Containers inside each other that every reader of frames walks into; deeper ones cost the whole frame."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ID_FIELDS = (
    *("user", "item", "from_user", "into_user", "event_id", "session", "basket", "slate", "group_id"),
    *("version", "kind", "uri", "content_hash"),
)
_OPTIONAL = frozenset(("event_id", "session", "basket", "group_id"))
_FEEDBACK_IDS = ("user", "item", "event_id", "session", "basket", "slate")
_PLACE = re.compile(r"\$\[(\d+)\]")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Event)


def check_event(event: Event, appended: int, max_future_ms: int) -> None:
    """Raise `InvalidEvent` naming field, value and rule if the event breaks one. `appended` is the append time."""
    if isinstance(event, Feedback):
        for field in _FEEDBACK_IDS:
            if (value := getattr(event, field)) is not None:
                check_text(field, value, MAX_ID)
    else:
        for field in _ID_FIELDS:
            value = getattr(event, field, None)
            if value is not None or (hasattr(event, field) and field not in _OPTIONAL):
                check_text(field, value, MAX_ID)
    check_time("ts", event.ts, appended + max_future_ms)
    _check_types(event)
    if isinstance(event, Feedback):
        _check_feedback(event)
    elif isinstance(event, Impression):
        if len(event.slots) > 1024 or any(slot < 0 for slot in event.slots):
            _refuse("slots", event.slots, "at most 1024 numbers >= 0")
    elif isinstance(event, ItemPut | ItemPatch):
        _check_item(event)
    elif isinstance(event, UserPut):
        _check_labels(event.labels)
        _check_comment(event.comment)
    elif isinstance(event, SlateServed):
        _check_slate(event)
    elif isinstance(event, UserMerge | MergeCarried) and event.from_user == event.into_user:
        _refuse("into_user", event.into_user, "another user than from_user")
    if isinstance(event, MergeCarried | MergeSettled):
        _check_moved(event)


def check_record(record: SlateServed, appended: int, max_future_ms: int) -> None:
    """`check_event` of a slate that was answered a moment ago: its ids come from the log and from a question that was
    checked, its numbers from the core. What is left to break is the question's own time, and the size of features."""
    check_time("ts", record.ts, appended + max_future_ms)
    _check_extra(record)


def _check_types(event: Event) -> None:
    """Every field holds what its type says, all the way down: a struct does not look at what it is made of."""
    try:
        _decoder.decode(_encoder.encode(event))
    except msgspec.ValidationError as err:
        what, _, path = str(err).partition(" - at `")
        place = _PLACE.search(path)
        field = event.__struct_fields__[int(place[1]) - 1] if place else "event"
        _refuse(field, getattr(event, field, event), what)
    except (TypeError, ValueError, OverflowError, RecursionError) as err:
        field = next(field for field in event.__struct_fields__ if not _encodes(getattr(event, field)))
        _refuse(field, getattr(event, field), f"what MessagePack can hold ({err})")


def _encodes(value: object) -> bool:
    try:
        _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False
    return True


def check_text(field: str, value: Any, limit: int) -> None:
    """An id or type: 1 to `limit` bytes of UTF-8 without control characters."""
    if not is_text(value, limit):
        _refuse(field, value, text_rule(limit))


def is_text(value: Any, limit: int) -> bool:
    """Whether a value keeps `text_rule`."""
    if not isinstance(value, str) or not value or len(value) > limit:
        return False
    if value.isascii() and value.isprintable():  # nearly always: a byte each, none of control
        return True
    try:
        return len(value.encode()) <= limit and not _CONTROL.search(value)
    except UnicodeEncodeError:
        return False


def text_rule(limit: int) -> str:
    """What an id or type may be."""
    return f"1 to {limit} bytes of UTF-8 without control characters"


def check_time(field: str, value: Any, latest: int) -> None:
    """Milliseconds since 1970, not beyond `latest`."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 53:
        _refuse(field, value, "UTC milliseconds, 0 to 2^53 - 1")
    if value > latest:
        _refuse(field, value, f"not after {latest} (the append time and the configured lead)")


def _check_feedback(event: Feedback) -> None:
    check_text("type", event.type, MAX_TYPE)
    if event.value is not None and not (math.isfinite(event.value) and _fits(event.value)):
        _refuse("value", event.value, "a finite number, an integer of 64 bits")
    if event.slot is not None and not 0 <= event.slot < 1 << 32:
        _refuse("slot", event.slot, "a number from 0")
    if event.context is not None:
        if any(isinstance(value, float) and not math.isfinite(value) for value in event.context.values()):
            _refuse("context", event.context, "finite numbers")
        if len(msgspec.msgpack.encode(event.context)) > MAX_CONTEXT:
            _refuse("context", event.context, f"at most {MAX_CONTEXT} bytes")


def _check_moved(event: MergeCarried | MergeSettled) -> None:
    if not 0 <= event.sealed < 1 << 63:
        _refuse("sealed", event.sealed, "the name of an event: position << 16 | index")
    if isinstance(event, MergeCarried) and not 1 <= len(event.state) <= MAX_CARRIED:
        _refuse("state", f"{len(event.state)} bytes", f"1 to {MAX_CARRIED} bytes that the core sealed")


def _check_slate(event: SlateServed) -> None:
    _check_nesting("request", event.request)
    for slot, (item, *_) in enumerate(event.items):
        check_text(f"items[{slot}]", item, MAX_ID)
    if event.extra is not None:
        _check_nesting("extra", event.extra)
    _check_extra(event)


def _check_extra(event: SlateServed) -> None:
    if event.extra is not None and len(_encoder.encode(event.extra)) > MAX_EXTRA:
        _refuse("extra", event.extra, f"at most {MAX_EXTRA} bytes")


def _check_item(event: ItemPut | ItemPatch) -> None:
    if event.categories is not None:
        _check_list("categories", event.categories)
    if event.labels is not None:
        _check_labels(event.labels)
    if event.timestamp is not None:
        check_time("timestamp", event.timestamp, 1 << 62)
    _check_comment(event.comment)
    embeddings = event.embeddings or {}
    if len(embeddings) > MAX_EMBEDDINGS:
        _refuse("embeddings", list(embeddings), f"at most {MAX_EMBEDDINGS} embeddings")
    for name, raw in embeddings.items():
        check_text("embeddings", name, 128)
        _check_embedding(f"embeddings[{name}]", raw)


def _check_embedding(field: str, raw: bytes) -> None:
    count, rest = divmod(len(raw), 4)
    if rest or not 1 <= count <= MAX_DIMENSIONS:
        _refuse(field, f"{len(raw)} bytes", f"1 to {MAX_DIMENSIONS} float32, 4 bytes each")
    numbers = struct.unpack(f"<{count}f", raw)
    for at, x in enumerate(numbers):
        if not abs(x) <= MAX_MAGNITUDE:  # false for NaN
            _refuse(field, f"{x} at place {at}", f"finite numbers of at most {MAX_MAGNITUDE:g}")
    if not any(numbers):
        _refuse(field, f"{count} zeros", "a vector that is not zero: leave out what an item has no vector for")


def _check_comment(comment: str | None) -> None:
    if comment is not None and (len(comment.encode()) > MAX_COMMENT or "\0" in comment):
        _refuse("comment", comment, f"at most {MAX_COMMENT} bytes without NUL")


def _check_nesting(field: str, value: Any) -> None:
    layer, depth = [value], 0
    while layer := [v for v in layer if isinstance(v, dict | list | tuple)]:
        depth += 1
        if depth > MAX_NESTING:
            _refuse(field, value, f"at most {MAX_NESTING} containers inside each other")
        layer = [inner for v in layer for inner in ((*v, *v.values()) if isinstance(v, dict) else v)]


def _fits(value: float) -> bool:
    return not isinstance(value, int) or -(1 << 63) <= value < 1 << 63


def _check_list(field: str, values: list[str]) -> None:
    if len(values) > MAX_LIST:
        _refuse(field, values, f"at most {MAX_LIST} entries")
    for value in values:
        check_text(field, value, 256)


def _check_labels(labels: dict[str, Any]) -> None:
    if len(labels) > MAX_LIST:
        _refuse("labels", list(labels), f"at most {MAX_LIST} labels")
    for key, value in labels.items():
        check_text("labels", key, 128)
        field = f"labels[{key}]"
        if isinstance(value, list):
            _check_list(field, value)
        elif isinstance(value, str):
            if len(value.encode()) > 1024 or "\0" in value:
                _refuse(field, value, "at most 1024 bytes without NUL")
        elif isinstance(value, float) and not math.isfinite(value):
            _refuse(field, value, "a finite number")
        elif isinstance(value, int) and not _fits(value):
            _refuse(field, value, "a 64-bit integer")


def _refuse(field: str, value: object, rule: str) -> Any:
    shown = repr(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    raise InvalidEvent(f"{field} = {shown}; allowed: {rule}", field=field, value=shown, rule=rule)
