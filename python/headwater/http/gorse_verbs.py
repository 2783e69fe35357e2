"""What gorse's interface asks of an engine beside the verbs of `/v1`."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from headwater.arguments import query_id
from headwater.engine import Engine
from headwater.errors import InvalidQuery
from headwater.events.types import Feedback, UserPut
from headwater.http.gorse_shapes import (
    FeedbackPage,
    GorseScore,
    ItemsPage,
    RowAffected,
    UsersPage,
    item_out,
    labels_out,
)
from headwater.http.log_index import LogIndex
from headwater.http.problems import Refused
from headwater.http.verbs import ById, Verb, Verbs, known_item
from headwater.slate import format_time

if TYPE_CHECKING:
    from headwater.http.cluster_engine import ClusterEngine

MAX_PAGE = 1000
_MOST = 1000
_MOST_DIGITS = 15


class Page(msgspec.Struct, frozen=True):
    """A page of a listing."""

    n: int
    cursor: str
    type: str | None = None
    query: str | None = None


class Neighbours(msgspec.Struct, frozen=True):
    """What goes with an item, perhaps in a category."""

    item: str
    n: int
    offset: int
    category: str | None


class UserFeedback(msgspec.Struct, frozen=True):
    """What a user did, perhaps of one type."""

    user: str
    type: str | None


class PutUsers(msgspec.Struct, frozen=True):
    """Users with labels and comment, all or none."""

    users: list[UserPut]


class PatchUser(msgspec.Struct, frozen=True):
    """Changes of a user; None leaves a field as it is."""

    id: str
    labels: dict[str, Any] | None
    comment: str | None


class PatchItem(msgspec.Struct, frozen=True):
    """Changes of an item; labels are replaced whole."""

    id: str
    changes: dict[str, Any]


def gorse_verbs(engine: Engine | ClusterEngine) -> dict[str, Verb]:
    """The verbs, over one engine's log."""
    generation = engine.config.generation
    index = LogIndex(lambda: engine.log, generation.partitions, generation.max_future_ms)

    def of_index(ask: Callable[[Verbs, LogIndex, Any], Any]) -> Callable[[Verbs, Any], Any]:
        def asked(verbs: Verbs, question: Any) -> Any:
            index.follow()
            return ask(verbs, index, question)

        return asked

    return {
        "gorse-neighbours": Verb(Neighbours, _neighbours),
        "gorse-put-users": Verb(PutUsers, _put_users, "write"),
        "gorse-patch-item": Verb(PatchItem, _patch_item, "write"),
        "gorse-patch-user": Verb(PatchUser, of_index(_patch_user), "write"),
        "gorse-feedback": Verb(Page, of_index(_feedback), reads_log=True),
        "gorse-user-feedback": Verb(UserFeedback, of_index(_user_feedback), reads_log=True),
        "gorse-items": Verb(Page, of_index(_items), reads_log=True),
        "gorse-item": Verb(ById, _item),
        "gorse-users": Verb(Page, of_index(_users), reads_log=True),
        "gorse-user": Verb(ById, of_index(_user), reads_log=True),
    }


def _neighbours(engine: Verbs, asked: Neighbours) -> list[GorseScore]:
    """As gorse, nothing for an item that nothing ever named."""
    item = query_id("item", asked.item)
    wanted = asked.n + asked.offset
    try:
        slate = engine.similar(item, min(_MOST, wanted if asked.category is None else _MOST))
    except InvalidQuery:
        return []
    found = (
        GorseScore(id=slot.item, score=slot.score)
        for slot in slate
        if asked.category is None or asked.category in engine.item(slot.item).categories
    )
    return list(islice(found, asked.offset, wanted))


def _put_users(engine: Verbs, asked: PutUsers) -> RowAffected:
    now = engine.now()
    engine.track_many([msgspec.structs.replace(put, ts=now) for put in asked.users])
    return RowAffected(row_affected=len(asked.users))


def _patch_item(engine: Verbs, asked: PatchItem) -> RowAffected:
    changes = dict(asked.changes)
    if "labels" in changes:
        try:
            old = engine.item(asked.id).labels
        except InvalidQuery:
            old = {}
        changes["labels"] = dict.fromkeys(old) | changes["labels"]
    engine.patch_item(asked.id, **changes)
    return RowAffected(row_affected=1)


def _patch_user(engine: Verbs, index: LogIndex, asked: PatchUser) -> RowAffected:
    _, put = index.user(asked.id)
    labels = asked.labels if asked.labels is not None else {} if put is None else put.labels
    comment = asked.comment if asked.comment is not None else None if put is None else put.comment
    engine.put_user(asked.id, labels=labels, comment=comment)
    return RowAffected(row_affected=1)


def _place(cursor: str) -> tuple[int, int]:
    position, _, index = cursor.partition(":")
    if not cursor:
        return 1, 0
    return max(1, _digits(cursor, position)), _digits(cursor, index)


def _feedback(engine: Verbs, index: LogIndex, page: Page) -> FeedbackPage:
    rows: list[dict[str, Any]] = []
    for position, number, event in index.feedback(_place(page.cursor)):
        if page.type is not None and event.type != page.type:
            continue
        if len(rows) == page.n:
            return FeedbackPage(cursor=f"{position}:{number}", feedback=rows)
        rows.append(_feedback_out(event))
    return FeedbackPage(cursor="", feedback=rows)


def _user_feedback(engine: Verbs, index: LogIndex, asked: UserFeedback) -> list[dict[str, Any]]:
    """As gorse, one row per type and item: the latest."""
    user = query_id("user", asked.user)
    rows: dict[tuple[str, str], Feedback] = {}
    for _, _, event in index.feedback((1, 0), user):
        if asked.type is None or event.type == asked.type:
            rows.pop((event.type, event.item), None)
            rows[event.type, event.item] = event
    return [_feedback_out(event) for event in list(rows.values())[-_MOST:]]


def _feedback_out(event: Feedback) -> dict[str, Any]:
    return {
        "FeedbackType": event.type,
        "UserId": event.user,
        "ItemId": event.item,
        "Value": event.value or 0.0,
        "Timestamp": format_time(event.ts),
        "Comment": "",
    }


def _item(engine: Verbs, named: ById) -> dict[str, Any]:
    return item_out(*known_item(engine, named.id))


def _items(engine: Verbs, index: LogIndex, page: Page) -> ItemsPage:
    rows: list[dict[str, Any]] = []
    wanted = (page.query or "").casefold()
    for number, item in index.items(_number(page.cursor)):
        row = item_out(item, engine.item(item))
        if wanted and wanted not in item.casefold() and wanted not in str(row["Comment"]).casefold():
            continue
        if len(rows) == page.n:
            return ItemsPage(cursor=str(number), items=rows)
        rows.append(row)
    return ItemsPage(cursor="", items=rows)


def _users(engine: Verbs, index: LogIndex, page: Page) -> UsersPage:
    rows: list[dict[str, Any]] = []
    for number, user, put in index.users(_number(page.cursor)):
        if len(rows) == page.n:
            return UsersPage(cursor=str(number), users=rows)
        rows.append(_user_out(user, put))
    return UsersPage(cursor="", users=rows)


def _number(cursor: str) -> int:
    return _digits(cursor, cursor) if cursor else 0


def _digits(cursor: str, part: str) -> int:
    """A number of a cursor."""
    if not part.isdecimal() or len(part) > _MOST_DIGITS:
        rule = "what the last page gave"
        raise Refused("invalid-query", f"cursor = {cursor[:80]!r}; allowed: {rule}", field="cursor", rule=rule)
    return int(part)


def _user(engine: Verbs, index: LogIndex, named: ById) -> dict[str, Any]:
    user = query_id("user", named.id)
    known, put = index.user(user)
    if not known:
        raise Refused("unknown-user", f"user {user!r:.100} has no state: no event, or forgotten", user=user)
    return _user_out(user, put)


def _user_out(user: str, put: UserPut | None) -> dict[str, Any]:
    return {
        "UserId": user,
        "Labels": None if put is None else labels_out(put.labels),
        "Comment": "" if put is None else put.comment or "",
    }
