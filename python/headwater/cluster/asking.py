"""Wire requests to what the core is asked: the same checks as the embedded engine makes of its arguments."""

from __future__ import annotations

from typing import Any

from headwater import request
from headwater.arguments import context_of, ids_of, query_id
from headwater.protocol import Rank, Recommend, Session, Similar, Trending


def slate_request(asked: Recommend | Session | Rank, now: int) -> dict[str, Any]:
    """The core's request for a slate. Raises `InvalidQuery`."""
    user = None if isinstance(asked, Session) else query_id("user", asked.user)
    items = ids_of("items", asked.items) if isinstance(asked, Session) else []
    listed = list(dict.fromkeys(ids_of("items", asked.items))) if isinstance(asked, Rank) else []
    n = len(listed) if asked.n is None else asked.n
    exclude = [] if isinstance(asked, Rank) else asked.exclude
    made = request.slate_request(user, items, n, exclude, now if asked.now is None else asked.now, asked.sources)
    if isinstance(asked, Rank):
        made["candidates"] = listed
    return made | request.asked_beside(
        asked.scenario, asked.filter, asked.params, asked.diversity, asked.exploration, asked.features
    )


def asked_context(asked: Recommend | Rank) -> dict[str, Any] | None:
    """What the record keeps beside the request. Raises `InvalidQuery`."""
    return context_of(asked.context)


def similar_request(asked: Similar, now: int) -> dict[str, Any]:
    """The core's request for `similar`. Raises `InvalidQuery`."""
    at = now if asked.now is None else asked.now
    return request.similar_request(asked.item, asked.n, asked.relation, asked.metric, asked.exclude, at)


def trending_request(asked: Trending, now: int) -> dict[str, Any]:
    """The core's request for `trending`. Raises `InvalidQuery`."""
    return request.trending_request(asked.category, asked.n, now if asked.now is None else asked.now)
