"""Which column of a table is which field of an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.errors import InvalidInput

REQUIRED = ("type", "user", "item", "ts")
OPTIONAL = ("value", "event_id", "session", "basket", "slate", "slot", "context")
FIELDS = REQUIRED + OPTIONAL
"""In the order of `Feedback`, which is the order on the wire."""

ALIASES: dict[str, tuple[str, ...]] = {
    "type": ("type", "event", "event_type", "action", "FeedbackType", "feedback_type"),
    "user": ("user", "user_id", "UserId", "userid", "visitorid", "visitor_id"),
    "item": ("item", "item_id", "ItemId", "itemid", "product_id", "movie_id"),
    "ts": ("ts", "timestamp", "Timestamp", "time", "Time", "event_time"),
    "value": ("value", "Value", "rating", "quantity"),
    "event_id": ("event_id", "EventId", "transaction_event_id"),
    "session": ("session", "session_id", "SessionId"),
    "basket": ("basket", "basket_id", "order_id", "transactionid", "invoice"),
    "slate": ("slate", "slate_id"),
    "slot": ("slot",),
    "context": ("context",),
}

CONSTANT = "="
"""A mapping value that begins with this is a constant, not a column: `{"type": "=view"}`."""


def resolve(names: Sequence[str], mapping: Mapping[str, str] | None) -> tuple[dict[str, str], dict[str, str]]:
    """(field -> column, field -> constant) for a table with these columns.

    A mapping names columns for some fields; the others are found by their usual names. Raises `InvalidInput` for an
    unknown field, a column that is not there, or a required field without a column.
    """
    columns: dict[str, str] = {}
    constants: dict[str, str] = {}
    for field, column in (mapping or {}).items():
        if field not in FIELDS:
            raise InvalidInput(
                f"columns: {field!r} is not a field of an event; allowed: {', '.join(FIELDS)}",
                field="columns",
                value=field,
            )
        if column.startswith(CONSTANT):
            constants[field] = column[len(CONSTANT) :]
        elif column in names:
            columns[field] = column
        else:
            raise InvalidInput(
                f"columns: {field} should be column {column!r}, but the table has {', '.join(names)}",
                field="columns",
                value=column,
            )
    for field in FIELDS:
        if field in columns or field in constants:
            continue
        found = next((name for name in ALIASES[field] if name in names and name not in columns.values()), None)
        if found is not None:
            columns[field] = found
    missing = [field for field in REQUIRED if field not in columns and field not in constants]
    if missing:
        raise InvalidInput(
            f"no column for {', '.join(missing)}; the table has {', '.join(names) or 'no columns'}. Name them with "
            'columns={"user": "my_user_column", "type": "=view", ...} (a leading = is a constant)',
            field="columns",
            value=list(names),
        )
    return columns, constants
