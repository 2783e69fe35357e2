"""What goes over NATS between clients and hosts: requests, answers, errors, and the names of subjects.

Every request is one JSON object or one MessagePack map, and the answer comes in the same encoding: the first byte
tells which. Unknown fields are refused by name. Anything that is not an answer is

    {"error": {"code": "unavailable", "message": "...", "retry_after_ms": 250}}

where `code` is that of `headwater.errors` and `retry_after_ms` is null when asking again would not help. Subjects:

    hw.<ns>.<verb>              plain path: any client, any language; the owner answers
    hw.<ns>.h.<host>.<verb>     smart path: one host, for those who know who owns what
    hw.<ns>.beat.<host>         heartbeats
    hw.<ns>.ev.<p>, .cat, .ctl  the log: written by hosts only
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from headwater import errors
from headwater.errors import HeadwaterError, InvalidQuery, NotReady, Unavailable
from headwater.events.types import Scalar
from headwater.events.validate import MAX_ID

JSON, MSGPACK = "json", "msgpack"
NAMESPACE = re.compile(r"^[a-z0-9][a-z0-9_-]{0,31}$")
MAX_DEADLINE_MS = 60_000

_RETRY_NOT_READY_MS = 50
_RETRY_MS = 250

Id = str | int
Param = str | int | float | bool | list[str | int | float | bool]


class Request(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every request may say. `deadline_ms`: how long an answer is of use, from when the host received it."""

    deadline_ms: int | None = None


class Question(Request, kw_only=True):
    """A read. `after`: answer from state at or after this position. `detail`: parts, reasons and features too.
    `compact`: the arrays of `headwater.slate` instead of objects with names (for the SDK; MessagePack only)."""

    now: int | None = None
    after: int | None = None
    detail: bool = False
    compact: bool = False


class SlateQuestion(Question, kw_only=True):
    """What `recommend`, `session` and `rank` have in common."""

    scenario: str | None = None
    filter: str | None = None
    params: dict[str, Param] | None = None
    diversity: float | None = None
    exploration: float | None = None
    sources: dict[str, float] | None = None
    features: bool = False


class Recommend(SlateQuestion, kw_only=True):
    """`recommend`"""

    user: Id
    n: int = 10
    exclude: list[Id] = []
    context: dict[str, Scalar] | None = None
    record: bool | None = None


class Session(SlateQuestion, kw_only=True):
    """`session`: items of an anonymous visitor, latest last."""

    items: list[Id]
    n: int = 10
    exclude: list[Id] = []
    visitor: Id | None = None
    record: bool | None = None


class Rank(SlateQuestion, kw_only=True):
    """`rank`: the caller's own items."""

    user: Id
    items: list[Id]
    n: int | None = None
    context: dict[str, Scalar] | None = None
    record: bool | None = None


class Similar(Question, kw_only=True):
    """`similar`"""

    item: Id
    n: int = 10
    relation: str | None = None
    metric: str | None = None
    exclude: list[Id] = []


class Trending(Question, kw_only=True):
    """`trending`"""

    category: str | None = None
    n: int = 10


class SessionOf(Question, kw_only=True):
    """`session_of`: what is known of a user."""

    user: Id


class VariantOf(Question, kw_only=True):
    """`variant_of`: the variant of an experiment that answers a user."""

    user: Id
    experiment: str


class ItemOf(Question, kw_only=True):
    """`item_of`: what is known of an item."""

    item: Id


class Explain(Question, kw_only=True):
    """`explain`: why an item stands in a slate."""

    slate: str
    item: Id


class Track(Request, kw_only=True):
    """`track`: one event. `ts` defaults to the host's clock."""

    type: str
    user: Id
    item: Id
    ts: int | None = None
    value: float | None = None
    event_id: str | None = None
    session: Id | None = None
    basket: Id | None = None
    slate: str | None = None
    slot: int | None = None
    context: dict[str, Scalar] | None = None


class Seen(Request, kw_only=True):
    """`seen`: the slots of a slate that were really seen."""

    slate: str
    user: Id
    slots: list[int]
    ts: int | None = None
    event_id: str | None = None


class Forget(Request, kw_only=True):
    """`forget`: drop a user's state."""

    user: Id
    ts: int | None = None


class Merge(Request, kw_only=True, rename={"from_user": "from"}):
    """`merge`: a visitor turned out to be a known user."""

    from_user: Id
    into: Id
    event_id: str | None = None


class User(Request, kw_only=True):
    """`user`: say what is known of a user."""

    user: Id
    labels: dict[str, Any] | None = None
    comment: str | None = None
    ts: int | None = None


class Item(Request, kw_only=True):
    """`item`: say all that is known of an item; replaces what was known."""

    item: Id
    categories: list[str] = []
    labels: dict[str, Any] | None = None
    is_hidden: bool = False
    timestamp: int | None = None
    group_id: str | None = None
    embeddings: dict[str, bytes | list[float]] | None = None
    comment: str | None = None
    ts: int | None = None


class PatchItem(Request, kw_only=True):
    """`patch_item`: change some fields of an item; a label of null is removed."""

    item: Id
    categories: list[str] | None = None
    labels: dict[str, Any] | None = None
    is_hidden: bool | None = None
    timestamp: int | None = None
    group_id: str | None = None
    embeddings: dict[str, bytes | list[float]] | None = None
    comment: str | None = None
    ts: int | None = None


class DeleteItem(Request, kw_only=True):
    """`delete_item`"""

    item: Id
    ts: int | None = None


class Activate(Request, kw_only=True):
    """`activate`: answer under this `[query]` (JSON) from now on."""

    query: str


class Reach(Request, kw_only=True):
    """`reach`: answer once the state has this position."""

    position: int


class HighWater(Request, kw_only=True):
    """`high_water`: how far a producer's frames were received. `producer`: 16 hex digits."""

    producer: str
    epoch: int


class Plain(Request, kw_only=True):
    """A request without arguments: `cluster`, `config`, `status`, `stats`, `digest`, `snapshot`, `live`, `drain`."""


REQUESTS: Mapping[str, type[Request]] = {
    "recommend": Recommend,
    "session": Session,
    "rank": Rank,
    "similar": Similar,
    "trending": Trending,
    "session_of": SessionOf,
    "variant_of": VariantOf,
    "item_of": ItemOf,
    "explain": Explain,
    "track": Track,
    "seen": Seen,
    "forget": Forget,
    "merge": Merge,
    "user": User,
    "item": Item,
    "patch_item": PatchItem,
    "delete_item": DeleteItem,
    "activate": Activate,
    "high_water": HighWater,
    "reach": Reach,
    "config": Plain,
    "cluster": Plain,
    "status": Plain,
    "digest": Plain,
    "stats": Plain,
    "snapshot": Plain,
    "drain": Plain,
    "leave": Plain,
}
"""Verb -> what it takes."""

_json = {verb: msgspec.json.Decoder(kind) for verb, kind in REQUESTS.items()}
_msgpack = {verb: msgspec.msgpack.Decoder(kind) for verb, kind in REQUESTS.items()}
_PLACE = re.compile(r" - at `\$\.?(.*)`$")


class Asked(NamedTuple):
    """A decoded request and the encoding that its answer takes."""

    request: Request
    encoding: Literal["json", "msgpack"]


def encoding_of(data: bytes) -> Literal["json", "msgpack"]:
    """MessagePack maps begin with 0x80-0x8f, 0xde or 0xdf; all else is read as JSON."""
    first = data[0] if data else 0x7B
    return MSGPACK if 0x80 <= first <= 0x8F or first in (0xDE, 0xDF) else JSON  # type: ignore[return-value]


def decode_request(verb: str, data: bytes) -> Asked:
    """A request of a verb. Raises `InvalidQuery` naming the field."""
    encoding = encoding_of(data)
    try:
        request = (_json if encoding == JSON else _msgpack)[verb].decode(data or b"{}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as err:
        what = str(err)
        field = _PLACE.search(what)
        unknown = re.search(r"field `([^`]*)`", what)
        name = unknown[1] if unknown else field[1] if field else "request"
        rule = f"the fields of {verb}: {', '.join(REQUESTS[verb].__struct_encode_fields__)}"
        raise InvalidQuery(f"{verb}: {what:.200}; allowed: {rule}", field=name, value=None, rule=rule) from err
    if request.deadline_ms is not None and not 1 <= request.deadline_ms <= MAX_DEADLINE_MS:
        rule = f"1 to {MAX_DEADLINE_MS:,} ms"
        raise InvalidQuery(
            f"deadline_ms = {request.deadline_ms}; allowed: {rule}",
            field="deadline_ms",
            value=request.deadline_ms,
            rule=rule,
        )
    if encoding == JSON and isinstance(request, Question) and request.compact:
        rule = "false in JSON: its arrays hold MessagePack"
        raise InvalidQuery(f"compact = true; allowed: {rule}", field="compact", value=True, rule=rule)
    return Asked(request, encoding)


def encode(answer: object, encoding: str) -> bytes:
    """An answer in the encoding that was asked in."""
    return msgspec.json.encode(answer) if encoding == JSON else msgspec.msgpack.encode(answer)


class Fault(msgspec.Struct, frozen=True):
    """An error as it goes over the wire. `field` names the argument that was refused, if one was."""

    code: str
    message: str
    retry_after_ms: int | None = None
    field: str | None = None


class Refusal(msgspec.Struct, frozen=True):
    """The answer that is no answer."""

    error: Fault


def fault_of(err: HeadwaterError) -> Fault:
    """An error of the tree for the wire. Values stay out of it: only code, message, field and when to ask again."""
    retry: int | None = None
    if isinstance(err, NotReady):
        retry = int(err.details.get("retry_after_ms", _RETRY_NOT_READY_MS))
    elif isinstance(err, Unavailable):
        retry = int(err.details.get("retry_after_ms", _RETRY_MS))
    field = err.details.get("field")
    return Fault(err.code, err.message, retry, str(field) if field is not None else None)


def encode_error(err: HeadwaterError, encoding: str) -> bytes:
    """An error in the encoding that was asked in."""
    return encode(Refusal(fault_of(err)), encoding)


def _codes(kind: type[HeadwaterError]) -> dict[str, type[HeadwaterError]]:
    found = {kind.code: kind}
    for child in kind.__subclasses__():
        found = _codes(child) | found  # one without a code of its own goes by its parent's
    return found


_refusals = msgspec.msgpack.Decoder(Refusal)
_KINDS = _codes(errors.HeadwaterError)
_ERROR_KEY = b"\xa5error"


def error_of(fault: Fault) -> HeadwaterError:
    """The error that a fault stands for; an unknown code gives the root of the tree with that code."""
    details: dict[str, Any] = {}
    if fault.retry_after_ms is not None:
        details["retry_after_ms"] = fault.retry_after_ms
    if fault.field is not None:
        details["field"] = fault.field
    err = _KINDS.get(fault.code, HeadwaterError)(fault.message, **details)
    if fault.code not in _KINDS:
        err.code = fault.code
    return err


def raise_refusal(data: bytes) -> None:
    """Raise what a MessagePack answer refuses with; does nothing for an answer. A refusal is a map of one key."""
    if data[:1] == b"\x81" and data[1:7] == _ERROR_KEY:
        raise error_of(_refusals.decode(data).error)


# --- subjects ----------------------------------------------------------------------------------------------------


def check_namespace(namespace: str) -> str:
    """A namespace as it stands in subjects. Raises `InvalidQuery`."""
    if not NAMESPACE.match(namespace):
        rule = "1 to 32 of a-z, 0-9, _ and -, beginning with a letter or digit"
        raise InvalidQuery(
            f"namespace = {namespace!r:.80}; allowed: {rule}", field="namespace", value=namespace[:80], rule=rule
        )
    return namespace


def plain_subject(namespace: str, verb: str) -> str:
    """Where any client asks."""
    return f"hw.{namespace}.{verb}"


def host_subject(namespace: str, host: str, verb: str) -> str:
    """Where one host answers."""
    return f"hw.{namespace}.h.{host}.{verb}"


def beat_subject(namespace: str, host: str = "*") -> str:
    """Where a host, or every host, tells that it lives."""
    return f"hw.{namespace}.beat.{host}"


SLATE_ID = re.compile(r"^([a-z]\d{1,5})-[0-9a-f]{1,16}-\d{1,19}$")


def slate_host(slate: str) -> str | None:
    """The host that answered a slate, by its id; None for a slate of an embedded engine."""
    found = SLATE_ID.match(slate) if len(slate) <= MAX_ID else None
    return None if found is None else found[1]
