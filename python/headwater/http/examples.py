"""Examples of request bodies, for the OpenAPI document; the tests send every one of them."""

from __future__ import annotations

from typing import Any

from litestar.openapi.spec import Example


def _of(summary: str, value: dict[str, Any]) -> Example:
    return Example(summary=summary, value=value)


RECOMMEND = [
    _of("Ten items for bob", {"user": "bob", "n": 10}),
    _of(
        "With a filter",
        {"user": "bob", "n": 5, "filter": "item != skip", "params": {"skip": "sku9"}, "exclude": ["sku4"]},
    ),
]
SESSION = [_of("After two views", {"items": ["sku1", "sku4"], "n": 10})]
RANK = [_of("Three items", {"user": "bob", "items": ["sku1", "sku4", "sku7"]})]
SIMILAR = [_of("By one relation", {"item": "sku1", "n": 10, "relation": "also_viewed", "metric": "cosine"})]
TRENDING = [_of("Overall", {"n": 10})]
EXPLAIN = [_of("A slot of a slate", {"slate": "1-1", "item": "sku1"})]
EVENT = [_of("A view", {"type": "view", "user": "bob", "item": "sku1", "event_id": "e-1"})]
EVENTS = [
    _of(
        "A basket that was bought",
        {
            "events": [
                {"type": "purchase", "user": "bob", "item": "sku1", "basket": "o-17", "event_id": "o-17-1"},
                {"type": "purchase", "user": "bob", "item": "sku4", "basket": "o-17", "event_id": "o-17-2"},
            ]
        },
    )
]
SEEN = [_of("The first three slots", {"slate": "1-1", "user": "bob", "slots": [0, 1, 2]})]
ITEM = [_of("A shoe", {"categories": ["shoes"], "labels": {"brand": "Lark", "price": 49.0}})]
ITEMS = [_of("Two items", {"items": [{"item": "sku1", "categories": ["shoes"]}, {"item": "sku4"}]})]
PATCH = [_of("Hide it", {"is_hidden": True})]
USER = [_of("A segment", {"labels": {"segment": "new"}})]
MERGE = [_of("A login", {"from": "cookie-1", "into": "bob", "event_id": "login-1"})]
