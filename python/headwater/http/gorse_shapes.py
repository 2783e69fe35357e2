"""gorse's JSON: its structs, and how they become Headwater's arguments and back.

Where the two models differ, what is done is said here and in the guide:

* Labels are any JSON in gorse, typed scalars and lists of texts in Headwater. Nested objects are flattened
  (`a.b`), a list of texts at the top becomes the label `tags`, a list of numbers an embedding.
* Feedback of the same type, user, item and timestamp is a retry and counts once; all else are events of their own
  (gorse keeps one row per type, user and item).
* A value of 0 is no value, as gorse's clients send it by default.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import xxhash
from msgspec import Meta

from headwater.events.validate import MAX_TYPE
from headwater.http.bodies import PLAIN, Id
from headwater.http.problems import Refused
from headwater.slate import ItemView, format_time

TimeText = Annotated[str, Meta(max_length=64, examples=["2026-01-31T12:00:00Z"])]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TAGS = "tags"
_MAX_DEPTH = 8


class GorseFeedback(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """A user did something to an item, as gorse says it."""

    feedback_type: Annotated[str, Meta(min_length=1, max_length=MAX_TYPE, pattern=PLAIN, examples=["like"])]
    user_id: Id
    item_id: Id
    value: float = 0.0
    timestamp: TimeText | None = None
    comment: str | None = None


class GorseSessionFeedback(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """A touch of a visitor without a name; `UserId` and `FeedbackType` do not matter."""

    item_id: Id
    feedback_type: str | None = None
    user_id: str | None = None
    timestamp: TimeText | None = None
    value: float = 0.0
    comment: str | None = None


class GorseItem(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """An item, as gorse says it."""

    item_id: Id
    is_hidden: bool | None = False
    categories: list[str] | None = None
    timestamp: TimeText | None = None
    labels: Any = None
    comment: str | None = None


class GorseItemPatch(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """Changes of an item: null leaves a field as it is, labels and categories are replaced whole."""

    is_hidden: bool | None = None
    categories: list[str] | None = None
    timestamp: TimeText | None = None
    labels: Any = None
    comment: str | None = None


class GorseUser(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """A user, as gorse says it."""

    user_id: Id
    labels: Any = None
    comment: str | None = None


class GorseUserPatch(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """Changes of a user: null leaves a field as it is, labels are replaced whole."""

    labels: Any = None
    comment: str | None = None


class GorseScore(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """One answer with its score."""

    id: str
    score: float


class RowAffected(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """How many rows were written."""

    row_affected: int


class FeedbackPage(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """Feedback, and where the next page begins; an empty cursor is the end."""

    cursor: str
    feedback: list[dict[str, Any]]


class ItemsPage(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """Items, and where the next page begins."""

    cursor: str
    items: list[dict[str, Any]]


class UsersPage(msgspec.Struct, kw_only=True, frozen=True, rename="pascal"):
    """Users, and where the next page begins."""

    cursor: str
    users: list[dict[str, Any]]


def time_of(text: str | None) -> int | None:
    """UTC milliseconds of gorse's timestamp: ISO 8601, UTC unless it says otherwise. Raises `Refused`."""
    if not text or text.startswith("0001-01-01"):  # Go's zero time
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as err:
        rule = "ISO 8601, such as 2026-01-31T12:00:00Z"
        raise Refused("invalid-event", f"Timestamp = {text!r}; allowed: {rule}", field="Timestamp", rule=rule) from err
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    milliseconds = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if milliseconds < 0:
        rule = "1970 or later"
        raise Refused("invalid-event", f"Timestamp = {text!r}; allowed: {rule}", field="Timestamp", rule=rule)
    return milliseconds


def duration_ms(text: str) -> int:
    """Milliseconds of Go's durations such as 10m or 1h30m. Raises `Refused`."""
    found = _DURATION.findall(text)
    if not found or "".join(a + b for a, b in found) != text or len(text) > 20:
        rule = "a duration such as 10m or 1h30m"
        shown = text[:80]
        raise Refused("invalid-query", f"write-back-delay = {shown!r}; allowed: {rule}", field="write-back-delay")
    return int(sum(float(amount) * _UNITS[unit] for amount, unit in found))


def labels_in(value: Any) -> tuple[dict[str, Any], dict[str, list[float]] | None]:
    """Labels and embeddings of gorse's Labels. Raises `Refused` for what has no place in either."""
    labels: dict[str, Any] = {}
    embeddings: dict[str, list[float]] = {}
    _flatten("", value, labels, embeddings, 0)
    return labels, embeddings or None


def _flatten(path: str, value: Any, labels: dict[str, Any], embeddings: dict[str, list[float]], depth: int) -> None:
    if value is None:
        return
    if isinstance(value, dict):
        if depth > _MAX_DEPTH:
            _refuse(path, f"at most {_MAX_DEPTH} objects inside each other")
        for name, inner in value.items():
            _flatten(f"{path}.{name}" if path else str(name), inner, labels, embeddings, depth + 1)
    elif isinstance(value, list):
        texts = all(isinstance(entry, str) for entry in value)
        numbers = all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in value)
        if texts:
            labels[path or _TAGS] = value
        elif numbers and path:
            embeddings[path] = [float(entry) for entry in value]
        else:
            _refuse(path, "lists of texts, or of numbers under a name")
    else:
        labels[path or _TAGS] = [value] if not path and isinstance(value, str) else value


def _refuse(path: str, rule: str) -> None:
    field = f"Labels.{path}" if path else "Labels"
    raise Refused("invalid-event", f"{field}; allowed: {rule}", field=field[:200], rule=rule)


def labels_out(labels: dict[str, Any]) -> Any:
    """Labels as a client of gorse expects them: what came as a list alone goes as one."""
    if not labels:
        return None
    return labels[_TAGS] if list(labels) == [_TAGS] else labels


def item_out(item: str, view: ItemView) -> dict[str, Any]:
    """An item as gorse gives it."""
    ts = view.timestamp if view.timestamp is not None else view.born
    return {
        "ItemId": item,
        "IsHidden": view.is_hidden,
        "Categories": view.categories,
        "Timestamp": "0001-01-01T00:00:00Z" if ts is None else format_time(ts),
        "Labels": labels_out(view.labels),
        "Comment": view.comment or "",
    }


def retry_id(feedback: GorseFeedback, ts: int | None) -> str | None:
    """The event id of feedback with a timestamp: the same again is a retry."""
    if ts is None:
        return None
    named = "\0".join((feedback.feedback_type, feedback.user_id, feedback.item_id, str(ts)))
    return f"gorse-{xxhash.xxh3_128_hexdigest(named.encode())}"
