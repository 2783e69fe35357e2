"""Wire requests to what the core is asked: the same checks as the embedded engine makes of its arguments."""

from __future__ import annotations

from typing import Any

from headwater.arguments import (
    context_of,
    count_of,
    ids_of,
    name_of,
    params_of,
    query_id,
    share_of,
    time_of,
    weights_of,
)
from headwater.errors import InvalidQuery
from headwater.protocol import Rank, Recommend, Session, Similar, SlateQuestion, Trending
from headwater.scenario import Metric


def slate_request(asked: Recommend | Session | Rank, now: int) -> dict[str, Any]:
    """The core's request for a slate. Raises `InvalidQuery`."""
    request: dict[str, Any] = {
        "user": None if isinstance(asked, Session) else query_id("user", asked.user),
        "items": ids_of("items", asked.items) if isinstance(asked, Session) else [],
        "n": 0,
        "exclude": [] if isinstance(asked, Rank) else ids_of("exclude", asked.exclude),
        "now": now if asked.now is None else time_of("now", asked.now),
        "sources": weights_of(asked.sources),
    }
    if isinstance(asked, Rank):
        listed = list(dict.fromkeys(ids_of("items", asked.items)))
        request["candidates"] = listed
        request["n"] = count_of(len(listed) if asked.n is None else asked.n)
    else:
        request["n"] = count_of(asked.n)
    return request | _beyond_the_usual(asked)


def _beyond_the_usual(asked: SlateQuestion) -> dict[str, Any]:
    """A request says nothing of what was not asked for."""
    more = {
        "scenario": name_of("scenario", asked.scenario),
        "filter": name_of("filter", asked.filter),
        "params": params_of(asked.params) or None,
        "diversity": share_of("diversity", asked.diversity),
        "exploration": share_of("exploration", asked.exploration),
        "features": asked.features or None,
    }
    return {field: value for field, value in more.items() if value is not None}


def asked_context(asked: Recommend | Rank) -> dict[str, Any] | None:
    """What the record keeps beside the request. Raises `InvalidQuery`."""
    return context_of(asked.context)


def similar_request(asked: Similar, now: int) -> dict[str, Any]:
    """The core's request for `similar`. Raises `InvalidQuery`."""
    metrics = Metric.__args__  # type: ignore[attr-defined]
    if asked.metric is not None and asked.metric not in metrics:
        allowed = ", ".join(metrics)
        raise InvalidQuery(
            f"metric = {asked.metric!r:.80}; allowed: {allowed}", field="metric", value=asked.metric[:80], rule=allowed
        )
    return {
        "item": query_id("item", asked.item),
        "n": count_of(asked.n),
        "relation": asked.relation,
        "metric": asked.metric,
        "exclude": ids_of("exclude", asked.exclude),
        "now": now if asked.now is None else time_of("now", asked.now),
    }


def trending_request(asked: Trending, now: int) -> dict[str, Any]:
    """The core's request for `trending`. Raises `InvalidQuery`."""
    return {
        "category": asked.category,
        "n": count_of(asked.n),
        "now": now if asked.now is None else time_of("now", asked.now),
    }
